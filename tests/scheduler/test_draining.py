"""Devices and agents that are to take no work: what they have makes way, what waits is not lost, and restarts change nothing."""

from __future__ import annotations

import pytest

from qrtx_ray.errors import NotFound
from qrtx_ray.model import Candidate, RunReport
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.calibration import DeviceNoise
from qrtx_ray.scheduler.commands import MeasureProbe, PreemptAttempt, RunGroup
from tests.scheduler.driving import DEVICE, OTHER, Driver, done, ref

LONG = {"estimated_s": 100.0}


def gave_way(job, attempt=1) -> RunReport:
    return RunReport(job, attempt, preempted=True, progress=0.5, checkpoint=ref(job, attempt, attempt))


def asked(commands) -> list[tuple[str, str]]:
    return sorted((c.agent, c.job_id) for c in commands if isinstance(c, PreemptAttempt))


def given(commands) -> list[tuple[str, str]]:
    return [(c.agent, m.job_id) for c in commands if isinstance(c, RunGroup) for m in c.group.members]


def drain(driver, device=DEVICE) -> list:
    return driver.say(events.DevicePaused(device, drain=True))


# -- devices -----------------------------------------------------------------------------------------------------


def test_a_drained_device_gives_back_what_runs_there_and_takes_nothing(driver):
    job, waiting = driver.executing(compile_as=LONG), driver.queued()
    assert asked(drain(driver)) == [("a", job)]
    driver.reported(gave_way(job))
    assert (driver.state(job), driver.record(job).checkpoints) == ("Queued", (ref(job),))
    assert (driver.record(job).preemptions, driver.record(job).losses) == (0, 0)
    assert given(driver.ready()) == []
    assert driver.core.explain(waiting)["reason"] == "the device is drained"
    (reading,) = [one for one in driver.core.device_readings() if one.info.name == DEVICE]
    assert (reading.status.value, reading.drained) == ("paused", True)
    assert given(driver.say(events.DeviceResumed(DEVICE))) == [("a", job)], "it goes on alone, with what was kept"


def test_only_the_jobs_of_that_device_make_way(driver):
    here, there = driver.queued(compile_as=LONG), driver.queued(device=OTHER, compile_as=LONG)
    for name in ("a", "b"):
        driver.join(name, devices=(DEVICE, OTHER))
        driver.ready(name)
    assert asked(drain(driver, OTHER)) == [("b", there)]
    assert driver.state(here) == "Allocating"


def test_a_device_that_is_only_paused_lets_its_work_run(driver):
    job = driver.executing()
    assert driver.say(events.DevicePaused(DEVICE)) == []
    driver.reported(done(job))
    assert driver.state(job) == "Completed"


def test_a_drain_may_become_a_pause_and_a_pause_a_drain(driver):
    job = driver.executing(compile_as=LONG)
    driver.say(events.DevicePaused(DEVICE))
    assert asked(drain(driver)) == [("a", job)]
    driver.say(events.DevicePaused(DEVICE))
    assert driver.core.explain(driver.queued())["reason"] == "the device is paused"
    assert driver.core._world.agents["a"].making_way == {}, "nobody asks any more"


@pytest.mark.parametrize("drains", [True, False])
def test_what_the_operator_wanted_of_a_device_holds_after_a_restart(driver, drains):
    job = driver.executing(compile_as=LONG)
    driver.say(events.DevicePaused(DEVICE, drain=drains))
    driver.crash()
    assert driver.core.snapshot()["devices"][DEVICE] == "paused"
    assert asked(driver.join(running=((job, 1),))) == ([("a", job)] if drains else [])
    driver.say(events.DeviceResumed(DEVICE))
    assert driver.store.facts == {}
    driver.crash()
    driver.join()
    assert driver.core.snapshot()["devices"][DEVICE] == "online"


def test_a_fact_of_a_device_that_is_gone_means_nothing(driver):
    drain(driver, OTHER)
    driver.devices = driver.devices[:1]
    driver.crash()
    assert OTHER not in driver.core.snapshot()["devices"]


@pytest.mark.parametrize("event", [events.DevicePaused("nope", drain=True), events.DeviceResumed("nope"),
                                   events.AgentDrained("nope"), events.AgentResumed("nope")])  # fmt: skip
def test_what_is_not_there_is_not_found(driver, event):
    assert "nope" in driver.refused(event, NotFound)


# -- agents ------------------------------------------------------------------------------------------------------


def test_a_drained_agent_gives_back_what_it_has_and_others_go_on_with_it(driver):
    job = driver.executing(compile_as=LONG)
    driver.join("b")
    driver.ready("b")
    assert asked(driver.say(events.AgentDrained("a"))) == [("a", job)]
    assert given(driver.reported(gave_way(job))) == [("b", job)]
    assert (driver.record(job).preemptions, driver.record(job).losses) == (0, 0)
    driver.queued()
    assert given(driver.ready("a")) == []


def test_an_offer_of_a_drained_agent_stays_open_until_it_is_resumed(driver):
    driver.join()
    driver.ready()
    driver.say(events.AgentDrained("a"))
    job = driver.queued()
    assert driver.state(job) == "Queued"
    assert driver.core.explain(job)["reason"] == "no agent takes work: all are drained"
    assert "take work again" in " ".join(driver.core.explain(job)["changes"])
    assert driver.core.snapshot()["devices"][DEVICE] == "offline"
    assert given(driver.say(events.AgentResumed("a"))) == [("a", job)]


def test_an_offer_made_while_it_is_drained_counts_too(driver):
    driver.join()
    driver.say(events.AgentDrained("a"))
    driver.ready()
    job = driver.queued()
    assert given(driver.say(events.AgentResumed("a"))) == [("a", job)]


def test_draining_twice_asks_once_and_resuming_takes_the_question_back(driver):
    job = driver.executing(compile_as=LONG)
    driver.say(events.AgentDrained("a"))
    assert driver.say(events.AgentDrained("a")) == []
    driver.say(events.AgentResumed("a"))
    assert driver.core._world.agents["a"].making_way == {}
    driver.reported(gave_way(job))
    assert driver.record(job).preemptions == 0, "it had heard of it all the same"


def test_a_drained_agent_stays_drained_after_restarts_of_either(driver):
    job = driver.executing(compile_as=LONG)
    driver.say(events.AgentDrained("a"))
    driver.crash()
    assert asked(driver.join(running=((job, 1),))) == [("a", job)]
    driver.say(events.AgentLost("a"))
    driver.join(incarnation="2")
    assert given(driver.ready(incarnation="2")) == []
    assert given(driver.say(events.AgentResumed("a"))) == [("a", job)]
    assert driver.store.facts == {}


def test_an_agent_that_is_away_can_be_resumed_and_is_shown(driver):
    driver.join()
    driver.say(events.AgentDrained("a"))
    driver.say(events.AgentLost("a"))
    (reading,) = driver.core.agent_readings()
    assert (reading.name, reading.incarnation, reading.devices, reading.drained) == ("a", "", (), True)
    driver.say(events.AgentResumed("a"))
    assert driver.core.agent_readings() == []


def test_all_agents_are_drained_also_those_that_come_later(driver):
    job = driver.executing(compile_as=LONG)
    driver.join("b")
    assert asked(driver.say(events.AgentDrained(None))) == [("a", job)]
    driver.reported(gave_way(job))
    driver.join("c")
    driver.crash()
    for name in ("a", "b", "c"):
        driver.join(name)
        assert given(driver.ready(name)) == []
    assert [one.drained for one in driver.core.agent_readings()] == [True, True, True]
    assert len(given(driver.say(events.AgentResumed(None)))) == 1
    assert driver.store.facts == {}


def test_one_of_all_may_be_resumed(driver):
    for name in ("a", "b", "c"):
        driver.join(name)
        driver.ready(name)
    driver.say(events.AgentDrained(None))
    job = driver.queued()
    assert given(driver.say(events.AgentResumed("b"))) == [("b", job)]
    assert [one.drained for one in driver.core.agent_readings()] == [True, False, True]
    driver.crash()
    assert driver.core.snapshot()["drained"] == ["a", "c"]


def test_agents_are_read(driver):
    job = driver.executing()
    driver.join("b", devices=(OTHER, DEVICE))
    first, second = driver.core.agent_readings()
    assert (first.name, first.incarnation, first.devices, first.drained) == ("a", "1", (DEVICE,), False)
    assert (first.held, first.groups, second.held) == (((job, 1),), 1, ())
    assert second.devices == (OTHER, DEVICE)


# -- what else looks at agents -----------------------------------------------------------------------------------


def test_work_that_may_choose_goes_elsewhere_when_all_agents_of_its_device_are_drained(driver):
    driver.join("a", devices=(DEVICE,))
    driver.join("b", devices=(OTHER,))
    here, there = Candidate(DEVICE, "", 0.9, 2.5, 1.0), Candidate(OTHER, "", 0.8, 2.5, 1.0)
    job = driver.placed(here, there)
    first = driver.record(job).device
    driver.say(events.AgentDrained("a" if first == DEVICE else "b"))
    assert (driver.state(job), driver.record(job).device != first) == ("Pending", True)


def test_work_that_comes_back_with_nothing_and_may_choose_goes_elsewhere(driver):
    driver.join("a", devices=(DEVICE,))
    driver.join("b", devices=(OTHER,))
    job = driver.placed(Candidate(DEVICE, "", 0.9, 2.5, 1.0), Candidate(OTHER, "", 0.8, 2.5, 1.0))
    first = driver.record(job).device
    name = "a" if first == DEVICE else "b"
    driver.ready(name)
    drain(driver, first)
    driver.reported(RunReport(job, 1, preempted=True), name=name)
    assert (driver.state(job), driver.record(job).device != first) == ("Pending", True)


def test_urgent_work_is_not_kept_waiting_by_a_drained_agent_that_idles(driver):
    low = driver.executing(compile_as=LONG)
    driver.join("b")
    driver.say(events.AgentDrained("b"))
    driver.queued(priority=95)
    assert asked(driver.commands) == [("a", low)]


def test_nobody_is_stopped_where_everybody_is_drained(driver):
    driver.executing(compile_as=LONG)
    driver.say(events.AgentDrained("a"))
    driver.queued(priority=95)
    assert asked(driver.commands) == []


def test_waits_are_told_by_those_that_take_work(driver):
    driver.executing(compile_as=LONG)
    driver.join("b")
    driver.say(events.AgentDrained("b"))
    candidate = Candidate(DEVICE, "", 0.9, 2.5, 1.0)
    (found,) = driver.core.estimate("alice", 50, (candidate,))["devices"].values()
    assert found["wait_s"] == pytest.approx(100.0)
    driver.say(events.AgentDrained("a"))
    (found,) = driver.core.estimate("alice", 50, (candidate,))["devices"].values()
    assert found["wait_s"] is None


def test_a_drained_agent_measures_no_probe():
    driver = Driver(noise={DEVICE: DeviceNoise(seed=1, rate=0.5)})
    driver.join()
    driver.say(events.AgentDrained("a"))
    assert not [c for c in driver.tick(1_000.0) if isinstance(c, MeasureProbe)]
    driver.say(events.AgentResumed("a"))
    assert [c.agent for c in driver.tick(1_000.0) if isinstance(c, MeasureProbe)] == ["a"]

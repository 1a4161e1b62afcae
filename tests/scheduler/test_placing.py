"""Jobs that leave their device to the scheduler: surveyed, placed, placed anew."""

from __future__ import annotations

from itertools import pairwise

import pytest

from qrtx_ray.model import AUTO_DEVICE, Candidate
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import CompileOrder, RunGroup
from qrtx_ray.scheduler.placement import options_of
from qrtx_ray.scheduler.placing import KEPT_CANDIDATES
from qrtx_ray.scheduler.policies import NoiseAwarePolicy
from tests.scheduler.driving import DEVICE, OTHER, Driver


def here(device=DEVICE, fidelity=0.9, **fields) -> Candidate:
    return Candidate(device, "c", fidelity, 2.5, 0.001, **fields)


def both(one=0.9, two=0.9):
    return here(DEVICE, one), here(OTHER, two)


@pytest.fixture
def fleet():
    driver = Driver(policy=NoiseAwarePolicy())
    driver.join("a", devices=(DEVICE,))
    driver.join("b", devices=(OTHER,))
    return driver


def test_a_job_without_a_device_is_surveyed_for_its_choices(driver):
    job = driver.submit(device=AUTO_DEVICE, choices=(DEVICE, OTHER))
    (command,) = driver.compiler()
    assert command.tasks == (CompileOrder(job, 2, choices=((DEVICE, ""), (OTHER, ""))),)


def test_it_goes_where_the_policy_says_and_is_compiled_for_that(fleet):
    job = fleet.submit(device=AUTO_DEVICE, choices=(DEVICE, OTHER))
    (survey,) = fleet.compiler()
    fleet.surveyed(survey, *both(0.8, 0.95))
    record = fleet.record(job)
    assert (record.state.value, record.device, record.candidates) == ("Pending", OTHER, both(0.8, 0.95))
    (order,) = fleet.compiler()
    assert order.tasks[0].choices == ()
    assert order.tasks[0].attempt > survey.tasks[0].attempt
    fleet.compiled(order)
    assert (fleet.state(job), fleet.core.queue_length(OTHER)) == ("Queued", 1)


def test_only_the_best_candidates_stay_with_a_job(fleet):
    """The record is written with every change; who may go to any of 68 devices must not carry them all along."""
    names = tuple(f"d{number}@aer" for number in range(60))
    job = fleet.submit(device=AUTO_DEVICE, choices=(DEVICE, OTHER))
    (survey,) = fleet.compiler()
    others = (here(name, 0.1, refusal="too small") for name in names)
    fleet.surveyed(survey, *others, here(DEVICE, 0.8))
    kept = fleet.record(job).candidates
    assert len(kept) == KEPT_CANDIDATES
    assert here(DEVICE, 0.8) in kept


def test_a_late_survey_of_a_lease_before_changes_nothing(fleet):
    job = fleet.submit(device=AUTO_DEVICE, choices=(DEVICE, OTHER))
    (survey,) = fleet.compiler()
    fleet.surveyed(survey, *both(0.8, 0.95))
    fleet.compiler()
    fleet.surveyed(survey, *both(0.95, 0.8))
    assert (fleet.record(job).device, fleet.core.stale_reports) == (OTHER, 1)


def test_a_crash_during_the_survey_surveys_again_and_one_after_it_does_not(fleet):
    job = fleet.submit(device=AUTO_DEVICE, choices=(DEVICE, OTHER))
    fleet.compiler()
    fleet.crash()
    (survey,) = fleet.compiler()
    assert survey.tasks[0].choices
    fleet.surveyed(survey, *both())
    fleet.crash()
    (order,) = fleet.compiler()
    assert (order.tasks[0].choices, fleet.record(job).device) == ((), DEVICE)


@pytest.mark.parametrize(
    ("candidates", "wishes", "code", "words"),
    [
        ((here(refusal="too few qubits"),), {}, "no_suitable_device", "too few qubits"),
        (both(0.5, 0.6), {"fidelity_floor": 0.7}, "fidelity_floor_unmet", "0.6000; fidelity_floor demands 0.7000"),
        (both(), {"max_qpu_s": 1.0}, "max_qpu_time_exceeded", "2.5 s"),
        ((here(refusal="broken"), here(OTHER, 0.5)), {"fidelity_floor": 0.7}, "no_suitable_device", "broken"),
    ],
)
def test_a_job_that_no_device_suits_fails_with_the_reason(fleet, candidates, wishes, code, words):
    job = fleet.placed(*candidates, **wishes)
    assert (fleet.state(job), fleet.record(job).error.code) == ("Failed", code)
    assert words in fleet.record(job).error.message


def test_a_deadline_that_no_device_can_meet_is_told_after_the_survey(fleet):
    slow = Candidate(DEVICE, "c", 0.9, 2.5, 500.0)
    job = fleet.placed(slow, deadline_at=fleet.now + 100)
    assert fleet.record(job).error.code == "deadline_unmeetable"


def test_the_wait_for_a_device_counts(fleet):
    fleet.queued(20, {"estimated_s": 100.0}, device=OTHER)
    assert fleet.record(fleet.placed(*both(0.9, 0.95))).device == DEVICE


def test_a_paused_device_gives_up_the_jobs_that_may_choose(fleet):
    job, fixed = fleet.placed(*both(0.95, 0.8)), fleet.queued(device=DEVICE)
    fleet.say(events.DevicePaused(DEVICE))
    assert (fleet.record(job).state.value, fleet.record(job).device, fleet.record(job).profile) == (
        "Pending",
        OTHER,
        None,
    )
    assert (job, "executable") in fleet.store.dropped
    assert fleet.state(fixed) == "Queued"
    for command in fleet.compiler():
        fleet.compiled(command)
    (command,) = [c for c in fleet.ready("b") if isinstance(c, RunGroup)]
    assert [m.job_id for m in command.group.members] == [job]


def test_a_lost_device_gives_up_the_jobs_that_may_choose(fleet):
    job = fleet.placed(*both(0.95, 0.8))
    fleet.say(events.AgentLost("a"))
    assert fleet.record(job).device == OTHER


def test_a_job_stays_where_it_is_when_nothing_else_will_do(fleet):
    job = fleet.placed(here(DEVICE, 0.95), here(OTHER, refusal="too small"))
    fleet.say(events.DevicePaused(DEVICE))
    assert (fleet.state(job), fleet.record(job).device) == ("Queued", DEVICE)


def test_a_job_is_not_moved_for_ever():
    driver = Driver(policy=NoiseAwarePolicy(), max_placements=2)
    driver.join("a", devices=(DEVICE,))
    driver.join("b", devices=(OTHER,))
    job = driver.placed(*both(0.95, 0.8))
    for device, then in ((DEVICE, OTHER), (OTHER, DEVICE), (DEVICE, DEVICE)):
        driver.say(events.DevicePaused(device))
        assert driver.record(job).device == then
        for command in driver.compiler():
            driver.compiled(command)
        driver.say(events.DeviceResumed(device))


def test_a_long_line_is_moved_in_steps():
    driver = Driver(policy=NoiseAwarePolicy(), placements_batch=2)
    driver.join("a", devices=(DEVICE,))
    driver.join("b", devices=(OTHER,))
    jobs = [driver.placed(*both(0.95, 0.9)) for _ in range(5)]
    assert {driver.record(job).device for job in jobs} == {DEVICE}
    driver.say(events.DevicePaused(DEVICE))
    assert [driver.record(job).device for job in jobs].count(OTHER) == 2
    assert driver.core.next_wakeup(driver.now) == 0.0
    driver.tick()
    driver.tick()
    assert {driver.record(job).device for job in jobs} == {OTHER}


def test_a_job_in_an_agents_hands_is_not_moved(fleet):
    job = fleet.placed(*both(0.95, 0.8))
    fleet.ready("a")
    fleet.say(events.DevicePaused(DEVICE))
    assert (fleet.state(job), fleet.record(job).device) == ("Allocating", DEVICE)


def test_many_jobs_placed_in_one_event_do_not_all_go_to_the_same_device(fleet):
    jobs = fleet.submit(6, device=AUTO_DEVICE, choices=(DEVICE, OTHER))
    (survey,) = fleet.compiler()
    slow = [Candidate(name, "c", 0.9, 2.5, 100.0) for name in (DEVICE, OTHER)]
    fleet.surveyed(survey, *slow)
    devices = [fleet.record(job).device for job in jobs]
    assert devices == [DEVICE, OTHER] * 3
    fleet.cancel(jobs[0])
    for command in fleet.compiler():
        fleet.compiled(command)
    assert [sum(device.coming) for device in fleet.core._world.devices.values()] == [0, 0]


def test_before_any_agent_is_there_jobs_are_spread_too(driver):
    slow = [Candidate(name, "c", 0.9, 2.5, 100.0) for name in (DEVICE, OTHER)]
    assert [driver.record(driver.placed(*slow)).device for _ in range(4)] == [DEVICE, OTHER] * 2


def test_a_snapshot_counts_what_was_decided(fleet):
    fleet.placed(*both(0.95, 0.8))
    fleet.say(events.DevicePaused(DEVICE))
    assert (fleet.core.snapshot()["replaced"], fleet.core.snapshot()["preempted"]) == (1, 0)


def other_of(driver, job) -> str:
    return OTHER if driver.record(job).device == DEVICE else DEVICE


def test_a_job_whose_device_was_paused_while_it_was_compiled_goes_elsewhere(fleet):
    job = fleet.submit(device=AUTO_DEVICE, choices=(DEVICE, OTHER))
    (survey,) = fleet.compiler()
    fleet.surveyed(survey, *both())
    other = other_of(fleet, job)
    fleet.say(events.DevicePaused(fleet.record(job).device))
    (order,) = fleet.compiler()
    fleet.compiled(order)
    assert (fleet.record(job).device, fleet.state(job)) == (other, "Pending")


def test_a_job_whose_agent_does_not_come_back_after_a_restart_goes_elsewhere(fleet):
    job = fleet.placed(*both())
    other = other_of(fleet, job)
    fleet.crash()
    fleet.join("b" if other == OTHER else "a", devices=(other,))
    fleet.tick(fleet.settings.agent_grace_s - 0.1)
    assert fleet.state(job) == "Queued"  # its own agent may still come
    fleet.tick(0.1)
    assert (fleet.record(job).device, fleet.state(job)) == (other, "Pending")


def test_a_job_whose_agent_comes_back_after_a_restart_stays(fleet):
    job = fleet.placed(*both())
    before = fleet.record(job).device
    fleet.crash()
    fleet.join("b", devices=(OTHER,))
    fleet.join("a", devices=(DEVICE,))
    fleet.tick(100.0)
    assert (fleet.record(job).device, fleet.state(job)) == (before, "Queued")


def test_a_job_that_waits_where_nobody_works_goes_where_somebody_begins_to():
    driver = Driver(policy=NoiseAwarePolicy())
    job = driver.placed(*both())
    other = other_of(driver, job)
    driver.join("b", devices=(other,))
    driver.tick(driver.settings.agent_grace_s)
    assert (driver.record(job).device, driver.state(job)) == (other, "Pending")


def test_a_job_stays_where_it_is_while_no_other_device_is_better_off(fleet):
    fleet.say(events.DevicePaused(DEVICE))
    fleet.say(events.DevicePaused(OTHER))
    job = fleet.placed(*both())
    assert fleet.state(job) == "Queued"
    other = other_of(fleet, job)
    fleet.say(events.DeviceResumed(other))
    fleet.tick(fleet.settings.agent_grace_s)
    assert (fleet.record(job).device, fleet.state(job)) == (other, "Pending")


def test_of_a_long_line_each_event_looks_at_a_few_and_every_job_is_looked_at():
    driver = Driver(policy=NoiseAwarePolicy(), placements_batch=4, max_queue_size=1000)
    driver.join("a", devices=(DEVICE,))
    for _ in range(50):
        driver.placed(*both())
    driver.join("b", devices=(OTHER,))
    device = driver.core._world.devices[DEVICE]
    driver.say(events.DevicePaused(DEVICE))
    seen = [len(device.movable)]
    while driver.core.next_wakeup(driver.now) == 0.0:
        driver.tick()
        seen.append(len(device.movable))
    assert seen[0] == 46
    assert all(0 <= before - after <= 4 for before, after in pairwise(seen))
    assert seen[-1] == 0


def test_agents_that_devices_have_in_common_are_looked_at_once_for_all_of_them(monkeypatch):
    driver = Driver(policy=NoiseAwarePolicy())
    for name in ("a", "b"):
        driver.join(name, devices=(DEVICE, OTHER))
    driver.executing(compile_as={"estimated_s": 100.0})
    world = driver.core._world
    record = driver.record(driver.submit(device=AUTO_DEVICE, choices=(DEVICE, OTHER)))
    looks = []
    pool = world.agents["a"].pool
    agents = dict(pool.agents)
    monkeypatch.setattr(
        pool, "agents", type("Seen", (dict,), {"values": lambda self: looks.append(1) or dict.values(self)})(agents)
    )
    options = options_of(world, record, both())
    assert [(option.utilisation, option.wait_s) for option in options] == [(0.5, 0.0)] * 2
    assert len(looks) == 1

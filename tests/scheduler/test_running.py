"""Attempts in the hands of agents: starts, reports, heartbeats, losses."""

from __future__ import annotations

import math

import pytest

from qrtx_ray.model import Heartbeat, RunReport
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import RecordMetadata, RunGroup, StopAttempt
from tests.scheduler.driving import DEVICE, OTHER, Driver, broken, done


def beat(driver, *running, progress=(), name="a", incarnation="1"):
    return driver.say(events.AgentHeard(Heartbeat(name, incarnation, running, progress)))


def unchanged(driver, act) -> None:
    """`act` changes no record and counts as one stale report."""
    before, stale = dict(driver.store.records), driver.core.stale_reports
    act()
    assert (driver.store.records, driver.core.stale_reports) == (before, stale + 1)


def test_a_success_is_completed_with_its_digest_and_charge_and_drops_the_executable(driver):
    job = driver.executing()
    driver.now += 3
    driver.record_metadata = False
    assert driver.reported(done(job)) == [RecordMetadata((job,))]
    record = driver.record(job)
    assert (record.state.value, record.result_sha256, record.result_bytes) == ("Completed", "ab" * 32, 100)
    assert (record.qpu_s, record.progress, record.finished_at, record.substate) == (2.5, 1.0, driver.now, None)
    assert driver.store.dropped == [(job, "executable")]
    assert [c.to_state.value for c in driver.core.story(job)][-2:] == ["Completing", "Completed"]
    driver.say(events.MetadataRecorded((job, "unknown")))
    assert driver.record(job).metadata_recorded
    assert driver.core.record(job) == driver.record(job)


def test_the_start_is_recorded_with_its_time(driver):
    job = driver.allocated()
    driver.now += 5
    driver.started((job, 1))
    record = driver.record(job)
    assert (record.state.value, record.substate, record.started_at) == ("Executing", "QuantumInitializing", driver.now)
    driver.started((job, 1))
    assert driver.record(job) == record


def test_a_report_that_overtakes_the_start_counts(driver):
    job = driver.allocated()
    driver.reported(done(job))
    assert driver.state(job) == "Completed"
    assert driver.record(job).started_at is not None


@pytest.mark.parametrize("event", ["started", "reported"])
@pytest.mark.parametrize("wrong", [{"attempt": 2}, {"incarnation": "0"}, {"name": "b"}, {"job": "nobody"}])
def test_a_stale_word_changes_nothing_but_a_counter(driver, event, wrong):
    job, attempt = driver.allocated(), wrong.get("attempt", 1)
    driver.join("b", devices=(OTHER,))
    who = {"name": wrong.get("name", "a"), "incarnation": wrong.get("incarnation", "1")}
    job = wrong.get("job", job)
    if event == "started":
        unchanged(driver, lambda: driver.started((job, attempt), **who))
    else:
        unchanged(driver, lambda: driver.reported(done(job, attempt), **who))


def test_a_second_report_changes_nothing(driver):
    job = driver.executing()
    driver.reported(done(job))
    unchanged(driver, lambda: driver.reported(broken(job)))
    assert driver.state(job) == "Completed"


def test_a_report_of_neither_result_nor_error_is_a_failure(driver):
    job = driver.executing()
    driver.reported(RunReport(job, 1))
    assert (driver.state(job), driver.record(job).error.code) == ("Failed", "execution_failed")


def test_members_of_a_group_end_each_on_its_own(driver):
    good, bad, late = driver.queued(3)
    driver.join()
    driver.ready()
    driver.started((good, 1), (bad, 1), (late, 1))
    driver.reported(done(good), broken(bad))
    assert [driver.state(j) for j in (good, bad, late)] == ["Completed", "Failed", "Executing"]
    assert driver.core.snapshot()["agents"]["a"] == {"groups": 1, "jobs": 1}
    driver.reported(done(late))
    assert driver.core.snapshot()["agents"]["a"] == {"groups": 0, "jobs": 0}


def test_progress_moves_in_memory_and_is_written_with_the_next_change(driver):
    job = driver.executing()
    before = driver.record(job)
    beat(driver, (job, 1), progress=((job, 1, 0.25, 3),))
    assert (driver.core.record(job).progress, driver.core.record(job).substate) == (0.25, "QuantumRunning")
    assert driver.record(job) == before
    beat(driver, (job, 1), progress=((job, 1, 0.1, 2), (job, 1, math.nan, 0), (job, 7, 0.9, 9), ("nobody", 1, 0.5, 1)))
    assert (driver.core.record(job).progress, driver.core.record(job).slices) == (0.25, 3)
    beat(driver, (job, 1), progress=((job, 1, 7.0, 3),))
    assert (driver.core.record(job).progress, driver.core.record(job).substate) == (1.0, "PostProcessing")
    driver.say(events.TagsChanged(job, "alice", ("x",)))
    assert driver.record(job).progress == 1.0


def test_progress_implies_the_start(driver):
    job = driver.allocated()
    beat(driver, (job, 1), progress=((job, 1, 0.0, 0),))
    assert driver.state(job) == "Allocating"
    beat(driver, (job, 1), progress=((job, 1, 0.1, 1),))
    assert driver.state(job) == "Executing"


def test_an_agent_is_told_to_stop_what_is_not_wanted_of_it(driver):
    job = driver.executing()
    assert beat(driver, (job, 1), ("ghost", 3)) == [StopAttempt("a", "1", "ghost", 3)]


def test_an_attempt_long_missing_from_the_heartbeats_is_requeued(driver):
    job = driver.executing()
    driver.now += driver.settings.missing_grace_s
    beat(driver)
    assert driver.state(job) == "Executing"
    beat(driver, (job, 1))
    driver.now += driver.settings.missing_grace_s + 1
    beat(driver)
    assert (driver.state(job), driver.record(job).attempt) == ("Queued", 1)
    assert driver.core.snapshot()["agents"]["a"]["groups"] == 0
    unchanged(driver, lambda: driver.reported(done(job)))


def test_a_lost_agent_gives_its_jobs_back_under_a_new_attempt(driver):
    job = driver.executing()
    driver.say(events.AgentLost("a", "1", "killed"))
    record = driver.record(job)
    assert (record.state.value, record.attempt, record.agent, record.group) == ("Queued", 1, None, None)
    assert (record.started_at, record.progress, record.retries) == (None, 0.0, 0)
    assert driver.store.changes[-1].reason == "killed"
    driver.join(incarnation="2")
    (command,) = driver.ready(incarnation="2")
    assert command.group.members[0].attempt == 2
    unchanged(driver, lambda: driver.reported(done(job, 1)))
    unchanged(driver, lambda: driver.reported(done(job, 1), incarnation="2"))
    driver.reported(done(job, 2), incarnation="2")
    assert driver.state(job) == "Completed"


def test_a_prefetched_job_of_a_lost_agent_goes_back_too(driver):
    job = driver.allocated()
    driver.say(events.AgentLost("a"))
    assert driver.state(job) == "Queued"


def test_the_loss_of_an_earlier_incarnation_or_of_a_stranger_is_old_news(driver):
    job = driver.executing()
    driver.say(events.AgentLost("a", "0"))
    driver.say(events.AgentLost("stranger"))
    assert driver.state(job) == "Executing"


def test_a_job_that_loses_too_many_agents_fails_and_names_the_limit():
    driver = Driver(max_losses=2)
    job = driver.queued()
    for attempt, state in ((1, "Queued"), (2, "Queued"), (3, "Failed")):
        incarnation = str(attempt)
        driver.join(incarnation=incarnation)
        driver.ready(incarnation=incarnation)
        assert driver.record(job).attempt == attempt
        driver.say(events.AgentLost("a"))
        assert driver.state(job) == state
    assert driver.record(job).error.code == "attempt_lost"
    assert "max_losses is 2" in driver.record(job).error.message


def test_a_new_incarnation_of_an_agent_replaces_the_old_one(driver):
    job = driver.executing()
    driver.join(incarnation="2", running=((job, 1),))
    assert driver.state(job) == "Queued", "a new process cannot run what the old one was given"
    assert driver.core.knows_agent("a", "2")
    assert not driver.core.knows_agent("a", "1")
    assert driver.core.snapshot()["agents"]["a"]["groups"] == 1, "but what it says it runs occupies it"
    driver.reported(done(job, 1), incarnation="2")
    assert driver.core.snapshot()["agents"]["a"]["groups"] == 0
    assert driver.state(job) == "Queued"


def test_an_agent_that_joins_again_keeps_what_it_names_and_loses_the_rest(driver):
    kept, lost = driver.queued(2)
    driver.join()
    driver.ready()
    driver.started((kept, 1), (lost, 1))
    assert driver.join(running=((kept, 1),)) == []
    assert (driver.state(kept), driver.state(lost)) == ("Executing", "Queued")
    driver.reported(done(kept))
    assert driver.state(kept) == "Completed"


def test_an_agent_that_joins_with_other_devices_serves_those(driver):
    driver.join()
    driver.join(devices=(OTHER,))
    assert driver.core.snapshot()["devices"] == {DEVICE: "offline", OTHER: "online"}
    driver.queued()
    assert driver.ready() == []


def test_what_a_stranger_says_changes_nothing(driver):
    driver.queued()
    assert driver.ready("stranger") == []
    unchanged(driver, lambda: beat(driver, ("x", 1), name="stranger"))


def test_a_job_that_cost_an_agent_goes_alone_the_next_time(driver):
    jobs = driver.queued(3)
    driver.join()
    driver.ready()
    driver.say(events.AgentLost("a"))
    driver.join(incarnation="2")
    (command,) = [c for c in driver.ready(incarnation="2") if isinstance(c, RunGroup)]
    assert [m.job_id for m in command.group.members] == jobs[:1]

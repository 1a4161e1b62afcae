"""Cancel, at every point of a job's way; deletion; and who may ask."""

from __future__ import annotations

import pytest

from qrtx_ray.errors import InvalidState, NotFound
from qrtx_ray.model import Heartbeat
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import Compile, StopAttempt
from tests.scheduler.driving import DEVICE, Driver, broken, done


def cancelled(driver, job) -> bool:
    record = driver.record(job)
    return (record.state.value, record.cancel_requested, record.cancelled_by) == ("Cancelled", True, "alice")


def test_a_pending_job_is_cancelled_at_once(driver):
    job = driver.submit()
    assert driver.cancel(job) == []
    assert cancelled(driver, job)
    assert driver.compiler() == []


def test_a_compiling_job_is_cancelled_at_once_and_its_late_report_is_stale(driver):
    job = driver.submit()
    (command,) = driver.compiler()
    assert isinstance(command, Compile)
    driver.cancel(job)
    assert cancelled(driver, job)
    driver.compiled(command)
    assert (driver.state(job), driver.core.stale_reports) == ("Cancelled", 1)


def test_a_queued_job_is_cancelled_at_once_and_leaves_the_line(driver):
    first, second = driver.queued(2)
    driver.cancel(first)
    assert cancelled(driver, first)
    assert (driver.core.position(second), driver.core.queue_length(DEVICE)) == (0, 1)
    assert driver.store.dropped == [(first, "executable")]


def test_a_job_in_backoff_is_cancelled_at_once(driver):
    job = driver.executing()
    driver.reported(broken(job, retryable=True))
    driver.cancel(job)
    assert cancelled(driver, job)
    assert driver.core.next_wakeup(driver.now) is None


@pytest.mark.parametrize("way", ["allocated", "executing"])
@pytest.mark.parametrize("end", [done, broken, lambda job: broken(job, retryable=True)])
def test_a_job_on_an_agent_is_stopped_and_any_report_then_cancels_it(driver, way, end):
    job = getattr(driver, way)()
    assert driver.cancel(job) == [StopAttempt("a", "1", job, 1)]
    assert driver.state(job) in {"Allocating", "Executing"}
    assert driver.record(job).cancel_requested, "the wish is durable before the reply"
    driver.reported(end(job))
    assert cancelled(driver, job)
    assert driver.record(job).result_sha256 is None


@pytest.mark.parametrize("way", ["allocated", "executing"])
def test_a_cancelled_job_is_cancelled_when_its_agent_is_lost(driver, way):
    job = getattr(driver, way)()
    driver.cancel(job)
    driver.say(events.AgentLost("a"))
    assert cancelled(driver, job)


def test_a_cancelled_job_is_cancelled_when_its_agent_does_not_answer(driver):
    job = driver.executing()
    driver.cancel(job)
    driver.tick(driver.settings.cancel_grace_s - 0.001)
    assert driver.state(job) == "Executing"
    driver.tick(0.001)
    assert cancelled(driver, job)
    assert driver.core.snapshot()["agents"]["a"]["groups"] == 1, "the agent is occupied until it has spoken"
    driver.reported(done(job))
    assert cancelled(driver, job)
    assert driver.core.snapshot()["agents"]["a"]["groups"] == 0


def test_a_start_after_the_cancel_does_not_prolong_the_grace(driver):
    job = driver.allocated()
    driver.cancel(job)
    driver.started((job, 1))
    assert driver.state(job) == "Executing"
    driver.tick(driver.settings.cancel_grace_s)
    assert cancelled(driver, job)


def test_a_heartbeat_repeats_a_stop_that_may_have_been_lost(driver):
    job = driver.executing()
    driver.cancel(job)
    beat = events.AgentHeard(Heartbeat("a", "1", ((job, 1),)))
    assert driver.say(beat) == [StopAttempt("a", "1", job, 1)]


def test_cancelling_twice_repeats_the_stop_and_writes_nothing(driver):
    job = driver.executing()
    driver.cancel(job)
    version = driver.record(job).version
    assert driver.cancel(job) == [StopAttempt("a", "1", job, 1)]
    assert driver.record(job).version == version


@pytest.mark.parametrize("record_metadata", [True, False])
def test_a_finished_job_cannot_be_cancelled(driver, record_metadata):
    driver.record_metadata = record_metadata
    job = driver.executing()
    driver.reported(done(job))
    text = driver.refused(events.CancelRequested(job, "alice", "alice"), InvalidState)
    assert "Completed" in text


@pytest.mark.parametrize("event", [events.CancelRequested, events.TagsChanged, events.DeletionRequested])
def test_another_tenants_job_is_as_unknown_as_one_that_does_not_exist(driver, event):
    rest = {events.CancelRequested: ("bob",), events.TagsChanged: ((),)}.get(event, ())
    job = driver.submit()
    text = driver.refused(event(job, "bob", *rest), NotFound)
    assert driver.refused(event("nobody", "bob", *rest), NotFound) == text.replace(job, "nobody")


def test_the_operator_may_cancel_any_job(driver):
    job = driver.submit()
    driver.cancel(job, tenant=None)
    assert cancelled(driver, job)


def test_only_a_finished_job_can_be_deleted(driver):
    job = driver.executing(idempotency_key="k")
    driver.refused(events.DeletionRequested(job, "alice"), InvalidState)
    driver.reported(done(job))
    assert driver.say(events.DeletionRequested(job, "alice")) == []
    assert driver.store.deleted == {job}
    driver.refused(events.DeletionRequested(job, "alice"), NotFound)
    driver.submit(idempotency_key="k")
    assert driver.answers == []


def test_a_job_can_be_deleted_before_its_metadata_is_recorded(driver):
    driver.record_metadata = False
    job = driver.submit()
    driver.cancel(job)
    driver.say(events.DeletionRequested(job, "alice"))
    assert driver.say(events.MetadataRecorded((job,))) == []
    assert driver.store.deleted == {job}


@pytest.mark.parametrize("event", [events.DevicePaused, events.DeviceResumed])
def test_an_unknown_device_cannot_be_paused_or_resumed(driver, event):
    assert "nope" in driver.refused(event("nope"), NotFound)


def test_the_oldest_finished_jobs_are_forgotten_beyond_the_limit():
    driver = Driver(terminal_memory=2)
    jobs = driver.submit(3, idempotency_key=None)
    for job in jobs:
        driver.cancel(job)
    driver.refused(events.CancelRequested(jobs[0], "alice", "alice"), NotFound)
    assert [driver.core.record(job).id for job in jobs[1:]] == jobs[1:]
    assert driver.core.story(jobs[2]) == ()

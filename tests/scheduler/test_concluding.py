"""A cancel that asks for the results there are: the run is concluded after its slice, and they are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qrtx_ray.model import Heartbeat, RunReport
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import ConcludeAttempt, StopAttempt
from tests.scheduler.driving import DEVICE, Driver, broken, done, ref


def conclude(driver, job) -> list:
    return driver.say(events.CancelRequested(job, "alice", "alice", partial=True))


def part(job, attempt=1, progress=0.4) -> RunReport:
    return replace(done(job, attempt), partial=True, progress=progress)


def beat(driver, job) -> list:
    return driver.say(events.AgentHeard(Heartbeat("a", "1", ((job, 1),))))


def test_a_running_job_is_concluded_and_its_partial_results_are_kept(driver):
    job = driver.executing()
    assert conclude(driver, job) == [ConcludeAttempt("a", "1", job, 1)]
    record = driver.record(job)
    assert (record.state.value, record.cancel_requested, record.keep_partial) == ("Executing", True, True)
    driver.reported(part(job))
    record = driver.record(job)
    assert (record.state.value, record.partial, record.progress) == ("Cancelled", True, 0.4)
    assert (record.result_sha256, record.result_bytes, record.qpu_s) == ("ab" * 32, 100, 2.5)
    assert driver.store.dropped == [(job, "executable")]


def test_a_full_result_that_was_faster_is_kept_and_the_job_cancelled(driver):
    job = driver.executing()
    conclude(driver, job)
    driver.reported(done(job))
    record = driver.record(job)
    assert (record.state.value, record.partial, record.progress) == ("Cancelled", False, 1.0)
    assert record.result_sha256 == "ab" * 32


@pytest.mark.parametrize("end", [
    broken,
    lambda job: broken(job, retryable=True),
    lambda job: broken(job, code="attempt_lost"),
    lambda job: RunReport(job, 1, preempted=True, progress=0.5, checkpoint=ref(job)),
    lambda job: RunReport(job, 1, partial=True),
])  # fmt: skip
def test_anything_else_cancels_it_without_results(driver, end):
    job = driver.executing()
    conclude(driver, job)
    driver.reported(end(job))
    record = driver.record(job)
    assert (record.state.value, record.partial, record.result_sha256) == ("Cancelled", False, None)


@pytest.mark.parametrize("way", ["submit", "queued", "paused"])
def test_a_job_that_waits_is_cancelled_at_once(driver, way):
    job = driver.paused(driver.queued()) if way == "paused" else getattr(driver, way)()
    assert conclude(driver, job) == []
    assert (driver.state(job), driver.record(job).keep_partial) == ("Cancelled", False)


def test_a_job_that_has_not_begun_on_its_agent_is_concluded_too(driver):
    job = driver.allocated()
    assert conclude(driver, job) == [ConcludeAttempt("a", "1", job, 1)]
    driver.reported(broken(job))
    assert driver.state(job) == "Cancelled"


def test_the_call_is_repeated_and_the_agent_has_two_slices_more():
    driver = Driver(cancel_grace_s=10.0)
    job = driver.executing()
    conclude(driver, job)
    assert beat(driver, job) == [ConcludeAttempt("a", "1", job, 1)]
    assert conclude(driver, job) == [ConcludeAttempt("a", "1", job, 1)]
    driver.tick(11.9)
    assert driver.state(job) == "Executing"
    driver.tick(0.1)
    assert (driver.state(job), driver.record(job).result_sha256) == ("Cancelled", None)
    assert beat(driver, job) == [StopAttempt("a", "1", job, 1)]
    driver.reported(part(job))
    assert driver.record(job).result_sha256 is None, "too late"


def test_a_second_cancel_without_the_wish_stops_it_at_once_and_drops_the_results():
    driver = Driver(cancel_grace_s=10.0)
    job = driver.executing()
    conclude(driver, job)
    driver.now += 5.0
    assert driver.cancel(job) == [StopAttempt("a", "1", job, 1)]
    assert not driver.record(job).keep_partial
    driver.tick(7.0)
    assert driver.state(job) == "Cancelled", "it does not get more time by that"
    driver.reported(part(job))
    assert driver.record(job).result_sha256 is None


def test_a_wish_after_the_cancel_is_too_late(driver):
    job = driver.executing()
    driver.cancel(job)
    assert conclude(driver, job) == [StopAttempt("a", "1", job, 1)]
    driver.reported(part(job))
    assert (driver.state(job), driver.record(job).result_sha256) == ("Cancelled", None)


def test_the_wish_survives_a_restart(driver):
    job = driver.executing()
    conclude(driver, job)
    driver.crash()
    assert driver.join(running=((job, 1),)) == [ConcludeAttempt("a", "1", job, 1)]
    driver.reported(part(job))
    assert (driver.state(job), driver.record(job).partial) == ("Cancelled", True)


def test_partial_results_that_nobody_asked_for_complete_nothing(driver):
    job = driver.executing()
    driver.reported(part(job))
    assert (driver.state(job), driver.record(job).losses) == ("Queued", 1)
    assert driver.core._world.devices[DEVICE].accuracy.count == 0, "and say nothing about estimates"


def test_people_are_told(driver):
    job = driver.executing()
    conclude(driver, job)
    assert driver.core.explain(job)["reason"] == "waits until agent a has concluded it"

"""After a restart: desired state from the store, actual state from the agents."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qrtx_ray.errors import InternalError
from qrtx_ray.model import TaskState
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import CompileOrder, RecordMetadata, StopAttempt
from tests.scheduler.driving import DEVICE, DEVICES, OTHER, Driver, broken, done


def test_a_pending_job_is_compiled_after_a_restart(driver):
    job = driver.submit()
    assert driver.crash() == []
    assert driver.compiler()[0].tasks == (CompileOrder(job, 2),)


def test_a_compiling_job_goes_back_to_pending_and_the_old_lease_is_fenced(driver):
    job = driver.submit()
    (old,) = driver.compiler()
    driver.crash()
    assert (driver.state(job), driver.store.changes[-1].reason) == ("Pending", "scheduler restarted")
    (new,) = driver.compiler()
    assert new.tasks[0].attempt > old.tasks[0].attempt
    driver.compiled(old)
    assert driver.state(job) == "Compiling"
    driver.compiled(new)
    assert driver.state(job) == "Queued"


def test_a_validating_job_goes_back_to_pending(driver):
    job = driver.submit()
    driver.store.records[job] = replace(driver.record(job), state=TaskState.VALIDATING)
    driver.crash()
    assert driver.state(job) == "Pending"


def test_a_completing_job_has_its_result_and_is_completed(driver):
    job = driver.executing()
    half = replace(driver.record(job), state=TaskState.COMPLETING, result_sha256="ab", result_bytes=2)
    driver.store.records[job] = half
    driver.crash()
    assert (driver.state(job), driver.record(job).result_sha256) == ("Completed", "ab")


def test_queued_jobs_keep_their_order(driver):
    jobs = driver.queued(3)
    driver.crash()
    assert [driver.core.position(j) for j in jobs] == [0, 1, 2]


def test_a_backoff_goes_on_over_a_restart(driver):
    job = driver.executing()
    driver.reported(broken(job, retryable=True))
    driver.crash()
    assert driver.core.position(job) is None
    driver.tick(1)
    assert driver.core.position(job) == 0


def test_a_backoff_that_ended_meanwhile_is_over(driver):
    job = driver.executing()
    driver.reported(broken(job, retryable=True))
    driver.now += 2
    driver.crash()
    assert driver.core.position(job) == 0


@pytest.mark.parametrize("way", ["allocated", "executing"])
def test_an_attempt_that_its_agent_names_is_adopted_and_completes(driver, way):
    job = getattr(driver, way)()
    driver.crash()
    assert driver.state(job) == {"allocated": "Allocating", "executing": "Executing"}[way]
    assert driver.join(running=((job, 1),)) == []
    driver.tick(driver.settings.agent_grace_s + 1)
    driver.reported(done(job))
    assert (driver.state(job), driver.record(job).attempt) == ("Completed", 1)


@pytest.mark.parametrize("way", ["allocated", "executing"])
def test_an_attempt_that_nobody_names_in_time_is_requeued(driver, way):
    job = getattr(driver, way)()
    driver.crash()
    assert driver.core.next_wakeup(driver.now) == driver.settings.agent_grace_s
    driver.tick(driver.settings.agent_grace_s)
    assert driver.state(job) == "Queued"
    assert driver.join(running=((job, 1),)) == [StopAttempt("a", "1", job, 1)]
    driver.reported(done(job, 1))
    assert driver.state(job) == "Queued"
    assert driver.ready()[0].group.members[0].attempt == 2


def test_an_attempt_that_its_agent_does_not_name_is_requeued_at_once(driver):
    job = driver.executing()
    driver.crash()
    driver.join(incarnation="2")
    assert driver.state(job) == "Queued"


def test_another_agent_cannot_claim_an_attempt(driver):
    job = driver.executing()
    driver.crash()
    assert driver.join("b", running=((job, 1),)) == [StopAttempt("b", "1", job, 1)]
    driver.reported(done(job), name="b")
    assert driver.state(job) == "Executing"


def test_an_old_attempt_cannot_be_claimed(driver):
    job = driver.executing()
    driver.crash()
    driver.join(running=((job, 0),))
    assert driver.state(job) == "Queued"


def test_a_restart_in_the_middle_of_a_cancel_ends_in_cancelled(driver):
    named, unnamed, silent = driver.executing(), driver.executing(), driver.queued()
    for job in (named, unnamed):
        driver.cancel(job)
    driver.crash()
    assert driver.join(running=((named, 1),)) == [StopAttempt("a", "1", named, 1)]
    assert driver.state(unnamed) == "Cancelled"
    driver.tick(driver.settings.cancel_grace_s)
    assert driver.state(named) == "Cancelled"
    assert driver.state(silent) == "Queued"


def test_a_cancel_while_the_agent_is_away_ends_in_cancelled(driver):
    job = driver.executing()
    driver.crash()
    assert driver.cancel(job) == []
    driver.tick(driver.settings.cancel_grace_s)
    assert driver.state(job) == "Cancelled"
    assert driver.join(running=((job, 1),)) == [StopAttempt("a", "1", job, 1)]


def test_an_adopted_attempt_is_still_bounded_in_time(driver):
    job = driver.executing(execution_timeout_s=20.0)
    driver.crash()
    driver.join(running=((job, 1),))
    driver.tick(30)
    assert driver.state(job) == "Timeout"


def test_metadata_that_was_not_recorded_is_asked_for_again(driver):
    driver.record_metadata = False
    job = driver.executing()
    driver.reported(done(job))
    assert driver.crash() == [RecordMetadata((job,))]
    driver.say(events.MetadataRecorded((job,)))
    assert driver.record(job).metadata_recorded
    assert driver.crash() == []


def test_a_job_of_a_device_that_is_no_longer_configured_waits_and_new_ones_are_refused(driver):
    job = driver.queued(device=OTHER)
    driver.devices = DEVICES[:1]
    driver.crash()
    assert driver.core.explain(job)["device_status"] == "offline"
    driver.submit(device=OTHER)
    assert [a.error.code for a in driver.answers] == ["device_unavailable"]
    driver.cancel(job)
    assert driver.state(job) == "Cancelled"


def test_losses_are_remembered_over_restarts():
    driver = Driver(max_losses=1)
    job = driver.executing()
    driver.say(events.AgentLost("a"))
    driver.crash()
    driver.join(incarnation="2")
    driver.ready(incarnation="2")
    driver.say(events.AgentLost("a"))
    assert driver.state(job) == "Failed"


def test_a_restart_of_a_restart_loses_nothing(driver):
    jobs = [driver.executing(), driver.queued(), driver.submit()]
    for _ in range(3):
        driver.crash()
    assert [driver.state(j) for j in jobs] == ["Executing", "Queued", "Pending"]


def test_only_a_fresh_core_can_be_restored(driver):
    driver.submit()
    with pytest.raises(InternalError, match="before its first event"):
        driver.core.restore([], 0, 0, 0.0)


def test_an_idempotency_key_is_known_after_a_restart(driver):
    driver.submit(idempotency_key="k")
    driver.crash()
    driver.submit(idempotency_key="k")
    assert [type(a).__name__ for a in driver.answers] == ["Duplicate"]
    assert driver.core.queue_length(DEVICE) == 0

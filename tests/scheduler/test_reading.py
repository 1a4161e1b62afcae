"""What can be asked of the core: it answers from memory and changes nothing."""

from __future__ import annotations

import pytest

from qrtx_ray.errors import NotFound
from qrtx_ray.scheduler import events
from tests.scheduler.driving import DEVICE, OTHER, Driver, broken, done


def reason(driver, job) -> str:
    return driver.core.explain(job)["reason"]


def test_explain_says_at_every_step_what_a_job_waits_for(driver):
    job = driver.submit()
    assert reason(driver, job) == "no compiler is there"
    driver.say(events.CompilerJoined("c", "1"))
    assert reason(driver, job) == "waits for a compiler"
    (command,) = driver.compiler()
    assert reason(driver, job) == "is with compiler c"
    driver.compiled(command)
    assert reason(driver, job) == "no agent serves the device"
    driver.join()
    assert reason(driver, job) == "it is next; the agents are busy"
    driver.say(events.DevicePaused(DEVICE))
    assert reason(driver, job) == "the device is paused"
    assert driver.core.explain(job)["device_status"] == "paused"
    driver.say(events.DeviceResumed(DEVICE))
    later = driver.queued()
    assert reason(driver, later) == "1 job is ahead of it"
    driver.ready(capacity=1)
    assert reason(driver, job) == "waits on agent a for the group before it"
    driver.started((job, 1))
    assert reason(driver, job) == "runs on agent a"
    driver.crash()
    assert reason(driver, job) == "waits for agent a to come back after a restart"
    driver.join(running=((job, 1),))
    driver.cancel(job)
    assert reason(driver, job) == "waits until agent a has stopped it"
    driver.reported(done(job))
    assert reason(driver, job) == "it has ended: Cancelled"


def test_explain_is_plain_data_about_job_and_device(driver):
    job = driver.queued()
    driver.join()
    assert driver.core.explain(job) == {
        "job_id": job,
        "state": "Queued",
        "public_state": "QUEUED",
        "attempt": 0,
        "retries": 0,
        "preemptions": 0,
        "promoted_at": None,
        "position": 0,
        "device": DEVICE,
        "device_status": "online",
        "agents": ["a"],
        "reason": "it is next; the agents are busy",
        "ahead": [],
        "policy": "priority",
        "candidates": [
            {
                "device": DEVICE,
                "score": 0.0,
                "contributions": {"waiting_s": 0.0},
                "chosen": True,
                "refusal": "",
                "fidelity": None,
                "qpu_s": 2.5,
                "estimated_s": 0.001,
                "calibration_id": "c",
            }
        ],
        "estimated_start": {"at": driver.now, "low": driver.now, "high": driver.now},
        "changes": [
            f"at {driver.now + 3600:.3f} s since the epoch it has waited longer than its level allows and goes first"
        ],
    }


def test_explain_tells_how_long_a_backoff_lasts(driver):
    job = driver.executing()
    driver.reported(broken(job, retryable=True))
    assert reason(driver, job) == "waits 1.000 s before its next attempt"


def test_a_position_counts_the_jobs_ahead_on_that_device_only(driver):
    first, second = driver.queued(2)
    elsewhere = driver.queued(device=OTHER)
    urgent = driver.queued(priority=90)
    assert [driver.core.position(j) for j in (urgent, first, second, elsewhere)] == [0, 1, 2, 0]
    assert driver.core.position(driver.submit()) is None
    assert driver.core.position("nobody") is None


def test_a_story_is_what_happened_oldest_first(driver):
    job = driver.executing()
    words = ["Pending", "Validating", "Compiling", "Queued", "Allocating", "Executing"]
    assert [change.to_state.value for change in driver.core.story(job)] == words
    assert list(driver.core.story(job)) == driver.store.changes
    assert driver.core.story("nobody") == ()


def test_a_snapshot_counts_by_state_and_level(driver):
    driver.submit(2)
    driver.submit(priority=90)
    shot = driver.core.snapshot()
    assert shot["jobs"]["Pending"] == [1, 0, 2, 0]
    assert (shot["live"], shot["pending"], shot["queues"][DEVICE]) == (3, 3, 0)
    driver.compiler()
    assert driver.core.snapshot()["jobs"]["Compiling"] == [1, 0, 2, 0]
    assert driver.core.snapshot()["compilers"] == {"c": 3}


def test_what_is_not_there_is_not_found(driver):
    for ask in (driver.core.record, driver.core.explain, driver.core.queue_length):
        with pytest.raises(NotFound, match="nobody"):
            ask("nobody")


def test_the_core_knows_who_has_joined(driver):
    driver.join(incarnation="7")
    driver.compiler(incarnation="8")
    assert driver.core.knows_agent("a", "7")
    assert not driver.core.knows_agent("a", "8")
    assert not driver.core.knows_agent("b", "7")
    assert driver.core.knows_compiler("c", "8")
    assert not driver.core.knows_compiler("c", "7")


def test_nothing_to_wake_up_for():
    assert Driver().core.next_wakeup(0.0) is None

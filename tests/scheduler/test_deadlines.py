"""Deadlines of jobs, promotion of those that wait too long, and the time budget of retries."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qrtx_ray.scheduler.commands import RunGroup
from qrtx_ray.scheduler.levels import DEFAULT_LEVELS
from qrtx_ray.scheduler.tenants import TenantPolicy
from tests.scheduler.driving import Driver, broken, done


def members(commands) -> list[str]:
    return [member.job_id for c in commands if isinstance(c, RunGroup) for member in c.group.members]


def test_a_waiting_job_fails_as_soon_as_its_deadline_cannot_be_met():
    driver = Driver()
    job = driver.queued(deadline_at=driver.now + 60.0, compile_as={"estimated_s": 10.0})
    assert driver.core.next_wakeup(driver.now) == 50.0
    driver.tick(49.9)
    assert driver.state(job) == "Queued"
    driver.tick(0.1)
    error = driver.record(job).error
    assert (driver.state(job), error.code, error.field) == ("Failed", "deadline_unmeetable", "deadline_at")
    assert "10.000 s" in error.message


@pytest.mark.parametrize("way", ["pending", "compiling"])
def test_a_job_that_is_not_compiled_yet_fails_at_its_deadline(way):
    driver = Driver()
    job = driver.submit(deadline_at=driver.now + 5.0)
    if way == "compiling":
        driver.compiler()
    driver.tick(5.0)
    assert (driver.state(job), driver.record(job).error.code) == ("Failed", "deadline_unmeetable")


def test_a_job_whose_run_takes_longer_than_its_deadline_fails_when_compiled():
    driver = Driver()
    job = driver.queued(deadline_at=driver.now + 5.0, compile_as={"estimated_s": 10.0})
    assert (driver.state(job), driver.record(job).error.code) == ("Failed", "deadline_unmeetable")


def test_a_job_that_runs_is_left_to_its_end():
    driver = Driver()
    job = driver.executing(deadline_at=driver.now + 5.0)
    driver.tick(6.0)
    assert driver.state(job) == "Executing"
    driver.reported(done(job))
    assert driver.state(job) == "Completed"


def test_a_retry_that_would_come_too_late_is_reported_at_once():
    driver = Driver(retry_initial_s=10.0)
    job = driver.executing(deadline_at=driver.now + 5.0)
    driver.reported(broken(job, retryable=True))
    assert driver.state(job) == "Queued"
    driver.tick(5.0)
    assert (driver.state(job), driver.record(job).error.code) == ("Failed", "deadline_unmeetable")


@pytest.mark.parametrize(("priority", "wait_s"), [(95, 300.0), (75, 900.0), (50, 3_600.0), (10, 86_400.0)])
def test_a_job_that_waits_too_long_is_promoted_once_and_not_timed_out(priority, wait_s):
    driver = Driver(queue_timeout_s=None)
    job = driver.queued(priority=priority)
    driver.tick(wait_s - 0.5)
    assert driver.record(job).promoted_at is None
    driver.tick(0.5)
    record = driver.record(job)
    assert (record.state.value, record.promoted_at) == ("Queued", driver.now)
    assert driver.core.next_wakeup(driver.now) is None
    driver.tick(1e6)
    assert driver.record(job) == record
    assert sum(driver.core._world.promoted) == 1


def test_a_promoted_job_goes_before_more_urgent_ones_and_keeps_its_right():
    driver = Driver(max_losses=5)
    low = driver.queued(priority=75)
    driver.tick(900.0)
    urgent = driver.queued(priority=95)
    driver.join()
    assert members(driver.ready(capacity=1)) == [low]
    driver.reported(broken(low, code="attempt_lost"))
    assert members(driver.ready(capacity=1)) == [low], "it was promoted before its agent was lost"
    driver.reported(done(low, 2))
    assert members(driver.ready(capacity=1)) == [urgent]


def test_before_the_compilers_too_a_job_that_waits_too_long_goes_first_the_lowest_level_before_all():
    driver = Driver(queue_timeout_s=None)
    low, critical = driver.submit(priority=10), driver.submit(priority=95)
    driver.tick(300.0)
    assert (driver.record(critical).promoted_at, driver.record(low).promoted_at) == (driver.now, None)
    driver.tick(86_100.0)
    assert driver.record(low).promoted_at == driver.now
    fresh = driver.submit(priority=95)
    (command,) = driver.compiler()
    assert [order.job_id for order in command.tasks] == [low, critical, fresh]
    driver.cancel(low)
    assert driver.state(low) == "Cancelled"


def test_a_job_whose_wait_grew_too_long_while_it_was_compiled_is_promoted_when_it_comes_to_its_line():
    driver = Driver()
    job = driver.submit(priority=95)
    (command,) = driver.compiler()
    driver.now += 299.0
    driver.tick()
    assert driver.record(job).promoted_at is None
    driver.now += 1.0
    driver.compiled(command)
    assert driver.record(job).promoted_at == driver.now


def test_a_promotion_survives_a_restart():
    driver = Driver(queue_timeout_s=None)
    job = driver.queued(priority=95)
    driver.tick(300.0)
    at = driver.record(job).promoted_at
    driver.crash()
    driver.tick(1_000.0)
    assert driver.record(job).promoted_at == at
    urgent = driver.queued(priority=95)
    driver.join()
    assert members(driver.ready(capacity=1)) == [job]
    assert driver.state(urgent) == "Queued"


def test_after_an_attempt_the_wait_counts_anew():
    driver = Driver(queue_timeout_s=None)
    job = driver.executing(priority=95)
    driver.now += 1_000.0
    driver.reported(broken(job, code="attempt_lost"))
    assert driver.record(job).promoted_at is None
    driver.tick(300.0)
    assert driver.record(job).promoted_at == driver.now


def test_a_level_without_a_longest_wait_promotes_nobody():
    levels = tuple(replace(level, max_wait_s=None) for level in DEFAULT_LEVELS)
    driver = Driver(levels=levels, queue_timeout_s=None)
    job = driver.queued()
    driver.tick(1e9)
    assert driver.record(job).promoted_at is None


def test_retries_end_when_their_time_is_spent():
    driver = Driver(max_retries=100, retry_budget_s=60.0)
    job = driver.executing()
    driver.now += 59.0
    driver.reported(broken(job, retryable=True))
    assert driver.state(job) == "Queued"
    driver.ready()
    driver.tick(2.0)
    driver.reported(broken(job, 2, retryable=True))
    assert driver.state(job) == "Failed"


def test_without_a_budget_only_the_number_of_retries_counts():
    driver = Driver(max_retries=1, retry_budget_s=None)
    job = driver.executing(execution_timeout_s=1e9)
    driver.now += 1e6
    driver.reported(broken(job, retryable=True))
    assert driver.state(job) == "Queued"


def test_many_promotions_are_spread_over_ticks_and_keep_their_order():
    driver = Driver(ticks_batch=2, queue_timeout_s=None)
    jobs = driver.queued(5, priority=95)
    driver.now += 300.0
    for over in (2, 4, 5):
        assert driver.core.next_wakeup(driver.now) == 0.0
        driver.tick()
        assert sum(driver.record(job).promoted_at is not None for job in jobs) == over
    driver.join()
    assert members(driver.ready()) == jobs


def test_the_policy_of_a_tenant_and_of_a_level_meet():
    driver = Driver(tenants={"alice": TenantPolicy(max_running=1)}, queue_timeout_s=None)
    first, second = driver.queued(2, priority=95)
    driver.tick(300.0)
    low = driver.queued(tenant="bob", priority=10)
    driver.join()
    assert members(driver.ready(capacity=9)) == [first, low], "promoted or not, the tenant may run one"
    assert driver.state(second) == "Queued"

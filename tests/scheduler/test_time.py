"""Deadlines and retries; time only ever comes in as an argument."""

from __future__ import annotations

import pytest

from qrtx_ray.errors import ErrorInfo
from qrtx_ray.scheduler import CoreSettings
from qrtx_ray.scheduler.commands import RunGroup, StopAttempt
from qrtx_ray.scheduler.retry import backoff_s, deserves_retry
from tests.scheduler.driving import Driver, broken, done, error


@pytest.mark.parametrize("way", ["submit", "queued"])
def test_a_job_that_waits_too_long_times_out(driver, way):
    job = getattr(driver, way)(queue_timeout_s=5.0)
    assert driver.core.next_wakeup(driver.now) == 5.0
    driver.tick(4.999)
    assert not driver.record(job).terminal
    driver.tick(0.001)
    record = driver.record(job)
    assert (record.state.value, record.error.code, record.error.limit) == ("Timeout", "queue_timeout", "5.0 s")
    assert driver.core.next_wakeup(driver.now) is None


def test_a_compiling_job_waits_too(driver):
    job = driver.submit(queue_timeout_s=5.0)
    (command,) = driver.compiler()
    driver.tick(5)
    assert driver.state(job) == "Timeout"
    driver.compiled(command)
    assert driver.state(job) == "Timeout"


def test_the_configured_queue_timeout_holds_when_the_job_names_none():
    driver = Driver(queue_timeout_s=7.0)
    job = driver.submit()
    driver.tick(7)
    assert "7.0 s" in driver.record(job).error.message


def test_without_a_queue_timeout_a_job_waits_for_ever():
    driver = Driver(queue_timeout_s=None)
    job = driver.submit()
    driver.tick(1e9)
    assert driver.core.next_wakeup(driver.now) is None
    assert driver.state(job) == "Pending"


def test_the_queue_timeout_does_not_run_while_an_agent_has_the_job(driver):
    job = driver.executing(queue_timeout_s=5.0)
    driver.tick(6)
    assert driver.state(job) == "Executing"


def test_the_queue_timeout_counts_anew_after_an_attempt(driver):
    job = driver.executing(queue_timeout_s=5.0)
    driver.now += 100
    driver.reported(broken(job, retryable=True))
    driver.tick(5.5)
    assert driver.state(job) == "Queued"
    driver.tick(0.5)
    assert driver.state(job) == "Timeout"


def test_an_agent_that_reports_an_execution_timeout_times_the_job_out(driver):
    job = driver.executing()
    driver.reported(broken(job, code="execution_timeout", retryable=True))
    assert (driver.state(job), driver.record(job).error.code) == ("Timeout", "execution_timeout")


def test_an_attempt_that_its_agent_does_not_end_is_ended_by_the_core(driver):
    job = driver.executing(execution_timeout_s=20.0)
    assert driver.core.next_wakeup(driver.now) == 30.0
    assert driver.tick(29.999) == []
    assert driver.tick(0.001) == [StopAttempt("a", "1", job, 1)]
    record = driver.record(job)
    assert (record.state.value, record.error.code) == ("Timeout", "execution_timeout")
    assert "20.0 s" in record.error.message
    driver.reported(done(job))
    assert driver.state(job) == "Timeout"


def test_a_member_may_use_its_whole_limit_after_those_before_it(driver):
    first, second = driver.queued(2, execution_timeout_s=20.0)
    driver.join()
    driver.ready()
    driver.started((first, 1), (second, 1))
    driver.tick(30)
    assert (driver.state(first), driver.state(second)) == ("Timeout", "Executing")
    driver.tick(20)
    assert driver.state(second) == "Timeout"


def test_a_retryable_error_waits_and_runs_again(driver):
    job = driver.executing()
    assert driver.ready() == []
    assert driver.reported(broken(job, retryable=True)) == []
    record = driver.record(job)
    assert (record.state.value, record.retries, record.not_before) == ("Queued", 1, driver.now + 1.0)
    assert driver.core.position(job) is None
    assert driver.core.next_wakeup(driver.now) == 1.0
    assert driver.tick(0.999) == []
    (command,) = driver.tick(0.001)
    assert isinstance(command, RunGroup)
    assert command.group.members[0].attempt == 2
    driver.reported(done(job, 2))
    assert (driver.state(job), driver.record(job).error) == ("Completed", None)


def test_retries_end_with_the_last_error():
    driver = Driver(max_retries=1)
    job = driver.executing()
    driver.reported(broken(job, retryable=True))
    driver.ready()
    driver.tick(10)
    driver.reported(broken(job, 2, code="again", retryable=True))
    assert (driver.state(job), driver.record(job).error.code) == ("Failed", "again")


def test_losses_and_retries_are_counted_apart():
    driver = Driver(max_retries=1, max_losses=1)
    job = driver.executing()
    driver.reported(broken(job, retryable=True))
    driver.ready()
    driver.tick(10)
    driver.reported(broken(job, 2, code="attempt_lost"))
    assert driver.state(job) == "Queued"
    driver.ready()
    assert driver.record(job).attempt == 3
    driver.reported(broken(job, 3, code="attempt_lost"))
    assert driver.state(job) == "Failed"


def test_an_error_that_is_not_worth_it_is_not_retried(driver):
    job = driver.executing()
    driver.reported(broken(job))
    assert (driver.state(job), driver.record(job).error) == ("Failed", error())


def test_a_code_can_be_made_worth_a_retry():
    settings = CoreSettings(retryable_codes=frozenset({"worker_died"}))
    assert deserves_retry(error("worker_died"), 0, settings)
    assert not deserves_retry(error("worker_died"), settings.max_retries, settings)
    assert not deserves_retry(ErrorInfo("x", "", "ExecuteError"), 0, settings)


def test_the_backoff_doubles_up_to_its_bound():
    settings = CoreSettings(retry_initial_s=1.0, retry_multiplier=2.0, retry_max_s=10.0)
    assert [backoff_s(n, settings) for n in (1, 2, 3, 4, 5, 10_000)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_clock_that_goes_back_makes_no_negative_ages_and_no_early_timeouts(driver):
    job = driver.submit(queue_timeout_s=5.0)
    driver.now -= 86_400
    driver.tick()
    later = driver.submit()
    assert driver.record(later).created_at == driver.record(job).created_at
    assert driver.core.next_wakeup(driver.now) == 5.0
    assert driver.state(job) == "Pending"


def test_a_long_list_of_deadlines_is_spread_over_ticks():
    driver = Driver(ticks_batch=2, queue_timeout_s=1.0)
    jobs = driver.submit(5)
    driver.now += 1
    for over in (2, 4, 5):
        assert driver.core.next_wakeup(driver.now) == 0.0
        driver.tick()
        assert sum(driver.state(j) == "Timeout" for j in jobs) == over
    assert driver.core.next_wakeup(driver.now) is None

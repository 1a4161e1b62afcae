"""Compile leases."""

from __future__ import annotations

import pytest

from qrtx_ray.model import CompileReport
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import Compile
from tests.scheduler.driving import Driver, error, profile


def lease(driver, **more) -> Compile:
    (command,) = driver.compiler(**more)
    return command


def test_a_batch_is_the_head_of_the_line_up_to_the_capacity(driver):
    low = driver.submit(2, priority=10)
    high = driver.submit(2, priority=90)
    command = lease(driver, capacity=3)
    assert [order.job_id for order in command.tasks] == [*high, low[0]]
    assert driver.state(low[1]) == "Pending"


def test_several_compilers_share_a_short_line(driver):
    driver.submit(8)
    driver.say(events.CompilerJoined("d", "1"))
    assert len(lease(driver).tasks) == 4


def test_an_offer_is_used_once(driver):
    lease_one = driver.submit() and lease(driver)
    assert len(lease_one.tasks) == 1
    driver.submit()
    assert driver.commands == []


def test_an_offer_can_be_withdrawn(driver):
    driver.compiler()
    driver.say(events.CompilerReady("c", "1", 0))
    driver.submit()
    assert driver.commands == []


def test_a_compiled_job_stands_in_the_line_of_its_device_with_its_profile(driver):
    job = driver.queued()
    record = driver.record(job)
    assert (record.state.value, record.profile, record.queued_at) == ("Queued", profile(), driver.now)
    assert driver.core.position(job) == 0


def test_a_compile_error_fails_the_job_with_that_error(driver):
    good, bad = driver.submit(2)
    command = lease(driver)
    attempts = {order.job_id: order.attempt for order in command.tasks}
    what = error("decode_failed", category="ValidationError")
    reports = (CompileReport(bad, attempts[bad], error=what), CompileReport(good, attempts[good], profile(), b"x"))
    driver.say(events.JobsCompiled("c", "1", reports))
    assert (driver.state(bad), driver.record(bad).error) == ("Failed", what)
    assert driver.state(good) == "Queued"


def test_a_report_of_nothing_is_an_error(driver):
    job = driver.submit()
    (order,) = lease(driver).tasks
    attempt = order.attempt
    driver.say(events.JobsCompiled("c", "1", (CompileReport(job, attempt),)))
    assert driver.record(job).error.code == "compile_failed"


def test_a_job_that_needs_too_much_memory_is_told_how_much_and_how_much_there_is():
    driver = Driver(max_job_bytes=1000)
    job = driver.queued(compile_as={"estimated_bytes": 1001})
    failure = driver.record(job).error
    assert (driver.state(job), failure.code) == ("Failed", "resource_exhausted")
    assert "1001 bytes" in failure.message
    assert "1000 bytes" in failure.message


def test_a_job_that_would_exceed_its_own_bound_of_qpu_time_is_told_both_figures(driver):
    job = driver.queued(compile_as={"qpu_s": 2.5}, max_qpu_s=2.25)
    failure = driver.record(job).error
    assert (driver.state(job), failure.code, failure.category) == ("Failed", "max_qpu_time_exceeded", "AllocationError")
    assert "2.5 s" in failure.message
    assert "2.25 s" in failure.message
    assert driver.state(driver.queued(compile_as={"qpu_s": 2.5}, max_qpu_s=2.5)) == "Queued"


def test_a_lost_compiler_gives_its_jobs_back_and_its_late_reports_change_nothing(driver):
    job = driver.submit()
    old = lease(driver)
    driver.say(events.CompilerLost("c"))
    assert driver.state(job) == "Pending"
    driver.compiled(old)
    assert (driver.state(job), driver.core.stale_reports) == ("Pending", 1)
    new = lease(driver, incarnation="2")
    assert new.tasks[0].attempt > old.tasks[0].attempt
    driver.say(
        events.JobsCompiled("c", "2", (CompileReport(old.tasks[0].job_id, old.tasks[0].attempt, profile(), b"x"),))
    )
    assert (driver.state(job), driver.core.stale_reports) == ("Compiling", 2)
    driver.compiled(new)
    driver.compiled(new)
    assert (driver.state(job), driver.core.stale_reports) == ("Queued", 3)


def test_the_loss_of_an_earlier_incarnation_is_old_news(driver):
    job = driver.submit()
    lease(driver, incarnation="2")
    driver.say(events.CompilerLost("c", "1"))
    driver.say(events.CompilerLost("stranger"))
    driver.say(events.CompilerJoined("c", "2"))
    assert driver.state(job) == "Compiling"


def test_a_new_incarnation_replaces_the_old_one(driver):
    job = driver.submit()
    lease(driver)
    driver.say(events.CompilerJoined("c", "2"))
    assert driver.state(job) == "Pending"
    assert driver.core.knows_compiler("c", "2")
    assert not driver.core.knows_compiler("c", "1")


def test_a_job_that_loses_too_many_compilers_fails():
    driver = Driver(max_losses=2)
    job = driver.submit()
    for incarnation in "123":
        assert driver.state(job) == "Pending"
        lease(driver, incarnation=incarnation)
        driver.say(events.CompilerLost("c", incarnation))
    assert (driver.state(job), driver.record(job).error.code) == ("Failed", "attempt_lost")


def test_a_silent_compiler_loses_its_lease(driver):
    job = driver.submit()
    command = lease(driver)
    assert driver.core.next_wakeup(driver.now) == driver.settings.compile_lease_s
    driver.tick(driver.settings.compile_lease_s)
    assert driver.state(job) == "Pending"
    driver.compiled(command)
    assert driver.state(job) == "Pending"


@pytest.mark.parametrize("event", [events.CompilerReady("x", "1", 5), events.JobsCompiled("x", "1", ())])
def test_what_a_stranger_says_changes_nothing(driver, event):
    driver.submit()
    assert driver.say(event) == []
    assert driver.core.stale_reports == 1

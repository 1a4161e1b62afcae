"""What tenants may submit: quotas, and what is refused because it cannot be met."""

from __future__ import annotations

import pytest

from qrtx_ray.model import AUTO_DEVICE
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import Persist, Refuse
from qrtx_ray.scheduler.tenants import TenantPolicy
from tests.scheduler.driving import DEVICE, OTHER, Driver, broken, done


def refusal(driver):
    (answer,) = [answer for answer in driver.answers if isinstance(answer, Refuse)]
    return answer.error


def with_quota(**limits) -> Driver:
    return Driver(tenants={"alice": TenantPolicy(**limits)})


def test_a_tenant_has_no_more_unfinished_jobs_than_its_quota():
    driver = with_quota(max_queued=2)
    first, _, _ = driver.submit(3)
    assert (refusal(driver).code, refusal(driver).field, refusal(driver).limit) == (
        "quota_queued",
        "quotas.queued",
        "2 jobs",
    )
    driver.submit(tenant="bob")
    assert not driver.answers, "others are not bound by it"
    driver.cancel(first)
    driver.submit()
    assert not driver.answers


def test_all_tenants_without_a_policy_of_their_own_have_the_default():
    driver = Driver(default_tenant=TenantPolicy(max_queued=1), tenants={"alice": TenantPolicy()})
    driver.submit(5)
    assert not driver.answers
    driver.submit(2, tenant="bob")
    assert refusal(driver).code == "quota_queued"


def test_a_spent_quota_of_qpu_seconds_refuses_until_the_next_period():
    driver = with_quota(max_qpu_s=5.0, period_s=100.0)
    driver.now = 1_000.0
    for _ in range(2):
        job = driver.executing()
        driver.reported(done(job))
    driver.submit()
    assert (refusal(driver).code, refusal(driver).limit) == ("quota_qpu_seconds", "5 s")
    assert "5 s" in refusal(driver).message
    driver.now = 1_100.0
    driver.submit()
    assert not driver.answers


def test_what_is_promised_to_unfinished_jobs_counts_too():
    driver = with_quota(max_qpu_s=5.0)
    driver.queued(2)
    driver.submit()
    assert refusal(driver).code == "quota_qpu_seconds"


def test_a_job_that_turns_out_to_need_too_much_fails_when_that_is_known():
    driver = with_quota(max_qpu_s=5.0)
    jobs = driver.submit(3)
    for command in driver.compiler():
        driver.compiled(command)
    assert [driver.state(job) for job in jobs] == ["Queued", "Queued", "Failed"]
    error = driver.record(jobs[2]).error
    assert (error.code, error.field, error.limit) == ("quota_qpu_seconds", "quotas.qpu_seconds", "5 s")
    driver.cancel(jobs[0])
    driver.queued()
    assert not driver.answers, "what was promised to a cancelled job is free again"


def test_failed_attempts_are_charged_what_they_used():
    driver = with_quota(max_qpu_s=5.0)
    job = driver.executing()
    driver.reported(broken(job), done("unknown"))
    account = driver.core._world.tenants.account("alice")
    assert driver.core._world.tenants.used_in_period_s(account, driver.now) == 0.0
    job = driver.executing()
    report = broken(job)
    driver.reported(type(report)(job, 1, error=report.error, qpu_s=1.5))
    assert driver.core._world.tenants.used_in_period_s(account, driver.now) == 1.5


def test_a_quota_of_qpu_seconds_survives_a_restart():
    driver = with_quota(max_qpu_s=5.0)
    facts = {}
    for _ in range(2):
        job = driver.executing()
        commands = driver.core.handle(driver_report(job), driver.now)
        facts |= dict(next(c for c in commands if isinstance(c, Persist)).facts)
        driver.store.commit(commands[0])
    assert list(facts) == ["usage/alice"]
    driver.core = type(driver.core)(driver.settings, driver.devices)
    driver.core.restore((), driver.store.last_sequence(), 99, driver.now, facts)
    driver.submit()
    assert refusal(driver).code == "quota_qpu_seconds"


def test_what_a_tenant_used_is_written_with_the_next_tick_after_a_minute():
    driver = Driver()
    job = driver.executing()
    driver.reported(done(job))
    assert driver.store.facts == {}
    driver.tick(59.0)
    assert driver.store.facts == {}
    driver.tick(1.0)
    assert list(driver.store.facts) == ["usage/alice"]
    driver.crash()
    usage = driver.core._world.tenants.usage_s(driver.core._world.tenants.account("alice"), driver.now)
    assert usage == pytest.approx(2.5, rel=1e-3)


def driver_report(job):
    return events.RunsReported("a", "1", (done(job),))


def test_a_running_quota_holds_the_job_and_lets_others_pass():
    driver = with_quota(max_running=1)
    first, second = driver.queued(2)
    other = driver.queued(tenant="bob", priority=10)
    driver.join()
    driver.ready(capacity=1)
    driver.join("b")
    driver.ready("b", capacity=5)
    assert [driver.state(job) for job in (first, second, other)] == ["Allocating", "Queued", "Allocating"]
    driver.join("c")
    assert driver.ready("c") == []
    driver.reported(done(first))
    assert driver.state(second) == "Allocating", "the agent that waits gets it at once"


def test_a_running_quota_is_not_exceeded_inside_a_group_or_by_a_restart():
    driver = with_quota(max_running=2)
    jobs = driver.queued(5)
    driver.join()
    driver.ready(capacity=32)
    assert [driver.state(job) for job in jobs].count("Allocating") == 2
    driver.crash()
    driver.join("b")
    assert driver.ready("b") == []


def test_a_deadline_that_has_passed_is_refused_at_the_door():
    driver = Driver()
    driver.submit(deadline_at=driver.now)
    assert (refusal(driver).code, refusal(driver).field) == ("deadline_unmeetable", "deadline_at")
    assert "passed" in refusal(driver).message
    driver.submit(deadline_at=driver.now + 0.001)
    assert not driver.answers


def test_an_automatic_job_needs_choices_that_exist():
    driver = Driver()
    driver.submit(device=AUTO_DEVICE)
    assert (refusal(driver).code, refusal(driver).field) == ("device_unavailable", "choices")
    driver.submit(device=AUTO_DEVICE, choices=(DEVICE, "nowhere@aer"))
    assert "nowhere@aer" in refusal(driver).message
    driver.submit(device=AUTO_DEVICE, choices=(DEVICE, OTHER))
    assert not driver.answers


def test_a_dry_run_is_not_held_against_the_quota_of_qpu_seconds():
    driver = with_quota(max_qpu_s=5.0)
    driver.queued(2)
    driver.submit(dry_run=True)
    assert not driver.answers


@pytest.mark.parametrize("limit", [{"max_queued": 1}, {"max_qpu_s": 1e-9}])
def test_a_refused_submit_changes_nothing(limit):
    driver = with_quota(**limit)
    driver.submit(2)
    before = driver.core.snapshot()
    driver.submit()
    if driver.answers:
        assert driver.core.snapshot() == before

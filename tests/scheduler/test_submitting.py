"""The door: what becomes a job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import Compile, CompileOrder, Duplicate, Refuse
from tests.scheduler.driving import OTHER, Driver, done, request


def submit(driver, *pairs, **extra):
    return driver.say(events.JobsSubmitted(tuple(events.NewJob(i, r, 1, **extra) for i, r in pairs)))


def test_an_accepted_job_is_persisted_with_everything_the_request_says(driver):
    asked = request(
        priority=70, name="n", tags=("t",), session_id="s", private=True, queue_timeout_s=5.0, client="c",
        execution_timeout_s=6.0, max_qpu_s=7.0, idempotency_key="k", digest="d", source="runtime", instance="crn",
    )  # fmt: skip
    assert submit(driver, ("j", asked)) == []
    record = driver.record("j")
    shared = set(type(record).__dataclass_fields__) & set(type(asked).__dataclass_fields__) - {"seed"}
    assert {name: getattr(record, name) for name in shared} == {name: getattr(asked, name) for name in shared}
    assert (record.version, record.number, record.seed, record.created_at) == (1, 1, 1, driver.now)
    (change,) = driver.store.changes
    assert (change.from_state, change.to_state.value, change.sequence) == (None, "Pending", 1)


def test_an_unknown_device_is_refused_and_the_rest_of_the_batch_is_not(driver):
    (refusal,) = submit(driver, ("x", request(device="nope@aer")), ("y", request()))
    assert (refusal.job_id, refusal.error.code) == ("x", "device_unavailable")
    assert set(driver.store.records) == {"y"}


def test_the_queue_is_bounded_and_says_by_how_much():
    driver = Driver(max_queue_size=2)
    answers = submit(driver, *[(f"j{i}", request()) for i in range(3)])
    assert [(a.job_id, a.error.code, a.error.limit, a.error.retryable) for a in answers] == [
        ("j2", "queue_full", "2 jobs", True)
    ]
    assert "max_queue_size" in answers[0].error.message
    assert set(driver.store.records) == {"j0", "j1"}


def test_a_finished_job_leaves_room_in_the_queue():
    driver = Driver(max_queue_size=1)
    first = driver.executing()
    assert isinstance(submit(driver, ("x", request()))[0], Refuse)
    driver.reported(done(first))
    assert not [a for a in submit(driver, ("y", request())) if isinstance(a, Refuse)]


def test_one_tenant_cannot_fill_the_queue_of_another():
    driver = Driver(max_queue_per_tenant=1)
    answers = submit(driver, ("a", request()), ("b", request()), ("c", request(tenant="bob")))
    assert [(a.job_id, a.error.code) for a in answers] == [("b", "queue_full")]
    assert "max_queue_per_tenant" in answers[0].error.message


def test_the_same_key_and_body_is_the_same_job(driver):
    asked = request(idempotency_key="k", digest="d")
    assert submit(driver, ("j1", asked), ("j2", asked)) == [Duplicate("j2", "j1")]
    assert submit(driver, ("j3", asked)) == [Duplicate("j3", "j1")]
    assert set(driver.store.records) == {"j1"}


def test_the_same_key_with_another_body_is_a_conflict(driver):
    submit(driver, ("j1", request(idempotency_key="k", digest="d")))
    (refusal,) = submit(driver, ("j2", request(idempotency_key="k", digest="e")))
    assert refusal.error.code == "idempotency_conflict"


def test_the_same_key_of_another_tenant_is_another_job(driver):
    submit(driver, ("j1", request(idempotency_key="k")))
    assert submit(driver, ("j2", request(idempotency_key="k", tenant="bob"))) == []


@pytest.mark.parametrize(("digest", "kind"), [("d", Duplicate), ("e", Refuse)])
def test_a_job_that_only_the_store_remembers_is_recognised(driver, digest, kind):
    submit(driver, ("old", request(idempotency_key="k", digest="d")))
    old, other = driver.record("old"), Driver()
    (answer,) = submit(other, ("new", request(idempotency_key="k", digest=digest)), existing=old)
    assert isinstance(answer, kind)


def test_the_key_of_a_finished_job_is_remembered(driver):
    first = driver.executing(idempotency_key="k", digest="d")
    driver.reported(done(first))
    assert Duplicate("x", first) in submit(driver, ("x", request(idempotency_key="k", digest="d")))


def test_an_identifier_in_use_is_refused(driver):
    submit(driver, ("j", request()))
    (refusal,) = submit(driver, ("j", request(tenant="bob")))
    assert refusal.error.code == "internal"
    assert driver.record("j").tenant == "alice"


def test_numbers_and_sequences_go_on_where_the_store_left_off(driver):
    submit(driver, ("j1", request()))
    driver.crash()
    submit(driver, ("j2", request()))
    assert driver.record("j2").number == 2


def test_a_job_goes_to_a_parked_compiler_at_once(driver):
    driver.compiler()
    (command,) = submit(driver, ("j", request(device=OTHER)))
    assert isinstance(command, Compile)
    assert driver.state("j") == "Compiling"
    assert command.tasks == (CompileOrder("j", driver.record("j").version),)


def test_tags_can_be_changed_at_any_time_and_cost_one_version(driver):
    job = driver.submit()
    driver.say(events.TagsChanged(job, "alice", ("x",)))
    assert (driver.record(job).tags, driver.record(job).version) == (("x",), 2)
    first = driver.executing()
    driver.reported(done(first))
    before = driver.record(first)
    driver.say(events.TagsChanged(first, "alice", ("y",)))
    assert driver.record(first) == replace(before, tags=("y",), version=before.version + 1)
    assert driver.core.record(first).tags == ("y",)

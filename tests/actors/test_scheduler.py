"""The scheduler actor as a plain class: the life of jobs, and what it promises to whoever calls."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future

import pytest

from qrtx_ray.actors import errands
from qrtx_ray.actors.wire import OWN_KEY
from qrtx_ray.errors import ErrorInfo, InvalidState, NotFound, PersistError, StoreFull
from qrtx_ray.model import JobQuery, JobRecord, RunReport, TaskState

from .building import DEVICE, request, settings, until
from .house import House, done


@pytest.fixture
async def house(tmp_path, cluster, monkeypatch):
    house = House(settings(tmp_path, **{"storage.journal_url": "memory:"}), cluster)
    monkeypatch.setattr(os, "_exit", house.exits.append)
    monkeypatch.setattr("qrtx_ray.actors.shell.LAST_WORDS_S", 0.0)
    await house.scheduler.ping()
    yield house
    await house.close()


async def executing(house: House, **fields) -> str:
    [job] = await house.submit(**fields)
    await house.compile()
    await house.join()
    group = await house.lease()
    await house.scheduler.started("agent", "1", [(m.job_id, m.attempt) for m in group.members])
    await house.until_all([job], lambda record: record.state is TaskState.EXECUTING)
    return job


async def test_a_job_walks_from_submit_to_completed(house):
    job = await executing(house, tags=("a",))
    assert await house.report(done(job))
    record = await house.record(job)
    assert (record.state, record.attempt, record.qpu_s, record.progress) == (TaskState.COMPLETED, 1, 2.0, 1.0)
    assert [str(change.to_state) for change in await house.scheduler.history(job)] == [
        "Pending",
        "Validating",
        "Compiling",
        "Queued",
        "Allocating",
        "Executing",
        "Completing",
        "Completed",
    ]
    assert await house.scheduler.payload(job) == b"payload"
    assert await house.scheduler.usage_qpu_s("alice", 0.0) == 2.0
    page = await house.scheduler.query(JobQuery("alice", tags=("a",)))
    assert [entry.id for entry in page.records] == [job]


async def test_a_lease_carries_what_was_compiled_and_how_many_qubits_live(house):
    jobs = await house.submit(3)
    assert await house.compile() == jobs
    await house.join()
    group = await house.lease()
    assert [member.job_id for member in group.members] == jobs
    assert {member.executable for member in group.members} == {b"compiled payload"}
    assert {member.qubits for member in group.members} == {2}


async def test_a_job_that_cannot_be_compiled_fails_with_the_compilers_words(house):
    [job] = await house.submit()
    await house.compile(error=ErrorInfo("compile_failed", "too wide", "CompileError"))
    record = await house.record(job)
    assert (record.state, record.error.message) == (TaskState.FAILED, "too wide")


async def test_nobody_is_answered_and_nothing_shown_before_the_commit(house, monkeypatch):
    commits: list[Future[None]] = []
    monkeypatch.setattr(house.scheduler._journal, "commit", lambda *_: commits.append(Future()) or commits[-1])
    submitting = asyncio.create_task(house.scheduler.submit([request()]))
    await until(lambda: commits)
    [job] = house.scheduler._core._world.jobs
    following = asyncio.create_task(house.scheduler.follow(1, 0))
    await asyncio.sleep(0.01)
    assert not submitting.done()
    assert not following.done()
    assert await house.scheduler.get([job]) == [None]
    commits[0].set_result(None)
    [record] = await submitting
    assert record.id == job
    assert [entry.id for entry in (await following).records] == [job]


async def test_a_journal_that_refuses_refuses_the_caller_and_the_process_starts_anew(house, monkeypatch):
    refused: Future[None] = Future()
    refused.set_exception(StoreFull("no space"))
    monkeypatch.setattr(house.scheduler._journal, "commit", lambda *_: refused)
    with pytest.raises(StoreFull):
        await house.scheduler.submit([request()])
    await until(lambda: house.exits)
    assert house.exits == [70]
    with pytest.raises(StoreFull):
        await house.scheduler.submit([request()])


async def test_a_bug_in_the_core_does_not_leave_half_a_change_behind(house, monkeypatch):
    def broken(*_):
        raise AssertionError("a bug")

    monkeypatch.setattr(house.scheduler._core, "handle", broken)
    with pytest.raises(AssertionError):
        await house.scheduler.submit([request()])
    await until(lambda: house.exits)


async def test_a_refusal_costs_only_its_own_request(house):
    house.scheduler._core._world.settings = type(house.scheduler._core._world.settings)(max_queue_size=2)
    answers = await house.scheduler.submit([request() for _ in range(3)])
    assert [isinstance(answer, JobRecord) for answer in answers] == [True, True, False]
    assert answers[2].code == "queue_full"


async def test_a_key_names_one_job_however_often_it_comes(house):
    first = await house.scheduler.submit([request(idempotency_key="k", digest="d") for _ in range(5)])
    second = await house.scheduler.submit([request(idempotency_key="k", digest="d")])
    assert len({record.id for record in first + second}) == 1
    [other] = await house.scheduler.submit([request(idempotency_key="k", digest="e")])
    assert other.code == "idempotency_conflict"
    [theirs] = await house.scheduler.submit([request("bob", idempotency_key="k", digest="d")])
    assert theirs.id != first[0].id


async def test_a_hundred_callers_at_once_with_one_key_get_one_job(house):
    calls = (house.scheduler.submit([request(idempotency_key="k", digest="d")]) for _ in range(100))
    answers = await asyncio.gather(*calls)
    assert len({answer[0].id for answer in answers}) == 1


async def test_a_job_deleted_under_a_repeated_key_fails_only_that_request(house, monkeypatch):
    [job] = await house.submit(idempotency_key="k", digest="d")
    real = house.scheduler.get

    async def gone(job_ids):
        return [None if found == job else (await real([found]))[0] for found in job_ids]

    monkeypatch.setattr(house.scheduler, "get", gone)
    answers = await house.scheduler.submit([request(idempotency_key="k", digest="d"), request()])
    assert answers[0].code == "not_found"
    assert isinstance(answers[1], JobRecord)


async def test_a_waiting_job_is_cancelled_before_the_answer(house):
    [job] = await house.submit()
    record = await house.scheduler.cancel(job, "alice", "alice")
    assert (record.state, record.cancelled_by) == (TaskState.CANCELLED, "alice")
    with pytest.raises(InvalidState):
        await house.scheduler.cancel(job, "alice", "alice")
    assert (await house.scheduler.cancel(job, "alice", "alice", True)).id == job, "the first answer was lost"
    with pytest.raises(InvalidState):
        await house.scheduler.cancel(job, "alice", "somebody else", True)


async def test_another_tenants_job_is_not_there(house):
    [job] = await house.submit()
    for call in (
        house.scheduler.cancel(job, "bob", "bob"),
        house.scheduler.set_tags(job, "bob", ()),
        house.scheduler.delete(job, "bob"),
        house.scheduler.cancel("0" * 20, "alice", "alice"),
    ):
        with pytest.raises(NotFound):
            await call
    assert await house.state(job) is TaskState.PENDING


async def test_a_running_job_is_stopped_at_its_agent_and_never_completes(house, cluster):
    class Agent:
        stopped: list[tuple[str, int]] = []  # noqa: RUF012

        async def stop(self, job_id, attempt):
            self.stopped.append((job_id, attempt))

    cluster.add("agent", Agent())
    job = await executing(house)
    record = await house.scheduler.cancel(job, "alice", "alice")
    assert record.cancel_requested
    assert record.state is TaskState.EXECUTING
    await until(lambda: Agent.stopped)
    assert Agent.stopped == [(job, 1)]
    await house.report(done(job))
    record = await house.record(job)
    assert (record.state, record.result_sha256) == (TaskState.CANCELLED, None)


async def test_an_agent_that_cannot_be_found_holds_up_nobody(house, monkeypatch):
    def broken(_):
        raise RuntimeError("Ray's control store is away")

    monkeypatch.setattr(errands, "find_actor", broken)
    job = await executing(house)
    await house.scheduler.cancel(job, "alice", "alice")
    assert len(await house.submit()) == 1
    assert house.exits == []


async def test_a_result_of_an_old_lease_changes_nothing(house):
    job = await executing(house)
    await house.join(incarnation="2")  # a new process of the agent: what the old one had is lost
    [member] = (await house.lease(incarnation="2")).members
    assert (member.job_id, member.attempt) == (job, 2)
    assert not await house.report(done(job, 1)), "its process is no longer known"
    assert await house.report(done(job, 1), incarnation="2"), "taken note of, and of no effect"
    before = await house.record(job)
    assert (before.state, before.attempt) == (TaskState.ALLOCATING, 2)
    assert await house.report(done(job, 2, sha256="cd" * 32), incarnation="2")
    assert (await house.record(job)).result_sha256 == "cd" * 32
    await house.report(done(job, 2, sha256="ef" * 32), incarnation="2")
    after = await house.record(job)
    assert (after.state, after.result_sha256) == (TaskState.COMPLETED, "cd" * 32)
    assert (await house.scheduler.status()).counters["stale_reports"] == 2


async def test_a_silent_agent_is_given_up_and_its_work_leased_anew(house, monkeypatch, cluster):
    class Manager:
        reclaimed: list[tuple[str, str]] = []  # noqa: RUF012

        async def reclaim(self, agent, incarnation, epoch):
            self.reclaimed.append((agent, incarnation, epoch))

    cluster.add("qrtx-state-manager", Manager())
    job = await executing(house)
    house.scheduler._agents.get("agent", "1").heard_at -= 1000
    await house.until_all([job], lambda record: record.state is TaskState.QUEUED)
    assert not await house.beat((job, 1))
    await house.join(name="other")
    [member] = (await house.lease(name="other")).members
    assert member.attempt == 2
    await until(lambda: Manager.reclaimed)
    assert Manager.reclaimed == [("agent", "1", 1)]


async def test_a_stranger_is_asked_to_join(house):
    assert not (await house.scheduler.lease("agent", "1", 1, [])).known
    assert not (await house.scheduler.lease_compile("c", "1", 1, [])).known
    assert not await house.beat()
    assert not await house.report()
    assert not await house.scheduler.compiler_heartbeat("c", "1")
    await house.join()
    await house.scheduler.join_compiler("c", "1")
    assert await house.beat()
    assert await house.scheduler.compiler_heartbeat("c", "1")


async def test_a_compiler_that_joins_twice_keeps_what_was_decided_for_it(house):
    await house.scheduler.join_compiler("c", "1")
    offered = asyncio.create_task(house.scheduler.lease_compile("c", "1", 10, []))
    await asyncio.sleep(0.01)
    offered.cancel()  # its call is cut short; the offer stands
    [job] = await house.submit()
    await house.until_all([job], lambda record: record.state is TaskState.COMPILING)
    await house.scheduler.join_compiler("c", "1")
    assert [task.job_id for task in (await house.scheduler.lease_compile("c", "1", 0, [])).tasks] == [job]


async def test_a_lost_compilers_jobs_go_to_the_next(house):
    [job] = await house.submit()
    await house.scheduler.join_compiler("c", "1")
    assert (await house.scheduler.lease_compile("c", "1", 10, [])).tasks
    assert await house.compile("c", "2") == [job]
    assert await house.state(job) is TaskState.QUEUED


async def test_progress_is_shown_to_followers_and_not_written(house):
    job = await executing(house)
    cursor = (await house.scheduler.follow(0, 0)).cursor
    assert await house.beat((job, 1), progress=((job, 1, 0.5, 4),))
    changes = await house.scheduler.follow(1, cursor)
    assert [(entry.id, entry.progress, entry.slices) for entry in changes.records] == [(job, 0.5, 4)]
    [stored] = (await house.scheduler.query(JobQuery("alice"))).records
    assert stored.progress == 0.0


async def test_a_deleted_job_is_gone_for_everybody(house):
    [job] = await house.submit()
    with pytest.raises(InvalidState):
        await house.scheduler.delete(job, "alice")
    await house.scheduler.cancel(job, "alice", "alice")
    cursor = (await house.scheduler.follow(0, 0)).cursor
    await house.scheduler.delete(job, "alice")
    assert (await house.scheduler.follow(1, cursor)).deletions == (job,)
    assert await house.scheduler.get([job]) == [None]
    assert job in house.scheduler._recorder._deleted
    with pytest.raises(NotFound):
        await house.scheduler.delete(job, "alice")
    await house.scheduler.delete(job, "alice", True)


async def test_a_finished_job_that_left_memory_can_still_be_asked_of(house):
    [job] = await house.submit()
    record = await house.scheduler.cancel(job, "alice", "alice")
    world = house.scheduler._core._world
    house.scheduler._metadata_recorded([job])
    await house.until_all([job], lambda entry: entry.metadata_recorded)
    world.finished.clear()
    world.keys.clear()
    house.scheduler._committed.forget([job])
    assert (await house.scheduler.explain(job))["state"] == "Cancelled"
    tagged = await house.scheduler.set_tags(job, "alice", ("late",))
    assert tagged.tags == ("late",)
    assert (await house.record(job)).version > record.version


async def test_a_paused_device_gives_out_nothing_and_says_so(house):
    await house.scheduler.set_device_paused(DEVICE, True)
    [job] = await house.submit()
    await house.compile()
    await house.join()
    assert [str(device.status) for device in await house.scheduler.devices()] == ["paused"]
    assert "paused" in (await house.scheduler.explain(job))["reason"]
    leasing = asyncio.create_task(house.lease())
    await asyncio.sleep(0.01)
    assert not leasing.done()
    await house.scheduler.set_device_paused(DEVICE, False)
    assert [member.job_id for member in (await leasing).members] == [job]
    with pytest.raises(NotFound):
        await house.scheduler.set_device_paused("no-such-device@aer", True)


async def test_a_job_that_waits_too_long_times_out_by_itself(house):
    [job] = await house.submit(queue_timeout_s=0.05)
    await house.until_all([job], lambda record: record.state is TaskState.TIMEOUT)
    assert (await house.record(job)).error.code == "queue_timeout"


async def test_an_error_worth_a_retry_is_retried_and_another_is_not(house):
    job = await executing(house)
    await house.report(RunReport(job, 1, error=ErrorInfo("store_full", "no space", "PersistError", retryable=True)))
    assert await house.state(job) is TaskState.QUEUED
    [member] = (await house.lease()).members
    await house.report(RunReport(job, member.attempt, error=ErrorInfo("execution_failed", "no", "ExecuteError")))
    record = await house.record(job)
    assert (record.state, record.attempt, record.retries) == (TaskState.FAILED, 2, 1)


async def test_a_replicas_own_key_is_looked_up_in_the_journal_only_for_a_repetition(house, monkeypatch):
    looked_up = []
    real = house.scheduler._journal.store.find_idempotent
    monkeypatch.setattr(
        house.scheduler._journal.store,
        "find_idempotent",
        lambda tenant, key: looked_up.append(key) or real(tenant, key),
    )
    own = request(idempotency_key=f"{OWN_KEY}x", digest="d")
    [first] = await house.scheduler.submit([own])
    assert looked_up == []
    [second] = await house.scheduler.submit([own], True)
    assert looked_up == [f"{OWN_KEY}x"]
    assert first.id == second.id


async def test_a_scheduler_that_cannot_recover_does_not_pretend_to_live(tmp_path, cluster, monkeypatch):
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    monkeypatch.setattr("qrtx_ray.actors.shell.LAST_WORDS_S", 0.0)

    async def broken(*_):
        raise PersistError("the row cannot be read")

    monkeypatch.setattr("qrtx_ray.actors.journal.Journal.read", broken)
    house = House(settings(tmp_path, **{"storage.journal_url": "memory:"}), cluster)
    await until(lambda: exits)
    house.scheduler._journal.close()
    assert exits == [70]


async def test_a_clock_that_fails_ends_the_process(house, monkeypatch):
    def broken():
        raise RuntimeError("a bug")

    monkeypatch.setattr(house.scheduler, "_watch", broken)
    await until(lambda: house.exits)

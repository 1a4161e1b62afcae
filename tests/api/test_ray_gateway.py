"""The way from a replica to the scheduler, through its restarts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ray.exceptions import RayTaskError

from qrtx_ray.actors.wire import OWN_KEY, Changes, SchedulerStatus
from qrtx_ray.api import ray_gateway
from qrtx_ray.api.gateway import AgentView
from qrtx_ray.api.ray_gateway import RayGateway
from qrtx_ray.errors import InternalError, InvalidState, NotFound, PersistError, StoreFull, StoreReadOnly, StoreSlow
from qrtx_ray.model import JobChange, JobRecord, TaskState
from qrtx_ray.store.circuit_fs import CircuitFS
from tests.actors.building import job_id, record, request, settings, until
from tests.actors.ray_double import Cluster


class Scheduler:
    """Remembers what it was asked; `errors` are raised first."""

    def __init__(self) -> None:
        self.records: dict[str, JobRecord] = {}
        self.submitted: list[tuple[list[str], bool]] = []
        self.asked: list[tuple] = []
        self.errors: list[Exception] = []
        self.news: asyncio.Queue[Changes] = asyncio.Queue()
        self.changes: list[JobChange] = []

    def _trouble(self) -> None:
        if self.errors:
            error = self.errors.pop(0)
            raise RayTaskError("f", "", error).as_instanceof_cause()

    async def submit(self, requests, again):
        self.submitted.append(([entry.idempotency_key for entry in requests], again))
        self._trouble()
        return [record(100 + n) for n, _ in enumerate(requests)]

    async def get(self, ids):
        self.asked.append(("get", *ids))
        self._trouble()
        return [self.records.get(found) for found in ids]

    async def cancel(self, job, tenant, by, again, partial):
        self.asked.append(("cancel", again, partial))
        self._trouble()
        return replace(self.records[job], version=9, state=TaskState.CANCELLED)

    async def pause(self, *words):
        return self._told("pause", words)

    async def resume(self, *words):
        return self._told("resume", words)

    async def checkpoint(self, *words):
        return self._told("checkpoint", words)

    async def migrate(self, *words):
        return self._told("migrate", words)

    async def restore(self, *words):
        return self._told("restore", words)

    async def drain_device(self, *words):
        self.asked.append(("drain_device", *words))

    async def drain_agent(self, *words):
        self.asked.append(("drain_agent", *words))

    async def agents(self):
        return [SimpleNamespace(name="a", devices=("d",), running=2, drained=True, last_heard_s=0.5, incarnation="i")]

    async def history(self, job):
        return list(self.changes)

    def _told(self, what, words):
        self.asked.append((what, *words))
        self._trouble()
        return replace(self.records[words[0]], version=9)

    async def delete(self, job, tenant, again):
        self.asked.append(("delete", again))
        self._trouble()
        del self.records[job]

    async def follow(self, epoch, cursor):
        return await self.news.get()


class Bench:
    def __init__(self, tmp_path, monkeypatch) -> None:
        cluster = Cluster()
        monkeypatch.setattr("qrtx_ray.actors.link.find_actor", cluster.find)
        monkeypatch.setattr(ray_gateway, "RETRY_PAUSE_S", 0.001)
        monkeypatch.setattr(ray_gateway, "FOLLOW_PAUSE_S", 0.001)
        self.scheduler = Scheduler()
        self.handle = cluster.add("qrtx-scheduler", self.scheduler)
        wanted = settings(tmp_path)
        self.files = CircuitFS(wanted.paths.circuit_fs_url)
        self.gateway = RayGateway(wanted)

    def keep(self, entry: JobRecord) -> JobRecord:
        self.scheduler.records[entry.id] = entry
        return entry

    def happen(self, number: int, state: TaskState, before: TaskState | None = None, reason: str = "") -> None:
        self.scheduler.changes.append(JobChange(number, job_id(1), 0.0, before, state, 1, reason))

    def tell(self, *records: JobRecord, **fields) -> None:
        self.scheduler.news.put_nowait(Changes(1, 1, records, **fields))


@pytest.fixture
async def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    bench.gateway.start()
    yield bench
    await bench.gateway.close()


async def test_a_request_without_a_key_gets_one_no_client_could_send(bench):
    await bench.gateway.submit(request())
    await bench.gateway.submit(request(idempotency_key="mine"))
    [[own], _], [[mine], _] = bench.scheduler.submitted
    assert own.startswith(OWN_KEY)
    assert not own.isprintable()
    assert mine == "mine"


async def test_a_submission_cut_short_is_repeated_under_the_same_key_and_says_so(bench):
    bench.handle.away = True
    task = asyncio.create_task(bench.gateway.submit(request()))
    await until(lambda: len(bench.handle.calls) > 3)
    bench.handle.away = False
    assert (await task).id == job_id(100)
    [[[_], again]] = bench.scheduler.submitted
    assert again


async def test_a_journal_in_trouble_is_waited_for_and_a_full_one_is_not(bench):
    bench.scheduler.errors = [PersistError("the journal refused the change; nothing was kept")]
    await bench.gateway.submit(request())
    [[[first], _], [[second], again]] = bench.scheduler.submitted
    assert (first, again) == (second, True)
    for kind in (StoreFull, StoreReadOnly, StoreSlow):
        bench.scheduler.errors = [kind("not now")]
        with pytest.raises(kind):
            await bench.gateway.submit(request())


async def test_a_scheduler_away_too_long_is_an_error_worth_a_retry(bench, monkeypatch):
    monkeypatch.setattr(ray_gateway, "CALL_PATIENCE_S", 0.02)
    bench.handle.away = True
    with pytest.raises(PersistError) as caught:
        await bench.gateway.get(job_id(1), "alice")
    assert caught.value.retryable


async def test_a_scheduler_that_hangs_does_not_hang_its_clients(bench, monkeypatch):
    monkeypatch.setattr(ray_gateway, "CALL_PATIENCE_S", 0.02)

    async def silence(_):
        await asyncio.Event().wait()

    bench.scheduler.get = silence
    with pytest.raises(PersistError):
        await bench.gateway.get(job_id(1), "alice")


async def test_a_bug_of_the_scheduler_says_nothing_of_the_inside(bench):
    bench.scheduler.errors = [ZeroDivisionError("at line 7 of secret.py")]
    with pytest.raises(InternalError) as caught:
        await bench.gateway.get(job_id(1), "alice")
    assert "secret" not in caught.value.message


async def test_many_submissions_are_answered_one_by_one_also_when_their_batch_fails(bench):
    bench.scheduler.errors = [StoreFull("no space")]
    answers = await bench.gateway.submit_many([request(), request()])
    assert [answer.code for answer in answers] == ["store_full", "store_full"]
    answers = await bench.gateway.submit_many([request(), request()])
    assert [answer.id for answer in answers] == [job_id(100), job_id(101)]


async def test_a_job_is_read_once_and_then_known(bench):
    bench.keep(record(1))
    for _ in range(3):
        assert (await bench.gateway.get(job_id(1), "alice")).number == 1
    assert bench.scheduler.asked == [("get", job_id(1))]


@pytest.mark.parametrize("job", [job_id(2), "../../etc/passwd", "", "x" * 20])
async def test_what_is_not_there_is_not_found(bench, job):
    with pytest.raises(NotFound):
        await bench.gateway.get(job, "alice")


async def test_another_tenants_job_is_not_found(bench):
    bench.keep(record(1))
    with pytest.raises(NotFound):
        await bench.gateway.get(job_id(1), "bob")


async def test_a_held_request_ends_with_the_job(bench):
    bench.keep(record(1, version=1))
    waiting = asyncio.create_task(bench.gateway.wait(job_id(1), "alice", 5, known_version=None, until_terminal=True))
    await until(lambda: bench.scheduler.asked)
    bench.tell(record(1, TaskState.EXECUTING, version=2))
    bench.tell(record(1, TaskState.COMPLETED, version=3))
    assert (await waiting).state is TaskState.COMPLETED


async def test_a_held_request_ends_with_any_change_when_asked_to_and_in_time_when_there_is_none(bench):
    bench.keep(record(1, version=1))
    waiting = asyncio.create_task(bench.gateway.wait(job_id(1), "alice", 5, known_version=1, until_terminal=False))
    await until(lambda: bench.scheduler.asked)
    bench.tell(record(1, TaskState.EXECUTING, version=2))
    assert (await waiting).version == 2
    unchanged = await bench.gateway.wait(job_id(1), "alice", 0.01, known_version=2, until_terminal=False)
    assert unchanged.version == 2


async def test_a_change_during_a_slow_readers_turn_is_not_missed(bench):
    """The reader is busy with one state while the next, the last, arrives: nothing will come to wake it later."""
    bench.keep(record(1, version=1))
    bench.happen(7, TaskState.PENDING)
    watching = bench.gateway.watch(job_id(1), "alice", 0)
    assert [change.sequence for change in (await anext(watching)).changes] == [7]
    bench.happen(9, TaskState.COMPLETED, TaskState.EXECUTING)
    bench.gateway._cache.put(record(1, TaskState.COMPLETED, version=2))
    last = await asyncio.wait_for(anext(watching), 1)
    assert ([change.sequence for change in last.changes], last.record.state) == ([9], TaskState.COMPLETED)
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(watching), 1)


async def test_watching_tells_every_change_once_and_progress_in_between(bench):
    bench.keep(record(1, TaskState.EXECUTING, version=4))
    for number, state in ((3, TaskState.QUEUED), (5, TaskState.EXECUTING)):
        bench.happen(number, state)
    watching = bench.gateway.watch(job_id(1), "alice", 3)
    assert [change.sequence for change in (await anext(watching)).changes] == [5]
    moving = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0)
    bench.tell(record(1, TaskState.EXECUTING, version=4, progress=0.25, slices=1))
    moved = await asyncio.wait_for(moving, 1)
    assert (moved.changes, moved.record.progress, moved.record.slices) == ((), 0.25, 1)
    bench.happen(6, TaskState.EXECUTING, TaskState.EXECUTING, "checkpoint 1 at 25 %")
    bench.happen(8, TaskState.COMPLETED, TaskState.EXECUTING)
    bench.tell(record(1, TaskState.COMPLETED, version=6, progress=1.0))
    last = await asyncio.wait_for(anext(watching), 1)
    assert ([change.sequence for change in last.changes], last.record.state) == ([6, 8], TaskState.COMPLETED)


async def test_slices_that_move_without_progress_are_told_too(bench):
    bench.keep(record(1, TaskState.EXECUTING, version=4))
    watching = bench.gateway.watch(job_id(1), "alice", 9)
    moving = asyncio.ensure_future(anext(watching))
    await until(lambda: bench.scheduler.asked)
    bench.tell(record(1, TaskState.EXECUTING, version=4, slices=3))
    assert (await asyncio.wait_for(moving, 1)).record.slices == 3


async def test_what_is_no_change_of_state_is_told_without_one(bench):
    bench.keep(record(1, version=1))
    watching = bench.gateway.watch(job_id(1), "alice", 9)
    waiting = asyncio.ensure_future(anext(watching))
    await until(lambda: bench.scheduler.asked)
    bench.tell(record(1, version=2, tags=("new",)))
    told = await asyncio.wait_for(waiting, 1)
    assert (told.changes, told.record.tags) == ((), ("new",))


async def test_updates_ask_again_where_the_stream_is_behind_the_journal(bench):
    bench.keep(record(1, TaskState.EXECUTING, version=4))
    await bench.gateway.get(job_id(1), "alice")
    bench.keep(record(1, TaskState.COMPLETED, version=5))
    bench.happen(8, TaskState.COMPLETED, TaskState.EXECUTING)
    update = await bench.gateway.updates(job_id(1), "alice", 0)
    assert (update.record.state, update.changes[-1].to_state) == (TaskState.COMPLETED, TaskState.COMPLETED)


async def test_a_job_is_told_what_to_do_and_whether_it_may_have_been_told_before(bench):
    bench.keep(record(1))
    for name in ("pause", "resume"):
        assert (await getattr(bench.gateway, name)(job_id(1), "alice", "al")).version == 9
    await bench.gateway.checkpoint(job_id(1), "alice")
    bench.scheduler.errors = [PersistError("busy")]
    await bench.gateway.migrate(job_id(1), "alice", "al", "agent-1")
    await bench.gateway.restore(job_id(1), "alice", "al", 3, "mine")
    bench.scheduler.errors = [PersistError("busy")]
    await bench.gateway.restore(job_id(1), "alice", "al", None, None)
    *told, own, again = bench.scheduler.asked
    assert told == [
        ("pause", job_id(1), "alice", "al", False),
        ("resume", job_id(1), "alice", "al", False),
        ("checkpoint", job_id(1), "alice", False),
        ("migrate", job_id(1), "alice", "al", "agent-1", False),
        ("migrate", job_id(1), "alice", "al", "agent-1", True),
        ("restore", job_id(1), "alice", "al", 3, "mine", False),
    ]
    assert own[5].startswith(OWN_KEY)
    assert (own[:6], own[6], again[6]) == (again[:6], False, True)
    with pytest.raises(NotFound):
        await bench.gateway.pause("../x", "alice", "al")


async def test_devices_and_agents_are_drained_and_let_go(bench):
    await bench.gateway.pause_device("d", drain=False)
    await bench.gateway.pause_device("d", drain=True)
    await bench.gateway.resume_device("d")
    await bench.gateway.drain_agent("a")
    await bench.gateway.resume_agent("a")
    assert bench.scheduler.asked == [
        ("drain_device", "d", True, False),
        ("drain_device", "d", True, True),
        ("drain_device", "d", False, False),
        ("drain_agent", "a", True),
        ("drain_agent", "a", False),
    ]
    assert await bench.gateway.agents() == [AgentView("a", ("d",), 2, True, 0.5)]


async def test_an_answer_asked_for_before_the_stream_began_anew_is_not_kept(bench):
    """It may be older than what the stream, from its new beginning, will ever tell."""
    gate, old = asyncio.Event(), record(1, version=1)

    async def slow(_):
        await gate.wait()
        return [old]

    bench.scheduler.get = slow
    asking = asyncio.create_task(bench.gateway.get(job_id(1), "alice"))
    await until(lambda: "get" in bench.handle.calls)
    bench.tell(reset=True)
    await until(lambda: bench.gateway._cache.generation)
    gate.set()
    assert (await asking) is old
    assert bench.gateway._cache.get(job_id(1)) is None


async def test_a_job_deleted_by_another_replica_is_gone_here_too(bench):
    bench.keep(record(1))
    await bench.gateway.get(job_id(1), "alice")
    del bench.scheduler.records[job_id(1)]
    bench.tell(deletions=(job_id(1),))
    await until(lambda: bench.gateway._cache.get(job_id(1)) is None)
    with pytest.raises(NotFound):
        await bench.gateway.get(job_id(1), "alice")


async def test_the_stream_goes_on_after_any_trouble(bench):
    calls = []
    real = bench.scheduler.follow

    async def troubled(epoch, cursor):
        calls.append(cursor)
        if len(calls) < 3:
            raise RuntimeError("trouble")
        return await real(epoch, cursor)

    bench.scheduler.follow = troubled
    bench.tell()
    await until(lambda: len(calls) >= 3)
    bench.tell(record(1, version=7))
    await until(lambda: bench.gateway._cache.get(job_id(1)) is not None)


async def test_cancel_and_delete_say_when_they_are_repeated(bench):
    bench.keep(record(1))
    bench.handle.away = True
    cancelling = asyncio.create_task(bench.gateway.cancel(job_id(1), "alice", "alice"))
    deleting = asyncio.create_task(bench.gateway.delete(job_id(1), "alice"))
    await until(lambda: bench.handle.calls.count("delete") > 1)
    bench.handle.away = False
    assert (await cancelling).state is TaskState.CANCELLED
    await deleting
    assert sorted(bench.scheduler.asked) == [("cancel", True, False), ("delete", True)]


async def test_a_refusal_of_the_scheduler_is_itself(bench):
    bench.keep(record(1))
    bench.scheduler.errors = [InvalidState("job is Completed and cannot be cancelled")]
    with pytest.raises(InvalidState):
        await bench.gateway.cancel(job_id(1), "alice", "alice")


async def test_results_are_read_as_acknowledged_and_private_ones_once(bench):
    for number, private in ((1, False), (2, True)):
        stored = bench.files.write_results(job_id(number), b"results", 1)
        fields = {"result_sha256": stored.sha256, "result_bytes": 7, "private": private}
        bench.keep(record(number, TaskState.COMPLETED, **fields))
    assert [await bench.gateway.results(job_id(1), "alice") for _ in range(2)] == [b"results"] * 2
    assert [await bench.gateway.results(job_id(2), "alice") for _ in range(2)] == [b"results", None]
    bench.keep(record(3, TaskState.FAILED))
    assert await bench.gateway.results(job_id(3), "alice") is None
    stored = bench.files.write_results(job_id(4), b"a part", 1)
    fields = {"result_sha256": stored.sha256, "result_bytes": 6, "partial": True}
    bench.keep(record(4, TaskState.CANCELLED, **fields))
    assert await bench.gateway.results(job_id(4), "alice") == b"a part"
    path = next(bench.files._files.root.glob(f"{job_id(1)}/results.json"))
    path.write_bytes(b"resultz")
    with pytest.raises(PersistError):
        await bench.gateway.results(job_id(1), "alice")


@pytest.mark.parametrize("accepting", [True, False])
async def test_health_tells_whether_the_storage_takes_jobs(bench, monkeypatch, accepting):
    monkeypatch.setattr(ray_gateway, "find_actor", lambda _: object())
    storage = {"accepting": accepting, "reason": "" if accepting else "the disk is full"}

    async def status():
        return SchedulerStatus(1, 2, 3.0, agents={"a": 0.1}, compilers={"c": 0.1}, extra={"storage": storage})

    bench.scheduler.status = status
    health = await bench.gateway.health()
    assert (health["ready"], health["storage"]) == (accepting, storage)


async def test_health_tells_when_the_scheduler_is_away(bench):
    bench.handle.away = True
    assert await bench.gateway.health() == {"ready": False, "scheduler": "away"}

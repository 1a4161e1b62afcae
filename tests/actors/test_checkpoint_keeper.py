"""An agent's checkpoints are durable when it says so, whoever wrote them, and are found again wherever they are good."""

from __future__ import annotations

import asyncio
import dataclasses
import threading

import pytest

from qrtx_ray.actors import keeping
from qrtx_ray.actors.keeping import CheckpointKeeper
from qrtx_ray.actors.state_manager import StateManagerActor
from qrtx_ray.errors import PersistError, StoreFull, ValidationError
from qrtx_ray.store.checkpoints import CheckpointDraft, CheckpointStore

from .building import job_id, settings
from .objects import objects
from .ray_double import Handle

__all__ = ["objects"]

JOB = job_id(1)
LARGE = memoryview(bytes(range(256)) * 40)


def draft(sequence: int = 1) -> CheckpointDraft:
    return CheckpointDraft(JOB, 1, sequence, 0.5, "slices", 1000.5, {"engine": "aer"})


class Bench:
    def __init__(self, folder) -> None:
        self.settings = settings(folder, **{"quantum_state.level2_object_bytes": 5000})
        self.files = CheckpointStore(str(folder))
        self.manager = Handle(StateManagerActor(self.settings.to_dict()))
        self.searches = 0
        self.keeper = CheckpointKeeper(self.settings, self.find)

    def find(self):
        self.searches += 1
        return self.manager

    def held(self) -> int:
        return self.manager.target._held.size_bytes


@pytest.fixture
async def bench(tmp_path, objects):
    return Bench(tmp_path)


def forbid(monkeypatch, *names):
    """Nobody may call these methods of the store."""

    def fail(*_):
        raise AssertionError("not to be called")

    for name in names:
        monkeypatch.setattr(CheckpointStore, name, fail)


async def test_a_small_checkpoint_goes_to_the_manager_and_comes_back_from_its_memory(bench, monkeypatch):
    ref = await bench.keeper.keep(draft(), b"half", memoryview(b"bulk"))
    assert bench.held() == ref.size_bytes
    assert bench.files.read(ref).body == b"half"
    forbid(monkeypatch, "read", "write")
    room = bytearray(4)
    found = await bench.keeper.fetch(ref, lambda size: memoryview(room))
    assert (found.body, found.bulk_bytes, bytes(room)) == (b"half", 4, b"bulk")
    assert found.header["about"] == {"engine": "aer"}
    assert bench.searches == 1


async def test_a_large_one_is_written_by_the_agent_and_read_from_the_file(bench):
    ref = await bench.keeper.keep(draft(), b"half", LARGE)
    assert (bench.held(), bench.manager.calls) == (0, [])
    room = bytearray(LARGE.nbytes)
    found = await bench.keeper.fetch(ref, lambda size: memoryview(room))
    assert (found.body, found.bulk_bytes) == (b"half", LARGE.nbytes)
    assert room == LARGE


async def no_manager(bench):
    bench.manager = None


async def manager_away(bench):
    bench.manager.away = True


async def manager_silent(bench):
    async def silence(*_):
        await asyncio.Event().wait()

    bench.manager.target.keep_checkpoint = bench.manager.target.fetch_checkpoint = silence


async def manager_refuses(bench):
    async def refuse(*_):
        raise StoreFull("no space")

    bench.manager.target.keep_checkpoint = refuse


@pytest.mark.parametrize("trouble", [no_manager, manager_away, manager_silent, manager_refuses])
async def test_without_an_answer_of_the_manager_the_agent_writes_the_same_file(bench, monkeypatch, trouble):
    monkeypatch.setattr(keeping, "ANSWER_S", 0.02)
    ref, data = bench.files.pack(draft(), b"half")
    await trouble(bench)
    kept = await bench.keeper.keep(draft(), b"half", None)
    assert kept == ref
    assert bench.files.read(ref) == bench.files.read_packed(ref, data)
    found = await bench.keeper.fetch(ref, None)
    assert found.body == b"half"


async def test_a_manager_that_came_back_is_looked_for_again(bench):
    await bench.keeper.keep(draft(), b"half", None)
    bench.manager.away = True
    await bench.keeper.keep(draft(2), b"half", None)
    bench.manager = Handle(StateManagerActor(bench.settings.to_dict()))
    ref = await bench.keeper.keep(draft(3), b"half", None)
    assert bench.held() == ref.size_bytes
    assert bench.searches == 2


async def test_a_restarted_manager_holds_nothing_and_the_file_is_read(bench):
    ref = await bench.keeper.keep(draft(), b"half", None)
    bench.manager = Handle(StateManagerActor(bench.settings.to_dict()))
    bench.keeper = CheckpointKeeper(bench.settings, bench.find)
    assert (await bench.keeper.fetch(ref, None)).body == b"half"


async def test_an_object_that_died_with_its_owner_is_read_from_the_file(bench, objects):
    ref = await bench.keeper.keep(draft(), b"half", None)
    for index in range(len(objects.put_in)):
        objects.lose(index)
    assert (await bench.keeper.fetch(ref, None)).body == b"half"


async def test_an_object_that_is_damaged_is_read_from_the_file(bench, objects):
    ref = await bench.keeper.keep(draft(), b"half", None)
    objects.put_in[-1] = objects.put_in[-1].copy()
    objects.put_in[-1][-1] ^= 1
    assert (await bench.keeper.fetch(ref, None)).body == b"half"


async def test_what_is_missing_damaged_or_does_not_fit_is_none_and_said(bench, caplog):
    ref = await bench.keeper.keep(draft(), b"half", LARGE)
    caplog.set_level("WARNING", "qrtx.device")

    def no_room(size):
        raise ValidationError("no room for the bulk")

    assert await bench.keeper.fetch(ref, no_room) is None
    assert await bench.keeper.fetch(dataclasses.replace(ref, sequence=9), None) is None
    assert await bench.keeper.fetch(dataclasses.replace(ref, sha256="ab" * 32), None) is None
    assert await bench.keeper.fetch(dataclasses.replace(ref, size_bytes=10), None) is None
    said = [message.partition(": ")[2] for message in caplog.messages]
    assert [text.split()[0] for text in said] == ["no", "there", "the", "the"]


@pytest.mark.parametrize("times", [1, 3, 4])
async def test_a_store_that_is_away_for_a_moment_is_waited_for(bench, monkeypatch, times):
    monkeypatch.setattr(keeping, "RETRY_S", 0.001)
    ref = await bench.keeper.keep(draft(), b"half", LARGE)
    read, troubles = CheckpointStore.read, [PersistError("the object store refused (EndpointConnectionError)")] * times

    def reading(self, *arguments):
        if troubles:
            raise troubles.pop()
        return read(self, *arguments)

    monkeypatch.setattr(CheckpointStore, "read", reading)
    found = await bench.keeper.fetch(ref, None)
    assert (found is not None) == (times < keeping.TRIES)


async def test_one_that_is_damaged_is_not_read_again(bench, monkeypatch):
    monkeypatch.setattr(keeping, "RETRY_S", 60.0)
    ref = await bench.keeper.keep(draft(), b"half", LARGE)
    async with asyncio.timeout(5):
        assert await bench.keeper.fetch(dataclasses.replace(ref, sha256="ab" * 32), None) is None
        assert await bench.keeper.fetch(dataclasses.replace(ref, sequence=2), None) is None


@pytest.mark.parametrize("trouble", [no_manager, manager_away])
async def test_superseded_ones_are_removed_by_whoever_is_there(bench, trouble):
    refs = [await bench.keeper.keep(draft(number), b"half", None) for number in (1, 2)]
    await bench.keeper.keep_only(JOB, refs[1:])
    assert bench.files.names(JOB) == ["checkpoint-1-2"]
    assert bench.held() == refs[1].size_bytes
    await trouble(bench)
    bench.keeper = CheckpointKeeper(bench.settings, bench.find)
    refs.append(await bench.keeper.keep(draft(3), b"half", None))
    await bench.keeper.keep_only(JOB, refs[2:])
    assert bench.files.names(JOB) == ["checkpoint-1-3"]


async def test_the_manager_hears_later_of_what_the_agent_wrote(bench):
    bench.manager.away = True
    ref = await bench.keeper.keep(draft(), b"half", None)
    await bench.keeper.keep_only(JOB, [ref])
    bench.manager.away = False
    told = []
    bench.manager.target.note_checkpoints = note = _Noting(told)
    for _ in range(2):
        await bench.keeper.keep_only(JOB, [ref])
    assert told == [[ref]]
    assert note.calls == 1


class _Noting:
    def __init__(self, told) -> None:
        self.told, self.calls = told, 0

    async def __call__(self, refs):
        self.calls += 1
        self.told.append(list(refs))
        return True


async def test_what_cannot_be_removed_is_left(bench, monkeypatch, caplog):
    await no_manager(bench)

    def refuse(*_):
        raise PersistError("the file system refused (EIO)")

    monkeypatch.setattr(CheckpointStore, "keep_only", refuse)
    await bench.keeper.keep_only(JOB, [])
    assert "EIO" in caplog.text


@pytest.mark.parametrize("bulk", [None, LARGE])
async def test_when_nobody_can_write_it_the_agent_is_told(bench, monkeypatch, bulk):
    def refuse(*_, **__):
        raise StoreFull("no space is left for files; nothing of the call was kept")

    monkeypatch.setattr("qrtx_ray.store.local_files.LocalFiles.replace", refuse)
    monkeypatch.setattr("qrtx_ray.store.local_files.LocalFiles.stream", refuse)
    with pytest.raises(StoreFull):
        await bench.keeper.keep(draft(), b"half", bulk)


@pytest.mark.parametrize("times", [1, 3])
async def test_the_memory_of_a_call_that_was_cancelled_is_not_read_after_it_ended(bench, monkeypatch, times):
    entered, leave = threading.Event(), threading.Event()
    ended = []

    def slowly(self, said, body, bulk):
        entered.set()
        leave.wait(5)
        ended.append(bytes(bulk[:1]))
        raise PersistError("too late to tell anybody")

    monkeypatch.setattr(CheckpointStore, "write", slowly)
    work = asyncio.create_task(bench.keeper.keep(draft(), b"half", LARGE))
    await asyncio.to_thread(entered.wait, 5)
    for _ in range(times):
        work.cancel()
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert not work.done()
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert ended


async def test_where_there_is_no_ray_nothing_is_put_anywhere(bench, monkeypatch, objects):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    ref = await bench.keeper.keep(draft(), b"half", None)
    assert (objects.put_in, bench.manager.calls) == ([], [])
    assert (await bench.keeper.fetch(ref, None)).body == b"half"

"""What the guard makes of the storage it looks at, with file systems that say what the test wants."""

from __future__ import annotations

import asyncio
import errno
import logging
from concurrent.futures import Future
from pathlib import Path

import pytest

from qrtx_ray.actors import storage_guard
from qrtx_ray.actors.ballast import Ballast
from qrtx_ray.actors.commit_latency import CommitLatency
from qrtx_ray.actors.storage_guard import Space, StorageGuard, places_of, space_of
from qrtx_ray.errors import PersistError, StoreFull, StoreReadOnly, StoreSlow

from .building import settings

MIB = 2**20
LIMIT = 100 * MIB


class Disks:
    """File systems by folder: free bytes, or the error that asking them gives."""

    def __init__(self, **free):
        self.free = {Path(name): value for name, value in free.items()}
        self.read_only = False

    def __call__(self, folder):
        said = self.free[folder]
        if isinstance(said, Exception):
            raise said
        return Space(said, self.read_only)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def guard_of(disks, **fields):
    return StorageGuard({f"the {path}": path for path in disks.free}, LIMIT, look=disks, **fields)


def look(guard):
    guard.judge(*guard.look_around())
    guard.judge_latency()
    return guard.refusal()


def test_jobs_are_accepted_while_there_is_room():
    guard = guard_of(Disks(a=LIMIT, b=10 * LIMIT))
    assert guard.refusal() is None, "before anybody has looked"
    assert look(guard) is None
    assert guard.report()["accepting"]


def test_too_little_room_anywhere_stops_acceptance_and_names_place_and_limit():
    refusal = look(guard_of(Disks(a=10 * LIMIT, b=LIMIT - 1)))
    assert isinstance(refusal, StoreFull)
    assert refusal.http_status == 507
    assert refusal.retryable
    assert "the b" in refusal.message
    assert refusal.limit == f"{LIMIT} bytes (storage.min_free_bytes)"


def test_acceptance_resumes_by_itself_with_a_margin(caplog):
    caplog.set_level(logging.INFO, "qrtx.scheduler")
    disks = Disks(a=LIMIT - 1)
    guard = guard_of(disks)
    assert look(guard)
    disks.free[Path("a")] = LIMIT + 1
    assert look(guard), "not back and forth at the limit itself"
    disks.free[Path("a")] = 2 * LIMIT
    assert look(guard) is None
    assert guard.report()["code"] is None
    told = [record.levelname for record in caplog.records]
    assert told == ["WARNING", "INFO"], "each change once"


def test_what_came_since_the_last_look_counts():
    guard = guard_of(Disks(a=LIMIT + 30 * MIB))
    assert look(guard) is None
    assert guard.refusal(5 * MIB) is None
    assert isinstance(guard.refusal(6 * MIB), StoreFull)
    assert guard.refusal(4 * MIB) is None, "a smaller one may still fit"


def test_a_limit_of_nought_looks_at_no_space():
    guard = StorageGuard({"the a": Path("a")}, 0, look=Disks(a=0))
    assert look(guard) is None


def test_a_read_only_file_system_stops_acceptance():
    disks = Disks(a=10 * LIMIT)
    disks.read_only = True
    refusal = look(guard_of(disks))
    assert isinstance(refusal, StoreReadOnly)
    assert refusal.http_status == 503


def test_a_file_system_that_cannot_be_asked_stops_acceptance():
    refusal = look(guard_of(Disks(a=10 * LIMIT, b=OSError(errno.EIO, "no"))))
    assert type(refusal) is PersistError
    assert "EIO" in refusal.message


async def test_a_file_system_that_does_not_answer_stops_acceptance_until_it_does(monkeypatch):
    monkeypatch.setattr(storage_guard, "SILENCE_S", 0.01)
    monkeypatch.setattr(storage_guard, "LOOK_S", 0.001)
    from threading import Event

    answers = Event()

    def silent(_):
        answers.wait(10)
        return Space(10 * LIMIT)

    guard = StorageGuard({"the a": Path("a")}, LIMIT, look=silent)
    watching = asyncio.create_task(guard.watch())
    async with asyncio.timeout(5):
        while guard.refusal() is None:
            await asyncio.sleep(0.001)
        assert "does not answer" in guard.refusal().message
        answers.set()
        while guard.refusal() is not None:
            await asyncio.sleep(0.001)
    watching.cancel()


async def test_the_watch_survives_its_own_errors_and_goes_on(monkeypatch, caplog):
    monkeypatch.setattr(storage_guard, "LOOK_S", 0.001)
    said = iter([RuntimeError("a bug"), Space(1)])

    def look_once(_):
        found = next(said, Space(10 * LIMIT))
        if isinstance(found, Exception):
            raise found
        return found

    guard = StorageGuard({"the a": Path("a")}, LIMIT, look=look_once)
    watching = asyncio.create_task(guard.watch())
    async with asyncio.timeout(5):
        while not guard._free or guard.refusal() is not None:
            await asyncio.sleep(0.001)
    watching.cancel()
    assert "tried again" in caplog.text


def test_slow_commits_stop_acceptance_until_they_are_fast_again():
    clock = Clock()
    guard = guard_of(Disks(a=10 * LIMIT), latency=CommitLatency(window_s=10.0, clock=clock))
    commit = Future()
    guard.latency.watch(commit)
    clock.now = 1.9
    assert look(guard) is None
    clock.now = 2.1
    refusal = guard.refusal()
    assert isinstance(refusal, StoreSlow), "a flush that hangs is seen before it ends"
    assert refusal.limit == "2 s"
    assert isinstance(look(guard), StoreSlow)
    commit.set_result(None)
    assert isinstance(look(guard), StoreSlow), "it was slow just now"
    clock.now = 13.0
    assert look(guard) is None


def test_latency_is_that_of_almost_all_commits_of_the_window():
    clock = Clock()
    latency = CommitLatency(window_s=10.0, clock=clock)
    assert latency.p99_s() == latency.oldest_s() == latency.worst_s() == 0.0
    for seconds in [0.01] * 199 + [9.0]:
        commit = Future()
        latency.watch(commit)
        clock.now += seconds
        commit.set_result(None)
    assert latency.p99_s() == pytest.approx(0.01)
    clock.now += 11.0
    assert latency.p99_s() == 0.0
    waiting = [Future(), Future()]
    for commit in waiting:
        latency.watch(commit)
        clock.now += 1.0
    assert latency.oldest_s() == 2.0
    waiting[0].set_result(None)
    assert latency.oldest_s() == 1.0


# ------------------------------------------------------------------------------------------------------------ ballast


def test_ballast_takes_up_real_room_and_gives_it_back(tmp_path):
    ballast = Ballast(tmp_path / "ballast", 4 * MIB)
    assert not ballast.held
    assert ballast.take()
    assert ballast.take(), "twice is once"
    assert ballast.held
    taken = (tmp_path / "ballast").stat()
    assert taken.st_size == 4 * MIB
    assert taken.st_blocks * 512 >= 4 * MIB
    assert taken.st_mode & 0o777 == 0o600
    assert ballast.give_up()
    assert not ballast.give_up()


def test_ballast_that_cannot_be_taken_leaves_nothing_behind(tmp_path):
    assert not Ballast(tmp_path / "nowhere" / "ballast").take()
    folder = tmp_path / "folder"
    folder.mkdir()
    assert not Ballast(folder).take()
    assert not Ballast(folder).give_up()


def test_ballast_is_given_up_when_the_reserve_is_gone_and_taken_again_when_there_is_room(tmp_path):
    ballast = Ballast(tmp_path / "ballast", 4 * MIB)
    disks = Disks(a=10 * LIMIT)
    guard = StorageGuard({"journal": Path("a")}, LIMIT, ballast, look=disks)
    look(guard)
    assert ballast.held
    assert guard.report()["ballast"]
    disks.free[Path("a")] = LIMIT // 2
    look(guard)
    assert ballast.held, "there is room enough for what runs"
    disks.free[Path("a")] = MIB
    look(guard)
    assert not ballast.held
    disks.free[Path("a")] = LIMIT
    look(guard)
    assert not ballast.held, "not at the price of what jobs may use"
    disks.free[Path("a")] = 2 * LIMIT
    look(guard)
    assert ballast.held


# -------------------------------------------------------------------------------------------------------- real places


def test_space_is_that_of_the_nearest_folder_there_is(tmp_path):
    assert space_of(tmp_path / "not" / "there").free_bytes > 0
    assert space_of(tmp_path).read_only is False


def test_only_local_places_are_looked_at(tmp_path):
    everything = places_of(settings(tmp_path))
    assert everything == {
        "journal": tmp_path,
        "quantum states": tmp_path / "quantum_states",
        "job files": tmp_path,
    }
    remote = {"storage.journal_url": "postgresql://u@h/d", "storage.circuit_fs_url": "s3://bucket/x"}
    assert places_of(settings(tmp_path, **remote)) == {"quantum states": tmp_path / "quantum_states"}
    assert StorageGuard.of(settings(tmp_path, **remote)).ballast is None
    assert places_of(settings(tmp_path, **{"storage.circuit_fs_url": f"file://{tmp_path}/f"}))["job files"] == (
        tmp_path / "f"
    )

"""The journal cannot be written: nothing is accepted, what is kept is shown, and it goes on when it can be written again."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import suppress

import pytest

from qrtx_ray.actors import journal, shell, storage_guard
from qrtx_ray.actors.scheduler import SchedulerActor
from qrtx_ray.actors.storage_guard import Space
from qrtx_ray.errors import ErrorInfo, PersistError, StoreFull, StoreReadOnly
from qrtx_ray.model import JobQuery, TaskState
from qrtx_ray.store.memory import MemoryData, MemoryStore

from .building import request, settings
from .house import House, done

MIB = 2**20


class Medium:
    """What all stores of a test lie on: `trouble` is raised by whoever writes, and by whoever opens when `gone`."""

    def __init__(self):
        self.data = MemoryData()
        self.trouble = None
        self.gone = False
        self.opened = 0

    def open_store(self, url, *, read_only=False):
        if self.gone:
            raise PersistError("the medium is gone")
        self.opened += 1
        return _Store(self)


class _Store(MemoryStore):
    def __init__(self, medium):
        super().__init__(medium.data)
        self._medium = medium

    def open_epoch(self):
        self._check()
        return super().open_epoch()

    def commit(self, transactions):
        self._check()
        super().commit(transactions)

    def _check(self):
        if self._medium.trouble is not None:
            raise self._medium.trouble


@pytest.fixture
def medium(monkeypatch):
    medium = Medium()
    monkeypatch.setattr(journal, "open_store", medium.open_store)
    monkeypatch.setattr(journal, "RETRY_S", 0.01)
    monkeypatch.setattr(shell, "REFUSAL_GRACE_S", 0.0)
    return medium


@pytest.fixture
async def house(tmp_path, cluster, monkeypatch, medium):
    house = House(settings(tmp_path), cluster)
    monkeypatch.setattr(os, "_exit", house.exits.append)
    await house.scheduler.ping()
    yield house
    await house.close()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    ("trouble", "said", "status"),
    [(StoreFull("no space"), StoreFull, 507), (PersistError("SQLITE_IOERR_FSYNC"), StoreReadOnly, 503)],
)
async def test_what_is_kept_is_shown_and_every_change_refused_until_it_can_be_written(
    house, medium, trouble, said, status
):
    [kept] = await house.submit(tags=("a",))
    medium.trouble = trouble
    with pytest.raises(PersistError):
        await house.scheduler.submit([request()])
    await until(lambda: house.exits)
    assert house.exits == [70], "memory and disk disagree: this process ends"
    await house.restart()
    scheduler = house.scheduler

    [record] = await scheduler.get([kept])
    assert record.state is TaskState.PENDING
    page = await scheduler.query(JobQuery("alice"))
    assert [job.id for job in page.records] == [kept], "what was refused is not there"
    assert len(await scheduler.history(kept)) == 1
    assert await scheduler.payload(kept) == b"payload"
    assert await scheduler.usage_qpu_s("alice", 0.0) == 0.0
    changes = [
        lambda: scheduler.submit([request()]),
        lambda: scheduler.cancel(kept, "alice", "alice"),
        lambda: scheduler.set_tags(kept, "alice", ("b",)),
        lambda: scheduler.delete(kept, "alice"),
    ]
    for change in changes:
        with pytest.raises(said) as refused:
            await change()
        assert refused.value.http_status == status
        assert refused.value.retryable
    storage = (await scheduler.status()).extra["storage"]
    assert (storage["accepting"], storage["read_only"], storage["code"]) == (False, True, said.code)
    working = asyncio.create_task(house.compile())
    opened = medium.opened
    await until(lambda: medium.opened > opened + 6)
    assert not working.done(), "those that work for it wait"
    assert house.exits == [70], "it does not die again and again"

    medium.trouble = None
    assert await working == [kept]
    assert await house.state(kept) is TaskState.QUEUED
    assert len(await house.submit()) == 1
    storage = (await scheduler.status()).extra["storage"]
    assert (storage["accepting"], storage["read_only"]) == (True, False)


async def test_a_medium_that_cannot_even_be_read_is_said_to_be_so(house, medium):
    await house.submit()
    medium.gone = True
    house.handle.crash()
    broken = SchedulerActor(house._settings.to_dict())
    with pytest.raises(PersistError, match="gone"):
        await broken.get(["x"])
    with pytest.raises(PersistError, match="gone"):
        await broken.submit([request()])
    medium.gone = False
    async with asyncio.timeout(5):
        await broken._ready.to_work()
    assert (await broken.query(JobQuery("alice"))).total == 1
    await broken.close()


async def test_trouble_that_passes_at_once_is_waited_for(house, medium, monkeypatch):
    monkeypatch.setattr(shell, "REFUSAL_GRACE_S", 5.0)
    medium.trouble = PersistError("locked")
    house.handle.crash()
    old, house.scheduler = house.scheduler, SchedulerActor(house._settings.to_dict())
    submitting = asyncio.create_task(house.scheduler.submit([request()]))
    opened = medium.opened
    await until(lambda: medium.opened > opened + 2)
    assert not submitting.done()
    medium.trouble = None
    assert not isinstance((await submitting)[0], ErrorInfo)
    await old.close()


async def test_the_ballast_makes_room_for_the_takeover(house, medium):
    ballast = house.scheduler._guard.ballast
    await until(lambda: ballast.held)
    given_up = []

    def give_up():
        medium.trouble = None
        given_up.append(True)
        return True

    medium.trouble = StoreFull("no space")
    house.handle.crash()
    old = house.scheduler
    house.scheduler = SchedulerActor(house._settings.to_dict())
    house.scheduler._guard.ballast.give_up = give_up
    async with asyncio.timeout(5):
        await house.scheduler._ready.to_work()
    assert given_up == [True]
    await old.close()


async def test_without_room_new_jobs_are_refused_and_everything_else_goes_on(house, monkeypatch):
    monkeypatch.setattr(storage_guard, "LOOK_S", 0.005)
    guard = house.scheduler._guard
    [running, waiting] = await house.submit(2, idempotency_key=None)
    [keyed] = await house.submit(idempotency_key="k", digest="d")
    await house.compile()
    await house.join()
    await house.lease()
    guard.look = lambda _: Space(guard.min_free_bytes - 1)
    await until(lambda: guard.refusal() is not None)
    fresh, same = await house.scheduler.submit([request(), request(idempotency_key="k", digest="d")])
    assert isinstance(fresh, ErrorInfo)
    assert (fresh.code, fresh.retryable) == ("store_full", True)
    assert "storage.min_free_bytes" in fresh.limit
    assert same.id == keyed, "a repetition adds nothing"
    assert await house.report(done(running))
    assert await house.state(running) is TaskState.COMPLETED
    await house.scheduler.set_tags(waiting, "alice", ("t",))
    await house.scheduler.cancel(keyed, "alice", "alice")
    assert house.exits == []
    storage = (await house.scheduler.status()).extra["storage"]
    assert (storage["accepting"], storage["code"], storage["read_only"]) == (False, "store_full", False)
    guard.look = lambda _: Space(100 * guard.min_free_bytes)
    await until(lambda: guard.refusal() is None)
    assert len(await house.submit()) == 1


async def test_a_journal_that_hangs_stops_acceptance_and_loses_nothing(house, medium, monkeypatch):
    monkeypatch.setattr(storage_guard, "LOOK_S", 0.005)
    from threading import Event

    go_on = Event()
    monkeypatch.setattr(_Store, "_check", lambda _: go_on.wait(10))
    guard = house.scheduler._guard
    guard.slow_s = 0.02
    first = asyncio.create_task(house.scheduler.submit([request()]))
    await until(lambda: guard.refusal() is not None)
    [refused] = await house.scheduler.submit([request()])
    assert refused.code == "store_slow"
    assert refused.retryable
    go_on.set()
    [accepted] = await first
    assert await house.state(accepted.id) is TaskState.PENDING
    guard.latency._ended.clear()
    await until(lambda: guard.refusal() is None)
    assert len(await house.submit()) == 1
    guard.slow_s = 10.0


# ---------------------------------------------------------------------------------------------------- on a real disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 40 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here: that takes the rights of root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(folder, leave_bytes):
    stat = os.statvfs(folder)
    with suppress(OSError):
        file = os.open(folder / "filler", os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.posix_fallocate(file, 0, stat.f_bavail * stat.f_frsize - leave_bytes)
        finally:
            os.close(file)


async def _tag_again_and_again(house, job):
    for _ in range(200):  # the log is written over from its beginning, as long as that goes
        await house.scheduler.set_tags(job, "alice", ("t" * 4000,))


async def test_a_real_disk_fills_up_and_is_emptied_again(small_disk, cluster, monkeypatch):
    monkeypatch.setattr(storage_guard, "LOOK_S", 0.01)
    monkeypatch.setattr(journal, "RETRY_S", 0.01)
    monkeypatch.setattr(shell, "REFUSAL_GRACE_S", 0.0)
    house = House(settings(small_disk, **{"storage.min_free_bytes": 4 * MIB}), cluster)
    monkeypatch.setattr(os, "_exit", house.exits.append)
    await house.scheduler.ping()
    jobs = await house.submit(20)
    await house.compile()
    await until(lambda: house.scheduler._guard.ballast.held)

    fill_up(small_disk, 2 * MIB)
    await until(lambda: house.scheduler._guard.refusal() is not None)
    [refused] = await house.scheduler.submit([request()])
    assert refused.code == "store_full"
    await until(lambda: not house.scheduler._guard.ballast.held)
    await house.join()
    for _ in jobs:
        group = await house.lease()
        await house.report(*(done(member.job_id, member.attempt) for member in group.members))
        if all([(await house.record(job)).terminal for job in jobs]):
            break
    assert {await house.state(job) for job in jobs} == {TaskState.COMPLETED}, "what was accepted ends"

    (small_disk / "more").write_bytes(b"")
    fill_rest = os.open(small_disk / "more", os.O_WRONLY | os.O_APPEND)
    with suppress(OSError):
        while True:
            os.write(fill_rest, b"x" * 65536)
    os.close(fill_rest)
    with pytest.raises(StoreFull):
        await _tag_again_and_again(house, jobs[0])
    await until(lambda: house.exits)
    await house.restart()
    assert (await house.scheduler.query(JobQuery("alice"))).total == 20
    with pytest.raises(StoreFull):
        await house.scheduler.cancel(jobs[0], "alice", "alice")
    assert len(house.exits) == 1

    (small_disk / "more").unlink()
    (small_disk / "filler").unlink()
    async with asyncio.timeout(10):
        await house.scheduler._ready.to_work()
    await until(lambda: house.scheduler._guard.refusal() is None)
    assert len(await house.submit()) == 1
    assert {await house.state(job) for job in jobs} == {TaskState.COMPLETED}
    await house.close()


def remounted(folder, how):
    return (
        subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], capture_output=True, check=False).returncode == 0
    )


async def test_a_scheduler_on_a_read_only_file_system_shows_what_is_there_until_it_may_write(
    small_disk, cluster, monkeypatch
):
    monkeypatch.setattr(storage_guard, "LOOK_S", 0.01)
    monkeypatch.setattr(journal, "RETRY_S", 0.01)
    monkeypatch.setattr(shell, "REFUSAL_GRACE_S", 0.0)
    configured = settings(small_disk, **{"storage.min_free_bytes": 4 * MIB})
    house = House(configured, cluster)
    monkeypatch.setattr(os, "_exit", house.exits.append)
    jobs = await house.submit(3)
    await house.close()
    await until(lambda: remounted(small_disk, "ro"))  # a look of the guard that is still under way may hold a file
    scheduler = house.scheduler = SchedulerActor(configured.to_dict())
    assert [record.id for record in await scheduler.get(jobs)] == jobs
    with pytest.raises(StoreReadOnly, match="can be read"):
        await scheduler.submit([request()])
    await until(lambda: scheduler._guard.refusal() is not None)
    assert (await scheduler.status()).extra["storage"]["code"] == "store_read_only"
    assert remounted(small_disk, "rw")
    async with asyncio.timeout(10):
        await scheduler._ready.to_work()
    await until(lambda: scheduler._guard.refusal() is None)
    assert await house.compile() == jobs
    assert len(await house.submit()) == 1
    await house.close()
    assert house.exits == []

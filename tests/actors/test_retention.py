"""Old jobs and leftover files go; everything else stays."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace

import pytest

from qrtx_ray.actors import metadata_recorder, retention
from qrtx_ray.actors.retention import Retention, made_at
from qrtx_ray.actors.state_manager import StateManagerActor
from qrtx_ray.errors import NotFound, PersistError
from qrtx_ray.model import JobChange, JobQuery, TaskState, new_id
from qrtx_ray.store.circuit_fs import CircuitFS
from qrtx_ray.store.protocol import Transaction
from qrtx_ray.store.sqlite import SqliteStore

from .building import record, settings
from .house import House, done

DAY = 86_400.0
KEEP = 7 * DAY


def old_job(number: int, ended_at: float, **fields):
    """A transaction that leaves an ended job behind, with everything a job has."""
    ended = replace(
        record(number, TaskState.COMPLETED),
        id=new_id(ended_at - 10, number.to_bytes(7, "little")),
        created_at=ended_at - 10,
        finished_at=ended_at,
        metadata_recorded=True,
        qpu_s=1.0,
        idempotency_key=f"key-{number}",
    )
    ended = replace(ended, **fields)
    change = JobChange(number, ended.id, ended_at, TaskState.COMPLETING, ended.state, 1, "ended")
    return Transaction((ended,), (change,), ((ended.id, "request", b"payload"),))


@pytest.fixture
async def house(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(retention, "PAUSE_S", 0.0)
    house = House(settings(tmp_path, **{"storage.job_retention": KEEP}), cluster)
    monkeypatch.setattr(os, "_exit", house.exits.append)
    yield house
    await house.close()
    assert house.exits == []


def fill(folder, transactions):
    store = SqliteStore(folder / "journal.db")
    store.open_epoch()
    for first in range(0, len(transactions), 1000):
        store.commit(transactions[first : first + 1000])
    store.close()


async def test_ten_thousand_old_jobs_go_and_the_others_stay(tmp_path, cluster, monkeypatch):
    now = time.time()
    old = [old_job(number, now - KEEP - 60 - number) for number in range(1, 10_001)]
    young = [old_job(number, now - KEEP + 3600) for number in range(10_001, 10_051)]
    live = replace(record(10_051, TaskState.QUEUED), created_at=now - 100 * DAY, queue_timeout_s=1000 * DAY)
    unrecorded = old_job(10_052, now - 100 * DAY, metadata_recorded=False, idempotency_key=None)
    fill(tmp_path, [*old, *young, Transaction((live,)), unrecorded])
    files = CircuitFS(str(tmp_path))
    folders = [old[number].records[0].id for number in range(0, 10_000, 100)]
    for job_id in [*folders, young[0].records[0].id]:
        files.write_artefacts(job_id, {"meta.json": b"{}"})
    monkeypatch.setattr(retention, "PAUSE_S", 0.0)
    monkeypatch.setattr(metadata_recorder, "GATHER_S", 0.0)
    # Of its own accord, right after the start.
    house = House(settings(tmp_path, **{"storage.job_retention": KEEP}), cluster)
    monkeypatch.setattr(os, "_exit", house.exits.append)
    scheduler = house.scheduler
    await scheduler.ping()
    async with asyncio.timeout(30):
        while (await scheduler.query(JobQuery("alice", limit=1))).total > 52:
            await asyncio.sleep(0.02)
        # Whoever removes the files was away.
        cluster.add("qrtx-state-manager", StateManagerActor(settings(tmp_path).to_dict()))
        while any(files.exists(job_id) for job_id in folders):
            await asyncio.sleep(0.02)
    kept = (await scheduler.query(JobQuery("alice", limit=100))).records
    assert {job.number for job in kept} == {*range(10_001, 10_053)}
    assert (await scheduler.get([old[0].records[0].id])) == [None]
    assert await scheduler.history(old[0].records[0].id) == []
    assert await scheduler.payload(old[0].records[0].id) is None
    assert files.exists(young[0].records[0].id)
    assert len(await scheduler.history(young[0].records[0].id)) == 1
    assert await house.state(live.id) is TaskState.QUEUED
    [fresh] = await house.submit(idempotency_key="key-1")
    assert (await house.record(fresh)).number == 10_053, "a key of a deleted job is free; a number is given once"
    await house.close()
    assert house.exits == []


async def test_a_job_that_is_in_memory_goes_too(house):
    [job] = await house.submit()
    await house.compile()
    await house.join()
    [member] = (await house.lease()).members
    await house.report(done(member.job_id, member.attempt))
    house.scheduler._metadata_recorded([job])
    await house.until_all([job], lambda record: record.metadata_recorded)
    assert await house.scheduler._retention.expire() == 0
    ahead = house.scheduler._now() + KEEP + 60
    house.scheduler._retention._now = lambda: ahead
    assert await house.scheduler._retention.expire() == 1
    assert await house.scheduler.get([job]) == [None]
    with pytest.raises(NotFound):
        await house.scheduler.set_tags(job, "alice", ("x",))


async def test_who_read_a_job_just_before_it_went_does_not_bring_it_back(tmp_path, house):
    [job] = await house.submit()
    await house.scheduler.cancel(job, "alice", "alice")
    house.scheduler._metadata_recorded([job])
    await house.until_all([job], lambda record: record.metadata_recorded)
    await house.restart()
    assert not house.scheduler._core.knows_job(job)
    tagging = asyncio.create_task(house.scheduler.set_tags(job, "alice", ("x",)))
    await asyncio.sleep(0)
    await house.scheduler._delete_old([job])
    with pytest.raises(NotFound):
        await tagging
    assert house.exits == []


async def test_folders_without_a_job_are_swept_when_they_are_old_enough(tmp_path, house, cluster):
    cluster.add("qrtx-state-manager", StateManagerActor(settings(tmp_path).to_dict()))
    now = time.time()
    [known] = await house.submit()
    files = CircuitFS(str(tmp_path))
    old = [new_id(now - KEEP - DAY - n, n.to_bytes(7, "little")) for n in range(3)]
    young = new_id(now - KEEP + DAY, bytes(7))
    for job_id in [*old, young, known]:
        files.write_artefacts(job_id, {"meta.json": b"{}"})
    assert await house.scheduler._retention.sweep() == 3
    async with asyncio.timeout(5):
        while any(files.exists(job_id) for job_id in old):
            await asyncio.sleep(0.01)
    assert files.exists(young)
    assert files.exists(known)
    assert await house.scheduler._retention.sweep() == 0


def nobody(*_):
    raise AssertionError("nothing is to be deleted")


async def test_without_a_retention_everything_stays(tmp_path):
    forever = Retention(settings(tmp_path), None, time.time, nobody, nobody)
    await forever.run()
    assert await forever.expire() == 0
    assert await forever.sweep() == 0


async def test_a_journal_in_memory_says_nothing_about_files(tmp_path, monkeypatch):
    configured = settings(tmp_path, **{"storage.job_retention": KEEP, "storage.journal_url": "memory:"})
    retained = Retention(configured, None, time.time, nobody, nobody)
    assert not retained._sweeps


async def test_trouble_is_told_and_tried_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(retention, "PERIOD_S", 0.001)
    tries = []

    class Journal:
        store = type("Store", (), {"finished_before": None})

        async def read(self, *_):
            tries.append(1)
            raise PersistError("not now")

    retained = Retention(settings(tmp_path, **{"storage.job_retention": KEEP}), Journal(), time.time, nobody, nobody)
    running = asyncio.create_task(retained.run())
    async with asyncio.timeout(5):
        while len(tries) < 3:
            await asyncio.sleep(0.001)
    running.cancel()
    assert "not now" in caplog.text


def test_an_identifier_tells_when_it_was_made():
    assert made_at(new_id(1.7e9 + 0.123, bytes(7))) == pytest.approx(1.7e9 + 0.123, abs=0.002)

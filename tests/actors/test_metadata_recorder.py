"""What the state manager has to be told is told until it has heard."""

from __future__ import annotations

import asyncio

import pytest

from qrtx_ray.actors import metadata_recorder
from qrtx_ray.actors.metadata_recorder import MetadataRecorder
from qrtx_ray.actors.names import STATE_MANAGER
from qrtx_ray.errors import StoreFull
from qrtx_ray.model import TaskState

from .building import job_id, record, until


class Manager:
    def __init__(self) -> None:
        self.told: list[list[str]] = []
        self.forgotten: list[str] = []
        self.files: set[str] = set()
        self.full = 0

    async def record_metadata(self, records):
        if self.full:
            self.full -= 1
            raise StoreFull("no space is left for files; nothing of the call was kept")
        self.told.append([entry.id for entry in records])
        self.files.update(entry.id for entry in records)

    async def forget(self, job_ids):
        self.forgotten += job_ids
        self.files.difference_update(job_ids)


class Bench:
    def __init__(self) -> None:
        self.known = {job_id(n): record(n, TaskState.COMPLETED) for n in range(1, 400)}
        self.recorded: list[str] = []
        self.recorder = MetadataRecorder(self.recorded.extend, self.records)

    async def records(self, job_ids):
        await asyncio.sleep(0)
        return [self.known.get(job) for job in job_ids]


@pytest.fixture
async def bench(monkeypatch):
    monkeypatch.setattr(metadata_recorder, "GATHER_S", 0.0)
    monkeypatch.setattr(metadata_recorder, "RETRY_S", 0.005)
    bench = Bench()
    yield bench
    bench.recorder.close()


async def test_jobs_that_finish_together_are_told_together(bench, cluster):
    manager = Manager()
    cluster.add(STATE_MANAGER, manager)
    ids = [job_id(n) for n in range(1, 301)]
    bench.recorder.add(ids)
    await until(lambda: len(bench.recorded) == 300)
    assert bench.recorded == ids
    assert [len(told) for told in manager.told] == [200, 100]


async def test_it_waits_for_a_state_manager_that_is_not_there_away_or_out_of_space(bench, cluster):
    bench.recorder.add([job_id(1)])
    await asyncio.sleep(0.02)
    manager = Manager()
    manager.full = 2
    handle = cluster.add(STATE_MANAGER, manager)
    handle.away = True
    await until(lambda: handle.calls)
    handle.away = False
    await until(lambda: bench.recorded)
    assert manager.told == [[job_id(1)]]
    assert manager.full == 0


async def test_a_job_that_no_longer_exists_is_not_waited_for(bench, cluster):
    manager = Manager()
    cluster.add(STATE_MANAGER, manager)
    bench.recorder.add(["0" * 20, job_id(1)])
    await until(lambda: bench.recorded)
    assert bench.recorded == [job_id(1)]
    assert not bench.recorder._finished


async def test_files_of_a_deleted_job_go_even_when_its_metadata_was_on_its_way(bench, cluster):
    manager = Manager()
    bench.recorder.add([job_id(1)])
    bench.recorder.forget([job_id(1), job_id(2)])
    cluster.add(STATE_MANAGER, manager)
    await until(lambda: manager.forgotten)
    assert sorted(manager.forgotten) == [job_id(1), job_id(2)]
    assert manager.files == set()
    assert bench.recorded == []


async def test_a_job_deleted_while_its_metadata_is_written_leaves_nothing(bench, cluster):
    class Slow(Manager):
        async def record_metadata(self, records):
            bench.recorder.forget([job_id(1)])
            await super().record_metadata(records)

    manager = Slow()
    cluster.add(STATE_MANAGER, manager)
    bench.recorder.add([job_id(1)])
    await until(lambda: manager.forgotten)
    assert manager.files == set()

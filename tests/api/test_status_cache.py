"""What a replica knows of jobs, and how clients that wait are woken."""

from __future__ import annotations

import asyncio

from qrtx_ray.api.status_cache import StatusCache
from qrtx_ray.model import TaskState
from tests.actors.building import job_id, record


async def parked(cache: StatusCache, number: int = 1, timeout_s: float = 5.0):
    task = asyncio.create_task(cache.changed(job_id(number), timeout_s))
    await asyncio.sleep(0)
    return task


async def test_a_newer_record_wakes_all_who_wait_for_it_and_nobody_else():
    cache = StatusCache(10)
    cache.put(record(1, version=1))
    waiting = [await parked(cache), await parked(cache)]
    other = await parked(cache, 2)
    cache.update([record(1, version=2)])
    assert await asyncio.gather(*waiting) == [True, True]
    assert not other.done()
    other.cancel()


async def test_an_older_record_changes_nothing():
    cache = StatusCache(10)
    new = cache.put(record(1, TaskState.COMPLETED, version=5))
    waiting = await parked(cache, timeout_s=0.02)
    assert cache.put(record(1, version=4)) is new
    assert cache.put(record(1, TaskState.COMPLETED, version=5)) is new
    assert not await waiting
    assert cache.get(job_id(1)) is new


async def test_progress_alone_is_news():
    cache = StatusCache(10)
    cache.put(record(1, version=3, progress=0.1))
    waiting = await parked(cache)
    cache.put(record(1, version=3, progress=0.2))
    assert await waiting


async def test_the_least_recently_used_goes_first():
    cache = StatusCache(2)
    cache.put(record(1))
    cache.put(record(2))
    assert cache.get(job_id(1)) is not None
    cache.put(record(3))
    assert cache.get(job_id(2)) is None
    assert cache.get(job_id(1)) is not None


async def test_who_waits_for_a_job_that_was_dropped_is_woken_when_it_comes_again():
    cache = StatusCache(1)
    cache.put(record(1, version=1))
    waiting = await parked(cache)
    cache.put(record(2))
    cache.put(record(1, version=2))
    assert await waiting


async def test_forgetting_everything_wakes_everybody_and_begins_a_new_generation():
    cache = StatusCache(10)
    cache.put(record(1))
    waiting = [await parked(cache, 1), await parked(cache, 2)]
    before = cache.generation
    cache.clear()
    assert await asyncio.gather(*waiting) == [True, True]
    assert cache.get(job_id(1)) is None
    assert cache.generation > before


async def test_who_waits_for_a_deleted_job_is_woken():
    cache = StatusCache(10)
    cache.put(record(1))
    waiting = await parked(cache)
    cache.forget(job_id(1))
    assert await waiting


async def test_waiting_leaves_nothing_behind():
    cache = StatusCache(10)
    assert not await cache.changed(job_id(1), 0.0)
    task = await parked(cache)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert cache._waiters == {}


async def test_progress_and_slices_are_news_of_the_same_version_and_never_go_back():
    cache = StatusCache(10)
    cache.put(record(1, version=2))
    waiting = await parked(cache)
    cache.put(record(1, version=2, slices=1))
    assert await waiting
    cache.put(record(1, version=2, progress=0.5, slices=2))
    cache.put(record(1, version=2, progress=0.25, slices=9))
    kept = cache.get(job_id(1))
    assert (kept.progress, kept.slices) == (0.5, 2)
    cache.put(record(1, version=3))  # a new attempt begins anew
    assert cache.get(job_id(1)).slices == 0

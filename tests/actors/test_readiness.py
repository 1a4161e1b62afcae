"""Who waits and who is refused while the scheduler cannot write its journal."""

from __future__ import annotations

import asyncio

import pytest

from qrtx_ray.actors.readiness import Readiness
from qrtx_ray.errors import StoreFull


async def parked(*waits):
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    return tasks


async def test_at_first_everybody_waits_and_then_nobody_does():
    ready = Readiness()
    tasks = await parked(ready.wait(), ready.to_read(), ready.to_work())
    assert not ready.is_set()
    ready.set()
    await asyncio.gather(*tasks, ready.wait(), ready.to_read(), ready.to_work())
    assert ready.is_set()


async def test_while_nothing_can_be_changed_clients_are_told_readers_served_and_workers_wait():
    ready = Readiness()
    changing, reading, working = await parked(ready.wait(), ready.to_read(), ready.to_work())
    ready.refuse(StoreFull("no room", limit="10 bytes"), readable=True)
    with pytest.raises(StoreFull, match="no room") as first:
        await changing
    await reading
    await ready.to_read()
    with pytest.raises(StoreFull) as second:
        await ready.wait()
    assert second.value is not first.value, "each has an error of its own"
    assert second.value.limit == "10 bytes"
    await asyncio.sleep(0)
    assert not working.done()
    ready.set()
    await asyncio.gather(working, ready.wait())
    assert ready.refusal is None


async def test_while_it_is_tried_again_readers_wait_and_changes_are_refused():
    ready = Readiness()
    ready.refuse(StoreFull("no room"), readable=True)
    ready.try_again()
    [reading] = await parked(ready.to_read())
    with pytest.raises(StoreFull):
        await ready.wait()
    ready.refuse(StoreFull("still none"), readable=True)
    await reading
    ready.try_again()
    ready.refuse(StoreFull("gone"), readable=False)
    with pytest.raises(StoreFull, match="gone"):
        await ready.to_read()


async def test_where_not_even_reading_is_possible_readers_are_told_too():
    ready = Readiness()
    ready.refuse(StoreFull("gone"), readable=False)
    with pytest.raises(StoreFull):
        await ready.to_read()

"""A scheduler dies and the next one continues from the same file, or from the same database."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack

import pytest

from qrtx_ray.actors.wire import OWN_KEY
from qrtx_ray.errors import StoreConflict
from qrtx_ray.model import TaskState
from tests.store.postgres import URL, own_schema

from .building import request, settings
from .house import House, done


@pytest.fixture(params=["sqlite", *(["postgresql"] if URL else [])])
async def house(request, tmp_path, cluster, monkeypatch):
    with ExitStack() as stack:
        database = {"storage.journal_url": stack.enter_context(own_schema())} if request.param == "postgresql" else {}
        house = House(settings(tmp_path, **database), cluster)
        monkeypatch.setattr(os, "_exit", house.exits.append)
        await house.scheduler.ping()
        yield house
        await house.close()


async def finish(house: House, jobs: list[str], incarnation: str = "1") -> None:
    while any([not (await house.record(job)).terminal for job in jobs]):
        group = await house.lease(incarnation=incarnation)
        reports = [done(member.job_id, member.attempt) for member in group.members]
        await house.report(*reports, incarnation=incarnation)


async def test_every_accepted_job_is_there_and_ends_whatever_it_was_doing(house):
    ended = (await house.submit())[0]
    await house.compile()
    await house.join()
    await finish(house, [ended])
    running = (await house.submit())[0]
    await house.compile()
    await house.lease()
    queued = (await house.submit())[0]
    await house.compile()
    pending = (await house.submit())[0]
    numbers = [(await house.record(job)).number for job in (ended, running, queued, pending)]
    await house.restart()
    states = [await house.state(job) for job in (ended, running, queued, pending)]
    assert states == [TaskState.COMPLETED, TaskState.ALLOCATING, TaskState.QUEUED, TaskState.PENDING]
    await house.compile()
    await house.join(running=((running, 1),))
    assert await house.report(done(running))
    await finish(house, [queued, pending])
    assert [(await house.record(job)).attempt for job in (running, queued, pending)] == [1, 1, 1]
    fresh = (await house.submit())[0]
    assert [*numbers, (await house.record(fresh)).number] == [1, 2, 3, 4, 5]


async def test_what_no_agent_claims_is_leased_anew(house):
    [job] = await house.submit()
    await house.compile()
    await house.join()
    await house.lease()
    await house.restart()
    await house.join(incarnation="2")
    [member] = (await house.lease(incarnation="2")).members
    assert (member.job_id, member.attempt, member.executable) == (job, 2, b"compiled payload")


async def test_what_nobody_comes_back_for_is_leased_anew_after_the_grace(house):
    [job] = await house.submit()
    await house.compile()
    await house.join()
    await house.lease()
    await house.restart()
    await house.join(name="other")
    assert [member.attempt for member in (await house.lease(name="other")).members] == [2]
    assert (await house.record(job)).agent == "other"


async def test_a_submission_repeated_after_the_restart_is_the_same_job(house):
    own = request(idempotency_key=f"{OWN_KEY}abc", digest="d")
    [first] = await house.scheduler.submit([own])
    await house.scheduler.cancel(first.id, "alice", "alice")
    house.scheduler._metadata_recorded([first.id])
    await house.until_all([first.id], lambda record: record.metadata_recorded)
    await house.restart()
    [second] = await house.scheduler.submit([own], True)
    assert first.id == second.id


@pytest.mark.parametrize("key", ["plain", "~tilde", OWN_KEY + "forged"])
async def test_no_key_of_a_client_brings_the_scheduler_down(house, key):
    """A key that is in the journal and was not looked up is refused by the journal: a restart for everybody."""
    [first] = await house.scheduler.submit([request(idempotency_key=key, digest="d")])
    await house.scheduler.cancel(first.id, "alice", "alice")
    house.scheduler._metadata_recorded([first.id])
    await house.until_all([first.id], lambda record: record.metadata_recorded)
    await house.restart()
    assert not house.scheduler._core.knows_job(first.id), "only the journal knows it now"
    if key.startswith(OWN_KEY):
        assert not key.isprintable(), "the front refuses it"
        return
    [second] = await house.scheduler.submit([request(idempotency_key=key, digest="d")])
    assert first.id == second.id
    assert house.exits == []


async def test_a_call_cut_short_by_the_crash_is_carried_out_once(house):
    calls = [
        asyncio.create_task(house.handle.submit.remote([request(idempotency_key=f"{OWN_KEY}{n}", digest="d")]))
        for n in range(20)
    ]
    await asyncio.sleep(0)
    await house.restart()
    cut = await asyncio.gather(*calls, return_exceptions=True)
    again = [
        (await house.scheduler.submit([request(idempotency_key=f"{OWN_KEY}{n}", digest="d")], True))[0]
        for n in range(20)
    ]
    for first, second in zip(cut, again, strict=True):
        assert isinstance(first, BaseException) or first[0].id == second.id
    status = await house.scheduler.status()
    assert status.extra["live"] == 20


async def test_a_cancellation_survives_and_the_attempt_is_stopped_when_its_agent_is_back(house, cluster):
    class Agent:
        stopped: list[tuple[str, int]] = []  # noqa: RUF012

        async def stop(self, job_id, attempt):
            self.stopped.append((job_id, attempt))

    [job] = await house.submit()
    await house.compile()
    await house.join()
    await house.lease()
    await house.scheduler.cancel(job, "alice", "alice")
    await house.restart()
    cluster.add("agent", Agent())
    await house.join(running=((job, 1),))
    async with asyncio.timeout(5):
        while not Agent.stopped:
            await asyncio.sleep(0.002)
    await house.report(done(job))
    assert await house.state(job) is TaskState.CANCELLED


async def test_an_older_scheduler_can_write_no_more(house):
    old = house.scheduler
    house.scheduler = type(old)(house._settings.to_dict())
    await house.scheduler.ping()
    with pytest.raises(StoreConflict):
        await old.submit([request()])
    assert len(await house.submit()) == 1
    await old.close()


async def test_followers_of_the_old_life_start_anew(house):
    await house.submit()
    before = await house.scheduler.follow(0, 0)
    await house.restart()
    after = await house.scheduler.follow(before.epoch, before.cursor)
    assert after.reset
    assert after.epoch == before.epoch + 1


async def test_metadata_not_yet_recorded_is_recorded_by_the_next(house, cluster, tmp_path):
    from qrtx_ray.actors.state_manager import StateManagerActor

    [job] = await house.submit()
    await house.scheduler.cancel(job, "alice", "alice")
    assert not (await house.record(job)).metadata_recorded
    await house.restart()
    cluster.add("qrtx-state-manager", StateManagerActor(settings(tmp_path).to_dict()))
    await house.until_all([job], lambda record: record.metadata_recorded)
    assert (tmp_path / "circuit_fs" / job / "meta.json").exists()

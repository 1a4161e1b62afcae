"""What clients and operators steer by, through the actor: each call durable when answered, and done once though asked twice."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest

from qrtx_ray.actors.wire import OWN_KEY
from qrtx_ray.errors import InvalidState, NotFound, QrtxError
from qrtx_ray.model import KeptCheckpoint, RunReport, TaskState

from .building import DEVICE, checkpoint, request, settings, until
from .house import House, done
from .test_scheduler import executing


class Agent:
    """Remembers what the scheduler pushes to it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, tuple[str, int]]] = []

    def __getattr__(self, name):
        async def pushed(*arguments):
            attempts = [arguments] if name == "stop" else arguments[0]
            self.heard += [(name, attempt) for attempt in attempts]

        return pushed


@pytest.fixture
async def house(tmp_path, cluster, monkeypatch):
    house = House(settings(tmp_path), cluster)
    monkeypatch.setattr(os, "_exit", house.exits.append)
    house.agent = Agent()
    cluster.add("agent", house.agent)
    await house.scheduler.ping()
    yield house
    assert house.exits == []
    await house.close()


async def test_a_call_repeated_after_a_lost_answer_finds_done_what_it_asked_for(house):
    job = await executing(house)
    scheduler = house.scheduler
    await scheduler.pause(job, "alice", "alice")
    await house.report(done(job))  # the pause came too late
    assert (await scheduler.pause(job, "alice", "alice", True)).state is TaskState.COMPLETED
    assert (await scheduler.resume(job, "alice", "alice", True)).state is TaskState.COMPLETED
    assert (await scheduler.checkpoint(job, "alice", True)).state is TaskState.COMPLETED
    for late in (scheduler.pause(job, "alice", "bob", True), scheduler.pause(job, "alice", "alice")):
        with pytest.raises(InvalidState):
            await late
    for late in (scheduler.resume(job, "alice", "alice"), scheduler.checkpoint(job, "alice")):
        with pytest.raises(InvalidState):
            await late
    for stranger in (scheduler.pause(job, "bob", "bob", True), scheduler.checkpoint(job, "bob", True)):
        with pytest.raises(NotFound):
            await stranger


async def made_way(house: House, job: str, attempt: int = 1, sequence: int = 1, **fields) -> bool:
    kept = checkpoint(job, attempt, sequence)
    return await house.report(RunReport(job, attempt, preempted=True, progress=0.5, checkpoint=kept), **fields)


async def test_a_waiting_job_is_paused_at_once_and_goes_on_when_it_is_resumed_also_by_the_next_scheduler(house):
    [job] = await house.submit()
    await house.compile()
    paused = await house.scheduler.pause(job, "alice", "alice")
    assert (paused.state, paused.paused_by) == (TaskState.PAUSED, "alice")
    await house.restart()
    assert await house.state(job) is TaskState.PAUSED
    assert (await house.scheduler.pause(job, "alice", "bob")).paused_by == "alice", "asked again, nothing changes"
    for _ in range(2):
        assert (await house.scheduler.resume(job, "alice", "alice")).state is TaskState.QUEUED
    await house.join()
    assert [member.job_id for member in (await house.lease()).members] == [job]


async def test_a_running_job_is_paused_by_its_agents_report_and_goes_on_from_the_checkpoint(house):
    job = await executing(house)
    paused = await house.scheduler.pause(job, "alice", "alice")
    assert (paused.state, paused.pause_requested) == (TaskState.EXECUTING, True)
    await until(lambda: house.agent.heard == [("preempt_many", (job, 1))])
    await made_way(house, job)
    record = await house.record(job)
    assert (record.state, record.checkpoints, record.preemptions) == (TaskState.PAUSED, (checkpoint(job),), 0)
    await house.restart()
    await house.scheduler.resume(job, "alice", "alice")
    await house.join(incarnation="2")
    [member] = (await house.lease(incarnation="2")).members
    assert (member.job_id, member.attempt, member.checkpoints) == (job, 2, (checkpoint(job),))
    assert member.checkpoint_every_s > 0


async def test_a_pause_that_the_scheduler_died_after_is_asked_for_again_when_its_agent_comes_back(house):
    job = await executing(house)
    await house.scheduler.pause(job, "alice", "alice")
    await house.restart()
    house.agent.heard.clear()
    await house.join(running=((job, 1),))
    await house.beat((job, 1))
    await until(lambda: ("preempt_many", (job, 1)) in house.agent.heard)
    assert await made_way(house, job)
    assert await house.state(job) is TaskState.PAUSED


async def test_checkpoints_on_the_way_are_valid_when_their_agent_is_answered(house):
    job = await executing(house)
    for sequence in (1, 2, 3):
        kept = KeptCheckpoint(job, 1, checkpoint(job, 1, sequence))
        valid = await house.scheduler.checkpointed("agent", "1", [kept])
    assert valid == {job: (checkpoint(job, 1, 3), checkpoint(job, 1, 2))}
    again = await house.scheduler.checkpointed("agent", "1", [kept])
    assert again == valid, "told twice, it counts once"
    await house.restart()
    assert (await house.record(job)).checkpoints == valid[job]
    assert await house.scheduler.checkpointed("agent", "1", [kept]) is None, "join first"
    await house.join(incarnation="2")
    [member] = (await house.lease(incarnation="2")).members
    assert (member.attempt, member.checkpoints) == (2, valid[job])
    stale = KeptCheckpoint(job, 1, checkpoint(job, 1, 4))
    assert await house.scheduler.checkpointed("agent", "2", [stale]) == valid, "that attempt is over"


async def test_a_checkpoint_is_asked_of_the_agent_that_runs_the_job(house):
    job = await executing(house)
    record = await house.scheduler.checkpoint(job, "alice")
    assert record.state is TaskState.EXECUTING
    await until(lambda: house.agent.heard == [("checkpoint_many", (job, 1))])
    with pytest.raises(NotFound):
        await house.scheduler.checkpoint(job, "bob")
    [waiting] = await house.submit()
    with pytest.raises(InvalidState):
        await house.scheduler.checkpoint(waiting, "alice")


async def test_a_job_cancelled_for_its_part_is_concluded_and_has_it(house):
    job = await executing(house)
    await house.scheduler.cancel(job, "alice", "alice", partial=True)
    await until(lambda: house.agent.heard == [("conclude_many", (job, 1))])
    await house.report(done(job, partial=True, progress=0.4))
    record = await house.record(job)
    assert (record.state, record.partial, record.progress) == (TaskState.CANCELLED, True, 0.4)
    assert record.result_sha256 is not None
    assert (await house.scheduler.cancel(job, "alice", "alice", True, True)).state is TaskState.CANCELLED
    with pytest.raises(InvalidState):
        await house.scheduler.cancel(job, "alice", "alice")


async def test_a_second_cancel_ends_at_once_what_was_to_conclude(house):
    job = await executing(house)
    await house.scheduler.cancel(job, "alice", "alice", partial=True)
    await house.scheduler.cancel(job, "alice", "alice")
    await until(lambda: house.agent.heard[-1:] == [("stop", (job, 1))])


async def test_a_job_moves_to_the_agent_that_was_asked_for(house, cluster):
    job = await executing(house)
    with pytest.raises(InvalidState):
        await house.scheduler.migrate(job, "alice", "alice")  # there is no other
    cluster.add("other", Agent())
    await house.join("other")
    await house.scheduler.migrate(job, "alice", "alice", "other")
    await until(lambda: house.agent.heard == [("preempt_many", (job, 1))])
    first = asyncio.create_task(house.lease())
    await made_way(house, job)
    [member] = (await house.lease("other")).members
    assert (member.job_id, member.attempt, member.checkpoints) == (job, 2, (checkpoint(job),))
    first.cancel()
    assert (await house.record(job)).preemptions == 0
    with pytest.raises(InvalidState):
        await house.scheduler.migrate(job, "alice", "alice", "nobody")
    assert (await house.scheduler.migrate(job, "alice", "alice", "nobody", again=True)).id == job


async def ended_with_checkpoints(house: House) -> str:
    job = await executing(house, priority=70, tags=("t",), name="n")
    for sequence in (1, 2):
        await house.scheduler.checkpointed("agent", "1", [KeptCheckpoint(job, 1, checkpoint(job, 1, sequence))])
    await house.scheduler.cancel(job, "alice", "alice")
    await house.report(RunReport(job, 1))
    assert await house.state(job) is TaskState.CANCELLED
    return job


async def test_an_ended_job_is_restored_as_a_new_one_once_however_often_that_is_asked(house):
    job = await ended_with_checkpoints(house)
    old = await house.record(job)
    key = f"{OWN_KEY}drawn"
    new = await house.scheduler.restore(job, "alice", "alice", None, key)
    assert new.id != job
    assert (new.restored_from, new.checkpoints) == (job, old.checkpoints)
    assert (new.seed, new.device, new.priority, new.tags, new.name) == (old.seed, DEVICE, 70, ("t",), "n")
    await house.restart()
    assert (await house.scheduler.restore(job, "alice", "alice", None, key, True)).id == new.id
    with pytest.raises(QrtxError) as refused:
        await house.scheduler.restore(job, "alice", "alice", 1, key, True)
    assert refused.value.code == "idempotency_conflict" or "key" in str(refused.value)
    assert (await house.scheduler.restore(job, "alice", "alice")).id not in {job, new.id}
    assert set(await house.compile()) >= {new.id}
    await house.join(incarnation="2")
    members = (await house.lease(incarnation="2")).members
    [member] = [member for member in members if member.job_id == new.id]
    assert (member.checkpoints, member.executable, member.seed) == (old.checkpoints, b"compiled payload", old.seed)


async def test_a_job_is_restored_from_the_checkpoint_that_was_named(house):
    job = await ended_with_checkpoints(house)
    new = await house.scheduler.restore(job, "alice", "alice", 1)
    assert [ref.sequence for ref in new.checkpoints] == [1]
    with pytest.raises(NotFound, match="no checkpoint 7"):
        await house.scheduler.restore(job, "alice", "alice", 7)
    with pytest.raises(NotFound):
        await house.scheduler.restore(job, "bob", "bob")
    with pytest.raises(NotFound):
        await house.scheduler.restore("0" * 20, "alice", "alice")


async def test_a_job_that_has_not_ended_or_kept_nothing_is_not_restored(house):
    [job] = await house.submit()
    with pytest.raises(InvalidState, match="pause and resume"):
        await house.scheduler.restore(job, "alice", "alice")
    await house.scheduler.cancel(job, "alice", "alice")
    with pytest.raises(NotFound, match="no checkpoint"):
        await house.scheduler.restore(job, "alice", "alice")


async def test_a_drained_device_gives_its_work_back_and_stays_so_over_a_restart(house):
    job = await executing(house)
    await house.scheduler.drain_device(DEVICE, True)
    await until(lambda: house.agent.heard == [("preempt_many", (job, 1))])
    await made_way(house, job)
    assert (await house.record(job)).state is TaskState.QUEUED
    assert (await house.record(job)).preemptions == 0
    await house.restart()
    await house.join(incarnation="2")
    leasing = asyncio.create_task(house.lease(incarnation="2"))
    await asyncio.sleep(0.02)
    assert not leasing.done()
    await house.scheduler.drain_device(DEVICE, False)
    assert [member.job_id for member in (await leasing).members] == [job]


@pytest.mark.parametrize("name", ["agent", None])
async def test_a_drained_agent_gives_its_work_back_takes_none_and_stays_so_over_a_restart(house, name):
    job = await executing(house)
    await house.scheduler.drain_agent(name, True)
    await until(lambda: house.agent.heard == [("preempt_many", (job, 1))])
    await made_way(house, job)
    await house.restart()
    await house.join(incarnation="2")
    [state] = await house.scheduler.agents()
    assert (state.name, state.devices, state.running, state.drained, state.incarnation) == (
        "agent",
        (DEVICE,),
        0,
        True,
        "2",
    )
    assert 0 <= state.last_heard_s < 5
    leasing = asyncio.create_task(house.lease(incarnation="2"))
    await asyncio.sleep(0.02)
    assert not leasing.done()
    await house.scheduler.drain_agent(name, False)
    assert [member.job_id for member in (await leasing).members] == [job]
    [state] = await house.scheduler.agents()
    assert (state.running, state.drained) == (1, False)


async def test_an_agent_that_withdraws_is_given_nothing_though_its_call_is_parked(house):
    await house.join()
    leasing = asyncio.create_task(house.lease())
    await asyncio.sleep(0.02)
    await house.scheduler.withdraw("agent", "1")
    await house.scheduler.withdraw("stranger", "1")
    [job] = await house.submit()
    await house.compile()
    await asyncio.sleep(0.02)
    assert not leasing.done()
    assert await house.state(job) is TaskState.QUEUED
    leasing.cancel()


async def test_what_was_refused_is_so_after_a_crash_as_well(house):
    """A refusal may rest on a change that is still on its way to the disk; it is told only after that."""
    [job] = await house.submit()
    order = []

    async def cancel():
        await house.scheduler.cancel(job, "alice", "alice")
        order.append("cancelled")

    async def pause():
        with pytest.raises(InvalidState):
            await house.scheduler.pause(job, "alice", "alice")
        order.append("refused")

    await asyncio.gather(cancel(), pause())
    assert order == ["cancelled", "refused"]


async def test_progress_that_was_shown_stays_when_a_checkpoint_is_written_in_the_middle(house):
    job = await executing(house)
    await house.beat((job, 1), progress=((job, 1, 0.7, 7),))
    await house.scheduler.checkpointed("agent", "1", [KeptCheckpoint(job, 1, checkpoint(job, progress=0.5))])
    record = await house.record(job)
    assert (record.progress, record.slices) == (0.7, 7)
    assert replace(record, progress=0.5).checkpoints == (checkpoint(job, progress=0.5),)


async def test_a_second_submission_under_the_key_of_a_restored_job_is_refused(house):
    job = await ended_with_checkpoints(house)
    new = await house.scheduler.restore(job, "alice", "alice", None, "mine")
    [answer] = await house.scheduler.submit([request(idempotency_key="mine", digest="another body")])
    assert getattr(answer, "id", None) != new.id

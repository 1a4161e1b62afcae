"""Groups in a real child with the real engine, without Ray: they make way, are concluded, are kept on the way, lose their child,
and whatever goes on later ends with the bytes of a run that nobody disturbed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace

import pytest
from qiskit import QuantumCircuit

from qrtx_ray.actors.group_run import GroupRun
from qrtx_ray.actors.keeping import CheckpointKeeper
from qrtx_ray.actors.settings import engine_sandbox
from qrtx_ray.config import Settings
from qrtx_ray.model import Group, KeptCheckpoint, Member
from qrtx_ray.store.circuit_fs import CircuitFS
from tests.engines.building import sampler_job

from .building import DEVICE, all_reports, job_id, settings, until


def slow(circuits: int, shots: int) -> bytes:
    """Trajectories of a circuit that measures midway; every circuit is a slice."""
    circuit = QuantumCircuit(3, 3)
    for layer in range(8):
        circuit.sx(range(3))
        circuit.cx(0, 1)
        circuit.cx(1, 2)
        circuit.measure(layer % 3, layer % 3)
    return sampler_job(*[circuit] * circuits, device=DEVICE, shots=shots).to_bytes()


LONG = slow(8, 700)


@pytest.fixture
async def box(tmp_path):
    sandbox = engine_sandbox(settings(tmp_path), 1024, 1)
    await sandbox.start()
    yield sandbox
    await sandbox.close()


class Bench:
    """An agent's parts on a folder of their own.

    Attributes:
        told: The checkpoints that were announced.
    """

    def __init__(self, folder, box) -> None:
        configured: Settings = settings(folder)
        self.box = box
        self.files = CircuitFS(configured.paths.circuit_fs_url)
        self.keeper = CheckpointKeeper(configured, lambda: None)
        self.told: list[KeptCheckpoint] = []

    async def _hear(self, kept):
        self.told.append(kept)
        return tuple(one.checkpoint for one in reversed(self.told))

    def run(self, *members: Member) -> GroupRun:
        return GroupRun(Group("group", DEVICE, members), self.box, self.files, self.keeper, self._hear)

    async def results(self, *members: Member) -> dict[str, bytes]:
        run = self.run(*members)
        await run.execute()
        reports = await all_reports(run)
        assert [report.error for report in reports] == [None] * len(members)
        return {report.job_id: self.read(report) for report in reports}

    def read(self, report) -> bytes:
        found = self.files.read_results(report.job_id, report.sha256)
        assert found is not None
        return found


@pytest.fixture
def bench(tmp_path, box):
    return Bench(tmp_path, box)


@pytest.fixture
async def alone(tmp_path, box):
    """The results of the long job when nobody disturbs it."""
    return (await Bench(tmp_path / "alone", box).results(member()))[job_id(2)]


def member(attempt: int = 1, **fields) -> Member:
    return replace(Member(job_id(2), attempt, seed=2, timeout_s=60.0, executable=LONG), **fields)


def fraction(run: GroupRun) -> float:
    return {job: part for job, _, part, _ in run.progress()}.get(job_id(2), 0.0)


async def test_a_real_group_makes_way_within_a_slice_and_ends_with_the_bytes_it_has_alone(bench, box, tmp_path):
    short = slow(1, 10)
    members = (
        Member(job_id(1), 1, seed=1, timeout_s=60.0, executable=short),
        member(),
        Member(job_id(3), 1, seed=3, timeout_s=60.0, executable=short),
    )
    alone = await Bench(tmp_path / "alone", box).results(*members)
    pid = box.pid
    run = bench.run(*members)
    task = asyncio.create_task(run.execute())
    await until(lambda: fraction(run) > 0.0, 30)
    asked = time.monotonic()
    run.preempt(run.members())
    await task
    assert time.monotonic() - asked < 10
    assert box.pid == pid, "nobody was killed"
    first, second, third = sorted(await all_reports(run), key=lambda report: report.job_id)
    assert bench.read(first) == alone[first.job_id], "it had ended before"
    assert (third.preempted, third.checkpoint) == (True, None)
    assert second.preempted
    assert 0.0 < second.progress < 1.0
    assert second.checkpoint.progress == second.progress

    later = (replace(members[1], attempt=2, checkpoints=(second.checkpoint,)), replace(members[2], attempt=2))
    went_on = await bench.results(*later)
    assert went_on == {job: alone[job] for job in went_on}


async def test_checkpoints_on_the_way_change_no_bit_and_each_can_be_gone_on_from(bench, alone):
    run = bench.run(member(checkpoint_every_s=0.001))
    await run.execute()
    [report] = await all_reports(run)
    assert bench.read(report) == alone
    await until(lambda: len(bench.told) >= 3)
    progress = [kept.checkpoint.progress for kept in bench.told]
    assert progress == sorted(set(progress))
    assert [kept.checkpoint.sequence for kept in bench.told] == list(range(1, len(progress) + 1))
    newest = bench.told[-1].checkpoint
    went_on = await Bench(bench.files.url, bench.box).results(member(2, checkpoints=(newest,)))
    assert went_on[job_id(2)] == alone


async def test_a_checkpoint_is_taken_when_it_is_asked_for_and_the_run_goes_on(bench, alone):
    run = bench.run(member())
    task = asyncio.create_task(run.execute())
    await until(lambda: fraction(run) > 0.0, 30)
    assert run.checkpoint(run.members()) == run.members()
    await until(lambda: bench.told, 30)
    assert not task.done()
    await task
    [report] = await all_reports(run)
    assert bench.read(report) == alone
    assert len(bench.told) == 1, "no other was asked for"


async def test_a_run_whose_child_is_killed_goes_on_from_its_last_checkpoint(bench, box, alone):
    run = bench.run(member(checkpoint_every_s=0.001))
    task = asyncio.create_task(run.execute())
    await until(lambda: len(bench.told) >= 3, 30)
    os.kill(box.pid, signal.SIGKILL)
    kept = bench.told[-1].checkpoint.progress
    await until(lambda: fraction(run) > kept, 30)
    await task
    [report] = await all_reports(run)
    assert bench.read(report) == alone
    progress = [one.checkpoint.progress for one in bench.told]
    assert progress == sorted(set(progress)), "nothing was done twice"


async def test_a_concluded_run_has_results_of_a_part(bench, alone):
    run = bench.run(member())
    task = asyncio.create_task(run.execute())
    await until(lambda: fraction(run) > 0.2, 30)
    run.conclude(run.members())
    await task
    [report] = await all_reports(run)
    assert (report.error, report.partial) == (None, True)
    assert 0.0 < report.progress < 1.0
    assert 0 < len(bench.read(report)) < len(alone)


async def test_a_checkpoint_of_another_job_is_refused_and_the_run_begins_anew(bench, alone):
    other = bench.run(replace(member(checkpoint_every_s=0.001), job_id=job_id(7), seed=7))
    await other.execute()
    await all_reports(other)
    await until(lambda: bench.told)
    foreign = bench.told[-1].checkpoint
    run = bench.run(member(2, checkpoints=(foreign,)))
    await run.execute()
    [report] = await all_reports(run)
    assert bench.read(report) == alone
    assert report.refused == (foreign,)

"""Groups in a real child with the real engine, without Ray: asked to make way, they do, and a later group goes on."""

from __future__ import annotations

import asyncio
import time

import pytest
from qiskit import QuantumCircuit

from qrtx_ray.actors.group_run import GroupRun
from qrtx_ray.actors.settings import engine_sandbox
from qrtx_ray.model import Group, Member
from qrtx_ray.store.circuit_fs import CircuitFS
from tests.engines.building import sampler_job

from .building import DEVICE, job_id, settings, until


def slow(circuits: int, shots: int) -> bytes:
    """Trajectories of a circuit that measures midway; every circuit is a slice."""
    circuit = QuantumCircuit(3, 3)
    for layer in range(8):
        circuit.sx(range(3))
        circuit.cx(0, 1)
        circuit.cx(1, 2)
        circuit.measure(layer % 3, layer % 3)
    return sampler_job(*[circuit] * circuits, device=DEVICE, shots=shots).to_bytes()


@pytest.fixture
async def box(tmp_path):
    sandbox = engine_sandbox(settings(tmp_path), 1024, 1)
    await sandbox.start()
    yield sandbox
    await sandbox.close()


async def results(box, files, group: Group) -> dict[str, bytes]:
    run = GroupRun(group, box, files)
    await run.execute()
    reports = await run.keep()
    assert [report.error for report in reports] == [None] * len(group.members)
    return {report.job_id: files.read_results(report.job_id, report.sha256) for report in reports}


async def test_a_real_group_makes_way_within_a_slice_and_ends_with_the_bytes_it_has_alone(box, tmp_path):
    executables = {1: slow(1, 10), 2: slow(8, 700), 3: slow(1, 10)}
    members = tuple(Member(job_id(n), 1, seed=n, timeout_s=60.0, executable=code) for n, code in executables.items())
    alone = await results(box, CircuitFS(str(tmp_path / "alone")), Group("alone", DEVICE, members))

    files, pid = CircuitFS(str(tmp_path)), box.pid
    run = GroupRun(Group("first", DEVICE, members), box, files)
    task = asyncio.create_task(run.execute())
    await until(lambda: {job: part for job, _, part in run.progress()}.get(job_id(2), 0.0) > 0.0, 30)
    asked = time.monotonic()
    run.preempt(run.members())
    await task
    assert time.monotonic() - asked < 10
    assert box.pid == pid, "nobody was killed"
    first, second, third = sorted(await run.keep(), key=lambda report: report.job_id)
    assert files.read_results(first.job_id, first.sha256) == alone[first.job_id], "it had ended before"
    assert (third.preempted, third.checkpoint_sha256) == (True, None)
    assert second.preempted
    assert 0.0 < second.progress < 1.0

    later = tuple(
        Member(report.job_id, 2, member.seed, 60.0, member.executable, checkpoint_sha256=report.checkpoint_sha256)
        for report, member in ((second, members[1]), (third, members[2]))
    )
    went_on = await results(box, files, Group("second", DEVICE, later))
    assert went_on == {job: alone[job] for job in went_on}

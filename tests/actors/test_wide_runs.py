"""A run of a state of megabytes in a real child: the state crosses by shared memory into files and back, and no bit changes."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from qrtx_ray.actors.group_run import GroupRun
from qrtx_ray.actors.keeping import CheckpointKeeper
from qrtx_ray.actors.settings import engine_sandbox
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.model import CheckpointRef, Group, Member
from qrtx_ray.store.circuit_fs import CircuitFS
from tests.engines.building import hardware_efficient, sampler_job

from .building import all_reports, job_id, settings, until

DEVICE = "fake_montreal@aer_ideal"
QUBITS = 19
LAYERS = 800  # some segments, the last of which is not the next when a run is interrupted
MEMORY_MB = 1024


class Runs:
    """One wide job, run by attempts.

    Attributes:
        taken: Checkpoints that were announced.
        live: The run under way.
    """

    def __init__(self, folder, box) -> None:
        circuit = hardware_efficient(QUBITS, LAYERS)
        job = sampler_job(circuit, device=DEVICE, shots=500)
        cost = engine_for("aer_ideal").estimate(job)
        assert cost.bulk_bytes == 16 << QUBITS
        configured = settings(folder)
        self.plain = Member(job_id(1), 1, 5, 120.0, job.to_bytes(), QUBITS, bulk_bytes=cost.bulk_bytes)
        self.box = box
        self.files = CircuitFS(configured.paths.circuit_fs_url)
        self.keeper = CheckpointKeeper(configured, lambda: None)
        self.taken: list[CheckpointRef] = []
        self.live: GroupRun | None = None

    async def _hear(self, kept):
        self.taken.append(kept.checkpoint)
        return tuple(reversed(self.taken))

    def begin(self, **fields):
        group = Group("g", DEVICE, (replace(self.plain, **fields),))
        self.live = GroupRun(group, self.box, self.files, self.keeper, self._hear, MEMORY_MB * 2**20)
        return asyncio.create_task(self._whole(self.live))

    async def _whole(self, run):
        await run.execute()
        [report] = await all_reports(run)
        return report

    def fraction(self) -> float:
        return max((fraction for *_, fraction, _ in self.live.progress()), default=0.0)

    def results(self, report) -> bytes:
        assert report.error is None
        found = self.files.read_results(report.job_id, report.sha256)
        assert found is not None
        return found


@pytest.fixture
async def box(tmp_path):
    sandbox = engine_sandbox(settings(tmp_path), MEMORY_MB, 1)
    await sandbox.start()
    yield sandbox
    await sandbox.close()


@pytest.mark.timeout(240)
async def test_a_wide_run_is_kept_paused_robbed_of_its_child_and_ends_with_the_bytes_it_has_alone(tmp_path, box):
    alone = Runs(tmp_path / "alone", box)
    undisturbed = alone.results(await alone.begin())

    runs = Runs(tmp_path, box)
    task = runs.begin(checkpoint_every_s=0.01)
    await until(lambda: runs.taken, 60)
    os.kill(box.pid, signal.SIGKILL)
    kept = runs.taken[-1].progress
    await until(lambda: runs.fraction() > kept, 60)
    runs.live.preempt(runs.live.members())
    report = await task
    assert report.preempted
    assert report.checkpoint.kind == "segment"
    assert report.checkpoint.size_bytes > runs.plain.bulk_bytes // 4
    assert kept < report.checkpoint.progress < 1.0
    progress = [ref.progress for ref in runs.taken]
    assert progress == sorted(progress), "nothing was done twice"

    report = await runs.begin(attempt=2, checkpoints=(report.checkpoint,))
    assert report.refused == ()
    assert runs.results(report) == undisturbed

"""The engine on qiskit-aer, on the CPU: noisy by a device's calibration (`aer`) or ideal (`aer_ideal`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from qrtx_ray.devices.cost import JobCost, job_cost
from qrtx_ray.devices.executable import ExecutableJob
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.engines.checkpoint import Kept, seal, unseal
from qrtx_ray.engines.primitives import JobEnd, run_job
from qrtx_ray.engines.protocol import Checkpoint, JobOutcome, JobRun, KeepCallback, ProgressCallback, Wish
from qrtx_ray.engines.stages import CheckpointRefused, Course, Preempted, Stage
from qrtx_ray.errors import ExecuteError, QrtxError, ResourceExhausted

__all__ = ["AerEngine"]

Ask = Callable[[float], Wish | None]
Keep = Callable[[Checkpoint], None]


class AerEngine:
    """Runs compiled jobs with Aer, one after the other.

    Jobs do not share calls of the simulator: a call costs 20 µs, so that there is nothing to gain, and a failing job
    cannot touch another.

    Args:
        noisy: Whether the device's calibration is applied.
        threads: OpenMP threads the simulator may use.
        memory_bytes: A job that needs more is refused before it starts; None for no bound.
    """

    def __init__(self, *, noisy: bool, threads: int = 1, memory_bytes: int | None = None) -> None:
        self._noisy = noisy
        self._threads = threads
        self._memory_bytes = memory_bytes

    @property
    def name(self) -> str:
        return "aer" if self._noisy else "aer_ideal"

    def estimate(self, job: ExecutableJob) -> JobCost:
        return job_cost(job, noisy=self._noisy)

    def run(
        self,
        runs: Sequence[JobRun],
        progress: ProgressCallback | None = None,
        keep: KeepCallback | None = None,
    ) -> list[JobOutcome]:
        return [self._one(run, _of_member(progress, index), _to(keep, index)) for index, run in enumerate(runs)]

    def _one(self, run: JobRun, ask: Ask, keep: Keep | None) -> JobOutcome:
        started = time.perf_counter()
        anew = ""
        try:
            self._admit(run.job)
            try:
                kept = self._kept(run) if run.checkpoint else None
                end = self._run(run, ask, keep, kept)
            except CheckpointRefused as refused:
                anew = str(refused)
                end = self._run(run, ask, keep)
        except Preempted as way:
            return JobOutcome(
                wall_s=time.perf_counter() - started,
                preempted=True,
                progress=way.checkpoint.progress,
                checkpoint=way.checkpoint.body,
                anew=anew,
                bulk_bytes=way.checkpoint.bulk_bytes,
                about=way.checkpoint.about,
            )
        except QrtxError as error:
            return JobOutcome(wall_s=time.perf_counter() - started, error=error.info())
        except MemoryError:
            needed = self.estimate(run.job).bytes
            short = ResourceExhausted(f"the job needs about {needed} bytes, more than are free", field="circuit")
            return JobOutcome(wall_s=time.perf_counter() - started, error=short.info())
        except Exception as error:  # noqa: BLE001 - a job's failure, whatever it is, must stay its own
            # The library's text is not passed on: it may quote what a tenant sent, or files of this machine.
            failed = ExecuteError(f"the simulation failed ({type(error).__name__})", field="circuit")
            return JobOutcome(wall_s=time.perf_counter() - started, error=failed.info())
        wall_s = time.perf_counter() - started
        if end.concluded is None:
            return JobOutcome(end.results, end.qpu_s, wall_s, anew=anew)
        return JobOutcome(end.results, end.qpu_s, wall_s, progress=end.concluded, anew=anew, partial=True)

    def _kept(self, run: JobRun) -> Kept:
        kept = unseal(run, engine=self.name)
        try:
            DeviceModel.load(run.job.device, kept.noise_id)
        except QrtxError as error:
            raise CheckpointRefused("the kept progress names a noise that the device cannot have") from error
        return kept

    def _run(self, run: JobRun, ask: Ask, keep: Keep | None, kept: Kept | None = None) -> JobEnd:
        if kept is not None:
            run = replace(run, noise_id=kept.noise_id)

        def sealed(present: list[Stage], fraction: float) -> Checkpoint | None:
            return seal(present, fraction, run, engine=self.name, noise_id=run.noise_id)

        device = DeviceModel.load(run.job.device, run.noise_id)
        course = Course(ask, sealed, keep, stages=None if kept is None else kept.stages, area=run.area)
        if run.checkpoint:
            # Said at once, so that nobody believes the progress lost.
            course.begin(0.0 if kept is None else kept.progress)
        return run_job(run, device, engine=self.name, noisy=self._noisy, threads=self._threads, course=course)

    def _admit(self, job: ExecutableJob) -> None:
        if self._memory_bytes is None:
            return
        needed = self.estimate(job).bytes
        if needed > self._memory_bytes:
            msg = f"the job needs about {needed} bytes to simulate, the device has {self._memory_bytes} bytes"
            raise ResourceExhausted(msg, field="circuit", limit=f"{self._memory_bytes} bytes")


def _of_member(progress: ProgressCallback | None, index: int) -> Ask:
    return lambda fraction: None if progress is None else progress(index, fraction)


def _to(keep: KeepCallback | None, index: int) -> Keep | None:
    return None if keep is None else lambda checkpoint: keep(index, checkpoint)

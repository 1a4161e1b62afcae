"""A job whose row is a walk in segments over a large state: what an engine with a bulk does, at the size of a test.

`Walk` stands for a circuit too long for one slice: its state is an array in the bulk, changed in place by every segment,
and its result a digest of the last state. It runs on `Course` and the real checkpoints, as `run_job` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from qrtx_ray.devices.cost import JobCost
from qrtx_ray.engines.checkpoint import seal, unseal
from qrtx_ray.engines.protocol import Checkpoint, JobOutcome, JobRun, KeepCallback, ProgressCallback
from qrtx_ray.engines.stages import CheckpointRefused, Concluded, Course, Preempted, Stage

from .building import hardware_efficient, sampler_job

JOB = sampler_job(hardware_efficient(2))
WORDS = 1500  # no multiple of a page
BYTES = 8 * WORDS


class Memory:
    """Shared memory of a size."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(b"\xaa" * size)

    def __call__(self, nbytes: int) -> memoryview | None:
        return memoryview(self.data)[:nbytes] if 0 < nbytes <= len(self.data) else None


class Walk:
    """An engine of rows of `segments` segments each.

    Args:
        rows / segments: How a job is cut.
        words: Size of the state.
    """

    name = "walk"

    def __init__(self, rows: int = 2, segments: int = 4, words: int = WORDS) -> None:
        self.rows, self.segments, self.words = rows, segments, words

    def estimate(self, _job: object) -> JobCost:
        return JobCost(1.0, 8 * self.words, 8 * self.words)

    def run(
        self,
        runs: Sequence[JobRun],
        progress: ProgressCallback | None = None,
        keep: KeepCallback | None = None,
    ) -> list[JobOutcome]:
        return [self._one(run, index, progress, keep) for index, run in enumerate(runs)]

    def _one(self, run: JobRun, index: int, progress: ProgressCallback | None, keep: KeepCallback | None) -> JobOutcome:
        def ask(fraction: float):
            return progress(index, fraction) if progress is not None else None

        def kept(checkpoint: Checkpoint) -> None:
            keep(index, checkpoint)

        def sealed(stages: list[Stage], fraction: float) -> Checkpoint | None:
            return seal(stages, fraction, run, engine=self.name, noise_id="")

        def course(stages: list[Stage] | None = None) -> Course:
            return Course(ask, sealed, None if keep is None else kept, stages=stages, area=run.area)

        anew = ""
        try:
            if run.checkpoint:
                try:
                    held = unseal(run, engine=self.name)
                    way = course(held.stages)
                    way.begin(held.progress)
                    return JobOutcome(results=self._walk(run.seed, way))
                except CheckpointRefused as refused:
                    anew = str(refused)
            return JobOutcome(results=self._walk(run.seed, course()), anew=anew)
        except Preempted as left:
            found = left.checkpoint
            return JobOutcome(
                preempted=True,
                progress=found.progress,
                checkpoint=found.body,
                bulk_bytes=found.bulk_bytes,
                about=found.about,
                anew=anew,
            )
        except Concluded as end:
            return JobOutcome(results=b"part", partial=True, progress=end.progress, anew=anew)

    def _walk(self, seed: int, course: Course) -> bytes:
        outer = course.stage(0)
        (digests,) = outer.begin(self.rows, ((self.rows, 32), np.uint8))
        while outer.done < self.rows:
            row, stage = outer.done, outer.within()
            stage.begin(self.segments)
            state = np.frombuffer(course.bulk(stage, 8 * self.words), "<u8")
            if not stage.done:
                state[:] = np.arange(self.words, dtype="<u8") + np.uint64(seed + row)
            while stage.done < self.segments:
                np.multiply(state, np.uint64(6364136223846793005), out=state)
                np.add(state, np.uint64(stage.done + 1), out=state)
                stage.advance()
                if stage.done < self.segments:
                    course.report((row + stage.done / self.segments) / self.rows)
            digests[row] = np.frombuffer(hashlib.sha256(state.tobytes()).digest(), np.uint8)
            outer.advance()
            course.report(outer.done / self.rows)
        return digests.tobytes()


def walked(seed: int = 5, *, memory: Memory | None = None, **fields: object) -> JobRun:
    """A run of a walk."""
    return replace(JobRun(JOB, seed, area=memory), **fields)


def answering(answers: dict[int, object]) -> Callable[[int, float], object]:
    """A progress callback that answers its n-th question (from 1) with ``answers[n]``."""
    count = 0

    def ask(_index: int, _fraction: float):
        nonlocal count
        count += 1
        return answers.get(count)

    return ask

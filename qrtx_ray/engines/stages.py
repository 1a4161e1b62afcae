"""How far a job is: what a run has between two slices, so that a later run can go on exactly there.

A job is a list of PUBs, a PUB a sequence of parameter rows, a row that takes long a sequence of slices of shots. How a job
is cut follows from its cost law alone. So "how far" is a count for each of these and the arrays they have filled, and
a run that is handed them does the rest as if it had done the beginning itself: the result has the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "CheckpointRefused", "Course", "Preempted", "Stage"]

Array = npt.NDArray[Any]
Wanted = tuple[tuple[int, ...], type[np.generic]]


class CheckpointRefused(Exception):
    """What was kept does not fit the job; the text says why. The run then begins anew."""


class Preempted(Exception):
    """The run made way after a slice. `checkpoint` is what was kept, `progress` the fraction of the job that is done."""

    def __init__(self, checkpoint: bytes, progress: float) -> None:
        super().__init__(f"made way at {progress:.0%}")
        self.checkpoint = checkpoint
        self.progress = progress


@dataclass(slots=True, eq=False)
class Stage:
    """A part of a job on its way: `done` of `total` steps, the arrays they fill, and the step under way (`inner`)."""

    done: int = 0
    total: int = 0
    arrays: list[Array] = field(default_factory=list)
    inner: Stage | None = None

    def begin(self, total: int, *wanted: Wanted) -> list[Array]:
        """The arrays to fill, each of the wanted shape and type; zeros unless this stage goes on from a checkpoint.

        Raises:
            CheckpointRefused: It goes on from one that is cut otherwise or has other arrays.
        """
        if not self.total:
            self.total = total
            self.arrays = [np.zeros(shape, kind) for shape, kind in wanted]
        fits = len(self.arrays) == len(wanted) and all(
            array.shape == shape and array.dtype == kind
            for array, (shape, kind) in zip(self.arrays, wanted, strict=True)
        )
        if self.total != total or not 0 <= self.done <= total or not fits:
            raise CheckpointRefused("the kept progress belongs to a job that is cut otherwise")
        return self.arrays

    def within(self) -> Stage:
        """The stage of the step under way."""
        if self.inner is None:
            self.inner = Stage()
        return self.inner

    def advance(self, steps: int = 1) -> None:
        """`steps` more are done, and the arrays hold what they gave."""
        self.done += steps
        self.inner = None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, those of `inner` included."""
        return sum(array.nbytes for array in self.arrays) + (self.inner.nbytes if self.inner is not None else 0)


class Course:
    """A job's way through its slices.

    Args:
        ask: Called with the fraction done after each slice; returns whether the run is asked to make way.
        seal: Makes the checkpoint of stages at a fraction, or None when they cannot be kept; the run then goes on.
        stages: One for each PUB begun; those of a checkpoint to go on from.
    """

    def __init__(
        self,
        ask: Callable[[float], bool | None],
        seal: Callable[[list[Stage], float], bytes | None],
        stages: list[Stage] | None = None,
    ) -> None:
        self._ask = ask
        self._seal = seal
        self._stays = False
        self._stages = [] if stages is None else stages

    def stage(self, pub: int) -> Stage:
        """The stage of PUB number `pub`; PUBs are asked for in their order."""
        if pub == len(self._stages):
            self._stages.append(Stage())
        return self._stages[pub]

    def report(self, fraction: float) -> None:
        """A slice has ended.

        Raises:
            Preempted: The run is asked to make way, and has more to do.
        """
        if not self._ask(fraction) or fraction >= 1.0 or self._stays:
            return
        checkpoint = self._seal(self._stages, fraction)
        if checkpoint is None:
            self._stays = True
            return
        raise Preempted(checkpoint, fraction)

"""How far a job is: what a run has between two slices, so that a later run can go on exactly there.

A job is a list of PUBs, a PUB a sequence of parameter rows, a row that takes long a sequence of slices of shots, or of
segments of its circuit. How a job is cut follows from its cost law alone. So "how far" is a count for each of these and the
arrays they have filled, and a run that is handed them does the rest as if it had done the beginning itself: the result has
the same bytes.

Small arrays are copied into the checkpoint. A state vector is not: the stage that evolves one asks the course for its *bulk*,
which lies in memory shared with whoever keeps checkpoints, is written in place, and is never packed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from qrtx_ray.engines.protocol import Checkpoint, SharedMemory, Wish

__all__ = [
    "PAGE",
    "Array",
    "Bulk",
    "CheckpointRefused",
    "Concluded",
    "Course",
    "Preempted",
    "Stage",
    "Wanted",
    "own_memory",
    "with_room",
]

Array = npt.NDArray[Any]
Wanted = tuple[tuple[int, ...], type[np.generic]]
"""Shape and type of an array."""

PAGE = 4096
"""In shared memory the copy of a bulk begins at the first multiple of this behind it."""


class CheckpointRefused(Exception):
    """What was kept does not fit the job; the text says why. The run then begins anew."""


class Preempted(Exception):
    """The run made way after a slice; `checkpoint` is what a later one goes on from."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(f"made way at {checkpoint.progress:.0%}")
        self.checkpoint = checkpoint


class Concluded(Exception):
    """The run ends after a slice with what it has; `progress` is the fraction of the job that is done."""

    def __init__(self, progress: float) -> None:
        super().__init__(f"concluded at {progress:.0%}")
        self.progress = progress


@dataclass(frozen=True, slots=True, eq=False)
class Bulk:
    """A stage's large state: writable bytes, and whether they lie at the beginning of the shared memory."""

    view: memoryview
    shared: bool


@dataclass(slots=True, eq=False)
class Stage:
    """A part of a job on its way: `done` of `total` steps, the arrays they fill, and the step under way (`inner`).

    `bulk` is the state between two of its steps, when that is too large for `arrays`.
    """

    done: int = 0
    total: int = 0
    arrays: list[Array] = field(default_factory=list)
    inner: Stage | None = None
    bulk: Bulk | None = None

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
        """`steps` more are done, and the arrays (and the bulk) hold what they gave."""
        self.done += steps
        self.inner = None

    def release(self) -> None:
        """The bulk is of no more use."""
        self.bulk = None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, those of `inner` included, the bulk not."""
        return sum(array.nbytes for array in self.arrays) + (self.inner.nbytes if self.inner is not None else 0)

    @property
    def bulks(self) -> Iterator[Bulk]:
        """The bulks of this stage and of those within."""
        if self.bulk is not None:
            yield self.bulk
        if self.inner is not None:
            yield from self.inner.bulks


def own_memory(stage: Stage, nbytes: int) -> memoryview:
    """Memory of this process as the bulk of `stage`; it cannot be kept. What `Course.bulk` gives where there is no other."""
    stage.bulk = Bulk(np.empty(nbytes, np.uint8).data, shared=False)
    return stage.bulk.view


class Course:
    """A job's way through its slices.

    Args:
        ask: Called with the fraction done after each slice; returns what is wished of the run.
        seal: Makes the checkpoint of stages at a fraction, or None when they cannot be kept; the run then goes on.
        keep: Takes a checkpoint while the run goes on; None when nobody does.
        stages: One for each PUB begun; those of a checkpoint to go on from.
        area: Shared memory for a bulk.
    """

    def __init__(
        self,
        ask: Callable[[float], Wish | None],
        seal: Callable[[list[Stage], float], Checkpoint | None],
        keep: Callable[[Checkpoint], None] | None = None,
        *,
        stages: list[Stage] | None = None,
        area: SharedMemory | None = None,
    ) -> None:
        self._ask = ask
        self._seal = seal
        self._keep = keep
        self._area = area
        self._stays = False
        self._stages = [] if stages is None else stages
        self.concluded: float | None = None

    def begin(self, fraction: float) -> None:
        """Before the first slice of a run that was handed a checkpoint: say how far it is.

        Whoever wants it concluded gets what the checkpoint holds (`concluded` is then `fraction`); a run that is to make way
        does one slice more, for what it would give back now is what it was handed.
        """
        if self._ask(fraction) is Wish.CONCLUDE:
            self.concluded = fraction

    def stage(self, pub: int) -> Stage:
        """The stage of PUB number `pub`; PUBs are asked for in their order."""
        if pub == len(self._stages):
            self._stages.append(Stage())
        return self._stages[pub]

    def bulk(self, stage: Stage, nbytes: int) -> memoryview:
        """The bulk of `stage`, writable: what a checkpoint kept of it, or else new memory of any content.

        It is shared memory if there is so much and no other stage of the course holds it, ordinary memory otherwise; then
        no checkpoint can be taken until the stage is done or has released it.

        Args:
            stage: A stage of this course.
            nbytes: The size wanted, the same whenever the stage is run.

        Raises:
            CheckpointRefused: The kept one has another size, or the stage goes on from a checkpoint without one.
        """
        held = stage.bulk
        if held is not None:
            if held.view.nbytes != nbytes:
                raise CheckpointRefused("the kept state has another size than the job's")
            return held.view
        if stage.done:
            raise CheckpointRefused("the kept progress is without its state")
        taken = any(bulk.shared for begun in self._stages for bulk in begun.bulks)
        view = None if taken or self._area is None else with_room(self._area, nbytes)
        if view is None:
            return own_memory(stage, nbytes)
        stage.bulk = Bulk(view, shared=True)
        return view

    def report(self, fraction: float) -> None:
        """A slice has ended.

        Raises:
            Preempted: The run is asked to make way, and has more to do.
            Concluded: The run is asked to end with what it has, and has more to do.
        """
        wish = self._ask(fraction)
        if wish is not None and fraction < 1.0:
            self._meet(wish, fraction)

    def _meet(self, wish: Wish, fraction: float) -> None:
        if wish is Wish.CONCLUDE:
            raise Concluded(fraction)
        if self._stays or (wish is Wish.CHECKPOINT and self._keep is None):
            return
        if not all(bulk.shared for begun in self._stages for bulk in begun.bulks):
            return  # not now, but perhaps after this stage
        checkpoint = self._seal(self._stages, fraction)
        if checkpoint is None:
            self._stays = True
        elif wish is Wish.PREEMPT:
            raise Preempted(checkpoint)
        elif self._keep is not None:
            self._keep(checkpoint)


def with_room(area: SharedMemory, nbytes: int) -> memoryview | None:
    """The first `nbytes` of `area`, with room for a copy behind them if there is as much; None when they are not there."""
    whole = area(-(-nbytes // PAGE) * PAGE + nbytes)
    return area(nbytes) if whole is None else whole[:nbytes]

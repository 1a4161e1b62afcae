"""What an engine is. An engine runs compiled jobs; it knows nothing of queues, Ray or HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from qrtx_ray.devices.cost import JobCost
from qrtx_ray.devices.executable import ExecutableJob
from qrtx_ray.errors import ErrorInfo

__all__ = [
    "Checkpoint",
    "Engine",
    "JobOutcome",
    "JobRun",
    "KeepCallback",
    "ProgressCallback",
    "SharedMemory",
    "Wish",
]


class Wish(Enum):
    """What a job is asked for between two slices. An engine that cannot do it goes on."""

    PREEMPT = "preempt"  #: end here, and give back what a later run needs to go on
    CHECKPOINT = "checkpoint"  #: hand out the same, and go on
    CONCLUDE = "conclude"  #: end here, with the results of what is done


ProgressCallback = Callable[[int, float], Wish | None]
"""Called as ``(index of the job in the batch, fraction done ∈ [0, 1])`` after every slice, and by a run that was handed a
checkpoint also once before its first slice, with the fraction it begins from (0 when the checkpoint was of no use).
Returns what is wished of that job; a wish is repeated after each slice until it is met.
"""

SharedMemory = Callable[[int], memoryview | None]
"""``memory(nbytes)``: the first `nbytes` bytes of memory that the run shares with whoever keeps its checkpoints, writable, the
same at every call; None when there are not so many.
"""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a later run needs to go on from here.

    `body` holds the shots, rows and sums there are. A state that is too large for it is the *bulk*: the first `bulk_bytes`
    bytes of the run's shared memory, as they are at the moment when the checkpoint is handed out. `progress` is the fraction
    of the job done, `about` plain texts and numbers that say what it is of (engine, program, versions, …).
    """

    body: bytes
    progress: float
    bulk_bytes: int = 0
    about: dict[str, Any] = field(default_factory=dict)


KeepCallback = Callable[[int, Checkpoint], None]
"""Called as ``(index of the job in the batch, its checkpoint)`` when one was wished for and the run goes on. The bulk changes as
soon as this returns.
"""


@dataclass(frozen=True, slots=True)
class JobRun:
    """One row of a batch: a compiled job and the seed that alone decides its samples.

    Args:
        job / seed: What to run.
        noise_id: The noise of the device (see `devices.drift`).
        checkpoint: The body of a checkpoint that an earlier run of the same job left, or empty.
        bulk_bytes: Size of its bulk, which lies at the beginning of `area`.
        area: Shared memory for a state between two slices; without it such a state cannot be kept.
    """

    job: ExecutableJob
    seed: int
    noise_id: str = ""
    checkpoint: bytes = b""
    bulk_bytes: int = 0
    area: SharedMemory | None = None


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What came of one row: `results`, the encoded result document (Runtime JSON, UTF-8), or `error`, or it made way.

    `qpu_s` is the device time the job is charged (seconds), see `devices.timing`. With `preempted` there is neither result
    nor error, but the fraction done (`progress`) and what a `Checkpoint` holds, in the fields of the same names. With
    `partial` the run was concluded: the results are those of `progress` of the job. `anew` says why a checkpoint that the
    row came with was of no use, and the run began from nothing.
    """

    results: bytes = b""
    qpu_s: float = 0.0
    wall_s: float = 0.0
    error: ErrorInfo | None = None
    preempted: bool = False
    progress: float = 0.0
    checkpoint: bytes = b""
    anew: str = ""
    partial: bool = False
    bulk_bytes: int = 0
    about: dict[str, Any] | None = None


class Engine(Protocol):
    """Runs batches of compiled jobs in the calling process."""

    @property
    def name(self) -> str:
        """Executor name after the ``@`` of a device, e.g. ``aer``."""
        ...

    def estimate(self, job: ExecutableJob) -> JobCost:
        """The cost law applied to `job`; called by the compiler, never runs anything."""
        ...

    def run(
        self,
        runs: Sequence[JobRun],
        progress: ProgressCallback | None = None,
        keep: KeepCallback | None = None,
    ) -> list[JobOutcome]:
        """Run a batch; outcome i belongs to ``runs[i]``.

        Guarantees:
            A job's results depend on its own program and seed only: never on its place in the batch, on the other
            members, on threads or on the process, nor on whether checkpoints were taken, or it made way and a later run
            went on. A failing member is an `error` of its own row and changes no other. What a concluded run gives is the
            beginning of what the whole run gives.
        """
        ...

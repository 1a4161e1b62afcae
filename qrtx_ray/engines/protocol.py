"""What an engine is. An engine runs compiled jobs; it knows nothing of queues, Ray or HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from qrtx_ray.devices.cost import JobCost
from qrtx_ray.devices.executable import ExecutableJob
from qrtx_ray.errors import ErrorInfo

__all__ = ["Engine", "JobOutcome", "JobRun", "ProgressCallback"]

ProgressCallback = Callable[[int, float], bool | None]
"""Called as ``(index of the job in the batch, fraction done ∈ [0, 1])`` at slice boundaries. Returns whether that job is asked
to make way: an engine that can keep the job's progress then ends the run and gives it back; any other goes on.
"""


@dataclass(frozen=True, slots=True)
class JobRun:
    """One row of a batch: a compiled job and the seed that alone decides its samples.

    `noise_id` names the noise of the device (see `devices.drift`). `checkpoint` is what an earlier run of the same job kept
    when it made way, or empty.
    """

    job: ExecutableJob
    seed: int
    noise_id: str = ""
    checkpoint: bytes = b""


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What came of one row: `results`, the encoded result document (Runtime JSON, UTF-8), or `error`, or it made way.

    `qpu_s` is the device time the job is charged (seconds), see `devices.timing`. With `preempted` there is neither result
    nor error, but the fraction done (`progress`) and a `checkpoint` for a later run to go on from. `anew` says why a
    checkpoint that the row came with was of no use, and the run began from nothing.
    """

    results: bytes = b""
    qpu_s: float = 0.0
    wall_s: float = 0.0
    error: ErrorInfo | None = None
    preempted: bool = False
    progress: float = 0.0
    checkpoint: bytes = b""
    anew: str = ""


class Engine(Protocol):
    """Runs batches of compiled jobs in the calling process."""

    @property
    def name(self) -> str:
        """Executor name after the ``@`` of a device, e.g. ``aer``."""
        ...

    def estimate(self, job: ExecutableJob) -> JobCost:
        """The cost law applied to `job`; called by the compiler, never runs anything."""
        ...

    def run(self, runs: Sequence[JobRun], progress: ProgressCallback | None = None) -> list[JobOutcome]:
        """Run a batch; outcome i belongs to ``runs[i]``.

        Guarantees:
            A job's results depend on its own program and seed only: never on its place in the batch, on the other
            members, on threads or on the process, nor on whether it made way and a later run went on. A failing member is
            an `error` of its own row and changes no other.
        """
        ...

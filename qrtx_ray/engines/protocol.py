"""What an engine is. An engine runs compiled jobs; it knows nothing of queues, Ray or HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from qrtx_ray.devices.cost import JobCost
from qrtx_ray.devices.executable import ExecutableJob
from qrtx_ray.errors import ErrorInfo

__all__ = ["Engine", "JobOutcome", "JobRun", "ProgressCallback"]

ProgressCallback = Callable[[int, float], None]
"""Called as ``(index of the job in the batch, fraction done ∈ [0, 1])`` at slice boundaries."""


@dataclass(frozen=True, slots=True)
class JobRun:
    """One row of a batch: a compiled job and the seed that alone decides its samples."""

    job: ExecutableJob
    seed: int


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What came of one row: `results`, the encoded result document (Runtime JSON, UTF-8), or `error`.

    `qpu_s` is the device time the job is charged (seconds), see `devices.timing`.
    """

    results: bytes = b""
    qpu_s: float = 0.0
    wall_s: float = 0.0
    error: ErrorInfo | None = None


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
            members, on threads or on the process. A failing member is an `error` of its own row and changes no other.
        """
        ...

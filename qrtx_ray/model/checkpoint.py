"""Checkpoints as the runtime speaks of them: what is kept of a run, without the bytes."""

from __future__ import annotations

from dataclasses import dataclass

from qrtx_ray.model.ids import JobId
from qrtx_ray.model.pickling import quickly_pickled

__all__ = ["CheckpointKind", "CheckpointRef", "KeptCheckpoint"]

CheckpointKind = str
"""``"slices"`` (shots, parameter rows) or ``"segment"`` (also the state of a circuit between two of its segments)."""


@quickly_pickled
@dataclass(frozen=True, slots=True)
class CheckpointRef:
    """A checkpoint that is durable: enough to find it and to know that it is the same.

    Args:
        job_id: In whose folder it lies: the job's own, or that of the job it was restored from.
        attempt / sequence: The attempt that took it, and its number: grows by one with every checkpoint of a job's run.
        sha256: Hex digest of the envelope's header, which holds the digests of what follows it.
        size_bytes: As stored, header included.
        progress: Fraction of the job that was done, 0..1.
        at: When it was taken, seconds since the epoch.
        kind: See `CheckpointKind`.
    """

    job_id: JobId
    attempt: int
    sequence: int
    sha256: str
    size_bytes: int
    progress: float
    at: float
    kind: CheckpointKind = "slices"


@quickly_pickled
@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """An agent's word that a checkpoint of this attempt is durable."""

    job_id: JobId
    attempt: int
    checkpoint: CheckpointRef

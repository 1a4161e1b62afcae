"""Checkpoints that the state manager holds in the object store beside their files: the last used, up to a size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qrtx_ray.model import CheckpointRef, JobId

__all__ = ["HeldCheckpoints"]


class HeldCheckpoints:
    """References to objects, by checkpoint. Letting a reference go frees the object.

    Args:
        capacity_bytes: Most bytes held; the least recently used go first.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._objects: dict[CheckpointRef, Any] = {}
        self.size_bytes = 0

    def hold(self, ref: CheckpointRef, held: Any) -> None:
        """Hold the object of `ref`."""
        self._let_go(ref)
        if ref.size_bytes > self._capacity:
            return
        self._objects[ref] = held
        self.size_bytes += ref.size_bytes
        while self.size_bytes > self._capacity:
            self._let_go(next(iter(self._objects)))

    def find(self, ref: CheckpointRef) -> Any | None:
        """The object of `ref`, which is now the last used; None when it is not held."""
        held = self._objects.pop(ref, None)
        if held is not None:
            self._objects[ref] = held
        return held

    def keep_only(self, job_id: JobId, refs: Sequence[CheckpointRef]) -> None:
        """Let those of the job go that are older than the newest of `refs` and not among them."""
        newest = max(((ref.attempt, ref.sequence) for ref in refs if ref.job_id == job_id), default=(0, 0))
        for ref in self._of(job_id):
            if (ref.attempt, ref.sequence) < newest and ref not in refs:
                self._let_go(ref)

    def drop(self, job_id: JobId) -> None:
        """Let all of the job go."""
        for ref in self._of(job_id):
            self._let_go(ref)

    def _of(self, job_id: JobId) -> list[CheckpointRef]:
        return [ref for ref in self._objects if ref.job_id == job_id]

    def _let_go(self, ref: CheckpointRef) -> None:
        if self._objects.pop(ref, None) is not None:
            self.size_bytes -= ref.size_bytes

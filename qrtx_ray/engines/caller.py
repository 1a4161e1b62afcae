"""The engine child's line to whoever called it: what was asked of members, and where their checkpoints go.

Notes that come while a request is worked on: ``{"preempt": [job ids]}``, ``{"checkpoint": [job ids]}``,
``{"conclude": [job ids]}`` are wishes (see `protocol.Wish`), ``{"taken": [job ids]}`` says that the last checkpoint of a member
is durable, or given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from qrtx_ray.engines.protocol import Checkpoint, SharedMemory, Wish
from qrtx_ray.engines.stages import PAGE

__all__ = ["Emit", "Line", "MemberLine", "bounded"]

Emit = Callable[[dict[str, Any]], None]

PROGRESS_EVERY_S = 0.1
ASK_EVERY_S = 0.01
"""Interrupts are looked for no oftener than this; a look costs a microsecond or two, a small job some dozens."""
_NEVER = float("inf")
TAKEN_EVERY_S = 0.002
"""Between two looks for the word that a copy was taken, when the run can do nothing else."""


class Line:
    """The other end: takes events, may interrupt while a request is worked on, and may share memory."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        # A caller without interrupts or memory (a test, a benchmark) never asks, takes at once what it is told, and shares none.
        self._interrupts: Callable[[], list[dict[str, Any]]] | None = getattr(emit, "interrupts", None)
        self.area: SharedMemory | None = getattr(emit, "area", None)
        self._wishes: dict[str, Wish] = {}
        self._untaken: set[str] = set()
        self._looked = float("-inf")

    def wish(self, job_id: str, now: float) -> Wish | None:
        """What is asked of the member at `now` (`time.monotonic`)."""
        if now - self._looked >= ASK_EVERY_S:
            self.look(now)
        return self._wishes.get(job_id)

    def look(self, now: float) -> None:
        """Read the notes that have come."""
        self._looked = now
        for note in self._interrupts() if self._interrupts is not None else ():
            for job_id in note.get("checkpoint", ()):
                self._wishes.setdefault(job_id, Wish.CHECKPOINT)
            for job_id in note.get("preempt", ()):
                if self._wishes.get(job_id) is not Wish.CONCLUDE:
                    self._wishes[job_id] = Wish.PREEMPT
            for job_id in note.get("conclude", ()):
                self._wishes[job_id] = Wish.CONCLUDE
            self._untaken.difference_update(note.get("taken", ()))

    def met(self, job_id: str) -> None:
        """A checkpoint of the member was handed out."""
        if self._interrupts is not None:
            self._untaken.add(job_id)
        if self._wishes.get(job_id) is Wish.CHECKPOINT:
            del self._wishes[job_id]

    def taken(self, job_id: str) -> bool:
        """Whether the caller has no more use for what was handed out of the member, as far as is known."""
        return job_id not in self._untaken

    def wait_until_taken(self, job_id: str) -> None:
        """Wait for the word that it has."""
        while not self.taken(job_id):
            time.sleep(TAKEN_EVERY_S)
            self.look(time.monotonic())


def bounded(area: SharedMemory, most_bytes: int) -> SharedMemory:
    """The same memory, of which no more than `most_bytes` are to be had."""
    return lambda nbytes: area(nbytes) if nbytes <= most_bytes else None


class MemberLine:
    """A member's part of the line.

    Args:
        member: The member as it stands in the request.
        area: The memory it may share.
    """

    __slots__ = ("_area", "_every_s", "_job_id", "_kept", "_line", "_reported", "_slices")

    def __init__(self, member: Mapping[str, Any], line: Line, area: SharedMemory | None = None) -> None:
        self._area = area
        self._job_id = str(member["job_id"])
        self._line = line
        self._every_s = member.get("checkpoint_every_s") or _NEVER
        # The first report of a run that was handed a checkpoint comes before its first slice.
        self._slices = -1 if member.get("checkpoint") else 0
        self._reported = self._kept = time.monotonic()

    def report(self, fraction: float) -> Wish | None:
        """A slice has ended: pass that on, no oftener than is of use, and say what is wished."""
        self._slices += 1
        now = time.monotonic()
        if now - self._reported >= PROGRESS_EVERY_S:
            self._reported = now
            self._line.emit({"job_id": self._job_id, "progress": fraction, "slices": max(0, self._slices)})
        wish = self._line.wish(self._job_id, now)
        if wish is None and now - self._kept >= self._every_s:
            wish = Wish.CHECKPOINT
        if wish is Wish.CHECKPOINT and not self._line.taken(self._job_id):
            return None  # the last one is still being made durable
        return wish

    def keep(self, checkpoint: Checkpoint) -> None:
        """Hand a checkpoint out. Its bulk is copied, so that the run can go on; without room for that it waits."""
        size = checkpoint.bulk_bytes
        at = self._copy(size) if size else 0
        self._line.emit(
            {
                "job_id": self._job_id,
                "checkpoint": checkpoint.body,
                "progress": checkpoint.progress,
                "bulk_bytes": size,
                "bulk_at": at,
                "about": checkpoint.about,
            }
        )
        self._line.met(self._job_id)
        if size and not at:
            self._line.wait_until_taken(self._job_id)
        self._kept = time.monotonic()

    def _copy(self, size: int) -> int:
        """Copy the first `size` bytes of the shared memory behind themselves. Returns where to: 0 when there is no room."""
        at = -(-size // PAGE) * PAGE
        both = None if self._area is None else self._area(at + size)
        if both is None:
            return 0
        both[at:] = both[:size]
        return at

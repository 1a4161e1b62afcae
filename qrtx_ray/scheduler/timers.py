"""Deadlines: at most one per job, the next of whatever it waits for.

A heap with lazy deletion. Dead entries are swept when they outnumber the living, so that a day-long deadline set a
thousand times a second does not hold its memory for a day.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from qrtx_ray.model import JobId

__all__ = ["Timers"]

_SLACK = 64


class Timers:
    """The next deadline of every job that has one (seconds since the epoch)."""

    __slots__ = ("_due", "_heap")

    def __init__(self) -> None:
        self._due: dict[JobId, float] = {}
        self._heap: list[tuple[float, JobId]] = []

    def __len__(self) -> int:
        return len(self._due)

    def due(self, job_id: JobId) -> float | None:
        """When the job's deadline is, or None."""
        return self._due.get(job_id)

    def arm(self, job_id: JobId, due: float | None) -> None:
        """Replace the job's deadline; None removes it."""
        if due is None:
            self._due.pop(job_id, None)
        elif self._due.get(job_id) != due:
            self._due[job_id] = due
            heappush(self._heap, (due, job_id))
        else:
            return
        if len(self._heap) > 2 * len(self._due) + _SLACK:
            self._heap = [(due, job_id) for job_id, due in self._due.items()]
            heapify(self._heap)

    def next_due(self) -> float | None:
        """The earliest deadline, or None."""
        heap = self._heap
        while heap and self._due.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> JobId | None:
        """The job of the earliest deadline that is not after `now`, its deadline removed; None when there is none."""
        due = self.next_due()
        if due is None or due > now:
            return None
        job_id = heappop(self._heap)[1]
        del self._due[job_id]
        return job_id

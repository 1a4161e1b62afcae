"""Deadlines: at most one per job, the next of whatever it waits for.

A heap with lazy deletion. When dead entries outnumber the living they are swept, so that a day-long deadline set a
thousand times a second does not hold its memory for a day. A sweep of a million entries at once would hold up
everything for a second, so it is done in small steps: the heap is set aside and taken apart from its end, which leaves
it a heap, and what lives goes to a new one.
"""

from __future__ import annotations

from heapq import heappop, heappush

from qrtx_ray.model import JobId

__all__ = ["Timers"]

_SLACK = 64
_STEPS = 8  # entries of the old heap looked at for each new deadline: many more than come in meanwhile


class Timers:
    """The next deadline of every job that has one (seconds since the epoch)."""

    __slots__ = ("_aside", "_due", "_heap")

    def __init__(self) -> None:
        self._due: dict[JobId, float] = {}
        self._heap: list[tuple[float, JobId]] = []
        self._aside: list[tuple[float, JobId]] = []

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
        if self._aside:
            self._sweep()
        elif len(self._heap) > 2 * len(self._due) + _SLACK:
            self._aside, self._heap = self._heap, []

    def _sweep(self) -> None:
        for _ in range(min(_STEPS, len(self._aside))):
            entry = self._aside.pop()
            if self._due.get(entry[1]) == entry[0]:
                heappush(self._heap, entry)

    def next_due(self) -> float | None:
        """The earliest deadline, or None."""
        tops = [heap[0][0] for heap in (self._living(self._heap), self._living(self._aside)) if heap]
        return min(tops, default=None)

    def _living(self, heap: list[tuple[float, JobId]]) -> list[tuple[float, JobId]]:
        while heap and self._due.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap

    def pop_due(self, now: float) -> JobId | None:
        """The job of the earliest deadline that is not after `now`, its deadline removed; None when there is none."""
        heaps = [heap for heap in (self._living(self._heap), self._living(self._aside)) if heap]
        first = min(heaps, key=lambda heap: heap[0], default=None)
        if first is None or first[0][0] > now:
            return None
        job_id = heappop(first)[1]
        del self._due[job_id]
        return job_id

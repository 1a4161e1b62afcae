"""Job records as far as they are durable: the only thing the outside is ever shown.

The core's own memory runs ahead of the disk by the few milliseconds of a commit. Were that shown, a crash in between
could take back what somebody has already read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from qrtx_ray.model import JobId, JobRecord, TaskState

__all__ = ["CommittedRecords"]


class CommittedRecords:
    """All unfinished jobs, and the finished ones that were touched last.

    Args:
        finished_capacity: Finished jobs kept; older ones are in the store.
    """

    def __init__(self, finished_capacity: int) -> None:
        self._capacity = finished_capacity
        self._live: dict[JobId, JobRecord] = {}
        self._finished: OrderedDict[JobId, JobRecord] = OrderedDict()

    def update(self, records: Iterable[JobRecord]) -> list[JobRecord]:
        """Take records in; returns those that say something new to the outside."""
        news = []
        for record in records:
            if record.terminal:
                self._live.pop(record.id, None)
                before = self._finished.get(record.id)
                if before is None or before.tags != record.tags:
                    news.append(record)  # else only our own note that its metadata file is written
                self._finished[record.id] = record
                self._finished.move_to_end(record.id)
            else:
                shown = self._as_far(record)
                self._live[record.id] = shown
                news.append(shown)
        while len(self._finished) > self._capacity:
            self._finished.popitem(last=False)
        return news

    def forget(self, job_ids: Iterable[JobId]) -> None:
        for job_id in job_ids:
            self._live.pop(job_id, None)
            self._finished.pop(job_id, None)

    def advance(self, progress: Iterable[tuple[JobId, int, float, int]]) -> list[JobRecord]:
        """Take in ``(job, attempt, fraction done, slices done)``; returns the records that moved. What is stale or goes back is
        left out.
        """
        moved = []
        for job_id, attempt, fraction, slices in progress:
            shown = self._live.get(job_id)
            if shown is None or shown.attempt != attempt or shown.state is not TaskState.EXECUTING:
                continue
            if fraction > shown.progress or slices > shown.slices:
                further = replace(shown, progress=max(fraction, shown.progress), slices=max(slices, shown.slices))
                self._live[job_id] = further
                moved.append(further)
        return moved

    def _as_far(self, record: JobRecord) -> JobRecord:
        """`record` as far as its attempt was shown to be: what is written in the middle of a run does not know how far it is."""
        shown = self._live.get(record.id)
        runs = record.state is TaskState.EXECUTING
        if shown is None or not runs or shown.state is not record.state or shown.attempt != record.attempt:
            return record
        if shown.progress <= record.progress and shown.slices <= record.slices:
            return record
        return replace(record, progress=max(shown.progress, record.progress), slices=max(shown.slices, record.slices))

    def get(self, job_id: JobId) -> JobRecord | None:
        return self._live.get(job_id) or self._finished.get(job_id)

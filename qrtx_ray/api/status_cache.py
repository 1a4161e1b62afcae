"""What a replica knows of jobs, kept fresh by one stream from the scheduler; all waiting of clients ends here.

A held request costs the scheduler nothing: it is a future in the replica that the stream completes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from qrtx_ray.model import JobId, JobRecord

__all__ = ["StatusCache"]


class StatusCache:
    """Committed records by id, the least recently used dropped first.

    Args:
        capacity: Records kept.

    Attributes:
        generation: Grows whenever everything is forgotten. What was asked for in an earlier one may be out of date
            without the stream ever saying so.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.generation = 0
        self._records: OrderedDict[JobId, JobRecord] = OrderedDict()
        self._waiters: dict[JobId, set[asyncio.Future[None]]] = {}

    def get(self, job_id: JobId) -> JobRecord | None:
        record = self._records.get(job_id)
        if record is not None:
            self._records.move_to_end(job_id)
        return record

    def put(self, record: JobRecord) -> JobRecord:
        """Keep `record` unless a newer version is known; returns the newer of the two and wakes who waits for it."""
        known = self._records.get(record.id)
        if known is not None and _age(known) >= _age(record):
            return known
        self._records[record.id] = record
        self._records.move_to_end(record.id)
        if len(self._records) > self._capacity:
            self._records.popitem(last=False)
        self._wake(self._waiters.pop(record.id, set()))
        return record

    def update(self, records: Iterable[JobRecord]) -> None:
        for record in records:
            self.put(record)

    def forget(self, job_id: JobId) -> None:
        """The job was deleted; whoever waits for it finds that out."""
        self._records.pop(job_id, None)
        self._wake(self._waiters.pop(job_id, set()))

    def clear(self) -> None:
        """Forget everything and wake everybody: what was known may have been taken back."""
        self.generation += 1
        self._records.clear()
        waiters, self._waiters = self._waiters, {}
        for waiting in waiters.values():
            self._wake(waiting)

    async def changed(self, job_id: JobId, timeout_s: float) -> bool:
        """Wait until something new is known of the job. Returns whether it came in time."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiters.setdefault(job_id, set())
        waiting.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return False
        finally:
            waiting.discard(waiter)
            if not waiting and self._waiters.get(job_id) is waiting:
                del self._waiters[job_id]
        return True

    @staticmethod
    def _wake(waiting: Iterable[asyncio.Future[None]]) -> None:
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


def _age(record: JobRecord) -> tuple[int, float, int]:
    """What of two readings of a job tells the newer one: progress and slices move without a version of their own."""
    return record.version, record.progress, record.slices

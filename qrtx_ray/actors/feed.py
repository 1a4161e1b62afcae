"""The feed of committed changes that the front's replicas follow.

Each replica has one call parked here; news wakes all of them, and each takes everything it has not seen. So the
scheduler's cost of telling does not grow with the number of clients that wait. The end of a job is told at once, for
somebody waits for it, unless something was told just before; steps on the way are told together, a few hundredths of a
second late.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from itertools import islice

from qrtx_ray.actors.wire import Changes
from qrtx_ray.model import JobId, JobRecord

__all__ = ["Feed"]

ANSWER_ENTRIES = 2_000
GATHER_S = 0.05
APART_S = 0.01


class Feed:
    """A bounded log of committed records and deletions, with a cursor that grows by one per entry.

    Args:
        epoch: The scheduler's epoch; a follower of another epoch starts anew.
        capacity: Entries kept; a follower further behind than that is told to forget and re-read.
    """

    def __init__(self, epoch: int, capacity: int = 20_000) -> None:
        self._epoch = epoch
        self._log: deque[JobRecord | JobId] = deque(maxlen=capacity)
        self._cursor = 0
        self._news = asyncio.Event()
        self._telling: asyncio.TimerHandle | None = None
        self._told_at = float("-inf")

    def publish(self, records: Iterable[JobRecord], deletions: Iterable[JobId] = ()) -> None:
        entries: list[JobRecord | JobId] = [*records, *deletions]
        self._log.extend(entries)
        self._cursor += len(entries)
        if entries:
            urgent = any(isinstance(entry, str) or entry.terminal for entry in entries)
            self._tell_by(self._told_at + APART_S if urgent else asyncio.get_running_loop().time() + GATHER_S)

    def _tell_by(self, moment: float) -> None:
        loop = asyncio.get_running_loop()
        if moment <= loop.time():
            self._tell()
        elif self._telling is None or moment < self._telling.when():
            if self._telling is not None:
                self._telling.cancel()
            self._telling = loop.call_at(moment, self._tell)

    def _tell(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._told_at = asyncio.get_running_loop().time()
        self._news.set()
        self._news = asyncio.Event()

    async def since(self, epoch: int, cursor: int, timeout_s: float) -> Changes:
        """What came after `cursor`, as far as it fits one answer, waiting up to `timeout_s` for the first."""
        if epoch != self._epoch or cursor > self._cursor or cursor < self._cursor - len(self._log):
            return Changes(self._epoch, self._cursor, reset=True)
        if cursor == self._cursor or self._telling is not None:
            news = self._news
            try:
                async with asyncio.timeout(timeout_s):
                    await news.wait()
            except TimeoutError:
                if cursor == self._cursor:
                    return Changes(self._epoch, cursor)
        missed = self._cursor - cursor
        if missed > len(self._log):
            return Changes(self._epoch, self._cursor, reset=True)
        start = len(self._log) - missed
        entries = list(islice(self._log, start, start + ANSWER_ENTRIES))
        # Of a job that took several steps since, the last one says all.
        latest = {entry.id: entry for entry in entries if isinstance(entry, JobRecord)}
        records = tuple(latest.values())
        deletions = tuple(entry for entry in entries if isinstance(entry, str))
        return Changes(self._epoch, cursor + len(entries), records, deletions)

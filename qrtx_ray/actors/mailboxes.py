"""Where leases wait: one mailbox for each worker (device agent or compiler) that pulls work from the scheduler.

The core decides at any moment that a worker gets something; the worker's call that fetches it may be parked or not yet
made. A mailbox keeps what was decided until it is fetched. What is lost on the way to the worker is missing from its next
heartbeats, and is leased anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Mailbox", "Mailboxes"]

BUSY_S = 0.2
LINGER_S = 0.005

ItemT = TypeVar("ItemT")


class Mailbox(Generic[ItemT]):
    """Items for one incarnation of one worker."""

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.heard_at = 0.0
        self._items: deque[ItemT] = deque()
        self._arrived = asyncio.Event()
        self._taken_at = float("-inf")

    def put(self, item: ItemT) -> None:
        self._items.append(item)
        self._arrived.set()

    async def take(self, timeout_s: float) -> ItemT | None:
        """The next item, or None when none came in time."""
        if not self._items:
            self._arrived.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._arrived.wait()
            except TimeoutError:
                return None
        if not self._items:
            return None
        self._taken_at = asyncio.get_running_loop().time()
        return self._items.popleft()

    async def linger(self) -> None:
        """Let work gather for a busy worker before it offers to take more: one call for eight jobs costs what it costs for
        one. A worker that had nothing to do lately does not wait.
        """
        if asyncio.get_running_loop().time() - self._taken_at < BUSY_S:
            await asyncio.sleep(LINGER_S)

    def close(self) -> None:
        """Wake whoever waits; there will be nothing more."""
        self._items.clear()
        self._arrived.set()


class Mailboxes(Generic[ItemT]):
    """The mailboxes of all workers of one kind, by worker name."""

    def __init__(self) -> None:
        self._boxes: dict[str, Mailbox[ItemT]] = {}

    def open(self, worker: str, incarnation: str, now: float) -> Mailbox[ItemT]:
        """A fresh mailbox for a (new) incarnation; one of an earlier incarnation is closed."""
        self.close(worker)
        box: Mailbox[ItemT] = Mailbox(incarnation)
        box.heard_at = now
        self._boxes[worker] = box
        return box

    def get(self, worker: str, incarnation: str) -> Mailbox[ItemT] | None:
        """The mailbox of exactly this incarnation."""
        box = self._boxes.get(worker)
        return box if box is not None and box.incarnation == incarnation else None

    def put(self, worker: str, incarnation: str, item: ItemT) -> None:
        box = self.get(worker, incarnation)
        if box is not None:
            box.put(item)

    def close(self, worker: str) -> None:
        box = self._boxes.pop(worker, None)
        if box is not None:
            box.close()

    def silent_since(self, moment: float) -> list[tuple[str, str]]:
        """``(worker, incarnation)`` of all that were last heard before `moment`."""
        return [(name, box.incarnation) for name, box in self._boxes.items() if box.heard_at < moment]

    def last_heard(self) -> dict[str, float]:
        return {name: box.heard_at for name, box in self._boxes.items()}

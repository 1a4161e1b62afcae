"""Micro-batching: one call in flight, and whatever arrives meanwhile goes together in the next.

An actor call costs the better part of a millisecond whether it carries one job or a hundred. With a single caller nothing
waits; under load the batches grow by themselves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

__all__ = ["MicroBatcher"]

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")


LINGER_S = 0.008


class MicroBatcher(Generic[ItemT, AnswerT]):
    """Collects items into calls.

    Args:
        call: Takes a batch and returns one answer for each item, in order.
        max_items: Items of one call.
        weigh: Bytes of an item; `max_bytes` of them end a batch early.
    """

    def __init__(
        self,
        call: Callable[[Sequence[ItemT]], Awaitable[Sequence[AnswerT]]],
        max_items: int,
        *,
        weigh: Callable[[ItemT], int] = lambda _: 0,
        max_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        self._call = call
        self._max_items = max_items
        self._weigh = weigh
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[ItemT, asyncio.Future[AnswerT]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._expected = 0
        self._gathered = asyncio.Event()

    async def submit(self, item: ItemT) -> AnswerT:
        """The answer for `item`; raises what the call of its batch raised."""
        answer: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if len(self._waiting) >= self._expected:
            self._gathered.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        return await answer

    def _next_batch(self) -> list[tuple[ItemT, asyncio.Future[AnswerT]]]:
        batch = [self._waiting.popleft()]
        size = self._weigh(batch[0][0])
        while self._waiting and len(batch) < self._max_items:
            size += self._weigh(self._waiting[0][0])
            if size > self._max_bytes:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _run(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            # A client that hung up has cancelled its future; the others must still be answered.
            try:
                answers = await self._call([item for item, _ in batch])
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
            except Exception as error:  # noqa: BLE001 - every waiter of the batch gets it
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            finally:
                for _, future in batch:
                    future.cancel()  # nobody is left to wait for ever when the task itself is cancelled
            if len(batch) > 1 or self._waiting:
                await self._linger(len(batch) + len(self._waiting))

    async def _linger(self, expected: int) -> None:
        """Wait for those just answered: they come back with their next item, all at about the same time. `expected` counts
        them and those who came in the meantime.
        """
        self._expected = min(expected, self._max_items)
        if len(self._waiting) >= self._expected:
            return
        self._gathered.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await self._gathered.wait()

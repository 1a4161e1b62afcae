"""Write-ahead in one place: whatever rests on a change is done only after the change is durable.

The core changes its memory at once and hands back commands. The outbox keeps them in order: it waits for the commit of
each entry, then performs that entry's commands, then tells whoever waits. Entries of later events wait behind earlier
ones, so nothing is ever performed, shown or answered that a crash could take back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from qrtx_ray.actors.faults import reached
from qrtx_ray.errors import PersistError, QrtxError

__all__ = ["Outbox", "settled"]

CommandT = TypeVar("CommandT")


@dataclass(slots=True)
class _Entry(Generic[CommandT]):
    durable: Future[None] | None
    commands: Sequence[CommandT]
    performed: asyncio.Future[None]


class Outbox(Generic[CommandT]):
    """Performs commands in the order of their events, each after its commit.

    Args:
        perform: Called on the event loop with the commands of one event.
        on_failure: Called once when a commit or what rests on it failed: memory and disk then disagree, and only a
            restart from the disk mends that.
    """

    def __init__(
        self, perform: Callable[[Sequence[CommandT]], None], on_failure: Callable[[BaseException], None]
    ) -> None:
        self._perform = perform
        self._on_failure = on_failure
        self._entries: deque[_Entry[CommandT]] = deque()
        self._loop = asyncio.get_running_loop()
        self._failed: BaseException | None = None

    def post(self, durable: Future[None] | None, commands: Sequence[CommandT]) -> asyncio.Future[None]:
        """Queue `commands` behind `durable`.

        Returns:
            A future that is done when the commands were performed; it carries the commit's error if there was one.
        """
        performed: asyncio.Future[None] = self._loop.create_future()
        if self._failed is not None:
            _refuse(performed, self._failed)
            return performed
        self._entries.append(_Entry(durable, commands, performed))
        if durable is not None:
            durable.add_done_callback(self._appended)
        elif len(self._entries) == 1:
            self._drain()
        return performed

    def _appended(self, durable: Future[None]) -> None:
        if not durable.cancelled() and durable.exception() is None:
            reached("scheduler.after_append")
        self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        while self._entries and self._failed is None:
            entry = self._entries[0]
            if entry.durable is not None:
                if not entry.durable.done():
                    return
                error = entry.durable.exception()
                if error is not None:
                    self._fail(error)
                    return
            self._entries.popleft()
            try:
                if entry.durable is not None:
                    reached("scheduler.after_commit")
                self._perform(entry.commands)
            except Exception as error:  # noqa: BLE001 - half performed is as bad as half written
                _refuse(entry.performed, error)
                self._fail(error)
                return
            if not entry.performed.done():
                entry.performed.set_result(None)

    def _fail(self, error: BaseException) -> None:
        self._failed = error
        while self._entries:
            _refuse(self._entries.popleft().performed, error)
        self._on_failure(error)


def _refuse(performed: asyncio.Future[None], error: BaseException) -> None:
    if not performed.done():
        performed.set_exception(error)
        performed.exception()  # nobody may be waiting; that is no second error


async def settled(performed: asyncio.Future[None]) -> None:
    """Wait until an entry's commands were performed; a caller that gives up does not take them back.

    Raises:
        PersistError: The commit failed.
    """
    try:
        await asyncio.shield(performed)
    except QrtxError:
        raise
    except Exception as error:
        raise PersistError("the journal refused the change; nothing was kept") from error

"""Whether the scheduler can be asked: not yet, for what is kept only, or for everything.

A scheduler that cannot take its journal over for writing is of use all the same: it shows what the journal holds. Clients
that want to change something are refused and told why; those that work for it wait, for they have nobody else to ask.
"""

from __future__ import annotations

import asyncio

from qrtx_ray.errors import QrtxError

__all__ = ["Readiness"]


class Readiness:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._writing = False
        self._reading = False
        self._trying = True
        self._refusal: QrtxError | None = None
        self._moved = asyncio.Event()

    @property
    def refusal(self) -> QrtxError | None:
        """Why nothing can be changed now; None when it can, or when that is not known yet."""
        return self._refusal

    def set(self) -> None:
        """Everything can be asked from now on."""
        self._writing, self._reading, self._refusal = True, True, None
        self._move()

    def is_set(self) -> bool:
        """Whether everything can be asked."""
        return self._writing

    def refuse(self, error: QrtxError, *, readable: bool) -> None:
        """Nothing can be changed for now, because of `error`.

        Args:
            readable: Whether what is kept can be shown.
        """
        self._refusal, self._reading, self._trying = error, readable, False
        self._move()

    def try_again(self) -> None:
        """It is being found out whether things are better: readers wait that long, and changes are still refused."""
        self._reading, self._trying = False, True

    def end(self) -> None:
        """Nothing can be asked any more: whoever asks waits for a successor."""
        self._writing, self._reading, self._trying, self._refusal = False, False, True, None

    async def wait(self) -> None:
        """Wait until changes can be made.

        Raises:
            QrtxError: They cannot, for as long as nobody can tell.
        """
        while not self._writing:
            if self._refusal is not None:
                raise _own(self._refusal)
            await self._moved.wait()

    async def to_read(self) -> None:
        """Wait until what is kept can be read.

        Raises:
            QrtxError: Not even that can be done now.
        """
        while not self._reading:
            if self._refusal is not None and not self._trying:
                raise _own(self._refusal)
            await self._moved.wait()

    async def to_work(self) -> None:
        """Wait until changes can be made, however long that takes."""
        while not self._writing:
            await self._moved.wait()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


def _own(error: QrtxError) -> QrtxError:
    """The same error once more: one that many raise gathers the tracebacks of all of them."""
    return QrtxError.from_info(error.info())

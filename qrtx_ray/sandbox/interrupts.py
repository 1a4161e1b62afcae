"""Notes to a call that is under way: whoever made the call may tell its handler something before the answer comes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from qrtx_ray.sandbox.forker import Child
from qrtx_ray.sandbox.frames import Kind, pack

__all__ = ["MAX_NOTE_BYTES", "Interrupts"]

MAX_NOTE_BYTES = 32 * 1024
"""Largest note; the kernel takes a frame of this size whole or not at all, so a note never lies half in the stream."""
RETRY_S = 0.05


class Interrupts:
    """The notes of one call. Belongs to the event loop that makes the call.

    A note sent before the child has the call waits for that; one sent after the answer came is dropped. Between the two it
    is sent at once, and the handler finds it when it looks. That the handler acts on it is not promised: it may just end.
    """

    def __init__(self) -> None:
        self._notes: deque[bytes] = deque()
        self._child: Child | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._over = False

    def send(self, note: dict[str, Any]) -> None:
        """Tell the handler.

        Raises:
            FrameError: `note` is not plain data, or larger than `MAX_NOTE_BYTES`.
        """
        frame = pack(Kind.INTERRUPT, note, MAX_NOTE_BYTES)
        if not self._over:
            self._notes.append(frame)
            self._flush()

    def begin(self, child: Child) -> None:
        """The call is with `child` now."""
        self._child = child
        self._flush()

    def end(self) -> None:
        """The call is over."""
        self._over = True
        self._child = None
        self._notes.clear()
        if self._retry is not None:
            self._retry.cancel()

    def _flush(self) -> None:
        while self._notes and self._child is not None and self._child.alive:
            try:
                sent = self._child.sock.send(self._notes[0])
            except BlockingIOError:
                # The child has not yet read the call itself.
                self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._flush)
                return
            except OSError:
                return  # it is dead; the call hears of it
            if sent < len(self._notes.popleft()):
                self._child.kill()  # the stream is broken

"""Where time enters the runtime.

Pure code never reads a clock: it is handed `now` as an argument. The shells read one of these. Two readings are
kept apart because they answer different questions: `wall()` is a date that may step (leap seconds, NTP), so it is
only shown and stored; `monotonic()` never goes back, so every duration and deadline is computed from it.
"""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """A source of time, in seconds."""

    def wall(self) -> float:
        """Seconds since the Unix epoch (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary origin; never decreases within one process."""
        ...


class SystemClock:
    """The operating system's clocks."""

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

"""What is going to happen, in order of time, and in the order it was planned where times are equal."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

__all__ = ["Agenda"]

Action = Callable[[Any], None]


class Agenda:
    """A virtual clock and the actions that wait for it.

    Attributes:
        now: Seconds since the epoch; moves only when an action is taken.
    """

    __slots__ = ("_heap", "_numbers", "now")

    def __init__(self, now: float) -> None:
        self.now = now
        self._heap: list[tuple[float, int, Action, Any]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, when: float, action: Action, argument: Any = None) -> None:
        """Plan ``action(argument)`` for `when`, or for now where that has passed."""
        heappush(self._heap, (max(when, self.now), next(self._numbers), action, argument))

    def after(self, seconds: float, action: Action, argument: Any = None) -> None:
        """The same, `seconds` from now."""
        self.at(self.now + seconds, action, argument)

    def next_at(self) -> float | None:
        """When the next action is due, or None."""
        return self._heap[0][0] if self._heap else None

    def take(self) -> None:
        """Move the clock to the next action and do it."""
        self.now, _, action, argument = heappop(self._heap)
        action(argument)

"""How long commits take, as those feel it who wait for them: from the hand-over to the end, the queue before it included."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

__all__ = ["CommitLatency"]

SAMPLES = 4096
WINDOW_S = 10.0
PERCENT = 99


class CommitLatency:
    """The commits of the last seconds, and those under way.

    `watch` and the questions belong to one thread; commits may end on another.

    Args:
        window_s: How far back is looked.
    """

    def __init__(self, window_s: float = WINDOW_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._clock = clock
        self._under_way: deque[tuple[float, Future[None]]] = deque()
        self._ended: deque[tuple[float, float]] = deque(maxlen=SAMPLES)

    def watch(self, commit: Future[None]) -> None:
        """Follow a commit that was handed over just now."""
        began = self._clock()
        self._under_way.append((began, commit))
        commit.add_done_callback(lambda _: self._note(began))

    def _note(self, began: float) -> None:
        now = self._clock()
        self._ended.append((now, now - began))

    def oldest_s(self) -> float:
        """For how long the oldest commit under way has been waited for; 0 when there is none."""
        # They end in the order in which they were handed over.
        while self._under_way and self._under_way[0][1].done():
            self._under_way.popleft()
        return self._clock() - self._under_way[0][0] if self._under_way else 0.0

    def p99_s(self) -> float:
        """What 99 of 100 commits of the window did not exceed; 0 when there were none."""
        since = self._clock() - self._window_s
        times = sorted(seconds for at, seconds in tuple(self._ended) if at >= since)
        return times[-(-len(times) * PERCENT // 100) - 1] if times else 0.0

    def worst_s(self) -> float:
        """The larger of both: a disk that hangs ends no commit, and is slow all the same."""
        return max(self.oldest_s(), self.p99_s())

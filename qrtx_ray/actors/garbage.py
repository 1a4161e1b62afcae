"""Python's cycle collector, for processes that live long and hold much that never goes away."""

from __future__ import annotations

import gc

__all__ = ["collect_seldom"]


def collect_seldom() -> None:
    """Leave what is loaded now out of every later collection, and collect seldom.

    Ray and its libraries are some hundred thousand objects. With the default thresholds all of them are looked through every
    few hundred jobs, tens of milliseconds each time, in which the event loop answers nobody.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)

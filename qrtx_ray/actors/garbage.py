"""Python's cycle collector, for processes that live long and hold much that never goes away."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collect_seldom", "collecting_nothing"]


def collect_seldom() -> None:
    """Leave what is loaded now out of every later collection, and collect seldom.

    Ray and its libraries are some hundred thousand objects. With the default thresholds all of them are looked through every
    few hundred jobs, tens of milliseconds each time, in which the event loop answers nobody.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@contextmanager
def collecting_nothing() -> Iterator[None]:
    """Do without the collector while a great many objects are made that stay, and leave them out of it afterwards.

    It would look through them again and again. Nearly all of them go by their reference counts, when their time comes.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()

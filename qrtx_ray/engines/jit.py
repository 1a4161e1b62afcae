"""Numba's compiler as this project uses it, with types that survive it.

Functions are compiled when their module is imported: an `entry_point` can be called from Python and is kept in Numba's cache,
a `part` becomes part of those that call it. The GIL is free while they run and no threads are started, so their modules may
be imported before a process forks. Arithmetic is that of the source (no `fastmath`): results are the same on every processor.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit, types

__all__ = ["array", "entry_point", "part"]

F = TypeVar("F", bound=Callable[..., Any])


def array(dtype: Any, ndim: int, *, filled: bool = False) -> Any:
    """The type of a C-contiguous array argument; one that is not `filled` is only read, and may be a read-only array."""
    return types.Array(dtype, ndim, "C", readonly=not filled)


def entry_point(result: Any, *arguments: Any) -> Callable[[F], F]:
    """Compile a function for exactly these types."""
    compiler = njit(result(*arguments), nogil=True, cache=True)

    def compiled(function: F) -> F:
        with _in_turn():
            return cast("F", compiler(function))

    return compiled


@contextmanager
def _in_turn() -> Iterator[None]:
    """One process compiles; the others wait, and find its work in the cache. Several agents start at once, and the seconds
    that compiling takes would be spent by each. Where the cache cannot be shared there is nothing to wait for.
    """
    try:
        lock = Path(__file__).with_name("__pycache__").joinpath("kernels.lock").open("w")
    except OSError:
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def part(function: F) -> F:
    """Compile a function into those that call it."""
    return cast("F", njit(nogil=True)(function))

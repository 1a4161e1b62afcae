"""The compilation cache: what a circuit became on a device, kept while the child process lives.

Clients send the same circuit again and again with other numbers (every step of a variational loop does), so the walk
over its instructions, and the transpilation before it, is worth keeping. A key names everything the result depends on;
nothing is ever invalidated: a new calibration makes new keys and the old entries fall out at the end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["CacheStatistics", "CompilationCache"]

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Counters since the process began, and the present size (`entries`, `size_bytes`)."""

    hits: int
    misses: int
    evictions: int
    entries: int
    size_bytes: int


class CompilationCache(Generic[V]):
    """Least recently used first out, bounded by entries and by bytes.

    Args:
        max_entries: Most values kept; 0 switches the cache off.
        max_bytes: Most bytes kept, as `size_of` counts them. A value larger than this is returned and not kept.
        size_of: Size of a value in bytes.
    """

    def __init__(self, max_entries: int, max_bytes: int, size_of: Callable[[V], int]) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._entries: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._evictions = 0

    def get_or_make(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of `key`, made by `make` when it is not there. What `make` raises is raised and nothing is kept."""
        found = self._entries.get(key)
        if found is not None:
            self._hits += 1
            self._entries.move_to_end(key)
            return found[0]
        self._misses += 1
        value = make()
        self._keep(key, value)
        return value

    def statistics(self) -> CacheStatistics:
        return CacheStatistics(self._hits, self._misses, self._evictions, len(self._entries), self._bytes)

    def _keep(self, key: Hashable, value: V) -> None:
        size = self._size_of(value)
        if self._max_entries < 1 or size > self._max_bytes:
            return
        self._entries[key] = (value, size)
        self._bytes += size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self._bytes -= freed
            self._evictions += 1

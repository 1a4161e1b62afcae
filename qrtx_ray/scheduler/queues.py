"""Waiting lines: sorted sets of integers, first come first served inside a level.

Keys are integers, so that a comparison costs one machine operation: the level above, the job number below. They are
kept sorted in blocks of bounded length: insert, removal and the first are O(log n) plus a move inside one block; the
number of jobs ahead is a sum over blocks. (A heap would be no faster here and could tell neither.)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from qrtx_ray.model import JobRecord, Level

__all__ = ["NUMBER_BITS", "WaitingLine", "key_at", "pending_place", "waiting_key"]

_BLOCK = 512
NUMBER_BITS = 48  #: of a key; what stands above them is the level
_NUMBER = (1 << NUMBER_BITS) - 1
_PROMOTED = 1 << 60  # above all keys: less this, every place is negative


def waiting_key(record: JobRecord) -> int:
    """The place of a job in any line: smaller goes first; unique, for numbers are."""
    return int(record.level) << NUMBER_BITS | record.number


def pending_place(key: int, *, promoted: bool) -> int:
    """Where a job stands before the compilers: promoted ones before all others, and of them the lowest level first."""
    if not promoted:
        return key
    return (Level.LOW - (key >> NUMBER_BITS) << NUMBER_BITS | key & _NUMBER) - _PROMOTED


def key_at(place: int) -> int:
    """The key of the job at such a place."""
    if place >= 0:
        return place
    plain = place + _PROMOTED
    return Level.LOW - (plain >> NUMBER_BITS) << NUMBER_BITS | plain & _NUMBER


class WaitingLine:
    """A sorted set of keys.

    Invariants: no block is empty, every block is sorted, ``_last[i] == _blocks[i][-1]``, blocks follow one another.
    """

    __slots__ = ("_blocks", "_last", "_size")

    def __init__(self) -> None:
        self._blocks: list[list[int]] = []
        self._last: list[int] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[int]:
        """Keys in order; the line must not change meanwhile."""
        for block in self._blocks:
            yield from block

    def __contains__(self, key: int) -> bool:
        at = bisect_left(self._last, key)
        if at == len(self._blocks):
            return False
        block = self._blocks[at]
        return block[bisect_left(block, key)] == key

    def first(self) -> int | None:
        """The key that goes next, or None."""
        return self._blocks[0][0] if self._size else None

    def add(self, key: int) -> None:
        """Put `key` in its place.

        Raises:
            ValueError: It is there already.
        """
        blocks, last = self._blocks, self._last
        if not blocks or (key > last[-1] and len(blocks[-1]) >= _BLOCK):
            # The usual case is the newest job, at the end: blocks fill up instead of being halved.
            blocks.append([key])
            last.append(key)
        else:
            at = min(bisect_left(last, key), len(blocks) - 1)
            block = blocks[at]
            place = bisect_left(block, key)
            if place < len(block) and block[place] == key:
                msg = "the key is in the line already"
                raise ValueError(msg)
            block.insert(place, key)
            last[at] = block[-1]
            if len(block) > 2 * _BLOCK:
                blocks.insert(at + 1, block[_BLOCK:])
                del block[_BLOCK:]
                last.insert(at, block[-1])
        self._size += 1

    def discard(self, key: int) -> bool:
        """Take `key` out; False when it was not there."""
        at = bisect_left(self._last, key)
        if at == len(self._blocks):
            return False
        block = self._blocks[at]
        place = bisect_left(block, key)
        if block[place] != key:
            return False
        del block[place]
        if block:
            self._last[at] = block[-1]
        else:
            del self._blocks[at], self._last[at]
        self._size -= 1
        return True

    def ahead_of(self, key: int) -> int:
        """How many keys are smaller than `key`."""
        at = bisect_left(self._last, key)
        before = sum(len(block) for block in self._blocks[:at])
        return before + (bisect_left(self._blocks[at], key) if at < len(self._blocks) else 0)

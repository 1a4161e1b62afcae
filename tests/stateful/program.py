"""What the fake jobs compute: a chain of numbers, one link a slice.

The result follows from the seed and from which slices were run, in which order. A run that skips a slice, repeats one, or
goes on from another job's checkpoint ends with another number, so a wrong resume shows as a wrong result.
"""

from __future__ import annotations

__all__ = ["begin", "digest", "link", "slices", "whole"]

_MASK = (1 << 64) - 1


def slices(seed: int) -> int:
    """How many slices a job of `seed` has: 2 to 9."""
    return 2 + seed % 8


def begin(seed: int) -> int:
    """The number before the first slice."""
    return (seed * 2_654_435_761 + 1) & _MASK


def link(seed: int, done: int, value: int) -> int:
    """The number after slice `done` (the first is 0), from the one before it."""
    return (value * 6_364_136_223_846_793_005 + seed * 31 + done + 1) & _MASK


def digest(seed: int, done: int, value: int) -> str:
    """What a result document of `done` slices is known by."""
    return f"{'whole' if done == slices(seed) else 'part'}-{done}-{value:016x}"


def whole(seed: int, done: int | None = None) -> str:
    """The digest that an uninterrupted run has after all its slices, or after the first `done`."""
    wanted = slices(seed) if done is None else done
    value = begin(seed)
    for index in range(wanted):
        value = link(seed, index, value)
    return digest(seed, wanted, value)

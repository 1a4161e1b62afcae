"""The cache keeps what is used and never more than it may."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.compiler.cache import CompilationCache


def cache(entries: int = 10, size: int = 1000) -> CompilationCache[str]:
    return CompilationCache(entries, size, len)


def test_a_value_is_made_once_and_hits_are_counted():
    kept = cache()
    made = []
    for _ in range(3):
        assert kept.get_or_make("key", lambda: made.append(1) or "value") == "value"
    assert made == [1]
    statistics = kept.statistics()
    assert (statistics.hits, statistics.misses, statistics.entries, statistics.size_bytes) == (2, 1, 1, 5)


def test_the_value_used_longest_ago_goes_first():
    kept = cache(entries=2)
    kept.get_or_make("a", lambda: "1")
    kept.get_or_make("b", lambda: "2")
    kept.get_or_make("a", lambda: "not made again")
    kept.get_or_make("c", lambda: "3")
    assert kept.get_or_make("a", lambda: "gone") == "1"
    assert kept.get_or_make("b", lambda: "made anew") == "made anew"
    assert kept.statistics().evictions == 2


def test_a_value_larger_than_the_cache_is_returned_and_not_kept():
    kept = cache(size=3)
    assert kept.get_or_make("key", lambda: "large") == "large"
    assert kept.statistics().entries == 0


def test_a_cache_of_no_entries_keeps_nothing():
    kept = cache(entries=0)
    kept.get_or_make("key", lambda: "x")
    assert kept.statistics().entries == 0


def test_a_failure_is_raised_and_not_kept():
    kept = cache()
    with pytest.raises(ZeroDivisionError):
        kept.get_or_make("key", lambda: str(1 // 0))
    assert kept.get_or_make("key", lambda: "well") == "well"


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 12))), st.integers(0, 5), st.integers(0, 30))
def test_both_bounds_hold_after_every_use_and_values_are_always_right(uses, entries, size):
    kept = cache(entries, size)
    for name, length in uses:
        key = (name, length)
        assert kept.get_or_make(key, lambda length=length: "x" * length) == "x" * length
        statistics = kept.statistics()
        assert statistics.entries <= entries
        assert statistics.size_bytes <= size
    assert kept.statistics().hits + kept.statistics().misses == len(uses)

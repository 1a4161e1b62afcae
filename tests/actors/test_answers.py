"""Whatever a child says is read, refused, or cut to size."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.actors.answers import MadeWay, RunEnd, Sealed, error_of, profile_of, run_end_of, sealed_of, slices_of
from qrtx_ray.errors import ErrorInfo, ValidationError

from .building import PROFILE

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def test_a_profile_comes_back_as_it_was():
    assert profile_of(asdict(PROFILE)) == PROFILE
    assert profile_of(asdict(PROFILE) | {"unknown": 1}) == PROFILE


@pytest.mark.parametrize("name", list(asdict(PROFILE)))
@pytest.mark.parametrize("value", [None, -1, float("nan"), float("inf"), "x" * 5000, True, b"", [], 2**64])
def test_a_profile_with_a_field_that_cannot_be_is_none(name, value):
    profile = profile_of(asdict(PROFILE) | {name: value})
    assert profile is None or (name, value) == ("fidelity", None), "a device without noise has no fidelity to predict"


def test_a_profile_without_a_field_is_none():
    plain = asdict(PROFILE)
    del plain["shots"]
    assert profile_of(plain) is None
    assert profile_of(None) is None


def test_only_a_run_that_was_asked_to_may_say_that_it_made_way():
    said = {"preempted": True, "checkpoint": b"kept", "progress": 0.5, "wall_s": 1.0, "results": b""}
    assert run_end_of(said, may_leave=True) == MadeWay(Sealed(b"kept", 0.5), 0.5, 1.0)
    assert run_end_of(said | {"checkpoint": b""}, may_leave=True) == MadeWay(None, 0.5, 1.0)
    assert isinstance(run_end_of(said), ErrorInfo)
    assert isinstance(run_end_of(said | {"results": b"and results"}), ErrorInfo)


def test_only_a_run_that_was_asked_to_may_have_results_of_a_part():
    said = {"results": b"some", "qpu_s": 1.0, "wall_s": 2.0, "partial": True, "progress": 0.25}
    assert run_end_of(said, may_conclude=True) == RunEnd(b"some", 1.0, 2.0, partial=True, progress=0.25)
    assert isinstance(run_end_of(said), ErrorInfo)
    assert isinstance(run_end_of(said | {"progress": 7}, may_conclude=True), ErrorInfo)
    assert run_end_of(said | {"partial": False}) == RunEnd(b"some", 1.0, 2.0)


@pytest.mark.parametrize(
    ("bulk_bytes", "bulk_at", "fits"), [(100, 0, True), (60, 40, True), (61, 40, False), (0, 500, True)]
)
def test_what_lies_beyond_the_shared_memory_is_no_checkpoint(bulk_bytes, bulk_at, fits):
    said = {"checkpoint": b"x", "progress": 0.5, "bulk_bytes": bulk_bytes, "bulk_at": bulk_at}
    assert (sealed_of(said, 100) is not None) == fits


@pytest.mark.parametrize(
    "lie",
    [
        {"checkpoint": "text"},
        {"progress": 2.0},
        {"progress": float("nan")},
        {"progress": 1},
        {"wall_s": -1},
        {"preempted": 1},
        {"preempted": "yes"},
    ],
)
def test_progress_that_cannot_be_is_an_error(lie):
    said = {"preempted": True, "checkpoint": b"kept", "progress": 0.5, "wall_s": 1.0} | lie
    assert isinstance(run_end_of(said, may_leave=True), ErrorInfo)


def test_an_error_comes_back_as_it_was():
    error = ValidationError("shots must be positive", field="shots", limit="1").info()
    assert error_of(error.to_dict()) == error


@settings(deadline=None, derandomize=True)
@given(said=ANYTHING, results=ANYTHING, qpu_s=ANYTHING, wall_s=ANYTHING)
def test_nothing_a_child_says_raises(said, results, qpu_s, wall_s):
    assert error_of(said) is None or isinstance(error_of(said), ErrorInfo)
    assert profile_of(said) is None
    assert 0 <= slices_of(said) < 2**31
    handed = {"checkpoint": results, "progress": qpu_s, "bulk_bytes": said, "bulk_at": wall_s, "about": said}
    sealed = sealed_of(handed, 1000)
    assert sealed is None or sealed.bulk_at + sealed.bulk_bytes <= 1000
    end = run_end_of(handed | {"partial": said, "preempted": wall_s}, may_leave=True, may_conclude=True)
    assert isinstance(end, ErrorInfo)
    end = run_end_of({"error": said, "results": results, "qpu_s": qpu_s, "wall_s": wall_s})
    if isinstance(end, RunEnd):
        assert isinstance(end.results, bytes)
        assert 0 <= end.qpu_s < 2**63
        assert 0 <= end.wall_s < 2**63

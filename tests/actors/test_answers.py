"""Whatever a child says is read, refused, or cut to size."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.actors.answers import MadeWay, error_of, profile_of, run_end_of
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
    assert run_end_of(said, may_leave=True) == MadeWay(b"kept", 0.5, 1.0)
    assert isinstance(run_end_of(said), ErrorInfo)


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
    end = run_end_of({"error": said, "results": results, "qpu_s": qpu_s, "wall_s": wall_s})
    if not isinstance(end, ErrorInfo):
        assert isinstance(end.results, bytes)
        assert 0 <= end.qpu_s < 2**63
        assert 0 <= end.wall_s < 2**63

"""A group's run on an agent: whatever is stopped or made way for, nothing is done twice and nothing overlaps."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.model import Group, Member
from qrtx_ray.simulation.runs import Ending, Run, SliceLaw

LAW = SliceLaw(1.0, 0.05, 0.2)


def run(*lengths, progress=0.0, now=0.0) -> Run:
    members = tuple(Member(f"{i}", 1, 7, 300.0) for i in range(len(lengths)))
    return Run(Group("g", "d", members), [(m, s, progress) for m, s in zip(members, lengths, strict=True)], LAW, now)


def test_members_run_one_after_another():
    legs = run(2.0, 3.0).legs
    assert [(leg.starts, leg.ends) for leg in legs] == [(0.0, 2.0), (2.0, 5.0)]


def test_kept_progress_shortens_the_work_and_costs_a_restart():
    (leg,) = run(10.0, progress=0.25).legs
    assert leg.length_s == pytest.approx(7.5 + LAW.restart_s)


@pytest.mark.parametrize(("now", "boundary", "progress"), [(2.3, 3.0, 0.3), (3.0, 3.0, 0.3), (0.0, 0.0, 0.0)])
def test_who_makes_way_works_to_the_end_of_the_slice_and_keeps_that(now, boundary, progress):
    made = run(10.0, 4.0)
    assert made.preempt("0", 1, now, LAW)
    first, second = made.legs
    kept_at = boundary + (LAW.checkpoint_s if now else 0.0)
    assert (first.ends, first.progress, first.ending) == (kept_at, pytest.approx(progress), Ending.PREEMPTED)
    assert (second.starts, second.length_s) == (kept_at, pytest.approx(4.0))


def test_who_is_nearly_done_is_let_finish():
    made = run(3.04)
    assert not made.preempt("0", 1, 2.5, LAW)
    assert made.legs[0].ending is Ending.DONE


def test_a_stop_ends_at_once_and_what_is_past_stays():
    made = run(2.0, 2.0, 2.0)
    assert not made.stop("0", 1, 3.0)
    assert made.stop("1", 1, 3.0)
    assert made.stop("2", 1, 3.5)
    assert [leg.ending for leg in made.legs] == [Ending.DONE, Ending.STOPPED, Ending.STOPPED]
    assert [leg.ends for leg in made.legs] == [2.0, 3.0, 3.5]


def test_another_attempt_is_not_meant():
    made = run(2.0)
    assert not made.stop("0", 2, 1.0)
    assert not made.preempt("1", 1, 1.0, LAW)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    lengths=st.lists(st.floats(0.01, 20.0), min_size=1, max_size=6),
    orders=st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.floats(0.0, 60.0)), max_size=8),
)
def test_legs_follow_one_another_and_no_work_is_counted_twice(lengths, orders):
    made = run(*lengths)
    for stops, who, now in sorted(orders, key=lambda order: order[2]):
        before = made.version
        changed = made.stop(f"{who}", 1, now) if stops else made.preempt(f"{who}", 1, now, LAW)
        assert changed == (made.version > before)
    clock = 0.0
    for leg, seconds in zip(made.legs, lengths, strict=True):
        assert leg.starts == pytest.approx(clock, abs=1e-6)
        assert leg.length_s >= -1e-9
        assert 0.0 <= leg.progress <= 1.0
        if leg.ending is Ending.PREEMPTED:
            assert leg.progress * seconds <= leg.length_s + 1e-6
        if leg.ending is Ending.DONE:
            assert leg.length_s == pytest.approx(seconds)
        clock = leg.ends
    assert made.ends <= sum(lengths) + LAW.checkpoint_s + 1e-6

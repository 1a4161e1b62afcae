"""Waiting lines, timers and record copies against naive models."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.model import JobRecord, PayloadFormat, Program, TaskState
from qrtx_ray.scheduler import queues
from qrtx_ray.scheduler.job import evolve
from qrtx_ray.scheduler.queues import WaitingLine, waiting_key
from qrtx_ray.scheduler.timers import Timers

KEYS = st.integers(0, 60)


def record(**fields_) -> JobRecord:
    return replace(JobRecord("j", 1, "t", Program.SAMPLER, "d", PayloadFormat.NATIVE, 0.0, 1), **fields_)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.lists(st.tuples(st.booleans(), KEYS), max_size=80))
def test_a_line_behaves_like_a_sorted_set(steps):
    block, queues._BLOCK = queues._BLOCK, 3  # small blocks, so that few keys split and empty many
    try:
        line, model = WaitingLine(), set()
        for add, key in steps:
            if add and key not in model:
                line.add(key)
                model.add(key)
            elif not add:
                assert line.discard(key) == (key in model)
                model.discard(key)
            assert list(line) == sorted(model)
            assert len(line) == len(model)
            assert line.first() == min(model, default=None)
            assert [line.ahead_of(k) for k in (0, key, 61)] == [sum(m < k for m in model) for k in (0, key, 61)]
            assert (key in line) == (key in model)
    finally:
        queues._BLOCK = block


def test_a_key_cannot_be_added_twice():
    line = WaitingLine()
    line.add(3)
    with pytest.raises(ValueError, match="already"):
        line.add(3)
    assert len(line) == 1


def test_levels_go_before_numbers_and_numbers_count_inside_a_level():
    order = [record(priority=95, number=9), record(priority=70, number=8), record(number=2), record(number=3)]
    order.append(record(priority=0, number=1))
    assert sorted(order, key=waiting_key) == order


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.integers(0, 9)), max_size=300), st.integers(0, 9))
def test_timers_fire_the_last_deadline_of_each_job_in_order(steps, now):
    timers, model = Timers(), {}
    for job, due in steps:
        timers.arm(job, due)
        model[job] = due
        assert timers.next_due() == min((d for d in model.values() if d is not None), default=None)
        assert timers.due(job) == due
    fired = []
    while (job := timers.pop_due(now)) is not None:
        fired.append((model.pop(job), job))
    assert fired == sorted(fired)
    assert len(timers) == sum(due is not None for due in model.values())
    assert all(due is None or due > now for due in model.values())


def test_dead_deadlines_do_not_pile_up():
    timers = Timers()
    for i in range(10_000):
        timers.arm(f"{i}", 1e9)
        timers.arm(f"{i}", None)
    assert len(timers._heap) < 200


def test_a_copied_record_is_what_replace_makes_and_stays_frozen():
    old = record(tags=("a",), profile=None)
    new = evolve(old, {"state": TaskState.QUEUED, "version": 2, "error": None})
    assert new == replace(old, state=TaskState.QUEUED, version=2)
    assert old == record(tags=("a",))
    assert type(new) is JobRecord
    assert all(getattr(new, f.name) == getattr(old, f.name) for f in fields(old) if f.name not in {"state", "version"})
    with pytest.raises(AttributeError):
        new.version = 3
    assert new.level == old.level

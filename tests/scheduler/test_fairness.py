"""Nobody starves, and tenants get what they are due."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.scheduler.levels import LevelPolicy
from qrtx_ray.scheduler.preemption import PreemptionLaw
from qrtx_ray.scheduler.tenants import TenantPolicy
from tests.scheduler.stage import Stage

LEVELS = (LevelPolicy(10.0, 6.0), LevelPolicy(7.0, 10.0), LevelPolicy(5.0, 20.0), LevelPolicy(1.0, 40.0))
SLICE_S = 1.0


def flooded(aging, seed, lows, stream, seconds=110):
    """One agent that runs one job a second, twice as many urgent jobs as it can run, and now and then a low one."""
    draw = random.Random(seed)
    stage = Stage(
        levels=LEVELS,
        aging=aging,
        queue_timeout_s=None,
        max_queue_size=10**6,
        max_group_jobs=1,
        max_groups_per_agent=1,
        preemption=PreemptionLaw(enabled=False),
    )
    came: dict[str, float] = {}
    for second in range(seconds):
        for _ in range(2):
            stage.submit(f"urgent{draw.randrange(3)}", draw.choice(stream))
        if second in lows:
            came[stage.submit(lows[second], draw.choice((5, 20)))] = stage.now
        stage.tick()
        stage.finish("a0")
        stage.offer("a0")
        stage.now += SLICE_S
    return stage, came


@settings(deadline=None, derandomize=True, max_examples=20)
@given(
    aging=st.booleans(),
    seed=st.integers(0, 2**32),
    starts=st.lists(st.integers(0, 65), max_size=20, unique_by=lambda second: second // 2),
    stream=st.sampled_from([(95,), (75,), (95, 75), (95, 75, 50)]),
)
def test_no_low_job_waits_longer_than_its_level_allows_and_one_slice(aging, seed, starts, stream):
    # They come two slices apart: two that are overdue at once cannot both be the next.
    lows = {start // 2 * 2: f"low{start % 4}" for start in starts}
    stage, came = flooded(aging, seed, lows, stream)
    for job, at in came.items():
        assert stage.dispatched[job] - at <= LEVELS[3].max_wait_s + SLICE_S


def test_low_jobs_that_come_together_are_overdue_together_and_go_one_after_the_other():
    stage, came = flooded(True, 1, {}, (95,), seconds=5)
    start = stage.now
    lows = [stage.submit(f"low{number % 3}", 5) for number in range(10)]
    for _ in range(60):
        stage.submit("urgent", 95)
        stage.submit("urgent", 95)
        stage.tick()
        stage.finish("a0")
        stage.offer("a0")
        stage.now += SLICE_S
    waits = sorted(stage.dispatched[job] - start for job in lows)
    assert waits[-1] <= LEVELS[3].max_wait_s + 10 * SLICE_S
    assert came == {}


def test_without_promotion_the_same_stream_does_starve_them():
    """The bound above is worth something only if it does not hold by itself."""
    forever = tuple(LevelPolicy(level.weight, None) for level in LEVELS)
    stage = Stage(levels=forever, queue_timeout_s=None, max_group_jobs=1, max_groups_per_agent=1)
    stage.submit("urgent", 95)
    low = stage.submit("low", 5)
    for _ in range(150):
        stage.submit("urgent", 95)
        stage.submit("urgent", 95)
        stage.finish("a0")
        stage.offer("a0")
        stage.now += SLICE_S
    assert low not in stage.dispatched


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    weights=st.tuples(st.sampled_from([1.0, 2.0, 5.0]), st.sampled_from([1.0, 3.0])),
    seed=st.integers(0, 2**32),
    capacity=st.sampled_from([1, 4]),
)
def test_while_two_tenants_wait_their_use_for_their_weight_differs_by_one_job_at_most(weights, seed, capacity):
    draw = random.Random(seed)
    policies = {name: TenantPolicy(weight) for name, weight in zip("ab", weights, strict=True)}
    stage = Stage(1, 2, tenants=policies, half_life_s=1e12, queue_timeout_s=None, aging=False)
    used, dearest = {"a": 0.0, "b": 0.0}, 8.0
    for _ in range(30):
        stage.submit("a", qpu_s=draw.uniform(0.5, dearest))
        stage.submit("b", qpu_s=draw.uniform(0.5, dearest))
    waiting = 60
    for _ in range(40):
        agent = f"a{draw.randrange(2)}"
        stage.finish(agent)
        stage.offer(agent, capacity)
        gone = [stage.records[job] for job in stage.dispatched]
        used = {name: sum(stage.profiles[r.id].qpu_s for r in gone if r.tenant == name) for name in "ab"}
        waiting = [sum(r.tenant == name for r in gone) for name in "ab"]
        if max(waiting) >= 30:
            break
        gap = abs(used["a"] / weights[0] - used["b"] / weights[1])
        assert gap <= dearest / min(weights)


@pytest.mark.parametrize("half_life_s", [300.0, 1e9])
def test_shares_of_one_to_three_give_qpu_time_of_one_to_three(half_life_s):
    draw = random.Random(5)
    policies = {"a": TenantPolicy(1.0), "b": TenantPolicy(3.0)}
    stage = Stage(
        tenants=policies, half_life_s=half_life_s, queue_timeout_s=None, max_group_jobs=1, max_groups_per_agent=1
    )
    used = {"a": 0.0, "b": 0.0}
    for step in range(600):
        for tenant in "ab":
            stage.submit(tenant, qpu_s=draw.choice((1.0, 2.0, 5.0)))
        for job in stage.finish("a0"):
            if step > 100:
                used[stage.records[job].tenant] += stage.profiles[job].qpu_s
        stage.offer("a0")
        stage.now += 1.0
    assert used["b"] / used["a"] == pytest.approx(3.0, rel=0.05)


def test_priority_is_honoured_across_tenants_whatever_they_have_used():
    stage = Stage(tenants={"rich": TenantPolicy(100.0)}, queue_timeout_s=None, max_group_jobs=1, max_groups_per_agent=1)
    for _ in range(20):
        stage.submit("heavy", 50, qpu_s=100.0)
        stage.finish("a0")
        stage.offer("a0")
    stage.submit("heavy", 50)
    waiting = stage.submit("rich", 50)
    urgent = stage.submit("heavy", 80)
    stage.finish("a0")
    stage.offer("a0")
    assert urgent in stage.dispatched
    assert waiting not in stage.dispatched


def test_a_tenant_that_comes_back_is_not_held_to_what_it_used_long_ago():
    stage = Stage(half_life_s=10.0, queue_timeout_s=None, max_group_jobs=1, max_groups_per_agent=1)
    for _ in range(10):
        stage.submit("old", qpu_s=50.0)
        stage.finish("a0")
        stage.offer("a0")
    stage.now += 200.0  # of its 500 s of use, a millionth is left
    stage.submit("other", qpu_s=5.0)
    first, second = stage.submit("other"), stage.submit("old")
    stage.finish("a0")
    stage.offer("a0")
    assert second in stage.dispatched
    assert first not in stage.dispatched

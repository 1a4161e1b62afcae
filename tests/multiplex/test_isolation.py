"""Who may share a group with whom."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.multiplex.isolation import isolated
from qrtx_ray.scheduler.policies import MultiplexingPolicy, NoiseAwarePolicy, PriorityPolicy, check_policy
from qrtx_ray.scheduler.policies.protocol import Fleet, GroupLimits, Option
from tests.actors.building import PROFILE, record

LIMITS = GroupLimits(jobs=8, seconds=1.0, bytes=10**9)
STRONG = isolated(PriorityPolicy(), "strong")


def line(tenants: str):
    return [record(n + 1, tenant=tenant, profile=PROFILE) for n, tenant in enumerate(tenants)]


def test_strong_isolation_takes_only_kin_of_the_head_in_their_order():
    chosen = STRONG.choose_group(line("abacab"), LIMITS)
    assert [job.number for job in chosen] == [1, 3, 5]


def test_moderate_isolation_takes_whoever_is_next():
    moderate = isolated(PriorityPolicy(), "moderate")
    assert [job.number for job in moderate.choose_group(line("abac"), LIMITS)] == [1, 2, 3, 4]


def test_isolation_leaves_everything_else_to_the_policy():
    policy = NoiseAwarePolicy()
    strong = isolated(policy, "strong")
    options = [Option("a", 5, 0.9), Option("b", 5, 0.8)]
    assert strong.name == policy.name
    assert strong.place(record(1), options, Fleet(0.0, 0.0)) == policy.place(record(1), options, Fleet(0.0, 0.0))


def test_an_isolated_policy_keeps_the_rules_of_policies():
    for policy in (PriorityPolicy(), NoiseAwarePolicy(), MultiplexingPolicy()):
        check_policy(isolated(policy, "strong"))


@settings(deadline=None, derandomize=True)
@given(tenants=st.text("abc", min_size=1, max_size=30), jobs=st.integers(1, 8))
def test_a_strongly_isolated_group_is_of_one_tenant_begins_with_the_head_and_keeps_the_bound(tenants, jobs):
    chosen = STRONG.choose_group(line(tenants), GroupLimits(jobs, 1.0, 10**9))
    assert chosen[0].number == 1
    assert {job.tenant for job in chosen} == {tenants[0]}
    assert len(chosen) == min(jobs, tenants.count(tenants[0]))

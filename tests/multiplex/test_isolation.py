"""Who may share a group with whom."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.multiplex.isolation import isolation_policy, one_tenant
from qrtx_ray.scheduler.dispatch import GroupLimits, choose_group
from tests.actors.building import PROFILE, record

LIMITS = GroupLimits(jobs=8, seconds=1.0, bytes=10**9)


def line(tenants: str):
    return [record(n + 1, tenant=tenant, profile=PROFILE) for n, tenant in enumerate(tenants)]


def test_strong_isolation_takes_only_kin_of_the_head_in_their_order():
    chosen = one_tenant(line("abacab"), LIMITS)
    assert [job.number for job in chosen] == [1, 3, 5]


def test_moderate_isolation_takes_whoever_is_next():
    assert [job.number for job in choose_group(line("abac"), LIMITS)] == [1, 2, 3, 4]


def test_the_levels_of_the_configuration_have_their_policies():
    assert isolation_policy("strong") is one_tenant
    assert isolation_policy("moderate") is choose_group


@settings(deadline=None, derandomize=True)
@given(tenants=st.text("abc", min_size=1, max_size=30), jobs=st.integers(1, 8))
def test_a_strongly_isolated_group_is_of_one_tenant_begins_with_the_head_and_keeps_the_bound(tenants, jobs):
    chosen = one_tenant(line(tenants), GroupLimits(jobs, 1.0, 10**9))
    assert chosen[0].number == 1
    assert {job.tenant for job in chosen} == {tenants[0]}
    assert len(chosen) == min(jobs, tenants.count(tenants[0]))

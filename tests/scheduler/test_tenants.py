"""The ledger of what tenants have had: use that fades, quotas by period, facts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.scheduler.tenants import TenantPolicy, Tenants

HALF_LIFE = 100.0


def ledger(half_life_s=HALF_LIFE, **policies) -> Tenants:
    return Tenants(half_life_s, policies, TenantPolicy())


def test_use_counts_half_after_a_half_life():
    tenants = ledger()
    a = tenants.account("a")
    tenants.charge(a, 8.0, 1_000.0)
    assert tenants.usage_s(a, 1_000.0) == 8.0
    assert tenants.usage_s(a, 1_100.0) == pytest.approx(4.0)
    tenants.charge(a, 1.0, 1_100.0)
    assert tenants.usage_s(a, 1_300.0) == pytest.approx(1.25)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1e5), st.sampled_from([0.0, 1.0, 90.0, 9e4])), max_size=40)
)
def test_the_ledger_agrees_with_use_that_is_made_to_fade_at_every_step(steps):
    tenants, model, now = ledger(), {}, 1.7e9
    for name, qpu_s, wait_s in steps:
        now += wait_s
        model = {tenant: used * 2.0 ** (-wait_s / HALF_LIFE) for tenant, used in model.items()}
        model[name] = model.get(name, 0.0) + qpu_s
        tenants.charge(tenants.account(name), qpu_s, now)
        for tenant, used in model.items():
            assert tenants.usage_s(tenants.account(tenant), now) == pytest.approx(used, rel=1e-9, abs=1e-60)


def test_nothing_overflows_in_a_million_half_lives_and_the_order_stays():
    tenants = ledger(half_life_s=1.0)
    a, b = tenants.account("a"), tenants.account("b")
    tenants.arrived(a)
    tenants.arrived(b)
    now = 1.7e9
    for _ in range(3_000):
        now += 333.3
        tenants.charge(a, 2.0, now)
        tenants.charge(b, 1.0, now)
        assert [place[2].name for place in tenants.order] == ["b", "a"]
        assert tenants.order == sorted(tenants.order)
    assert tenants.usage_s(a, now) == pytest.approx(2.0)


def test_tenants_stand_in_order_only_while_they_wait_and_may_go():
    tenants = ledger(a=TenantPolicy(max_running=1))
    a = tenants.account("a")
    assert tenants.order == []
    tenants.arrived(a)
    tenants.arrived(a)
    assert [place[2] for place in tenants.order] == [a]
    tenants.begin(a, 10, 1.0)
    tenants.left(a)
    assert a.full
    assert tenants.order == []
    tenants.end(a, 10, 2.0)
    assert [place[2] for place in tenants.order] == [a]
    tenants.left(a)
    assert tenants.order == []


def test_equal_tenants_take_turns():
    tenants = ledger()
    for name in "abc":
        tenants.arrived(tenants.account(name))
    served = []
    for now in range(6):
        account = tenants.order[0][2]
        served.append(account.name)
        tenants.begin(account, 0, float(now))
    assert served == list("abcabc")


def test_a_period_counts_exactly_and_begins_anew():
    tenants = ledger(a=TenantPolicy(max_qpu_s=10.0, period_s=60.0))
    a = tenants.account("a")
    for second in range(59):
        tenants.charge(a, 0.125, 120.0 + second)
    assert tenants.used_in_period_s(a, 179.9) == 59 * 0.125
    assert tenants.used_in_period_s(a, 180.0) == 0.0
    tenants.charge(a, 1.0, 181.0)
    assert tenants.used_in_period_s(a, 181.0) == 1.0


def test_facts_are_written_once_a_minute_and_at_once_where_a_quota_counts():
    tenants = ledger(strict=TenantPolicy(max_qpu_s=10.0))
    for name in ("lax", "strict"):
        tenants.charge(tenants.account(name), 1.0, 1_000.0)
    assert [key for key, _ in tenants.facts(1_000.0)] == ["usage/strict"]
    assert tenants.facts(1_059.0) == []
    tenants.charge(tenants.account("lax"), 1.0, 1_059.0)
    assert [key for key, _ in tenants.facts(1_060.0)] == ["usage/lax"]
    assert tenants.facts(1_200.0) == []
    tenants.charge(tenants.account("lax"), 1.0, 1_201.0)
    assert tenants.facts(1_202.0) == []


def test_many_facts_are_spread_over_events():
    tenants = ledger()
    for number in range(20):
        tenants.charge(tenants.account(f"t{number:02}"), 1.0, 1_000.0)
    sizes = [len(tenants.facts(1_060.0)) for _ in range(4)]
    assert sizes == [8, 8, 4, 0]


def test_a_ledger_comes_back_from_its_facts():
    policy = TenantPolicy(max_qpu_s=10.0, period_s=1_000.0)
    old = ledger(a=policy)
    old.charge(old.account("a"), 4.0, 1_100.0)
    facts = dict(old.facts(1_100.0))
    new = ledger(a=policy)
    new.restore(facts, 1_200.0)
    assert new.usage_s(new.account("a"), 1_200.0) == pytest.approx(2.0)
    assert new.used_in_period_s(new.account("a"), 1_200.0) == 4.0
    assert new.used_in_period_s(new.account("a"), 2_000.0) == 0.0
    longer = ledger(a=TenantPolicy(max_qpu_s=10.0, period_s=5_000.0))
    longer.restore(facts, 1_200.0)
    assert longer.used_in_period_s(longer.account("a"), 1_200.0) == 0.0, "another period counts anew"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "null",
        json.dumps({"at": "x"}),
        '{"at": 1, "usage_s": NaN, "period_s": 1, "period": 0, "period_qpu_s": 0}',
    ],
)
def test_facts_that_cannot_be_read_are_passed_over(text):
    tenants = ledger()
    tenants.restore({"usage/a": text, "device/x": text}, 1_000.0)
    assert tenants.usage_s(tenants.account("a"), 1_000.0) == 0.0
    assert set(tenants.accounts) == {"a"}


def test_what_costs_nothing_is_not_written():
    tenants = ledger()
    tenants.charge(tenants.account("a"), 0.0, 1_000.0)
    assert tenants.facts(2_000.0) == []

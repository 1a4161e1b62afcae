"""Policies: what each makes of the same options, and the check that all of them pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.errors import ValidationError
from qrtx_ray.model import JobRecord, PayloadFormat, Program
from qrtx_ray.scheduler.policies import (
    POLICIES,
    Fleet,
    GroupLimits,
    HybridPolicy,
    MultiplexingPolicy,
    NoiseAwarePolicy,
    Option,
    PriorityPolicy,
    check_policy,
)
from tests.scheduler.driving import profile

JOB = JobRecord("j", 1, "t", Program.SAMPLER, "auto", PayloadFormat.NATIVE, 0.0, 1, profile=profile())
CALM, FULL = Fleet(0.0, 0.5), Fleet(0.0, 0.81)


def best(policy, *options, job=JOB, fleet=CALM) -> str:
    return policy.place(job, options, fleet)[0].device


@pytest.mark.parametrize("kind", POLICIES.values(), ids=list(POLICIES))
def test_every_policy_of_the_house_keeps_the_rules(kind):
    check_policy(kind())
    assert POLICIES[kind().name] is kind


class Broken(PriorityPolicy):
    def place(self, job, options, fleet):
        return super().place(job, options, fleet)[::-1]


class Forgetful(PriorityPolicy):
    def place(self, job, options, fleet):
        return super().place(job, options, fleet)[:1]


class Partial(PriorityPolicy):
    def choose_group(self, candidates, limits):
        return list(candidates)[1:3]


class Greedy(PriorityPolicy):
    def choose_group(self, candidates, limits):
        return list(candidates)


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (Broken, "refused options last|falling score"),
        (Forgetful, "every option once"),
        (Partial, "first"),
        (Greedy, "jobs"),
    ],
)
def test_the_check_tells_which_rule_a_policy_breaks(kind, rule):
    with pytest.raises(ValidationError, match=rule):
        check_policy(kind())


def test_priority_takes_the_shortest_wait():
    assert best(PriorityPolicy(), Option("a", wait_s=9.0), Option("b", wait_s=2.0), Option("c", wait_s=5.0)) == "b"


def test_equal_scores_go_by_name():
    assert best(PriorityPolicy(), Option("b"), Option("a")) == "a"


def test_a_device_without_agents_is_taken_only_where_no_other_will_do():
    gone, there = Option("a", online=False), Option("b", wait_s=1e9)
    scored = PriorityPolicy().place(JOB, (gone, there), CALM)
    assert [(s.device, s.refusal) for s in scored] == [("b", ""), ("a", "it takes no work now")]
    assert best(PriorityPolicy(), gone, Option("c", refusal="too small")) == "a"


def test_noise_aware_returns_the_parts_of_its_score_by_name():
    option = Option("a", fidelity=0.9, utilisation=0.5, wait_s=30.0, stale=True)
    (scored,) = NoiseAwarePolicy().place(JOB, (option,), CALM)
    assert dict(scored.contributions) == {
        "fidelity": 0.9,
        "calibration": -0.1,
        "utilisation": pytest.approx(-0.025),
        "waiting": pytest.approx(-1.0),
    }
    assert scored.score == pytest.approx(0.9 - 0.1 - 0.025 - 1.0)


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ({"fidelity": 0.90}, {"fidelity": 0.91}),
        ({"fidelity": 0.95, "stale": True}, {"fidelity": 0.90}),
        ({"fidelity": 0.95, "calibrating": True}, {"fidelity": 0.90}),
        ({"fidelity": 0.93, "utilisation": 1.0}, {"fidelity": 0.90}),
        ({"fidelity": 0.95, "wait_s": 600.0}, {"fidelity": 0.90}),
    ],
)
def test_every_penalty_can_turn_a_decision(worse, better):
    assert best(NoiseAwarePolicy(), Option("a", **worse), Option("b", **better)) == "b"
    weightless = NoiseAwarePolicy(0.0, 0.0, 0.0)
    assert (best(weightless, Option("a", **worse), Option("b", **better)) == "a") == (
        worse["fidelity"] > better["fidelity"]
    )


def test_noise_aware_filters_by_what_the_job_can_bear():
    job = replace(JOB, fidelity_floor=0.92)
    scored = NoiseAwarePolicy().place(job, (Option("a", fidelity=0.91), Option("b", fidelity=0.93, wait_s=1e6)), CALM)
    assert [s.device for s in scored] == ["b", "a"]
    assert scored[1].refusal == "predicted fidelity 0.9100 is below fidelity_floor 0.9200"


def test_a_device_without_noise_is_perfect():
    assert best(NoiseAwarePolicy(), Option("a", fidelity=0.999), Option("b", fidelity=None)) == "b"


def test_hybrid_switches_under_load():
    faithful, idle = Option("a", 5, fidelity=0.95, wait_s=3.0), Option("b", 5, fidelity=0.6)
    policy = HybridPolicy()
    assert best(policy, faithful, idle, fleet=CALM) == "a"
    assert best(policy, faithful, idle, fleet=FULL) == "b"
    assert policy.place(JOB, (idle,), FULL)[0].policy == "multiplexing"


def test_hybrid_groups_as_its_fallback_does_where_the_line_is_long():
    policy = HybridPolicy(PriorityPolicy(), MultiplexingPolicy(max_circuits_per_device=2))
    limits = GroupLimits(4, 10.0, 10**9)
    assert len(policy.choose_group(line(*[{}] * 4), limits)) == 4
    assert len(policy.choose_group(line(*[{}] * 5), limits)) == 2


def line(*fields, **record):
    return [replace(JOB, id=str(i), number=i, profile=profile(**one), **record) for i, one in enumerate(fields)]


def ids(members):
    return [member.id for member in members]


def test_multiplexing_fills_the_device_and_passes_over_what_does_not_fit():
    jobs = line({"active_qubits": 3}, {"active_qubits": 3}, {"active_qubits": 2}, {"active_qubits": 1})
    policy = MultiplexingPolicy()
    assert ids(policy.choose_group(jobs, GroupLimits(8, 10.0, 10**9, qubits=5))) == ["0", "2"]
    assert ids(policy.choose_group(jobs, GroupLimits(8, 10.0, 10**9, qubits=27))) == list("0123")


def test_multiplexing_joins_jobs_of_like_shots_and_length():
    policy, limits = MultiplexingPolicy(), GroupLimits(8, 100.0, 10**9, qubits=100)
    assert ids(policy.choose_group(line({"shots": 1000}, {"shots": 2001}, {"shots": 500}), limits)) == ["0", "2"]
    slow = line({"estimated_s": 1.0}, {"estimated_s": 4.1}, {"estimated_s": 3.9})
    assert ids(policy.choose_group(slow, limits)) == ["0", "2"]


def test_multiplexing_leaves_suspects_alone():
    policy, limits = MultiplexingPolicy(), GroupLimits(8, 100.0, 10**9)
    assert ids(policy.choose_group([*line({}, attempt=1, losses=1), *line({}, {})], limits)) == ["0"]
    assert len(policy.choose_group(line({}, {}, attempt=3, preemptions=1), limits)) == 2


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4), st.floats(0.01, 2)), min_size=1, max_size=12),
    st.sampled_from(list(POLICIES.values())),
)
def test_groups_of_every_policy_keep_the_bounds(jobs, kind):
    waiting = line(*[{"active_qubits": q, "shots": 1000 * s, "estimated_s": t} for q, s, t in jobs])
    limits = GroupLimits(5, 3.0, 10**9, qubits=7)
    group = kind().choose_group(waiting, limits)
    assert ids(group[:1]) == ["0"]
    assert len(group) <= 5
    if len(group) > 1:
        assert sum(r.profile.estimated_s for r in group) <= 3.0
        if kind is MultiplexingPolicy:
            assert sum(r.profile.active_qubits for r in group) <= 7

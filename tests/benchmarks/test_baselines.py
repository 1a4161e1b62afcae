"""The baselines of the placement figures are policies like any other, and choose as their names say."""

from __future__ import annotations

import pytest

from benchmarks.baselines import BASELINES, BEST_DEVICE_ONLY, LEAST_LOADED, ROUND_ROBIN
from qrtx_ray.model import JobRecord, PayloadFormat, Program
from qrtx_ray.scheduler.policies import Fleet, Option, check_policy

OPTIONS = (
    Option("a", fidelity=0.9, wait_s=9.0),
    Option("b", fidelity=0.8, wait_s=1.0),
    Option("c", fidelity=0.99, refusal="too narrow"),
    Option("d", fidelity=0.7, wait_s=5.0),
)


def chosen(policy, number=1):
    job = JobRecord(f"j{number}", number, "t", Program.SAMPLER, "auto", PayloadFormat.NATIVE, 0.0, 7)
    return policy.place(job, OPTIONS, Fleet(0.0, 0.5))[0].device


@pytest.mark.parametrize("policy", BASELINES, ids=lambda policy: policy.name)
def test_a_baseline_keeps_the_rules_of_policies(policy):
    check_policy(policy)


def test_each_chooses_as_its_name_says():
    assert chosen(BEST_DEVICE_ONLY) == "a"
    assert chosen(LEAST_LOADED) == "b"
    assert [chosen(ROUND_ROBIN, number) for number in range(1, 9)] == ["b", "d", "d", "a", "b", "d", "d", "a"]

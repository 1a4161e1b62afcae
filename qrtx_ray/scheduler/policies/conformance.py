"""Does a policy keep what the scheduler relies on? For the makers of policies, and for ours."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, permutations

from qrtx_ray.errors import ValidationError
from qrtx_ray.model import CircuitProfile, JobRecord, PayloadFormat, Program
from qrtx_ray.scheduler.policies.protocol import Fleet, GroupLimits, Option, Policy

__all__ = ["check_policy"]

_PROFILE = CircuitProfile(2, 4, 2, 1, 1000, 0.1, 1000, 2.5, "key", "calibration", "engine", 0.9, 0.5)
_JOB = JobRecord("job", 1, "tenant", Program.SAMPLER, "a", PayloadFormat.NATIVE, 0.0, 7, profile=_PROFILE)
_OPTIONS = (
    Option("a", 5, 0.95, 2.0, 0.1, utilisation=1.0, wait_s=30.0),
    Option("b", 27, 0.90, 2.0, 0.1),
    Option("c", 127, None, 2.0, 0.1, stale=True, utilisation=0.5, wait_s=1e6),
    Option("d", 2, refusal="too few qubits"),
    Option("e", 27, 0.99, 2.0, 0.1, online=False, calibrating=True),
)


def check_policy(policy: Policy) -> None:
    """Try `policy` on small cases.

    Raises:
        ValidationError: It breaks one of the rules of `Policy`; says which.
    """
    _must(isinstance(policy.name, str) and policy.name != "", "name must be a text that is not empty")
    for job in (_JOB, replace(_JOB, fidelity_floor=0.93), replace(_JOB, fidelity_floor=1.0, priority=95)):
        for load in (0.0, 1.0):
            for count in range(len(_OPTIONS) + 1):
                _check_place(policy, job, _OPTIONS[:count], Fleet(1000.0, load))
    line = [replace(_JOB, id=str(i), number=i, losses=int(i == 6), profile=_varied(i)) for i in range(12)]
    for limits in (GroupLimits(1, 1.0, 10_000), GroupLimits(4, 0.25, 2_500, across_keys=False, qubits=5)):
        _must(policy.choose_group(iter(()), limits) == [], "choose_group takes nobody where nobody waits")
        for start in range(len(line)):
            _check_group(policy, line[start:], limits)


def _varied(index: int) -> CircuitProfile:
    return replace(
        _PROFILE,
        active_qubits=1 + index % 4,
        shots=1000 * (1 + index % 3),
        estimated_s=0.05 * (1 + index % 5),
        group_key=f"{index % 2}",
    )


def _must(holds: bool, rule: str) -> None:
    if not holds:
        raise ValidationError(f"the policy breaks a rule: {rule}", field="policy")


def _check_place(policy: Policy, job: JobRecord, options: tuple[Option, ...], fleet: Fleet) -> None:
    scored = policy.place(job, options, fleet)
    _must(sorted(s.device for s in scored) == sorted(o.device for o in options), "place returns every option once")
    _must(policy.place(job, options, fleet) == scored, "place answers the same question in the same way")
    good = [s for s in scored if not s.refusal]
    _must(scored[: len(good)] == good, "place puts the refused options last")
    _must(all(s.refusal for s in scored if s.device == "d"), "place refuses what cannot run the job")
    _must(all(one.score >= two.score for one, two in pairwise(good)), "place sorts by falling score")
    for s in good:
        total = sum(part for _, part in s.contributions)
        _must(abs(total - s.score) <= 1e-9 * max(1.0, abs(total)), "a score is the sum of its contributions")
    if len(options) <= 3:
        others = [policy.place(job, order, fleet) for order in permutations(options)]
        best = [[s for s in other if not s.refusal][:1] for other in others]
        _must(all(first == good[:1] for first in best), "the best does not depend on the order of the options")


def _check_group(policy: Policy, line: list[JobRecord], limits: GroupLimits) -> None:
    group = policy.choose_group(iter(line), limits)
    ids = [record.id for record in group]
    _must(ids[:1] == [line[0].id], "choose_group takes the first of the line")
    _must(len(set(ids)) == len(ids) <= limits.jobs, "choose_group takes at most limits.jobs, each once")
    _must(all(record in line for record in group), "choose_group takes jobs of the line only")
    _must(policy.choose_group(iter(line), limits) == group, "choose_group answers the same question in the same way")

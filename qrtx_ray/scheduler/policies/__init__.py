"""Where jobs go and who shares a run: one class for each way of deciding it.

A policy of one's own is a class with the three members of `Policy`; ``check_policy(MyPolicy())`` tells whether it keeps
the rules. An installed package offers it under a name by an entry point::

    [project.entry-points."qrtx_ray.policies"]
    mine = "my_package:MyPolicy"

and the configuration chooses it by that name. The scheduler's core is handed an instance and looks nothing up.
"""

from __future__ import annotations

from qrtx_ray.scheduler.policies.conformance import check_policy
from qrtx_ray.scheduler.policies.hybrid import HybridPolicy
from qrtx_ray.scheduler.policies.multiplexing import MultiplexingPolicy
from qrtx_ray.scheduler.policies.noise_aware import NoiseAwarePolicy
from qrtx_ray.scheduler.policies.priority import PriorityPolicy, choose_group
from qrtx_ray.scheduler.policies.protocol import Fleet, GroupLimits, GroupPolicy, Option, Policy, Scored

__all__ = [
    "POLICIES",
    "Fleet",
    "GroupLimits",
    "GroupPolicy",
    "HybridPolicy",
    "MultiplexingPolicy",
    "NoiseAwarePolicy",
    "Option",
    "Policy",
    "PriorityPolicy",
    "Scored",
    "check_policy",
    "choose_group",
]

POLICIES: dict[str, type[PriorityPolicy | NoiseAwarePolicy | MultiplexingPolicy | HybridPolicy]] = {
    kind.name: kind for kind in (PriorityPolicy, NoiseAwarePolicy, MultiplexingPolicy, HybridPolicy)
}
"""The policies of the house by name."""

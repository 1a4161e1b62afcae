"""Policies by name, as the configuration of the runtime names them."""

from __future__ import annotations

from importlib.metadata import entry_points

from qrtx_ray.errors import ValidationError
from qrtx_ray.scheduler.policies import POLICIES, Policy, check_policy

__all__ = ["policy_called"]

_GROUP = "qrtx_ray.policies"


def policy_called(name: str) -> Policy:
    """A policy of the house, or one that an installed package offers.

    Raises:
        ValidationError: There is none of that name, or it breaks the rules of policies.
    """
    if name in POLICIES:
        return POLICIES[name]()
    offered = {entry.name: entry for entry in entry_points(group=_GROUP)}
    if name not in offered:
        names = ", ".join([*POLICIES, *sorted(offered)])
        raise ValidationError(f"there is no scheduling policy {name!r}; there are {names}", field="policy", limit=names)
    policy: Policy = offered[name].load()()
    check_policy(policy)
    return policy

"""Isolation levels: who may share a group with whom.

``moderate``: jobs of different tenants may run in one engine call. Each has its own program, seed and random stream, and a
failing member is run again alone, so nothing of one shows in another's result; what remains shared is the time of the call.
``strong``: a group holds jobs of one tenant only.
"""

from __future__ import annotations

from collections.abc import Iterable

from qrtx_ray.model import JobRecord
from qrtx_ray.scheduler.dispatch import GroupLimits, GroupPolicy, choose_group

__all__ = ["isolation_policy", "one_tenant"]


def one_tenant(candidates: Iterable[JobRecord], limits: GroupLimits) -> list[JobRecord]:
    """The head of the line together with jobs of its own tenant; others keep their place."""
    tenant: str | None = None

    def kin() -> Iterable[JobRecord]:
        nonlocal tenant
        for record in candidates:
            tenant = tenant if tenant is not None else record.tenant
            if record.tenant == tenant:
                yield record

    return choose_group(kin(), limits)


def isolation_policy(level: str) -> GroupPolicy:
    """The policy for an isolation level of the configuration (``strong`` or ``moderate``)."""
    return one_tenant if level == "strong" else choose_group

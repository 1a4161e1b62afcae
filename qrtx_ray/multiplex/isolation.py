"""Isolation levels: who may share a group with whom.

``moderate``: jobs of different tenants may run in one engine call. Each has its own program, seed and random stream, and a
failing member is run again alone, so nothing of one shows in another's result; what remains shared is the time of the call.
``strong``: a group holds jobs of one tenant only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qrtx_ray.model import JobRecord
from qrtx_ray.scheduler.policies.protocol import Fleet, GroupLimits, Option, Policy, Scored

__all__ = ["OneTenant", "isolated"]


class OneTenant:
    """A policy that forms groups of one tenant's jobs: the head of the line with those of its kin that another policy
    takes; others keep their place.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    @property
    def name(self) -> str:
        return self._policy.name

    def place(self, job: JobRecord, options: Sequence[Option], fleet: Fleet) -> list[Scored]:
        return self._policy.place(job, options, fleet)

    def choose_group(self, candidates: Iterable[JobRecord], limits: GroupLimits) -> list[JobRecord]:
        return self._policy.choose_group(_kin(candidates), limits)


def _kin(candidates: Iterable[JobRecord]) -> Iterable[JobRecord]:
    tenant: str | None = None
    for record in candidates:
        tenant = record.tenant if tenant is None else tenant
        if record.tenant == tenant:
            yield record


def isolated(policy: Policy, level: str) -> Policy:
    """`policy` under an isolation level of the configuration (``strong`` or ``moderate``)."""
    return OneTenant(policy) if level == "strong" else policy

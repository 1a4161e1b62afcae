"""The plain policy: the shortest wait, first come first served."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qrtx_ray.model import JobRecord
from qrtx_ray.scheduler.policies.protocol import Fleet, GroupLimits, Option, Scored
from qrtx_ray.scheduler.policies.ranking import rank

__all__ = ["PriorityPolicy", "choose_group"]


class PriorityPolicy:
    """A job goes where it starts first, of the devices that can run it."""

    name = "priority"

    def place(self, job: JobRecord, options: Sequence[Option], fleet: Fleet) -> list[Scored]:  # noqa: ARG002
        return rank(self.name, options, lambda option: (("waiting_s", -option.wait_s),))

    def choose_group(self, candidates: Iterable[JobRecord], limits: GroupLimits) -> list[JobRecord]:
        return choose_group(candidates, limits)


def choose_group(candidates: Iterable[JobRecord], limits: GroupLimits) -> list[JobRecord]:
    """The head of the line, as far as it fits.

    The first job always goes, however large. Jobs of another key are passed over where keys may not mix; the first
    job that exceeds a sum ends the group, so that a large job is not overtaken for ever. A job that has a failed or
    lost attempt behind it goes alone: if it kills its agents, it takes nobody with it again. (One that merely made way
    did no harm.)
    """
    members: list[JobRecord] = []
    seconds, size, key = 0.0, 0, ""
    for record in candidates:
        profile = record.profile
        own_s, own_bytes, own_key = (
            (profile.estimated_s, profile.estimated_bytes, profile.group_key) if profile else (0.0, 0, "")
        )
        suspect = record.retries + record.losses > 0
        if not members:
            key = own_key
        elif suspect or seconds + own_s > limits.seconds or size + own_bytes > limits.bytes:
            break
        elif own_key != key and not limits.across_keys:
            continue
        members.append(record)
        seconds += own_s
        size += own_bytes
        if suspect or len(members) >= limits.jobs:
            break
    return members

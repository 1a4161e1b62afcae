"""Two policies in one: the better choice while there is room for it, the cheaper one under load."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qrtx_ray.model import JobRecord
from qrtx_ray.scheduler.policies.multiplexing import MultiplexingPolicy
from qrtx_ray.scheduler.policies.noise_aware import NoiseAwarePolicy
from qrtx_ray.scheduler.policies.protocol import Fleet, GroupLimits, Option, Policy, Scored

__all__ = ["HybridPolicy"]


class HybridPolicy:
    """`primary` decides until the load passes `switch_threshold`; then `fallback` does.

    Groups have no load beside them: a line that is longer than one group is what load means there.

    Args:
        primary / fallback: By default noise_aware and multiplexing.
        switch_threshold: Share of the agents in question that are at work, 0..1.
    """

    name = "hybrid"

    def __init__(
        self, primary: Policy | None = None, fallback: Policy | None = None, switch_threshold: float = 0.8
    ) -> None:
        self._primary = primary or NoiseAwarePolicy()
        self._fallback = fallback or MultiplexingPolicy()
        self._threshold = switch_threshold

    def place(self, job: JobRecord, options: Sequence[Option], fleet: Fleet) -> list[Scored]:
        policy = self._fallback if fleet.load > self._threshold else self._primary
        return policy.place(job, options, fleet)

    def choose_group(self, candidates: Iterable[JobRecord], limits: GroupLimits) -> list[JobRecord]:
        waiting = list(candidates)
        policy = self._fallback if len(waiting) > limits.jobs else self._primary
        return policy.choose_group(waiting, limits)

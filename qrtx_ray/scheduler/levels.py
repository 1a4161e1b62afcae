"""The four priority levels: what a job of each weighs, and what it gains by waiting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qrtx_ray.model import Level

__all__ = ["DEFAULT_LEVELS", "LevelPolicy", "aged_weight"]


@dataclass(frozen=True, slots=True)
class LevelPolicy:
    """What holds for the jobs of one level.

    Args:
        weight: Its rank, as a number that aging can bring nearer to that of critical.
        max_wait_s: A job that has waited longer goes before all that have not; None never promotes and never ages.
        preempts: Whether its jobs may stop running work of lower levels.
    """

    weight: float
    max_wait_s: float | None
    preempts: bool = False


DEFAULT_LEVELS = (
    LevelPolicy(10.0, 300.0, preempts=True),
    LevelPolicy(7.0, 900.0, preempts=True),
    LevelPolicy(5.0, 3_600.0),
    LevelPolicy(1.0, 86_400.0),
)  #: by `Level`: critical, high, normal, low


def aged_weight(levels: Sequence[LevelPolicy], level: int, wait_s: float) -> float:
    """The weight of a job of `level` that has waited for `wait_s`: that of critical when it has waited for `max_wait_s`."""
    policy = levels[level]
    if policy.max_wait_s is None:
        return policy.weight
    return policy.weight + (levels[Level.CRITICAL].weight - policy.weight) * max(wait_s, 0.0) / policy.max_wait_s

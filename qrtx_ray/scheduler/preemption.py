"""When running work makes way: the price of it, and whose is lowest. Numbers in, numbers out.

Stopping a group costs what is lost of it, the writing of its progress and, later, the start of the rest. That is worth
while only where enough remains to be done: the price is the cost over the remaining work. Runs are stopped at the end of
a slice, not in its midst, so nothing that was computed is lost; a run that turned out to keep nothing is not stopped
again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["PreemptionLaw", "Victim", "cheapest", "preemption_cost"]


@dataclass(frozen=True, slots=True)
class PreemptionLaw:
    """The numbers preemption is decided by.

    Args:
        enabled: Whether anything is ever preempted.
        cost_threshold: Highest price: (lost work + checkpoint + restart) / remaining work.
        min_wait_s: Work that ends sooner than this is waited for.
        max_per_job: How often one job may be made to make way.
        pause_s: Least time between two looks at the same device.
        slice_s: How long a slice is, and so how long a stop may take to act.
        lost_s / checkpoint_s / restart_s: What a stop loses, what keeping costs, what beginning again costs.
    """

    enabled: bool = True
    cost_threshold: float = 0.2
    min_wait_s: float = 0.75
    max_per_job: int = 3
    pause_s: float = 0.25
    slice_s: float = 1.0
    lost_s: float = 0.0
    checkpoint_s: float = 0.05
    restart_s: float = 0.2


@dataclass(frozen=True, slots=True)
class Victim:
    """What an agent holds and could be made to give back: its name, the remaining work in seconds, and whether any of it has
    begun.
    """

    agent: str
    remaining_s: float
    begun: bool


def preemption_cost(law: PreemptionLaw, remaining_s: float) -> float:
    """The price of stopping work of which `remaining_s` seconds remain; infinite where nothing remains."""
    if remaining_s <= 0.0:
        return math.inf
    return (law.lost_s + law.checkpoint_s + law.restart_s) / remaining_s


def cheapest(law: PreemptionLaw, victims: Iterable[Victim]) -> Victim | None:
    """The victim with the lowest price that is worth paying, or None.

    Work that has not begun costs nothing. Work that ends within `min_wait_s` is not worth stopping, begun or not; equal
    prices go by the agent's name.
    """
    best: tuple[float, str] | None = None
    found = None
    for victim in victims:
        if victim.remaining_s <= law.min_wait_s:
            continue
        price = preemption_cost(law, victim.remaining_s) if victim.begun else 0.0
        if price <= law.cost_threshold and (best is None or (price, victim.agent) < best):
            best, found = (price, victim.agent), victim
    return found

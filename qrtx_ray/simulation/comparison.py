"""The same trace under several policies and settings, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from qrtx_ray.scheduler.policies import Policy
from qrtx_ray.simulation.driver import Simulation
from qrtx_ray.simulation.parameters import Parameters
from qrtx_ray.simulation.report import report_of
from qrtx_ray.simulation.trace import Trace

__all__ = ["Effort", "Variant", "simulate"]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of running a trace: what it is called, the policy (None: the core's own), the numbers."""

    name: str
    policy: Policy | None = None
    parameters: Parameters = field(default_factory=Parameters)


@dataclass(frozen=True, slots=True)
class Effort:
    """What a simulation cost on this machine; no part of its report, which is the same everywhere.

    Args:
        seconds: Of the wall clock.
        events: That the core handled.
        jobs: That ended.
        most_live: Jobs on their way at once, at most.
    """

    seconds: float
    events: int
    jobs: int
    most_live: int


def simulate(trace: Trace, variant: Variant) -> tuple[dict[str, Any], Effort]:
    """The report of `trace` under `variant`, and what it cost.

    Raises:
        ValidationError: The trace is not one.
    """
    parameters = variant.parameters
    simulation = Simulation(trace, parameters.core_for(trace.devices), variant.policy, parameters.world)
    begun = perf_counter()
    simulation.run()
    seconds = perf_counter() - begun
    report = report_of(simulation, variant.name)
    ends: Mapping[str, int] = report["ends"]
    return report, Effort(seconds, simulation.handled, sum(ends.values()), simulation.most_live)

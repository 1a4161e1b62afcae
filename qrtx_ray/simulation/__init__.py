"""Simulation: the production scheduler on a virtual clock, with a day that was recorded or one that is made up.

`read_trace` and `generate` give a trace, `simulate` runs it under a `Variant` of policy and numbers, `report_of` is what
comes of it. Formats are in `lines`, the laws of the simulated world in `nature`.
"""

from __future__ import annotations

from qrtx_ray.simulation.choice import policy_called
from qrtx_ray.simulation.comparison import Effort, Variant, simulate
from qrtx_ray.simulation.driver import Simulation, WorldSettings
from qrtx_ray.simulation.fleet import fleet
from qrtx_ray.simulation.generate import Recipe, generate
from qrtx_ray.simulation.mixes import MIXES, Mix, mix_called
from qrtx_ray.simulation.parameters import Parameters
from qrtx_ray.simulation.plots import draw, mean_waiting_s
from qrtx_ray.simulation.report import report_json, report_of
from qrtx_ray.simulation.trace import Trace, on_fleet, read_trace, write_trace

__all__ = [
    "MIXES",
    "Effort",
    "Mix",
    "Parameters",
    "Recipe",
    "Simulation",
    "Trace",
    "Variant",
    "WorldSettings",
    "draw",
    "fleet",
    "generate",
    "mean_waiting_s",
    "mix_called",
    "on_fleet",
    "policy_called",
    "read_trace",
    "report_json",
    "report_of",
    "simulate",
    "write_trace",
]

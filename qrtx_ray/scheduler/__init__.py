"""The pure scheduling core: what happens to jobs and who runs them, decided without I/O, clock or randomness."""

from __future__ import annotations

from qrtx_ray.scheduler.core import Core
from qrtx_ray.scheduler.settings import CoreSettings
from qrtx_ray.scheduler.states import InvalidTransition, PublicState, Trigger, next_state, runtime_status

__all__ = ["Core", "CoreSettings", "InvalidTransition", "PublicState", "Trigger", "next_state", "runtime_status"]

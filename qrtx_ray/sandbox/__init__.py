"""Child processes with limits: everything that parses, transpiles or simulates what a tenant sent runs in one."""

from __future__ import annotations

from qrtx_ray.sandbox.area import Area
from qrtx_ray.sandbox.interrupts import Interrupts
from qrtx_ray.sandbox.limits import SandboxLimits
from qrtx_ray.sandbox.process import Sandbox

__all__ = ["Area", "Interrupts", "Sandbox", "SandboxLimits"]

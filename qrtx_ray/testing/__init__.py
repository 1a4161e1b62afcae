"""Public doubles: stand-ins for parts of the runtime, for tests of what talks to them.

They keep the promises of what they stand for, hold everything in memory, and show what they were told.
"""

from __future__ import annotations

from qrtx_ray.testing.gateway import FakeGateway

__all__ = ["FakeGateway"]

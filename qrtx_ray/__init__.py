"""qrtx_ray: a scaled runtime for quantum jobs on Ray."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]

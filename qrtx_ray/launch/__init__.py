"""Starting a whole runtime on one machine: Ray, the actors, Serve, and the file that says where it listens."""

from __future__ import annotations

from qrtx_ray.launch.local import LocalRuntime

__all__ = ["LocalRuntime"]

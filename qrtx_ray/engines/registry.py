"""Which engine an executor name stands for; plug-ins add theirs by the entry-point group ``qrtx_ray.engines``."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, cast

from qrtx_ray.engines.protocol import Engine
from qrtx_ray.errors import ExecuteError

__all__ = ["ENTRY_POINT_GROUP", "engine_for"]

ENTRY_POINT_GROUP = "qrtx_ray.engines"
"""An entry point ``<executor> = "package.module:factory"``; the factory takes `threads` and `memory_bytes`."""


def engine_for(executor: str, *, threads: int = 1, memory_bytes: int | None = None) -> Engine:
    """A new engine for what stands after the ``@`` of a device's name.

    Args:
        threads: Threads one run may use.
        memory_bytes: Bound on a job's memory, None for none.

    Raises:
        ExecuteError: No such executor, neither built in nor installed.
    """
    if executor in {"aer", "aer_ideal"}:
        from qrtx_ray.engines.aer import AerEngine

        return AerEngine(noisy=executor == "aer", threads=threads, memory_bytes=memory_bytes)
    for point in entry_points(group=ENTRY_POINT_GROUP, name=executor):
        factory = cast("Callable[..., Any]", point.load())
        return cast("Engine", factory(threads=threads, memory_bytes=memory_bytes))
    msg = f"no engine is installed for executor {executor!r}"
    raise ExecuteError(msg, field="device")

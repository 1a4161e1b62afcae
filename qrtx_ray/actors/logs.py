"""Logging of the runtime's processes: to standard error, which Ray keeps as one file for each process."""

from __future__ import annotations

import logging

from qrtx_ray.config import Settings

__all__ = ["log_as_configured"]


def log_as_configured(settings: Settings) -> None:
    """Have the runtime's own loggers speak from `monitoring.log_level` on, with time, level and name on each line."""
    runtime = logging.getLogger("qrtx")
    runtime.setLevel(settings.monitoring.log_level)
    if not runtime.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        runtime.addHandler(handler)

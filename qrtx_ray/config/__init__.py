"""Configuration: one YAML file and `QRTX_*` variables, validated, documented, frozen."""

from __future__ import annotations

from qrtx_ray.config.devices import DeviceEntry
from qrtx_ray.config.loading import load_settings
from qrtx_ray.config.paths import Paths
from qrtx_ray.config.settings import Settings

__all__ = ["DeviceEntry", "Paths", "Settings", "load_settings"]

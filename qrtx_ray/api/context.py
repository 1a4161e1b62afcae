"""What every router is built with."""

from __future__ import annotations

from dataclasses import dataclass

from qrtx_ray.api.auth import Authenticator
from qrtx_ray.api.directory import DeviceDirectory
from qrtx_ray.api.gateway import Gateway
from qrtx_ray.api.settings import ApiSettings
from qrtx_ray.clock import Clock

__all__ = ["Api"]


@dataclass(frozen=True, slots=True)
class Api:
    """The front's collaborators, made once by `create_app`."""

    gateway: Gateway
    settings: ApiSettings
    directory: DeviceDirectory
    authenticator: Authenticator
    clock: Clock

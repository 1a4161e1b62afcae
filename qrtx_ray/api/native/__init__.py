"""The native API under ``/v1``: one way to do each thing, and nothing a browser or curl could not do."""

from __future__ import annotations

from qrtx_ray.api.context import Api
from qrtx_ray.api.native.agents import Agents
from qrtx_ray.api.native.control import Control
from qrtx_ray.api.native.devices import Devices
from qrtx_ray.api.native.events import Events
from qrtx_ray.api.native.jobs import Jobs
from qrtx_ray.api.native.planning import Planning
from qrtx_ray.api.native.reservations import Reservations
from qrtx_ray.api.native.results import Collection
from qrtx_ray.api.native.service import Service
from qrtx_ray.api.native.states import States
from qrtx_ray.api.routing import OperationRouter

__all__ = ["PREFIX", "native_router"]

PREFIX = "/v1"


def native_router(api: Api) -> OperationRouter:
    """All routes, relative to the prefix."""
    router = OperationRouter()
    parts = (Jobs, Collection, Events, Control, Planning, Reservations, Devices, Agents, States, Service)
    for part in (kind(api) for kind in parts):
        router.include_router(part.router())
    return router

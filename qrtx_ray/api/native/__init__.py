"""The native API under ``/v1``: one way to do each thing, and nothing a browser or curl could not do."""

from __future__ import annotations

from fastapi import APIRouter

from qrtx_ray.api.context import Api
from qrtx_ray.api.native.devices import Devices
from qrtx_ray.api.native.events import Events
from qrtx_ray.api.native.jobs import Jobs
from qrtx_ray.api.native.results import Collection
from qrtx_ray.api.native.service import Service

__all__ = ["PREFIX", "native_router"]

PREFIX = "/v1"


def native_router(api: Api) -> APIRouter:
    """All routes, relative to the prefix."""
    router = APIRouter()
    for part in (Jobs(api), Collection(api), Events(api), Devices(api), Service(api)):
        router.include_router(part.router())
    return router

"""Devices of the native API."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.context import Api
from qrtx_ray.api.native.models import DeviceDocument, DeviceListView
from qrtx_ray.api.native.views import device_view
from qrtx_ray.api.responses import json_response
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router
from qrtx_ray.errors import NotFound

__all__ = ["Devices"]


class Devices:
    """Everything under ``/v1/devices``."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def router(self) -> OperationRouter:
        router = new_router("devices")
        add_operation(router, "GET", "/devices", self.list, "All devices", model=DeviceListView)
        add_operation(router, "GET", "/devices/{name}", self.get, "A device", model=DeviceDocument)
        return router

    async def list(self, request: Request) -> Response:
        """Every device with its queue and its use."""
        del request
        return json_response({"devices": [device_view(view) for view in await self._api.gateway.devices()]})

    async def get(self, request: Request) -> Response:
        """One device, by name or alias."""
        info = self._api.directory.require(str(request.path_params["name"]), "device")
        for view in await self._api.gateway.devices():
            if view.info.name == info.name:
                return json_response(device_view(view))
        raise NotFound("there is no such device; the list of devices names all there are", field="device")

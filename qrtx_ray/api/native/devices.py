"""Devices of the native API."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.auth import require_operator
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
        for name, handler, summary in (
            ("pause", self.pause, "Give it no more work"),
            ("drain", self.drain, "Give it no more work, and take back what runs there"),
            ("resume", self.resume, "Let it take work again"),
        ):
            add_operation(router, "POST", f"/devices/{{name}}/{name}", handler, summary, model=DeviceDocument)
        return router

    async def list(self, request: Request) -> Response:
        """Every device with its queue and its use."""
        del request
        return json_response({"devices": [device_view(view) for view in await self._api.gateway.devices()]})

    async def get(self, request: Request) -> Response:
        """One device, by name or alias."""
        return await self._answer(self._name(request))

    async def pause(self, request: Request) -> Response:
        """What runs there runs on; what waits for it waits, also after a restart of the runtime. Operators only."""
        require_operator(request)
        name = self._name(request)
        await self._api.gateway.pause_device(name, drain=False)
        return await self._answer(name)

    async def drain(self, request: Request) -> Response:
        """As pause, and what runs there makes way after its slice, checkpointed. It is empty when `running` is 0. Operators
        only.
        """
        require_operator(request)
        name = self._name(request)
        await self._api.gateway.pause_device(name, drain=True)
        return await self._answer(name)

    async def resume(self, request: Request) -> Response:
        """Operators only."""
        require_operator(request)
        name = self._name(request)
        await self._api.gateway.resume_device(name)
        return await self._answer(name)

    def _name(self, request: Request) -> str:
        return self._api.directory.require(str(request.path_params["name"]), "device").name

    async def _answer(self, name: str) -> Response:
        for view in await self._api.gateway.devices():
            if view.info.name == name:
                return json_response(device_view(view))
        raise NotFound("there is no such device; the list of devices names all there are", field="device")

"""Backends of the Runtime API. The long documents are cached, encoded, by `devices.backend_json`."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.context import Api
from qrtx_ray.api.gateway import DeviceView
from qrtx_ray.api.requests import Query
from qrtx_ray.api.responses import iso_time, json_bytes, json_response
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router
from qrtx_ray.api.runtime.models import BackendList
from qrtx_ray.devices.backend_json import configuration_json, listing_entry, properties_json, status_dict
from qrtx_ray.errors import NotFound
from qrtx_ray.model import DeviceInfo

__all__ = ["Backends"]


class Backends:
    """Everything under ``/backends``."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def router(self) -> OperationRouter:
        router = new_router("runtime: backends")
        calibration = {"calibration_id": "404 unless it is the device's calibration"}
        add_operation(router, "GET", "/backends/{name}/status", self.status, "Status and queue")
        add_operation(router, "GET", "/backends", self.list, "List devices", model=BackendList)
        add_operation(
            router, "GET", "/backends/{name}/configuration", self.configuration, "Topology, gates", query=calibration
        )
        add_operation(router, "GET", "/backends/{name}/properties", self.properties, "Calibration", query=calibration)
        return router

    async def list(self, request: Request) -> Response:
        """All devices with status and queue length, each under its own name and under every alias."""
        del request
        views = await self._api.gateway.devices()
        entries = [
            listing_entry(view.info, status=view.status, queue_length=view.queue_length, shown_as=name)
            for view in views
            for name in (view.info.name, *view.info.aliases)
        ]
        return json_response({"devices": entries})

    async def status(self, request: Request) -> Response:
        """The client warns at submission unless `status` is `active`."""
        view = await self._view(request)
        shown_as = _name(request)
        return json_response(
            status_dict(view.info, status=view.status, queue_length=view.queue_length, shown_as=shown_as)
        )

    async def configuration(self, request: Request) -> Response:
        """A `QasmBackendConfiguration`. 404 for a calibration this device does not have."""
        info = await self._calibrated(request)
        return json_bytes(await asyncio.to_thread(configuration_json, info, shown_as=_name(request)))

    async def properties(self, request: Request) -> Response:
        """`BackendProperties` as the last calibration published them; `{}` for a device without. `updated_before` is
        accepted: one calibration is kept.
        """
        await self._calibrated(request)
        view, name = await self._view(request), _name(request)
        taken_at = (iso_time(view.calibrated_at) if view.noise_id else None) or ""
        document = await asyncio.to_thread(properties_json, view.info, view.noise_id, taken_at=taken_at, shown_as=name)
        return json_bytes(document)

    def _info(self, request: Request) -> DeviceInfo:
        return self._api.directory.require(_name(request), "backend")

    async def _view(self, request: Request) -> DeviceView:
        info = self._info(request)
        for view in await self._api.gateway.devices():
            if view.info.name == info.name:
                return view
        raise NotFound("there is no such device", field="backend")

    async def _calibrated(self, request: Request) -> DeviceInfo:
        wanted = Query(request).get("calibration_id")
        if wanted is None:
            return self._info(request)
        view = await self._view(request)
        if view.calibration_id != wanted:
            raise NotFound("the device has no such calibration", field="calibration_id")
        return view.info


def _name(request: Request) -> str:
    """The name the client uses, its own or an alias: answers carry the same one."""
    return str(request.path_params["name"])

"""Health and version of the service."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray import __version__
from qrtx_ray.api.context import Api
from qrtx_ray.api.native.models import HealthView, VersionView
from qrtx_ray.api.responses import json_response
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router
from qrtx_ray.api.runtime.account import API_VERSIONS
from qrtx_ray.errors import QrtxError

__all__ = ["Service"]


class Service:
    """``/v1/health`` and ``/v1/version``."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def router(self) -> OperationRouter:
        router = new_router("service")
        add_operation(router, "GET", "/health", self.health, "Whether it lives", model=HealthView)
        add_operation(router, "GET", "/version", self.version, "Versions", model=VersionView)
        return router

    async def health(self, request: Request) -> Response:
        """Without a token: that this process answers. With one: the state of the runtime behind it, and 503 while it
        takes no jobs.
        """
        if request.scope["state"].get("principal") is None:
            return json_response({"status": "ok"})
        try:
            details: dict[str, Any] = await self._api.gateway.health()
        except QrtxError as error:
            details = {"ready": False, "reason": error.message}
        ready = bool(details.get("ready"))
        headers = None if ready else {"Retry-After": str(self._api.settings.retry_after_s)}
        body = {"status": "ok" if ready else "degraded", "details": details}
        return json_response(body, 200 if ready else 503, headers)

    async def version(self, request: Request) -> Response:
        """Of the server, of this API, and of the Runtime API."""
        del request
        return json_response({"version": __version__, "api": "v1", "runtime_api": API_VERSIONS})

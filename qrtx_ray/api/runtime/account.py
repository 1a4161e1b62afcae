"""Usage, versions and the instance, as the Runtime API tells them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.auth import principal_of
from qrtx_ray.api.context import Api
from qrtx_ray.api.responses import iso_time, json_response
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router
from qrtx_ray.api.runtime.models import Usage, Versions
from qrtx_ray.api.settings import Instance

__all__ = ["API_VERSIONS", "Account"]

#: Values of the header IBM-API-Version that clients send and this server answers alike.
API_VERSIONS = ("2024-01-01", "2025-05-01", "2026-03-15", "2026-04-15")

_PERIOD_S = 28 * 86_400.0


class Account:
    """What a tenant may use and has used."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def router(self) -> OperationRouter:
        router = new_router("runtime: account")
        add_operation(router, "GET", "/instances/usage", self.usage, "QPU time used", model=Usage)
        add_operation(router, "GET", "/versions", self.versions, "Versions of the API", model=Versions)
        add_operation(router, "GET", "/instance", self.instance, "The instance")
        add_operation(router, "GET", "/instances/configuration", self.configuration, "Limits of the instance")
        return router

    async def usage(self, request: Request) -> Response:
        """Charged seconds of the last 28 days. The client asks this before every submission."""
        now = self._api.clock.wall()
        start = now - _PERIOD_S
        used = await self._api.gateway.usage_qpu_s(principal_of(request).tenant, start)
        limit = self._api.settings.usage_limit_s
        instance = self._current(request)
        return json_response(
            {
                "instance_id": instance.crn,
                "plan_id": instance.plan,
                "usage_consumed_seconds": round(used, 6),
                "usage_limit_seconds": limit,
                "usage_allocation_seconds": limit,
                "usage_limit_reached": limit is not None and used >= limit,
                "usage_period": {"start_time": iso_time(start), "end_time": iso_time(now)},
            }
        )

    async def versions(self, request: Request) -> Response:
        """Newest last."""
        del request
        return json_response({"versions": API_VERSIONS})

    async def instance(self, request: Request) -> Response:
        """Name and plan of the instance that the header `Service-CRN` names."""
        instance = self._current(request)
        return json_response({"crn": instance.crn, "name": instance.name, "plan_id": instance.plan})

    async def configuration(self, request: Request) -> Response:
        """What the instance allows."""
        instance = self._current(request)
        backends = [view.info.name for view in await self._api.gateway.devices()]
        return json_response(
            {
                "instance_limit_seconds": self._api.settings.usage_limit_s,
                "plan_id": instance.plan,
                "backends": backends,
            }
        )

    def _current(self, request: Request) -> Instance:
        named = request.headers.get("service-crn", "")
        instances = self._api.settings.instances
        return next((one for one in instances if named in (one.crn, one.name)), instances[0])

"""Questions about scheduling: why a job is where it is, what a job would be, what a tenant has used."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.auth import principal_of
from qrtx_ray.api.context import Api
from qrtx_ray.api.native.jobs import JOB_BODY
from qrtx_ray.api.native.models import EstimateView, ExplanationView, UsageView
from qrtx_ray.api.native.submission import build_native, read_native_body, sender_of
from qrtx_ray.api.native.views import explanation_view, usage_view
from qrtx_ray.api.requests import job_id_of
from qrtx_ray.api.responses import iso_time, json_response
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router

__all__ = ["Planning"]


class Planning:
    """``/v1/jobs/{job_id}/explain``, ``/v1/estimate`` and ``/v1/usage``."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def router(self) -> OperationRouter:
        router = new_router("planning")
        add_operation(
            router, "GET", "/jobs/{job_id}/explain", self.explain, "Why a job is where it is", model=ExplanationView
        )
        add_operation(
            router,
            "POST",
            "/estimate",
            self.estimate,
            "What a job would be, before it is submitted",
            model=EstimateView,
            extra=JOB_BODY,
        )
        add_operation(router, "GET", "/usage", self.usage, "Your share and quotas", model=UsageView)
        return router

    async def explain(self, request: Request) -> Response:
        """Position and who is ahead (levels only, never others' jobs), the devices that were weighed with their scores,
        when it will start, and what would change that.
        """
        found = await self._api.gateway.explain(job_id_of(request), principal_of(request).tenant)
        return json_response(explanation_view(found))

    async def estimate(self, request: Request) -> Response:
        """The body of a submission; no job is made of it. For each device: QPU time, waiting time with bounds, expected
        fidelity, and what these figures rest on. With `device: auto` every device that may be chosen.
        """
        body = await read_native_body(request, self._api.settings)
        job = build_native(body, sender_of(request), self._api.directory, self._api.settings)
        found = await self._api.gateway.estimate(job)
        devices = [{"device": name, **figures} for name, figures in found["devices"].items()]
        return json_response({"at": iso_time(self._api.clock.wall()), **found, "devices": devices})

    async def usage(self, request: Request) -> Response:
        """QPU time used lately (it decays), the weight of your share, and each quota with what is used of it."""
        return json_response(usage_view(await self._api.gateway.usage(principal_of(request).tenant)))

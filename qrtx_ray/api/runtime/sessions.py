"""Sessions of the Runtime API: refused with a reason, in a way the client does not retry."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.error_document import ErrorDocument
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router
from qrtx_ray.errors import NotFound, ValidationError

__all__ = ["Sessions"]


class Sessions:
    """Everything under ``/sessions``. This server runs jobs in job mode only."""

    def router(self) -> OperationRouter:
        router = new_router("runtime: sessions")
        add_operation(router, "POST", "/sessions", self.create, "Refused with 400", status=400, model=ErrorDocument)
        for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", "/close")):
            add_operation(
                router,
                method,
                "/sessions/{session_id}" + path,
                self.missing,
                "Refused with 404",
                status=404,
                model=ErrorDocument,
            )
        return router

    async def create(self, request: Request) -> Response:
        """Always 400."""
        del request
        raise ValidationError("sessions are not offered by this server yet; use job mode (mode=backend)", field="mode")

    async def missing(self, request: Request) -> Response:
        """Always 404."""
        del request
        raise NotFound("there is no such session", field="session_id")

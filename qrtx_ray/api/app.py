"""The HTTP application: all routes, one gateway behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray import __version__
from qrtx_ray.api.auth import Authenticator, AuthGuard
from qrtx_ray.api.context import Api
from qrtx_ray.api.direct import DirectRoutes
from qrtx_ray.api.directory import DeviceDirectory
from qrtx_ray.api.error_document import ErrorDocument
from qrtx_ray.api.failures import error_response, from_http_exception
from qrtx_ray.api.gateway import Gateway
from qrtx_ray.api.identity import Identity
from qrtx_ray.api.middleware import RequestGuard, trace_of
from qrtx_ray.api.native import PREFIX, native_router
from qrtx_ray.api.native.models import CancelBody, MigrateBody, NativeJobs, NewReservation, RestoreBody
from qrtx_ray.api.native.states import STATES
from qrtx_ray.api.page import page_router
from qrtx_ray.api.routing import request_schemas
from qrtx_ray.api.runtime import PREFIXES, runtime_router
from qrtx_ray.api.runtime.models import JobSubmission
from qrtx_ray.api.settings import ApiSettings
from qrtx_ray.clock import Clock, SystemClock
from qrtx_ray.errors import ValidationError
from qrtx_ray.model import DeviceInfo

__all__ = ["create_app"]

_DESCRIPTION = """\
Quantum jobs over HTTP. `/v1` is the native API; `/api/v1` and `/experimental/api/v1` speak the Qiskit Runtime REST API
to the official client. Every call needs `Authorization: Bearer <token>`.
"""


def create_app(
    gateway: Gateway, settings: ApiSettings, devices: Mapping[str, DeviceInfo], clock: Clock | None = None
) -> FastAPI:
    """The application.

    Handlers take the bare request and return finished responses: validation is theirs, in one pass over the bytes.
    The models given to the routes only document.

    Args:
        gateway: The runtime.
        settings: Numbers and tokens.
        devices: Canonical name → device.
        clock: Where time comes from; the system's by default.

    Raises:
        ValueError: A secret is too short, or a name means two devices.
    """
    app = FastAPI(
        title="QRTX",
        description=_DESCRIPTION,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={400: {"model": ErrorDocument}, 401: {"model": ErrorDocument}, 404: {"model": ErrorDocument}},
    )
    authenticator = Authenticator(settings)
    api = Api(gateway, settings, DeviceDirectory(devices), authenticator, clock or SystemClock())
    native, runtime = native_router(api), runtime_router(api)
    operations = native.below(PREFIX)
    app.include_router(native, prefix=PREFIX)
    for prefix in reversed(PREFIXES):
        app.include_router(runtime, prefix=prefix, include_in_schema=prefix == PREFIXES[0])
        operations += runtime.below(prefix)
    app.include_router(Identity(api).router())
    app.include_router(page_router(), include_in_schema=False)
    app.add_exception_handler(HTTPException, _router_refused)
    app.add_exception_handler(RequestValidationError, _not_valid)
    # the one added last is the outermost
    app.add_middleware(DirectRoutes, operations=operations)
    app.add_middleware(AuthGuard, authenticator=authenticator, open_paths=settings.open_paths)
    longer = {PREFIX + STATES + "/": settings.state_bytes}
    app.add_middleware(
        RequestGuard, body_bytes=settings.body_bytes, retry_after_s=settings.retry_after_s, longer=longer
    )
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


async def _router_refused(request: Request, failure: Exception) -> Response:
    assert isinstance(failure, HTTPException)
    response = error_response(from_http_exception(failure), trace_of(request.scope))
    if failure.headers and "Allow" in failure.headers:
        response.headers["Allow"] = failure.headers["Allow"]
    return response


async def _not_valid(request: Request, failure: Exception) -> Response:
    # the failure's own text repeats the input
    del failure
    return error_response(ValidationError("the request does not have the documented form"), trace_of(request.scope))


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        document["components"]["schemas"] |= request_schemas(
            NativeJobs, NewReservation, CancelBody, MigrateBody, RestoreBody, JobSubmission
        )
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"bearer": []}]
        app.openapi_schema = document
    return app.openapi_schema

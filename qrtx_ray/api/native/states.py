"""Named states: small documents that a client keeps in the runtime, so that another client can go on where it ended."""

from __future__ import annotations

import asyncio
import re

from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.auth import principal_of
from qrtx_ray.api.context import Api
from qrtx_ray.api.failures import UnsupportedMediaType
from qrtx_ray.api.native.models import StateListView, StateView
from qrtx_ray.api.requests import content_type, read_body
from qrtx_ray.api.responses import empty, iso_time, json_bytes, json_response
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router
from qrtx_ray.codec.state_document import check_state
from qrtx_ray.errors import NotFound, ValidationError

__all__ = ["STATES", "States"]

STATES = "/states"

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_ETAG = re.compile(r'"([0-9a-f]{64})"\Z')
_OBJECT = {"application/json": {"schema": {"type": "object"}}}


class States:
    """Everything under ``/v1/states``."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._gateway = api.gateway

    def router(self) -> OperationRouter:
        router = new_router("states")
        add_operation(router, "GET", STATES, self.list, "Your named states", model=StateListView)
        add_operation(
            router,
            "GET",
            STATES + "/{name}",
            self.get,
            "A named state",
            extra={"responses": {"200": {"content": _OBJECT}}},
        )
        add_operation(
            router,
            "PUT",
            STATES + "/{name}",
            self.put,
            "Keep a state under a name",
            model=StateView,
            extra={"requestBody": {"required": True, "content": _OBJECT}},
        )
        add_operation(router, "DELETE", STATES + "/{name}", self.delete, "Forget a named state", status=204)
        return router

    async def list(self, request: Request) -> Response:
        """By name."""
        found = await self._gateway.states(principal_of(request).tenant)
        listed = [
            {"name": one.name, "etag": one.etag, "size_bytes": one.size_bytes, "at": iso_time(one.at)} for one in found
        ]
        return json_response({"states": listed})

    async def get(self, request: Request) -> Response:
        """The document as it was put; its etag is in the header `ETag`."""
        document, etag = await self._gateway.get_state(principal_of(request).tenant, _name(request))
        return json_bytes(document, {"ETag": f'"{etag}"'})

    async def put(self, request: Request) -> Response:
        """A JSON object in which tagged objects stand for arrays and the like. Durable when answered. With
        `If-None-Match: *` only where there is none yet, with `If-Match: "<etag>"` only in place of that one, else 412. Writing
        again what is there already succeeds.
        """
        tenant, name, expected = principal_of(request).tenant, _name(request), _expected(request)
        if content_type(request) != "application/json":
            raise UnsupportedMediaType("the body must be application/json", field="Content-Type")
        document = await read_body(request, self._api.settings.body_timeout_s)
        if len(document) <= self._api.settings.inline_bytes:
            check_state(document)
        else:
            await asyncio.to_thread(check_state, document)
        etag = await self._gateway.put_state(tenant, name, document, expected)
        view = {"name": name, "etag": etag, "size_bytes": len(document)}
        return json_response(view, 200, {"ETag": f'"{etag}"'})

    async def delete(self, request: Request) -> Response:
        """204. Takes `If-Match`."""
        await self._gateway.delete_state(principal_of(request).tenant, _name(request), _expected(request))
        return empty()


def _name(request: Request) -> str:
    name = str(request.path_params["name"])
    if _NAME.match(name):
        return name
    if request.method == "PUT":
        limit = "64 characters"
        raise ValidationError(
            "the name of a state has 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'", field="name", limit=limit
        )
    raise NotFound("there is no such state", field="name")


def _expected(request: Request) -> str | None:
    """What must be there now: an etag, "" for nothing, None for whatever is."""
    match, none_match = (request.headers.get(name) for name in ("if-match", "if-none-match"))
    if match is not None and none_match is not None:
        raise ValidationError("If-Match and If-None-Match exclude each other", field="If-Match")
    if none_match is not None:
        if none_match != "*":
            raise ValidationError("If-None-Match must be *", field="If-None-Match")
        return ""
    if match is None:
        return None
    found = _ETAG.match(match)
    if found is None:
        raise ValidationError("If-Match must be the ETag of a state, in quotes", field="If-Match")
    return found[1]

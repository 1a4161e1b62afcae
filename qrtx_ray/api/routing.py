"""Adding operations to a router: bare handlers for speed, and what they do not declare for the documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

__all__ = [
    "Handler",
    "Operation",
    "OperationRouter",
    "add_operation",
    "new_router",
    "request_schemas",
    "schema_reference",
]

_SCHEMAS = "#/components/schemas/{model}"

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """What answers a method at a path."""

    method: str
    path: str
    handler: Handler


class OperationRouter(APIRouter):
    """A router that remembers its operations in `operations`, those of the routers it includes among them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.operations: list[Operation] = []

    def include_router(self, router: APIRouter, **options: Any) -> None:
        super().include_router(router, **options)
        if isinstance(router, OperationRouter):
            self.operations += router.below(str(options.get("prefix", "")))

    def below(self, prefix: str) -> list[Operation]:
        """The operations with full paths, if this router stands at `prefix`."""
        return [replace(operation, path=prefix + operation.path) for operation in self.operations]


def new_router(tag: str) -> OperationRouter:
    """A router whose operations are documented under `tag`."""
    return OperationRouter(tags=[tag], default_response_class=Response)


def schema_reference(model: type[BaseModel]) -> dict[str, str]:
    """How a requestBody names the schema of `model`, which must be among `request_schemas`."""
    return {"$ref": _SCHEMAS.format(model=model.__name__)}


def request_schemas(*models: type[BaseModel]) -> dict[str, Any]:
    """The schemas of bodies, which FastAPI cannot know as the handlers read them themselves."""
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_SCHEMAS)
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions


def add_operation(
    router: OperationRouter,
    method: str,
    path: str,
    handler: Handler,
    summary: str,
    *,
    model: Any = None,
    status: int = 200,
    query: Mapping[str, str] | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Serve `handler` at `path`.

    The handler is given the request and nothing else, so that FastAPI validates nothing: it reads the body once and
    checks it in one pass. Path parameters are added to the OpenAPI document from the path.

    Args:
        model: What a successful answer looks like; documents only.
        status: Of a successful answer.
        query: Query parameter → what it means.
        extra: More of the OpenAPI operation, e.g. its requestBody.
    """
    parameters: list[dict[str, Any]] = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
        for part in path.split("/")
        if part.startswith("{")
    ]
    parameters += [
        {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
        for name, meaning in (query or {}).items()
    ]
    documented = dict(extra or {})
    if parameters:
        documented["parameters"] = parameters
    router.operations.append(Operation(method, path, handler))
    router.add_api_route(
        path,
        handler,
        methods=[method],
        summary=summary,
        status_code=status,
        response_model=None,
        responses={status: {"model": model}} if model is not None else None,
        openapi_extra=documented,
    )

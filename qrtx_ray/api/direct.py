"""Hands requests straight to their handlers.

The handlers take the bare request and return finished responses; FastAPI documents them and answers what is not found, but
has nothing to do for them. Going through its router and dependency solver costs as much as a handler does, so what it
would find in the end is looked up here.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from qrtx_ray.api.routing import Handler, Operation

__all__ = ["DirectRoutes"]

_ANY = "{}"


class DirectRoutes:
    """Innermost middleware: serves `operations`, and leaves everything else to the application.

    Args:
        app: The application.
        operations: With full paths, of at most one parameter.
    """

    def __init__(self, app: ASGIApp, operations: Iterable[Operation]) -> None:
        self._app = app
        self._fixed: dict[tuple[str, str], Handler] = {}
        self._patterns: dict[tuple[str, str], tuple[str, Handler]] = {}
        self._places: dict[int, tuple[int, ...]] = {}
        for operation in operations:
            parts = operation.path.split("/")
            places = [place for place, part in enumerate(parts) if part.startswith("{")]
            if not places:
                self._fixed[operation.method, operation.path] = operation.handler
            elif len(places) == 1:
                (place,) = places
                name = parts[place][1:-1]
                parts[place] = _ANY
                self._patterns[operation.method, "/".join(parts)] = (name, operation.handler)
                known = self._places.get(len(parts), ())
                self._places[len(parts)] = tuple(sorted({*known, place}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            handler = self._find(scope)
            if handler is not None:
                response = await handler(Request(scope, receive))
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _find(self, scope: Scope) -> Handler | None:
        method, path = scope["method"], scope["path"].removeprefix(scope.get("root_path", ""))
        found = self._fixed.get((method, path))
        if found is not None:
            scope["path_params"] = {}
            return found
        parts = path.split("/")
        for place in self._places.get(len(parts), ()):
            value, parts[place] = parts[place], _ANY
            pattern = self._patterns.get((method, "/".join(parts)))
            if pattern is not None and value:
                scope["path_params"] = {pattern[0]: value}
                return pattern[1]
            parts[place] = value
        return None

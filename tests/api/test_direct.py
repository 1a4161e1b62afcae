"""Requests that go straight to their handlers, and those that are left to the framework."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.direct import DirectRoutes
from qrtx_ray.api.routing import Operation, add_operation, new_router


async def _one(request: Request) -> Response:
    return Response(f"one {request.path_params}")


async def _many(request: Request) -> Response:
    return Response(f"many {request.path_params}")


async def _behind(scope: Any, receive: Any, send: Any) -> None:
    await Response("left to the framework")(scope, receive, send)


OPERATIONS = (
    Operation("GET", "/v1/jobs", _many),
    Operation("GET", "/v1/jobs/{job_id}", _one),
    Operation("GET", "/v1/jobs/{job_id}/results", _one),
    Operation("GET", "/v1/devices/{name}/groups/{group}", _one),
    Operation("GET", "/{root}/jobs/all", _many),
)


async def answer(method: str, path: str, root: str = "") -> str:
    said: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        said.append(message.get("body", b""))

    scope = {
        "type": "http",
        "method": method,
        "path": root + path,
        "root_path": root,
        "headers": [],
        "query_string": b"",
    }
    await DirectRoutes(_behind, OPERATIONS)(scope, receive, send)  # type: ignore[arg-type]
    return b"".join(said).decode()


@pytest.mark.parametrize("root", ["", "/quantum"])
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/jobs", "many {}"),
        ("/v1/jobs/abc", "one {'job_id': 'abc'}"),
        ("/v1/jobs/abc/results", "one {'job_id': 'abc'}"),
        ("/v1/jobs/a b%", "one {'job_id': 'a b%'}"),
        ("/other/jobs/all", "many {'root': 'other'}"),
    ],
)
async def test_a_known_path_reaches_its_handler_with_its_parameter(path: str, said: str, root: str) -> None:
    assert await answer("GET", path, root) == said


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/jobs"),
        ("HEAD", "/v1/jobs/abc"),
        ("GET", "/v1/jobs/"),
        ("GET", "/v1/jobs//results"),
        ("GET", "/v1/jobs/abc/"),
        ("GET", "/v1/jobs/{}/"),
        ("GET", "/v1"),
        ("GET", ""),
        ("GET", "/v1/devices/manila/groups/g"),
    ],
)
async def test_everything_else_is_left_to_the_framework(method: str, path: str) -> None:
    assert await answer(method, path) == "left to the framework"


async def test_what_is_no_http_request_passes_by() -> None:
    seen: list[str] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await DirectRoutes(behind, OPERATIONS)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


def test_a_router_knows_the_operations_of_the_routers_in_it_with_their_full_paths() -> None:
    inner, outer = new_router("inner"), new_router("outer")
    add_operation(inner, "GET", "/jobs", _many, "Jobs")
    outer.include_router(inner, prefix="/deep")
    assert outer.below("/v1") == [Operation("GET", "/v1/deep/jobs", _many)]

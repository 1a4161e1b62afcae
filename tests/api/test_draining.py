"""Devices and agents are paused, drained and resumed, by operators only."""

from __future__ import annotations

import httpx
import pytest

from qrtx_ray.api.gateway import AgentView
from qrtx_ray.testing import FakeGateway
from tests.api.conftest import OPERATOR, assert_error, bearer


@pytest.fixture
def operator() -> dict[str, str]:
    return bearer(OPERATOR)


async def test_a_device_is_paused_drained_and_resumed_by_any_of_its_names(
    client: httpx.AsyncClient, gateway: FakeGateway, operator: dict[str, str]
) -> None:
    gateway.set_view("fake_manila@aer", running=2)
    paused = (await client.post("/v1/devices/manila/pause", headers=operator)).json()
    assert (paused["name"], paused["status"], paused["running"]) == ("fake_manila@aer", "paused", 2)
    drained = (await client.post("/v1/devices/fake_manila@aer/drain", headers=operator)).json()
    assert (drained["status"], drained["running"]) == ("paused", 0)
    assert (await client.post("/v1/devices/manila/resume", headers=operator)).json()["status"] == "online"


async def test_agents_are_listed_drained_and_resumed(
    client: httpx.AsyncClient, gateway: FakeGateway, operator: dict[str, str]
) -> None:
    gateway.held = [AgentView("b", ("d",), 2, last_heard_s=0.25), AgentView("a", ("d", "e"))]
    listed = (await client.get("/v1/agents", headers=operator)).json()["agents"]
    assert listed == [
        {"name": "a", "devices": ["d", "e"], "running": 0, "drained": False, "last_heard_s": 0.0},
        {"name": "b", "devices": ["d"], "running": 2, "drained": False, "last_heard_s": 0.25},
    ]
    assert (await client.post("/v1/agents/b/drain", headers=operator)).json()["drained"]
    assert not (await client.post("/v1/agents/b/resume", headers=operator)).json()["drained"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/devices/manila/pause"),
        ("POST", "/v1/devices/manila/drain"),
        ("POST", "/v1/devices/manila/resume"),
        ("GET", "/v1/agents"),
        ("POST", "/v1/agents/agent-0/drain"),
        ("POST", "/v1/agents/agent-0/resume"),
    ],
)
async def test_only_operators_may(client: httpx.AsyncClient, method: str, path: str) -> None:
    assert_error(await client.request(method, path), 403, "permission_denied")


async def test_what_is_not_there_is_not_found(client: httpx.AsyncClient, operator: dict[str, str]) -> None:
    for path in ("devices/nothing/drain", "devices/nothing/resume", "agents/nothing/drain", "agents/nothing/resume"):
        assert_error(await client.post(f"/v1/{path}", headers=operator), 404, "not_found")

"""Devices, health, version, documents and pages."""

from __future__ import annotations

import re

import httpx
import pytest

from qrtx_ray import __version__
from qrtx_ray.errors import PersistError
from qrtx_ray.model import DeviceInfo, DeviceStatus
from qrtx_ray.testing import FakeGateway
from tests.api.conftest import DEVICES, SETTINGS, assert_error, bearer, native_job


async def test_devices_show_how_they_do(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    await client.post("/v1/jobs", json=native_job())
    gateway.set_view("fake_manila@aer", status=DeviceStatus.PAUSED, utilisation=0.25, running=2)
    devices = (await client.get("/v1/devices")).json()["devices"]
    assert [device["name"] for device in devices] == list(DEVICES)
    assert devices[0] == (await client.get("/v1/devices/manila")).json()
    assert devices[0] == (await client.get("/v1/devices/fake_manila@aer")).json()
    assert (devices[0]["status"], devices[0]["queue_length"], devices[0]["running"]) == ("paused", 1, 2)
    assert (devices[0]["utilisation"], devices[0]["aliases"]) == (0.25, ["manila"])


@pytest.mark.parametrize("name", ["nowhere", "%2e%2e%2fetc", "x" * 300, "%00"])
async def test_an_unknown_device_is_404(client: httpx.AsyncClient, name: str) -> None:
    assert_error(await client.get(f"/v1/devices/{name}"), 404, "not_found")


async def test_a_configured_device_the_runtime_lost_is_404(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    gateway._devices = []
    assert_error(await client.get("/v1/devices/manila"), 404, "not_found", "device")
    assert_error(await client.get("/api/v1/backends/manila/status"), 404, "not_found", "backend")


async def test_strangers_learn_that_it_lives_and_no_more(anonymous: httpx.AsyncClient) -> None:
    assert (await anonymous.get("/v1/health")).json() == {"status": "ok"}


async def test_health_with_a_wrong_token_is_401(anonymous: httpx.AsyncClient) -> None:
    assert_error(await anonymous.get("/v1/health", headers=bearer("wrong")), 401, "unauthenticated")


async def test_health_with_a_token_tells_details(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    assert (await client.get("/v1/health")).json() == {"status": "ok", "details": {"ready": True, "jobs": 0}}
    gateway.refusal = PersistError("the store is away")
    response = await client.get("/v1/health")
    assert (response.status_code, response.json()["status"]) == (503, "degraded")
    assert response.headers["retry-after"] == "1"


async def test_health_survives_a_runtime_that_does_not_answer(
    client: httpx.AsyncClient, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise PersistError("the scheduler is restarting")

    monkeypatch.setattr(gateway, "health", away)
    response = await client.get("/v1/health")
    assert response.status_code == 503
    assert response.json()["details"] == {"ready": False, "reason": "the scheduler is restarting"}


async def test_version(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/version")).json()["version"] == __version__


async def test_the_openapi_document_is_complete(anonymous: httpx.AsyncClient) -> None:
    document = (await anonymous.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            assert operation["summary"], (verb, path)
            assert operation["tags"], (verb, path)
            named = {item["name"] for item in operation.get("parameters", ()) if item["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))
    references = set(re.findall(r'"#/components/schemas/(\w+)"', (await anonymous.get("/openapi.json")).text))
    assert references <= set(document["components"]["schemas"])
    ids = [operation["operationId"] for operations in document["paths"].values() for operation in operations.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_are_self_contained_and_guarded(anonymous: httpx.AsyncClient, path: str) -> None:
    response = await anonymous.get(path)
    assert response.headers["content-type"].startswith("text/html")
    assert not re.search(r"(src|href)=\"(https?:)?//", response.text)
    assert "innerHTML" not in response.text
    assert " style=" not in response.text
    assert " onclick=" not in response.text
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2
    assert "frame-ancestors 'none'" in policy


def test_a_name_that_means_two_devices_is_refused(gateway: FakeGateway) -> None:
    from qrtx_ray.api.app import create_app

    twin = DeviceInfo("fake_lima@aer", "fake_lima", "aer", 5, ("manila",))
    with pytest.raises(ValueError, match="manila"):
        create_app(gateway, SETTINGS, {**DEVICES, "fake_lima@aer": twin})

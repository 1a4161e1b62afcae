"""What every request passes first."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from qrtx_ray.errors import ErrorInfo, QrtxError, QueueFull, StoreFull
from qrtx_ray.testing import FakeGateway
from tests.api.conftest import ALICE, assert_error, native_job


async def test_a_sane_request_id_is_echoed(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/devices", headers={"x-request-id": "abc-1.2_3"})
    assert response.headers["x-request-id"] == "abc-1.2_3"


@pytest.mark.parametrize("bad", ["", "a" * 65, "with space", "semi;colon", "ümlaut".encode()])
async def test_any_other_request_id_is_replaced(client: httpx.AsyncClient, bad: str | bytes) -> None:
    response = await client.get("/v1/devices", headers={"x-request-id": bad})
    assert len(response.headers["x-request-id"]) == 24


async def test_every_answer_has_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/", "/v1/devices", "/nowhere"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]


async def test_an_unknown_path_is_a_documented_404(client: httpx.AsyncClient) -> None:
    assert_error(await client.get("/v1/nowhere"), 404, "not_found")


async def test_a_wrong_method_is_a_documented_405(client: httpx.AsyncClient) -> None:
    response = await client.put("/v1/devices")
    assert_error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET"


async def test_a_long_body_is_refused_by_its_declared_length(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/jobs", content=b"x" * (64 * 1024 + 1))
    assert assert_error(response, 413, "payload_too_large")["limit"] == "65536 bytes"


async def test_a_body_of_exactly_the_limit_is_read(client: httpx.AsyncClient) -> None:
    assert_error(await client.post("/v1/jobs", content=b"x" * (64 * 1024)), 400, "decode_failed")


@pytest.mark.parametrize("path", ["/v1/jobs", "/api/v1/jobs", "/identity/token"])
async def test_a_streamed_body_is_counted_as_it_comes(client: httpx.AsyncClient, path: str) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 10**7:
            sent += 4096
            yield b"x" * 4096

    assert_error(await client.post(path, content=endless()), 413, "payload_too_large")
    assert sent < 2 * 64 * 1024


@pytest.mark.parametrize("declared", ["-1", "1e3", "", "9" * 30])
async def test_a_lying_content_length_is_no_way_in(app: FastAPI, declared: str) -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        request = client.build_request("POST", "/v1/jobs", content=b"{}", headers={"Authorization": f"Bearer {ALICE}"})
        request.headers["content-length"] = declared
        assert (await client.send(request)).status_code in (400, 413)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip", "GZIP"])
async def test_encoded_bodies_are_refused(client: httpx.AsyncClient, encoding: str) -> None:
    response = await client.post("/v1/jobs", content=b"x", headers={"content-encoding": encoding})
    assert_error(response, 415, "unsupported_media_type")


async def test_a_slow_body_ends_in_408(app: FastAPI, gateway: FakeGateway) -> None:
    import asyncio
    from dataclasses import replace

    from qrtx_ray.api.app import create_app
    from tests.api.conftest import DEVICES, SETTINGS

    app = create_app(gateway, replace(SETTINGS, body_timeout_s=0.01), DEVICES)
    never = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await never.wait()

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
        response = await client.post("/v1/jobs", content=stuck(), headers={"Authorization": f"Bearer {ALICE}"})
    assert_error(response, 408, "request_timeout")


async def test_a_bug_says_nothing_of_the_inside_and_the_log_nothing_of_the_token(
    client: httpx.AsyncClient, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise RuntimeError("secret path /etc/qrtx")

    monkeypatch.setattr(gateway, "devices", broken)
    with caplog.at_level(logging.DEBUG):
        response = await client.get("/v1/devices")
    error = assert_error(response, 500, "internal")
    assert "secret" not in response.text
    assert error["retryable"] is False
    assert response.headers["x-request-id"] in caplog.text
    assert ALICE not in caplog.text


@pytest.mark.parametrize(
    ("refusal", "status"), [(QueueFull("the queue is full", limit="10 jobs"), 429), (StoreFull("no space"), 507)]
)
async def test_back_pressure_says_when_to_come_again(
    client: httpx.AsyncClient, gateway: FakeGateway, refusal: QrtxError, status: int
) -> None:
    gateway.refusal = refusal
    response = await client.post("/v1/jobs", json=native_job())
    assert assert_error(response, status, refusal.code)["retryable"] is True
    assert response.headers["retry-after"] == "1"


async def test_control_characters_in_a_text_never_break_the_answer(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    gateway.refusal = QrtxError.from_info(ErrorInfo("queue_full", "a\ud800b\nc", "AllocationError"))
    assert assert_error(await client.post("/v1/jobs", json=native_job()), 429, "queue_full")["message"] == "a?b?c"

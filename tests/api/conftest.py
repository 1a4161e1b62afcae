"""A front with two tenants and an operator, over a gateway in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from qrtx_ray.api.app import create_app
from qrtx_ray.api.gateway import Gateway
from qrtx_ray.api.settings import ApiSettings, TokenEntry
from qrtx_ray.api.tokens import hash_token
from qrtx_ray.model import DeviceInfo
from qrtx_ray.testing import FakeGateway

DEVICES = {
    "fake_manila@aer": DeviceInfo("fake_manila@aer", "fake_manila", "aer", 5, ("manila",)),
    "fake_quito@aer_ideal": DeviceInfo("fake_quito@aer_ideal", "fake_quito", "aer_ideal", 5),
}
ALICE = "alice-token"
BOB = "bob-token"
OPERATOR = "operator-token"

SETTINGS = ApiSettings(
    tokens=(
        TokenEntry(hash_token(ALICE), "alice"),
        TokenEntry(hash_token(BOB), "bob"),
        TokenEntry(hash_token(OPERATOR), "ops", operator=True),
    ),
    jwt_secret=b"0123456789abcdef0123456789abcdef",
    long_poll_max_s=0.05,
    sse_heartbeat_s=0.02,
    body_bytes=64 * 1024,
)

QASM = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; h q[0]; measure q[0] -> c[0];'


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def native_job(**fields: object) -> dict[str, object]:
    return {"device": "fake_manila@aer", "circuits": [{"format": "qasm2", "source": QASM}], **fields}


def runtime_job(**fields: object) -> dict[str, object]:
    params = {"pubs": [["circuit", None, None]], "options": {}, "version": 2, "support_qiskit": True}
    return {"program_id": "sampler", "backend": "fake_manila@aer", "params": params, **fields}


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway(DEVICES.values())


class _Behind:
    """The gateway of the running test, behind the one application: to build it takes longer than most tests."""

    gateway: FakeGateway

    def __getattr__(self, name: str) -> Any:
        return getattr(self.gateway, name)


_behind = _Behind()
_app = create_app(cast("Gateway", _behind), SETTINGS, DEVICES)


@pytest.fixture
def app(gateway: FakeGateway) -> FastAPI:
    _behind.gateway = gateway
    return _app


@pytest.fixture
async def anonymous(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://qrtx.test") as client:
        yield client


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://qrtx.test", headers=bearer(ALICE)) as client:
        yield client


@pytest.fixture
async def runtime(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    base = "http://qrtx.test/api/v1"
    async with httpx.AsyncClient(transport=transport, base_url=base, headers=bearer(ALICE)) as client:
        yield client


def assert_error(response: httpx.Response, status: int, code: str, field: str | None = None) -> dict[str, object]:
    """The response is the documented error, in both shapes."""
    assert response.status_code == status, response.text
    document = response.json()
    assert document.keys() == {"error", "errors", "trace"}
    assert document["error"].keys() == {"code", "message", "field", "limit", "retryable"}
    assert document["error"]["code"] == code
    if field is not None:
        assert document["error"]["field"] == field
    (listed,) = document["errors"]
    assert listed.keys() == {"code", "message", "more_info", "solution"}
    assert isinstance(listed["code"], int)
    assert document["trace"] == response.headers["x-request-id"] == response.headers["uber-trace-id"]
    return document["error"]

"""Reservations over HTTP: who may make, see and release them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import httpx
import pytest

from qrtx_ray.errors import ValidationError
from qrtx_ray.testing import FakeGateway
from tests.api.conftest import BOB, OPERATOR, assert_error, bearer

HOUR = 3600.0


def later(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()


def window(**fields: object) -> dict[str, object]:
    return {"device": "manila", "begins_at": later(HOUR), "ends_at": later(2 * HOUR), **fields}


async def test_a_tenant_reserves_for_itself(client: httpx.AsyncClient):
    made = await client.post("/v1/reservations", json=window())
    assert made.status_code == 201
    view = made.json()
    assert (view["device"], view["tenant"], view["active"]) == ("fake_manila@aer", "alice", False)
    assert made.headers["location"] == f"/v1/reservations/{view['name']}"
    assert (await client.get("/v1/reservations")).json() == {"reservations": [view]}


async def test_one_without_a_beginning_begins_now(client: httpx.AsyncClient):
    view = (await client.post("/v1/reservations", json={"device": "manila", "ends_at": later(HOUR)})).json()
    assert view["active"]
    past = (await client.post("/v1/reservations", json=window(begins_at="2020-01-01", ends_at=later(HOUR)))).status_code
    assert past == 409


async def test_others_see_when_and_not_whose(client: httpx.AsyncClient):
    mine = (await client.post("/v1/reservations", json=window())).json()
    (seen,) = (await client.get("/v1/reservations", headers=bearer(BOB))).json()["reservations"]
    assert (seen["name"], seen["tenant"]) == (None, None)
    assert (seen["device"], seen["begins_at"], seen["ends_at"]) == (mine["device"], mine["begins_at"], mine["ends_at"])
    (all_of_it,) = (await client.get("/v1/reservations", headers=bearer(OPERATOR))).json()["reservations"]
    assert all_of_it == mine


async def test_only_an_operator_reserves_for_another(client: httpx.AsyncClient):
    assert_error(await client.post("/v1/reservations", json=window(tenant="bob")), 403, "permission_denied", "tenant")
    made = await client.post("/v1/reservations", json=window(tenant="bob"), headers=bearer(OPERATOR))
    assert made.json()["tenant"] == "bob"
    for_nobody = await client.post("/v1/reservations", json=window(tenant="bobb"), headers=bearer(OPERATOR))
    assert_error(for_nobody, 400, "validation_failed", "tenant")
    assert (
        await client.post("/v1/reservations", json=window(tenant="alice", device="fake_quito@aer_ideal"))
    ).is_success


async def test_windows_of_one_device_do_not_overlap(client: httpx.AsyncClient):
    assert (await client.post("/v1/reservations", json=window())).is_success
    assert_error(await client.post("/v1/reservations", json=window()), 409, "invalid_state")
    assert (await client.post("/v1/reservations", json=window(device="fake_quito@aer_ideal"))).is_success


async def test_a_tenant_releases_its_own_and_an_operator_any(client: httpx.AsyncClient):
    first = (await client.post("/v1/reservations", json=window())).json()["name"]
    path = f"/v1/reservations/{first}"
    assert_error(await client.delete(path, headers=bearer(BOB)), 404, "not_found")
    assert (await client.delete(path)).status_code == 204
    assert_error(await client.delete(path), 404, "not_found")
    second = (await client.post("/v1/reservations", json=window())).json()["name"]
    assert (await client.delete(f"/v1/reservations/{second}", headers=bearer(OPERATOR))).status_code == 204
    assert_error(await client.delete("/v1/reservations/..%2f..", headers=bearer(OPERATOR)), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "device"),
        ({"device": "manila"}, "ends_at"),
        (window(device="nowhere"), "device"),
        (window(device="auto"), "device"),
        (window(device=7), "device"),
        (window(ends_at=None), "ends_at"),
        (window(ends_at=7), "ends_at"),
        (window(ends_at="soon"), "ends_at"),
        (window(ends_at="2020-01-01"), "ends_at"),
        (window(begins_at=later(3 * HOUR)), "ends_at"),
        (window(begins_at="9999-12-31T23:59:59-23:00"), "begins_at"),
        (window(tenant=7), "tenant"),
        (window(surprise=1), "surprise"),
        (window(name="mine"), "name"),
        ([], "body"),
    ],
)
async def test_wrong_bodies_are_refused_by_name(client: httpx.AsyncClient, body: object, field: str):
    response = await client.post("/v1/reservations", json=body)
    assert_error(response, 400, response.json()["error"]["code"], field)
    assert (await client.get("/v1/reservations")).json() == {"reservations": []}


async def test_the_runtime_has_the_last_word(client: httpx.AsyncClient, gateway: FakeGateway):
    gateway.refusal = ValidationError("a tenant reserves at most 1 h", field="ends_at", limit="3600 s")
    assert_error(await client.post("/v1/reservations", json=window()), 400, "validation_failed", "ends_at")
    assert (await client.post("/v1/reservations", json=window(), headers=bearer(OPERATOR))).is_success

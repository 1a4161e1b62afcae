"""Identity, search and catalogue, as the official client asks them."""

from __future__ import annotations

from dataclasses import replace

import httpx
import jwt
import pytest
from fastapi import FastAPI

from qrtx_ray.api.app import create_app
from qrtx_ray.api.settings import Instance, TokenEntry
from qrtx_ray.api.tokens import hash_token
from qrtx_ray.testing import FakeGateway
from tests.api.conftest import ALICE, DEVICES, SETTINGS, assert_error, bearer

GRANT = "urn:ibm:params:oauth:grant-type:apikey"


async def test_an_api_token_gives_an_access_token_that_is_accepted(anonymous: httpx.AsyncClient) -> None:
    form = {"grant_type": GRANT, "apikey": ALICE, "response_type": "cloud_iam"}
    answer = (await anonymous.post("/identity/token", data=form)).json()
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert claims["sub"] == "alice"
    assert claims["exp"] - claims["iat"] == answer["expires_in"] == 3600
    assert answer["expiration"] == claims["exp"]
    assert answer["token_type"] == "Bearer"
    usage = await anonymous.get("/api/v1/instances/usage", headers=bearer(answer["access_token"]))
    assert usage.status_code == 200


@pytest.mark.parametrize("key", ["", "wrong", "x" * 10_000, "\x00", "é"])
async def test_a_wrong_key_is_refused_as_ibm_does(anonymous: httpx.AsyncClient, key: str) -> None:
    response = await anonymous.post("/identity/token", data={"grant_type": GRANT, "apikey": key})
    assert response.status_code == 400
    assert response.json()["errorCode"] == "BXNIM0415E"


@pytest.mark.parametrize(
    "body", [b"", b"grant_type=password&apikey=x", b"&" * 1000, b"\xff\xfe", b"a=1&" * 10_000, b"{}"]
)
async def test_other_grants_are_refused(anonymous: httpx.AsyncClient, body: bytes) -> None:
    response = await anonymous.post("/identity/token", content=body)
    assert response.status_code == 400
    assert response.json()["errorCode"] == "BXNIM0109E"


async def test_the_search_lists_the_default_instance(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/v3/resources/search?limit=100", json={"query": "x"})).json()
    (item,) = answer["items"]
    assert item["crn"].startswith("crn:v1:bluemix:public:quantum-computing:us-east:")
    assert item["name"] == "default"
    assert item["doc"]["extensions"]
    assert "search_cursor" not in answer
    plan = (await client.get(f"/catalog/{item['service_plan_unique_id']}")).json()
    assert plan["overview_ui"]["en"]["display_name"] == "Open"
    assert plan["metadata"]["pricing"]["type"] == "free"


async def test_an_unknown_plan_is_404(client: httpx.AsyncClient) -> None:
    assert_error(await client.get("/catalog/gold"), 404, "not_found", "plan")


async def test_a_tenant_sees_its_instances_only(gateway: FakeGateway) -> None:
    settings = replace(
        SETTINGS,
        tokens=(TokenEntry(hash_token("t"), "tenant", instances=("b",)),),
        instances=(Instance("crn:a", "a"), Instance("crn:b", "b", "paid")),
    )
    app: FastAPI = create_app(gateway, settings, DEVICES)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
        token = (await client.post("/identity/token", data={"grant_type": GRANT, "apikey": "t"})).json()
        for credentials in ("t", token["access_token"]):
            found = await client.post("/v3/resources/search", headers=bearer(credentials))
            assert [item["name"] for item in found.json()["items"]] == ["b"]

"""Named states of a tenant, by HTTP."""

from __future__ import annotations

import hashlib

import httpx
import numpy as np
import pytest

from qrtx_ray.codec.state_document import encode_state
from tests.api.conftest import BOB, SETTINGS, assert_error, bearer

ONE, TWO = b'{"a": 1}', b'{"a": 2}'
JSON = {"Content-Type": "application/json"}


def etag(document: bytes) -> str:
    return f'"{hashlib.sha256(document).hexdigest()}"'


async def put(client: httpx.AsyncClient, document: bytes, name: str = "s", **headers: str) -> httpx.Response:
    return await client.put(f"/v1/states/{name}", content=document, headers={**JSON, **headers})


async def test_a_state_is_given_back_as_it_was_put(client: httpx.AsyncClient) -> None:
    assert_error(await client.get("/v1/states/s"), 404, "not_found", "name")
    written = await put(client, ONE)
    assert written.json() == {"name": "s", "etag": etag(ONE).strip('"'), "size_bytes": len(ONE)}
    assert written.headers["etag"] == etag(ONE)
    read = await client.get("/v1/states/s")
    assert (read.content, read.headers["etag"], read.headers["content-type"]) == (ONE, etag(ONE), "application/json")
    (listed,) = (await client.get("/v1/states")).json()["states"]
    assert (listed["name"], listed["size_bytes"]) == ("s", len(ONE))
    assert listed["at"].endswith("Z")
    assert (await client.delete("/v1/states/s")).status_code == 204
    assert_error(await client.delete("/v1/states/s"), 404, "not_found")


async def test_nobody_sees_another_tenants_state(client: httpx.AsyncClient) -> None:
    await put(client, ONE)
    assert_error(await client.get("/v1/states/s", headers=bearer(BOB)), 404, "not_found")
    assert (await client.get("/v1/states", headers=bearer(BOB))).json() == {"states": []}


async def test_of_two_writers_who_read_the_same_only_one_writes(client: httpx.AsyncClient) -> None:
    assert (await put(client, ONE, **{"If-None-Match": "*"})).status_code == 200
    assert_error(await put(client, TWO, **{"If-None-Match": "*"}), 412, "state_changed")
    assert (await put(client, TWO, **{"If-Match": etag(ONE)})).status_code == 200
    assert_error(await put(client, b"{}", **{"If-Match": etag(ONE)}), 412, "state_changed")
    assert_error(await client.delete("/v1/states/s", headers={"If-Match": etag(ONE)}), 412, "state_changed")
    assert (await client.delete("/v1/states/s", headers={"If-Match": etag(TWO)})).status_code == 204


async def test_a_write_whose_answer_was_lost_may_be_repeated(client: httpx.AsyncClient) -> None:
    await put(client, ONE)
    for _ in range(2):
        assert (await put(client, TWO, **{"If-Match": etag(ONE)})).status_code == 200


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"If-Match": "*"}, "If-Match"),
        ({"If-Match": "abc"}, "If-Match"),
        ({"If-None-Match": etag(ONE)}, "If-None-Match"),
        ({"If-Match": etag(ONE), "If-None-Match": "*"}, "If-Match"),
    ],
)
async def test_other_conditions_are_refused(client: httpx.AsyncClient, headers: dict[str, str], field: str) -> None:
    assert_error(await put(client, ONE, **headers), 400, "validation_failed", field)


@pytest.mark.parametrize("document", [b"", b"[]", b"{", b'{"__a": 1}', b'{"a": {"__array__": {"dtype": "|O"}}}'])
async def test_what_is_no_state_is_refused(client: httpx.AsyncClient, document: bytes) -> None:
    error = assert_error(await put(client, document), 400, "decode_failed")
    assert str(error["field"]).startswith("state")


async def test_a_state_may_be_larger_than_a_job_and_not_than_its_own_limit(client: httpx.AsyncClient) -> None:
    large = encode_state({"a": np.zeros(SETTINGS.body_bytes)})
    assert len(large) > SETTINGS.body_bytes
    assert (await put(client, large)).status_code == 200
    declared = await put(client, b"{}" + b" " * SETTINGS.state_bytes)
    assert_error(declared, 413, "payload_too_large")


async def test_only_json_is_taken(client: httpx.AsyncClient) -> None:
    response = await client.put("/v1/states/s", content=ONE, headers={"Content-Type": "text/plain"})
    assert_error(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("name", ["a b", "x" * 65, "%2e%2e%2fa", "é"])
async def test_a_name_is_of_plain_characters(client: httpx.AsyncClient, name: str) -> None:
    response = await put(client, ONE, name)
    assert response.status_code in {400, 404}
    assert (await client.get(f"/v1/states/{name}")).status_code == 404

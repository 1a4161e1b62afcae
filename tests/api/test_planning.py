"""Explaining, estimating, and what a tenant has used."""

from __future__ import annotations

import httpx

from qrtx_ray.errors import DeadlineUnmeetable, DecodeError, InvalidState, QueueFull
from qrtx_ray.testing import FakeGateway
from tests.api.conftest import BOB, QASM, assert_error, bearer, native_job


async def test_a_job_is_explained_to_its_owner(client: httpx.AsyncClient, gateway: FakeGateway):
    gateway.explanation = {"estimated_start": {"at": 1.0, "low": 0.0, "high": 2.5}, "promoted_at": 3.0}
    first = (await client.post("/v1/jobs", json=native_job())).json()["id"]
    second = (await client.post("/v1/jobs", json=native_job())).json()["id"]
    assert (await client.get(f"/v1/jobs/{first}/explain")).json()["position"] == 0
    told = (await client.get(f"/v1/jobs/{second}/explain")).json()
    assert (told["state"], told["position"], told["reason"]) == ("Queued", 1, "1 job is ahead of it")
    assert told["estimated_start"]["high"] == "1970-01-01T00:00:02.500000Z"
    assert told["promoted_at"] == "1970-01-01T00:00:03.000000Z"


async def test_moments_are_told_as_dates(client: httpx.AsyncClient, gateway: FakeGateway):
    gateway.explanation = {
        "reason": "the device is reserved until 1893456000.000 s since the epoch",
        "changes": [
            "at 1893456000.500 s since the epoch it goes first",
            "999999999999999.000 s since the epoch",
            "in 3.000 s",
        ],
    }
    job = (await client.post("/v1/jobs", json=native_job())).json()["id"]
    told = (await client.get(f"/v1/jobs/{job}/explain")).json()
    assert told["reason"] == "the device is reserved until 2030-01-01T00:00:00.000000Z"
    assert told["changes"][0] == "at 2030-01-01T00:00:00.500000Z it goes first"
    assert told["changes"][1:] == ["999999999999999.000 s since the epoch", "in 3.000 s"]
    gateway.refusal = InvalidState("it is reserved from 1893456000.000 to 1893456001.000 s since the epoch")
    overlap = assert_error(await client.post("/v1/jobs", json=native_job()), 409, "invalid_state")
    span = "from 2030-01-01T00:00:00.000000Z to 2030-01-01T00:00:01.000000Z"
    assert overlap["message"] == f"it is reserved {span}"
    limit = "1893456000.000 s since the epoch"
    gateway.refusal = DeadlineUnmeetable("the deadline passed 1.000 s ago", field="deadline_at", limit=limit)
    error = assert_error(await client.post("/v1/jobs", json=native_job()), 422, "deadline_unmeetable", "deadline")
    assert error["limit"] == "2030-01-01T00:00:00.000000Z"


async def test_nobody_elses_job_is_explained(client: httpx.AsyncClient):
    job = (await client.post("/v1/jobs", json=native_job())).json()["id"]
    assert_error(await client.get(f"/v1/jobs/{job}/explain", headers=bearer(BOB)), 404, "not_found")
    assert_error(await client.get("/v1/jobs/nonsense/explain"), 404, "not_found")


async def test_an_estimate_stores_nothing(client: httpx.AsyncClient, gateway: FakeGateway):
    answer = (await client.post("/v1/estimate", json=native_job(device="manila"))).json()
    assert (answer["chosen"], answer["policy"]) == ("fake_manila@aer", "fake")
    (device,) = answer["devices"]
    assert (device["device"], device["fidelity"], device["qpu_s"]) == ("fake_manila@aer", 0.9, 2.0)
    assert device["provenance"]["calibration_id"] == "0123456789ab"
    assert gateway.requests == []
    assert (await client.get("/v1/jobs")).json()["total"] == 0


async def test_an_estimate_tells_every_device_that_may_be_chosen(client: httpx.AsyncClient):
    body = native_job(device="auto", devices=["manila", "fake_quito@aer_ideal"])
    devices = (await client.post("/v1/estimate", json=body)).json()["devices"]
    assert [device["device"] for device in devices] == ["fake_manila@aer", "fake_quito@aer_ideal"]


async def test_a_bare_circuit_is_estimated_too(client: httpx.AsyncClient):
    response = await client.post(
        "/v1/estimate?device=manila", content=QASM.encode(), headers={"Content-Type": "text/x-openqasm"}
    )
    assert response.json()["devices"][0]["device"] == "fake_manila@aer"


async def test_what_cannot_be_estimated_is_refused(client: httpx.AsyncClient, gateway: FakeGateway):
    assert_error(await client.post("/v1/estimate", json={"jobs": [native_job()]}), 400, "validation_failed")
    assert_error(await client.post("/v1/estimate", content=b"{"), 400, "decode_failed")
    gateway.refusal = DecodeError("circuits[0].source is not OpenQASM", field="circuits[0].source")
    assert_error(await client.post("/v1/estimate", json=native_job()), 400, "decode_failed", "circuits[0].source")
    gateway.refusal = QueueFull("too many estimates at once")
    refused = await client.post("/v1/estimate", json=native_job())
    assert_error(refused, 429, "queue_full")
    assert "retry-after" in refused.headers


async def test_usage_is_the_tenants_own(client: httpx.AsyncClient, gateway: FakeGateway):
    job = (await client.post("/v1/jobs", json=native_job())).json()["id"]
    gateway.complete(job, b"{}", qpu_s=3.5)
    mine = (await client.get("/v1/usage")).json()
    assert (mine["tenant"], mine["decayed_qpu_s"]) == ("alice", 3.5)
    quota = mine["quotas"]["qpu_seconds"]
    assert (quota["used"], quota["limit"]) == (3.5, None)
    assert quota["period_ends_at"].endswith("T00:00:00.000000Z")
    assert (await client.get("/v1/usage", headers=bearer(BOB))).json()["decayed_qpu_s"] == 0.0

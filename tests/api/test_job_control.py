"""Pause, resume, checkpoint, migrate, restore, cancel with partial results, by HTTP."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from qrtx_ray.api.gateway import AgentView
from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model import TaskState
from qrtx_ray.testing import FakeGateway
from tests.api.canned import sampler_results
from tests.api.conftest import BOB, assert_error, bearer, native_job, runtime_job

COMMANDS = ["pause", "resume", "checkpoint", "migrate", "restore", "cancel"]
NOWHERE = "0" * 20
SAMPLED = sampler_results(["00", "11"])


@pytest.fixture
async def job_id(client: httpx.AsyncClient) -> str:
    return str((await client.post("/v1/jobs", json=native_job())).json()["id"])


async def test_a_waiting_job_is_paused_at_once_and_goes_on_waiting_when_resumed(
    client: httpx.AsyncClient, job_id: str
) -> None:
    paused = (await client.post(f"/v1/jobs/{job_id}/pause")).json()
    assert (paused["state"], paused["status"], paused["paused_by"]) == ("Paused", "PAUSED", "alice")
    assert paused["paused_at"].endswith("Z")
    again = (await client.post(f"/v1/jobs/{job_id}/pause")).json()
    assert again["version"] == paused["version"]
    resumed = (await client.post(f"/v1/jobs/{job_id}/resume")).json()
    assert (resumed["state"], resumed["paused_at"], resumed["paused_by"]) == ("Queued", None, None)
    assert (await client.post(f"/v1/jobs/{job_id}/resume")).json()["version"] == resumed["version"]


async def test_a_running_job_pauses_after_its_slice_with_its_checkpoint(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.start(job_id)
    asked = (await client.post(f"/v1/jobs/{job_id}/pause")).json()
    assert (asked["state"], asked["pause_requested"]) == ("Executing", True)
    gateway.make_way(job_id, 0.4)
    shown = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert (shown["state"], shown["pause_requested"], shown["progress"]) == ("Paused", False, 0.4)
    (kept,) = shown["checkpoints"]
    assert kept.keys() == {"sequence", "attempt", "progress", "at", "size_bytes", "kind"}
    assert (kept["sequence"], kept["progress"], kept["kind"]) == (1, 0.4, "slices")


async def test_a_pause_may_be_taken_back_before_it_came(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.start(job_id)
    await client.post(f"/v1/jobs/{job_id}/pause")
    resumed = (await client.post(f"/v1/jobs/{job_id}/resume")).json()
    assert (resumed["state"], resumed["pause_requested"]) == ("Executing", False)


async def test_a_checkpoint_is_asked_for_and_waited_for(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.start(job_id)
    at_once = (await client.post(f"/v1/jobs/{job_id}/checkpoint")).json()
    assert at_once["checkpoints"] == []
    waiting = asyncio.create_task(client.post(f"/v1/jobs/{job_id}/checkpoint?wait=5"))
    while len(gateway.checkpoints_wanted) < 2:
        await asyncio.sleep(0)
    await client.post(f"/v1/jobs/{job_id}/pause")  # another change of the job is not the checkpoint
    gateway.keep_checkpoint(job_id, 0.25, size_bytes=99, kind="segment")
    (kept,) = (await waiting).json()["checkpoints"]
    assert (kept["sequence"], kept["size_bytes"], kept["kind"]) == (1, 99, "segment")
    assert gateway.checkpoints_wanted == [job_id, job_id]


async def test_waiting_for_a_checkpoint_ends_in_time_and_with_the_job(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.start(job_id)
    late = await client.post(f"/v1/jobs/{job_id}/checkpoint?wait=0.02")
    assert (late.status_code, late.json()["checkpoints"]) == (200, [])
    waiting = asyncio.create_task(client.post(f"/v1/jobs/{job_id}/checkpoint?wait=5"))
    while len(gateway.checkpoints_wanted) < 2:
        await asyncio.sleep(0)
    gateway.complete(job_id, SAMPLED)
    assert (await waiting).json()["state"] == "Completed"
    assert_error(await client.post(f"/v1/jobs/{job_id}/checkpoint?wait=61"), 400, "validation_failed", "wait")


async def test_the_checkpoints_of_a_job_are_listed_newest_first(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.start(job_id)
    for progress in (0.1, 0.2, 0.3):
        gateway.keep_checkpoint(job_id, progress)
    listed = (await client.get(f"/v1/jobs/{job_id}/checkpoints")).json()
    assert listed["job_id"] == job_id
    assert [(one["sequence"], one["progress"]) for one in listed["checkpoints"]] == [(3, 0.3), (2, 0.2)]


async def test_a_running_job_is_moved_to_another_agent(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    assert_error(await client.post(f"/v1/jobs/{job_id}/migrate"), 409, "invalid_state")
    gateway.held = [AgentView("one", ("d",)), AgentView("two", ("d",)), AgentView("gone", ("d",), drained=True)]
    gateway.start(job_id)
    gateway.advance(job_id, TaskState.EXECUTING, agent="one")
    for wanted in ("one", "gone", "nobody"):
        refused = await client.post(f"/v1/jobs/{job_id}/migrate", json={"agent": wanted})
        assert_error(refused, 409, "invalid_state", "agent")
    moved = await client.post(f"/v1/jobs/{job_id}/migrate", json={"agent": "two"})
    assert (moved.status_code, moved.json()["state"]) == (200, "Queued")


async def test_a_job_that_ended_is_restored_as_a_new_one(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    assert_error(await client.post(f"/v1/jobs/{job_id}/restore"), 409, "invalid_state")
    gateway.start(job_id)
    for progress in (0.2, 0.4):
        gateway.keep_checkpoint(job_id, progress)
    gateway.fail(job_id, ErrorInfo("worker_died", "it died", "ExecuteError"))
    response = await client.post(f"/v1/jobs/{job_id}/restore")
    new = response.json()
    assert (response.status_code, response.headers["location"]) == (201, f"/v1/jobs/{new['id']}")
    assert new["id"] != job_id
    assert (new["restored_from"], new["state"]) == (job_id, "Queued")
    assert [one["sequence"] for one in new["checkpoints"]] == [2, 1]
    old = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert (new["seed"], new["device"], new["program"]) == (old["seed"], old["device"], old["program"])
    earlier = (await client.post(f"/v1/jobs/{job_id}/restore", json={"sequence": 1})).json()
    assert [one["sequence"] for one in earlier["checkpoints"]] == [1]
    assert_error(await client.post(f"/v1/jobs/{job_id}/restore", json={"sequence": 9}), 404, "not_found", "sequence")


async def test_a_restore_with_a_key_makes_one_job(client: httpx.AsyncClient, gateway: FakeGateway, job_id: str) -> None:
    gateway.start(job_id)
    gateway.keep_checkpoint(job_id, 0.2)
    gateway.advance(job_id, TaskState.CANCELLED)
    key = {"Idempotency-Key": "once"}
    first, second = [await client.post(f"/v1/jobs/{job_id}/restore", headers=key) for _ in range(2)]
    assert first.json()["id"] == second.json()["id"]
    other = await client.post(f"/v1/jobs/{job_id}/restore", headers=key, json={"sequence": 1})
    assert_error(other, 409, "idempotency_conflict")


@pytest.mark.parametrize("how", [{"json": {"partial": True}}, {"params": {"partial": "true"}}])
async def test_a_running_job_is_cancelled_with_what_was_done(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str, how: dict
) -> None:
    gateway.start(job_id)
    asked = (await client.post(f"/v1/jobs/{job_id}/cancel", **how)).json()
    assert (asked["state"], asked["cancel_requested"], asked["keep_partial"]) == ("Executing", True, True)
    gateway.conclude(job_id, SAMPLED, 0.6)
    shown = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert (shown["state"], shown["partial"], shown["progress"]) == ("Cancelled", True, 0.6)
    response = await client.get(f"/v1/jobs/{job_id}/results")
    told = response.json()
    assert (response.status_code, told["partial"], told["progress"]) == (200, True, 0.6)
    assert told["results"]["pubs"]
    (listed,) = (await client.get(f"/v1/results?job={job_id}")).json()["outcomes"]
    assert (listed["partial"], listed["error"]) == (True, None)


async def test_a_second_cancel_without_partial_ends_it_at_once(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.start(job_id)
    await client.post(f"/v1/jobs/{job_id}/cancel", json={"partial": True})
    assert (await client.post(f"/v1/jobs/{job_id}/cancel")).json()["state"] == "Cancelled"
    assert_error(await client.get(f"/v1/jobs/{job_id}/results"), 409, "invalid_state")


async def test_results_of_a_whole_job_say_that_they_are(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    gateway.complete(job_id, SAMPLED)
    told = (await client.get(f"/v1/jobs/{job_id}/results")).json()
    assert (told["partial"], told["progress"]) == (False, 1.0)


@pytest.mark.parametrize("command", COMMANDS)
async def test_another_tenants_job_is_not_found(client: httpx.AsyncClient, job_id: str, command: str) -> None:
    for path, headers in ((job_id, bearer(BOB)), (NOWHERE, {}), ("..", {})):
        response = await client.post(f"/v1/jobs/{path}/{command}", headers=headers)
        assert_error(response, 404, "not_found")
    assert_error(await client.get(f"/v1/jobs/{job_id}/checkpoints", headers=bearer(BOB)), 404, "not_found")


@pytest.mark.parametrize("command", ["pause", "resume", "checkpoint", "migrate", "cancel"])
async def test_what_has_ended_cannot_be_told_anything(
    client: httpx.AsyncClient, gateway: FakeGateway, job_id: str, command: str
) -> None:
    gateway.complete(job_id, SAMPLED)
    assert_error(await client.post(f"/v1/jobs/{job_id}/{command}"), 409, "invalid_state")


@pytest.mark.parametrize(
    ("command", "body", "code", "field"),
    [
        ("cancel", b'{"partial": 1}', "validation_failed", "partial"),
        ("cancel", b'{"partly": true}', "validation_failed", "partly"),
        ("cancel", b"[]", "decode_failed", "body"),
        ("cancel", b"{", "decode_failed", "body"),
        ("migrate", b'{"agent": 7}', "validation_failed", "agent"),
        ("migrate", b'{"device": "x"}', "validation_failed", "device"),
        ("restore", b'{"sequence": 0}', "validation_failed", "sequence"),
        ("restore", b'{"sequence": true}', "validation_failed", "sequence"),
        ("restore", b'{"sequence": 1.5}', "validation_failed", "sequence"),
    ],
)
async def test_a_wrong_body_is_refused_and_the_field_named(
    client: httpx.AsyncClient, job_id: str, command: str, body: bytes, code: str, field: str
) -> None:
    headers = {"Content-Type": "application/json"}
    response = await client.post(f"/v1/jobs/{job_id}/{command}", content=body, headers=headers)
    assert_error(response, 400, code, field)


async def test_a_wrong_query_is_refused(client: httpx.AsyncClient, job_id: str) -> None:
    response = await client.post(f"/v1/jobs/{job_id}/cancel?partial=perhaps")
    assert_error(response, 400, "validation_failed", "partial")


@pytest.mark.parametrize("seconds", [0, 1, 60.5, 86_400])
async def test_the_interval_of_checkpoints_is_taken_by_both_apis(
    client: httpx.AsyncClient, runtime: httpx.AsyncClient, gateway: FakeGateway, seconds: float
) -> None:
    job = (await client.post("/v1/jobs", json=native_job(checkpoint_interval_s=seconds))).json()
    assert job["checkpoint_interval_s"] == seconds
    body = runtime_job()
    body["params"]["options"] = {"experimental": {"qrtx": {"checkpoint_interval_s": seconds}}}  # type: ignore[index]
    assert (await runtime.post("/jobs", json=body)).status_code == 200
    assert [request.checkpoint_interval_s for request in gateway.requests] == [seconds, seconds]


@pytest.mark.parametrize("seconds", [-1, 0.5, 86_401, "60", True])
async def test_an_interval_out_of_bounds_is_refused_by_both_apis(
    client: httpx.AsyncClient, runtime: httpx.AsyncClient, seconds: object
) -> None:
    refused = await client.post("/v1/jobs", json=native_job(checkpoint_interval_s=seconds))
    assert_error(refused, 400, "validation_failed", "checkpoint_interval_s")
    body = runtime_job()
    body["params"]["options"] = {"experimental": {"qrtx": {"checkpoint_interval_s": seconds}}}  # type: ignore[index]
    field = "options.experimental.qrtx.checkpoint_interval_s"
    assert_error(await runtime.post("/jobs", json=body), 400, "validation_failed", field)


async def test_the_runtime_api_calls_a_paused_job_queued_and_gives_no_results_of_a_cancelled_one(
    client: httpx.AsyncClient, runtime: httpx.AsyncClient, gateway: FakeGateway, job_id: str
) -> None:
    await client.post(f"/v1/jobs/{job_id}/pause")
    assert (await runtime.get(f"/jobs/{job_id}")).json()["status"] == "Queued"
    assert [job["id"] for job in (await runtime.get("/jobs?pending=true")).json()["jobs"]] == [job_id]
    await client.post(f"/v1/jobs/{job_id}/resume")
    gateway.start(job_id)
    gateway.conclude(job_id, SAMPLED, 0.6)
    assert (await runtime.get(f"/jobs/{job_id}")).json()["status"] == "Cancelled"
    assert (await runtime.get(f"/jobs/{job_id}/results")).status_code == 204

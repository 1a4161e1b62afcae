"""The Runtime API, trap by trap."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import httpx
import pytest

from qrtx_ray.api.app import create_app
from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model import CircuitProfile, DeviceStatus, PayloadFormat, Program, TaskState
from qrtx_ray.testing import FakeGateway
from tests.api.conftest import ALICE, DEVICES, SETTINGS, assert_error, bearer, runtime_job


async def submit(runtime: httpx.AsyncClient, **fields: object) -> str:
    response = await runtime.post("/jobs", json=runtime_job(**fields))
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


def params(**fields: object) -> dict[str, object]:
    return {"params": {"pubs": [["c", None, 5]], "version": 2, **fields}}


async def test_a_job_is_accepted_with_all_it_says(runtime: httpx.AsyncClient, gateway: FakeGateway) -> None:
    hints = {"priority": 80, "queue_timeout_s": 5, "execution_timeout_s": 6, "name": "n"}
    options = {"experimental": {"qrtx": hints}, "simulator": {"seed_simulator": 9}}
    body = runtime_job(
        backend="manila", tags=["a"], cost=60, private=True, runtime="name:tag", log_level="DEBUG",
        calibration_id="0123456789ab", **params(options=options),
    )  # fmt: skip
    crn = "crn:v1:bluemix:public:quantum-computing:us-east:a/qrtx:default::"
    headers = {"Service-CRN": crn, "X-Qx-Client-Application": "qiskit-version-2/x"}
    answer = (await runtime.post("/jobs", json=body, headers=headers)).json()
    (request,) = gateway.requests
    assert answer == {"id": answer["id"], "backend": "fake_manila@aer", "session_id": None, "private": True}
    assert (request.program, request.device, request.tenant) == (Program.SAMPLER, "fake_manila@aer", "alice")
    assert request.payload_format is PayloadFormat.RUNTIME
    assert json.loads(request.payload) == body["params"]
    assert (request.instance, request.client, request.source) == (crn, "qiskit-version-2/x", "runtime")
    assert (request.priority, request.seed, request.name, request.tags) == (80, 9, "n", ("a",))
    assert (request.queue_timeout_s, request.execution_timeout_s, request.max_qpu_s) == (5, 6, 60)
    assert (request.private, request.calibration_id) == (True, "0123456789ab")


async def test_both_mounts_are_the_same(client: httpx.AsyncClient) -> None:
    job_id = (await client.post("/experimental/api/v1/jobs", json=runtime_job())).json()["id"]
    assert (await client.get(f"/api/v1/jobs/{job_id}")).json()["id"] == job_id


async def test_a_hint_seed_wins_over_the_simulators(runtime: httpx.AsyncClient, gateway: FakeGateway) -> None:
    options = {"experimental": {"qrtx": {"seed": 1}}, "simulator": {"seed_simulator": 9}}
    await submit(runtime, **params(options=options))
    assert gateway.requests[0].seed == 1


@pytest.mark.parametrize("name", ["executor", "noise-learner", "", None, 7, ["sampler"]])
async def test_an_unknown_program_is_404(runtime: httpx.AsyncClient, name: object) -> None:
    assert_error(await runtime.post("/jobs", json=runtime_job(program_id=name)), 404, "not_found", "program_id")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (runtime_job(backend="nowhere"), "backend"),
        (runtime_job(backend=None), "backend"),
        (runtime_job(backend="x" * 300), "backend"),
        (runtime_job(params=None), "params"),
        (runtime_job(params=[]), "params"),
        (runtime_job(**params(pubs=[])), "params.pubs"),
        (runtime_job(**params(pubs="x")), "params.pubs"),
        (runtime_job(**params(pubs=[1] * 301)), "params.pubs"),
        (runtime_job(**params(version=1)), "params.version"),
        (runtime_job(**params(version=True)), "params.version"),
        (runtime_job(**params(options=[])), "params.options"),
        (runtime_job(**params(shots=0)), "params.shots"),
        (runtime_job(**params(options={"default_shots": 10**9})), "params.options.default_shots"),
        *(
            (runtime_job(**params(pubs=[["c", None, shots]])), "params.pubs[0].shots")
            for shots in (10**9, -1, 0, 1.5, True, 2**63)
        ),
        *(
            (runtime_job(**params(options={"experimental": {"qrtx": hints}})), field)
            for hints, field in (
                ({"priority": 101}, "options.experimental.qrtx.priority"),
                ({"priority": "urgent"}, "options.experimental.qrtx.priority"),
                ({"seed": -1}, "options.experimental.qrtx.seed"),
                ({"seed": 2**64}, "options.experimental.qrtx.seed"),
                ({"queue_timeout_s": 0}, "options.experimental.qrtx.queue_timeout_s"),
                ({"execution_timeout_s": 1e300}, "options.experimental.qrtx.execution_timeout_s"),
                ({"name": "a\nb"}, "options.experimental.qrtx.name"),
                ({"surprise": 1}, "options.experimental.qrtx"),
                ([], "options.experimental.qrtx"),
            )
        ),
        (runtime_job(**params(options={"simulator": {"seed_simulator": -1}})), "options.simulator.seed_simulator"),
        (runtime_job(cost=0), "cost"),
        (runtime_job(cost=10_801), "cost"),
        (runtime_job(cost="x"), "cost"),
        (runtime_job(private=1), "private"),
        (runtime_job(tags="x"), "tags"),
        (runtime_job(tags=["x"] * 9), "tags"),
        (runtime_job(tags=["x" * 87]), "tags[0]"),
        (runtime_job(tags=[""]), "tags"),
        (runtime_job(tags=[1]), "tags[0]"),
        (runtime_job(calibration_id=5), "calibration_id"),
        (runtime_job(session_id="s"), "session_id"),
        (runtime_job(start_session=True), "session_id"),
    ],
)
async def test_wrong_envelopes_are_refused_with_the_field(
    runtime: httpx.AsyncClient, gateway: FakeGateway, body: dict[str, object], field: str
) -> None:
    assert_error(await runtime.post("/jobs", json=body), 400, "validation_failed", field)
    assert gateway.requests == []


@pytest.mark.parametrize("body", [b"[]", b"7", b'"x"', b"null"])
async def test_a_body_that_is_no_object_is_refused(runtime: httpx.AsyncClient, body: bytes) -> None:
    response = await runtime.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    assert_error(response, 400, "decode_failed", "body")


async def test_other_media_types_are_refused(runtime: httpx.AsyncClient) -> None:
    response = await runtime.post("/jobs", content=b"{}", headers={"Content-Type": "text/plain"})
    assert_error(response, 415, "unsupported_media_type")


async def test_shots_that_are_encoded_are_left_to_the_decoder(runtime: httpx.AsyncClient) -> None:
    await submit(runtime, **params(pubs=[["c", None, {"__type__": "ndarray"}], ["c"], "c"]))
    await submit(runtime, program_id="estimator", **params(pubs=[["c", {"Z": 1}, None, 0.01]]))


async def test_an_idempotency_key_is_honoured(runtime: httpx.AsyncClient, gateway: FakeGateway) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await runtime.post("/jobs", json=runtime_job(), headers=headers)
    assert (await runtime.post("/jobs", json=runtime_job(), headers=headers)).json() == first.json()
    assert len(gateway.requests) == 1
    other = await runtime.post("/jobs", json=runtime_job(tags=["x"]), headers=headers)
    assert_error(other, 409, "idempotency_conflict")


async def test_a_job_is_shown_with_its_parameters_unless_excluded(
    runtime: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    job_id = await submit(runtime)
    gateway.complete(job_id, b"{}")
    whole = (await runtime.get(f"/jobs/{job_id}")).json()
    assert whole["params"] == runtime_job()["params"]
    bare = (await runtime.get(f"/jobs/{job_id}?exclude_params=true")).json()
    assert "params" not in bare
    assert (bare["backend"], bare["program"], bare["user_id"]) == ("fake_manila@aer", {"id": "sampler"}, "alice")
    assert bare["state"] == {"status": "Completed"}
    assert bare["created"].endswith("Z")


async def test_a_private_job_shows_no_parameters_and_its_results_once(
    runtime: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    job_id = await submit(runtime, private=True)
    gateway.complete(job_id, b'{"a":1}')
    assert "params" not in (await runtime.get(f"/jobs/{job_id}")).json()
    assert (await runtime.get(f"/jobs/{job_id}/results")).text == '{"a":1}'
    assert (await runtime.get(f"/jobs/{job_id}/results")).status_code == 204


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (TaskState.PENDING, "Queued"),
        (TaskState.VALIDATING, "Queued"),
        (TaskState.COMPILING, "Queued"),
        (TaskState.QUEUED, "Queued"),
        (TaskState.PAUSED, "Queued"),
        (TaskState.EXECUTING, "Running"),
        (TaskState.COMPLETING, "Running"),
        (TaskState.COMPLETED, "Completed"),
        (TaskState.CANCELLED, "Cancelled"),
    ],
)
async def test_every_state_is_one_of_five_words(
    runtime: httpx.AsyncClient, gateway: FakeGateway, state: TaskState, status: str
) -> None:
    job_id = await submit(runtime)
    gateway.advance(job_id, state)
    shown = (await runtime.get(f"/jobs/{job_id}")).json()
    assert shown["status"] == shown["state"]["status"] == status


async def test_failures_carry_a_reason_and_a_number(runtime: httpx.AsyncClient, gateway: FakeGateway) -> None:
    job_id = await submit(runtime)
    gateway.fail(job_id, ErrorInfo("compile_failed", "gate foo is unknown", "CompileError"))
    state = (await runtime.get(f"/jobs/{job_id}")).json()["state"]
    assert state == {
        "status": "Failed",
        "reason": "gate foo is unknown",
        "reason_code": 1003,
        "reason_solution": "Transpile the circuit for the device, or simplify it.",
    }
    assert (await runtime.get(f"/jobs/{job_id}/results")).status_code == 204


@pytest.mark.parametrize(
    ("code", "status", "number"), [("execution_timeout", "Cancelled", 1305), ("queue_timeout", "Failed", 1011)]
)
async def test_a_run_that_took_too_long_is_cancelled_with_1305(
    runtime: httpx.AsyncClient, gateway: FakeGateway, code: str, status: str, number: int
) -> None:
    job_id = await submit(runtime)
    gateway.fail(job_id, ErrorInfo(code, "took too long", "ExecuteError"), TaskState.TIMEOUT)
    state = (await runtime.get(f"/jobs/{job_id}")).json()["state"]
    assert (state["status"], state["reason_code"]) == (status, number)


async def test_a_poll_is_held_until_the_job_ends(gateway: FakeGateway) -> None:
    app = create_app(gateway, replace(SETTINGS, long_poll_max_s=60.0), DEVICES)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://t/api/v1", headers=bearer(ALICE)) as runtime:
        job_id = await submit(runtime)
        poll = asyncio.create_task(runtime.get(f"/jobs/{job_id}?exclude_params=true"))
        await asyncio.sleep(0.02)
        gateway.start(job_id)
        await asyncio.sleep(0.02)
        assert not poll.done()
        gateway.complete(job_id, b"{}")
        async with asyncio.timeout(5):
            assert (await poll).json()["status"] == "Completed"
            assert (await runtime.get(f"/jobs/{job_id}")).json()["status"] == "Completed"


async def test_a_held_poll_ends_after_the_servers_time(runtime: httpx.AsyncClient) -> None:
    job_id = await submit(runtime)
    async with asyncio.timeout(5):
        assert (await runtime.get(f"/jobs/{job_id}")).json()["status"] == "Queued"


async def test_lists_filter_and_page(runtime: httpx.AsyncClient, gateway: FakeGateway) -> None:
    ids = [await submit(runtime, tags=["t", str(i)]) for i in range(4)]
    gateway.complete(ids[0], b"{}")

    async def found(query: str) -> list[str]:
        return [job["id"] for job in (await runtime.get(f"/jobs?exclude_params=true&{query}")).json()["jobs"]]

    assert await found("") == ids[::-1]
    assert await found("sort=ASC&limit=2&offset=1") == ids[1:3]
    assert await found("pending=true&sort=ASC") == ids[1:]
    assert await found("pending=false") == ids[:1]
    assert await found("tags=t&tags=2") == [ids[2]]
    assert await found("backend=manila&program=sampler&sort=ASC&include_mocks=True") == ids
    assert await found("backend=nowhere") == await found("session_id=s") == []
    assert await found("created_after=1999-01-01T00:00:00%2B00:00&sort=ASC") == ids
    assert await found("created_before=1999-01-01T00:00:00+00:00") == []


async def test_the_count_is_never_less_than_the_offset(runtime: httpx.AsyncClient) -> None:
    await submit(runtime)
    page = (await runtime.get("/jobs?limit=10&offset=7")).json()
    assert page == {"jobs": [], "count": 7, "limit": 10, "offset": 7}


@pytest.mark.parametrize("query", ["limit=0", "limit=1000", "offset=-1", "pending=perhaps", "created_after=x"])
async def test_wrong_filters_are_refused(runtime: httpx.AsyncClient, query: str) -> None:
    assert_error(await runtime.get(f"/jobs?{query}"), 400, "validation_failed", query.partition("=")[0])


async def test_cancel_is_204_then_409(runtime: httpx.AsyncClient) -> None:
    job_id = await submit(runtime)
    assert (await runtime.post(f"/jobs/{job_id}/cancel")).status_code == 204
    assert_error(await runtime.post(f"/jobs/{job_id}/cancel"), 409, "invalid_state")
    assert (await runtime.get(f"/jobs/{job_id}")).json()["status"] == "Cancelled"


async def test_delete_is_204(runtime: httpx.AsyncClient) -> None:
    job_id = await submit(runtime)
    assert_error(await runtime.delete(f"/jobs/{job_id}"), 409, "invalid_state")
    await runtime.post(f"/jobs/{job_id}/cancel")
    assert (await runtime.delete(f"/jobs/{job_id}")).status_code == 204
    assert_error(await runtime.get(f"/jobs/{job_id}"), 404, "not_found")


async def test_tags_are_replaced_with_204(runtime: httpx.AsyncClient) -> None:
    job_id = await submit(runtime, tags=["old"])
    response = await runtime.put(f"/jobs/{job_id}/tags", json={"tags": ["new", "new", "er"]})
    assert (response.status_code, response.content) == (204, b"")
    assert (await runtime.get("/jobs")).json()["jobs"][0]["tags"] == ["new", "er"]
    assert_error(await runtime.put(f"/jobs/{job_id}/tags", json={"tags": 7}), 400, "validation_failed", "tags")
    assert_error(await runtime.put(f"/jobs/{job_id}/tags", json=[]), 400, "decode_failed", "body")


async def test_logs_tell_the_way_of_the_job(runtime: httpx.AsyncClient, gateway: FakeGateway) -> None:
    job_id = await submit(runtime)
    gateway.complete(job_id, b"{}")
    response = await runtime.get(f"/jobs/{job_id}/logs")
    assert response.headers["content-type"].startswith("text/plain")
    assert [line.split(" ", 1)[1] for line in response.text.splitlines()] == [
        "- -> Queued attempt=0",
        "Queued -> Executing attempt=1",
        "Executing -> Completed attempt=1",
    ]


async def test_metrics_tell_times_and_usage(runtime: httpx.AsyncClient, gateway: FakeGateway) -> None:
    job_id = await submit(runtime)
    profile = CircuitProfile(2, 3, 1, 4, 400, 0.1, 100, 2.5, "g", "0123456789ab", "aer")
    gateway.advance(job_id, TaskState.QUEUED, profile=profile)
    metrics = (await runtime.get(f"/jobs/{job_id}/metrics")).json()
    assert (metrics["usage"]["status"], metrics["num_circuits"]) == ("pending", 4)
    assert metrics["timestamps"]["running"] is None
    gateway.complete(job_id, b"{}", qpu_s=2.5)
    metrics = (await runtime.get(f"/jobs/{job_id}/metrics")).json()
    assert metrics["usage"]["status"] == "complete"
    assert metrics["usage"]["qpu_charge_time_seconds"] == 2.5
    shown = (await runtime.get(f"/jobs/{job_id}")).json()
    assert (shown["estimated_running_time_seconds"], shown["calibration_id"]) == (2.5, "0123456789ab")


async def test_usage_sums_up_and_knows_its_limit(gateway: FakeGateway) -> None:
    app = create_app(gateway, replace(SETTINGS, usage_limit_s=3.0), DEVICES)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://t/api/v1", headers=bearer(ALICE)) as runtime:
        usage = (await runtime.get("/instances/usage")).json()
        assert (usage["usage_consumed_seconds"], usage["usage_limit_reached"]) == (0.0, False)
        gateway.complete(await submit(runtime), b"{}", qpu_s=3.0)
        usage = (await runtime.get("/instances/usage")).json()
        assert (usage["usage_consumed_seconds"], usage["usage_limit_reached"]) == (3.0, True)
        assert usage["usage_limit_seconds"] == 3.0
        assert (await runtime.get("/instances/usage", headers=bearer("bob-token"))).json()[
            "usage_consumed_seconds"
        ] == 0


async def test_the_instance_is_the_one_the_client_names(runtime: httpx.AsyncClient) -> None:
    assert (await runtime.get("/instance")).json()["name"] == "default"
    assert (await runtime.get("/instances/configuration")).json()["backends"] == list(DEVICES)
    assert "2026-04-15" in (await runtime.get("/versions")).json()["versions"]


async def test_backends_have_what_least_busy_reads(runtime: httpx.AsyncClient, gateway: FakeGateway) -> None:
    gateway.set_view("fake_quito@aer_ideal", status=DeviceStatus.OFFLINE)
    devices = (await runtime.get("/backends?include_mocks=True")).json()["devices"]
    assert [device["name"] for device in devices] == ["fake_manila@aer", "manila", "fake_quito@aer_ideal"]
    assert [device["status"]["name"] for device in devices] == ["online", "online", "offline"]
    assert all({"queue_length", "qubits"} <= device.keys() for device in devices)


async def test_backend_documents(runtime: httpx.AsyncClient) -> None:
    for name in ("fake_manila@aer", "manila"):
        configuration = (await runtime.get(f"/backends/{name}/configuration")).json()
        assert (configuration["backend_name"], configuration["n_qubits"]) == (name, 5)
        assert configuration["simulator"] is False
        properties = (await runtime.get(f"/backends/{name}/properties?updated_before=2030-01-01T00:00:00")).json()
        assert properties["backend_name"] == name
        status = (await runtime.get(f"/backends/{name}/status")).json()
        assert (status["backend_name"], status["status"], status["length_queue"]) == (name, "active", 0)
        assert status["state"] is True


async def test_properties_are_those_of_the_last_calibration(runtime: httpx.AsyncClient, gateway: FakeGateway) -> None:
    packaged = (await runtime.get("/backends/fake_manila@aer/properties")).json()
    gateway.set_view("fake_manila@aer", noise_id="drift:7:0.1:3:0", calibrated_at=1893456000.0)
    drifted = (await runtime.get("/backends/fake_manila@aer/properties")).json()
    assert drifted["last_update_date"].startswith("2030-01-01T00:00:00")
    assert (drifted["backend_name"], len(drifted["qubits"])) == (packaged["backend_name"], len(packaged["qubits"]))
    assert drifted["qubits"] != packaged["qubits"]
    gateway.set_view("fake_manila@aer", noise_id="", calibrated_at=None)
    assert (await runtime.get("/backends/fake_manila@aer/properties")).json() == packaged


@pytest.mark.parametrize("document", ["configuration", "properties", "status"])
@pytest.mark.parametrize("name", ["nowhere", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "x" * 300, "%00"])
async def test_an_unknown_backend_is_404(runtime: httpx.AsyncClient, name: str, document: str) -> None:
    assert_error(await runtime.get(f"/backends/{name}/{document}"), 404, "not_found")


@pytest.mark.parametrize("document", ["configuration", "properties"])
async def test_a_calibration_must_be_the_devices(runtime: httpx.AsyncClient, document: str) -> None:
    path = f"/backends/manila/{document}?calibration_id="
    assert (await runtime.get(path + "0123456789ab")).status_code == 200
    assert_error(await runtime.get(path + "other"), 404, "not_found", "calibration_id")


async def test_sessions_are_refused_in_a_way_the_client_does_not_retry(runtime: httpx.AsyncClient) -> None:
    response = await runtime.post("/sessions", json={"mode": "batch", "backend": "manila"})
    assert "job mode" in str(assert_error(response, 400, "validation_failed", "mode")["message"])
    for verb, path in (("GET", "/sessions/s"), ("PATCH", "/sessions/s"), ("DELETE", "/sessions/s/close")):
        assert_error(await runtime.request(verb, path), 404, "not_found", "session_id")

"""Jobs of the native API."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest

from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model import PayloadFormat, Program, TaskState
from qrtx_ray.testing import FakeGateway
from tests.api.canned import sampler_results
from tests.api.conftest import QASM, assert_error, native_job


async def submit(client: httpx.AsyncClient, **fields: object) -> str:
    response = await client.post("/v1/jobs", json=native_job(**fields))
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


async def test_a_job_is_accepted_with_all_it_says(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    body = native_job(
        device="manila", name="bell", priority=90, seed=7, tags=["a", "b"], queue_timeout_s=5, execution_timeout_s=6,
        max_qpu_s=7, shots=10,
    )  # fmt: skip
    raw = json.dumps(body).encode()
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "curl/8"}
    response = await client.post("/v1/jobs", content=raw, headers=headers)
    assert response.status_code == 201
    (request,) = gateway.requests
    assert (request.program, request.device, request.tenant) == (Program.SAMPLER, "fake_manila@aer", "alice")
    assert (request.payload, request.payload_format) == (raw, PayloadFormat.NATIVE)
    assert (request.name, request.priority, request.seed, request.tags) == ("bell", 90, 7, ("a", "b"))
    assert (request.queue_timeout_s, request.execution_timeout_s, request.max_qpu_s) == (5, 6, 7)
    assert (request.client, request.source) == ("curl/8", "native")
    view = response.json()
    assert response.headers["location"] == f"/v1/jobs/{view['id']}"
    assert (view["state"], view["status"], view["level"], view["seed"]) == ("Queued", "QUEUED", "critical", "7")
    assert (await client.get(response.headers["location"])).json() == view


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (native_job(device="fake_nowhere@aer"), "device"),
        (native_job(device="../../etc/passwd"), "device"),
        (native_job(device=7), "device"),
        (native_job(circuits=[]), "circuits"),
        (native_job(circuits="x"), "circuits"),
        (native_job(circuits=[{"format": "qasm2", "source": QASM}] * 301), "circuits"),
        (native_job(circuits=[{"format": "pickle", "source": ""}]), None),
        (native_job(program="factor"), "program"),
        (native_job(shots=10**9), "shots"),
        (native_job(shots=2**63), "shots"),
        (native_job(shots=0), "shots"),
        (native_job(shots=-1), "shots"),
        (native_job(shots=1.5), "shots"),
        (native_job(shots="many"), "shots"),
        (native_job(circuits=[{"format": "qasm2", "source": QASM, "shots": 10**9}]), None),
        (native_job(priority=101), "priority"),
        (native_job(priority=-1), "priority"),
        (native_job(seed=-1), "seed"),
        (native_job(tags=["x"] * 9), "tags"),
        (native_job(tags=["x" * 87]), None),
        (native_job(queue_timeout_s=-1), "queue_timeout_s"),
        (native_job(surprise=1), "surprise"),
        ({}, None),
        ([], None),
        ("x", None),
        (None, None),
        (7, None),
    ],
)
async def test_wrong_bodies_are_refused_with_the_field(
    client: httpx.AsyncClient, gateway: FakeGateway, body: object, field: str | None
) -> None:
    response = await client.post("/v1/jobs", json=body)
    assert_error(response, 400, response.json()["error"]["code"], field)
    assert gateway.requests == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b"[" * 30_000,
        b'{"a":' * 10_000,
        b'{"jobs":' + b"[" * 30_000,
        b'{"device": NaN}',
        b'{"device": 1e999}',
        b"\xef\xbb\xbf{}",
        b'{"device": "\\ud800"}',
        b"1" * 60_000,
        b'{"shots": ' + b"9" * 60_000 + b"}",
        b"\x00",
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/api/v1/jobs"])
async def test_malformed_json_is_refused(
    client: httpx.AsyncClient, gateway: FakeGateway, body: bytes, path: str
) -> None:
    response = await client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] in ("decode_failed", "validation_failed")
    assert len(response.text) < 2000
    assert gateway.requests == []


async def test_the_refusal_does_not_repeat_what_was_sent(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/jobs", json=native_job(priority="SECRETVALUE", program="SECRETPROGRAM"))
    assert response.status_code == 400
    assert "SECRET" not in response.text


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data", "application/x-pickle"])
async def test_other_media_types_are_refused(client: httpx.AsyncClient, kind: str) -> None:
    response = await client.post("/v1/jobs", content=b"{}", headers={"Content-Type": kind})
    assert_error(response, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("kind", "body", "form"),
    [
        ("text/x-openqasm", QASM.encode(), "qasm2"),
        ("text/x-openqasm", b"// hello\nOPENQASM 3.0;\nqubit q;", "qasm3"),
        ("application/octet-stream", b"QISKIT\x00\xff", "qpy"),
    ],
)
async def test_bare_circuits_are_taken(
    client: httpx.AsyncClient, gateway: FakeGateway, kind: str, body: bytes, form: str
) -> None:
    query = "?device=manila&shots=50&seed=3"
    response = await client.post(f"/v1/jobs{query}", content=body, headers={"Content-Type": kind})
    assert response.status_code == 201, response.text
    (request,) = gateway.requests
    job = json.loads(request.payload)
    (circuit,) = job["circuits"]
    assert (circuit["format"], job["shots"], request.seed, request.device) == (form, 50, 3, "fake_manila@aer")
    sent = base64.b64decode(circuit["source"]) if form == "qpy" else circuit["source"].encode()
    assert sent == body


@pytest.mark.parametrize(("query", "field"), [("", "device"), ("?device=manila&shots=x", "shots")])
async def test_bare_circuits_need_a_device_and_plain_numbers(client: httpx.AsyncClient, query: str, field: str) -> None:
    response = await client.post(f"/v1/jobs{query}", content=b"OPENQASM", headers={"Content-Type": "text/x-openqasm"})
    assert_error(response, 400, "validation_failed", field)


JOBSPEC = """
apiVersion: qrtx/v1
kind: QuantumJob
metadata: {name: bell, tags: [t]}
spec:
  target: manila
  priority: 60
  shots: 20
  program:
    format: qasm2
    source: |
      OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; measure q -> c;
"""


async def test_a_job_file_is_taken(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    response = await client.post("/v1/jobs", content=JOBSPEC, headers={"Content-Type": "application/yaml"})
    assert response.status_code == 201, response.text
    (request,) = gateway.requests
    assert (request.name, request.device, request.priority, request.tags) == ("bell", "fake_manila@aer", 60, ("t",))
    assert json.loads(request.payload)["shots"] == 20


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: &x [1]\nb: *x",
        "{" * 1000,
        "!!python/object/apply:os.system [id]",
        JOBSPEC.replace("source: |", "path: /etc/passwd\n    unused: |"),
        JOBSPEC.replace("[t]", "[!!binary aGk=]"),
        JOBSPEC.replace("priority: 60", "priority: .nan"),
    ],
)
async def test_a_hostile_job_file_is_refused(client: httpx.AsyncClient, gateway: FakeGateway, text: str) -> None:
    response = await client.post("/v1/jobs", content=text, headers={"Content-Type": "application/yaml"})
    assert response.status_code == 400, response.text
    assert "root" not in response.text
    assert gateway.requests == []


async def test_openqasm_that_is_not_utf8_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/jobs", content=b"\xff", headers={"Content-Type": "text/x-openqasm"})
    assert_error(response, 400, "decode_failed", "body")


async def test_several_jobs_have_an_outcome_each(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    jobs = [native_job(name="one"), native_job(device="nowhere"), 7, native_job(name="four")]
    response = await client.post("/v1/jobs", json={"jobs": jobs})
    assert response.status_code == 201
    outcomes = response.json()["outcomes"]
    assert [outcome["job"] and outcome["job"]["name"] for outcome in outcomes] == ["one", None, None, "four"]
    assert outcomes[1]["error"]["field"] == "device"
    assert outcomes[2]["error"]["code"] == "validation_failed"
    assert len(gateway.requests) == 2


@pytest.mark.parametrize("jobs", [[], 7, "x", None, {}, [{}] * 1001])
async def test_several_must_be_a_list_of_one_to_a_thousand(client: httpx.AsyncClient, jobs: object) -> None:
    assert_error(await client.post("/v1/jobs", json={"jobs": jobs}), 400, "validation_failed", "jobs")


async def test_the_same_key_and_body_is_the_same_job(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await client.post("/v1/jobs", json=native_job(), headers=headers)
    again = await client.post("/v1/jobs", json=native_job(), headers=headers)
    assert (first.json()["id"], len(gateway.requests)) == (again.json()["id"], 1)
    other = await client.post("/v1/jobs", json=native_job(shots=2), headers=headers)
    assert_error(other, 409, "idempotency_conflict")


async def test_without_a_key_every_post_is_a_new_job(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    assert await submit(client) != await submit(client)


async def test_a_key_over_several_jobs_covers_each(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    body = {"jobs": [native_job(name="a"), native_job(name="b")]}
    first = (await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})).json()
    assert (await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})).json() == first
    assert len(gateway.requests) == 2


@pytest.mark.parametrize("key", ["", "x" * 129, "a\tb", "\x7f"])
async def test_bad_keys_are_refused(client: httpx.AsyncClient, key: str) -> None:
    response = await client.post("/v1/jobs", json=native_job(), headers={"Idempotency-Key": key})
    assert_error(response, 400, "validation_failed", "Idempotency-Key")


async def test_a_wait_returns_as_soon_as_the_job_ends(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    job_id = await submit(client)
    waiting = asyncio.create_task(client.get(f"/v1/jobs/{job_id}?wait=60"))
    await asyncio.sleep(0)
    gateway.start(job_id)
    gateway.complete(job_id, b"{}")
    async with asyncio.timeout(5):
        view = (await waiting).json()
    assert (view["state"], view["terminal"], view["progress"]) == ("Completed", True, 1.0)


async def test_a_wait_with_a_version_returns_at_the_next_change(
    client: httpx.AsyncClient, gateway: FakeGateway
) -> None:
    job_id = await submit(client)
    waiting = asyncio.create_task(client.get(f"/v1/jobs/{job_id}?wait=60&version=1"))
    await asyncio.sleep(0)
    gateway.start(job_id)
    async with asyncio.timeout(5):
        assert (await waiting).json()["state"] == "Executing"


async def test_a_wait_that_is_over_tells_the_present_state(client: httpx.AsyncClient) -> None:
    job_id = await submit(client)
    assert (await client.get(f"/v1/jobs/{job_id}?wait=0.01")).json()["state"] == "Queued"


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "inf", "x", "1e400", ""])
async def test_a_wait_must_be_a_plain_number_up_to_60(client: httpx.AsyncClient, wait: str) -> None:
    job_id = await submit(client)
    assert_error(await client.get(f"/v1/jobs/{job_id}?wait={wait}"), 400, "validation_failed", "wait")


async def test_lists_filter_and_page(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    ids = [await submit(client, name=f"n{i}", tags=["t", str(i)]) for i in range(5)]
    gateway.complete(ids[0], b"{}")

    async def found(query: str) -> list[str]:
        page = (await client.get(f"/v1/jobs?{query}")).json()
        return [job["id"] for job in page["jobs"]]

    assert await found("") == ids[::-1]
    assert await found("order=asc&limit=2&offset=1") == ids[1:3]
    assert await found("state=completed") == ids[:1]
    assert await found("state=Completed&state=QUEUED&order=asc") == ids
    assert await found("tag=t&tag=3") == [ids[3]]
    assert await found("device=manila&program=sampler&order=asc") == ids
    assert await found("device=nowhere") == await found("program=estimator") == await found("session_id=s") == []
    assert await found("created_after=2999-01-01T00:00:00Z") == await found("created_before=1999-01-01") == []
    assert await found("created_after=1999-01-01T00:00:00+00:00&order=asc") == ids
    assert (await client.get("/v1/jobs?limit=2&offset=9")).json() == {"jobs": [], "total": 5, "limit": 2, "offset": 9}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("limit=" + "9" * 50, "limit"),
        ("limit=²", "limit"),
        ("offset=-1", "offset"),
        ("state=asleep", "state"),
        ("order=up", "order"),
        ("created_after=yesterday", "created_after"),
        ("name=" + "&x=" * 101, "query"),
        ("device=%00", "device"),
        ("device=" + "x" * 300, "device"),
    ],
)
async def test_wrong_filters_are_refused(client: httpx.AsyncClient, query: str, field: str) -> None:
    assert_error(await client.get(f"/v1/jobs?{query}"), 400, "validation_failed", field)


async def test_cancel_ends_a_waiting_job_once(client: httpx.AsyncClient) -> None:
    job_id = await submit(client)
    view = (await client.post(f"/v1/jobs/{job_id}/cancel")).json()
    assert (view["state"], view["cancelled_by"], view["cancel_requested"]) == ("Cancelled", "alice", True)
    assert_error(await client.post(f"/v1/jobs/{job_id}/cancel"), 409, "invalid_state")


async def test_only_ended_jobs_can_be_removed(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    job_id = await submit(client)
    assert_error(await client.delete(f"/v1/jobs/{job_id}"), 409, "invalid_state")
    gateway.complete(job_id, b"{}")
    assert (await client.delete(f"/v1/jobs/{job_id}")).status_code == 204
    assert_error(await client.get(f"/v1/jobs/{job_id}"), 404, "not_found")


async def test_the_history_lists_all_changes(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    job_id = await submit(client)
    gateway.complete(job_id, b"{}")
    changes = (await client.get(f"/v1/jobs/{job_id}/history")).json()["changes"]
    assert [change["to_state"] for change in changes] == ["Queued", "Executing", "Completed"]
    assert changes[0]["from_state"] is None
    assert [change["sequence"] for change in changes] == [1, 2, 3]


async def test_results_come_in_both_forms(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    job_id = await submit(client)
    document = sampler_results(["00", "11", "11"])
    gateway.complete(job_id, document)
    runtime = await client.get(f"/v1/jobs/{job_id}/results?format=runtime")
    assert runtime.content == document
    plain = (await client.get(f"/v1/jobs/{job_id}/results")).json()
    assert plain["job_id"] == job_id
    assert '"00":1' in json.dumps(plain).replace(" ", "")
    assert '"11":2' in json.dumps(plain).replace(" ", "")


async def test_large_results_are_converted_beside_the_event_loop(
    client: httpx.AsyncClient, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await submit(client)
    document = sampler_results([format(value, "064b") for value in np.random.default_rng(1).integers(2**62, size=9000)])
    assert len(document) > 64 * 1024
    gateway.complete(job_id, document)
    moved: list[Any] = []
    original = asyncio.to_thread

    async def noticed(function: Any, *arguments: Any) -> Any:
        moved.append(function)
        return await original(function, *arguments)

    monkeypatch.setattr(asyncio, "to_thread", noticed)
    answer = (await client.get(f"/v1/jobs/{job_id}/results?memory=true")).json()
    assert len(moved) == 1
    assert answer["job_id"] == job_id


async def test_results_can_be_waited_for(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    job_id = await submit(client)
    waiting = asyncio.create_task(client.get(f"/v1/jobs/{job_id}/results?wait=60&format=runtime"))
    await asyncio.sleep(0)
    gateway.complete(job_id, b'{"x":1}')
    async with asyncio.timeout(5):
        assert (await waiting).json() == {"x": 1}


async def test_no_results_says_why(client: httpx.AsyncClient, gateway: FakeGateway) -> None:
    waiting, failed, cancelled = [await submit(client) for _ in range(3)]
    gateway.fail(failed, ErrorInfo("compile_failed", "gate foo is unknown", "CompileError"))
    gateway.advance(cancelled, TaskState.CANCELLED)
    for job_id, text in ((waiting, "Queued"), (failed, "gate foo is unknown"), (cancelled, "Cancelled")):
        error = assert_error(await client.get(f"/v1/jobs/{job_id}/results"), 409, "invalid_state")
        assert text in str(error["message"])
    view = (await client.get(f"/v1/jobs/{failed}")).json()
    assert view["error"]["code"] == "compile_failed"


async def test_an_unknown_form_of_results_is_refused(client: httpx.AsyncClient) -> None:
    job_id = await submit(client)
    for query, field in (("format=xml", "format"), ("memory=perhaps", "memory")):
        response = await client.get(f"/v1/jobs/{job_id}/results?{query}")
        assert_error(response, 400, "validation_failed", field)

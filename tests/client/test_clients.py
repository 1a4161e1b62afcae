"""Both clients, call by call: the same requests, the same values, the same errors."""

from __future__ import annotations

import base64
import hashlib
import inspect
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from qiskit import QuantumCircuit, qpy

from qrtx_ray.client import AsyncQrtxClient, JobStatus, QrtxClient
from qrtx_ray.client.following import TRIES
from qrtx_ray.errors import (
    AuthenticationError,
    DeviceUnavailable,
    ExecutionTimeout,
    InternalError,
    NotFound,
    QrtxError,
    StateChanged,
    ValidationError,
)
from tests.client.conftest import Answer, Broken, Server, event, in_turn, view


def public(kind: type) -> dict[str, list[str]]:
    methods = inspect.getmembers(kind, inspect.isfunction)
    return {name: list(inspect.signature(method).parameters) for name, method in methods if not name.startswith("_")}


async def both(answer: Answer, call: str, *words: Any, **options: Any) -> tuple[Any, list[httpx.Request]]:
    """The value of a call, after making sure that both clients ask and answer alike."""
    first, second = Server(lambda _: answer), Server(lambda _: answer)
    with first.sync() as client:
        value = getattr(client, call)(*words, **options)
    async with second.asynchronous() as client:
        assert await getattr(client, call)(*words, **options) == value
    asked = [(request.method, request.url, request.content) for request in first.asked]
    assert asked == [(request.method, request.url, request.content) for request in second.asked]
    assert all(request.headers["authorization"] == "Bearer secret" for request in first.asked + second.asked)
    return value, first.asked


def test_both_clients_offer_the_same() -> None:
    assert public(QrtxClient) == public(AsyncQrtxClient)


async def test_a_job_is_submitted_with_its_key() -> None:
    answer = httpx.Response(201, json=view("Pending"))
    job, asked = await both(answer, "submit", "OPENQASM 2.0;", "manila", shots=10, idempotency_key="k", tags=["a"])
    assert (job.id, job.state, job.waiting_s) == ("job1", "Pending", 2.0)
    assert asked[0].headers["idempotency-key"] == "k"
    assert asked[0].url.path == "/v1/jobs"


@pytest.mark.parametrize(
    ("call", "words", "document", "method", "path", "value"),
    [
        ("get", ("job1",), view(), "GET", "/v1/jobs/job1", JobStatus.from_view(view())),
        (
            "cancel",
            ("job1",),
            view("Cancelled"),
            "POST",
            "/v1/jobs/job1/cancel",
            JobStatus.from_view(view("Cancelled")),
        ),
        ("history", ("job1",), {"changes": [{"at": "now"}]}, "GET", "/v1/jobs/job1/history", [{"at": "now"}]),
        ("results", ("job1",), {"results": {"pubs": []}}, "GET", "/v1/jobs/job1/results?memory=false", {"pubs": []}),
        ("jobs", (), {"jobs": [view()]}, "GET", "/v1/jobs?limit=20&offset=0", [JobStatus.from_view(view())]),
        ("explain", ("job1",), {"reason": "it is next"}, "GET", "/v1/jobs/job1/explain", {"reason": "it is next"}),
        ("usage", (), {"tenant": "a"}, "GET", "/v1/usage", {"tenant": "a"}),
        ("reservations", (), {"reservations": [{"name": "r"}]}, "GET", "/v1/reservations", [{"name": "r"}]),
        ("release", ("r/1",), None, "DELETE", "/v1/reservations/r%2F1", None),
        ("devices", (), {"devices": [{"name": "d"}]}, "GET", "/v1/devices", [{"name": "d"}]),
        ("health", (), {"details": {"ready": True}}, "GET", "/v1/health", {"ready": True}),
    ],
)
async def test_each_call_asks_and_reads(
    call: str, words: tuple[str, ...], document: dict[str, Any], method: str, path: str, value: Any
) -> None:
    got, (asked,) = await both(httpx.Response(200, json=document), call, *words)
    assert (asked.method, asked.url.raw_path.decode()) == (method, path)
    assert got == value


async def test_an_estimate_sends_the_body_of_a_submission(tmp_path: Path) -> None:
    answer = httpx.Response(200, json={"at": "now", "devices": [{"device": "d"}]})
    value, (asked,) = await both(answer, "estimate", "OPENQASM 2.0;", shots=10, devices=["a", "b"])
    assert (value, asked.method, asked.url.path) == (answer.json(), "POST", "/v1/estimate")
    sent = json.loads(asked.content)
    assert (sent["device"], sent["devices"], sent["shots"]) == ("auto", ["a", "b"], 10)
    file = tmp_path / "bell.qasm"
    file.write_text("OPENQASM 3.0;")
    _, (asked,) = await both(answer, "estimate_file", file, fidelity_floor=0.5)
    assert (json.loads(asked.content)["device"], json.loads(asked.content)["fidelity_floor"]) == ("auto", 0.5)
    _, (asked,) = await both(answer, "estimate_file", file, device="manila")
    assert json.loads(asked.content)["device"] == "manila"


async def test_a_reservation_is_asked_for_in_utc() -> None:
    answer = httpx.Response(201, json={"name": "r"})
    ends = datetime(2030, 1, 1, 2, tzinfo=timezone(timedelta(hours=1)))
    value, (asked,) = await both(answer, "reserve", "manila", ends)
    assert (value, asked.method, asked.url.path) == ({"name": "r"}, "POST", "/v1/reservations")
    assert json.loads(asked.content) == {"device": "manila", "ends_at": "2030-01-01T01:00:00+00:00"}
    begins = datetime(2030, 1, 1)  # noqa: DTZ001 - the zone is left out on purpose
    _, (asked,) = await both(answer, "reserve", "manila", ends, begins_at=begins, tenant="bob")
    sent = json.loads(asked.content)
    assert datetime.fromisoformat(sent["begins_at"]) == begins.astimezone(UTC)
    assert sent["tenant"] == "bob"


async def test_deleting_answers_nothing() -> None:
    value, (asked,) = await both(httpx.Response(204), "delete", "job1")
    assert (value, asked.method) == (None, "DELETE")


async def test_filters_that_are_not_set_are_not_sent() -> None:
    _, (asked,) = await both(httpx.Response(200, json={"jobs": []}), "jobs", limit=5, state="Failed", device=None)
    assert asked.url.query == b"limit=5&offset=0&state=Failed"


async def test_a_job_id_cannot_lead_elsewhere() -> None:
    _, (asked,) = await both(httpx.Response(200, json=view()), "get", "../health?x=1#y")
    assert asked.url.raw_path == b"/v1/jobs/..%2Fhealth%3Fx%3D1%23y"


async def test_a_runtime_that_is_not_ready_still_tells_its_health() -> None:
    document = {"status": "degraded", "details": {"ready": False, "reason": "no scheduler"}}
    health, _ = await both(httpx.Response(503, json=document), "health")
    assert health == {"ready": False, "reason": "no scheduler"}


@pytest.mark.parametrize(
    ("status", "document", "error", "text"),
    [
        (404, {"error": {"code": "not_found", "message": "no such job"}}, NotFound, "no such job"),
        (401, {"error": {"code": "unauthenticated", "message": "who?"}}, AuthenticationError, "who"),
        (400, {"error": {"code": "validation_failed", "message": "shots", "field": "shots"}}, ValidationError, "shots"),
        (500, {"detail": "?"}, InternalError, "answered 500 without saying why"),
        (502, None, InternalError, "answered 502 without saying why"),
        (200, None, QrtxError, "not JSON"),
    ],
)
async def test_errors_are_those_of_the_server(
    status: int, document: dict[str, Any] | None, error: type[QrtxError], text: str
) -> None:
    answer = httpx.Response(status, text="<html>") if document is None else httpx.Response(status, json=document)
    with pytest.raises(error, match=text), Server(lambda _: answer).sync() as client:
        client.get("job1")
    with pytest.raises(error, match=text):
        async with Server(lambda _: answer).asynchronous() as client:
            await client.get("job1")


async def test_a_server_that_is_not_there_is_named() -> None:
    refused = httpx.ConnectError("refused")
    with pytest.raises(DeviceUnavailable, match=r"http://qrtx\.test cannot be reached: ConnectError"):
        Server(lambda _: refused).sync().devices()
    with pytest.raises(DeviceUnavailable, match="cannot be reached"):
        await Server(lambda _: refused).asynchronous().devices()
    with pytest.raises(DeviceUnavailable, match="cannot be reached"):
        list(Server(lambda _: refused).sync().watch("job1"))


async def test_waiting_asks_until_the_job_has_ended() -> None:
    script = [httpx.Response(200, json=view(state)) for state in ("Queued", "Executing", "Completed")]
    server = Server(in_turn(*script))
    assert server.sync().wait("job1").state == "Completed"
    assert [request.url.params["wait"] for request in server.asked] == ["30.0"] * 3
    assert (await Server(in_turn(*script)).asynchronous().wait("job1")).state == "Completed"


async def test_waiting_ends_with_the_patience() -> None:
    queued = httpx.Response(200, json=view("Queued"))
    with pytest.raises(ExecutionTimeout, match=r"still Queued after 0\.01 s"):
        Server(lambda _: queued).sync().wait("job1", 0.01)
    with pytest.raises(ExecutionTimeout, match="still Queued after 0 s"):
        await Server(lambda _: queued).asynchronous().wait("job1", 0)


def broken_streams() -> tuple[Answer, ...]:
    first = event(4, view("Queued", 1)) + event(5, view("Executing", 2)) + "event: job\nid: 6\nda"
    last = ": heartbeat\n\n" + event(6, view("Executing", 3, progress=0.5)) + event(7, view("Completed", 4))
    return (
        httpx.Response(200, stream=Broken(first)),
        httpx.ConnectError("away"),
        httpx.Response(200, text=""),
        httpx.Response(200, text=last),
    )


FOLLOWED = [("Queued", 0.0), ("Executing", 0.0), ("Executing", 0.5), ("Completed", 0.0)]


def test_a_watch_goes_on_where_the_stream_broke() -> None:
    server = Server(in_turn(*broken_streams()))
    assert [(status.state, status.progress) for status in server.sync().watch("job1")] == FOLLOWED
    assert [request.headers["last-event-id"] for request in server.asked] == ["0", "5", "5", "5"]


async def test_an_asynchronous_watch_goes_on_too() -> None:
    server = Server(in_turn(*broken_streams()))
    watched = [(status.state, status.progress) async for status in server.asynchronous().watch("job1")]
    assert watched == FOLLOWED
    assert [request.headers["last-event-id"] for request in server.asked] == ["0", "5", "5", "5"]


def test_a_watch_gives_up_when_the_server_stays_away() -> None:
    away = [httpx.ConnectError("away")] * (TRIES + 1)
    server = Server(in_turn(httpx.Response(200, text=event(1, view("Queued"))), *away))
    states = []
    with pytest.raises(DeviceUnavailable, match="cannot be reached"):
        states.extend(status.state for status in server.sync().watch("job1"))
    assert len(server.asked) == 1 + TRIES


def test_watching_an_unknown_job_says_so() -> None:
    answer = httpx.Response(404, json={"error": {"code": "not_found", "message": "no such job"}})
    with pytest.raises(NotFound):
        list(Server(lambda _: answer).sync().watch("job1"))


def test_a_circuit_travels_as_qpy() -> None:
    circuit = QuantumCircuit(1, name="one")
    server = Server(lambda _: httpx.Response(201, json=view("Pending")))
    server.sync().submit([circuit, "OPENQASM 3.0;"], "manila", observables=[{"Z": 1.0}])
    body = json.loads(server.asked[0].content)
    assert body["program"] == "estimator"
    assert [one["format"] for one in body["circuits"]] == ["qpy", "qasm3"]
    (loaded,) = qpy.load(io.BytesIO(base64.b64decode(body["circuits"][0]["source"])))
    assert loaded == circuit


@pytest.mark.parametrize(
    ("call", "words", "path", "sent"),
    [
        ("pause", {}, "/v1/jobs/job1/pause", b""),
        ("resume", {}, "/v1/jobs/job1/resume", b""),
        ("cancel", {"partial": True}, "/v1/jobs/job1/cancel", b'{"partial":true}'),
        ("checkpoint", {}, "/v1/jobs/job1/checkpoint", b""),
        ("checkpoint", {"wait_s": 5}, "/v1/jobs/job1/checkpoint?wait=5", b""),
        ("migrate", {}, "/v1/jobs/job1/migrate", b""),
        ("migrate", {"agent": "a"}, "/v1/jobs/job1/migrate", b'{"agent":"a"}'),
        ("restore", {}, "/v1/jobs/job1/restore", b""),
        ("restore", {"sequence": 2}, "/v1/jobs/job1/restore", b'{"sequence":2}'),
    ],
)
async def test_a_job_is_told_what_to_do(call: str, words: dict[str, Any], path: str, sent: bytes) -> None:
    job, (asked,) = await both(httpx.Response(200, json=view("Paused")), call, "job1", **words)
    assert job.state == "Paused"
    assert (asked.method, asked.url.raw_path.decode(), asked.content) == ("POST", path, sent)


async def test_a_restore_is_sent_with_its_key() -> None:
    _, (asked,) = await both(httpx.Response(201, json=view("Queued")), "restore", "job1", idempotency_key="k")
    assert asked.headers["idempotency-key"] == "k"


@pytest.mark.parametrize(
    ("call", "words", "document", "method", "path", "value"),
    [
        ("checkpoints", ("job1",), {"checkpoints": [1]}, "GET", "/v1/jobs/job1/checkpoints", [1]),
        ("updates", ("job1",), {"changes": []}, "GET", "/v1/jobs/job1/updates?after=0", {"changes": []}),
        ("updates", ("job1", 7, 2), {"changes": []}, "GET", "/v1/jobs/job1/updates?after=7&wait=2", {"changes": []}),
        ("agents", (), {"agents": [{"name": "a"}]}, "GET", "/v1/agents", [{"name": "a"}]),
        ("pause_device", ("a/b",), {"name": "a"}, "POST", "/v1/devices/a%2Fb/pause", {"name": "a"}),
        ("drain_device", ("a@b",), {"name": "a"}, "POST", "/v1/devices/a%40b/drain", {"name": "a"}),
        ("resume_device", ("a",), {"name": "a"}, "POST", "/v1/devices/a/resume", {"name": "a"}),
        ("drain_agent", ("a",), {"name": "a"}, "POST", "/v1/agents/a/drain", {"name": "a"}),
        ("resume_agent", ("a",), {"name": "a"}, "POST", "/v1/agents/a/resume", {"name": "a"}),
        ("states", (), {"states": []}, "GET", "/v1/states", []),
        ("delete_state", ("a/b",), None, "DELETE", "/v1/states/a%2Fb", None),
    ],
)
async def test_the_calls_of_an_operator_and_about_checkpoints_and_states(
    call: str, words: tuple[Any, ...], document: dict[str, Any], method: str, path: str, value: Any
) -> None:
    got, (asked,) = await both(httpx.Response(200, json=document), call, *words)
    assert (asked.method, asked.url.raw_path.decode()) == (method, path)
    assert got == value


async def test_states_travel_as_documents_with_conditions() -> None:
    answer = httpx.Response(200, json={"name": "s", "etag": "e", "size_bytes": 1})
    for expected, header in ((None, None), ("", ("if-none-match", "*")), ("e" * 64, ("if-match", f'"{"e" * 64}"'))):
        value, (asked,) = await both(answer, "put_state", "s", {"a": 1}, expected=expected)
        assert (value, asked.method, asked.content) == ("e", "PUT", b'{"a":1}')
        assert asked.headers["content-type"] == "application/json"
        conditions = [(name, asked.headers[name]) for name in ("if-match", "if-none-match") if name in asked.headers]
        assert conditions == ([] if header is None else [header])
    document = b'{"a": {"__float__": "inf"}}'
    (state, etag), _ = await both(httpx.Response(200, content=document), "get_state", "s")
    assert (state, etag) == ({"a": float("inf")}, hashlib.sha256(document).hexdigest())
    missing = httpx.Response(404, json={"error": {"code": "not_found", "message": "no such state"}})
    with pytest.raises(NotFound), Server(lambda _: missing).sync() as client:
        client.get_state("s")
    changed = httpx.Response(412, json={"error": {"code": "state_changed", "message": "another is there"}})
    with pytest.raises(StateChanged), Server(lambda _: changed).sync() as client:
        client.put_state("s", {})


def test_a_watch_puts_progress_and_checkpoints_into_the_job() -> None:
    kept = [{"sequence": number, "progress": number / 4} for number in (1, 2)]
    stream = event(4, view("Executing", 2, checkpoints=[]))
    stream += 'event: progress\ndata: {"progress": 0.25, "slices": 1, "attempt": 1}\n\n'
    stream += "".join(
        f"event: checkpoint\nid: {number}\ndata: {json.dumps({'change': {}, 'checkpoint': one})}\n\n"
        for number, one in ((5, kept[0]), (6, kept[1]), (6, kept[1]), (7, None))
    )
    stream += "event: news\ndata: {}\n\n" + event(8, view("Completed", 4, checkpoints=[]))
    statuses = list(Server(lambda _: httpx.Response(200, text=stream)).sync().watch("job1"))
    told = [(one.progress, [kept["sequence"] for kept in one.view["checkpoints"]]) for one in statuses]
    assert told == [(0.0, []), (0.25, []), (0.25, [1]), (0.25, [2, 1]), (0.25, [2, 1]), (0.0, [])]
    assert statuses[1].view["slices"] == 1

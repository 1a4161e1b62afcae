"""The two doors of the runtime as a stranger finds them, and what every refusal at them must look like."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from qrtx_ray.client import QrtxClient

HTTP_REFUSAL_S = 2.0
JOB_REFUSAL_S = 15.0
NATIVE, RUNTIME = "/v1/jobs", "/api/v1/jobs"
IDEAL = "fake_manila@aer_ideal"
TERMINAL = frozenset({"Completed", "Failed", "Cancelled", "Timeout"})
CODES = re.compile(r"[a-z]+(_[a-z]+)*\Z")
# What a text of ours never holds: a place in the source, a path of this machine, a library's name or its exceptions.
INSIDES = re.compile(
    r"Traceback|File \"|line \d+, in |\.py\b|/(?:opt|usr|home|tmp|work|root|etc|var|proc|dev)/|site-packages|root:x"
    r"|0x[0-9a-f]{6}|Error\(|Exception|[Pp]anick|pyo3|orjson|pydantic|msgpack|numpy\.|qiskit\.|ray\.|errno|\bself\b"
)

BELL = """OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
"""


@dataclass
class Ledger:
    """What a client was promised: the id of every accepted job."""

    accepted: list[str] = field(default_factory=list)

    def note(self, answer: httpx.Response) -> str:
        """The id in a 2xx answer, written down."""
        job_id: str = answer.json()["id"]
        assert job_id not in self.accepted
        self.accepted.append(job_id)
        return job_id


def assert_clean(text: str) -> None:
    """Nothing of the inside is told."""
    assert not (found := INSIDES.search(text)), f"{found[0]!r} in {text[:400]!r}"


def assert_explained(error: dict[str, Any], code: str, *words: str) -> None:
    """`error` has a stable code and a message in which each of `words` stands (also looked for in field and limit)."""
    assert CODES.match(error["code"])
    assert error["code"] == code, error
    told = " | ".join(str(error[key]) for key in ("message", "field", "limit"))
    for word in words:
        assert word in told, error
    assert len(error["message"]) < 500
    assert_clean(told)


def assert_refused(answer: httpx.Response, began: float, status: int, code: str, *words: str) -> dict[str, Any]:
    """`answer` is the documented refusal, in time; returns the error."""
    took = time.perf_counter() - began
    assert answer.status_code == status, answer.text[:400]
    assert took < HTTP_REFUSAL_S
    assert answer.headers["content-type"].startswith("application/json")
    assert_clean(answer.text.replace('"more_info":"/docs"', ""))
    document = answer.json()
    assert set(answer.headers.get_list("x-request-id")) == {document["trace"]}
    assert document["errors"][0]["message"] == document["error"]["message"]
    assert document["error"]["retryable"] is (status in {429, 503})
    assert_explained(document["error"], code, *words)
    return document["error"]


def native_body(**changes: Any) -> dict[str, Any]:
    """An honest native job with some fields replaced."""
    return {"device": IDEAL, "circuits": [{"format": "qasm3", "source": BELL}], "shots": 20} | changes


def runtime_body(params: bytes | dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The document the official client posts around `params`."""
    parsed = json.loads(params) if isinstance(params, bytes) else params
    return {"program_id": "sampler", "backend": IDEAL, "params": parsed} | changes


def post(http: httpx.Client, path: str, body: bytes | dict[str, Any]) -> httpx.Response:
    """Post `body` as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post(path, content=data, headers={"Content-Type": "application/json"})


def fails(
    http: httpx.Client, client: QrtxClient, ledger: Ledger, path: str, body: dict[str, Any] | bytes
) -> dict[str, Any]:
    """The error of a job that is accepted at `path` and fails in time; both doors tell the same of it."""
    began = time.perf_counter()
    answer = post(http, path, body)
    assert answer.is_success, answer.text[:400]
    job_id = ledger.note(answer)
    ended = client.wait(job_id, JOB_REFUSAL_S)
    assert time.perf_counter() - began < JOB_REFUSAL_S
    assert ended.state == "Failed"
    seen = http.get(f"/api/v1/jobs/{job_id}", params={"exclude_params": "true"}).json()
    assert seen["state"]["status"] == "Failed"
    assert ended.view["error"]["message"] in seen["state"]["reason"]
    assert_clean(json.dumps(seen["state"]))
    error: dict[str, Any] = ended.view["error"]
    return error


def assert_serving(client: QrtxClient, ledger: Ledger) -> None:
    """An honest job still completes, with a Bell pair's two outcomes."""
    job = client.submit(BELL, IDEAL, shots=40, seed=1)
    ledger.accepted.append(job.id)
    assert client.wait(job.id, JOB_REFUSAL_S).state == "Completed"
    counts = client.results(job.id)["pubs"][0]["registers"]["c"]["counts"]
    assert set(counts) == {"00", "11"}
    assert sum(counts.values()) == 40


def assert_settled(http: httpx.Client, job_id: str) -> str:
    """The job has ended, once, and its history says so; returns the state."""
    changes = http.get(f"/v1/jobs/{job_id}/history").json()["changes"]
    ends = [change["to_state"] for change in changes if change["to_state"] in TERMINAL]
    assert len(ends) == 1
    assert changes[-1]["to_state"] == ends[0]
    return str(ends[0])

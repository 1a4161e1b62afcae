"""The calls of the native HTTP API as values: what is sent and how the answer is read. No I/O here.

Both clients are made of these; they differ in how a call travels, not in what it says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from qrtx_ray.client.messages import JobStatus, error_of
from qrtx_ray.codec.state_document import decode_state, encode_state
from qrtx_ray.errors import QrtxError

__all__ = [
    "Call",
    "agents",
    "cancel",
    "checkpoint",
    "checkpoints",
    "delete",
    "delete_state",
    "devices",
    "estimate",
    "explain",
    "get",
    "get_state",
    "health",
    "history",
    "jobs",
    "migrate",
    "operate",
    "pause",
    "put_state",
    "release",
    "reservations",
    "reserve",
    "restore",
    "results",
    "results_of_many",
    "resume",
    "states",
    "submit",
    "submit_many",
    "updates",
    "usage",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request.

    Args:
        method: HTTP method.
        path: Path below the base URL.
        read: Makes the value of the JSON document that answers.
        params: Query.
        body: JSON document to send, or the bytes of one, if any.
        headers: Further headers.
        hold_s: How long the server may keep the answer back because it was asked to.
        also: A further status whose document is an answer and no error.
        raw: `read` is given the bytes of the answer, not the document.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hold_s: float = 0.0
    also: int = 200
    raw: bool = False

    def options(self, timeout_s: float) -> dict[str, Any]:
        """Keyword arguments of `httpx`'s ``request`` besides method and path."""
        given: dict[str, Any] = {
            "params": dict(self.params),
            "headers": dict(self.headers),
            "timeout": timeout_s + self.hold_s,
        }
        if isinstance(self.body, bytes):
            given["headers"]["Content-Type"] = "application/json"
            return {**given, "content": self.body}
        return given if self.body is None else {**given, "json": self.body}


def job_path(job_id: str) -> str:
    """The job's address; nothing in `job_id` can lead elsewhere."""
    return f"/v1/jobs/{quote(job_id, safe='')}"


def submit(body: Mapping[str, Any], idempotency_key: str | None) -> Call[JobStatus]:
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    return Call("POST", "/v1/jobs", JobStatus.from_view, body=body, headers=headers)


def get(job_id: str, hold_s: float = 0.0) -> Call[JobStatus]:
    params = {"wait": round(hold_s, 3)} if hold_s else {}
    return Call("GET", job_path(job_id), JobStatus.from_view, params, hold_s=hold_s)


def results(job_id: str, *, memory: bool) -> Call[dict[str, Any]]:
    return Call(
        "GET", job_path(job_id) + "/results", lambda document: document["results"], {"memory": str(memory).lower()}
    )


def submit_many(bodies: Sequence[Mapping[str, Any]], idempotency_key: str | None) -> Call[list[JobStatus | QrtxError]]:
    def read(document: Any) -> list[JobStatus | QrtxError]:
        return [_status_or_error(outcome) for outcome in document["outcomes"]]

    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    return Call("POST", "/v1/jobs", read, body={"jobs": list(bodies)}, headers=headers)


def _status_or_error(outcome: Mapping[str, Any]) -> JobStatus | QrtxError:
    return JobStatus.from_view(outcome["job"]) if outcome["error"] is None else error_of(outcome["error"])


def results_of_many(
    job_ids: Sequence[str], hold_s: float, *, memory: bool
) -> Call[dict[str, dict[str, Any] | QrtxError]]:
    def read(document: Any) -> dict[str, dict[str, Any] | QrtxError]:
        return {
            outcome["job_id"]: outcome["results"] if outcome["error"] is None else error_of(outcome["error"])
            for outcome in document["outcomes"]
        }

    params: dict[str, Any] = {"job": list(job_ids), "memory": str(memory).lower()}
    if hold_s:
        params["wait"] = round(hold_s, 3)
    return Call("GET", "/v1/results", read, params, hold_s=hold_s)


def cancel(job_id: str, *, partial: bool) -> Call[JobStatus]:
    return _command(job_id, "cancel", {"partial": True} if partial else None)


def pause(job_id: str) -> Call[JobStatus]:
    return _command(job_id, "pause")


def resume(job_id: str) -> Call[JobStatus]:
    return _command(job_id, "resume")


def checkpoint(job_id: str, wait_s: float) -> Call[JobStatus]:
    params = {"wait": round(wait_s, 3)} if wait_s else {}
    return Call("POST", job_path(job_id) + "/checkpoint", JobStatus.from_view, params, hold_s=wait_s)


def checkpoints(job_id: str) -> Call[list[dict[str, Any]]]:
    return Call("GET", job_path(job_id) + "/checkpoints", lambda document: document["checkpoints"])


def migrate(job_id: str, agent: str | None) -> Call[JobStatus]:
    return _command(job_id, "migrate", None if agent is None else {"agent": agent})


def restore(job_id: str, sequence: int | None, idempotency_key: str | None) -> Call[JobStatus]:
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    return _command(job_id, "restore", None if sequence is None else {"sequence": sequence}, headers)


def _command(
    job_id: str, name: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> Call[JobStatus]:
    return Call("POST", f"{job_path(job_id)}/{name}", JobStatus.from_view, body=body, headers=headers or {})


def updates(job_id: str, after: int, wait_s: float) -> Call[dict[str, Any]]:
    params: dict[str, Any] = {"after": after} | ({"wait": round(wait_s, 3)} if wait_s else {})
    return Call("GET", job_path(job_id) + "/updates", lambda document: document, params, hold_s=wait_s)


def operate(kind: str, name: str, what: str) -> Call[dict[str, Any]]:
    """Tell a device or an agent (`kind`: ``devices``, ``agents``) to ``pause``, ``drain`` or ``resume``."""
    return Call("POST", f"/v1/{kind}/{quote(name, safe='')}/{what}", lambda document: document)


def agents() -> Call[list[dict[str, Any]]]:
    return Call("GET", "/v1/agents", lambda document: document["agents"])


def put_state(name: str, state: Mapping[str, Any], expected: str | None) -> Call[str]:
    """`expected`: the etag of what must be there, "" for nothing, None for whatever is."""
    conditions = {None: {}, "": {"If-None-Match": "*"}}
    headers = conditions.get(expected, {"If-Match": f'"{expected}"'})
    return Call("PUT", _state_path(name), lambda told: told["etag"], body=encode_state(state), headers=headers)


def get_state(name: str) -> Call[tuple[dict[str, Any], str]]:
    def read(document: bytes) -> tuple[dict[str, Any], str]:
        return decode_state(document), hashlib.sha256(document).hexdigest()

    return Call("GET", _state_path(name), read, raw=True)


def delete_state(name: str, expected: str | None) -> Call[None]:
    headers = {} if expected is None else {"If-Match": f'"{expected}"'}
    return Call("DELETE", _state_path(name), lambda _: None, headers=headers)


def states() -> Call[list[dict[str, Any]]]:
    return Call("GET", "/v1/states", lambda document: document["states"])


def _state_path(name: str) -> str:
    return f"/v1/states/{quote(name, safe='')}"


def delete(job_id: str) -> Call[None]:
    return Call("DELETE", job_path(job_id), lambda _: None)


def history(job_id: str) -> Call[list[dict[str, Any]]]:
    return Call("GET", job_path(job_id) + "/history", lambda document: document["changes"])


def explain(job_id: str) -> Call[dict[str, Any]]:
    return Call("GET", job_path(job_id) + "/explain", lambda document: document)


def estimate(body: Mapping[str, Any]) -> Call[dict[str, Any]]:
    return Call("POST", "/v1/estimate", lambda document: document, body=body)


def usage() -> Call[dict[str, Any]]:
    return Call("GET", "/v1/usage", lambda document: document)


def reservations() -> Call[list[dict[str, Any]]]:
    return Call("GET", "/v1/reservations", lambda document: document["reservations"])


def reserve(device: str, ends_at: datetime, begins_at: datetime | None, tenant: str | None) -> Call[dict[str, Any]]:
    given = {"begins_at": begins_at and _utc(begins_at), "ends_at": _utc(ends_at), "tenant": tenant}
    body = {"device": device, **{name: value for name, value in given.items() if value is not None}}
    return Call("POST", "/v1/reservations", lambda document: document, body=body)


def release(name: str) -> Call[None]:
    return Call("DELETE", f"/v1/reservations/{quote(name, safe='')}", lambda _: None)


def _utc(moment: datetime) -> str:
    # A time without a zone means the caller's own clock, as everywhere in Python.
    return moment.astimezone(UTC).isoformat()


def jobs(limit: int, offset: int, filters: Mapping[str, Any]) -> Call[list[JobStatus]]:
    params = {"limit": limit, "offset": offset, **{name: value for name, value in filters.items() if value is not None}}
    return Call("GET", "/v1/jobs", lambda page: [JobStatus.from_view(view) for view in page["jobs"]], params)


def devices() -> Call[list[dict[str, Any]]]:
    return Call("GET", "/v1/devices", lambda document: document["devices"])


def health() -> Call[dict[str, Any]]:
    # 503 while it takes no jobs; what is wrong stands in the same document
    return Call("GET", "/v1/health", lambda document: document["details"], also=503)

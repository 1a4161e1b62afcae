"""What the HTTP front costs per request: handlers alone, in process, over a gateway in memory.

No sockets, no HTTP parser: the ASGI application is called directly, so the figures are the front's own time. The baseline is
an empty handler in a bare FastAPI application, called the same way.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

from fastapi import FastAPI, Response

from benchmarks.report import Figure, Options, main, median
from qrtx_ray.api.app import create_app
from qrtx_ray.api.settings import ApiSettings, TokenEntry
from qrtx_ray.api.tokens import AccessTokens, Principal, hash_token
from qrtx_ray.model import DeviceInfo
from qrtx_ray.testing import FakeGateway

DEVICE = DeviceInfo("fake_manila@aer", "fake_manila", "aer", 5)
TOKEN = "benchmark"
SECRET = b"0123456789abcdef0123456789abcdef"
QASM = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; ' + "h q[0]; cx q[0],q[1]; " * 40 + "measure q -> c;"
NATIVE = json.dumps({"device": DEVICE.name, "circuits": [{"format": "qasm2", "source": QASM}], "shots": 100}).encode()
RUNTIME = json.dumps(
    {
        "program_id": "sampler",
        "backend": DEVICE.name,
        "params": {
            "pubs": [[{"__type__": "QuantumCircuit", "__value__": "x" * 900}, None, 100]],
            "options": {"experimental": {"qrtx": {"priority": 60}}},
            "version": 2,
        },
    }
).encode()


async def call(app: FastAPI, method: str, path: str, token: str, body: bytes = b"") -> bytes:
    """One request; returns the answer's body."""
    answered: list[bytes] = []
    headers = [
        (b"host", b"localhost"),
        (b"authorization", b"Bearer " + token.encode()),
        (b"content-type", b"application/json"),
        (b"user-agent", b"benchmark"),
    ]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.body":
            answered.append(message["body"])  # type: ignore[arg-type]

    target, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": target,
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "headers": headers,
        "http_version": "1.1",
        "scheme": "http",
        "server": ("localhost", 80),
        "client": ("localhost", 1),
        "root_path": "",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
    }
    await app(scope, receive, send)  # type: ignore[arg-type]
    return b"".join(answered)


async def microseconds(app: FastAPI, repeats: int, method: str, path: str, token: str, body: bytes = b"") -> float:
    """Per request: the best of five medians of slices, so that a busy machine disturbs least."""
    medians = []
    for _ in range(5):
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            await call(app, method, path, token, body)
            times.append(time.perf_counter() - started)
        medians.append(median(times) * 1e6)
    return min(medians)


async def run(repeats: int) -> dict[str, float]:
    """Microseconds by name."""
    gateway = FakeGateway([DEVICE])
    settings = ApiSettings(tokens=(TokenEntry(hash_token(TOKEN), "t"),), jwt_secret=SECRET)
    app = create_app(gateway, settings, {DEVICE.name: DEVICE})
    job_id = json.loads(await call(app, "POST", "/v1/jobs", TOKEN, NATIVE))["id"]
    gateway.complete(job_id, b"{}")
    access = AccessTokens(SECRET, 3600).issue(Principal("t"), time.time())
    status = f"/experimental/api/v1/jobs/{job_id}?exclude_params=true"
    return {
        "native_submit_us": await microseconds(app, repeats, "POST", "/v1/jobs", TOKEN, NATIVE),
        "runtime_submit_us": await microseconds(app, repeats, "POST", "/api/v1/jobs", access, RUNTIME),
        "native_status_us": await microseconds(app, repeats, "GET", f"/v1/jobs/{job_id}", TOKEN),
        "runtime_status_us": await microseconds(app, repeats, "GET", status, access),
        "bare_fastapi_us": await microseconds(bare(), repeats, "GET", "/", TOKEN),
    }


def bare() -> FastAPI:
    """An application with one handler that does nothing."""
    app = FastAPI()

    @app.get("/")
    async def nothing() -> Response:
        return Response()

    return app


def measure(options: Options) -> Iterator[Figure]:
    """One figure for each kind of request."""
    for name, value in asyncio.run(run(options.pick(300, 100))).items():
        yield Figure(name, value, "us")


if __name__ == "__main__":
    raise SystemExit(main(__doc__ or "", measure))

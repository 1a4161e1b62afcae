"""The load generator: HTTP/1.1 on keep-alive connections of plain asyncio streams, in a process of its own.

A full HTTP client costs about a millisecond of CPU a request, which on two cores would be taken from the runtime that is
measured; this one costs about a tenth. It reads no more of an answer than status and length until the clock has stopped.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from benchmarks.side import serve

__all__ = ["Connection", "prepare"]

PATIENCE_S = 30  # of one held request


class Connection:
    """One keep-alive connection."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._root = parts.path
        self._headers = (
            f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        self._streams = await asyncio.open_connection(self._host, self._port)

    async def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The answer's body.

        Raises:
            RuntimeError: Any status but success.
        """
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(f"{method} {self._root}{path}{self._headers}{len(body)}\r\n\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, found, rest = head.partition(b"content-length:")
        if not found:
            raise RuntimeError(f"{method} {path}: an answer without a length")
        answer = await reader.readexactly(int(rest.partition(b"\r\n")[0]))
        if not head[9:10] == b"2":
            raise RuntimeError(f"{method} {path}: {head[9:12].decode()}: {answer[:500].decode()}")
        return answer


def prepare(plan: dict[str, Any]) -> Callable[[], Any]:
    """`plan`: mode, url, token, and what the mode needs; ``bodies`` is a file with one request body a line."""
    modes: dict[str, Callable[[dict[str, Any]], Any]] = {
        "throughput": _throughput,
        "batches": _batches,
        "accept": _accept,
        "single": _single,
        "poll": _poll,
    }
    if "bodies" in plan:
        with open(plan["bodies"], "rb") as lines:  # noqa: PTH123
            plan["bodies"] = [line.rstrip(b"\n") for line in lines]
    mode = modes[plan["mode"]]
    return lambda: asyncio.run(mode(plan))


async def _connect(plan: dict[str, Any], count: int) -> list[Connection]:
    connections = [Connection(plan["url"], plan["token"]) for _ in range(count)]
    await asyncio.gather(*(connection.open() for connection in connections))
    return connections


async def _throughput(plan: dict[str, Any]) -> dict[str, Any]:
    """All bodies over some connections: each connection posts its share, a job a request, then collects the results of its
    jobs, `collect` of them with one request.
    """
    connections = await _connect(plan, plan["connections"])
    accepted_s: list[float] = []
    answers: list[bytes] = []

    async def work(connection: Connection, bodies: list[bytes]) -> None:
        created = [await connection.request("POST", "/v1/jobs", body) for body in bodies]
        accepted_s.append(time.perf_counter() - started)
        if size == 1:
            answers.extend([await _result(connection, answer) for answer in created])
            return
        ids = [json.loads(answer)["id"] for answer in created]
        parts = [ids[first : first + size] for first in range(0, len(ids), size)]
        collected.extend([await _results(connection, part) for part in parts])

    size = plan.get("collect", 1)
    collected: list[bytes] = []
    started, cpu = time.perf_counter(), time.process_time()
    shares = [plan["bodies"][index :: len(connections)] for index in range(len(connections))]
    await asyncio.gather(*(work(c, share) for c, share in zip(connections, shares, strict=True)))
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    answers += _apart(collected)
    _check(answers, plan["shots"])
    return {"jobs": len(answers), "seconds": seconds, "accepted_s": max(accepted_s), "load_cpu_s": cpu_s}


async def _batches(plan: dict[str, Any]) -> dict[str, Any]:
    """As `_throughput`, but each request submits, and later collects, several jobs."""
    connections = await _connect(plan, plan["connections"])
    accepted_s: list[float] = []
    answers: list[bytes] = []

    async def work(connection: Connection, bodies: list[bytes]) -> None:
        created = [await connection.request("POST", "/v1/jobs", body) for body in bodies]
        accepted_s.append(time.perf_counter() - started)
        named = [[outcome["job"]["id"] for outcome in json.loads(answer)["outcomes"]] for answer in created]
        answers.extend([await _results(connection, job_ids) for job_ids in named])

    size = plan["batch"]
    bodies = plan["bodies"]
    batches = [b'{"jobs":[' + b",".join(bodies[i : i + size]) + b"]}" for i in range(0, len(bodies), size)]
    started, cpu = time.perf_counter(), time.process_time()
    shares = [batches[index :: len(connections)] for index in range(len(connections))]
    await asyncio.gather(*(work(c, share) for c, share in zip(connections, shares, strict=True)))
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    single = _apart(answers)
    _check(single, plan["shots"])
    return {"jobs": len(single), "seconds": seconds, "accepted_s": max(accepted_s), "load_cpu_s": cpu_s}


async def _accept(plan: dict[str, Any]) -> dict[str, Any]:
    """One connection posts job after job; then all results are awaited, outside the clock."""
    (connection,) = await _connect(plan, 1)
    times, created = [], []
    for body in plan["bodies"]:
        started = time.perf_counter()
        created.append(await connection.request("POST", "/v1/jobs", body))
        times.append(time.perf_counter() - started)
    _check([await _result(connection, answer) for answer in created], plan["shots"])
    return {"accept_s": times}


async def _single(plan: dict[str, Any]) -> dict[str, Any]:
    """One connection, one job at a time: the time to accept it, and to have its result."""
    (connection,) = await _connect(plan, 1)
    accept, whole = [], []
    for body in plan["bodies"]:
        started = time.perf_counter()
        created = await connection.request("POST", "/v1/jobs", body)
        accept.append(time.perf_counter() - started)
        await _result(connection, created)
        whole.append(time.perf_counter() - started)
    return {"accept_s": accept, "round_trip_s": whole}


async def _poll(plan: dict[str, Any]) -> dict[str, Any]:
    """GET one path at a steady rate until told to stop: wall time of each request's start, and how long it took."""
    (connection,) = await _connect(plan, 1)
    loop = asyncio.get_running_loop()
    stopped = loop.run_in_executor(None, sys.stdin.readline)
    samples = []
    while not stopped.done():
        at, started = time.time(), time.perf_counter()
        await connection.request("GET", plan["path"])
        samples.append((at, time.perf_counter() - started))
        await asyncio.sleep(plan["pause_s"])
    return {"samples": samples}


async def _result(connection: Connection, created: bytes) -> bytes:
    job_id = json.loads(created)["id"]
    return await connection.request("GET", f"/v1/jobs/{job_id}/results?wait={PATIENCE_S}")


async def _results(connection: Connection, job_ids: list[str]) -> bytes:
    named = "&".join(f"job={job_id}" for job_id in job_ids)
    return await connection.request("GET", f"/v1/results?wait={PATIENCE_S}&{named}")


def _apart(collected: list[bytes]) -> list[bytes]:
    """The outcomes of many-job answers, one by one."""
    return [json.dumps(outcome).encode() for answer in collected for outcome in json.loads(answer)["outcomes"]]


def _check(answers: list[bytes], shots: int) -> None:
    """Every answer holds every shot: a fast wrong answer is not a figure."""
    for answer in answers:
        registers = json.loads(answer)["results"]["pubs"][0]["registers"]
        counted = {name: sum(register["counts"].values()) for name, register in registers.items()}
        if set(counted.values()) != {shots}:
            raise RuntimeError(f"an answer holds {counted} shots instead of {shots}")


if __name__ == "__main__":
    serve(prepare)

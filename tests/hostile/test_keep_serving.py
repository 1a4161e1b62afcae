"""Others are served while hostile work is refused, and a crowd that comes at once is accounted for to the last job."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any

import httpx
import pytest

from qrtx_ray.client import QrtxClient
from qrtx_ray.launch import LocalRuntime

from . import corpus
from .corpus import QASM2, QASM3
from .doors import (
    BELL,
    IDEAL,
    JOB_REFUSAL_S,
    NATIVE,
    RUNTIME,
    TERMINAL,
    Ledger,
    assert_explained,
    assert_serving,
    fails,
    native_body,
    runtime_body,
)

pytestmark = pytest.mark.cluster

CROWD, CONNECTIONS = 1000, 50


def bad_jobs() -> list[tuple[str, bytes]]:
    """One of each kind that must not disturb: refused at the door, by the decoder, by its deadline, by the cost law."""
    loop = corpus.circuit_object(corpus.qpy_bytes(corpus.loop_for_ever()))
    bomb = {"__type__": "QuantumCircuit", "__value__": corpus.bomb(2**28)}
    wide = corpus.sampler([corpus.wide(60), None, 10])
    sources = [
        ("qasm2", corpus.doubling(40)),
        ("qasm2", f"{QASM2} qreg q[1000000000];"),
        ("qasm3", 'OPENQASM 3.0; include "/etc/passwd";'),
        ("qasm3", f"{QASM3} qubit q; rx({'(' * 9000}1{')' * 9000}) q;"),
        ("qpy", corpus.packed(corpus.qpy_bytes(corpus.bell())[:-9])),
    ]
    bodies: list[tuple[str, Any]] = [
        (RUNTIME, runtime_body({"pubs": [[loop]]})),
        (RUNTIME, runtime_body({"pubs": [[bomb]]})),
        (RUNTIME, runtime_body(wide, backend="fake_sherbrooke@aer_ideal")),
        (NATIVE, native_body(shots=10**9)),
        (NATIVE, native_body(device="nowhere")),
        *((NATIVE, native_body(circuits=[{"format": kind, "source": source}])) for kind, source in sources),
    ]
    raw = [(NATIVE, corpus.deep(1_000_000).encode()), (RUNTIME, b"{"), (NATIVE, bytes(30_000_000))]
    return [*((path, json.dumps(body).encode()) for path, body in bodies), *raw]


def outlasting() -> dict[str, Any]:
    """A legal job that takes the transpiler far longer than its deadline: random gates all over a large device."""
    dice = random.Random(1)
    gates = "".join("cx q[{}],q[{}];".format(*dice.sample(range(100), 2)) for _ in range(30_000))
    source = f"{QASM2} qreg q[100]; creg c[100]; {gates} measure q -> c;"
    hints = {"experimental": {"qrtx": {"optimization_level": 3}}}
    circuits = [{"format": "qasm2", "source": source}]
    return {"device": "fake_sherbrooke@aer", "circuits": circuits, "shots": 1, "options": hints}


def connections(runtime: LocalRuntime, count: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=count, max_keepalive_connections=count)
    headers = {"Authorization": f"Bearer {runtime.token}", "Content-Type": "application/json"}
    return httpx.AsyncClient(base_url=runtime.url, headers=headers, timeout=60.0, trust_env=False, limits=limits)


async def ended(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    """The job once it has ended."""
    while True:
        view: dict[str, Any] = (await http.get(f"{NATIVE}/{job_id}", params={"wait": 30})).json()
        if view["terminal"]:
            return view


def test_an_honest_stream_completes_while_hostile_jobs_are_refused(runtime: LocalRuntime) -> None:
    corpus_of_bad = bad_jobs()

    async def honest(http: httpx.AsyncClient) -> list[float]:
        took = []
        for number in range(60):
            began = time.perf_counter()
            body = json.dumps(native_body(seed=number)).encode()
            answer = await http.post(NATIVE, content=body)
            assert answer.status_code == 201
            assert (await ended(http, answer.json()["id"]))["state"] == "Completed"
            took.append(time.perf_counter() - began)
        return took

    async def hostile(http: httpx.AsyncClient, stop: asyncio.Event) -> list[tuple[int, str]]:
        seen = []
        while not stop.is_set():
            for path, body in corpus_of_bad:
                try:
                    answer = await http.post(path, content=body)
                except httpx.TransportError:
                    assert len(body) > 4 * 2**20  # the front may close the door on a body it has refused
                    continue
                state = (await ended(http, answer.json()["id"]))["state"] if answer.is_success else ""
                seen.append((answer.status_code, state))
        return seen

    async def both() -> tuple[list[float], list[tuple[int, str]]]:
        stop = asyncio.Event()
        async with connections(runtime, 2) as good, connections(runtime, 2) as bad:
            attack = asyncio.create_task(hostile(bad, stop))
            took = await honest(good)
            stop.set()
            return took, await attack

    took, seen = asyncio.run(both())
    assert len(seen) >= len(corpus_of_bad)
    assert {status for status, state in seen if not state} <= {400, 413}
    assert {state for _, state in seen if state} == {"Failed"}
    assert sorted(took)[len(took) // 2] < 1.0
    assert max(took) < 5.0


def test_what_outlasts_the_compilers_deadline_fails_and_nobody_waits_for_it(
    client: QrtxClient, runtime: LocalRuntime, ledger: Ledger
) -> None:
    limit_s = runtime.settings.compiler.timeout
    slow = client.submit_body(outlasting())
    ledger.accepted.append(slow.id)
    served = 0
    while not client.get(slow.id).terminal:
        assert_serving(client, ledger)
        served += 1
    assert served >= 3
    error = client.get(slow.id).view["error"]
    assert_explained(error, "compile_failed", "took longer than", f"{limit_s:g} s", "circuits")


def test_a_run_beyond_its_time_is_stopped_and_the_next_one_runs(
    http: httpx.Client, client: QrtxClient, ledger: Ledger
) -> None:
    turns = "".join(f"rx(0.{n + 1}) q[{n % 22}]; cx q[{n % 22}], q[{(n + 1) % 22}]; " for n in range(3000))
    source = f"{QASM2} qreg q[22]; creg c[22]; {turns} measure q -> c;"
    body = {"device": "fake_sherbrooke@aer_ideal", "circuits": [{"format": "qasm2", "source": source}]}
    job = client.submit_body(body | {"shots": 10, "execution_timeout_s": 0.5})
    ledger.accepted.append(job.id)
    over = client.wait(job.id, JOB_REFUSAL_S)
    assert over.state in {"Failed", "Timeout"}
    assert_explained(over.view["error"], "execution_timeout", "0.5 s")
    assert_serving(client, ledger)


def test_a_thousand_submissions_at_once_are_all_accounted_for(runtime: LocalRuntime) -> None:
    good = json.dumps(native_body(shots=5)).encode()
    source = 'OPENQASM 3.0; include "/etc/passwd";'
    bad = json.dumps(native_body(circuits=[{"source": source}])).encode()
    wrong = json.dumps(native_body(shots=-1)).encode()
    bodies = [wrong if number % 10 == 3 else bad if number % 10 == 7 else good for number in range(CROWD)]

    async def crowd() -> tuple[list[httpx.Response], list[dict[str, Any]], list[list[str]]]:
        async with connections(runtime, CONNECTIONS) as http:
            answers = await asyncio.gather(*(http.post(NATIVE, content=body) for body in bodies))
            ids = [answer.json()["id"] for answer in answers if answer.is_success]
            views = await asyncio.gather(*(ended(http, job_id) for job_id in ids))
            histories = await asyncio.gather(*(http.get(f"{NATIVE}/{job_id}/history") for job_id in ids[::5]))
            ways = [[change["to_state"] for change in history.json()["changes"]] for history in histories]
            return answers, views, ways

    answers, views, ways = asyncio.run(crowd())
    assert [answer.status_code for answer in answers] == [400 if body is wrong else 201 for body in bodies]
    assert len({view["id"] for view in views}) == len(views) == CROWD * 9 // 10
    by_body = [body for body in bodies if body is not wrong]
    assert [view["state"] for view in views] == ["Completed" if body is good else "Failed" for body in by_body]
    for way in ways:
        assert way[-1] in TERMINAL
        assert sum(state in TERMINAL for state in way) == 1


def test_one_request_of_many_jobs_is_answered_for_each(http: httpx.Client, client: QrtxClient, ledger: Ledger) -> None:
    good = native_body(shots=5)
    jobs = [good, good | {"device": "nowhere"}, good | {"shots": 0}, 5, good | {"extra": 1}, good]
    answer = http.post(NATIVE, json={"jobs": jobs})
    assert answer.status_code == 201
    outcomes = answer.json()["outcomes"]
    assert [("job" in outcome and outcome["job"] is not None) for outcome in outcomes] == [True, *[False] * 4, True]
    for outcome in (outcomes[0], outcomes[5]):
        ledger.accepted.append(outcome["job"]["id"])
        assert client.wait(outcome["job"]["id"], JOB_REFUSAL_S).state == "Completed"


def test_a_batch_with_a_killer_in_it_costs_nobody_else(http: httpx.Client, client: QrtxClient, ledger: Ledger) -> None:
    """A circuit whose parser runs for seconds stands among honest jobs of one submission, so of one batch."""
    heavy = f"{QASM3} qubit[1] q; bit[1] c; h q[0]{'[0]' * 40_000}; c = measure q;"
    jobs = [native_body(shots=5), native_body(circuits=[{"source": heavy}]), *[native_body(shots=6)] * 6]
    outcomes = http.post(NATIVE, json={"jobs": jobs}).json()["outcomes"]
    ids = [outcome["job"]["id"] for outcome in outcomes]
    ledger.accepted += ids
    states = [client.wait(job_id, 2 * JOB_REFUSAL_S).state for job_id in ids]
    assert states == ["Completed", "Failed", *["Completed"] * 6]


def test_failures_leave_no_trace_in_the_next_job_of_the_same_body(
    http: httpx.Client, client: QrtxClient, ledger: Ledger
) -> None:
    for _ in range(3):
        fails(http, client, ledger, NATIVE, native_body(circuits=[{"source": BELL.replace("h q[0];", "h q[9];")}]))
        job = client.submit(BELL, IDEAL, shots=10, seed=5)
        ledger.accepted.append(job.id)
        assert client.wait(job.id, JOB_REFUSAL_S).state == "Completed"

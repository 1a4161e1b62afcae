"""The compiler's child alone, without Ray: whatever a mutated circuit does to it stays in it."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.library import QFTGate, UnitaryGate

from qrtx_ray.devices.executable import ExecutableJob
from qrtx_ray.errors import ErrorInfo, ExecutionTimeout, WorkerDied
from qrtx_ray.sandbox.limits import SandboxLimits
from qrtx_ray.sandbox.process import Sandbox

from . import corpus
from .corpus import QASM2, QASM3
from .doors import assert_clean, native_body

pytestmark = pytest.mark.asyncio(loop_scope="module")

CASES = 400
DEADLINE_S = 1.0
MIB = 2**20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def child() -> AsyncIterator[Sandbox]:
    limits = SandboxLimits(memory_bytes=1024 * MIB)
    sandbox = Sandbox("qrtx_ray.compiler.worker:create", {}, limits, preload=("qiskit", "qrtx_ray.compiler.worker"))
    try:
        await sandbox.start()
        await asked(sandbox, HONEST, 30.0)
        yield sandbox
    finally:
        await sandbox.close()


def task(body: dict[str, Any], device: str = "fake_manila@aer_ideal", job_id: str = "job") -> dict[str, Any]:
    return {
        "job_id": job_id,
        "program": "sampler",
        "device": device,
        "payload": orjson.dumps(body),
        "payload_format": "native",
        "seed": 1,
        "client": "test",
    }


def of_source(source: str, kind: str = "qasm3") -> dict[str, Any]:
    return task(native_body(circuits=[{"format": kind, "source": source}]))


HONEST = task(native_body())
SLOW = of_source(f"{QASM3} qubit[1] q; bit[1] c; {'h q[0];' * 37_000} c = measure q;")


async def asked(child: Sandbox, one: dict[str, Any], deadline_s: float = DEADLINE_S) -> dict[str, Any]:
    """The report of the child, or of what became of it."""
    try:
        reply = await child.call({"tasks": [one]}, deadline_s=deadline_s)
    except (ExecutionTimeout, WorkerDied) as error:
        return {"error": error.info().to_dict(), "killed": True}
    (report,) = reply["reports"]
    return report


async def compiles(child: Sandbox) -> bool:
    report = await asked(child, HONEST, 30.0)
    return report["error"] is None and len(ExecutableJob.from_bytes(report["executable"]).pubs) == 1


def seeds_of_the_fuzz() -> list[bytes]:
    plain = corpus.bell()
    parametrised = QuantumCircuit(3, name="angles", metadata={"of": "a test"})
    for number in range(6):
        parametrised.rx(Parameter(f"t{number}") * 2 + 1, number % 3)
    parametrised.measure_all()
    library = QuantumCircuit(3)
    library.append(QFTGate(3), range(3))
    library.append(UnitaryGate([[0, 1], [1, 0]]), [0])
    library.measure_all()
    dynamic = QuantumCircuit(2, 2)
    dynamic.h(0)
    dynamic.measure(0, 0)
    with dynamic.if_test((dynamic.clbits[0], 1)):
        dynamic.x(1)
    dynamic.measure(1, 1)
    return [
        corpus.qpy_bytes(circuit, version)
        for circuit in (plain, parametrised, library, dynamic)
        for version in (13, 15, 17)
    ]


def mutated(dice: random.Random, seeds: list[bytes]) -> bytes:
    data = bytearray(dice.choice(seeds))
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        place = dice.randrange(len(data))
        match dice.randrange(5):
            case 0:
                data[place] ^= 1 << dice.randrange(8)
            case 1:
                data[place] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                data[place : place + 4] = dice.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
            case 3:
                del data[place : place + dice.randrange(1, 9)]
            case _:
                data[place:place] = data[dice.randrange(len(data)) :][: dice.randrange(1, 64)]
        if not data:
            return b""
    return bytes(data)


@pytest.mark.timeout(240)
async def test_mutated_qpy_gives_a_report_or_a_dead_child_and_the_next_job_compiles(child: Sandbox) -> None:
    dice = random.Random(20_250_101)
    seeds = seeds_of_the_fuzz()
    outcomes: Counter[str] = Counter()
    for number in range(CASES):
        data = mutated(dice, seeds)
        began = time.perf_counter()
        report = await asked(child, task(native_body(circuits=[{"format": "qpy", "source": corpus.packed(data)}])))
        took = time.perf_counter() - began
        assert took < DEADLINE_S + 5.0, f"case {number} took {took:.1f} s"
        if report["error"] is None:
            outcomes["compiled"] += 1
            continue
        error = ErrorInfo.from_dict(report["error"])
        outcomes[error.code] += 1
        assert_clean(f"{error.message} {error.field} {error.limit}")
        if report.get("killed") or number % 20 == 0:
            assert await compiles(child), f"after case {number}"
    assert await compiles(child)
    assert sum(outcomes.values()) == CASES
    assert outcomes["decode_failed"] > CASES // 4
    assert outcomes["compiled"] < CASES
    assert set(outcomes) <= {
        "compiled",
        "decode_failed",
        "validation_failed",
        "payload_too_large",
        "compile_failed",
        "resource_exhausted",
        "execution_timeout",
        "worker_died",
    }


async def test_a_deadline_kills_the_child_and_the_next_one_is_ready(child: Sandbox) -> None:
    first = child.pid
    report = await asked(child, SLOW, 0.3)
    assert report["killed"]
    assert ErrorInfo.from_dict(report["error"]).code == "execution_timeout"
    assert report["error"]["limit"] == "0.3 s"
    assert await compiles(child)
    assert child.pid != first


@pytest.mark.parametrize("levels", [17, 22, 30, 60, 500, 5000])
async def test_gates_that_double_cost_no_time(child: Sandbox, levels: int) -> None:
    source = corpus.doubling(levels)
    for kind, text in (
        ("qasm2", source),
        ("qasm3", source.replace(QASM2, QASM3).replace("measure q[0] -> c[0]", "c[0] = measure q[0]")),
    ):
        report = await asked(child, of_source(text, kind), 5.0)
        assert not report.get("killed")
        assert report["error"]["code"] == "validation_failed"
    assert await compiles(child)


async def test_gates_that_double_within_bounds_are_welcome(child: Sandbox) -> None:
    report = await asked(child, of_source(corpus.doubling(9), "qasm2"), 20.0)
    assert report["error"] is None


@pytest.mark.parametrize("depth", [65, 1_000, 20_000, 100_000])
@pytest.mark.parametrize("pair", ["()", "[]", "{}"])
async def test_deep_brackets_are_counted_before_they_are_parsed(child: Sandbox, depth: int, pair: str) -> None:
    source = f"{QASM3} qubit q; rx({pair[0] * depth}1{pair[1] * depth}) q;"
    report = await asked(child, of_source(source), 5.0)
    assert not report.get("killed")
    assert "64 levels" in report["error"]["message"]


async def test_deep_brackets_of_openqasm_2_do_no_harm(child: Sandbox) -> None:
    source = f"{QASM2} qreg q[1]; creg c[1]; rx({'(' * 1_000_000}1{')' * 1_000_000}) q[0]; measure q -> c;"
    report = await asked(child, of_source(source, "qasm2"), 20.0)
    assert not report.get("killed")
    assert await compiles(child)


async def test_a_bad_task_spoils_no_other_of_its_batch(child: Sandbox) -> None:
    bad = [
        of_source(f"{QASM2} qreg q[1000000000];", "qasm2"),
        of_source('OPENQASM 3.0; include "/etc/passwd";'),
        of_source("\0"),
    ]
    tasks = [one | {"job_id": str(index)} for index, one in enumerate([HONEST, *bad, HONEST])]
    events: list[dict[str, Any]] = []
    await child.call({"tasks": tasks}, deadline_s=30.0, on_event=events.append)
    reports = [event["report"] for event in events]
    assert [report["job_id"] for report in reports] == list("01234")
    assert [report["error"] is None for report in reports] == [True, False, False, False, True]


async def test_of_a_batch_what_stood_before_the_deadline_is_kept(child: Sandbox) -> None:
    events: list[dict[str, Any]] = []
    tasks = [HONEST | {"job_id": "0"}, SLOW | {"job_id": "1"}, HONEST | {"job_id": "2"}]
    assert await compiles(child)
    with pytest.raises(ExecutionTimeout):
        await child.call({"tasks": tasks}, deadline_s=3.0, on_event=events.append)
    assert [event["report"]["job_id"] for event in events] == ["0"]
    assert await compiles(child)

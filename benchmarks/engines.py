"""The engine alone: ideal five-qubit jobs in a batch, and noisy ones, from compiled bytes to encoded results, against raw Aer.

Everything runs on one core in this process: no child, no Ray. Raw Aer gets the same circuits already built, one thread, and is
asked for the counts. Jobs a second and core are counted in CPU time, through the handler of the engine's child, over circuits
of which no two are alike; the raw baseline of noisy jobs is `raw_noisy_manila_ms`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from qiskit import QuantumCircuit

from benchmarks.circuits import hardware_efficient, native_body, shuffled
from benchmarks.report import Figure, Options, main, median
from qrtx_ray.codec.limits import Limits
from qrtx_ray.compiler.worker import create
from qrtx_ray.devices.executable import ExecutableJob
from qrtx_ray.engines.protocol import Engine, JobRun
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.engines.worker import create as create_engine

IDEAL = "fake_manila@aer_ideal"
NOISY = "fake_manila@aer"
SHOTS = 1024
BATCH = 16


def measure(options: Options) -> Iterator[Figure]:
    """Microseconds a job in a batch; milliseconds of noisy jobs, first and warm."""
    repeats = options.pick(60, 15)
    circuits = [hardware_efficient(options.seed + index) for index in range(BATCH)]
    frames = _compiled(IDEAL, circuits)
    engine, raw = engine_for("aer_ideal"), _raw()
    ours = median(_seconds(lambda: _run(engine, frames), repeats)) / BATCH
    theirs = median(_seconds(lambda: [_counts(raw, circuit) for circuit in circuits], repeats)) / BATCH
    yield Figure("ideal_us_per_job", 1e6 * ours, "us")
    yield Figure("raw_aer_us_per_job", 1e6 * theirs, "us")
    yield Figure("ideal_speedup_vs_raw_aer", theirs / ours, "1", 1, "higher")
    yield from _rates(options)
    yield from _noisy("manila", circuits[0], options.pick(20, 8))
    # Aer takes the noise model of all 127 qubits into account, whatever the circuit uses: seconds, so few repetitions.
    yield from _noisy("sherbrooke", _echoed(options.seed), options.pick(20, 8), raw_repeats=options.pick(3, 1))


def _rates(options: Options) -> Iterator[Figure]:
    """Small jobs a CPU second, all circuits different: ideal of one structure, ideal of a structure each, noisy."""
    count = options.pick(500, 200)
    handle, raw = create_engine({}), _raw()
    for kind, make in (("ideal5", hardware_efficient), ("ideal5_shuffled", shuffled)):
        circuits = [make(1000 + options.seed + index) for index in range(count)]
        members = [
            {"job_id": str(index), "seed": index, "executable": frame}
            for index, frame in enumerate(_compiled(IDEAL, circuits))
        ]
        ours = _rate(lambda members=members: _handled(handle, members), count)
        theirs = _rate(lambda circuits=circuits: [_counts(raw, circuit) for circuit in circuits], count)
        yield Figure(f"{kind}_jobs_per_s_core", ours, "jobs/s", 3000, "higher")
        yield Figure(f"raw_aer_{kind}_jobs_per_s_core", theirs, "jobs/s")
        yield Figure(f"{kind}_speedup_vs_raw_aer", ours / theirs, "1", 5, "higher")
    frames = _compiled(NOISY, [hardware_efficient(1000 + options.seed + index) for index in range(count)])
    members = [{"job_id": str(index), "seed": index, "executable": frame} for index, frame in enumerate(frames)]
    yield Figure("noisy5_jobs_per_s_core", _rate(lambda: _handled(handle, members, NOISY), count), "jobs/s")


def _rate(work: Callable[[], Any], count: int) -> float:
    """How many of `count` pieces of work a CPU second does, median of three repetitions after one that warms up."""
    work()
    seconds = []
    for _ in range(3):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return count / median(seconds)


def _handled(handle: Callable[..., dict[str, Any]], members: list[dict[str, Any]], device: str = IDEAL) -> None:
    outcomes = handle({"device": device, "members": members}, lambda _: None)["outcomes"]
    errors = [outcome["error"] for outcome in outcomes if outcome["error"]]
    if errors:
        raise RuntimeError(f"a job failed: {errors[0]}")


def _noisy(name: str, circuit: QuantumCircuit, repeats: int, raw_repeats: int | None = None) -> Iterator[Figure]:
    """One noisy job on a fresh engine, then warm; and `AerSimulator.from_backend` of the packaged device."""
    frames = _compiled(f"fake_{name}@aer", [circuit])
    engine = engine_for("aer")
    first = _seconds(lambda: _run(engine, frames), 1)[0]
    warm = median(_seconds(lambda: _run(engine, frames), repeats))
    started = time.perf_counter()
    raw = _raw(f"fake_{name}")
    _counts(raw, circuit)
    raw_first = time.perf_counter() - started
    raw_warm = median(_seconds(lambda: _counts(raw, circuit), raw_repeats or repeats))
    yield Figure(f"noisy_{name}_first_ms", 1e3 * first, "ms")
    yield Figure(f"noisy_{name}_ms", 1e3 * warm, "ms")
    yield Figure(f"raw_noisy_{name}_first_ms", 1e3 * raw_first, "ms")
    yield Figure(f"raw_noisy_{name}_ms", 1e3 * raw_warm, "ms")
    yield Figure(f"noisy_{name}_speedup_vs_raw_aer", raw_warm / warm, "1", 1, "higher")


def _echoed(seed: int, qubits: int = 5) -> QuantumCircuit:
    """The hardware-efficient circuit in sherbrooke's gates on its qubits 0 to 4."""
    circuit = QuantumCircuit(127, qubits)
    original = hardware_efficient(seed, qubits)
    for instruction in original.data:
        places = [original.find_bit(qubit).index for qubit in instruction.qubits]
        if instruction.operation.name == "cx":
            circuit.ecr(*((1, 0), (1, 2), (3, 2), (4, 3))[min(places)])
        elif instruction.operation.name == "measure":
            circuit.measure(places[0], places[0])
        else:
            circuit.append(instruction.operation, places)
    return circuit


def _compiled(device: str, circuits: list[QuantumCircuit]) -> list[bytes]:
    """The circuits as the compiler's child makes them of request bodies."""
    compiler = create({"limits": Limits().to_dict(), "optimization_level": 1, "cache_entries": 16})
    tasks = [
        {
            "job_id": f"{index:020d}",
            "program": "sampler",
            "device": device,
            "payload": native_body(device, circuit, shots=SHOTS).encode(),
            "payload_format": "native",
            "seed": index,
            "client": "",
            "tenant": "benchmark",
            "name": "",
        }
        for index, circuit in enumerate(circuits)
    ]
    reports: list[dict[str, Any]] = []
    # Of several tasks the reports are emitted one by one, of a single one it is returned.
    reports += compiler({"tasks": tasks}, lambda event: reports.append(event["report"]))["reports"]
    failed = [report["error"] for report in reports if report["error"]]
    if failed:
        raise RuntimeError(f"a circuit did not compile: {failed[0]}")
    return [report["executable"] for report in reports]


def _run(engine: Engine, frames: list[bytes]) -> None:
    jobs = [JobRun(ExecutableJob.from_bytes(frame), index) for index, frame in enumerate(frames)]
    errors = [outcome.error for outcome in engine.run(jobs) if outcome.error]
    if errors:
        raise RuntimeError(f"a job failed: {errors[0]}")


def _raw(fake_name: str | None = None) -> Any:
    from qiskit_aer import AerSimulator

    if fake_name is None:
        return AerSimulator(max_parallel_threads=1)
    from qiskit_ibm_runtime.fake_provider import FakeProviderForBackendV2

    return AerSimulator.from_backend(FakeProviderForBackendV2().backend(fake_name), max_parallel_threads=1)


def _counts(simulator: Any, circuit: QuantumCircuit) -> Any:
    return simulator.run(circuit, shots=SHOTS).result().get_counts()


def _seconds(work: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each repetition."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    raise SystemExit(main(__doc__ or "", measure))

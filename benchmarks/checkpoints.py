"""Wide states: their evolution against raw Aer, and what it costs to keep one in the middle, against memory and disk bandwidth.

Evolution: the same circuit on one thread each, alternately in one run, CPU seconds (both only compute), the best of the repeats.
Aer is the stock simulator with fusion, asked for one shot; ours are program, plan, state and one shot. Planning is included.

Checkpoints go the way of a running job: the engine seals a state that lies in shared memory, whoever asked takes a copy of it, and
the run goes on; the copy is written with its envelope and digests, synced, and later read back, verified, and gone on from. Memory
bandwidth is that of `memcpy` (bytes copied a second), disk bandwidth that of a plain file written and synced, both in this run.

What checkpoints cost a long run is measured on a shorter one, in CPU seconds of its own thread: what a run with a checkpoint every
few slices, each written by another thread meanwhile, takes more than one without, divided by the number of checkpoints, is what each
of them costs, and with one every minute it is taken from every minute. The same with the seconds of the writing thread is what it
costs a machine without a core to spare. CPU seconds too are those until a run that is asked to make way has done so: it only
computes, and other work of the machine is no part of them.
"""

from __future__ import annotations

import argparse
import mmap
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from qiskit import QuantumCircuit

from benchmarks.circuits import hardware_efficient
from benchmarks.report import Figure, Options, main, median
from qrtx_ray.devices.cost import job_cost
from qrtx_ray.devices.executable import ExecutableJob, SamplerPub
from qrtx_ray.devices.program_builder import build_program
from qrtx_ray.engines.protocol import Checkpoint, Engine, JobOutcome, JobRun, Wish
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.model.ids import new_id
from qrtx_ray.store.checkpoints import CheckpointDraft, CheckpointStore

DEVICE = "fake_sherbrooke@aer_ideal"
MIB = 2**20
EVERY_S = 60.0
BLOCK = 256 * MIB


def measure(options: Options) -> Iterator[Figure]:
    """Evolution at several widths, the bandwidths, checkpoints at several widths, a long run, and making way."""
    for qubits in (20, 22) if options.quick else (20, 22, 24, 26):
        for kind, make in _CIRCUITS.items():
            if qubits < 26 or kind == "layered":  # of 26 qubits Aer takes half a minute for it
                yield from _against_aer(kind, make(options.seed, qubits), repeats=1 if qubits > 22 else 3)
    with tempfile.TemporaryDirectory(dir=options.arguments.folder) as folder:
        memory, disk = _memory_bandwidth(), _disk_bandwidth(Path(folder))
        yield Figure("memory_gib_per_s", memory / 2**30, "GiB/s")
        yield Figure("disk_gib_per_s", disk / 2**30, "GiB/s")
        for qubits in (20, 22) if options.quick else (20, 24, 26):
            yield from _kept(qubits, options.seed, Path(folder), memory, disk)
        yield from _long_run(22 if options.quick else 26, options, Path(folder))
    yield from _making_way(22 if options.quick else 24, options)


def _layered(seed: int, qubits: int, layers: int = 3) -> QuantumCircuit:
    return hardware_efficient(seed, qubits, layers)


def _lasting(seed: int, qubits: int, seconds: float) -> QuantumCircuit:
    """Of layers the fewest, doubled each time, that take so long by the cost law."""
    layers = 12  # with fewer a part of the amplitudes stays zero for most of the run
    while _law_s(_job(circuit := _layered(seed, qubits, layers))) < seconds:
        layers *= 2
    return circuit


def _fourier(_: int, qubits: int) -> QuantumCircuit:
    """The quantum Fourier transform: one gate for each pair of qubits."""
    circuit = QuantumCircuit(qubits, qubits)
    for qubit in reversed(range(qubits)):
        circuit.h(qubit)
        for other in range(qubit):
            circuit.cp(np.pi / 2 ** (qubit - other), qubit, other)
    circuit.measure(range(qubits), range(qubits))
    return circuit


def _scattered(seed: int, qubits: int) -> QuantumCircuit:
    """Eight layers of rotations and CX between pairs drawn anew: nothing is near anything."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(qubits, qubits)
    for _ in range(8):
        for qubit in range(qubits):
            circuit.u(*rng.uniform(-np.pi, np.pi, 3), qubit)
        order = rng.permutation(qubits).tolist()
        for a, b in zip(order[::2], order[1::2], strict=False):
            circuit.cx(a, b)
    circuit.measure(range(qubits), range(qubits))
    return circuit


_CIRCUITS: dict[str, Callable[[int, int], QuantumCircuit]] = {
    "layered": _layered,
    "fourier": _fourier,
    "scattered": _scattered,
}


def _job(circuit: QuantumCircuit, shots: int = 1) -> ExecutableJob:
    program, values = build_program(circuit)
    return ExecutableJob("sampler", DEVICE, "", (SamplerPub(program, values, (), shots),), {})


def _law_s(job: ExecutableJob) -> float:
    return job_cost(job, noisy=False).seconds


def _against_aer(kind: str, circuit: QuantumCircuit, repeats: int) -> Iterator[Figure]:
    from qiskit_aer import AerSimulator

    simulator, engine, job = (
        AerSimulator(method="statevector", max_parallel_threads=1),
        engine_for("aer_ideal"),
        _job(circuit),
    )
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(_cpu_s(lambda: _run(JobRun(job, 1), engine)))
        theirs.append(_cpu_s(lambda: simulator.run(circuit, shots=1).result()))
    name = f"{kind}{circuit.num_qubits}"
    yield Figure(f"{name}_s", min(ours), "s")
    yield Figure(f"{name}_raw_aer_s", min(theirs), "s")
    yield Figure(f"{name}_speedup_vs_raw_aer", min(theirs) / min(ours), "1", 1, "higher")
    yield Figure(f"{name}_cost_law_over_measured", _law_s(job) / min(ours), "1")


def _cpu_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _run(
    run: JobRun,
    engine: Engine | None = None,
    ask: Callable[[int, float], Wish | None] | None = None,
    keep: Callable[[int, Checkpoint], None] | None = None,
) -> JobOutcome:
    (outcome,) = (engine or engine_for("aer_ideal")).run([run], ask, keep)
    if outcome.error:
        raise RuntimeError(f"the job failed: {outcome.error}")
    return outcome


def _memory_bandwidth() -> float:
    """Bytes copied a second."""
    source, target = np.ones(BLOCK, np.uint8), np.ones(BLOCK, np.uint8)
    return BLOCK / min(_wall_s(lambda: np.copyto(target, source)) for _ in range(5))


def _disk_bandwidth(folder: Path) -> float:
    """Bytes written and synced a second."""
    data = np.random.default_rng(1).bytes(BLOCK)

    def write() -> None:
        with (folder / "plain").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    seconds = min(_wall_s(write) for _ in range(3))
    (folder / "plain").unlink()
    return BLOCK / seconds


def _wall_s(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class _Area:
    """Shared memory for a state and a copy of it."""

    def __init__(self, nbytes: int) -> None:
        self.map = mmap.mmap(-1, 2 * nbytes + mmap.PAGESIZE)
        self.view = memoryview(self.map)
        self.copy = self.view[-(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE :][:nbytes]

    def __call__(self, nbytes: int) -> memoryview | None:
        return self.view[:nbytes] if nbytes <= len(self.view) else None

    def take(self, nbytes: int) -> float:
        """Copy the state; the seconds that it took."""
        return _wall_s(
            lambda: np.copyto(np.frombuffer(self.copy, np.uint8), np.frombuffer(self.view[:nbytes], np.uint8))
        )


def _kept(qubits: int, seed: int, folder: Path, memory: float, disk: float) -> Iterator[Figure]:
    """Take, write and restore the state of a run that is under way."""
    nbytes = 16 << qubits
    area, job = _Area(nbytes), _job(_lasting(seed, qubits, 2.0))
    store = CheckpointStore(str(folder), compression_level=3)
    taken: list[tuple[Checkpoint, float, float, float]] = []
    asked_at = 0.0

    def ask(_: int, fraction: float) -> Wish | None:
        nonlocal asked_at
        if fraction < _FULL or taken:  # at first most amplitudes are zero, and a file of them is small
            return None
        asked_at = time.perf_counter()
        return Wish.CHECKPOINT

    def keep(_: int, checkpoint: Checkpoint) -> None:
        sealed_s = time.perf_counter() - asked_at
        first_s = area.take(checkpoint.bulk_bytes)  # its pages come to be
        taken.append((checkpoint, sealed_s, first_s, min(area.take(checkpoint.bulk_bytes) for _ in range(3))))

    results = _run(JobRun(job, 1, area=area), None, ask, keep).results
    checkpoint, sealed_s, first_s, copied_s = taken[0]
    draft = CheckpointDraft(
        job_id=new_id(time.time(), os.urandom(10)),
        attempt=1,
        sequence=1,
        progress=checkpoint.progress,
        kind="segment",
        at=time.time(),
        about=checkpoint.about,
    )
    started = time.perf_counter()
    ref = store.write(draft, checkpoint.body, area.copy)
    written_s = time.perf_counter() - started
    started = time.perf_counter()
    found = store.read(ref, lambda size: area.view[:size])
    read_s = time.perf_counter() - started
    first_asked: list[float] = []
    started = time.perf_counter()
    again = JobRun(job, 1, checkpoint=found.body, bulk_bytes=found.bulk_bytes, area=area)
    outcome = _run(again, None, lambda _index, _fraction: first_asked.append(time.perf_counter() - started))
    store.drop(draft.job_id)
    if outcome.anew or outcome.results != results:
        raise RuntimeError(f"the run that went on gave other results {outcome.anew}")
    gib = nbytes / 2**30
    yield Figure(f"state{qubits}_bytes", nbytes, "B")
    yield Figure(f"checkpoint{qubits}_file_bytes", ref.size_bytes, "B")
    yield Figure(f"checkpoint{qubits}_seal_s", sealed_s, "s")
    yield Figure(f"checkpoint{qubits}_copy_first_s", first_s, "s")
    yield Figure(f"checkpoint{qubits}_copy_s", copied_s, "s")
    yield Figure(f"checkpoint{qubits}_copy_of_memory_bandwidth", nbytes / copied_s / memory, "1")
    yield Figure(f"checkpoint{qubits}_write_s", written_s, "s")
    yield Figure(f"checkpoint{qubits}_write_gib_per_s", gib / written_s, "GiB/s")
    yield Figure(f"checkpoint{qubits}_write_of_disk_bandwidth", nbytes / written_s / disk, "1")
    yield Figure(f"checkpoint{qubits}_read_s", read_s, "s")
    yield Figure(f"checkpoint{qubits}_verify_and_begin_s", first_asked[0], "s")


def _long_run(qubits: int, options: Options, folder: Path) -> Iterator[Figure]:
    """Seconds that each checkpoint adds to a run, and per cent of a run with one every minute."""
    nbytes = 16 << qubits
    job, area = _job(_lasting(options.seed, qubits, options.pick(12, 5))), _Area(nbytes)
    store, job_id = CheckpointStore(str(folder), compression_level=3), new_id(time.time(), os.urandom(10))
    writers: list[threading.Thread] = []
    stalls: list[float] = []
    count, asked_at = 0, 0.0

    def ask(_: int, fraction: float) -> Wish | None:
        nonlocal count, asked_at
        count += 1
        busy = bool(writers) and writers[-1].is_alive()
        if count % every or busy or fraction > _LAST:
            return None
        asked_at = time.thread_time()
        return Wish.CHECKPOINT

    def keep(_: int, checkpoint: Checkpoint) -> None:
        area.take(checkpoint.bulk_bytes)
        draft = CheckpointDraft(
            job_id=job_id,
            attempt=1,
            sequence=len(writers) + 1,
            progress=checkpoint.progress,
            kind="segment",
            at=time.time(),
            about=checkpoint.about,
        )
        writers.append(threading.Thread(target=store.write, args=(draft, checkpoint.body, area.copy)))
        writers[-1].start()
        stalls.append(time.thread_time() - asked_at)

    every = 1 << 60
    area.take(nbytes)  # the pages of both halves are there from the beginning

    def run() -> tuple[float, float]:
        """CPU seconds of the run's own thread, and of all."""
        own, all_ = time.thread_time(), time.process_time()
        _run(JobRun(job, 1, area=area), None, ask, keep)
        own = time.thread_time() - own
        for writer in writers:
            writer.join()
        return own, time.process_time() - all_

    without = min(run(), run())
    every, slices, count = max(2, count // 8), count // 2, 0
    with_ = run()
    store.drop(job_id)
    own_s, all_s = (max(0.0, more - less) / len(stalls) for more, less in zip(with_, without, strict=True))
    yield Figure(f"long_run{qubits}_cpu_s", without[0], "s")
    yield Figure(f"long_run{qubits}_slices", slices, "1")
    yield Figure(f"long_run{qubits}_checkpoints", len(stalls), "1")
    yield Figure(f"long_run{qubits}_stall_s", median(stalls), "s")
    yield Figure(f"long_run{qubits}_own_s_of_a_checkpoint", own_s, "s")
    yield Figure(f"long_run{qubits}_all_s_of_a_checkpoint", all_s, "s")
    yield Figure("checkpoint_stall_overhead", 100 * median(stalls) / EVERY_S, "%", 2)
    yield Figure("checkpoint_overhead", 100 * own_s / EVERY_S, "%", 2)
    yield Figure("checkpoint_overhead_on_one_core", 100 * all_s / EVERY_S, "%")


_FULL = 0.6
_LAST = 0.9  # of a run: a checkpoint taken later is not written before it ends


def _making_way(qubits: int, options: Options) -> Iterator[Figure]:
    """From the moment when a run is asked to make way until it has: seconds, and mean slices."""
    rng = np.random.default_rng(options.seed)
    job, area = _job(_lasting(options.seed, qubits, options.pick(4, 2))), _Area(16 << qubits)
    ends: list[float] = []
    whole = _cpu_s(lambda: _run(JobRun(job, 1, area=area), None, lambda *_: ends.append(time.process_time())))
    longest = max(later - earlier for earlier, later in pairwise(ends))
    waits = []
    for _ in range(options.pick(12, 6)):
        at = time.process_time() + whole * rng.uniform(0.05, 0.9)

        def ask(_: int, fraction: float, at: float = at) -> Wish | None:  # noqa: ARG001
            return Wish.PREEMPT if time.process_time() >= at else None

        if _run(JobRun(job, 1, area=area), None, ask).preempted:
            waits.append(time.process_time() - at)
    yield Figure(f"make_way{qubits}_slice_s", whole / len(ends), "s")
    yield Figure(f"make_way{qubits}_longest_slice_s", longest, "s")
    yield Figure(f"make_way{qubits}_median_s", median(waits), "s")
    yield Figure(f"make_way{qubits}_max_s", max(waits), "s")
    yield Figure("preempt_to_freed_slices", max(waits) / longest, "1", 1)


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="where checkpoints are written (default: the temporary folder)")


if __name__ == "__main__":
    raise SystemExit(main(__doc__, measure, extend=_extend))

"""Wide jobs on the engine: samples and expectation values, and that a run that makes way ends with the same bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.quantum_info import SparsePauliOp, Statevector

from qrtx_ray.devices.executable import ExecutableJob, PauliTerm
from qrtx_ray.engines import wide_plan
from qrtx_ray.engines.protocol import JobRun, Wish
from qrtx_ray.engines.registry import engine_for

from .building import estimator_job, hardware_efficient, read, sampler_job, terms_of
from .conformance import chi_square_passes
from .test_kernel import random_circuit

DEVICE = "fake_montreal@aer_ideal"


@pytest.fixture
def finely_cut(monkeypatch):
    """Segments so short that the small states of a test have many."""
    monkeypatch.setattr(wide_plan, "SEGMENT_S", 5e-4)


def run(job, seed=11, *, threads=1, **kwargs):
    (outcome,) = engine_for("aer_ideal", threads=threads).run([JobRun(job, seed)], **kwargs)
    assert outcome.error is None
    return outcome


def method(outcome):
    return read(outcome.results).metadata["qrtx"]["method"]


def sampler(circuit, shots=2000, rows=1):
    job = sampler_job(circuit, device=DEVICE, shots=shots)
    (pub,) = job.pubs
    return replace(job, pubs=(replace(pub, values=np.repeat(pub.values, rows, axis=0), shape=(rows,)),))


def test_shots_of_all_qubits_follow_the_exact_distribution():
    circuit = QuantumCircuit(18, 18)
    rng = np.random.default_rng(4)
    for qubit in range(18):
        circuit.ry(rng.uniform(0, 3), qubit)
    for qubit in range(17):
        circuit.cx(qubit, qubit + 1)
    circuit.rzz(0.3, 0, 17)
    exact = Statevector(circuit)
    circuit.measure(range(18), range(18))
    outcome = run(sampler(circuit, shots=20_000))
    assert method(outcome) == "statevector"
    counts = read(outcome.results)[0].data.c
    for qubits in ([0, 1, 2, 3], [14, 15, 16, 17], [0, 9, 17], [5, 11, 12, 6, 1]):
        marginal = counts.slice_bits(qubits).get_int_counts()
        table = np.array([marginal.get(value, 0) for value in range(1 << len(qubits))], dtype=float)
        assert chi_square_passes(table, exact.probabilities(qubits))  # false alarms: see `chi_square_passes`


def test_few_measured_qubits_of_many_follow_the_exact_distribution():
    circuit = random_circuit(6, 17, 80)
    exact = Statevector(circuit).probabilities([16, 2, 9])
    first, second = ClassicalRegister(1, "first"), ClassicalRegister(2, "second")
    circuit.add_register(first, second)
    circuit.measure([2, 16, 9], [second[0], first[0], second[1]])
    data = read(run(sampler(circuit, shots=20_000)).results)[0].data
    index = data.first.array[..., 0].astype(int) | data.second.array[..., 0].astype(int) << 1
    assert chi_square_passes(np.bincount(index.ravel(), minlength=8).astype(float), exact)


def test_of_two_qubits_read_into_one_bit_the_last_counts():
    circuit = QuantumCircuit(QuantumRegister(17), ClassicalRegister(17, "c"))
    circuit.ry(0.5, range(17))
    circuit.ry(-0.5, 3)
    circuit.ry(np.pi - 0.5, 4)
    circuit.measure(range(17), range(17))
    circuit.data[-17 + 4] = circuit.data[-17 + 4].replace(clbits=[circuit.clbits[3]])
    counts = read(run(sampler(circuit, shots=50)).results)[0].data.c
    assert (counts.slice_bits([3]).array == 1).all()
    assert (counts.slice_bits([4]).array == 0).all()


def test_a_wide_job_without_measurements_and_one_with_an_idle_register_have_all_zeros():
    circuit = QuantumCircuit(17, 2)
    circuit.h(range(17))
    circuit.t(0)
    assert (read(run(sampler(circuit, shots=5)).results)[0].data.c.array == 0).all()


OBSERVABLES = (
    SparsePauliOp.from_sparse_list([("XX", [0, 16], 0.7), ("ZYX", [3, 9, 12], -0.4), ("", [], 0.3)], 17),
    SparsePauliOp.from_sparse_list([("Z" * 17, range(17), 1.5), ("Y", [5], 0.2)], 17),
)


def estimator(circuit, shots=0):
    terms = tuple(terms_of(observable) for observable in OBSERVABLES)
    return estimator_job(circuit, *terms, device=DEVICE, shots=shots)


def shared(area):
    """The bytes of `area` as an engine gets them from whoever keeps checkpoints."""
    view = memoryview(area)
    return lambda size: view[:size] if size <= len(view) else None


def test_exact_values_are_those_of_the_state():
    circuit = random_circuit(3, 17, 90).remove_final_measurements(inplace=False)
    data = read(run(estimator(circuit)).results)[0].data
    exact = [Statevector(circuit).expectation_value(observable).real for observable in OBSERVABLES]
    assert data.evs == pytest.approx(exact, abs=1e-11)
    assert (data.stds == 0).all()


def test_a_term_on_all_qubits_with_projectors_is_read_without_a_table_of_its_outcomes():
    circuit = QuantumCircuit(18)
    for qubit in range(18):
        circuit.ry(0.3 + 0.05 * qubit, qubit)
    letters = "ZX0+Zr" * 3
    term = PauliTerm(tuple(range(18)), letters, 2.0)
    value = 2.0
    for qubit, letter in enumerate(letters):
        angle = 0.3 + 0.05 * qubit
        value *= {
            "Z": np.cos(angle),
            "X": np.sin(angle),
            "0": (1 + np.cos(angle)) / 2,
            "+": (1 + np.sin(angle)) / 2,
            "r": 0.5,
        }[letter]
    data = read(run(estimator_job(circuit, (term,), device=DEVICE)).results)[0].data
    assert data.evs == pytest.approx([value], abs=1e-12)


def test_sampled_values_lie_within_their_standard_errors():
    circuit = random_circuit(3, 17, 90).remove_final_measurements(inplace=False)
    data = read(run(estimator(circuit, shots=40_000)).results)[0].data
    exact = [Statevector(circuit).expectation_value(observable).real for observable in OBSERVABLES]
    assert (data.stds > 0).all()
    assert (abs(data.evs - exact) <= 5 * data.stds).all()  # one false alarm in 10**6


def jobs():
    wide = hardware_efficient(17, layers=4)
    return {
        "sampler": sampler(wide, shots=300, rows=2),
        "two PUBs": sampler_job(wide, hardware_efficient(18, layers=2), device=DEVICE, shots=100),
        "estimator": estimator(random_circuit(9, 17, 120).remove_final_measurements(inplace=False), shots=500),
    }


@pytest.mark.parametrize("name", ["sampler", "two PUBs", "estimator"])
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.usefixtures("finely_cut")
def test_a_wide_job_that_makes_way_again_and_again_ends_with_the_same_bytes(name, every):
    job = jobs()[name]
    whole = run(job).results
    assert run(job, threads=2).results == whole
    engine = engine_for("aer_ideal", threads=1 + every % 2)
    area, body, bulk, rounds, carried = bytearray(0), b"", b"", 0, 0
    while True:
        area = bytearray(2**23)
        area[: len(bulk)] = bulk
        slices = 0

        def ask(_, fraction):
            nonlocal slices
            slices += 1
            return Wish.PREEMPT if slices > every else None

        (outcome,) = engine.run([JobRun(job, 11, checkpoint=body, bulk_bytes=len(bulk), area=shared(area))], ask)
        assert outcome.error is None
        assert outcome.anew == ""
        if not outcome.preempted:
            break
        rounds += 1
        carried += bool(outcome.bulk_bytes)
        body, bulk = outcome.checkpoint, bytes(area[: outcome.bulk_bytes])
        job = ExecutableJob.from_bytes(job.to_bytes())
    assert outcome.results == whole
    assert rounds > 4
    assert carried > 2


@pytest.mark.usefixtures("finely_cut")
def test_checkpoints_taken_on_the_way_change_nothing_and_each_is_a_beginning():
    job = jobs()["sampler"]
    whole = run(job).results
    kept = []
    area = bytearray(2**23)

    def keep(_, checkpoint):
        kept.append((checkpoint, bytes(area[: checkpoint.bulk_bytes])))

    engine = engine_for("aer_ideal")
    (outcome,) = engine.run([JobRun(job, 11, area=shared(area))], lambda _index, _fraction: Wish.CHECKPOINT, keep)
    assert outcome.results == whole
    assert [checkpoint.progress for checkpoint, _ in kept] == sorted({checkpoint.progress for checkpoint, _ in kept})
    for checkpoint, bulk in kept[:: max(1, len(kept) // 6)]:
        area[:] = bytes(len(area))
        area[: len(bulk)] = bulk
        again = JobRun(job, 11, checkpoint=checkpoint.body, bulk_bytes=len(bulk), area=shared(area))
        (outcome,) = engine.run([again])
        assert outcome.anew == ""
        assert outcome.results == whole


@pytest.mark.usefixtures("finely_cut")
def test_a_damaged_state_is_refused_and_the_run_begins_anew():
    job = jobs()["sampler"]
    area = bytearray(2**23)
    engine = engine_for("aer_ideal")
    slices = iter(range(100))
    (outcome,) = engine.run(
        [JobRun(job, 11, area=shared(area))],
        lambda _index, _fraction: Wish.PREEMPT if next(slices) > 1 else None,
    )
    assert outcome.preempted
    area[100] ^= 1
    again = JobRun(job, 11, checkpoint=outcome.checkpoint, bulk_bytes=outcome.bulk_bytes, area=shared(area))
    (last,) = engine.run([again])
    assert last.anew
    assert last.results == run(job).results

"""Circuits whose shots the simulator draws: dynamic ones, resets, wide Clifford circuits, trajectories."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.quantum_info import Statevector

from qrtx_ray.devices.cost import Method, RowCost
from qrtx_ray.engines.native import NativeCircuit
from qrtx_ray.engines.protocol import JobRun
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.engines.shots import ShotRun, draw, native_program

from .building import dynamic_job, hardware_efficient, is_quarter_turn_circuit, program_of, read, sampler_job
from .conformance import chi_square_passes, histogram


@pytest.fixture(scope="module")
def ideal():
    return engine_for("aer_ideal")


@pytest.fixture(scope="module")
def noisy():
    return engine_for("aer")


def run_one(engine, job, seed=1):
    (outcome,) = engine.run([JobRun(job, seed)])
    assert outcome.error is None, outcome.error
    return read(outcome.results)


def method(result) -> str:
    return result.metadata["qrtx"]["method"]


def teleportation() -> QuantumCircuit:
    message, pair = QuantumRegister(1, "m"), QuantumRegister(2, "p")
    first, second, out = (ClassicalRegister(1, name) for name in ("a", "b", "out"))
    circuit = QuantumCircuit(message, pair, first, second, out)
    circuit.ry(1.1, 0)
    circuit.h(1)
    circuit.cx(1, 2)
    circuit.cx(0, 1)
    circuit.h(0)
    circuit.measure(0, first)
    circuit.measure(1, second)
    with circuit.if_test((second, 1)):
        circuit.x(2)
    with circuit.if_test((first, 1)):
        circuit.z(2)
    circuit.measure(2, out)
    return circuit


def test_a_circuit_with_conditions_teleports(ideal):
    result = run_one(ideal, dynamic_job(teleportation(), shots=4000))
    assert method(result) == "statevector_shots"
    one = np.sin(0.55) ** 2
    data = result[0].data
    assert chi_square_passes(histogram(data.out, 1), np.array([1 - one, one]))
    assert chi_square_passes(histogram(data.a, 1), np.array([0.5, 0.5]))


def test_a_dynamic_circuit_runs_with_noise(noisy):
    job = dynamic_job(teleportation(), device="fake_manila@aer", shots=500)
    result = run_one(noisy, job)
    assert method(result) == "trajectories"
    ones = histogram(result[0].data.out, 1)[1] / 500
    assert abs(ones - np.sin(0.55) ** 2) < 0.15


def test_reset_and_reuse_in_the_middle(ideal):
    circuit = QuantumCircuit(1, 3)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.measure(0, 1)
    circuit.x(0)
    circuit.measure(0, 2)
    result = run_one(ideal, sampler_job(circuit, shots=50))
    assert result[0].data.c.get_counts() == {"101": 50}


def test_drawn_jobs_do_not_depend_on_company(noisy):
    job = JobRun(dynamic_job(teleportation(), device="fake_manila@aer", shots=64), 5)
    other = JobRun(sampler_job(hardware_efficient(3), device="fake_manila@aer"), 6)
    alone = noisy.run([job])[0].results
    assert noisy.run([other, job, other])[1].results == alone
    assert noisy.run([JobRun(job.job, 6)])[0].results != alone


def test_a_hundred_clifford_qubits_run_as_stabilizers(ideal):
    circuit = QuantumCircuit(100, 100)
    circuit.rz(np.pi / 2, 0)
    circuit.sx(0)
    circuit.rz(np.pi / 2, 0)
    for qubit in range(99):
        circuit.cx(qubit, qubit + 1)
    circuit.measure(range(100), range(100))
    assert is_quarter_turn_circuit(circuit)
    result = run_one(ideal, sampler_job(circuit, device="fake_sherbrooke@aer_ideal", shots=200))
    assert method(result) == "stabilizer"
    counts = result[0].data.c.get_counts()
    assert set(counts) == {"0" * 100, "1" * 100}
    assert 50 < counts["0" * 100] < 150  # 7 standard deviations


def test_all_clifford_gates_mean_the_same_as_stabilizers():
    circuit = QuantumCircuit(3)
    rng = np.random.default_rng(3)
    for _ in range(60):
        a, b, _ = (int(q) for q in rng.permutation(3))
        name = ("h", "s", "sdg", "sx", "sxdg", "x", "y", "z", "id", "cx", "cy", "cz", "swap", "ecr", "iswap", "dcx")[
            rng.integers(16)
        ]
        getattr(circuit, name)(*((a, b) if name in {"cx", "cy", "cz", "swap", "ecr", "iswap", "dcx"} else (a,)))
        circuit.rz(rng.integers(-4, 8) * np.pi / 2, a)
    exact = Statevector(circuit).probabilities()
    measured = circuit.copy()
    measured.measure_all()
    program, values = program_of(measured)
    native = native_program(program, values[0], clifford=True)
    run = ShotRun(1, (0,), 2000, RowCost(Method.STABILIZER, 0.0, 0), None, 1)
    bits = draw(native, run, range(3), lambda _: None)
    counts = np.bincount((bits.astype(int) << np.arange(3)[:, None]).sum(axis=0), minlength=8)
    assert chi_square_passes(counts.astype(float), np.where(exact < 1e-12, 0, exact))


def test_more_measured_qubits_than_fit_a_distribution_are_drawn_from_the_state(ideal):
    circuit = QuantumCircuit(18, 18)
    circuit.rx(np.pi / 2, 0)
    for qubit in range(17):
        circuit.cx(qubit, qubit + 1)
    circuit.t(0)
    circuit.rx(0.0, 3)
    circuit.measure(range(18), range(18))
    result = run_one(ideal, sampler_job(circuit, device="fake_montreal@aer_ideal", shots=300))
    assert method(result) == "statevector"
    counts = result[0].data.c.get_counts()
    assert set(counts) == {"0" * 18, "1" * 18}
    assert 75 < counts["0" * 18] < 225


def test_slices_report_progress_and_are_part_of_the_law():
    circuit = NativeCircuit(1, 1)
    circuit.gate("h", [0])
    circuit.measure([0], [0])
    seen: list[float] = []
    run = ShotRun(3, (0, 0), 40, RowCost(Method.TRAJECTORIES, 3.5, 0), None, 1)
    bits = draw(circuit, run, [0], seen.append)
    assert seen == [0.25, 0.5, 0.75], "the end is the caller's to say"
    assert bits.shape == (1, 40)
    assert np.array_equal(bits, draw(circuit, run, [0], lambda _: None))
    assert len({bits[0, start : start + 10].tobytes() for start in range(0, 40, 10)}) > 1


def test_rows_of_dynamic_circuits_each_have_their_program(ideal):
    from dataclasses import replace

    from .building import qpy_program

    programs = []
    for angle in (0.0, np.pi):
        circuit = QuantumCircuit(1, 1)
        circuit.rx(angle, 0)
        circuit.measure(0, 0)
        with circuit.if_test((circuit.clbits[0], 1)):
            circuit.x(0)
        programs.append(qpy_program(circuit))
    job = dynamic_job(circuit, shots=20)
    pub = replace(job.pubs[0], row_programs=tuple(programs), values=np.empty((2, 0)), shape=(2,))
    result = run_one(ideal, replace(job, pubs=(pub,)))
    assert result[0].data.c.array[..., 0].tolist() == [[0] * 20, [1] * 20]

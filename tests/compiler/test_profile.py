"""What the scheduler is told: sizes as Qiskit counts them, device time by the documented formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Gate
from qiskit.circuit.random import random_circuit

from qrtx_ray.compiler.profile import MAX_COUNTED_BASES, count_bases, measure_program, profile_of
from qrtx_ray.devices.cost import JobCost
from qrtx_ray.devices.executable import EstimatorPub, ExecutableJob, PauliTerm, SamplerPub
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program_builder import build_program

MANILA = DeviceModel.load("fake_manila@aer")


def term(paulis: str, *qubits: int) -> PauliTerm:
    return PauliTerm(qubits, paulis, 1.0)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(1, 5), st.integers(0, 8), st.integers(0, 2**16))
def test_depth_and_two_qubit_gates_are_those_of_qiskit(num_qubits, depth, seed):
    circuit = random_circuit(num_qubits, depth, max_operands=min(3, num_qubits), seed=seed, measure=True)
    # A reset of an untouched qubit and a gate with a definition of its own are not operations of a program.
    program, _ = build_program(circuit)
    plain = QuantumCircuit(circuit.num_qubits, circuit.num_clbits)
    for operation in program.operations():
        if operation.name == "measure":
            plain.measure(program.active_qubits[operation.qubits[0]], operation.clbit)
        else:
            gate = Gate(operation.name, len(operation.qubits), [])
            plain.append(gate, [program.active_qubits[q] for q in operation.qubits])
    found = measure_program(program)
    assert found.depth == plain.depth()
    assert found.two_qubit_gates == plain.num_nonlocal_gates()


def test_an_empty_circuit_has_no_depth():
    program, _ = build_program(QuantumCircuit(2))
    assert measure_program(program).depth == 0


@pytest.mark.parametrize(
    ("observables", "bases"),
    [
        ([], 1),
        ([[PauliTerm((), "", 3.0)]], 1),
        ([[term("Z", 0), term("Z", 1), term("ZZ", 0, 1)]], 1),
        ([[term("Z", 0)], [term("X", 0)]], 2),
        ([[term("Z", 0)], [term("X", 1)], [term("ZX", 0, 1)]], 1),
        ([[term("XX", 0, 1), term("YY", 0, 1), term("ZZ", 0, 1)]], 3),
        ([[term("0", 0), term("1", 0), term("Z", 0)]], 1),
        ([[term("+", 0), term("X", 0), term("r", 0)]], 2),
    ],
)
def test_paulis_that_commute_qubit_by_qubit_share_a_measurement(observables, bases):
    assert count_bases(observables) == bases


def test_counting_bases_stops_at_its_bound():
    letters = np.random.default_rng(0).choice(list("XYZ"), size=(1000, 8))
    observables = [[PauliTerm(tuple(range(8)), "".join(row), 1.0)] for row in letters]
    assert count_bases(observables) == MAX_COUNTED_BASES


def sampler_pub(num_qubits: int, rows: int, shots: int) -> SamplerPub:
    circuit = QuantumCircuit(num_qubits)
    circuit.sx(range(num_qubits))
    circuit.measure_all()
    program, values = build_program(circuit, MANILA)
    return SamplerPub(program, np.repeat(values, rows, axis=0), (rows,), shots)


def test_the_job_is_charged_two_seconds_once_and_every_shot_of_every_row():
    pubs = (sampler_pub(1, 1, 1000), sampler_pub(3, 4, 100))
    job = ExecutableJob("sampler", MANILA.name, "cal", pubs)
    profile = profile_of(job, [measure_program(pub.program) for pub in pubs], JobCost(1.5, 99, 64), MANILA)
    shot_s = [250e-6 + pub.program.duration_s for pub in pubs]
    assert profile.qpu_s == pytest.approx(2.0 + 1000 * shot_s[0] + 400 * shot_s[1])
    assert (profile.circuits, profile.shots, profile.active_qubits, profile.depth) == (5, 1400, 3, 2)
    assert (profile.estimated_s, profile.estimated_bytes, profile.engine) == (1.5, 99, "aer")
    assert profile.bulk_bytes == 64


def test_an_estimator_runs_every_row_once_for_each_basis():
    program, values = build_program(QuantumCircuit(2), MANILA, keep_qubits=(0, 1))
    observables = ((term("ZZ", 0, 1), term("Z", 0)), (term("XX", 0, 1),))
    elements = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.int32)
    pub = EstimatorPub(program, np.repeat(values, 2, axis=0), (2, 2), elements, observables, 0.1, 100)
    job = ExecutableJob("estimator", MANILA.name, "cal", (pub,))
    profile = profile_of(job, [measure_program(program)], JobCost(0, 0), MANILA)
    assert (profile.circuits, profile.shots) == (4, 400)


def test_jobs_of_one_device_and_calibration_share_a_group_key_whatever_their_circuits():
    jobs = [ExecutableJob("sampler", MANILA.name, "cal", (sampler_pub(n, 1, n),)) for n in (1, 2)]
    jobs.append(ExecutableJob("sampler", MANILA.name, "other", (sampler_pub(1, 1, 1),)))
    keys = [profile_of(job, [measure_program(job.pubs[0].program)], JobCost(0, 0), MANILA).group_key for job in jobs]
    assert keys[0] == keys[1] != keys[2]

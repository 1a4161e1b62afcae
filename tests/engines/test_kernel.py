"""The state-vector kernel: compared with Qiskit's state vectors, and with what Aer gives for the same job."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import Statevector

from qrtx_ray.devices.cost import MAX_KERNEL_QUBITS
from qrtx_ray.devices.executable import ExecutableJob
from qrtx_ray.engines import distribution
from qrtx_ray.engines.distribution import Evolution, basis_distributions, measured_distributions
from qrtx_ray.engines.expectation import Basis
from qrtx_ray.engines.opcodes import forms_of
from qrtx_ray.engines.protocol import JobRun
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.engines.small import ideal_distributions
from qrtx_ray.errors import ExecuteError

from .building import estimator_job, hardware_efficient, program_of, sampler_job, terms_of
from .conformance import H2

IDEAL = Evolution(None)
GATES = {
    name: kind
    for name, kind in get_standard_gate_name_mapping().items()
    if 1 <= kind.num_qubits <= 3 and hasattr(kind, "to_matrix") and name != "delay"
}


def append(circuit, name, rng):
    kind = GATES[name]
    gate = kind.base_class(*rng.uniform(-7, 7, len(kind.params))) if kind.params else kind
    circuit.append(gate, rng.permutation(circuit.num_qubits)[: kind.num_qubits].tolist())


def random_circuit(seed, qubits, length):
    rng = np.random.default_rng([seed, qubits])
    names = [name for name in GATES if GATES[name].num_qubits <= qubits]
    circuit = QuantumCircuit(qubits, qubits)
    for _ in range(length):
        append(circuit, names[rng.integers(len(names))], rng)
    return circuit


def probabilities(circuit, *measured):
    """The kernel's distribution over all qubits, or over `measured`."""
    chosen = measured or tuple(range(circuit.num_qubits))
    program, values = program_of(circuit)
    return ideal_distributions(program, values, (("Z" * len(chosen), chosen),))[0][0]


def on_aer(monkeypatch):
    """From here on every ideal circuit goes to Aer, as wide ones do."""
    monkeypatch.setattr(distribution, "MAX_KERNEL_QUBITS", 0)


def test_five_hundred_random_circuits_of_all_gates_equal_the_exact_state():
    worst = 0.0
    for seed in range(520):
        circuit = random_circuit(seed, qubits=1 + seed % 7, length=5 + seed % 60)
        worst = max(worst, abs(probabilities(circuit) - Statevector(circuit).probabilities()).max())
    assert worst <= 1e-12


@pytest.mark.parametrize("qubits", [9, 12])
def test_wider_circuits_equal_the_exact_state(qubits):
    circuit = random_circuit(3, qubits, length=150)
    assert abs(probabilities(circuit) - Statevector(circuit).probabilities()).max() <= 1e-12


@pytest.mark.parametrize("name", sorted(GATES))
def test_every_gate_acts_on_every_order_of_qubits_as_qiskit_says(name):
    rng = np.random.default_rng(len(name))
    for _ in range(6):
        circuit = QuantumCircuit(4)
        for qubit in range(4):
            circuit.u(*rng.uniform(0, 6, 3), qubit)
        append(circuit, name, rng)
        for qubit in range(4):  # makes phases visible
            circuit.u(*rng.uniform(0, 6, 3), qubit)
        assert abs(probabilities(circuit) - Statevector(circuit).probabilities()).max() <= 1e-13


def test_every_standard_gate_that_a_program_can_name_has_a_form():
    assert len(forms_of(tuple(GATES))) == len(GATES) >= 48
    assert forms_of(("measure", "delay", "id"))[:, 0].tolist() == [0, 0, 0]


def test_parameter_rows_give_the_same_numbers_together_and_alone():
    circuits = [hardware_efficient(4, seed=seed) for seed in range(9)]
    program, _ = program_of(circuits[0])
    values = np.concatenate([program_of(circuit)[1] for circuit in circuits])
    together = measured_distributions(program, values, IDEAL)
    for row, circuit in enumerate(circuits):
        alone = measured_distributions(program, values[row : row + 1], IDEAL)[0]
        assert np.array_equal(together[row], alone)
        exact = Statevector(circuit.remove_final_measurements(inplace=False)).probabilities()
        assert abs(alone - exact).max() <= 1e-12


@pytest.mark.parametrize("measured", [(0,), (4,), (3, 1), (1, 3), (4, 2, 0), (2, 0, 1, 4, 3)])
def test_measured_qubits_are_the_bits_of_the_outcome_in_their_order(measured):
    circuit = random_circuit(11, 5, 60)
    exact = Statevector(circuit).probabilities(list(measured))
    assert abs(probabilities(circuit, *measured) - exact).max() <= 1e-12


def test_registers_get_the_qubits_measured_into_them():
    first, second = ClassicalRegister(2, "first"), ClassicalRegister(3, "second")
    circuit = QuantumCircuit(QuantumRegister(4), first, second)
    circuit.x([1, 2])
    circuit.measure([1, 0, 2], [first[1], second[0], second[2]])
    program, values = program_of(circuit)
    assert program.measurements == ((1, 1), (0, 2), (2, 4))
    assert measured_distributions(program, values, IDEAL)[0].argmax() == 0b101
    ((result,), _) = _results(sampler_job(circuit))
    assert set(result.data.first.get_counts()) == {"10"}
    assert set(result.data.second.get_counts()) == {"100"}


def _results(job, seed=5):
    from .building import read

    (outcome,) = engine_for("aer_ideal").run([JobRun(job, seed)])
    assert outcome.error is None, outcome.error
    return read(outcome.results), outcome.results


def test_a_circuit_that_measures_nothing_has_one_outcome():
    program, values = program_of(hardware_efficient(3).remove_final_measurements(inplace=False))
    assert program.measurements == ()
    assert measured_distributions(program, values, IDEAL)[0].tolist() == [1.0]


@pytest.mark.parametrize("letters", ["X", "Y", "Z", "XY", "YZX", "ZZXY"])
def test_bases_are_read_as_if_the_qubits_had_been_turned(letters):
    circuit = random_circuit(5, 5, 60)
    qubits = tuple(int(qubit) for qubit in np.random.default_rng(len(letters)).permutation(5)[: len(letters)])
    program, values = program_of(circuit)
    wanted = dict(zip(qubits, letters, strict=True))
    bases = [Basis(wanted), Basis({0: "Z"}), Basis({4: "Y", 1: "X"})]
    (found,) = basis_distributions(program, values, bases, IDEAL)
    for basis, distribution_of_basis in zip(bases, found, strict=True):
        turned = circuit.copy()
        for qubit, letter in basis.letters.items():
            if letter == "Y":
                turned.sdg(qubit)
            if letter in "XY":
                turned.h(qubit)
        exact = Statevector(turned).probabilities(list(basis.qubits))
        assert abs(distribution_of_basis - exact).max() <= 1e-12


def test_results_are_the_bytes_that_aer_gave(monkeypatch):
    jobs = [sampler_job(hardware_efficient(1 + seed % 6, seed=seed), shots=1024) for seed in range(40)]
    for seed in range(40):
        circuit = random_circuit(seed, 2 + seed % 5, 40)
        circuit.measure(range(circuit.num_qubits), range(circuit.num_qubits))
        jobs.append(sampler_job(circuit, shots=200))
    kernel = [_results(job, seed)[1] for seed, job in enumerate(jobs)]
    on_aer(monkeypatch)
    assert [_results(job, seed)[1] for seed, job in enumerate(jobs)] == kernel


@pytest.mark.parametrize("shots", [0, 500])
def test_expectation_values_are_those_that_aer_gave(monkeypatch, shots):
    circuit = hardware_efficient(2).remove_final_measurements(inplace=False)
    job = estimator_job(circuit, terms_of(H2), terms_of(H2[2:]), shots=shots)
    kernel = _results(job)[0][0].data.evs
    on_aer(monkeypatch)
    assert _results(job)[0][0].data.evs == pytest.approx(kernel, abs=1e-12)


def test_results_do_not_depend_on_the_company():
    engine = engine_for("aer_ideal")
    circuits = [random_circuit(seed, 4, 30 + seed) for seed in range(8)]
    for circuit in circuits:
        circuit.measure(range(4), range(4))
    runs = [JobRun(sampler_job(circuit), seed) for seed, circuit in enumerate(circuits)]
    alone = [engine.run([run])[0].results for run in runs]
    assert [outcome.results for outcome in engine.run(runs)] == alone
    assert [outcome.results for outcome in engine.run(runs[::-1])] == alone[::-1]


def test_arrays_of_a_message_are_read_where_they_are():
    job = sampler_job(hardware_efficient())
    (pub,) = ExecutableJob.from_bytes(job.to_bytes()).pubs
    assert not pub.program.ops.flags.writeable
    assert not pub.values.flags.writeable
    found = measured_distributions(pub.program, pub.values, IDEAL)[0]
    assert np.array_equal(found, measured_distributions(job.pubs[0].program, job.pubs[0].values, IDEAL)[0])


def test_the_widest_circuit_of_the_kernel_equals_aer(monkeypatch):
    program, values = program_of(hardware_efficient(MAX_KERNEL_QUBITS, layers=1))
    kernel = measured_distributions(program, values, IDEAL)[0]
    on_aer(monkeypatch)
    assert abs(kernel - measured_distributions(program, values, IDEAL)[0]).max() <= 1e-12


@pytest.mark.parametrize(
    "change",
    [
        {(0, 0): 7},  # no such name
        {(0, 0): -1},
        {(1, 1): 5},  # no such qubit
        {(1, 1): -1},
        {(1, 2): 1},  # a second qubit for a gate on one
        {(15, 2): 0},  # the same qubit twice
        {(15, 3): 2},  # a third qubit for a gate on two
        {(0, 4): 40},  # no such slot
        {(0, 4): -1},
        {(0, 4): 2**31 - 1},
        {(0, 5): 2},  # an angle too many
        {(0, 5): -3},
    ],
)
def test_operations_that_reach_outside_the_arrays_are_refused(change):
    program, values = program_of(hardware_efficient())
    assert program.names[program.ops[15, 0]] == "cx"
    ops = program.ops.copy()
    for place, value in change.items():
        ops[place] = value
    with pytest.raises(ExecuteError, match="does not fit the circuit's 5 qubits"):
        measured_distributions(replace(program, ops=ops), values, IDEAL)


@pytest.mark.parametrize("qubits", [(5,), (0, -1)])
def test_bases_on_qubits_that_are_not_there_are_refused(qubits):
    program, values = program_of(hardware_efficient())
    with pytest.raises(ExecuteError, match="does not fit the circuit's 5 qubits"):
        ideal_distributions(program, values, (("Z" * len(qubits), qubits),))


def test_a_gate_nobody_knows_is_refused_by_name():
    with pytest.raises(ExecuteError, match="'flux'"):
        forms_of(("cx", "flux"))


def test_the_engine_child_forks_from_a_process_that_has_compiled_the_kernel_and_has_one_thread():
    program = (
        "import sys, os, qrtx_ray.engines.worker\n"
        "loaded = [f'qrtx_ray.engines.{name}' in sys.modules for name in ('kernel', 'pauli_kernel', 'draws')]\n"
        "print(*loaded, len(os.listdir('/proc/self/task')))"
    )
    environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100, env=environment
    )
    assert done.stdout.split() == ["True", "True", "True", "1"]

"""Where circuits are put: the same circuit as before, on better qubits than a layout that is blind to their errors finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit.random import random_circuit

from qrtx_ray.compiler.passes import PassManagers
from qrtx_ray.compiler.placing import transpiled
from qrtx_ray.devices.circuit_fidelity import circuit_fidelity
from qrtx_ray.devices.isa import violations
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program_builder import build_program
from qrtx_ray.engines.distribution import Evolution, measured_distributions
from qrtx_ray.errors import CompileError
from qrtx_ray.model import NoiseId

PASSES = PassManagers()
SHERBROOKE = DeviceModel.load("fake_sherbrooke@aer")
MANILA = DeviceModel.load("fake_manila@aer")
KOLKATA = DeviceModel.load("fake_kolkata@aer")


def chain(qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits)
    circuit.h(0)
    for qubit in range(qubits - 1):
        circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    return circuit


def outcomes(circuit: QuantumCircuit) -> np.ndarray:
    """Ideal distribution over the classical bits."""
    program, values = build_program(circuit)
    found = measured_distributions(program, values, Evolution(None))[0]
    bits = [clbit for _, clbit in program.measurements]
    return np.transpose(found.reshape([2] * len(bits)), np.argsort(np.argsort(bits[::-1]))).ravel() if bits else found


@settings(deadline=None, derandomize=True, max_examples=20)
@given(st.integers(1, 5), st.integers(0, 5), st.integers(0, 2**16), st.sampled_from([KOLKATA, SHERBROOKE, MANILA]))
def test_it_is_still_the_same_circuit(num_qubits, depth, seed, device):
    circuit = random_circuit(num_qubits, depth, max_operands=min(3, num_qubits), seed=seed, measure=True)
    made = transpiled(PASSES, circuit, device, 1)
    assert violations(made.circuit, device) is None
    assert len(set(made.layout)) == num_qubits
    assert outcomes(made.circuit) == pytest.approx(outcomes(circuit), abs=1e-9)


@pytest.mark.parametrize("qubits", [2, 5, 8, 12, 20])
@pytest.mark.parametrize("name", ["fake_sherbrooke", "fake_manhattan", "fake_torino", "fake_fez"])
def test_a_chain_is_at_least_as_faithful_as_where_qiskit_puts_it(name, qubits):
    device = DeviceModel.load(f"{name}@aer")
    ours = transpiled(PASSES, chain(qubits), device, 1).circuit
    theirs = PASSES.transpile(chain(qubits), device, 1).circuit
    assert circuit_fidelity(ours, device.calibration) >= circuit_fidelity(theirs, device.calibration) - 1e-3


def test_broken_couplings_are_not_used():
    made = transpiled(PASSES, chain(8), SHERBROOKE, 1)
    errors = SHERBROOKE.calibration.gate_error
    used = [
        ("ecr", tuple(made.circuit.find_bit(qubit).index for qubit in instruction.qubits))
        for instruction in made.circuit.data
        if instruction.name == "ecr"
    ]
    assert used
    assert max(errors[key] for key in used) < 0.02


def test_it_follows_the_published_noise():
    fidelity = []
    worn = DeviceModel.load("fake_sherbrooke@aer", NoiseId(4, 0.2, 5, 0).text())
    for device in (SHERBROOKE, worn):
        made = transpiled(PASSES, chain(6), device, 1)
        fidelity.append(circuit_fidelity(made.circuit, worn.calibration))
    assert fidelity[1] >= fidelity[0]


def test_equal_questions_have_equal_answers():
    one, other = (transpiled(PassManagers(), chain(7), SHERBROOKE, 1) for _ in range(2))
    assert one.layout == other.layout
    assert one.circuit == other.circuit


@pytest.mark.parametrize(("device", "level"), [("fake_kolkata@aer_ideal", 1), ("fake_kolkata@aer", 0)])
def test_devices_without_noise_and_level_0_are_left_to_qiskit(device, level):
    model = DeviceModel.load(device)
    made, plain = transpiled(PASSES, chain(4), model, level), PASSES.transpile(chain(4), model, level)
    assert made.layout == plain.layout
    assert made.circuit == plain.circuit


def test_qubits_that_do_nothing_get_what_is_left_over():
    circuit = QuantumCircuit(27, 2)
    circuit.h(3)
    circuit.cx(3, 20)
    circuit.measure([3, 20], [0, 1])
    made = transpiled(PASSES, circuit, KOLKATA, 1)
    assert violations(made.circuit, KOLKATA) is None
    assert sorted(made.layout) == list(range(27))


def test_control_flow_is_placed_too():
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.cx(0, 1)
    circuit.measure(1, 1)
    made = transpiled(PASSES, circuit, SHERBROOKE, 1)
    assert violations(made.circuit, SHERBROOKE) is None


def test_what_cannot_be_said_is_refused_as_before():
    from qiskit.circuit import Gate

    circuit = QuantumCircuit(2)
    circuit.append(Gate("mystery", 2, []), [0, 1])
    with pytest.raises(CompileError, match="mystery"):
        transpiled(PASSES, circuit, KOLKATA, 1)

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Gate, Instruction, Parameter
from qiskit_ibm_runtime.utils.utils import is_isa_circuit

from qrtx_ray.devices.isa import is_native, violations
from qrtx_ray.devices.model import DeviceModel

from .circuits import small_circuits
from .official import SAMPLE

MANILA = DeviceModel.load("fake_manila@aer")
BASE = ["fake_manila", "fake_sherbrooke", "fake_torino"]


def ghz(width):
    circuit = QuantumCircuit(width)
    circuit.h(0)
    for i in range(width - 1):
        circuit.cx(0, i + 1)
    circuit.measure_all()
    return circuit


@pytest.mark.parametrize("metadata", SAMPLE)
@pytest.mark.parametrize("level", [0, 2])
def test_what_the_transpiler_makes_is_accepted(metadata, level):
    device = DeviceModel.load(f"{metadata}@aer")
    isa = transpile(ghz(5), device.target(), optimization_level=level, seed_transpiler=1)
    assert violations(isa, device) is None


@settings(deadline=None, derandomize=True, max_examples=80)
@given(small_circuits(), st.sampled_from(BASE))
def test_the_verdict_is_the_official_clients(circuit, metadata):
    device = DeviceModel.load(f"{metadata}@aer")
    assert bool(violations(circuit, device)) == bool(is_isa_circuit(circuit, device.target()))


def test_the_message_names_instruction_qubits_and_what_there_is():
    circuit = QuantumCircuit(5)
    circuit.sx(0)
    circuit.h(3)
    message = violations(circuit, MANILA)
    assert "h on qubits (3,)" in message
    assert "fake_manila@aer" in message
    assert "cx" in message


def test_a_pair_that_is_not_coupled_is_refused():
    circuit = QuantumCircuit(5)
    circuit.cx(0, 4)
    assert "not on these qubits" in violations(circuit, MANILA)


def test_the_other_direction_of_a_directed_gate_is_refused_and_shown():
    device = DeviceModel.load("fake_sherbrooke@aer")
    control, target = next(qubits for name, qubits in sorted(device.instructions) if name == "ecr")
    circuit = QuantumCircuit(127)
    circuit.ecr(control, target)
    assert violations(circuit, device) is None
    circuit.ecr(target, control)
    assert f"{(control, target)}, the other direction" in violations(circuit, device)


def test_a_circuit_wider_than_the_device_is_refused():
    assert violations(QuantumCircuit(6), MANILA) == "the circuit has 6 qubits, fake_manila@aer has 5"
    assert violations(QuantumCircuit(2), MANILA) is None


def test_bodies_of_control_flow_are_checked_on_the_outer_qubits():
    circuit = QuantumCircuit(5, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.cx(3, 4)
    assert violations(circuit, MANILA) is None
    with circuit.for_loop(range(2)), circuit.if_test((circuit.clbits[0], 1)):
        circuit.cx(1, 4)
    assert "cx on qubits (1, 4)" in violations(circuit, MANILA)


def test_control_flow_that_the_device_does_not_have_is_refused():
    circuit = QuantumCircuit(5, 1)
    with circuit.while_loop((circuit.clbits[0], 0)):
        circuit.measure(0, 0)
    assert "while_loop" in violations(circuit, MANILA)


@pytest.mark.parametrize("name", ["x", "measure", "barrier", "reset"])
def test_an_instruction_that_only_has_a_native_name_is_refused(name):
    impostor = Instruction(name, 1, 0, [])
    impostor.definition = QuantumCircuit(1)
    circuit = QuantumCircuit(5)
    circuit.append(impostor, [0])
    assert violations(circuit, MANILA)


def test_a_tenants_gate_name_cannot_write_into_the_message():
    circuit = QuantumCircuit(5)
    circuit.append(Gate("<b>\n" + "x" * 500, 1, []), [0])
    message = violations(circuit, MANILA)
    assert "<" not in message
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize(("angle", "refused"), [(0.3, False), (-0.1, True), (1.6, True), (Parameter("a"), False)])
def test_native_rzz_has_a_range(angle, refused):
    circuit = QuantumCircuit(5)
    circuit.rzz(angle, 0, 1)
    message = violations(circuit, DeviceModel.load("fake_fractional@aer"))
    assert bool(message) is refused


@pytest.mark.parametrize("name", ["fake_manila@aer", "fake_sherbrooke@aer", "fake_fez@aer", "fake_rochester@aer"])
def test_native_is_what_has_no_violation(name):
    device = DeviceModel.load(name)
    edge = min(device.coupling)
    for make in (
        lambda c: c.rz(0.1, 0),
        lambda c: c.h(0),
        lambda c: c.cx(*edge),
        lambda c: c.ecr(*edge),
        lambda c: c.barrier(),
        lambda c: c.delay(100, 0),
        lambda c: c.reset(0),
        lambda c: c.measure(0, 0),
        lambda c: c.cx(0, device.num_qubits - 1),
    ):
        circuit = QuantumCircuit(device.num_qubits, 1)
        make(circuit)
        assert is_native(circuit, device) is (violations(circuit, device) is None)
    assert not is_native(QuantumCircuit(device.num_qubits + 1), device)


def test_control_flow_is_native_where_the_device_has_it():
    circuit = QuantumCircuit(5, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    for name in ("fake_manila@aer", "fake_rochester@aer", "fake_fez@aer"):
        device = DeviceModel.load(name)
        assert is_native(circuit, device) is (violations(circuit, device) is None)

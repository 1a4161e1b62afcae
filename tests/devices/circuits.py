"""Circuits for these tests, and the way back from a program to a circuit."""

from __future__ import annotations

from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, Parameter
from qiskit.circuit.library import get_standard_gate_name_mapping

from qrtx_ray.devices.program_builder import CLIFFORD_NAMES

A, B = Parameter("a"), Parameter("b")
GATES = {
    name: gate
    for name, gate in get_standard_gate_name_mapping().items()
    if isinstance(gate, Gate) and 1 <= gate.num_qubits <= 3
}


def rebuilt(program, slots):
    """The circuit that the arrays of `program` say, on its active qubits."""
    circuit = QuantumCircuit(program.num_qubits, program.num_clbits)
    for operation in program.operations():
        if operation.name == "measure":
            circuit.measure(operation.qubits[0], operation.clbit)
        elif operation.name == "reset":
            circuit.reset(operation.qubits[0])
        else:
            kind = type(GATES[operation.name])
            circuit.append(kind(*(float(slots[slot]) for slot in operation.slots)), operation.qubits)
    return circuit


def _numbers(parameters):
    constant = st.floats(-7, 7, allow_nan=False)
    if not parameters:
        return constant
    a, b = A, B
    expressions = st.sampled_from([a, b, 2 * a, a - b / 3 + 1, a * b, (a + b).sin(), a * a - 1, -b, a - a])
    return st.one_of(constant, expressions)


@st.composite
def small_circuits(draw, parameters=False, clifford=False):
    """Up to 12 standard gates on up to 4 qubits."""
    num_qubits = draw(st.integers(1, 4))
    circuit = QuantumCircuit(num_qubits)
    names = sorted(name for name, gate in GATES.items() if gate.num_qubits <= num_qubits)
    if clifford:
        names = sorted(CLIFFORD_NAMES.intersection(names)) * 3 + ["t", "rz"]
    for _ in range(draw(st.integers(0, 12))):
        gate = GATES[draw(st.sampled_from(names))]
        qubits = draw(st.permutations(range(num_qubits)))[: gate.num_qubits]
        numbers = [draw(_numbers(parameters)) for _ in gate.params]
        circuit.append(type(gate)(*numbers), qubits)
    return circuit

"""Compiled programs turned back into circuits and evaluated exactly: the oracle of these tests."""

from __future__ import annotations

from collections import Counter

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import Operator, SparseObservable, SparsePauliOp, Statevector

from qrtx_ray.devices.executable import EstimatorPub
from qrtx_ray.devices.program import CircuitProgram

_GATES = get_standard_gate_name_mapping()


def circuit_of(program: CircuitProgram, row: np.ndarray) -> tuple[QuantumCircuit, dict[int, int]]:
    """The unitary part on local qubits, and which classical bit each measured qubit goes to (clbit → qubit)."""
    circuit = QuantumCircuit(program.num_qubits)
    measured = {}
    for operation in program.operations():
        if operation.name == "measure":
            measured[operation.clbit] = operation.qubits[0]
            continue
        gate = _GATES[operation.name].to_mutable()
        gate.params = [float(row[slot]) for slot in operation.slots]
        circuit.append(gate, operation.qubits)
    return circuit, measured


def distribution(program: CircuitProgram, row: np.ndarray) -> dict[str, float]:
    """Probability of each content of all classical bits, written with bit 0 last."""
    circuit, measured = circuit_of(program, row)
    probabilities = Statevector(circuit).probabilities()
    out: Counter[str] = Counter()
    for index, probability in enumerate(probabilities):
        bits = ["0"] * program.num_clbits
        for clbit, qubit in measured.items():
            bits[program.num_clbits - 1 - clbit] = str(index >> qubit & 1)
        out["".join(bits)] += float(probability)
    return {bits: p for bits, p in out.items() if p > 1e-12}


def expectation_values(pub: EstimatorPub) -> np.ndarray:
    """Exact values of all elements, in the PUB's shape."""
    states = [Statevector(circuit_of(pub.program, row)[0]) for row in pub.values]
    operators = [_operator(terms, pub.program.num_qubits) for terms in pub.observables]
    values = [states[row].expectation_value(operators[index]).real for row, index in pub.elements.tolist()]
    return np.array(values).reshape(pub.shape)


def _operator(terms, num_qubits: int) -> Operator:
    listed = [(term.paulis, list(term.qubits), term.coefficient) for term in terms]
    observable = SparseObservable.from_sparse_list(listed, num_qubits=num_qubits)
    return Operator(SparsePauliOp.from_sparse_observable(observable))


def assert_same_distribution(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found.keys() == expected.keys()
    for bits, probability in expected.items():
        assert abs(found[bits] - probability) < 1e-9

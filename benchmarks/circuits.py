"""The circuits that are measured, and the request bodies made of them."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, qpy

__all__ = ["BELL_QASM3", "deep", "from_qpy", "hardware_efficient", "native_body", "qpy_text", "shuffled"]

BELL_QASM3 = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;'


def hardware_efficient(seed: int, qubits: int = 5, layers: int = 3) -> QuantumCircuit:
    """A hardware-efficient circuit as a variational loop sends it: bound angles, ISA for fake_manila; 77 instructions."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(qubits, qubits)
    for layer in range(layers + 1):
        for qubit in range(qubits):
            circuit.rz(rng.uniform(-np.pi, np.pi), qubit)
            circuit.sx(qubit)
            circuit.rz(rng.uniform(-np.pi, np.pi), qubit)
        if layer < layers:
            for qubit in range(qubits - 1):
                circuit.cx(qubit, qubit + 1)
    circuit.measure(range(qubits), range(qubits))
    return circuit


def shuffled(seed: int, qubits: int = 5) -> QuantumCircuit:
    """As many gates of each kind as in `hardware_efficient`, anywhere and in any order: no two have the same structure."""
    rng = np.random.default_rng(seed)
    kinds = rng.permutation(["rz"] * 8 * qubits + ["sx"] * 4 * qubits + ["cx"] * 3 * (qubits - 1))
    circuit = QuantumCircuit(qubits, qubits)
    for kind in kinds:
        qubit = int(rng.integers(qubits))
        if kind == "rz":
            circuit.rz(rng.uniform(-np.pi, np.pi), qubit)
        elif kind == "sx":
            circuit.sx(qubit)
        else:
            circuit.cx(min(qubit, qubits - 2), min(qubit, qubits - 2) + 1)
    circuit.measure(range(qubits), range(qubits))
    return circuit


def deep(seed: int, edges: set[tuple[int, int]], qubits: int = 22, layers: int = 30) -> QuantumCircuit:
    """`layers` of rotations and as many CX as fit, on `edges` between the first `qubits` qubits of a device."""
    rng = np.random.default_rng(seed)
    inside = sorted(edge for edge in edges if max(edge) < qubits)
    circuit = QuantumCircuit(qubits, qubits)
    for _ in range(layers):
        for qubit in range(qubits):
            circuit.rz(rng.uniform(-np.pi, np.pi), qubit)
            circuit.sx(qubit)
        busy: set[int] = set()
        for index in rng.permutation(len(inside)):
            edge = inside[index]
            if busy.isdisjoint(edge):
                busy.update(edge)
                circuit.cx(*edge)
    circuit.measure(range(qubits), range(qubits))
    return circuit


def qpy_text(circuit: QuantumCircuit) -> str:
    """QPY in base64."""
    buffer = io.BytesIO()
    qpy.dump(circuit, buffer)
    return base64.b64encode(buffer.getvalue()).decode()


def from_qpy(text: str) -> QuantumCircuit:
    """The circuit that `qpy_text` wrote."""
    circuit: QuantumCircuit = qpy.load(io.BytesIO(base64.b64decode(text)))[0]
    return circuit


def native_body(device: str, circuit: QuantumCircuit | str, *, shots: int, seed: int | None = None) -> str:
    """The body of a POST to ``/v1/jobs``, one line; a string is OpenQASM 3, a circuit is sent as QPY."""
    form: dict[str, Any] = (
        {"format": "qasm3", "source": circuit}
        if isinstance(circuit, str)
        else {"format": "qpy", "source": qpy_text(circuit)}
    )
    body: dict[str, Any] = {"device": device, "circuits": [form], "shots": shots}
    return json.dumps(body if seed is None else body | {"seed": seed})

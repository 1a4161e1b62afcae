"""Hostile bytes: circuits, containers and texts that have hurt this stack or its likes."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Gate, Parameter
from qiskit_ibm_runtime import RuntimeEncoder

__all__ = [
    "angles",
    "bell",
    "bomb",
    "circuit_object",
    "deep",
    "doubling",
    "doubling_circuit",
    "encoded",
    "gadgets",
    "half_turns",
    "loop_for_ever",
    "many_qubits_declared",
    "npy",
    "packed",
    "qpy_bytes",
    "sampler",
    "wide",
]

QASM2 = 'OPENQASM 2.0; include "qelib1.inc"; '
QASM3 = 'OPENQASM 3.0; include "stdgates.inc"; '


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def half_turns(angle: float) -> QuantumCircuit:
    """One rotation by `angle`, be it a number or not."""
    circuit = QuantumCircuit(1)
    circuit.rx(angle, 0)
    circuit.measure_all()
    return circuit


def angles(count: int = 2) -> QuantumCircuit:
    """A circuit of `count` parameters."""
    circuit = QuantumCircuit(1)
    for number in range(count):
        circuit.rx(Parameter(f"t{number}"), 0)
    circuit.measure_all()
    return circuit


def wide(qubits: int) -> QuantumCircuit:
    """Every qubit in play and far from Clifford."""
    circuit = QuantumCircuit(qubits)
    for qubit in range(qubits):
        circuit.rx(0.1 + 0.01 * qubit, qubit)
    for qubit in range(qubits - 1):
        circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    return circuit


def loop_for_ever() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    with circuit.while_loop((circuit.clbits[0], 0)):
        circuit.x(0)
        circuit.x(0)
        circuit.measure(0, 0)
    return circuit


def qpy_bytes(circuit: QuantumCircuit, version: int = 17) -> bytes:
    stream = io.BytesIO()
    qpy.dump(circuit, stream, version=version)
    return stream.getvalue()


def packed(data: bytes) -> str:
    """As circuits and arrays travel: base64 of zlib."""
    return base64.b64encode(zlib.compress(data)).decode()


def circuit_object(data: bytes) -> dict[str, Any]:
    """What claims to be an encoded circuit."""
    return {"__type__": "QuantumCircuit", "__value__": packed(data)}


def encoded(value: Any) -> Any:
    """`value` as the official client's encoder puts it into JSON."""
    return json.loads(json.dumps(value, cls=RuntimeEncoder))


def sampler(*pubs: Any, **options: Any) -> dict[str, Any]:
    """The params of a sampler job. A part of a PUB that is JSON already stays as it is."""
    return {"pubs": [encoded(list(pub)) for pub in pubs], "options": options, "version": 2, "support_qiskit": True}


def npy(array: np.ndarray) -> dict[str, Any]:
    return encoded(array)


def bomb(inflated_bytes: int) -> str:
    """Zeros that are a thousand times smaller on the wire."""
    return base64.b64encode(zlib.compress(bytes(inflated_bytes), 9)).decode()


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


def many_qubits_declared(qubits: int) -> bytes:
    """A QPY file that says it has so many qubits; everything else in it is honest."""
    data = bytearray(qpy_bytes(bell(), 15))
    # preface, type key, then the circuit's header: name length, phase's type and length, qubits
    struct.pack_into("!I", data, struct.calcsize("!6sBBBBQc") + 1 + struct.calcsize("!HcH"), qubits)
    return bytes(data)


def doubling(levels: int) -> str:
    """Gates that call the gate below twice: 2**levels operations in a kilobyte."""
    gates = "gate g0 a { h a; } " + "".join(f"gate g{n} a {{ g{n - 1} a; g{n - 1} a; }} " for n in range(1, levels + 1))
    return f"{QASM2}{gates}qreg q[1]; creg c[1]; g{levels} q[0]; measure q[0] -> c[0];"


def doubling_circuit(levels: int) -> QuantumCircuit:
    """The same as a circuit, its lowest gate a register of work: 64 * 2**levels operations."""
    body = QuantumCircuit(1)
    for _ in range(64):
        body.h(0)
    for level in range(levels):
        gate = Gate(f"g{level}", 1, [])
        gate.definition = body
        body = QuantumCircuit(1)
        body.append(gate, [0], copy=False)
        body.append(gate, [0], copy=False)
    circuit = QuantumCircuit(1, 1)
    gate = Gate("top", 1, [])
    gate.definition = body
    circuit.append(gate, [0], copy=False)
    circuit.measure(0, 0)
    return circuit


def gadgets() -> dict[str, Any]:
    """Typed objects with which other decoders were made to build what their sender liked."""
    return {
        "class by name": {
            "__type__": "settings",
            "__module__": "qiskit.quantum_info.operators",
            "__class__": "QuantumCircuit",
            "__value__": {"_json": True},
        },
        "pickle": {"__type__": "ndarray", "__value__": packed(b"cos\nsystem\n(S'true'\ntR.")},
        "object array": {
            "__type__": "ndarray",
            "__value__": packed(
                b"\x93NUMPY\x01\x00F\x00"
                + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(69)
                + b"\n\x80\x03N."
            ),
        },
        "noise model": {"__type__": "NoiseModel", "__value__": {"errors": []}},
        "sparse matrix": {"__type__": "spmatrix", "__value__": packed(b"PK\x03\x04")},
        "type that is no name": {"__type__": {"__type__": "QuantumCircuit"}, "__value__": ""},
        "impossible shape": {
            "__type__": "ndarray",
            "__value__": packed(
                b"\x93NUMPY\x01\x00v\x00"
                + b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000, 100000), }".ljust(117)
                + b"\n"
            ),
        },
    }

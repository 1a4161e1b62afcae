"""What the official client sends, made with the official client's own classes."""

from __future__ import annotations

import io
import json
from dataclasses import asdict

import numpy as np
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Parameter
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit_ibm_runtime import RuntimeEncoder
from qiskit_ibm_runtime.options import EstimatorOptions, SamplerOptions


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, name="bell")
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def rotations(count: int = 2, *, measured: bool = True) -> QuantumCircuit:
    circuit = QuantumCircuit(2, name="rotations", metadata={"id": 7})
    for number in range(count):
        circuit.rx(Parameter(f"t{number}"), number % 2)
    circuit.cx(0, 1)
    if measured:
        circuit.measure_all()
    return circuit


def wide_isa(instructions: int = 70) -> QuantumCircuit:
    """Five qubits, 77 instructions in the basis of a heavy-hex device."""
    generator = np.random.default_rng(0)
    circuit = QuantumCircuit(5)
    angles = [Parameter(f"t{number}") for number in range(4)]
    for number in range(instructions + 1):
        match number % 4:
            case 0:
                circuit.rz(angles[number // 4 % 4] if number < 16 else generator.random(), number % 5)
            case 1:
                circuit.sx(number % 5)
            case 2:
                circuit.cx(number % 4, number % 4 + 1)
            case _:
                circuit.rz(generator.random(), number % 5)
    circuit.measure_all()
    return circuit


def sampler_params(pubs, options=None) -> bytes:
    """JSON of the params of `SamplerV2.run(pubs)` with `options`."""
    coerced = [SamplerPub.coerce(pub) for pub in pubs]
    inputs = {"pubs": coerced} | SamplerOptions._get_program_inputs(asdict(SamplerOptions(**(options or {}))))
    return json.dumps(inputs, cls=RuntimeEncoder).encode()


def estimator_params(pubs, options=None) -> bytes:
    """JSON of the params of `EstimatorV2.run(pubs)` with `options`."""
    coerced = [EstimatorPub.coerce(pub) for pub in pubs]
    inputs = {"pubs": coerced} | EstimatorOptions._get_program_inputs(asdict(EstimatorOptions(**(options or {}))))
    return json.dumps(inputs, cls=RuntimeEncoder).encode()


def qpy_bytes(circuit: QuantumCircuit, version: int = 17) -> bytes:
    stream = io.BytesIO()
    qpy.dump(circuit, stream, version=version)
    return stream.getvalue()


def edited(params: bytes, change) -> bytes:
    """`params` after `change(document)` edited the parsed document in place."""
    document = json.loads(params)
    change(document)
    return json.dumps(document).encode()

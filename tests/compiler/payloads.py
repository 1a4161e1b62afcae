"""Job payloads as the official client makes them: its own primitives, with the wire cut before HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit_ibm_runtime import EstimatorV2, RuntimeEncoder, SamplerV2
from qiskit_ibm_runtime.fake_provider import FakeManilaV2, FakeSherbrooke

BACKENDS = {"fake_manila": FakeManilaV2, "fake_sherbrooke": FakeSherbrooke}


class CutWire:
    """Stands where the client's service stands; keeps what would have been sent."""

    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}

    def _run(self, *, inputs: dict[str, Any], **_: Any) -> None:
        self.inputs = inputs


def runtime_payload(
    program: str,
    pubs: Iterable[Any],
    *,
    metadata: str = "fake_manila",
    options: Mapping[str, Any] | None = None,
    **run: Any,
) -> bytes:
    """The ``params`` of a job of the official `SamplerV2` or `EstimatorV2`."""
    primitive: Any = {"sampler": SamplerV2, "estimator": EstimatorV2}[program](
        mode=BACKENDS[metadata](), options=dict(options or {})
    )
    wire = primitive._service = CutWire()
    primitive.run(list(pubs), **run)
    return json.dumps(wire.inputs, cls=RuntimeEncoder).encode()


def native_payload(**body: Any) -> bytes:
    return json.dumps(body).encode()


def task(
    program: str, payload: bytes, *, device: str = "fake_manila@aer", native: bool = False, **more: Any
) -> dict[str, Any]:
    return {
        "job_id": "job",
        "program": program,
        "device": device,
        "payload": payload,
        "payload_format": "native" if native else "runtime",
        "seed": 7,
        "client": "test",
        **more,
    }


def hardware_efficient(num_qubits: int, seed: int, layers: int = 3) -> QuantumCircuit:
    """An ansatz on a line in manila's own gates, with bound angles: 77 instructions for five qubits."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(num_qubits)
    for layer in range(layers + 1):
        for qubit in range(num_qubits):
            circuit.rz(rng.uniform(-3, 3), qubit)
            circuit.sx(qubit)
            circuit.rz(rng.uniform(-3, 3), qubit)
        if layer < layers:
            for qubit in range(num_qubits - 1):
                circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    return circuit

"""Jobs for engine tests, made from Qiskit circuits without the compiler, and results read with the official decoder."""

from __future__ import annotations

import io
import json

import numpy as np
from qiskit import QuantumCircuit, qpy
from qiskit.quantum_info import SparsePauliOp

from qrtx_ray.devices.cost import is_clifford
from qrtx_ray.devices.executable import EstimatorPub, ExecutableJob, PauliTerm, SamplerPub
from qrtx_ray.devices.program import CircuitProgram, Register


def program_of(circuit: QuantumCircuit, active: tuple[int, ...] | None = None) -> tuple[CircuitProgram, np.ndarray]:
    """The program of a circuit on local qubits (placed on physical `active`), and its row of slot values."""
    names: list[str] = []
    ops: list[list[int]] = []
    values: list[float] = []
    touched: set[int] = set()
    terminal = True
    for entry in circuit.data:
        name = entry.operation.name
        if name == "barrier":
            continue
        if name not in names:
            names.append(name)
        qubits = [circuit.find_bit(qubit).index for qubit in entry.qubits]
        terminal &= not touched.intersection(qubits) and name != "reset"
        padded = qubits + [-1] * (3 - len(qubits))
        if name == "measure":
            touched.update(qubits)
            ops.append([names.index(name), *padded, circuit.find_bit(entry.clbits[0]).index, 0])
        else:
            params = [float(value) for value in entry.operation.params]
            ops.append([names.index(name), *padded, len(values) if params else -1, len(params)])
            values += params
    program = CircuitProgram(
        width=max(active) + 1 if active else circuit.num_qubits,
        active_qubits=active or tuple(range(circuit.num_qubits)),
        names=tuple(names),
        ops=np.array(ops, dtype=np.int32).reshape(-1, 6),
        num_slots=len(values),
        num_clbits=circuit.num_clbits,
        registers=tuple(
            Register(creg.name, tuple(circuit.find_bit(bit).index for bit in creg)) for creg in circuit.cregs
        ),
        duration_s=1e-6,
        terminal_measurements=terminal,
    )
    return program, np.array([values], dtype=np.float64)


def qpy_program(circuit: QuantumCircuit, active: tuple[int, ...] | None = None) -> CircuitProgram:
    """A program that arrays cannot say."""
    buffer = io.BytesIO()
    qpy.dump(circuit, buffer)
    return CircuitProgram(
        width=circuit.num_qubits,
        active_qubits=active or tuple(range(circuit.num_qubits)),
        names=(),
        ops=np.empty((0, 6), dtype=np.int32),
        num_slots=0,
        num_clbits=circuit.num_clbits,
        registers=tuple(
            Register(creg.name, tuple(circuit.find_bit(bit).index for bit in creg)) for creg in circuit.cregs
        ),
        duration_s=1e-6,
        qpy=buffer.getvalue(),
        terminal_measurements=False,
    )


def sampler_job(
    *circuits: QuantumCircuit,
    device: str = "fake_manila@aer_ideal",
    shots: int = 1024,
    active: tuple[int, ...] | None = None,
) -> ExecutableJob:
    pubs = []
    for circuit in circuits:
        program, values = program_of(circuit, active)
        pubs.append(SamplerPub(program, values, (), shots))
    return ExecutableJob("sampler", device, "", tuple(pubs))


def dynamic_job(circuit: QuantumCircuit, *, device: str = "fake_manila@aer_ideal", shots: int = 1024) -> ExecutableJob:
    return ExecutableJob("sampler", device, "", (SamplerPub(qpy_program(circuit), np.empty((1, 0)), (), shots),))


def terms_of(observable: SparsePauliOp) -> tuple[PauliTerm, ...]:
    out = []
    for label, coefficient in observable.to_list():
        letters = [(qubit, letter) for qubit, letter in enumerate(reversed(label)) if letter != "I"]
        out.append(
            PauliTerm(tuple(q for q, _ in letters), "".join(letter for _, letter in letters), float(coefficient.real))
        )
    return tuple(out)


def estimator_job(
    circuit: QuantumCircuit,
    *observables: tuple[PauliTerm, ...],
    device: str = "fake_manila@aer_ideal",
    shots: int = 0,
    active: tuple[int, ...] | None = None,
    options: dict | None = None,
    dynamic: bool = False,
) -> ExecutableJob:
    program, values = (qpy_program(circuit), np.empty((1, 0))) if dynamic else program_of(circuit, active)
    pub = EstimatorPub(
        program=program,
        values=values,
        shape=(len(observables),),
        elements=np.array([(0, index) for index in range(len(observables))], dtype=np.int32),
        observables=tuple(observables),
        precision=shots**-0.5 if shots else 0.0,
        shots=shots,
    )
    return ExecutableJob("estimator", device, "", (pub,), options or {})


def read(results: bytes):
    """The official client's view of a result document."""
    from qiskit_ibm_runtime.utils.json import RuntimeDecoder

    return json.loads(results, cls=RuntimeDecoder)


def hardware_efficient(qubits: int = 5, layers: int = 3, seed: int = 7, two: str = "cx") -> QuantumCircuit:
    """5 qubits and 3 layers: 77 instructions."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(qubits, qubits)
    for layer in range(layers + 1):
        for qubit in range(qubits):
            circuit.rz(rng.uniform(-np.pi, np.pi), qubit)
            circuit.sx(qubit)
            circuit.rz(rng.uniform(-np.pi, np.pi), qubit)
        if layer < layers:
            for qubit in range(qubits - 1):
                getattr(circuit, two)(qubit, qubit + 1)
    circuit.measure(range(qubits), range(qubits))
    return circuit


def is_quarter_turn_circuit(circuit: QuantumCircuit) -> bool:
    program, values = program_of(circuit)
    return is_clifford(program, values)

"""PUBs: a circuit with its parameter values, and what is wanted of it, made ready to run."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from qiskit.circuit import QuantumCircuit
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub as QiskitEstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub as QiskitSamplerPub

from qrtx_ray.compiler.circuits import CircuitCompiler, Source
from qrtx_ray.compiler.observables import broadcast_elements, localise, map_qubits, qubits_of
from qrtx_ray.compiler.profile import Measured
from qrtx_ray.compiler.templates import BoundProgram
from qrtx_ray.devices.executable import EstimatorPub, SamplerPub
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.errors import PayloadTooLarge, ValidationError

__all__ = ["PubCompiler"]

Float64 = npt.NDArray[np.float64]

_RZZ_MAX = np.pi / 2 + 1e-10


@dataclass(frozen=True, slots=True)
class PubCompiler:
    """Compiles the PUBs of one job.

    Args:
        circuits: The process's circuit compiler.
        device: The device of the job.
        level: Optimisation level for circuits that have to be transpiled.
        max_elements: Most values of an estimator PUB, most rows of a sampler PUB.
    """

    circuits: CircuitCompiler
    device: DeviceModel
    level: int
    max_elements: int

    def sampler(self, pub: QiskitSamplerPub, digest: bytes, shots: int, field: str) -> tuple[SamplerPub, Measured]:
        """A sampler PUB of `shots` shots a row, and the size of its circuit.

        Raises:
            CompileError: The circuit cannot run on the device.
            ValidationError: It measures nothing, or its shots or values are out of bounds.
        """
        if shots > self.device.max_shots:
            raise PayloadTooLarge(
                f"{field}.shots is {shots}, {self.device.name} takes at most {self.device.max_shots}",
                field=f"{field}.shots",
                limit=str(self.device.max_shots),
            )
        shape = pub.parameter_values.shape
        if not 1 <= prod(shape) <= self.max_elements:
            raise PayloadTooLarge(
                f"{field} has {prod(shape)} parameter sets, it must have 1..{self.max_elements}",
                field=field,
                limit=f"1..{self.max_elements}",
            )
        source = Source(pub.circuit, digest, strip=False, field=f"{field}.circuit")
        rows = _rows(pub.circuit, pub.parameter_values)
        template, bound = self.circuits.program(
            source, self.device, self.level, rows.reshape(prod(shape), rows.shape[-1])
        )
        _require_measurement(bound.program, pub.circuit, f"{field}.circuit")
        _require_rzz_range(bound, self.device, f"{field}.parameter_values")
        compiled = SamplerPub(
            program=bound.program,
            values=bound.values,
            shape=tuple(shape),
            shots=shots,
            row_programs=bound.row_programs,
            circuit_metadata=_metadata(pub.circuit, f"{field}.circuit"),
        )
        return compiled, template.size

    def estimator(
        self, pub: QiskitEstimatorPub, digest: bytes, shots: int, field: str
    ) -> tuple[EstimatorPub, Measured]:
        """An estimator PUB whose precision stands for `shots` shots, and the size of its circuit.

        Raises:
            CompileError: The circuit cannot run on the device.
            ValidationError: It measures before its end, or asks for too many values.
        """
        source = Source(pub.circuit, digest, strip=True, field=f"{field}.circuit")
        elements = broadcast_elements(
            _rows(pub.circuit, pub.parameter_values), pub.observables, max_elements=self.max_elements, field=field
        )
        adapted = self.circuits.adapt(source, self.device, self.level)
        observables = elements.observables
        if adapted.layout is not None:
            observables = map_qubits(observables, adapted.layout)
        # A qubit that an observable reads but nothing acts on is in |0>: as an active qubit it needs no rule of its own.
        template, bound = self.circuits.program(
            source, self.device, self.level, elements.rows, keep_qubits=qubits_of(observables)
        )
        _refuse_measurement(bound.program, adapted.circuit, f"{field}.circuit")
        _require_rzz_range(bound, self.device, f"{field}.parameter_values")
        compiled = EstimatorPub(
            program=bound.program,
            values=bound.values,
            shape=elements.shape,
            elements=elements.indices,
            observables=localise(observables, bound.program.active_qubits),
            precision=float(pub.precision or 0.0),
            shots=shots,
            row_programs=bound.row_programs,
            circuit_metadata=_metadata(pub.circuit, f"{field}.circuit"),
        )
        return compiled, template.size


def _rows(circuit: QuantumCircuit, bindings: BindingsArray) -> Float64:
    """Parameter values of shape ``(*shape, parameters)``, columns in the order of the circuit's parameters."""
    if not circuit.num_parameters:
        return np.empty((*bindings.shape, 0))
    return np.asarray(bindings.as_array(circuit.parameters), dtype=np.float64)


def _metadata(circuit: QuantumCircuit, field: str) -> dict[str, Any]:
    """The circuit's metadata, which the result repeats."""
    if not circuit.metadata:
        return {}
    try:
        return dict(orjson.loads(orjson.dumps(circuit.metadata)))
    except (TypeError, ValueError) as error:
        raise ValidationError(f"{field}.metadata must be plain JSON with integers of 64 bits", field=field) from error


def _require_measurement(program: CircuitProgram, circuit: QuantumCircuit, field: str) -> None:
    if not any(register.size for register in program.registers):
        raise ValidationError(f"{field} has no classical register: there is nothing to sample", field=field)
    if not (_measures(circuit) if program.dynamic else "measure" in program.names):
        raise ValidationError(f"{field} measures no qubit: there is nothing to sample", field=field)


def _refuse_measurement(program: CircuitProgram, circuit: QuantumCircuit, field: str) -> None:
    if _measures(circuit) if program.dynamic else "measure" in program.names:
        raise ValidationError(
            f"{field} measures a qubit and then uses it: an estimator reads its qubits at the end", field=field
        )


def _measures(circuit: QuantumCircuit) -> bool:
    """Whether `circuit` measures anywhere, bodies of control flow included."""
    return any(
        instruction.name == "measure"
        or (instruction.is_control_flow() and any(_measures(block) for block in instruction.operation.blocks))
        for instruction in circuit.data
    )


def _require_rzz_range(bound: BoundProgram, device: DeviceModel, field: str) -> None:
    """Refuse angles that a device with a native rzz cannot make; bound circuits were refused before they came here."""
    program = bound.program
    if "rzz" not in program.names or "rzz" not in device.basis_gates:
        return
    slots = program.ops[program.ops[:, 0] == program.names.index("rzz"), 4]
    angles = bound.values[:, slots]
    if angles.size and (angles.min() < 0 or angles.max() > _RZZ_MAX):
        raise ValidationError(
            f"{field}: rzz angles must be in [0, pi/2] on {device.name}", field=field, limit="[0, pi/2]"
        )

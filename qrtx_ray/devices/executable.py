"""What a compiled job is: the bytes that go from the compiler child, through the store, to the engine child.

The form on the wire is MessagePack of plain values with arrays as (dtype, shape, bytes); reading it constructs nothing
but the classes below.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.program import CircuitProgram, Register
from qrtx_ray.errors import DecodeError

__all__ = ["EstimatorPub", "ExecutableJob", "PauliTerm", "SamplerPub"]

FORMAT_VERSION = 1
_DTYPES = frozenset({"int32", "int64", "float64", "uint8"})


@dataclass(frozen=True, slots=True)
class PauliTerm:
    """One weighted Pauli of an observable.

    Args:
        qubits: Local qubit indices where the Pauli is not the identity.
        paulis: One letter of ``XYZ+-rl01`` for each of `qubits` (the extended alphabet of Qiskit's observables array).
        coefficient: Real weight.
    """

    qubits: tuple[int, ...]
    paulis: str
    coefficient: float


@dataclass(frozen=True, slots=True, eq=False)
class SamplerPub:
    """Sampler PUB, compiled.

    Args:
        program: The circuit (for a dynamic circuit with parameters: `row_programs` has one bound program per row).
        values: Shape ``(rows, num_slots)``, float64; at least one row.
        shape: The PUB's broadcast shape; its product is `rows`; ``()`` for an unparameterised PUB.
        shots: Shots for each row.
    """

    program: CircuitProgram
    values: npt.NDArray[np.float64]
    shape: tuple[int, ...]
    shots: int
    row_programs: tuple[CircuitProgram, ...] = ()
    circuit_metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class EstimatorPub:
    """Estimator PUB, compiled and broadcast.

    Args:
        program: The circuit, without its measurements.
        values: Shape ``(rows, num_slots)``: the *distinct* parameter rows.
        shape: The PUB's broadcast shape (parameters with observables).
        elements: One ``(row, observable)`` index pair for each element of `shape`, in C order; int32, shape ``(size, 2)``.
        observables: The distinct observables, each a tuple of terms.
        precision: Target standard error of each element; 0.0 asks for the exact value.
        shots: Shots that `precision` stands for (per measurement basis), 0 when exact.
    """

    program: CircuitProgram
    values: npt.NDArray[np.float64]
    shape: tuple[int, ...]
    elements: npt.NDArray[np.int32]
    observables: tuple[tuple[PauliTerm, ...], ...]
    precision: float
    shots: int
    row_programs: tuple[CircuitProgram, ...] = ()
    circuit_metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class ExecutableJob:
    """A whole job, ready to run.

    Args:
        program_id: ``"sampler"`` or ``"estimator"``.
        device: Canonical device name.
        calibration_id: Calibration it was compiled against.
        pubs: All of one kind.
        options: The options that matter at run time, plain JSON values (e.g. ``{"meas_type": "classified"}``); options that
            were accepted without effect are listed under ``"ignored"`` so that the result can say so.
    """

    program_id: str
    device: str
    calibration_id: str
    pubs: tuple[SamplerPub, ...] | tuple[EstimatorPub, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The job as MessagePack."""
        document = {
            "v": FORMAT_VERSION,
            "program_id": self.program_id,
            "device": self.device,
            "calibration_id": self.calibration_id,
            "options": self.options,
            "pubs": [_pack_pub(pub) for pub in self.pubs],
        }
        return bytes(msgpack.packb(document, default=_pack_array))

    @classmethod
    def from_bytes(cls, data: bytes) -> ExecutableJob:
        """Inverse of `to_bytes`.

        Raises:
            DecodeError: Not such a document, or of an unknown format version.
        """
        try:
            document = msgpack.unpackb(data, object_hook=_unpack_array)
            if document["v"] != FORMAT_VERSION:
                msg = f"compiled job has format version {document['v']}, this runtime reads {FORMAT_VERSION}"
                raise DecodeError(msg)
            packed = document["pubs"]
            pubs: tuple[SamplerPub, ...] | tuple[EstimatorPub, ...]
            if document["program_id"] == "sampler":
                pubs = tuple(_unpack_sampler(pub) for pub in packed)
            else:
                pubs = tuple(_unpack_estimator(pub) for pub in packed)
            return cls(
                program_id=document["program_id"],
                device=document["device"],
                calibration_id=document["calibration_id"],
                options=document["options"],
                pubs=pubs,
            )
        except (KeyError, TypeError, ValueError) as error:
            msg = "compiled job cannot be read"
            raise DecodeError(msg) from error


def _pack_array(value: object) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.name in _DTYPES:
        return {"_dtype": value.dtype.name, "_shape": list(value.shape), "_data": np.ascontiguousarray(value).tobytes()}
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    msg = f"{type(value).__name__} has no place in a compiled job"
    raise TypeError(msg)


def _unpack_array(value: dict[str, Any]) -> Any:
    if "_dtype" not in value:
        return value
    if value["_dtype"] not in _DTYPES:
        msg = "unknown array type in a compiled job"
        raise ValueError(msg)
    return np.frombuffer(value["_data"], dtype=value["_dtype"]).reshape(value["_shape"])


def _pack_program(program: CircuitProgram) -> dict[str, Any]:
    return {
        "width": program.width,
        "active_qubits": program.active_qubits,
        "names": program.names,
        "ops": program.ops,
        "num_slots": program.num_slots,
        "num_clbits": program.num_clbits,
        "registers": [(register.name, register.bits) for register in program.registers],
        "duration_s": program.duration_s,
        "qpy": program.qpy,
        "clifford": program.clifford,
        "terminal_measurements": program.terminal_measurements,
    }


def _unpack_program(data: dict[str, Any]) -> CircuitProgram:
    return CircuitProgram(
        width=data["width"],
        active_qubits=tuple(data["active_qubits"]),
        names=tuple(data["names"]),
        ops=data["ops"],
        num_slots=data["num_slots"],
        num_clbits=data["num_clbits"],
        registers=tuple(Register(name, tuple(bits)) for name, bits in data["registers"]),
        duration_s=data["duration_s"],
        qpy=data["qpy"],
        clifford=data["clifford"],
        terminal_measurements=data["terminal_measurements"],
    )


def _pack_pub(pub: SamplerPub | EstimatorPub) -> dict[str, Any]:
    common: dict[str, Any] = {
        "program": _pack_program(pub.program),
        "values": pub.values,
        "shape": list(pub.shape),
        "shots": pub.shots,
        "row_programs": [_pack_program(program) for program in pub.row_programs],
        "circuit_metadata": pub.circuit_metadata,
    }
    if isinstance(pub, EstimatorPub):
        common |= {
            "elements": pub.elements,
            "observables": [
                [(term.qubits, term.paulis, term.coefficient) for term in observable] for observable in pub.observables
            ],
            "precision": pub.precision,
        }
    return common


def _unpack_sampler(data: dict[str, Any]) -> SamplerPub:
    return SamplerPub(
        program=_unpack_program(data["program"]),
        values=data["values"],
        shape=tuple(data["shape"]),
        shots=data["shots"],
        row_programs=tuple(_unpack_program(program) for program in data["row_programs"]),
        circuit_metadata=data["circuit_metadata"],
    )


def _unpack_estimator(data: dict[str, Any]) -> EstimatorPub:
    return EstimatorPub(
        program=_unpack_program(data["program"]),
        values=data["values"],
        shape=tuple(data["shape"]),
        elements=data["elements"],
        observables=tuple(
            tuple(PauliTerm(tuple(qubits), paulis, coefficient) for qubits, paulis, coefficient in observable)
            for observable in data["observables"]
        ),
        precision=data["precision"],
        shots=data["shots"],
        row_programs=tuple(_unpack_program(program) for program in data["row_programs"]),
        circuit_metadata=data["circuit_metadata"],
    )

"""The bounds every reader of tenant bytes obeys, as one frozen value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from qrtx_ray.errors import ValidationError

__all__ = ["Limits"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds on one request.

    Args:
        body_bytes: A request body or payload as received.
        object_bytes / inflated_bytes: One inflated object, and all of a request together.
        json_depth: Nesting of JSON containers.
        pubs: PUBs (native: circuits) in a job.
        qubits / clbits: Width of a circuit; a device's own width applies besides.
        instructions: Instructions of a circuit after full expansion of its definitions and loops.
        shots: Shots of one parameter row.
        result_bytes: Bound on Σ shots × (classical bytes + 100), the memory a run of all shots takes.
        sweep_points: Parameter rows (estimator: elements) of a job.
        observable_terms: Weighted Paulis in a job.
        metadata_bytes: JSON metadata of a circuit.
        qasm2_bytes / qasm3_bytes: OpenQASM source; version 3 parses at about 12 kB a second.
        qasm_nesting: Brackets open at once in OpenQASM source.
        control_flow_depth: Control flow inside control flow.
        definition_depth: Gates defined by gates.
        loop_iterations: Iterations of one `for` loop.
        delay_s / delay_dt: One delay, in seconds or in units of the device's dt.
        unitary_qubits: Width of a gate given by its matrix.
        options_entries: Keys and list items in the options tree.
        jobspec_bytes: A JobSpec file.
        allow_while_loops: Whether `while` loops are accepted (nothing but the deadline ends one).
        allow_exact_precision: Whether precision 0 (exact expectation values) is accepted.
    """

    body_bytes: int = 4 * _MIB
    object_bytes: int = 16 * _MIB
    inflated_bytes: int = 32 * _MIB
    json_depth: int = 64
    pubs: int = 300
    qubits: int = 1024
    clbits: int = 4096
    instructions: int = 100_000
    shots: int = 100_000
    result_bytes: int = 1024 * _MIB
    sweep_points: int = 10_000
    observable_terms: int = 100_000
    metadata_bytes: int = 64 * 1024
    qasm2_bytes: int = 4 * _MIB
    qasm3_bytes: int = 256 * 1024
    qasm_nesting: int = 64
    control_flow_depth: int = 8
    definition_depth: int = 64
    loop_iterations: int = 10_000
    delay_s: float = 1.0
    delay_dt: int = 10**10
    unitary_qubits: int = 8
    options_entries: int = 10_000
    jobspec_bytes: int = _MIB
    allow_while_loops: bool = False
    allow_exact_precision: bool = False

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Limits:
        """Limits with some values replaced.

        Raises:
            ValidationError: An unknown name, a wrong type, or a bound below zero.
        """
        kinds = {item.name: type(item.default) for item in fields(cls)}
        for name, value in data.items():
            kind = kinds.get(name)
            if kind is None:
                raise ValidationError(f"limits.{name} is not a limit", field=f"limits.{name}")
            fits = isinstance(value, bool) == (kind is bool) and isinstance(
                value, (int, float) if kind is float else kind
            )
            if not fits or value < 0:
                raise ValidationError(f"limits.{name} must be a {kind.__name__} of at least 0", field=f"limits.{name}")
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `from_dict` reads it."""
        return asdict(self)

"""CircuitProgram: a circuit as flat arrays, made once, run many times.

A `QuantumCircuit` costs milliseconds to move and 10 µs a gate to walk. A program is a handful of arrays, so it travels
as bytes, hashes in microseconds, and an engine reads it without Qiskit. Numbers are kept apart from structure: an
operation refers to *slots*, and the slot values of every parameter row stand in one table. Two circuits that differ
only in their angles therefore have the same `structure` and may run together.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

__all__ = ["CircuitProgram", "Operation", "Register"]

Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, for reading; engines use the arrays.

    Args:
        name: Gate name as Qiskit spells it (``cx``, ``rz``, ``measure``, ``reset``); a ``delay`` has one slot, its length
            in seconds, and appears only where a noisy device relaxes during it.
        qubits: Local qubit indices (positions in `CircuitProgram.active_qubits`).
        slots: Indices of its parameters in the slot table.
        clbit: Classical bit written by a measurement, else -1.
    """

    name: str
    qubits: tuple[int, ...]
    slots: tuple[int, ...]
    clbit: int


@dataclass(frozen=True, slots=True)
class Register:
    """A classical register: `bits[i]` is the circuit's classical bit that holds bit i."""

    name: str
    bits: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.bits)


@dataclass(frozen=True, slots=True, eq=False)
class CircuitProgram:
    """A circuit on the active qubits of a device.

    Args:
        width: Qubits of the device or circuit it was compiled for.
        active_qubits: Physical indices, ascending; local qubit i is ``active_qubits[i]``.
        names: Table of operation names; `ops` column 0 indexes it.
        ops: Shape ``(num_ops, 6)``, int32: name index, up to three local qubits (-1 where unused), first slot (or -1),
            and number of slots; for a measurement the last two columns are clbit and 0.
        num_slots: Columns of a slot table.
        num_clbits: Classical bits in all.
        registers: Classical registers in the circuit's order.
        duration_s: Schedule length in seconds (device time of one shot, without `rep_delay`), 0.0 when unknown.
        qpy: For circuits that arrays cannot say (control flow, mid-circuit conditionals, gates on more than three qubits,
            non-standard unitaries): the circuit itself, as QPY of exactly one circuit on the *active* qubits, parameters
            already bound per row (then one program per row). Empty for all others; `ops` is empty when it is not.
        clifford: Whether all operations are Clifford whatever the slots are.
        terminal_measurements: Whether every measurement is the last operation on its qubit and no reset occurs.
    """

    width: int
    active_qubits: tuple[int, ...]
    names: tuple[str, ...]
    ops: Int32
    num_slots: int
    num_clbits: int
    registers: tuple[Register, ...]
    duration_s: float = 0.0
    qpy: bytes = b""
    clifford: bool = False
    terminal_measurements: bool = True

    @property
    def num_qubits(self) -> int:
        """Number of active qubits."""
        return len(self.active_qubits)

    @property
    def dynamic(self) -> bool:
        """Whether the circuit needs `qpy` to be run."""
        return bool(self.qpy)

    @property
    def structure(self) -> str:
        """Hash of everything but the numbers: equal for circuits that differ only in parameter values."""
        digest = blake2b(digest_size=16)
        digest.update(repr((self.width, self.active_qubits, self.names, self.registers, self.num_slots)).encode())
        digest.update(np.ascontiguousarray(self.ops).tobytes())
        digest.update(self.qpy)
        return digest.hexdigest()

    @property
    def measurements(self) -> tuple[tuple[int, int], ...]:
        """``(local qubit, classical bit)`` of every measurement, in program order."""
        if "measure" not in self.names:
            return ()
        rows = self.ops[self.ops[:, 0] == self.names.index("measure")]
        return tuple(zip(rows[:, 1].tolist(), rows[:, 4].tolist(), strict=True))

    def operations(self) -> list[Operation]:
        """The operations as readable values, in order."""
        out = []
        for kind, q0, q1, q2, first, count in self.ops.tolist():
            name = self.names[kind]
            qubits = tuple(q for q in (q0, q1, q2) if q >= 0)
            if name == "measure":
                out.append(Operation(name, qubits, (), first))
            else:
                out.append(Operation(name, qubits, tuple(range(first, first + count)) if count else (), -1))
        return out

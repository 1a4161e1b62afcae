"""Fusion: a circuit as a short list of one- and two-qubit blocks, planned once for its structure.

Every operation handed to Aer costs about 2 µs before anything is computed, and a layer of a device circuit is mostly
``rz sx rz`` runs. So runs of one-qubit gates become one matrix, and a two-qubit gate swallows the runs before it and
the previous block on the same pair. The plan depends on the structure only; the matrices of all parameter rows are then
made by batched products.

The same plan serves unitaries (2 amplitudes a qubit, ``base == 2``) and superoperators (4 a qubit, ``base == 4``): a
product of two maps is a product of matrices in both (`products.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from qrtx_ray.devices.program import CircuitProgram

__all__ = ["Block", "Gate", "Plan", "plan_of"]

# A block is multiplied out in a padded rectangle of matrices; these bounds keep one long block from padding all others.
MAX_RUN = 32
MAX_PAIRS = 8


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate occurrence: `name` on local `qubits`, angles in the slots ``[first, first + count)``."""

    name: str
    qubits: tuple[int, ...]
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Block:
    """Gates that become one matrix on `qubits`: indices into `Plan.gates`, in order of application."""

    qubits: tuple[int, ...]
    gates: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The fused form of a program; equal only to itself, so that tables derived from it are found by identity.

    Args:
        gates: All gate occurrences in program order.
        blocks: Cover `gates` once; blocks in list order do what the gates in program order do.
        measured: ``(local qubit, clbit)`` of the terminal measurements, in program order.
    """

    gates: tuple[Gate, ...]
    blocks: tuple[Block, ...]
    measured: tuple[tuple[int, int], ...]


class _Open:
    """A block that may still grow."""

    __slots__ = ("gates", "pairs", "qubits")

    def __init__(self, qubits: tuple[int, ...], gates: list[int]) -> None:
        self.qubits = qubits
        self.gates = gates
        self.pairs = 0


def plan_of(program: CircuitProgram) -> Plan:
    """The plan of a program that consists of gates and terminal measurements; cached by its arrays."""
    ops = np.ascontiguousarray(program.ops, dtype=np.int32)
    return _plan(program.num_qubits, program.names, ops.tobytes())


@lru_cache(maxsize=1024)
def _plan(num_qubits: int, names: tuple[str, ...], ops: bytes) -> Plan:
    gates: list[Gate] = []
    measured: list[tuple[int, int]] = []
    closed: list[_Open] = []
    runs: list[list[int]] = [[] for _ in range(num_qubits)]
    latest: list[_Open | None] = [None] * num_qubits
    for kind, q0, q1, q2, first, count in np.frombuffer(ops, dtype=np.int32).reshape(-1, 6).tolist():
        name = names[kind]
        if name == "measure":
            measured.append((q0, first))
            continue
        qubits = tuple(q for q in (q0, q1, q2) if q >= 0)
        gates.append(Gate(name, qubits, first, count))
        if len(qubits) == 1:
            runs[q0].append(len(gates) - 1)
            if len(runs[q0]) == MAX_RUN:
                full = _Open((q0,), runs[q0])
                closed.append(full)
                latest[q0] = full
                runs[q0] = []
        else:
            _place(len(gates) - 1, qubits, closed, runs, latest)
    for qubit, run in enumerate(runs):
        _flush(qubit, run, closed, latest)
    blocks = tuple(Block(block.qubits, tuple(block.gates)) for block in closed)
    return Plan(tuple(gates), blocks, tuple(measured))


def _place(
    index: int,
    qubits: tuple[int, ...],
    closed: list[_Open],
    runs: list[list[int]],
    latest: list[_Open | None],
) -> None:
    """Put a gate on two or three qubits into the newest block of exactly those qubits, or open one."""
    if len(qubits) == 2:
        block = latest[qubits[0]]
        if block is None or block is not latest[qubits[1]] or len(block.qubits) != 2 or block.pairs == MAX_PAIRS:
            block = _Open(qubits, [])
            closed.append(block)
        for qubit in qubits:
            block.gates.extend(runs[qubit])
            runs[qubit] = []
        block.pairs += 1
    else:
        for qubit in qubits:
            _flush(qubit, runs[qubit], closed, latest)
            runs[qubit] = []
        block = _Open(qubits, [])
        closed.append(block)
    block.gates.append(index)
    for qubit in qubits:
        latest[qubit] = block


def _flush(qubit: int, run: list[int], closed: list[_Open], latest: list[_Open | None]) -> None:
    """Append a run of one-qubit gates to the newest block on its qubit, or make it a block of its own."""
    if not run:
        return
    block = latest[qubit]
    if block is not None and len(block.qubits) == 2:
        block.gates.extend(run)
        return
    block = _Open((qubit,), list(run))
    closed.append(block)
    latest[qubit] = block

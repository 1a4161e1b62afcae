"""Circuits that stay circuits: control flow and all that arrays cannot say, cut down to the active qubits, as QPY."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from qiskit import qpy
from qiskit.circuit import Barrier, ControlFlowOp, Delay, ForLoopOp, QuantumCircuit, QuantumRegister

from qrtx_ray.devices.program import CircuitProgram, Register
from qrtx_ray.devices.timing import Timetable, delay_s, operation_duration_s

__all__ = ["build", "iterations"]


def build(
    circuit: QuantumCircuit,
    rows: npt.NDArray[np.float64],
    timetable: Timetable | None,
    keep_qubits: Iterable[int] = (),
) -> tuple[CircuitProgram, ...]:
    """One program for each parameter row, its circuit bound and cut down to the qubits it uses.

    Args:
        circuit: The circuit; qubit i is physical qubit i.
        rows: Parameter values, shape ``(num_rows, circuit.num_parameters)``.
        timetable: Gives durations, or None.
        keep_qubits: Physical qubits to keep though nothing happens on them.
    """
    index = {qubit: place for place, qubit in enumerate(circuit.qubits)}
    active = tuple(sorted({index[qubit] for qubit in _used(circuit)}.union(keep_qubits)))
    compact = _cut(circuit, [circuit.qubits[place] for place in active], top=True)
    clbits = {bit: place for place, bit in enumerate(circuit.clbits)}
    shared: dict[str, Any] = {
        "width": circuit.num_qubits,
        "active_qubits": active,
        "names": (),
        "ops": np.empty((0, 6), dtype=np.int32),
        "num_slots": 0,
        "num_clbits": circuit.num_clbits,
        "registers": tuple(Register(r.name, tuple(clbits[bit] for bit in r)) for r in circuit.cregs),
        "duration_s": _duration_s(circuit, index, timetable) if timetable else 0.0,
        "clifford": False,
        "terminal_measurements": False,
    }
    parameters = list(circuit.parameters)
    programs = []
    for row in rows.tolist():
        # Not strict: a parameter that only a dropped delay had is no longer there.
        bound = compact.assign_parameters(dict(zip(parameters, row, strict=True)), strict=False) if row else compact
        buffer = io.BytesIO()
        qpy.dump(bound, buffer)
        programs.append(CircuitProgram(**shared, qpy=buffer.getvalue()))
    return tuple(programs)


def _used(circuit: QuantumCircuit) -> set[Any]:
    """Qubits on which something happens, seen through the bodies of control flow."""
    used: set[Any] = set()
    for instruction in circuit.data:
        operation = instruction.operation
        if isinstance(operation, ControlFlowOp):
            for block in operation.blocks:
                outer = dict(zip(block.qubits, instruction.qubits, strict=True))
                used.update(outer[qubit] for qubit in _used(block))
        elif not isinstance(operation, (Barrier, Delay)):
            used.update(instruction.qubits)
    return used


def _cut(circuit: QuantumCircuit, kept: list[Any], *, top: bool = False) -> QuantumCircuit:
    """`circuit` on the qubits `kept`, without delays; nothing else may act on the others."""
    place = dict(zip(kept, QuantumRegister(len(kept), "q") if top else kept, strict=True))
    out = QuantumCircuit(
        list(place.values()),
        list(circuit.clbits),
        *circuit.cregs,
        inputs=circuit.iter_input_vars(),
        captures=[*circuit.iter_captured_vars(), *circuit.iter_captured_stretches()],
        global_phase=circuit.global_phase,
        name=circuit.name,
        metadata={},
    )
    for variable in circuit.iter_declared_vars():
        out.add_uninitialized_var(variable)
    for stretch in circuit.iter_declared_stretches():
        out.add_stretch(stretch)
    for instruction in circuit.data:
        operation = instruction.operation
        qubits = instruction.qubits
        if isinstance(operation, Delay):
            continue
        remaining = [position for position, qubit in enumerate(qubits) if qubit in place]
        if isinstance(operation, Barrier):
            if not remaining:
                continue
            operation = Barrier(len(remaining))
        elif isinstance(operation, ControlFlowOp):
            blocks = [_cut(block, [block.qubits[position] for position in remaining]) for block in operation.blocks]
            operation = operation.replace_blocks(blocks) if blocks else operation
        out._append(  # noqa: SLF001 - checked when the circuit was made
            instruction.replace(operation=operation, qubits=tuple(place[qubits[position]] for position in remaining))
        )
    return out


def _duration_s(circuit: QuantumCircuit, index: Mapping[Any, int], timetable: Timetable) -> float:
    """Estimate of the schedule: the longer branch counts, loops of unknown length count once."""
    free_at = dict.fromkeys(index.values(), 0.0)
    for instruction in circuit.data:
        operation = instruction.operation
        qubits = tuple(index[qubit] for qubit in instruction.qubits)
        if isinstance(operation, ControlFlowOp):
            blocks = [(block, dict(zip(block.qubits, qubits, strict=True))) for block in operation.blocks]
            length = max((_duration_s(block, inner, timetable) for block, inner in blocks), default=0.0)
            length *= iterations(operation)
        elif isinstance(operation, Delay):
            length = delay_s(operation.duration, operation.unit, timetable.dt_s)
        else:
            length = operation_duration_s(timetable.durations, instruction.name, qubits)
        end = max((free_at[qubit] for qubit in qubits), default=0.0) + length
        free_at.update(dict.fromkeys(qubits, end))
    return max(free_at.values(), default=0.0)


def iterations(operation: ControlFlowOp) -> int:
    """Rounds of a loop whose number is fixed; 1 for everything else, and for one of unknown length."""
    if not isinstance(operation, ForLoopOp):
        return 1
    try:
        return len(operation.params[0])
    except TypeError:
        return 1

"""The ISA check: whether a circuit says nothing that its device cannot do.

It runs for every circuit of every job, so the common case, a circuit of the device's own gates, costs one look at each
instruction's name and, for gates on several qubits, one set lookup. A gate that merely has the name of a native one is
not taken for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from qiskit.circuit import Barrier, ControlFlowOp, Delay, Measure, QuantumCircuit, Reset, Store

from qrtx_ray.devices.model import DeviceModel

__all__ = ["is_native", "violations"]

_BUILT_IN: dict[str, type] = {"barrier": Barrier, "delay": Delay, "measure": Measure, "reset": Reset}
# Names that no list of a device's instructions has, and that may yet be in its circuits.
_ANYWHERE = frozenset({"barrier", "global_phase", "store", "break_loop", "continue_loop"})
_LOOP_EXITS = frozenset({"break_loop", "continue_loop"})
# The angle of a native rzz; the slack forgives rounding, as the official client does.
_RZZ_MAX = math.pi / 2 + 1e-10
_SHOWN_CHARS = 32


def violations(circuit: QuantumCircuit, device: DeviceModel) -> str | None:
    """Why `circuit` cannot run on `device` as it stands, or None if it can.

    Qubit i of the circuit is the device's qubit i. Bodies of control flow are checked as well.

    Returns:
        One sentence that names the first offending instruction and its qubits and says what the device has.
    """
    if circuit.num_qubits > device.num_qubits:
        return f"the circuit has {circuit.num_qubits} qubits, {device.name} has {device.num_qubits}"
    return _first_violation(circuit, device, range(circuit.num_qubits))


def is_native(circuit: QuantumCircuit, device: DeviceModel) -> bool:
    """Whether `circuit` can run on `device` as it stands; a no costs a tenth of finding the words for it."""
    if circuit.num_qubits > device.num_qubits or not device.names.issuperset(circuit.count_ops().keys() - _ANYWHERE):
        return False
    return violations(circuit, device) is None


def _first_violation(circuit: QuantumCircuit, device: DeviceModel, physical: Sequence[int]) -> str | None:
    """As `violations`, where qubit i of the circuit is the device's qubit ``physical[i]``."""
    everywhere, instructions = device.everywhere, device.instructions
    # The circuit's own tables: the public ways to the same cost as much again as the whole check.
    data = circuit._data  # noqa: SLF001
    where = data._qubit_indices  # noqa: SLF001
    for instruction in data:
        name = instruction.name
        if not instruction.is_standard_gate():
            qubits = tuple([physical[where[qubit].index] for qubit in instruction.qubits])
            found = _other_violation(instruction, qubits, device)
            if found:
                return found
        elif name not in everywhere:
            qubits = tuple([physical[where[qubit].index] for qubit in instruction.qubits])
            if (name, qubits) not in instructions:
                if name == "global_phase":
                    continue
                return _refusal(name, qubits, device)
            if name == "rzz" and _out_of_range(instruction.params[0]):
                return f"rzz on qubits {qubits} has an angle outside the range [0, pi/2] that {device.name} supports"
    return None


def _other_violation(instruction: Any, qubits: tuple[int, ...], device: DeviceModel) -> str | None:
    """As `violations`, for one instruction that is no standard gate."""
    name = instruction.name
    operation = instruction.operation
    real = _BUILT_IN.get(name)
    if real is not None and isinstance(operation, real):
        return None if real is Barrier or (name, qubits) in device.instructions else _refusal(name, qubits, device)
    if isinstance(operation, ControlFlowOp):
        if name in _LOOP_EXITS:
            return None
        if name not in device.control_flow:
            has = ", ".join(sorted(device.control_flow)) or "none"
            return f"control flow {_printable(name)} is not supported by {device.name}, which has: {has}"
        for block in operation.blocks:
            found = _first_violation(block, device, qubits)
            if found:
                return found
        return None
    if isinstance(operation, Store) and device.control_flow:
        return None
    if (name, qubits) not in device.instructions:
        return _refusal(name, qubits, device)
    if real is not None or getattr(operation, "definition", None) is not None:
        return f"{_printable(name)} on qubits {qubits} is a gate of the circuit's own, not the one {device.name} has"
    return None


def _out_of_range(angle: Any) -> bool:
    return isinstance(angle, (int, float)) and not 0.0 <= angle <= _RZZ_MAX


def _refusal(name: str, qubits: tuple[int, ...], device: DeviceModel) -> str:
    shown = qubits if len(qubits) <= 4 else f"{qubits[:3]} and {len(qubits) - 3} more"
    text = f"instruction {_printable(name)} on qubits {shown} is not supported by {device.name}"
    if (name, qubits[::-1]) in device.instructions:
        return f"{text}: it has {name} on qubits {qubits[::-1]}, the other direction"
    if any(native == name and len(places) == len(qubits) for native, places in device.instructions):
        return f"{text}: it has {name}, but not on these qubits"
    return f"{text}, which has: {', '.join(sorted({native for native, _ in device.instructions}))}"


def _printable(name: str) -> str:
    """A tenant's name for a gate, made safe to quote."""
    return "".join(c if c.isalnum() or c in "_-." else "?" for c in name[:_SHOWN_CHARS])

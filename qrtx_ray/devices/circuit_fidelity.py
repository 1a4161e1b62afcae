"""Predicted fidelity of a circuit with control flow: what it is at least, as far as that can be said.

Which branch is taken, and how often a loop runs, is known only while it runs. Counted is the worst branch of each choice,
a ``for`` loop as often as it says, and a loop of unknown length once. So the figure is a lower bound for circuits whose
loops have a known length, and for others an estimate that holds for one round.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

from qiskit.circuit import ControlFlowOp, QuantumCircuit

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.dynamic import iterations
from qrtx_ray.devices.error_tables import ErrorTables

__all__ = ["circuit_fidelity"]

MAX_DEPTH = 64
"""Gates defined by gates, and blocks inside blocks, are looked into so deep."""


def circuit_fidelity(circuit: QuantumCircuit, calibration: Calibration) -> float:
    """The predicted fidelity (see `fidelity`) of a circuit in a device's instructions, 0..1.

    Args:
        circuit: Qubit i is the device's qubit i; gates that are not the device's own count by their definitions.
        calibration: Of the device.
    """
    return exp(_log_success(circuit, range(circuit.num_qubits), ErrorTables.of(calibration), MAX_DEPTH))


def _log_success(circuit: QuantumCircuit, physical: Sequence[int], tables: ErrorTables, depth: int) -> float:
    place = dict(zip(circuit.qubits, physical, strict=True))
    total = 0.0
    for instruction in circuit.data:
        operation = instruction.operation
        qubits = tuple([place[qubit] for qubit in instruction.qubits])
        if isinstance(operation, ControlFlowOp):
            if depth:
                worst = min([_log_success(block, qubits, tables, depth - 1) for block in operation.blocks], default=0.0)
                total += iterations(operation) * worst
            continue
        known = tables.log_success(instruction.name, qubits)
        if known is None and depth and isinstance(getattr(operation, "definition", None), QuantumCircuit):
            known = _log_success(operation.definition, qubits, tables, depth - 1)
        total += known or 0.0
    return total

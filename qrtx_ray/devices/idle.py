"""Idle times: how long each qubit of a scheduled circuit waits between its first operation and its last.

The schedule is as late as possible, which is how machines run circuits: a qubit stays in its ground state, where waiting
costs nothing, until it is needed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.devices.timing import operation_duration_s

__all__ = ["waits_s"]

Float64 = npt.NDArray[np.float64]


def waits_s(program: CircuitProgram, values_row: Float64 | None, calibration: Calibration) -> Float64:
    """Seconds that each active qubit waits, shape ``(num_qubits,)``; delays of the circuit included.

    Args:
        program: Not a dynamic one.
        values_row: Slot values, which only the lengths of delays are read from; None leaves delays out.
        calibration: Gives the duration of each gate on each qubit.
    """
    physical, names, durations = (*program.active_qubits, -1), program.names, calibration.gate_duration_s
    # Walked from the end: `begins[q]` is how long before the end of the circuit the qubit's earliest operation begins.
    begins = [0.0] * len(physical)
    busy = [0.0] * len(physical)
    ends: list[float | None] = [None] * len(physical)
    for kind, a, b, c, slot, _ in program.ops[::-1].tolist():
        local = (a,) if b < 0 else (a, b) if c < 0 else (a, b, c)
        waits = names[kind] == "delay"
        if waits:
            length = float(values_row[slot]) if values_row is not None else 0.0
        else:
            length = operation_duration_s(durations, names[kind], tuple([physical[qubit] for qubit in local]))
        start = max([begins[qubit] for qubit in local])
        for qubit in local:
            if ends[qubit] is None:
                ends[qubit] = start
            begins[qubit] = start + length
            busy[qubit] += 0.0 if waits else length
    spans = [begin - (end or 0.0) - work for begin, end, work in zip(begins, ends, busy, strict=True)]
    return np.maximum(np.array(spans[:-1], dtype=np.float64), 0.0)

"""Timing: how long a circuit occupies a device, and what that costs in QPU seconds.

The schedule is as soon as possible: an operation starts when its qubits are free. Virtual gates (``rz``) take the time
the calibration gives them, which is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from qiskit.circuit import ParameterExpression

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program import CircuitProgram

__all__ = [
    "IBM_JOB_OVERHEAD_S",
    "UNKNOWN_MEASURE_S",
    "Durations",
    "Timetable",
    "delay_s",
    "operation_duration_s",
    "qpu_seconds",
    "schedule_duration_s",
]

IBM_JOB_OVERHEAD_S = 2.0
"""Charged once for a job, whatever it runs."""

UNKNOWN_MEASURE_S = 1e-6
"""Assumed for measurement and reset where a calibration gives no readout length (ten of the old snapshots)."""

Durations = Mapping[tuple[str, tuple[int, ...]], float]

_READS_OUT = frozenset({"measure", "reset"})
_UNIT_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12}


@dataclass(frozen=True, slots=True)
class Timetable:
    """What is needed to time a circuit: durations in seconds by name and physical qubits, and the sample length."""

    durations: Durations
    dt_s: float | None = None

    @classmethod
    def of(cls, source: Any) -> Timetable | None:
        """The timetable of a `DeviceModel`, a `Calibration` or a Qiskit `Target`; None for None."""
        if source is None:
            return None
        if isinstance(source, DeviceModel):
            return cls(source.calibration.gate_duration_s, source.dt_s)
        if isinstance(source, Calibration):
            return cls(source.gate_duration_s)
        durations = {
            (name, qubits): properties.duration
            for name in source.operation_names
            for qubits, properties in source[name].items()
            if qubits is not None and properties is not None and properties.duration is not None
        }
        return cls(durations, source.dt)


def delay_s(duration: Any, unit: str, dt_s: float | None) -> Any:
    """Length of a delay in seconds: a float, or for a parameter the expression of it; 0.0 where it is a run-time
    expression or counts samples of unknown length.
    """
    scale = dt_s if unit == "dt" else _UNIT_S.get(unit)
    if not scale:
        return 0.0
    if isinstance(duration, (int, float)):
        return float(duration) * scale
    return duration * scale if isinstance(duration, ParameterExpression) else 0.0


def operation_duration_s(durations: Durations, name: str, qubits: tuple[int, ...]) -> float:
    """Seconds that `name` takes on the physical `qubits`; 0.0 for a gate the calibration does not time."""
    known = durations.get((name, qubits))
    if known is not None:
        return known
    return UNKNOWN_MEASURE_S if name in _READS_OUT else 0.0


def schedule_duration_s(
    program: CircuitProgram, values_row: npt.NDArray[np.float64] | None, calibration: Calibration
) -> float:
    """Length of the as-soon-as-possible schedule of `program`, in seconds.

    Args:
        program: The circuit. Delays that are no longer in it count for `CircuitProgram.duration_s`, not here.
        values_row: Slot values, which only the lengths of delays are read from; None for a program without delays.
        calibration: Gives the duration of each gate on each qubit.

    Returns:
        The longest path. For a dynamic program its `duration_s`, which was estimated when it was built.
    """
    if program.dynamic:
        return program.duration_s
    physical, names, durations = (*program.active_qubits, -1), program.names, calibration.gate_duration_s
    free_at = [0.0] * len(physical)
    delay = names.index("delay") if "delay" in names and values_row is not None else -1
    for kind, a, b, c, slot, _ in program.ops.tolist():
        if kind == delay and values_row is not None:
            free_at[a] += float(values_row[slot])
        elif b < 0:
            free_at[a] += operation_duration_s(durations, names[kind], (physical[a],))
        else:
            local = (a, b) if c < 0 else (a, b, c)
            places = tuple([physical[qubit] for qubit in local])
            end = max([free_at[qubit] for qubit in local]) + operation_duration_s(durations, names[kind], places)
            for qubit in local:
                free_at[qubit] = end
    return max(free_at)


def qpu_seconds(total_shots: int, duration_s: float, *, rep_delay_s: float = 250e-6, overhead_s: float = 0.0) -> float:
    """Device time of `total_shots` runs of a circuit: ``overhead + shots × (rep_delay + duration)``, in seconds."""
    return overhead_s + total_shots * (rep_delay_s + duration_s)

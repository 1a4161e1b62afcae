"""Predicted fidelity: how faithfully a device would run a circuit, from its structure and the device's calibration.

What is predicted is the *estimated success probability*: the probability that no gate, no readout and no wait went wrong,
each as the calibration says, all independent of each other (the figure by which Qiskit's own layout passes, and the
literature on noise-aware mapping since Tannu and Qureshi, ASPLOS 2019, choose qubits). It is the product of

* ``1 - error`` of every two-qubit and every one-qubit gate, the error being the calibrated one or, where that is more, what
  relaxation during the gate's duration costs by itself;
* ``1 - error`` of the readout of every measured qubit (of every qubit an observable reads);
* the average fidelity of relaxation (T1, T2) during every wait, see `Idle`.

It stands for the Hellinger fidelity of measured against ideal distribution. Where the ideal outcome is one bit string or
a few, the two agree to a few hundredths, and their ranks nearly do (`benchmarks.placement`). Where it is spread over many
strings, errors mostly move probability between strings that are in the answer anyway, and the Hellinger fidelity stays
far above: then this is a lower bound. `hellinger_fidelity` gives the distribution's fidelity to those who know the ideal
one. A device without noise has no prediction.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.error_tables import ErrorTables, relaxation_infidelity
from qrtx_ray.devices.idle import waits_s
from qrtx_ray.devices.program import CircuitProgram

__all__ = ["MAX_CACHED", "FidelityParts", "Idle", "fidelity_parts", "hellinger_fidelity", "predicted_fidelity"]

Float64 = npt.NDArray[np.float64]

MAX_CACHED = 8192
"""Predictions kept in a process, for structures and calibrations used last."""


class Idle(StrEnum):
    """Which waits of a qubit count."""

    DELAYS = "delays"  #: those that the circuit says; the emulated devices relax during no others
    SCHEDULE = "schedule"  #: also the gaps of the as-late-as-possible schedule, as on a machine


@dataclass(frozen=True, slots=True)
class FidelityParts:
    """A predicted fidelity by cause; each part is a probability of success, 0..1."""

    two_qubit: float
    one_qubit: float
    readout: float
    idle: float

    @property
    def fidelity(self) -> float:
        """All together."""
        return self.two_qubit * self.one_qubit * self.readout * self.idle


def fidelity_parts(
    program: CircuitProgram,
    calibration: Calibration,
    *,
    delays_row: Float64 | None = None,
    read_qubits: tuple[int, ...] = (),
    idle: Idle = Idle.DELAYS,
) -> FidelityParts | None:
    """The predicted fidelity of `program` under `calibration` by cause, not cached.

    Args:
        program: Not a dynamic one: arrays do not say what its control flow does (see `circuit_fidelity`).
        calibration: Of the device that `program` was compiled for.
        delays_row: Slot values, of which only the lengths of delays are read; None leaves delays out.
        read_qubits: Physical qubits that are read though the program does not measure them (an estimator's).
        idle: Which waits count.

    Returns:
        The parts, or None for a dynamic program.
    """
    if program.dynamic:
        return None
    tables = ErrorTables.of(calibration)
    active = np.array((*program.active_qubits, 0), dtype=np.intp)
    ops = program.ops
    kinds, places = ops[:, 0], active[ops[:, 1]]
    one, two = tables.rows(program.names)
    log_one = tables.one[one[kinds], places]
    measured = log_one[kinds == program.names.index("measure")].sum() if "measure" in program.names else 0.0
    # A row of zeros stands for every name that is no two-qubit gate, whatever the second qubit then is.
    log_two = float(tables.two[two[kinds], places, active[ops[:, 2]]].sum()) if two.any() else 0.0
    read = float(measured)
    if read_qubits:
        read += float(tables.readout[list(read_qubits)].sum())
    return FidelityParts(
        two_qubit=float(np.exp(log_two)),
        one_qubit=float(np.exp(log_one.sum() - measured)),
        readout=float(np.exp(read)),
        idle=_idle(program, calibration, delays_row, idle),
    )


def predicted_fidelity(
    program: CircuitProgram,
    calibration: Calibration,
    *,
    structure: str = "",
    delays_row: Float64 | None = None,
    read_qubits: tuple[int, ...] = (),
    idle: Idle = Idle.DELAYS,
) -> float | None:
    """The predicted fidelity, 0..1; computed once for each structure and calibration.

    Args:
        structure: ``program.structure``, if it is known already.

    The other arguments are those of `fidelity_parts`.

    Returns:
        The fidelity, or None for a dynamic program.
    """
    if program.dynamic:
        return None
    waits = _delays(program, delays_row)
    key = (structure or program.structure, calibration.id, read_qubits, idle, waits.tobytes())
    found = _cache.get(key)
    if found is None:
        parts = fidelity_parts(program, calibration, delays_row=delays_row, read_qubits=read_qubits, idle=idle)
        found = _cache[key] = parts.fidelity if parts is not None else 0.0
        if len(_cache) > MAX_CACHED:
            _cache.popitem(last=False)
    else:
        _cache.move_to_end(key)
    return found


def hellinger_fidelity(success: float, ideal: Float64) -> float:
    """Hellinger fidelity to the distribution `ideal` of one that is right with probability `success`, else uniform.

    Args:
        success: A predicted fidelity.
        ideal: Probabilities of all bit strings, shape ``(2**qubits,)``.
    """
    p = np.clip(ideal, 0.0, None)
    mixed = success * p + (1.0 - success) / len(p)
    return float(min(1.0, np.sqrt(p * mixed).sum() ** 2))


_cache: OrderedDict[tuple[str, str, tuple[int, ...], Idle, bytes], float] = OrderedDict()
_NO_WAITS = np.empty(0)


def _delays(program: CircuitProgram, row: Float64 | None) -> Float64:
    """Lengths of the program's delays in seconds, in the order of its operations."""
    if row is None or "delay" not in program.names:
        return _NO_WAITS
    ops = program.ops
    return np.asarray(row[ops[ops[:, 0] == program.names.index("delay"), 4]])


def _idle(program: CircuitProgram, calibration: Calibration, row: Float64 | None, idle: Idle) -> float:
    if idle is Idle.SCHEDULE:
        lengths = waits_s(program, row, calibration)
        qubits = np.array(program.active_qubits, dtype=np.intp)
    else:
        lengths = _delays(program, row)
        if not lengths.size:
            return 1.0
        ops = program.ops
        local = ops[ops[:, 0] == program.names.index("delay"), 1]
        qubits = np.array(program.active_qubits, dtype=np.intp)[local]
    return float(np.prod(1.0 - relaxation_infidelity(calibration, qubits, lengths)))

"""Error tables: a calibration's errors as arrays of logarithms, so that those of a whole circuit are one look-up."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.calibration import Calibration

__all__ = ["ErrorTables", "relaxation_infidelity"]

Float64 = npt.NDArray[np.float64]
Intp = npt.NDArray[np.intp]


def relaxation_infidelity(calibration: Calibration, qubits: Intp, lengths_s: Float64) -> Float64:
    """One minus the average fidelity of waiting, for each physical qubit of `qubits` its length of `lengths_s`."""
    t1_s = calibration.t1_s[qubits]
    t2_s = np.minimum(calibration.t2_s[qubits], 2.0 * t1_s)
    # (trace of the superoperator / 2 + 1) / 3, the trace being 1 + kept + 2 coherent.
    infidelity: Float64 = (2.0 - 2.0 * np.exp(-lengths_s / t2_s) + 1.0 - np.exp(-lengths_s / t1_s)) / 6.0
    return infidelity


class ErrorTables:
    """Logarithms of success probabilities under one calibration.

    `one` has shape ``(rows, qubits)``, `two` shape ``(rows, qubits, qubits)``, `readout` shape ``(qubits,)``. Row 0 of
    the first two is zero and stands for every name that the table has not.
    """

    def __init__(self, calibration: Calibration) -> None:
        width = calibration.num_qubits
        self._one = {"measure": 1}
        self._two: dict[str, int] = {}
        errors = _effective(calibration)
        for name, qubits in errors:
            kind = self._one if len(qubits) == 1 else self._two
            kind.setdefault(name, len(kind) + 1)
        self.one = np.zeros((len(self._one) + 1, width))
        self.two = np.zeros((len(self._two) + 1, width, width))
        self.readout = np.log1p(-_readout_errors(calibration))
        self.one[1] = self.readout
        for (name, qubits), error in errors.items():
            if len(qubits) == 1:
                self.one[self._one[name], qubits[0]] = np.log1p(-error)
            else:
                self.two[self._two[name], qubits[0], qubits[1]] = np.log1p(-error)

    @staticmethod
    @lru_cache(maxsize=32)
    def of(calibration: Calibration) -> ErrorTables:
        """The tables of `calibration`, made once."""
        return ErrorTables(calibration)

    @property
    def pairs(self) -> tuple[str, ...]:
        """Names of the two-qubit gates, in the order of the rows of `two` after the first."""
        return tuple(self._two)

    def log_success(self, name: str, qubits: tuple[int, ...]) -> float | None:
        """Logarithm of the success probability of one operation; None for a name the calibration has not."""
        if len(qubits) == 1 and name in self._one:
            return float(self.one[self._one[name], qubits[0]])
        if len(qubits) == 2 and name in self._two:
            return float(self.two[self._two[name], qubits[0], qubits[1]])
        return None

    def rows(self, names: tuple[str, ...]) -> tuple[Intp, Intp]:
        """The rows of `one` and of `two` for each of `names`."""
        one, two = self._one.get, self._two.get
        return (
            np.array([one(name, 0) for name in names] or [0], dtype=np.intp),
            np.array([two(name, 0) for name in names] or [0], dtype=np.intp),
        )


def _effective(calibration: Calibration) -> dict[tuple[str, tuple[int, ...]], float]:
    """Errors of all gates on one or two qubits, as the emulator applies them."""
    durations = calibration.gate_duration_s
    keys = [
        key
        for key in {**calibration.gate_error, **durations}
        if key[0] not in {"measure", "reset"} and len(key[1]) in {1, 2}
    ]
    lengths = np.array([durations.get(key, 0.0) for key in keys])
    first = np.array([key[1][0] for key in keys], dtype=np.intp)
    last = np.array([key[1][-1] for key in keys], dtype=np.intp)
    alone = relaxation_infidelity(calibration, first, lengths)
    # Average fidelity of a product of channels, by way of their process fidelities (3F - 1) / 2 and the pair's (5F - 1) / 4.
    process = (1.0 - 1.5 * alone) * (1.0 - 1.5 * relaxation_infidelity(calibration, last, lengths))
    floor = np.where(first == last, alone, 0.8 * (1.0 - process))
    found = np.array([calibration.gate_error.get(key, 0.0) for key in keys])
    # No channel of ours is worse than one that forgets its qubits.
    worst = np.where(first == last, 2.0 / 3.0, 0.8)
    return dict(zip(keys, np.minimum(np.maximum(found, floor), worst).tolist(), strict=True))


def _readout_errors(calibration: Calibration) -> Float64:
    means = (calibration.p01 + calibration.p10) / 2.0
    errors = [
        calibration.gate_error.get(("measure", (qubit,)), means[qubit]) for qubit in range(calibration.num_qubits)
    ]
    return np.minimum(np.array(errors, dtype=np.float64), 1.0 - 1e-12)

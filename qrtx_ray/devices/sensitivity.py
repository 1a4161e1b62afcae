"""Noise sensitivity: how much a circuit would suffer on a typical device, from its structure alone.

It is shown with the job and written to traces, also where no prediction for a certain device is at hand; nothing is decided
by it. It is the probability that something goes wrong on a device of today's usual quality, with errors counted by
depth, width and two-qubit gates: 0 for a circuit that nothing can disturb, near 1 for one that noise will drown.
"""

from __future__ import annotations

from math import expm1

__all__ = ["sensitivity"]

# A typical machine of the catalogue's years: medians over its calibrated devices, rounded.
_TWO_QUBIT = 0.01
_READOUT = 0.02
_LAYER = 0.0005  # one qubit for one layer: a one-qubit gate, or waiting for a neighbour's


def sensitivity(*, depth: int, two_qubit_gates: int, width: int, measured: int | None = None) -> float:
    """Sensitivity to noise, 0..1; grows with each argument.

    Args:
        depth: Longest chain of operations.
        two_qubit_gates: Gates on two or more qubits.
        width: Active qubits.
        measured: Qubits that are read, by default all.
    """
    read = width if measured is None else measured
    return -expm1(-(_TWO_QUBIT * two_qubit_gates + _READOUT * read + _LAYER * depth * width))

"""Small noisy circuits on the noisy kernel."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.engines.opcodes import matrix_table
from qrtx_ray.engines.pauli_channels import PauliChannels
from qrtx_ray.engines.pauli_kernel import noisy_distributions
from qrtx_ray.engines.small import Reading
from qrtx_ray.errors import ExecuteError

__all__ = ["noisy_table"]

Float = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

_LETTERS = {"X": 1, "Y": 2, "Z": 3}


def noisy_table(
    program: CircuitProgram, values: Float, bases: tuple[Reading, ...], calibration: Calibration
) -> list[list[Float]] | None:
    """For each row of `values` and each basis the outcome probabilities, without readout errors.

    Args:
        program: Gates, delays and terminal measurements; at least one qubit.
        values: Shape ``(rows, num_slots)``.
        bases: The letters X, Y or Z and the local qubits they stand for; bit i of an outcome is the i-th qubit.
        calibration: The noise.

    Returns:
        None where the kernel has no form for a gate, or a qubit is measured twice.

    Raises:
        ExecuteError: A gate is not a standard gate, or an operation, the values or the bases do not fit the program.
    """
    count = program.num_qubits
    if values.shape[1] < program.num_slots or not all(0 <= qubit < count for _, qubits in bases for qubit in qubits):
        msg = f"parameters or observables do not fit the circuit's {count} qubits and {program.num_slots} parameters"
        raise ExecuteError(msg, field="circuit")
    if any(len(set(qubits)) < len(qubits) for _, qubits in bases):
        return None
    channels = PauliChannels.of(calibration)
    steps = channels.steps(program)
    if steps is None:
        return None
    made = channels.channels()
    picks, columns = _reading(bases)
    out = np.empty((len(values), int(columns[-1])))
    noisy_distributions(
        count,
        steps,
        np.ascontiguousarray(values[:, : program.num_slots], dtype=np.float64),
        matrix_table(),
        channels.rates[list(program.active_qubits)],
        made.singles,
        made.ends,
        made.entries,
        made.factors,
        picks,
        columns,
        out,
    )
    if len(bases) == 1:
        return [[row] for row in out]
    places = columns[1:-1].tolist()
    return [np.split(row, places) for row in out]


@lru_cache(maxsize=256)
def _reading(bases: tuple[Reading, ...]) -> tuple[Int64, Int64]:
    picks = np.full((len(bases), max(len(qubits) for _, qubits in bases)), -1, dtype=np.int64)
    for row, (letters, qubits) in enumerate(bases):
        picks[row, : len(qubits)] = [
            _LETTERS[letter] << 2 * qubit for letter, qubit in zip(letters, qubits, strict=True)
        ]
    columns = np.cumsum([0, *(1 << len(qubits) for _, qubits in bases)], dtype=np.int64)
    return picks, columns

"""Small ideal circuits on the state-vector kernel: no fusion plan, no simulator objects, nothing kept between circuits."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.engines.kernel import OK, distributions
from qrtx_ray.engines.opcodes import forms_of, matrix_table
from qrtx_ray.errors import ExecuteError

__all__ = ["Reading", "ideal_distributions"]

Float = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Reading = tuple[str, tuple[int, ...]]
"""A measurement basis: letters X, Y or Z, and the local qubits they stand for."""

_LETTERS = {"Z": 0, "X": 1, "Y": 2}


def ideal_distributions(program: CircuitProgram, values: Float, bases: tuple[Reading, ...]) -> list[list[Float]]:
    """For each row of `values` and each basis the outcome probabilities.

    Args:
        program: Gates, delays and terminal measurements on 1 to `MAX_KERNEL_QUBITS` qubits.
        values: Shape ``(rows, num_slots)``.
        bases: The letters X, Y or Z and the local qubits they stand for; bit i of an outcome is the i-th qubit.

    Raises:
        ExecuteError: A gate is not a standard gate, or an operation or a basis does not fit the program.
    """
    if not all(0 <= qubit < program.num_qubits for _, qubits in bases for qubit in qubits):
        msg = f"an observable or measurement does not fit the circuit's {program.num_qubits} qubits"
        raise ExecuteError(msg, field="circuit")
    letters, weights, ends = _reading(program.num_qubits, bases)
    out = np.zeros((len(values), int(ends[-1])))
    malformed = distributions(
        program.num_qubits,
        forms_of(program.names),
        np.ascontiguousarray(program.ops, dtype=np.int64),
        np.ascontiguousarray(values, dtype=np.float64),
        matrix_table(),
        letters,
        weights,
        ends,
        out,
    )
    if malformed != OK:
        msg = f"operation {malformed} does not fit the circuit's {program.num_qubits} qubits and its parameters"
        raise ExecuteError(msg, field="circuit")
    if len(bases) == 1:
        return [[row] for row in out]
    places = ends[:-1].tolist()
    return [np.split(row, places) for row in out]


@lru_cache(maxsize=256)
def _reading(num_qubits: int, bases: tuple[Reading, ...]) -> tuple[Int64, Int64, Int64]:
    letters = np.zeros((len(bases), num_qubits), dtype=np.int64)
    weights = np.zeros((len(bases), num_qubits), dtype=np.int64)
    for row, (names, qubits) in enumerate(bases):
        for bit, (letter, qubit) in enumerate(zip(names, qubits, strict=True)):
            letters[row, qubit] = _LETTERS[letter]
            weights[row, qubit] += 1 << bit
    ends = np.cumsum([1 << len(qubits) for _, qubits in bases], dtype=np.int64)
    return letters, weights, ends

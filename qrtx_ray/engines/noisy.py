"""Noisy circuits of few qubits on the noisy kernel: many rows in one call, or a row that takes long segment by segment."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.cost import noisy_segments
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.engines.opcodes import matrix_table
from qrtx_ray.engines.pauli_channels import PauliChannels
from qrtx_ray.engines.pauli_kernel import PAIR, noisy_distributions, noisy_reading, noisy_segment
from qrtx_ray.engines.small import Reading
from qrtx_ray.engines.stages import CheckpointRefused, Stage
from qrtx_ray.errors import ExecuteError

__all__ = ["noisy_in_segments", "noisy_table"]

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
    channels = _fitting(program, values, bases, calibration)
    steps = None if channels is None else channels.steps(program)
    if channels is None or steps is None:
        return None
    made = channels.channels()
    picks, columns = _reading(bases)
    out = np.empty((len(values), int(columns[-1])))
    noisy_distributions(
        program.num_qubits,
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


def noisy_in_segments(
    program: CircuitProgram,
    values: Float,
    bases: tuple[Reading, ...],
    calibration: Calibration,
    *,
    stage: Stage,
    bulk: Callable[[Stage, int], memoryview],
    on_step: Callable[[float], None],
) -> list[Float] | None:
    """What `noisy_table` gives for one row, the same bits, in as many segments as the cost law says.

    Args:
        values: Shape ``(num_slots,)``.
        stage: How far an earlier run came; it has the state as its bulk, and what waits on the qubits.
        bulk: Gives a stage memory for the state, see `Course.bulk`.
        on_step: Gets the fraction done after each segment but the last. May raise.

    Raises:
        ExecuteError: As `noisy_table`.
        CheckpointRefused: `stage` is of another circuit, or without its state.
    """
    table = np.ascontiguousarray(values[: program.num_slots], dtype=np.float64).reshape(1, -1)
    channels = _fitting(program, table, bases, calibration)
    steps = None if channels is None else channels.steps(program)
    if channels is None or steps is None:
        return None
    count, segments, made = program.num_qubits, noisy_segments(program), channels.channels()
    pending, waits = stage.begin(segments, ((count, 16), np.float64), ((count,), np.uint8))
    if stage.done and stage.bulk is None:
        raise CheckpointRefused("the kept progress is without the state it needs")
    bounds = _bounds(steps, segments)
    state = np.frombuffer(bulk(stage, 8 << 2 * count), np.float64)
    waiting = waits.astype(np.int64)
    rates = channels.rates[list(program.active_qubits)]
    while stage.done < segments:
        begin, end = bounds[stage.done], bounds[stage.done + 1]
        arrays = (steps, table, matrix_table(), rates, made.singles, made.ends, made.entries, made.factors)
        noisy_segment(state, begin, end, *arrays, waiting, pending)
        waits[:] = waiting
        stage.advance()
        if stage.done < segments:
            on_step(stage.done / segments)
    picks, columns = _reading(bases)
    out = np.empty((1, int(columns[-1])))
    noisy_reading(state, picks, columns, out)
    stage.release()
    return np.split(out[0], columns[1:-1].tolist())


def _bounds(steps: Int64, segments: int) -> list[int]:
    """Operations where segments begin and end: all take about as long, for gates on two qubits are what takes time."""
    spent = np.cumsum(np.where(steps[:, 0] == PAIR, 64, 1))
    wanted = spent[-1] * np.arange(1, segments) // segments if len(steps) else np.zeros(segments - 1)
    return [0, *np.searchsorted(spent, wanted).tolist(), len(steps)]


def _fitting(
    program: CircuitProgram, values: Float, bases: tuple[Reading, ...], calibration: Calibration
) -> PauliChannels | None:
    """The channels of the noise, or None where a qubit is read twice."""
    count = program.num_qubits
    if values.shape[1] < program.num_slots or not all(0 <= qubit < count for _, qubits in bases for qubit in qubits):
        msg = f"parameters or observables do not fit the circuit's {count} qubits and {program.num_slots} parameters"
        raise ExecuteError(msg, field="circuit")
    if any(len(set(qubits)) < len(qubits) for _, qubits in bases):
        return None
    return PauliChannels.of(calibration)


@lru_cache(maxsize=256)
def _reading(bases: tuple[Reading, ...]) -> tuple[Int64, Int64]:
    picks = np.full((len(bases), max(len(qubits) for _, qubits in bases)), -1, dtype=np.int64)
    for row, (letters, qubits) in enumerate(bases):
        picks[row, : len(qubits)] = [
            _LETTERS[letter] << 2 * qubit for letter, qubit in zip(letters, qubits, strict=True)
        ]
    columns = np.cumsum([0, *(1 << len(qubits) for _, qubits in bases)], dtype=np.int64)
    return picks, columns

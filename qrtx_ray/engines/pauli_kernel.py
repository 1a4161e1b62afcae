"""The noisy kernel: density matrices of few qubits as vectors of Pauli expectation values, in machine code; see `kernel.py`.

In this form a state is ``4**n`` real numbers, a noisy gate on one qubit a real 4×4 matrix, and most noisy gates on two qubits
some 25 of 256 numbers: the gates of devices permute Paulis, depolarising scales them, and relaxation adds a few terms. A
measurement in X or Y costs the same as one in Z, for it only picks other components.

Index convention: digit q of an index in base 4 is the Pauli (I, X, Y, Z) on qubit q.
"""

from __future__ import annotations

from math import cos, exp, sin

import numpy as np
import numpy.typing as npt
from numba import complex128, float64, int64, void

from qrtx_ray.engines.jit import array, entry_point, part
from qrtx_ray.engines.kernel import P, single_matrix

__all__ = ["CHANNEL", "IDLE", "PAIR", "TURN", "WAIT", "noisy_distributions", "noisy_reading", "noisy_segment"]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]

# What an operation does: nothing; a table's channel on one qubit; a rotation and then such a channel, if any; relaxation for a
# time; a table's channel on two qubits.
IDLE, CHANNEL, TURN, WAIT, PAIR = range(5)


@part
def _await(qubit: int, waiting: Integers, pending: Floats, m: Floats, at: int) -> None:
    """Multiply the 4×4 matrix ``m[at]`` onto the one that waits on `qubit`."""
    if not waiting[qubit]:
        waiting[qubit] = 1
        for k in range(16):
            pending[qubit, k] = m[at, k]
        return
    for column in range(4):
        a, b, c, d = (
            pending[qubit, column],
            pending[qubit, 4 + column],
            pending[qubit, 8 + column],
            pending[qubit, 12 + column],
        )
        for row in range(4):
            pending[qubit, 4 * row + column] = (
                m[at, 4 * row] * a + m[at, 4 * row + 1] * b + m[at, 4 * row + 2] * c + m[at, 4 * row + 3] * d
            )


@part
def _turn(number: int, values: Floats, row: int, first: int, table: Complexes, work: Complexes, m: Floats) -> None:
    """The ideal rotation `number` into ``m[0]``."""
    for k in range(16):
        m[0, k] = 0.0
    m[0, 0] = 1.0
    if number <= P:  # RZ too: they differ by a phase
        c, s = cos(values[row, first]), sin(values[row, first])
        m[0, 5], m[0, 6], m[0, 9], m[0, 10], m[0, 15] = c, -s, s, c, 1.0
        return
    single_matrix(number, values, row, first, table, work, 0)
    a, b, c_, d = work[0, 0], work[0, 1], work[0, 2].conjugate(), work[0, 3].conjugate()
    # Row 0, column 1 of U X U†, U Y U† and U Z U† holds x - iy of what X, Y and Z become; row 0, column 0 holds z.
    for column in range(1, 4):
        if column == 1:
            corner, diagonal = a * d + b * c_, 2.0 * (a * b.conjugate()).real
        elif column == 2:
            corner, diagonal = 1j * (b * c_ - a * d), 2.0 * (a * b.conjugate()).imag
        else:
            corner, diagonal = a * c_ - b * d, (a * a.conjugate()).real - (b * b.conjugate()).real
        m[0, 4 + column], m[0, 8 + column], m[0, 12 + column] = corner.real, -corner.imag, diagonal


@part
def _apply_single(state: Floats, qubit: int, m: Floats) -> None:
    """The 4×4 matrix ``m[qubit]`` on one qubit."""
    step = 1 << (2 * qubit)
    for block in range(state.size >> (2 * qubit + 2)):
        for k in range(step):
            i = (block << (2 * qubit + 2)) + k
            a, b, c, d = state[i], state[i + step], state[i + 2 * step], state[i + 3 * step]
            for row in range(4):
                state[i + row * step] = (
                    m[qubit, 4 * row] * a
                    + m[qubit, 4 * row + 1] * b
                    + m[qubit, 4 * row + 2] * c
                    + m[qubit, 4 * row + 3] * d
                )


@part
def _apply_pair(
    state: Floats, first: int, second: int, begin: int, end: int, entries: Integers, factors: Floats, held: Floats
) -> None:
    """The channel on two qubits whose entries ``16 * row + column`` are those from `begin` to `end`."""
    a, b = 2 * first, 2 * second
    low, high = (a, b) if a < b else (b, a)
    for k in range(state.size >> 4):
        i = ((k >> low) << (low + 2)) | (k & ((1 << low) - 1))
        i = ((i >> high) << (high + 2)) | (i & ((1 << high) - 1))
        for place in range(16):
            where = i + ((place & 3) << a) + ((place >> 2) << b)
            held[place] = state[where]
            state[where] = 0.0
        for entry in range(begin, end):
            row = entries[entry] >> 4
            state[i + ((row & 3) << a) + ((row >> 2) << b)] += factors[entry] * held[entries[entry] & 15]


@part
def _begin(state: Floats) -> None:
    """All qubits in 0: every Pauli of I and Z alone is 1."""
    for k in range(state.size):
        state[k] = 1.0 if (k ^ (k >> 1)) & 0x5555555555555555 == 0 else 0.0


@part
def _advance(
    state: Floats,
    begin: int,
    end: int,
    steps: Integers,
    values: Floats,
    row: int,
    table: Complexes,
    rates: Floats,
    singles: Floats,
    ends: Integers,
    entries: Integers,
    factors: Floats,
    waiting: Integers,
    pending: Floats,
) -> None:
    """The operations from `begin` to `end` (exclusive); what then waits on a qubit is not in the state yet."""
    m, held, work = np.zeros((1, 16)), np.empty(16), np.empty((1, 64), dtype=np.complex128)
    for index in range(begin, end):
        action, number, channel = steps[index, 0], steps[index, 1], steps[index, 2]
        a, b, slot = steps[index, 3], steps[index, 4], steps[index, 5]
        if action == CHANNEL:
            _await(a, waiting, pending, singles, channel)
        elif action == TURN:
            _turn(number, values, row, slot, table, work, m)
            _await(a, waiting, pending, m, 0)
            if channel >= 0:
                _await(a, waiting, pending, singles, channel)
        elif action == WAIT:
            kept, coherent = exp(-values[row, slot] * rates[a, 0]), exp(-values[row, slot] * rates[a, 1])
            for k in range(16):
                m[0, k] = 0.0
            m[0, 0], m[0, 5], m[0, 10], m[0, 12], m[0, 15] = 1.0, coherent, coherent, 1.0 - kept, kept
            _await(a, waiting, pending, m, 0)
        elif action == PAIR:
            for k in range(3, 5):
                qubit = steps[index, k]
                if waiting[qubit]:
                    _apply_single(state, qubit, pending)
                    waiting[qubit] = 0
            _apply_pair(state, a, b, ends[channel], ends[channel + 1], entries, factors, held)


@part
def _finish(state: Floats, waiting: Integers, pending: Floats) -> None:
    """Apply what waits."""
    for qubit in range(waiting.size):
        if waiting[qubit]:
            _apply_single(state, qubit, pending)
            waiting[qubit] = 0


@part
def _read(state: Floats, picks: Integers, columns: Integers, out: Floats, row: int) -> None:
    """The distributions of all bases into a row of `out`."""
    for basis in range(picks.shape[0]):
        begin, size = columns[basis], columns[basis + 1] - columns[basis]
        bits = 0
        while 1 << bits < size:
            bits += 1
        for outcome in range(size):
            component = 0
            for bit in range(bits):
                component += picks[basis, bit] if outcome >> bit & 1 else 0
            out[row, begin + outcome] = state[component] / size
        # From expectation values of products of ±1 to probabilities.
        for bit in range(bits):
            for k in range(size >> 1):
                i = begin + (((k >> bit) << (bit + 1)) | (k & ((1 << bit) - 1)))
                x, y = out[row, i], out[row, i + (1 << bit)]
                out[row, i], out[row, i + (1 << bit)] = x + y, x - y


@entry_point(
    void,
    int64,
    array(int64, 2),
    array(float64, 2),
    array(complex128, 2),
    array(float64, 2),
    array(float64, 2),
    array(int64, 1),
    array(int64, 1),
    array(float64, 1),
    array(int64, 2),
    array(int64, 1),
    array(float64, 2, filled=True),
)
def noisy_distributions(
    num_qubits: int,
    steps: Integers,
    values: Floats,
    table: Complexes,
    rates: Floats,
    singles: Floats,
    ends: Integers,
    entries: Integers,
    factors: Floats,
    picks: Integers,
    columns: Integers,
    out: Floats,
) -> None:
    """Outcome probabilities of a noisy circuit for all parameter rows and measurement bases; indices are not checked.

    Args:
        num_qubits: At least 1.
        steps: Shape ``(num_ops, 6)``: what to do, the rotation's number, the channel (-1: none), two qubits, first slot.
        values: Shape ``(rows, num_slots)``.
        table: `opcodes.matrix_table`.
        rates: ``1 / T1`` and ``1 / T2`` of each qubit, shape ``(num_qubits, 2)``, in 1/s.
        singles: Channels on one qubit, shape ``(channels, 16)``.
        ends: Entries of pair channel c are those from ``ends[c]`` to ``ends[c + 1]``.
        entries: ``16 * row + column`` of what is not zero in the pair channels.
        factors: The values there.
        picks: Shape ``(bases, most qubits of a basis)``: the component that says bit i of an outcome, or -1.
        columns: Shape ``(bases + 1,)``: columns of `out` where the bases begin and end.
        out: Shape ``(rows, columns[-1])``, filled.
    """
    state = np.empty(1 << (2 * num_qubits))
    waiting = np.zeros(num_qubits, dtype=np.int64)
    pending = np.empty((num_qubits, 16))
    for row in range(values.shape[0]):
        _begin(state)
        _advance(
            state,
            0,
            steps.shape[0],
            steps,
            values,
            row,
            table,
            rates,
            singles,
            ends,
            entries,
            factors,
            waiting,
            pending,
        )
        _finish(state, waiting, pending)
        _read(state, picks, columns, out, row)


@entry_point(
    void,
    array(float64, 1, filled=True),
    int64,
    int64,
    array(int64, 2),
    array(float64, 2),
    array(complex128, 2),
    array(float64, 2),
    array(float64, 2),
    array(int64, 1),
    array(int64, 1),
    array(float64, 1),
    array(int64, 1, filled=True),
    array(float64, 2, filled=True),
)
def noisy_segment(
    state: Floats,
    begin: int,
    end: int,
    steps: Integers,
    values: Floats,
    table: Complexes,
    rates: Floats,
    singles: Floats,
    ends: Integers,
    entries: Integers,
    factors: Floats,
    waiting: Integers,
    pending: Floats,
) -> None:
    """Some operations of a noisy circuit with its first parameter row; the others are as for `noisy_distributions`.

    Args:
        state: Shape ``(4**num_qubits,)``; between two segments it is, with the last two, all there is.
        begin / end: Operations from 0, which makes the state, to their number, which completes it.
        waiting: Whether anything waits on a qubit, shape ``(num_qubits,)``.
        pending: What waits there, shape ``(num_qubits, 16)``.
    """
    if begin == 0:
        _begin(state)
        for qubit in range(waiting.size):
            waiting[qubit] = 0
    _advance(state, begin, end, steps, values, 0, table, rates, singles, ends, entries, factors, waiting, pending)
    if end == steps.shape[0]:
        _finish(state, waiting, pending)


@entry_point(void, array(float64, 1), array(int64, 2), array(int64, 1), array(float64, 2, filled=True))
def noisy_reading(state: Floats, picks: Integers, columns: Integers, out: Floats) -> None:
    """What `noisy_distributions` reads from a state, into the first row of `out`."""
    _read(state, picks, columns, out, 0)

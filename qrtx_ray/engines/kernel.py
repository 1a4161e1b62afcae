"""The state-vector kernel: one compiled function that runs any small circuit from its arrays, without planning.

A five-qubit state has 32 amplitudes, so that a gate costs less than the telling of it: what a simulator does around its
gates (objects, plans, configuration) is a hundred times the arithmetic. Here a whole circuit with all its parameter rows
and measurement bases is one call of machine code, which Numba makes when this module is imported and keeps in its cache.
No threads are started and the GIL is free meanwhile, so the module may be imported before a process forks.

Real and imaginary parts stand in arrays of their own, which the compiler turns into vector instructions. Runs of one-qubit
gates are multiplied into one matrix, which is applied when a gate on more qubits, or the end, needs it. Matrices stand row
by row in the rows of one work array: row `q` is what waits on qubit q, the last row is the gate at hand.

Slices, `min` and the like are avoided: each costs Numba a tenth of a second to translate.
"""

from __future__ import annotations

from math import cos, sin, sqrt

import numpy as np
import numpy.typing as npt
from numba import complex128, float64, int64

from qrtx_ray.engines.jit import array, entry_point, part

__all__ = [
    "CONTROLLED",
    "CONTROLLED_SWAP",
    "CU",
    "FIRST_ANGLED",
    "OK",
    "ONE",
    "RX",
    "RXX",
    "RY",
    "RYY",
    "RZ",
    "RZX",
    "RZZ",
    "SKIP",
    "SWAP",
    "THREE",
    "TWICE_CONTROLLED",
    "TWO",
    "U2",
    "XX_MINUS_YY",
    "XX_PLUS_YY",
    "P",
    "R",
    "U",
    "distributions",
    "single_matrix",
]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]

OK = -1
"""What `distributions` returns when no operation was malformed."""

# How a gate acts on its qubits: not at all; a 2×2 matrix; the same on the last qubit where the one or two before it are 1; an
# exchange, also controlled; a 4×4 matrix; an 8×8 matrix.
SKIP, ONE, CONTROLLED, TWICE_CONTROLLED, SWAP, CONTROLLED_SWAP, TWO, THREE = range(8)

FIRST_ANGLED = 64
"""Matrices with smaller numbers are rows of a table; these have formulas of angles. `CU` is `U` times a phase."""
RZ, P, RX, RY, R, U2, U, CU, RXX, RYY, RZZ, RZX, XX_MINUS_YY, XX_PLUS_YY = range(FIRST_ANGLED, 78)

_NARROW = 8  # steps below this are shorter than a vector: one flat loop is faster than many tiny ones


@part
def single_matrix(
    number: int, values: Floats, row: int, first: int, table: Complexes, work: Complexes, at: int
) -> None:
    """The 2×2 matrix `number` into ``work[at]``."""
    if number < FIRST_ANGLED:
        for k in range(4):
            work[at, k] = table[number, k]
        return
    angle = values[row, first]
    c, s = cos(0.5 * angle), sin(0.5 * angle)
    phi = lam = 0.0
    if number == RZ:
        work[at, 0], work[at, 1], work[at, 2], work[at, 3] = complex(c, -s), 0j, 0j, complex(c, s)
        return
    if number == P:
        work[at, 0], work[at, 1], work[at, 2], work[at, 3] = 1 + 0j, 0j, 0j, complex(cos(angle), sin(angle))
        return
    if number == RX:
        work[at, 0] = work[at, 3] = complex(c, 0.0)
        work[at, 1] = work[at, 2] = complex(0.0, -s)
        return
    if number == R:
        phi = values[row, first + 1] - 0.5 * np.pi
        lam = -phi
    elif number == U2:
        c = s = sqrt(0.5)
        phi, lam = angle, values[row, first + 1]
    elif number != RY:
        phi, lam = values[row, first + 1], values[row, first + 2]
    work[at, 0] = complex(c, 0.0)
    work[at, 1] = complex(-s * cos(lam), -s * sin(lam))
    work[at, 2] = complex(s * cos(phi), s * sin(phi))
    work[at, 3] = complex(c * cos(phi + lam), c * sin(phi + lam))
    if number == CU:
        gamma = values[row, first + 3]
        phase = complex(cos(gamma), sin(gamma))
        for k in range(4):
            work[at, k] *= phase


@part
def _dense(
    number: int, values: Floats, row: int, first: int, table: Complexes, size: int, work: Complexes, at: int
) -> None:
    """The matrix `number` on two or three qubits, with `size` rows, into ``work[at]``."""
    if number < FIRST_ANGLED:
        for k in range(size * size):
            work[at, k] = table[number, k]
        return
    c, s = cos(0.5 * values[row, first]), sin(0.5 * values[row, first])
    turn = complex(0.0, -s)
    for k in range(16):
        work[at, k] = complex(c, 0.0) if k % 5 == 0 else 0j
    if number == RXX:
        work[at, 3] = work[at, 6] = work[at, 9] = work[at, 12] = turn
    elif number == RYY:
        work[at, 3] = work[at, 12] = -turn
        work[at, 6] = work[at, 9] = turn
    elif number == RZZ:
        work[at, 0] = work[at, 15] = complex(c, -s)
        work[at, 5] = work[at, 10] = complex(c, s)
    elif number == RZX:
        work[at, 2] = work[at, 8] = turn
        work[at, 7] = work[at, 13] = -turn
    else:
        beta = values[row, first + 1]
        phase = complex(cos(beta), sin(beta))
        if number == XX_MINUS_YY:
            work[at, 5] = work[at, 10] = 1 + 0j
            work[at, 3], work[at, 12] = turn * phase.conjugate(), turn * phase
        else:
            work[at, 0] = work[at, 15] = 1 + 0j
            work[at, 6], work[at, 9] = turn * phase.conjugate(), turn * phase


@part
def _apply_single(re: Floats, im: Floats, qubit: int, work: Complexes, at: int) -> None:
    """The 2×2 matrix ``work[at]`` on one qubit."""
    a, b, c, d = work[at, 0].real, work[at, 1].real, work[at, 2].real, work[at, 3].real
    e, f, g, h = work[at, 0].imag, work[at, 1].imag, work[at, 2].imag, work[at, 3].imag
    step = 1 << qubit
    # One loop over the pairs where they are scattered; where they lie side by side, loops that can be vectorised.
    blocks, inner = (1, re.size >> 1) if step < _NARROW else (re.size >> (qubit + 1), step)
    for block in range(blocks):
        base = block << (qubit + 1)
        for k in range(inner):
            i = base + k if step >= _NARROW else ((k >> qubit) << (qubit + 1)) | (k & (step - 1))
            j = i + step
            x, y, u, v = re[i], im[i], re[j], im[j]
            re[i] = a * x - e * y + b * u - f * v
            im[i] = a * y + e * x + b * v + f * u
            re[j] = c * x - g * y + d * u - h * v
            im[j] = c * y + g * x + d * v + h * u


@part
def _apply_controlled(re: Floats, im: Floats, first: int, second: int, target: int, work: Complexes, at: int) -> None:
    """The 2×2 matrix ``work[at]`` on `target` where the qubits `first` and `second` (they may be the same) are 1."""
    a, b, c, d = work[at, 0], work[at, 1], work[at, 2], work[at, 3]
    step, wanted = 1 << target, (1 << first) | (1 << second)
    flips = a == 0 and b == 1 and c == 1 and d == 0
    low, high = (first, target) if first < target else (target, first)
    for k in range(re.size >> 2):
        i = ((k >> low) << (low + 1)) | (k & ((1 << low) - 1))
        i = ((i >> high) << (high + 1)) | (i & ((1 << high) - 1)) | (1 << first)
        if i & wanted != wanted:
            continue
        j = i + step
        if flips:
            re[i], re[j] = re[j], re[i]
            im[i], im[j] = im[j], im[i]
        else:
            x, y = complex(re[i], im[i]), complex(re[j], im[j])
            u, v = a * x + b * y, c * x + d * y
            re[i], im[i], re[j], im[j] = u.real, u.imag, v.real, v.imag


@part
def _apply_swap(re: Floats, im: Floats, control: int, a: int, b: int) -> None:
    """Exchange two qubits, where `control` is 1 unless it is negative."""
    wanted = 0 if control < 0 else 1 << control
    bit_a, bit_b = 1 << a, 1 << b
    for i in range(re.size):
        if i & bit_a and not i & bit_b and i & wanted == wanted:
            j = i ^ bit_a ^ bit_b
            re[i], re[j] = re[j], re[i]
            im[i], im[j] = im[j], im[i]


@part
def _apply_dense(
    re: Floats, im: Floats, a: int, b: int, c: int, work: Complexes, at: int, held: Complexes, places: Integers
) -> None:
    """The matrix ``work[at]`` on two qubits (`c` is negative) or three; bit 0 of its index is `a`."""
    size = 4 if c < 0 else 8
    third = 0 if c < 0 else 1 << c
    for k in range(size):
        places[k] = (k & 1) << a | (k >> 1 & 1) << b | (k >> 2) * third
    mask = places[size - 1]
    for base in range(re.size):
        if base & mask:
            continue
        for k in range(size):
            held[k] = complex(re[base + places[k]], im[base + places[k]])
        for out in range(size):
            total = 0j
            for k in range(size):
                total += work[at, out * size + k] * held[k]
            re[base + places[out]], im[base + places[out]] = total.real, total.imag


@part
def _await(qubit: int, waiting: Integers, work: Complexes, at: int) -> None:
    """Multiply the 2×2 matrix ``work[at]`` onto the one that waits on `qubit`."""
    if not waiting[qubit]:
        waiting[qubit] = 1
        for k in range(4):
            work[qubit, k] = work[at, k]
        return
    for k in range(2):
        x, y = work[qubit, k], work[qubit, 2 + k]
        work[qubit, k] = work[at, 0] * x + work[at, 1] * y
        work[qubit, 2 + k] = work[at, 2] * x + work[at, 3] * y


@part
def _first_malformed(num_qubits: int, forms: Integers, ops: Integers, num_slots: int) -> int:
    """Index of the first operation that would reach outside the arrays, or `OK`."""
    for index in range(ops.shape[0]):
        kind = ops[index, 0]
        if kind < 0 or kind >= forms.shape[0]:
            return index
        width, angles = forms[kind, 2], forms[kind, 3]
        if width == 0:
            continue
        a, b, c, first = ops[index, 1], ops[index, 2], ops[index, 3], ops[index, 4]
        for k in range(1, 4):
            qubit = ops[index, k]
            if (qubit >= num_qubits) or ((qubit >= 0) != (k <= width)):
                return index
        if (width > 1 and a == b) or (width > 2 and a == c) or (width > 2 and b == c):
            return index
        if ops[index, 5] != angles or (angles > 0 and (first < 0 or first + angles > num_slots)):
            return index
    return OK


@part
def _evolve(
    forms: Integers,
    ops: Integers,
    values: Floats,
    row: int,
    table: Complexes,
    re: Floats,
    im: Floats,
    waiting: Integers,
    work: Complexes,
    held: Complexes,
    places: Integers,
) -> None:
    """The circuit's state into `re` and `im`."""
    at = waiting.size
    for k in range(re.size):
        re[k] = im[k] = 0.0
    re[0] = 1.0
    for index in range(ops.shape[0]):
        shape, number = forms[ops[index, 0], 0], forms[ops[index, 0], 1]
        if shape == SKIP:
            continue
        a, b, c, first = ops[index, 1], ops[index, 2], ops[index, 3], ops[index, 4]
        if shape == ONE:
            single_matrix(number, values, row, first, table, work, at)
            _await(a, waiting, work, at)
            continue
        for k in range(1, 4):
            qubit = ops[index, k]
            if qubit >= 0 and waiting[qubit]:
                _apply_single(re, im, qubit, work, qubit)
                waiting[qubit] = 0
        if shape <= TWICE_CONTROLLED:
            single_matrix(number, values, row, first, table, work, at)
            _apply_controlled(re, im, a, a if shape == CONTROLLED else b, b if shape == CONTROLLED else c, work, at)
        elif shape == SWAP:
            _apply_swap(re, im, -1, a, b)
        elif shape == CONTROLLED_SWAP:
            _apply_swap(re, im, a, b, c)
        else:
            _dense(number, values, row, first, table, 4 if shape == TWO else 8, work, at)
            _apply_dense(re, im, a, b, c, work, at, held, places)
    for qubit in range(waiting.size):
        if waiting[qubit]:
            _apply_single(re, im, qubit, work, qubit)
            waiting[qubit] = 0


@part
def _turn(re: Floats, im: Floats, letters: Integers, basis: int, work: Complexes, at: int) -> None:
    """Make a Pauli basis (1 for X, 2 for Y, else Z) the computational one."""
    root = sqrt(0.5)
    for qubit in range(letters.shape[1]):
        letter = letters[basis, qubit]
        if letter == 0:
            continue
        phase = complex(root, 0.0) if letter == 1 else complex(0.0, -root)
        work[at, 0] = work[at, 2] = complex(root, 0.0)
        work[at, 1], work[at, 3] = phase, -phase
        _apply_single(re, im, qubit, work, at)


@part
def _distribute(
    re: Floats, im: Floats, weights: Integers, basis: int, places: Integers, out: Floats, row: int, begin: int
) -> None:
    """Probabilities of outcomes into ``out[row, begin:]``, which is zero: a qubit that reads 1 adds its weight."""
    places[0] = begin
    for qubit in range(weights.shape[1]):
        half = 1 << qubit
        for k in range(half):
            places[half + k] = places[k] + weights[basis, qubit]
    for k in range(re.size):
        out[row, places[k]] += re[k] * re[k] + im[k] * im[k]


@entry_point(
    int64,
    int64,
    array(int64, 2),
    array(int64, 2),
    array(float64, 2),
    array(complex128, 2),
    array(int64, 2),
    array(int64, 2),
    array(int64, 1),
    array(float64, 2, filled=True),
)
def distributions(
    num_qubits: int,
    forms: Integers,
    ops: Integers,
    values: Floats,
    table: Complexes,
    letters: Integers,
    weights: Integers,
    ends: Integers,
    out: Floats,
) -> int:
    """Outcome probabilities of a circuit for all parameter rows and measurement bases.

    Args:
        num_qubits: At least 1.
        forms: `opcodes.forms_of` the program's names.
        ops: The program's operations.
        values: Shape ``(rows, num_slots)``.
        table: `opcodes.matrix_table`.
        letters: Shape ``(bases, num_qubits)``: 1 to read a qubit in X, 2 in Y, 0 in Z.
        weights: Shape ``(bases, num_qubits)``: what each qubit adds to the outcome when it reads 1.
        ends: Shape ``(bases,)``: column of `out` behind the outcomes of each basis.
        out: Zeros of shape ``(rows, ends[-1])``, filled.

    Returns:
        `OK`, or the index of a malformed operation; then `out` is left as it is.
    """
    bad = _first_malformed(num_qubits, forms, ops, values.shape[1])
    if bad != OK:
        return bad
    size = 1 << num_qubits
    re, im, re_basis, im_basis = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    places = np.empty(size + 8, dtype=np.int64)
    waiting = np.zeros(num_qubits, dtype=np.int64)
    work = np.empty((num_qubits + 1, 64), dtype=np.complex128)
    held = np.empty(8, dtype=np.complex128)
    for row in range(values.shape[0]):
        _evolve(forms, ops, values, row, table, re, im, waiting, work, held, places)
        begin = 0
        for basis in range(letters.shape[0]):
            for k in range(size):
                re_basis[k], im_basis[k] = re[k], im[k]
            _turn(re_basis, im_basis, letters, basis, work, num_qubits)
            _distribute(re_basis, im_basis, weights, basis, places, out, row, begin)
            begin = ends[basis]
    return OK

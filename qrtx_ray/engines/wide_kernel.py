"""The wide kernel: passes over a state vector that does not fit a cache, reading it, and drawing from it.

A gate on a vector of gigabytes costs what moving the vector through the processor costs. So gates are applied in *passes*
(`wide_plan.py`): a pass picks some qubits, the vector falls into blocks in which only these differ, and each block is copied
into a work array that fits the second-level cache, gets all gates of the pass and is copied back. Blocks do not know of each
other: they may be done in any order, by any number of threads, and the vector between two blocks is a state of its own right.

Real and imaginary parts stand in two halves of one array. In the work array the lowest `LANE_BITS` bits of an index are
qubits on which no gate of the pass acts, so that every gate acts on whole vectors (`wide_vectors.py`). Where gates act on the
lowest qubits of the state the block is transposed on its way. See `jit.py` about how the machine code is made.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import float64, int64, void

from qrtx_ray.engines.jit import array, entry_point, part
from qrtx_ray.engines.wide_vectors import LANE_BITS, LANES, copied_vector, matrix_on, transposed_tile

__all__ = ["CHUNK_BITS", "DIAGONAL", "OP_FIELDS", "chunk_weights", "locate", "marginal", "parity", "sweep"]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CHUNK_BITS = 10
"""Probabilities are summed by chunks of so many amplitudes, in the order of the vector."""
OP_FIELDS = 8
"""Kind, number of bits, the bits ascending (three), bits that are 1, first offset, first matrix entry.

The kind is twice the number of targets, plus 1 if the matrix is real. A `DIAGONAL` may have more bits than three: they stand among
the offsets, and the entries, real and imaginary part of each, follow the bits' values.
"""
DIAGONAL = 8

_TABLE = 64  # vectors
_ON_1, _ON_1_REAL = matrix_on(1, real=False), matrix_on(1, real=True)
_ON_2, _ON_2_REAL = matrix_on(2, real=False), matrix_on(2, real=True)
_ON_4, _ON_4_REAL = matrix_on(4, real=False), matrix_on(4, real=True)
_ON_8, _ON_8_REAL = matrix_on(8, real=False), matrix_on(8, real=True)


@part
def _spread(number: int, places: Integers) -> int:
    """The index whose bits at `places` are those of `number`."""
    index = 0
    for k in range(places.size):
        index |= (number >> k & 1) << places[k]
    return index


@part
def _base(group: int, ops: Integers, op: int) -> int:
    """Index of the first amplitude of a group: its bits, with zeros put in where the gate's are, and the bits that are 1."""
    index = group << LANE_BITS
    for k in range(ops[op, 1]):
        bit = ops[op, 2 + k]
        index = ((index >> bit) << (bit + 1)) | (index & ((1 << bit) - 1))
    base: int = index | ops[op, 5]
    return base


@part
def _chosen(index: int, bits: Integers, first: int, count: int) -> int:
    """The number whose bit k is bit ``bits[first + k]`` of `index`."""
    number = 0
    for k in range(count):
        number |= (index >> bits[first + k] & 1) << k
    return number


@part
def _apply_diagonal(re: Floats, im: Floats, ops: Integers, op: int, offsets: Integers, matrices: Floats) -> None:
    """Many phases in one go: what the lower bits choose of them is looked up, what the upper ones choose is constant for a while."""
    count, at, entry = ops[op, 1], ops[op, 6], ops[op, 7]
    zero = at + count  # behind the bits stands the offset of the only row
    low = np.empty(_TABLE, dtype=np.int64)
    for k in range(_TABLE):
        low[k] = _chosen(k << LANE_BITS, offsets, at, count)
    for begin in range(0, re.size, _TABLE * LANES):
        high = entry + 2 * _chosen(begin, offsets, at, count)
        for k in range(_TABLE):
            _ON_1(re, im, begin + k * LANES, offsets, zero, matrices, high + 2 * low[k])


@part
def _apply(re: Floats, im: Floats, ops: Integers, op: int, offsets: Integers, matrices: Floats) -> None:
    """One gate on a work array."""
    kind, at, entry = ops[op, 0], ops[op, 6], ops[op, 7]
    groups = re.size >> (ops[op, 1] + LANE_BITS)
    if kind == 4:
        for group in range(groups):
            _ON_4(re, im, _base(group, ops, op), offsets, at, matrices, entry)
    elif kind == 2:
        for group in range(groups):
            _ON_2(re, im, _base(group, ops, op), offsets, at, matrices, entry)
    elif kind == 0:
        for group in range(groups):
            _ON_1(re, im, _base(group, ops, op), offsets, at, matrices, entry)
    elif kind == 5:
        for group in range(groups):
            _ON_4_REAL(re, im, _base(group, ops, op), offsets, at, matrices, entry)
    elif kind == 3:
        for group in range(groups):
            _ON_2_REAL(re, im, _base(group, ops, op), offsets, at, matrices, entry)
    elif kind == 1:
        for group in range(groups):
            _ON_1_REAL(re, im, _base(group, ops, op), offsets, at, matrices, entry)
    elif kind == 6:
        for group in range(groups):
            _ON_8(re, im, _base(group, ops, op), offsets, at, matrices, entry)
    elif kind == DIAGONAL:
        _apply_diagonal(re, im, ops, op, offsets, matrices)
    else:
        for group in range(groups):
            _ON_8_REAL(re, im, _base(group, ops, op), offsets, at, matrices, entry)


@part
def _gather(state: Floats, base: int, held: Floats, run_bits: int, runs: Integers, lanes: Integers) -> None:
    """Copy a block of the state (one half of it) to a work array, see `sweep`."""
    if lanes.shape[0]:
        for tile in range(runs.size):
            transposed_tile(state, base + runs[tile], lanes[0], held, tile << (2 * LANE_BITS), lanes[1])
        return
    for run in range(runs.size):
        there, here = base + runs[run], run << run_bits
        for k in range(0, 1 << run_bits, LANES):
            copied_vector(state, there + k, held, here + k)


@part
def _scatter(state: Floats, base: int, held: Floats, run_bits: int, runs: Integers, lanes: Integers) -> None:
    """Copy it back."""
    if lanes.shape[0]:
        for tile in range(runs.size):
            transposed_tile(held, tile << (2 * LANE_BITS), lanes[1], state, base + runs[tile], lanes[0])
        return
    for run in range(runs.size):
        there, here = base + runs[run], run << run_bits
        for k in range(0, 1 << run_bits, LANES):
            copied_vector(held, here + k, state, there + k)


@entry_point(
    void,
    array(float64, 2, filled=True),
    int64,
    int64,
    array(int64, 1),
    int64,
    int64,
    array(int64, 1),
    array(int64, 2),
    array(int64, 2),
    array(int64, 1),
    array(float64, 1),
)
def sweep(
    state: Floats,
    first: int,
    last: int,
    outer: Integers,
    block_bits: int,
    run_bits: int,
    runs: Integers,
    lanes: Integers,
    ops: Integers,
    offsets: Integers,
    matrices: Floats,
) -> None:
    """The blocks `first` to `last` (exclusive) of one pass.

    Args:
        state: Shape ``(2, 2**n)``: real parts, imaginary parts; changed in place.
        first / last: Block numbers; there are ``2**len(outer)``.
        outer: Qubits that tell blocks apart, ascending.
        block_bits: Qubits of a block.
        run_bits: A run of so many bits stands in memory as it stands in the block (with `lanes` empty).
        runs: Where in the state the runs begin. With `lanes`: where the tiles of ``LANES * LANES`` amplitudes begin.
        lanes: Empty, or shape ``(2, LANES)``: how far the rows of a tile are apart in the state and in the block.
        ops: Gates in the block's own bits, shape ``(gates, OP_FIELDS)``.
        offsets: Offsets of matrix rows, for all gates.
        matrices: Matrix entries, for all gates.
    """
    re, im = np.empty(1 << block_bits), np.empty(1 << block_bits)
    for block in range(first, last):
        base = _spread(block, outer)
        _gather(state[0], base, re, run_bits, runs, lanes)
        _gather(state[1], base, im, run_bits, runs, lanes)
        for op in range(ops.shape[0]):
            _apply(re, im, ops, op, offsets, matrices)
        _scatter(state[0], base, re, run_bits, runs, lanes)
        _scatter(state[1], base, im, run_bits, runs, lanes)


@part
def _weight(state: Floats, index: int) -> float:
    weight: float = state[0, index] * state[0, index] + state[1, index] * state[1, index]
    return weight


@entry_point(void, array(float64, 2), array(int64, 1), array(float64, 1, filled=True))
def marginal(state: Floats, qubits: Integers, out: Floats) -> None:
    """Add to `out`, shape ``(2**k,)``, the distribution over k `qubits`; bit i of an outcome is the i-th of them."""
    low = np.zeros(1 << CHUNK_BITS, dtype=np.int64)
    for k in range(qubits.size):
        if qubits[k] < CHUNK_BITS:
            for index in range(low.size):
                low[index] |= (index >> qubits[k] & 1) << k
    for chunk in range(state.shape[1] >> CHUNK_BITS):
        begin, outcome = chunk << CHUNK_BITS, 0
        for k in range(qubits.size):
            if qubits[k] >= CHUNK_BITS:
                outcome |= (begin >> qubits[k] & 1) << k
        for index in range(low.size):
            out[outcome | low[index]] += _weight(state, begin | index)


@entry_point(void, array(float64, 2), int64, int64, int64, array(float64, 1, filled=True))
def parity(state: Floats, signed: int, kept: int, wanted: int, out: Floats) -> None:
    """Probabilities that a product of Paulis and projectors is +1, -1 and 0, into `out`, shape ``(3,)``.

    Args:
        signed: Bits of the qubits that a Pauli reads.
        kept: Bits of the qubits that a projector reads.
        wanted: Those of `kept` that have to be 1.
    """
    low = np.zeros(1 << CHUNK_BITS, dtype=np.int64)
    for index in range(low.size):
        for bit in range(CHUNK_BITS):
            low[index] ^= (index & signed) >> bit & 1
    mask = low.size - 1
    for k in range(3):
        out[k] = 0.0
    for chunk in range(state.shape[1] >> CHUNK_BITS):
        begin, odd = chunk << CHUNK_BITS, 0
        for bit in range(CHUNK_BITS, 63):
            odd ^= (begin & signed) >> bit & 1
        plus = minus = zero = 0.0
        for index in range(low.size):
            weight = _weight(state, begin | index)
            if ((begin | index) ^ wanted) & kept:
                zero += weight
            elif low[index & mask] ^ odd:
                minus += weight
            else:
                plus += weight
        out[0] += plus
        out[1] += minus
        out[2] += zero


@entry_point(void, array(float64, 2), array(float64, 1, filled=True))
def chunk_weights(state: Floats, sums: Floats) -> None:
    """Probability of each chunk of ``2**CHUNK_BITS`` amplitudes."""
    for chunk in range(sums.size):
        begin = chunk << CHUNK_BITS
        a = b = c = d = 0.0
        for index in range(begin, begin + (1 << CHUNK_BITS), 4):
            a += _weight(state, index)
            b += _weight(state, index + 1)
            c += _weight(state, index + 2)
            d += _weight(state, index + 3)
        sums[chunk] = (a + b) + (c + d)


@entry_point(
    void, array(float64, 2), array(float64, 1), array(float64, 1), array(int64, 1), array(int64, 1, filled=True)
)
def locate(state: Floats, sums: Floats, numbers: Floats, order: Integers, outcomes: Integers) -> None:
    """The basis state of each number: the first whose cumulative probability exceeds it.

    Args:
        state: As in `sweep`.
        sums: From `chunk_weights`; the numbers are scaled by their total.
        numbers: In [0, 1), shape ``(shots,)``.
        order: Indices of `numbers` in ascending order.
        outcomes: Filled. A basis state of probability zero is never among them.
    """
    total = 0.0
    for chunk in range(sums.size):
        total += sums[chunk]
    chunk = inside = last = 0
    below, reached = 0.0, -1.0  # the probability of all chunks before; up to and with the basis state `last`
    opened = -1
    for k in range(order.size):
        wanted = numbers[order[k]] * total
        while chunk < sums.size - 1 and below + sums[chunk] <= wanted:
            below += sums[chunk]
            chunk += 1
        if chunk != opened:
            opened, inside, reached, last = chunk, chunk << CHUNK_BITS, below, -1
        end = (chunk + 1) << CHUNK_BITS
        while inside < end and (last < 0 or reached <= wanted):
            weight = _weight(state, inside)
            if weight > 0.0:
                reached += weight
                last = inside
            inside += 1
        outcomes[order[k]] = last

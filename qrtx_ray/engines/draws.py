"""Random numbers, and outcomes made of them, in machine code; see `jit.py` about how it is made.

`fill_stream` is NumPy's Philox (4 words of 64 bits, ten rounds), number for number. Setting a NumPy generator to a key
takes longer than making a thousand numbers.

`invert` looks outcomes up in a distribution function. A binary search in 32 outcomes takes five branches that no processor
can foresee. With a guide table, which says for each of as many equal parts of [0, 1) where its search begins, one or two
are left.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import float64, int64, uint64, void

from qrtx_ray.engines.jit import array, entry_point, part

__all__ = ["confuse_in_place", "fill_stream", "invert"]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Key = npt.NDArray[np.uint64]

_MULTIPLIERS = uint64(0xD2E7470EE14C6C93), uint64(0xCA5A826395121157)
_KEY_STEPS = uint64(0x9E3779B97F4A7C15), uint64(0xBB67AE8584CAA73B)
_HALF, _LOW_HALF = uint64(32), uint64(0xFFFFFFFF)
_DROPPED_BITS, _UNIT = uint64(11), 1.0 / 2.0**53  # a float64 holds 53 bits


@part
def _high_product(a: np.uint64, b: np.uint64) -> np.uint64:
    """The upper 64 bits of the product of two words."""
    a_low, a_high, b_low, b_high = a & _LOW_HALF, a >> _HALF, b & _LOW_HALF, b >> _HALF
    middle = a_high * b_low + (a_low * b_low >> _HALF)
    other = a_low * b_high + (middle & _LOW_HALF)
    return a_high * b_high + (middle >> _HALF) + (other >> _HALF)


@entry_point(void, array(uint64, 1), int64, array(float64, 1, filled=True))
def fill_stream(key: Key, start: int, numbers: Floats) -> None:
    """Numbers ``start, start + 1, …`` in [0, 1) of the stream with this key, shape ``(2,)``, into `numbers`."""
    end = start + numbers.size
    for block in range(start >> 2, (end + 3) >> 2):
        # NumPy counts before it makes the four numbers of a block.
        a, b, c, d = uint64(block) + uint64(1), uint64(0), uint64(0), uint64(0)
        low, high = key[0], key[1]
        for _ in range(10):
            first, second = _high_product(_MULTIPLIERS[0], a), _high_product(_MULTIPLIERS[1], c)
            a, b, c, d = second ^ b ^ low, _MULTIPLIERS[1] * c, first ^ d ^ high, _MULTIPLIERS[0] * a
            low += _KEY_STEPS[0]
            high += _KEY_STEPS[1]
        place = (block << 2) - start
        for word in (a, b, c, d):
            if 0 <= place < numbers.size:
                numbers[place] = (word >> _DROPPED_BITS) * _UNIT
            place += 1


@entry_point(void, array(float64, 1), array(float64, 1), array(int64, 1, filled=True))
def invert(probabilities: Floats, numbers: Floats, outcomes: Integers) -> None:
    """The outcome of each number: the first whose cumulative probability exceeds it.

    Args:
        probabilities: Shape ``(outcomes,)``, not empty; negative ones count as 0. They are scaled by their sum, so that
            rounding never leaves a number beyond the last outcome.
        numbers: In [0, 1).
        outcomes: Shape of `numbers`, filled. An outcome of probability zero is never among them.
    """
    size = probabilities.size
    cumulative = np.empty(size)
    total = 0.0
    for k in range(size):
        total += max(0.0, probabilities[k])
        cumulative[k] = total
    parts = min(numbers.size, size)
    width = total / parts if parts else 0.0
    guide = np.empty(parts, dtype=np.int64)
    place = 0
    for number in range(parts):
        while place < size - 1 and cumulative[place] <= width * number:
            place += 1
        guide[number] = place
    for k in range(numbers.size):
        wanted = numbers[k] * total
        place = guide[min(int64(numbers[k] * parts), parts - 1)]
        # Rounding may have put the number into a part too far.
        while place > 0 and cumulative[place - 1] > wanted:
            place -= 1
        while place < size - 1 and cumulative[place] <= wanted:
            place += 1
        outcomes[k] = place


@entry_point(void, array(float64, 1, filled=True), array(float64, 2))
def confuse_in_place(probabilities: Floats, flips: Floats) -> None:
    """Invert bit i of outcomes with probability ``flips[0, i]`` if it is 0 and ``flips[1, i]`` if it is 1."""
    for bit in range(flips.shape[1]):
        of_0, of_1 = flips[0, bit], flips[1, bit]
        for k in range(probabilities.size >> 1):
            i = ((k >> bit) << (bit + 1)) | (k & ((1 << bit) - 1))
            x, y = probabilities[i], probabilities[i + (1 << bit)]
            probabilities[i] = (1.0 - of_0) * x + of_1 * y
            probabilities[i + (1 << bit)] = of_0 * x + (1.0 - of_1) * y

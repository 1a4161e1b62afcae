"""The sampler: one stream of random numbers for each (job seed, PUB, row, purpose), and outcomes from a distribution.

A row's samples depend on nothing but its key: the stream is a Philox counter generator whose key is a hash, so shot k of
a row is the k-th number of its stream whatever else runs, and a run that stops after some shots continues where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.program import Register
from qrtx_ray.engines.draws import confuse_in_place, fill_stream, invert

__all__ = ["Outcomes", "confuse", "derived_seed", "pack_bits", "pack_outcomes", "sample", "uniforms"]

Float = npt.NDArray[np.float64]
Outcomes = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

_LARGEST_TABLE = 12  # measured qubits; 4096 outcomes cost 0.1 ms to tabulate, once for a measure map


def uniforms(seed: int, *key: int, count: int, start: int = 0) -> Float:
    """Numbers ``start .. start + count`` of the stream named by `seed` and `key`, in [0, 1)."""
    numbers = np.empty(count)
    fill_stream(np.frombuffer(_digest(seed, key, 16), dtype="<u8"), start, numbers)
    return numbers


def derived_seed(seed: int, *key: int) -> int:
    """A seed in [0, 2**62) for a simulator that draws its own numbers."""
    return int.from_bytes(_digest(seed, key, 8), "little") >> 2


def _digest(seed: int, key: tuple[int, ...], size: int) -> bytes:
    return blake2b(repr((seed, *key)).encode(), digest_size=size).digest()


def sample(probabilities: Float, numbers: Float) -> Outcomes:
    """An outcome (index into `probabilities`) for each uniform number."""
    outcomes = np.empty(len(numbers), dtype=np.int64)
    invert(np.ascontiguousarray(probabilities), np.ascontiguousarray(numbers), outcomes)
    return outcomes


def confuse(probabilities: Float, flips: Float) -> Float:
    """The distribution after readout: bit i of an outcome is inverted with ``flips[0, i]`` if 0 and ``flips[1, i]`` if 1.

    Args:
        probabilities: Shape ``(2**k,)``.
        flips: Shape ``(2, k)``.
    """
    confused = np.array(probabilities)
    confuse_in_place(confused, np.ascontiguousarray(flips))
    return confused


def pack_outcomes(outcomes: Outcomes, clbits: Sequence[int], registers: Sequence[Register]) -> list[Bytes]:
    """Register values of outcomes whose bit i was read into classical bit ``clbits[i]`` (the last writer wins).

    Returns:
        For each register an array ``(shots, ceil(size / 8))`` in the layout of Qiskit's `BitArray`: big-endian bytes,
        padding on the left. Classical bits nobody writes are 0.
    """
    source = {clbit: bit for bit, clbit in enumerate(clbits)}
    if len(clbits) <= _LARGEST_TABLE:
        maps = tuple(tuple(source.get(clbit, -1) for clbit in register.bits) for register in registers)
        return [table[outcomes] for table in _tables(len(clbits), maps)]
    zeros = np.zeros(len(outcomes), dtype=np.uint8)
    return [
        pack_bits(
            [(outcomes >> source[clbit] & 1).astype(np.uint8) if clbit in source else zeros for clbit in register.bits],
            len(outcomes),
        )
        for register in registers
    ]


def pack_bits(columns: Sequence[Bytes], shots: int) -> Bytes:
    """Pack bit columns (bit 0 of a register first, each of shape ``(shots,)``) into `BitArray` bytes."""
    size = len(columns)
    bits = np.zeros((shots, -(-size // 8) * 8), dtype=np.uint8)
    for bit, column in enumerate(columns):
        bits[:, -1 - bit] = column
    return np.packbits(bits, axis=1)


@lru_cache(maxsize=256)
def _tables(num_bits: int, maps: tuple[tuple[int, ...], ...]) -> tuple[Bytes, ...]:
    every = np.arange(1 << num_bits)
    zeros = np.zeros(len(every), dtype=np.uint8)
    return tuple(
        pack_bits([(every >> bit & 1).astype(np.uint8) if bit >= 0 else zeros for bit in bits], len(every))
        for bits in maps
    )

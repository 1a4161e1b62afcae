"""The sampler: one stream of random numbers for each (job seed, PUB, row, purpose), and outcomes from a distribution.

A row's samples depend on nothing but its key: the stream is a Philox counter generator whose key is a hash, so shot k of
a row is the k-th number of its stream whatever else runs, and a run that stops after some shots continues where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from threading import local

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.program import Register

__all__ = ["Outcomes", "confuse", "derived_seed", "pack_bits", "pack_outcomes", "sample", "uniforms"]

Float = npt.NDArray[np.float64]
Outcomes = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

_threads = local()
_LARGEST_TABLE = 12  # measured qubits; 4096 outcomes cost 0.1 ms to tabulate, once for a measure map


def uniforms(seed: int, *key: int, count: int, start: int = 0) -> Float:
    """Numbers ``start .. start + count`` of the stream named by `seed` and `key`, in [0, 1)."""
    generator = _generator()
    generator.bit_generator.state = {
        "bit_generator": "Philox",
        "state": {
            "counter": np.array([start // 4, 0, 0, 0], dtype=np.uint64),  # one step of the counter makes four numbers
            "key": np.frombuffer(_digest(seed, key, 16).to_bytes(16, "little"), dtype=np.uint64),
        },
        "buffer": np.zeros(4, dtype=np.uint64),
        "buffer_pos": 4,
        "has_uint32": 0,
        "uinteger": 0,
    }
    skip = start % 4
    return generator.random(count + skip)[skip:]


def _generator() -> np.random.Generator:
    # A new Philox asks the system for entropy that its key then replaces; one a thread is set to each key instead.
    if not hasattr(_threads, "generator"):
        _threads.generator = np.random.Generator(np.random.Philox(key=0))
    generator: np.random.Generator = _threads.generator
    return generator


def derived_seed(seed: int, *key: int) -> int:
    """A seed in [0, 2**62) for a simulator that draws its own numbers."""
    return _digest(seed, key, 8) >> 2


def _digest(seed: int, key: tuple[int, ...], size: int) -> int:
    return int.from_bytes(blake2b(repr((seed, *key)).encode(), digest_size=size).digest(), "little")


def sample(probabilities: Float, numbers: Float) -> Outcomes:
    """An outcome (index into `probabilities`) for each uniform number."""
    cumulative = np.cumsum(np.maximum(probabilities, 0.0))
    # Scaled by the sum, so that rounding never leaves a number beyond the last outcome; and an outcome of probability
    # zero is never drawn, because `side="right"` steps over flat parts.
    found = np.searchsorted(cumulative, numbers * cumulative[-1], side="right")
    outcomes: Outcomes = np.minimum(found, len(probabilities) - 1)
    return outcomes


def confuse(probabilities: Float, flips: Float) -> Float:
    """The distribution after readout: bit i of an outcome is inverted with ``flips[0, i]`` if 0 and ``flips[1, i]`` if 1.

    Args:
        probabilities: Shape ``(2**k,)``.
        flips: Shape ``(2, k)``.
    """
    for bit in range(flips.shape[1]):
        of_0, of_1 = flips[:, bit]
        if of_0 == 0.0 and of_1 == 0.0:
            continue
        split = probabilities.reshape(-1, 2, 1 << bit)
        confusion = np.array([[1.0 - of_0, of_1], [of_0, 1.0 - of_1]])
        probabilities = np.einsum("ij,ajb->aib", confusion, split).reshape(-1)
    return probabilities


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

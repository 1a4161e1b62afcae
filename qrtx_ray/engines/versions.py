"""Which versions give the same bytes: what a checkpoint must have been kept under for a run to go on from it.

Two things decide how a job is cut and what a slice gives. One is our own code: it has the number `STATE_VERSION`, which says
nothing about releases, so that a checkpoint outlives an upgrade that leaves the numbers alone. The other are the libraries
that compute; of their versions the first two parts count, as a release that changes only the third repairs and does not compute
otherwise. With them goes the processor: linear algebra and the simulator choose their loops by its vector units, and another
order of a sum is another last bit.

Raise `STATE_VERSION` by one with any change after which an unfinished job would go on to other bytes, or could not go on:

* the cost law, the constants by which jobs are cut (`rows_per_slice`, `slices_of`, segments), or the choice of a method;
* seeds and random streams, or which of them belongs to which shot, row or slice;
* the order of floating-point operations in a kernel, in fusion or in a sum over slices;
* which arrays a stage has, their meaning, shape or type, and what its bulk holds.

Raise `OLDEST_STATE_VERSION` with it, unless the new code goes on from the older state to the very bytes the older code would
have given, and a test shows it.
"""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

__all__ = ["OLDEST_STATE_VERSION", "STATE_VERSION", "libraries"]

STATE_VERSION = 1
"""Of what a run keeps between two slices; when to raise it is said above."""
OLDEST_STATE_VERSION = 1
"""The oldest that this code goes on from."""

_COMPUTE = ("numpy", "numba", "qiskit-aer")
_UNITS = ("avx2", "fma", "avx512f", "sve")


@cache
def libraries() -> str:
    """What computes here, e.g. ``numpy 2.4, numba 0.68, qiskit-aer 0.18, x86_64 avx2 fma``."""
    return ", ".join([*(f"{name} {_major_minor(name)}" for name in _COMPUTE), _processor()])


def _processor() -> str:
    from llvmlite.binding import get_host_cpu_features

    there = get_host_cpu_features()
    return " ".join([platform.machine(), *(unit for unit in _UNITS if there.get(unit))])


def _major_minor(name: str) -> str:
    try:
        return ".".join(version(name).split(".")[:2])
    except PackageNotFoundError:
        return "none"

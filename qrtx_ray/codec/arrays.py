"""Reading and writing NumPy's ``.npy`` format, numbers only.

The header of a ``.npy`` file is a Python literal. It is matched here against the one form NumPy writes instead of being
evaluated, and the shape is checked against the bytes that are really there before anything is allocated.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from qrtx_ray.errors import DecodeError

__all__ = ["npy_bytes", "read_npy"]

_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[biufc][0-9]{1,2})', 'fortran_order': (True|False), 'shape': \(([0-9, ]{0,400})\), ?\} *\n?\Z"
)
_DTYPES = frozenset(f"{kind}{size}" for kind, sizes in {
    "b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16),
}.items() for size in sizes)  # fmt: skip
_MAX_NDIM = 32


def read_npy(data: bytes, *, field: str) -> npt.NDArray[Any]:
    """The array of a ``.npy`` file: numeric dtype, at most 32 dimensions, exactly as many bytes as its shape says.

    Raises:
        DecodeError: Anything else.
    """
    if data[:6] != _MAGIC or len(data) < 12 or data[6] not in {1, 2}:
        raise DecodeError(f"{field} is not a NumPy array", field=field)
    width = 2 if data[6] == 1 else 4
    start = 8 + width
    end = start + int.from_bytes(data[8:start], "little")
    match = _HEADER.match(data[start:end]) if end - start <= 1024 else None
    if match is None or match[1].lstrip(b"<>|=").decode() not in _DTYPES:
        raise DecodeError(f"{field} must be a NumPy array of numbers", field=field)
    dtype = np.dtype(match[1].decode())
    shape = tuple(int(part) for part in match[3].split(b",") if part.strip().isdigit())
    if len(shape) > _MAX_NDIM or any(size > len(data) and 0 not in shape for size in shape):
        raise DecodeError(f"{field} has an impossible shape", field=field)
    if math.prod(shape) * dtype.itemsize != len(data) - end or max(shape, default=0) >= 1 << 62:
        raise DecodeError(f"{field} does not hold as many bytes as its shape says", field=field)
    flat = np.frombuffer(data, dtype=dtype, offset=end)
    try:
        return flat.reshape(shape, order="F" if match[2] == b"True" else "C")
    except ValueError:
        raise DecodeError(f"{field} has an impossible shape", field=field) from None


def npy_bytes(array: npt.NDArray[Any]) -> bytes:
    """`array` as a ``.npy`` file of version 1.0, as `numpy.save` writes it for a C-contiguous array."""
    contiguous = np.asarray(array, order="C")
    header = f"{{'descr': '{contiguous.dtype.str}', 'fortran_order': False, 'shape': {contiguous.shape}, }}".encode()
    # NumPy aligns the data to 64 bytes: 10 bytes of preamble, the header, spaces, and a newline.
    padding = -(10 + len(header) + 1) % 64
    size = len(header) + padding + 1
    return b"".join(
        (_MAGIC, b"\x01\x00", size.to_bytes(2, "little"), header, b" " * padding, b"\n", contiguous.tobytes())
    )

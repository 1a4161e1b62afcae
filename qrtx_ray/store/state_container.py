"""The file format of a quantum state: arrays and their description, compressed, checked, without any code in it.

::

    magic "QRTXSTAT" | schema u16 | raw length u64 | SHA-256 of raw (32 bytes) | zstd frame of raw
    raw = header length u32 | header (MessagePack) | padding | array 0 | padding | array 1 | …

The header lists name, dtype and shape of each array and carries the caller's metadata. Arrays begin at multiples of
64 bytes and are little-endian, C-ordered and numeric, so that reading one is a view, never a parse.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import zstandard

from qrtx_ray.errors import PersistError, ValidationError

__all__ = ["DEFAULT_LEVEL", "SCHEMA", "Arrays", "pack", "unpack"]

SCHEMA = 1

Arrays = dict[str, npt.NDArray[Any]]

_MAGIC = b"QRTXSTAT"
_PREFIX = struct.Struct("<8sHQ32s")
_LENGTH = struct.Struct("<I")
_ALIGN = 64
DEFAULT_LEVEL = 1
_DTYPES = frozenset(
    ["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16"],
)


def pack(
    arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, Any], *, level: int = DEFAULT_LEVEL
) -> tuple[bytes, str, int]:
    """The file's bytes, the SHA-256 (hex) of its content, and the content's length in bytes.

    Args:
        arrays: Numeric arrays by name.
        metadata: Plain values.
        level: Zstandard level, 1 (fast) to 19 (small).

    Raises:
        ValidationError: An array that is not numeric, or metadata beyond plain values.
    """
    ordered = {name: _plain(name, array) for name, array in arrays.items()}
    described = [[name, array.dtype.str, list(array.shape)] for name, array in ordered.items()]
    try:
        header = msgpack.packb({"metadata": dict(metadata), "arrays": described}, strict_types=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValidationError("a state's metadata must be plain values (as in JSON)", field="metadata") from error
    size = _LENGTH.size + len(header)
    for array in ordered.values():
        size = _aligned(size) + array.nbytes
    digest = hashlib.sha256()
    compressor = zstandard.ZstdCompressor(level=level).compressobj(size=size)
    parts = []
    for chunk in _chunks(header, ordered):
        digest.update(chunk)
        parts.append(compressor.compress(chunk))
    parts.append(compressor.flush())
    prefix = _PREFIX.pack(_MAGIC, SCHEMA, size, digest.digest())
    return b"".join([prefix, *parts]), digest.hexdigest(), size


def unpack(data: bytes, *, sha256: str, max_raw_bytes: int) -> tuple[Arrays, dict[str, Any]]:
    """What `pack` was given. The arrays share one buffer and may be written to.

    Args:
        sha256: The digest the content must have, hex.
        max_raw_bytes: Most bytes to inflate to.

    Raises:
        PersistError: Truncated, damaged, another state's content, too large, or a schema this version does not know.
    """
    if len(data) < _PREFIX.size:
        raise PersistError("the state file is truncated")
    magic, schema, size, digest = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise PersistError("the file is not a state file")
    if schema != SCHEMA:
        msg = f"the state file has schema {schema}, this program knows {SCHEMA}"
        raise PersistError(msg)
    if size > max_raw_bytes:
        msg = f"the state inflates to {size} bytes; at most {max_raw_bytes} were expected"
        raise PersistError(msg, limit=f"{max_raw_bytes} bytes")
    raw = _inflate(data, size)
    found = hashlib.sha256(raw)
    if found.digest() != digest or found.hexdigest() != sha256.lower():
        raise PersistError("the state does not match its checksum")
    try:
        return _read(raw)
    except (ValueError, TypeError, KeyError, IndexError, struct.error, msgpack.UnpackException) as error:
        raise PersistError("the state file's header is damaged") from error


def _inflate(data: bytes, size: int) -> bytearray:
    frame = memoryview(data)[_PREFIX.size :]
    try:
        # The frame's own claim is what the decoder would allocate, so it must be the one that was checked.
        if zstandard.frame_content_size(frame) != size:
            raise PersistError("the state file is damaged: its lengths contradict each other")
        raw = bytearray(size)
        view = memoryview(raw)
        with zstandard.ZstdDecompressor().stream_reader(frame) as reader:
            while view:
                count = reader.readinto(view)
                if not count:
                    raise PersistError("the state file is truncated")
                view = view[count:]
    except (zstandard.ZstdError, MemoryError) as error:
        raise PersistError("the state file is damaged or truncated") from error
    return raw


def _read(raw: bytearray) -> tuple[Arrays, dict[str, Any]]:
    (length,) = _LENGTH.unpack_from(raw)
    offset = _LENGTH.size + length
    header = msgpack.unpackb(memoryview(raw)[_LENGTH.size : offset], strict_map_key=False)
    arrays: Arrays = {}
    for name, dtype, shape in header["arrays"]:
        if dtype not in _DTYPES:
            raise ValueError(dtype)
        count = math.prod(shape)
        offset = _aligned(offset)
        array: npt.NDArray[Any] = (
            np.frombuffer(raw, dtype=dtype, count=count, offset=offset) if count else np.empty(0, dtype)
        )
        arrays[name] = array.reshape(shape)
        offset += array.nbytes
    return arrays, header["metadata"]


def _chunks(header: bytes, arrays: Arrays) -> Iterator[bytes | memoryview]:
    yield _LENGTH.pack(len(header))
    yield header
    offset = _LENGTH.size + len(header)
    for array in arrays.values():
        yield bytes(_aligned(offset) - offset)
        if array.nbytes:
            yield array.reshape(-1).view(np.uint8).data
        offset = _aligned(offset) + array.nbytes


def _plain(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    plain = np.asarray(array, order="C")
    plain = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
    if plain.dtype.str not in _DTYPES:
        msg = f"the state's array {name!r:.60} is not of a plain numeric type"
        raise ValidationError(msg, field="arrays")
    return plain


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGN) * _ALIGN

"""Named states on the wire: JSON in which a few tagged objects stand for what JSON has not.

::

    {"theta": {"__array__": {"dtype": "<f8", "shape": [2], "data": "AAAAAAAA8D8AAAAAAAAAQA=="}},
     "rng": {"__rng__": {"kind": "PCG64", "state": {...}}},
     "best": -1.1373, "history": [1.5, {"__float__": "nan"}], "count": {"__int__": "340282366920938463463374607431768211455"}}

Arrays are little-endian, C-ordered and numeric, their bytes base64; what is read is data and never code. Numbers come back
bit for bit; tuples come back as lists and NumPy's scalars as plain numbers.
"""

from __future__ import annotations

import math
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from qrtx_ray.codec.json_text import check_depth
from qrtx_ray.errors import DecodeError, ValidationError

__all__ = ["DEPTH", "check_state", "decode_state", "encode_state"]

DEPTH = 64
_DTYPES = frozenset(["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16"])
_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
_MAX_NDIM = 32
_MOST = 1 << 40  # elements that a shape may speak of, also one with a 0 in it
_PLAIN_INTEGER = 2**53  # beyond it a reader whose numbers are doubles would change it
_MAX_DIGITS = 400
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode_state(state: Mapping[str, Any]) -> bytes:
    """The document of a state.

    Args:
        state: Text keys; values None, booleans, numbers, complex numbers, text, bytes, numeric arrays, NumPy generators, and
            lists, tuples and mappings of such.

    Raises:
        ValidationError: Anything else; the place is named.
    """
    try:
        return orjson.dumps(_write(dict(state), "state", 0))
    except orjson.JSONEncodeError:
        raise ValidationError("the state holds text that is no Unicode", field="state") from None


def decode_state(document: bytes) -> dict[str, Any]:
    """The state of a document, built anew: nothing in it is shared.

    Raises:
        DecodeError: Not such a document.
    """
    state: dict[str, Any] = _Reader(build=True).read_document(document)
    return state


def check_state(document: bytes) -> None:
    """Whether `document` is one; nothing is built.

    Raises:
        DecodeError: It is not; the place is named.
    """
    _Reader(build=False).read_document(document)


def _write(value: Any, field: str, depth: int) -> Any:
    if depth > DEPTH:
        raise ValidationError(f"{field} is nested deeper than {DEPTH} levels", field=field, limit=f"{DEPTH} levels")
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value) if -_PLAIN_INTEGER < value < _PLAIN_INTEGER else {"__int__": str(int(value))}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"__float__": str(float(value))}
    if isinstance(value, complex):
        return {"__complex__": [_write(part, field, depth + 1) for part in (value.real, value.imag)]}
    if isinstance(value, bytes | bytearray):
        return {"__bytes__": b64encode(value).decode()}
    if isinstance(value, np.ndarray):
        return {"__array__": _write_array(value, field)}
    if isinstance(value, np.random.Generator):
        return {"__rng__": _write_generator(value, field, depth + 1)}
    if isinstance(value, list | tuple):
        return [_write(item, f"{field}[{place}]", depth + 1) for place, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(name, field): _write(item, f"{field}.{name}", depth + 1) for name, item in value.items()}
    raise ValidationError(f"{field} is of the type {type(value).__name__}, which a state cannot hold", field=field)


def _key(name: Any, field: str) -> str:
    if not isinstance(name, str) or name.startswith("__"):
        raise ValidationError(f"{field} has a key that is no text, or begins with two underscores", field=field)
    return name


def _write_array(array: npt.NDArray[Any], field: str) -> dict[str, Any]:
    ordered = np.asarray(array, order="C")
    little = ordered.astype(ordered.dtype.newbyteorder("<"), copy=False)
    if little.dtype.str not in _DTYPES:
        raise ValidationError(f"{field} is an array of {ordered.dtype}; it must be numeric", field=field)
    return {"dtype": little.dtype.str, "shape": list(little.shape), "data": b64encode(little.tobytes()).decode()}


def _write_generator(generator: np.random.Generator, field: str, depth: int) -> dict[str, Any]:
    kind = type(generator.bit_generator).__name__
    if kind not in _GENERATORS:
        raise ValidationError(f"{field} is a {kind} generator; known are {', '.join(_GENERATORS)}", field=field)
    return {"kind": kind, "state": _write(generator.bit_generator.state, field, depth)}


class _Reader:
    """Reads a document; with `build` into values, else only whether it could be."""

    def __init__(self, *, build: bool) -> None:
        self._build = build
        self._tags: dict[str, Callable[[Any, str], Any]] = {
            "__array__": self._array,
            "__bytes__": self._bytes,
            "__complex__": self._complex,
            "__float__": self._float,
            "__int__": self._integer,
            "__rng__": self._generator,
        }

    def read_document(self, document: bytes) -> Any:
        try:
            value = orjson.loads(document)
        except orjson.JSONDecodeError as error:
            raise DecodeError(f"the state is not valid JSON (near character {error.pos})", field="state") from None
        check_depth(value, DEPTH, field="state")
        if type(value) is not dict or any(name.startswith("__") for name in value):
            raise DecodeError("the state must be a JSON object whose keys are names", field="state")
        return self._read(value, "state")

    def _read(self, value: Any, field: str) -> Any:
        if type(value) is list:
            return [self._read(item, f"{field}[{place}]") for place, item in enumerate(value)]
        if type(value) is not dict:
            return value
        for name in value:
            if name.startswith("__"):
                read = self._tags.get(name)
                if read is None or len(value) != 1:
                    raise _wrong(field, "an object without keys that begin with two underscores")
                return read(value[name], field)
        return {name: self._read(item, f"{field}.{name[:64]}") for name, item in value.items()}

    def _array(self, value: Any, field: str) -> Any:
        if type(value) is not dict or value.keys() != {"dtype", "shape", "data"} or not _among(value["dtype"], _DTYPES):
            raise _wrong(field, "an array of a known dtype with its shape and data")
        shape = value["shape"]
        if type(shape) is not list or len(shape) > _MAX_NDIM:
            raise _wrong(field, f"an array of at most {_MAX_NDIM} dimensions")
        if (
            any(type(size) is not int or size < 0 for size in shape)
            or math.prod(max(1, size) for size in shape) > _MOST
        ):
            raise _wrong(field, "an array whose shape is of whole numbers, and possible")
        data, dtype = self._base64(value["data"], field), np.dtype(value["dtype"])
        if math.prod(shape) * dtype.itemsize != len(data):
            raise _wrong(field, "an array of as many bytes as its shape says")
        return np.frombuffer(data, dtype).reshape(shape).copy() if self._build else None

    def _bytes(self, value: Any, field: str) -> Any:
        return self._base64(value, field)

    def _complex(self, value: Any, field: str) -> Any:
        parts = self._read(value, field)
        if type(parts) is not list or len(parts) != 2 or any(type(part) not in {int, float} for part in parts):
            raise _wrong(field, "a complex number as two numbers")
        return complex(*parts)

    def _float(self, value: Any, field: str) -> Any:
        if not _among(value, _FLOATS):
            raise _wrong(field, f"one of {', '.join(_FLOATS)}")
        return _FLOATS[value]

    def _integer(self, value: Any, field: str) -> Any:
        digits = value.removeprefix("-") if isinstance(value, str) else ""
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
            raise _wrong(field, f"a whole number of at most {_MAX_DIGITS} digits")
        return int(value)

    def _generator(self, value: Any, field: str) -> Any:
        if type(value) is not dict or value.keys() != {"kind", "state"} or not _among(value["kind"], _GENERATORS):
            raise _wrong(field, f"a generator of a known kind ({', '.join(_GENERATORS)}) with its state")
        state = self._read(value["state"], field)
        if not self._build:
            return None
        bits = getattr(np.random, value["kind"])()
        try:
            bits.state = state
        except (TypeError, ValueError, KeyError, OverflowError, AttributeError):
            raise _wrong(field, f"the state of a {value['kind']} generator") from None
        return np.random.Generator(bits)

    @staticmethod
    def _base64(value: Any, field: str) -> bytes:
        try:
            return a2b_base64(value, strict_mode=True) if value else b""
        except (Base64Error, TypeError, ValueError):
            raise _wrong(field, "base64") from None


def _among(value: Any, known: Collection[str]) -> bool:
    return isinstance(value, str) and value in known


def _wrong(field: str, wanted: str) -> DecodeError:
    return DecodeError(f"{field} must be {wanted}", field=field)

"""The typed objects of Runtime JSON that a request may carry, decoded by an allow-list.

A typed object is ``{"__type__": name, "__value__": …}``. Each position of a request accepts the few types that make
sense there and refuses all others by name; nothing on the wire ever names a class or a module to construct.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from qiskit import QuantumCircuit

from qrtx_ray.codec.arrays import read_npy
from qrtx_ray.codec.inflate import InflationMeter, decode_base64
from qrtx_ray.codec.qpy import load_circuit
from qrtx_ray.errors import DecodeError, ValidationError

__all__ = ["Bindings", "decode_bindings", "decode_circuit", "decode_numbers", "plain", "strip_observables", "type_of"]

Bindings = dict[tuple[str, ...], npt.NDArray[np.float64]]
"""Parameter names → values with one column for each name; the leading axes are the shape of the sweep."""

_MAX_TYPE_NAME = 40


def type_of(value: Any) -> str | None:
    """The ``__type__`` of a typed object, or None for plain data."""
    if type(value) is dict and "__type__" in value:
        name = value["__type__"]
        return name if type(name) is str else "?"
    return None


def _refuse(value: Any, expected: str, field: str) -> ValidationError:
    name = type_of(value)
    found = f"an object of type '{name[:_MAX_TYPE_NAME]}'" if name is not None else f"a JSON {type(value).__name__}"
    return ValidationError(f"{field} must be {expected}, not {found}", field=field)


def decode_circuit(value: Any, meter: InflationMeter, *, field: str, device_qubits: int | None) -> QuantumCircuit:
    """The circuit of a ``QuantumCircuit`` object (base64 of zlib of QPY).

    Raises:
        ValidationError: Another type, or a circuit beyond the limits.
        DecodeError: Damaged data.
    """
    if type_of(value) != "QuantumCircuit":
        raise _refuse(value, "a circuit (typed object 'QuantumCircuit')", field)
    packed = decode_base64(value.get("__value__"), field=field)
    return load_circuit(meter.inflate(packed, field=field), meter.limits, field=field, device_qubits=device_qubits)


def decode_numbers(value: Any, meter: InflationMeter, *, field: str) -> npt.NDArray[np.float64]:
    """Real finite numbers: an ``ndarray`` object, a (nested) JSON list, or one number.

    Raises:
        ValidationError: Another type, complex or non-finite numbers, or ragged lists.
        DecodeError: Damaged data.
    """
    if type_of(value) == "ndarray":
        inner = value.get("__value__")
        if type(inner) is str:
            data = meter.inflate(decode_base64(inner, field=field), field=field)
            return _real(read_npy(data, field=field), field)
        value = inner
    if type(value) is list or type(value) in {int, float}:
        return _real(_from_lists(value, field), field)
    raise _refuse(value, "numbers (typed object 'ndarray' or lists)", field)


def _from_lists(value: Any, field: str) -> npt.NDArray[Any]:
    layer = [value]
    while layer and type(layer[0]) is list:
        if any(type(item) is not list for item in layer):
            raise ValidationError(f"{field} must be a regular array of numbers", field=field)
        layer = [child for item in layer for child in item]
    if any(type(item) is not int and type(item) is not float for item in layer):
        raise ValidationError(f"{field} must hold numbers only", field=field)
    try:
        return np.asarray(value, dtype=np.float64)
    except (ValueError, OverflowError):
        raise ValidationError(f"{field} must be a regular array of numbers", field=field) from None


def _real(array: npt.NDArray[Any], field: str) -> npt.NDArray[np.float64]:
    if array.dtype.kind not in "iuf":
        raise ValidationError(f"{field} must hold real numbers", field=field)
    numbers = array.astype(np.float64, copy=False)
    if not np.isfinite(numbers).all():
        raise ValidationError(f"{field} must hold finite numbers only", field=field, limit="finite numbers")
    return numbers


def decode_bindings(value: Any, meter: InflationMeter, *, field: str) -> Bindings:
    """The contents of a ``BindingsArray`` object, or of a plain ``{name: values}`` object.

    Raises:
        ValidationError: Another form, or names that are not strings.
        DecodeError: Damaged data.
    """
    if type_of(value) == "BindingsArray":
        inner = value.get("__value__")
        data = inner.get("data") if type(inner) is dict else None
        if type(data) is not dict:
            raise DecodeError(f"{field} is a BindingsArray without data", field=field)
        out: Bindings = {}
        for number, (key, values) in enumerate(data.items()):
            names = _names_of(key, field)
            numbers = decode_numbers(values, meter, field=f"{field}[{number}]")
            if numbers.ndim == 0 or numbers.shape[-1] != len(names):
                raise ValidationError(f"{field}[{number}] must have {len(names)} columns", field=f"{field}[{number}]")
            out[names] = numbers
        return out
    if type(value) is dict and type_of(value) is None:
        named = {name: decode_numbers(item, meter, field=f"{field}.{name[:64]}") for name, item in value.items()}
        return {(name,): numbers[..., np.newaxis] for name, numbers in named.items()}
    raise _refuse(value, "parameter values", field)


def _names_of(key: str, field: str) -> tuple[str, ...]:
    try:
        names = orjson.loads(key)
    except orjson.JSONDecodeError:
        names = key
    names = names if type(names) is list else [names]
    if not names or any(type(name) is not str for name in names):
        raise ValidationError(f"{field} must be keyed by lists of parameter names", field=field)
    return tuple(names)


def strip_observables(value: Any) -> Any:
    """The nested list inside an ``ObservablesArray`` object; other values as they are."""
    return value.get("__value__") if type_of(value) == "ObservablesArray" else value


def plain(value: Any, *, field: str) -> Any:
    """`value` with the harmless typed objects of option values resolved: ``set`` and lists inside ``ndarray``.

    Raises:
        ValidationError: A typed object that has no place in options.
    """
    name = type_of(value)
    if name is None:
        return value
    inner = value.get("__value__")
    if name in {"set", "ndarray"} and type(inner) is list:
        return inner
    if name == "ndarray" and type(inner) is str and len(inner) < 64:
        # The client encodes an extrapolator's name this way.
        return inner
    if name == "datetime" and type(inner) is str:
        return inner
    raise ValidationError(f"{field} must not be an object of type '{name[:_MAX_TYPE_NAME]}'", field=field)

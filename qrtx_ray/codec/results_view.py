"""Reading our own result documents into the native API's form: counts instead of bit arrays, lists instead of arrays."""

from __future__ import annotations

import math
import zlib
from binascii import a2b_base64
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from qrtx_ray.codec.arrays import read_npy
from qrtx_ray.errors import DecodeError

__all__ = ["native_view"]


def native_view(results: bytes, *, memory: bool = False) -> dict[str, Any]:
    """The native form of a result document that `encode_sampler` or `encode_estimator` wrote.

    ``{"pubs": [...], "metadata": {...}}``; a sampler PUB is ``{"shape", "shots", "registers": {name: {"num_bits",
    "counts"}}, "metadata"}`` where `counts` is one ``{bitstring: n}`` object for an unshaped PUB, and a flat list of them
    in C order otherwise; an estimator PUB is ``{"shape", "evs", "stds", "ensemble_standard_error", "metadata"}`` with
    nested lists.

    Args:
        results: The document.
        memory: Add ``"memory"`` to each register: the bitstrings shot by shot.

    Raises:
        DecodeError: Not such a document.
    """
    try:
        document = orjson.loads(results)
        if document["__type__"] != "PrimitiveResult":
            msg = "not a primitive result"
            raise ValueError(msg)
        value = document["__value__"]
        return {"pubs": [_pub(pub["__value__"], memory) for pub in value["pub_results"]], "metadata": value["metadata"]}
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise DecodeError("result document cannot be read", field="results") from error


def _pub(value: dict[str, Any], memory: bool) -> dict[str, Any]:
    data = value["data"]["__value__"]
    shape = [int(size) for size in data["shape"]]
    out: dict[str, Any] = {"shape": shape}
    registers: dict[str, Any] = {}
    for name in data["field_names"]:
        item = data["fields"][name]
        if item["__type__"] == "BitArray":
            inner = item["__value__"]
            array = _array(inner["array"])
            out["shots"] = int(array.shape[-2])
            registers[name] = _register(array, int(inner["num_bits"]), shape, memory)
        else:
            out[name] = _array(item).tolist()
    if registers or "evs" not in out:
        out["registers"] = registers
    out["metadata"] = value["metadata"]
    return out


def _array(item: dict[str, Any]) -> npt.NDArray[Any]:
    return read_npy(zlib.decompress(a2b_base64(item["__value__"])), field="results")


def _register(array: npt.NDArray[Any], bits: int, shape: list[int], memory: bool) -> dict[str, Any]:
    shots, width = array.shape[-2:]
    rows = array.reshape(math.prod(shape), shots, width)
    counts = [_counts(row, bits) for row in rows]
    out: dict[str, Any] = {"num_bits": bits, "counts": counts if shape else counts[0]}
    if memory:
        lists = [[_bitstring(sample.tobytes(), bits) for sample in row] for row in rows]
        out["memory"] = lists if shape else lists[0]
    return out


def _counts(row: npt.NDArray[Any], bits: int) -> dict[str, int]:
    """Counts of one element, most frequent first."""
    if bits == 0:
        return {"": len(row)} if len(row) else {}
    width = row.shape[1]
    if width <= 2:  # small registers are counted, not sorted
        outcomes = row[:, 0].astype(np.intp) if width == 1 else row[:, 0].astype(np.intp) << 8 | row[:, 1]
        numbers = np.bincount(outcomes)
        seen = np.flatnonzero(numbers)
        order = seen[np.argsort(-numbers[seen], kind="stable")]
        return {format(outcome, f"0{bits}b"): int(numbers[outcome]) for outcome in order.tolist()}
    packed = np.ascontiguousarray(row).view(np.dtype((np.void, width))).ravel()
    values, numbers = np.unique(packed, return_counts=True)
    order = np.argsort(-numbers, kind="stable")
    return {_bitstring(values[index].tobytes(), bits): int(numbers[index]) for index in order}


def _bitstring(sample: bytes, bits: int) -> str:
    return format(int.from_bytes(sample), f"0{bits}b") if bits else ""

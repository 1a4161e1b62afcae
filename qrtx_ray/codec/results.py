"""Result documents: the JSON that the official client's decoder turns into a PrimitiveResult.

Written by template instead of through the client's encoder, which walks every object and compresses at the default
level; what comes out decodes to equal objects.
"""

from __future__ import annotations

import zlib
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from qrtx_ray.codec.arrays import npy_bytes
from qrtx_ray.codec.results_view import native_view

__all__ = ["EstimatorPubData", "SamplerPubData", "encode_estimator", "encode_sampler", "native_view"]

Float64 = npt.NDArray[np.float64]
_COMPRESSION = 1  # fastest: the documents are read once or twice, written on the hot path
_ESTIMATES = ("evs", "stds", "ensemble_standard_error")


@dataclass(frozen=True, slots=True, eq=False)
class SamplerPubData:
    """Samples of one PUB.

    Args:
        shape: The PUB's shape.
        shots: Shots of each element.
        registers: Register name → (bits, packed samples): uint8 of shape ``(*shape, shots, ceil(bits / 8))``, big-endian
            as Qiskit's BitArray: the last byte holds bits 0 to 7.
        metadata: Plain JSON; ``circuit_metadata`` is added when absent.
    """

    shape: tuple[int, ...]
    shots: int
    registers: Mapping[str, tuple[int, npt.NDArray[np.uint8]]]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class EstimatorPubData:
    """Expectation values of one PUB; the arrays all have the PUB's shape, ``()`` included.

    Args:
        evs: Expectation values.
        stds: Standard errors.
        ensemble_standard_error: Standard errors over the ensemble of shots.
        metadata: Plain JSON, e.g. ``shots``, ``target_precision``, ``circuit_metadata``.
    """

    evs: Float64
    stds: Float64
    ensemble_standard_error: Float64
    metadata: Mapping[str, Any] = field(default_factory=dict)


def encode_sampler(pubs: Sequence[SamplerPubData], metadata: Mapping[str, Any]) -> bytes:
    """The result document of a sampler job.

    Args:
        pubs: One for each PUB, in order.
        metadata: The document's own; ``execution`` and ``version`` are added when absent. ``qrtx`` holds ours.

    Raises:
        ValueError: A register's array does not fit its shape, shots and bits (a fault of the engine).
    """
    top = {"execution": {}, "version": 2, **metadata}
    return _document([_sampler_pub(pub) for pub in pubs], b"SamplerPubResult", top)


def encode_estimator(pubs: Sequence[EstimatorPubData], metadata: Mapping[str, Any]) -> bytes:
    """The result document of an estimator job; ``dynamical_decoupling``, ``twirling``, ``resilience`` and ``version``
    are added to `metadata` when absent.
    """
    top = {"dynamical_decoupling": {"enable": False}, "twirling": {"enable_gates": False, "enable_measure": False},
           "resilience": {}, "version": 2, **metadata}  # fmt: skip
    return _document([_estimator_pub(pub) for pub in pubs], b"PubResult", top)


def _document(pubs: list[tuple[bytes, bytes]], kind: bytes, metadata: Mapping[str, Any]) -> bytes:
    parts = [b'{"__type__":"PrimitiveResult","__value__":{"pub_results":[']
    for number, (data, own) in enumerate(pubs):
        parts += (
            b"," if number else b"",
            b'{"__type__":"',
            kind,
            b'","__value__":{"data":',
            data,
            b',"metadata":',
            own,
        )
        parts.append(b"}}")
    parts += (b'],"metadata":', _json(metadata), b"}}")
    return b"".join(parts)


def _sampler_pub(pub: SamplerPubData) -> tuple[bytes, bytes]:
    fields = []
    for name, (bits, array) in pub.registers.items():
        if array.dtype != np.uint8 or array.shape != (*pub.shape, pub.shots, (bits + 7) // 8):
            msg = f"register {name!r}: {array.dtype} of shape {array.shape} for {pub.shape}, {pub.shots} shots, {bits} bits"
            raise ValueError(msg)
        fields.append(
            b'%s:{"__type__":"BitArray","__value__":{"array":%s,"num_bits":%d}}' % (_json(name), _array(array), bits)
        )
    return _data_bin(list(pub.registers), fields, pub.shape), _json({"circuit_metadata": {}, **pub.metadata})


def _estimator_pub(pub: EstimatorPubData) -> tuple[bytes, bytes]:
    fields = [b'"%s":%s' % (name.encode(), _array(np.asarray(getattr(pub, name), float))) for name in _ESTIMATES]
    return _data_bin(list(_ESTIMATES), fields, np.shape(pub.evs)), _json({"circuit_metadata": {}, **pub.metadata})


def _data_bin(names: list[str], fields: list[bytes], shape: tuple[int, ...]) -> bytes:
    return b'{"__type__":"DataBin","__value__":{"field_names":%s,"shape":%s,"fields":{%s}}}' % (
        _json(names),
        _json([int(size) for size in shape]),
        b",".join(fields),
    )


def _array(array: npt.NDArray[Any]) -> bytes:
    packed = b2a_base64(zlib.compress(npy_bytes(array), _COMPRESSION), newline=False)
    return b'{"__type__":"ndarray","__value__":"%s"}' % packed


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)

"""Content hashes of the circuits of a payload, taken from the text they arrived as.

Hashing a decoded circuit would cost more than decoding it did; the text is at hand, and a client that sends a circuit
twice writes the same text twice (or one of two: QPY puts the registers of a transpiled circuit's layout in the order of
a set). This runs only on payloads that the codec has accepted.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import orjson

from qrtx_ray.codec.native_schema import NativeCircuit
from qrtx_ray.errors import DecodeError
from qrtx_ray.model.job import PayloadFormat

__all__ = ["circuit_digests"]

_FORMAT = NativeCircuit.model_fields["format"].default


def circuit_digests(payload: bytes, payload_format: PayloadFormat) -> list[bytes]:
    """A 16-byte hash for each PUB's circuit, in order.

    Raises:
        DecodeError: The payload has another shape than its format says.
    """
    try:
        document = orjson.loads(payload)
        if payload_format is PayloadFormat.RUNTIME:
            return [_digest("runtime", _runtime_text(pub)) for pub in document["pubs"]]
        return [_digest(str(entry.get("format", _FORMAT)), entry["source"]) for entry in document["circuits"]]
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise DecodeError("the payload does not have the shape its format says") from error


def _runtime_text(pub: Any) -> str:
    circuit = pub[0] if isinstance(pub, list) else pub["circuit"]
    text = circuit["__value__"]
    return text if isinstance(text, str) else orjson.dumps(text).decode()


def _digest(kind: str, text: str) -> bytes:
    return blake2b(f"{kind}\n{text}".encode(), digest_size=16).digest()

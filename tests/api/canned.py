"""Result documents as the engines write them."""

from __future__ import annotations

import json

from qiskit.primitives import BitArray, DataBin, PrimitiveResult, SamplerPubResult
from qiskit_ibm_runtime import RuntimeEncoder

__all__ = ["sampler_results"]


def sampler_results(shots: list[str], register: str = "c") -> bytes:
    """A sampler's document with one PUB and one register."""
    data = DataBin(**{register: BitArray.from_samples(shots)})
    result = PrimitiveResult([SamplerPubResult(data, {"circuit_metadata": {}})], {"version": 2})
    return json.dumps(result, cls=RuntimeEncoder).encode()

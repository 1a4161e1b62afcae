"""Estimates as result documents: what a dry run gives back.

A client that asks for a dry run gets, in the form of every other result, a document without a single PUB whose metadata
holds the estimate; so the official client reads it by its ordinary way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from qrtx_ray.codec.results import encode_estimator, encode_sampler
from qrtx_ray.model.job import Candidate, CircuitProfile, Program

__all__ = ["compiled_estimate", "estimate_document", "surveyed_estimate"]

_OF_PROFILE = (
    "fidelity",
    "sensitivity",
    "qpu_s",
    "estimated_s",
    "estimated_bytes",
    "circuits",
    "shots",
    "active_qubits",
    "depth",
    "two_qubit_gates",
    "calibration_id",
    "noise_id",
)


def compiled_estimate(profile: CircuitProfile, device: str) -> dict[str, Any]:
    """The estimate of a job that was compiled for `device`, as plain JSON; seconds and bytes as in the profile."""
    return {"device": device, **{name: getattr(profile, name) for name in _OF_PROFILE}, "method": "compiled"}


def surveyed_estimate(candidates: Iterable[Candidate]) -> dict[str, Any]:
    """The estimate of a job whose device is not chosen yet: one entry for each device, as plain JSON."""
    return {"candidates": [asdict(candidate) for candidate in candidates], "method": "survey"}


def estimate_document(program: Program, estimate: dict[str, Any]) -> bytes:
    """The result document (Runtime JSON, UTF-8) that holds `estimate` as ``metadata["qrtx"]["estimate"]``."""
    encode = encode_sampler if program is Program.SAMPLER else encode_estimator
    return encode([], {"qrtx": {"dry_run": True, "estimate": estimate}})

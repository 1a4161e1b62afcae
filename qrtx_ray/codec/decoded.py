"""What every reader of job payloads produces, whatever format the payload had."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qrtx_ray.model import Program

__all__ = ["DecodedJob"]


@dataclass(frozen=True, slots=True)
class DecodedJob:
    """A job's payload, decoded and checked.

    Args:
        program: What to compute.
        pubs: Coerced PUBs of one kind; every sampler PUB has its `shots`, every estimator PUB its `precision`.
        options: Plain JSON values: ``meas_type``, ``ignored`` (dotted names of options that were accepted without effect),
            ``hints`` (what ``experimental.qrtx`` says: ``priority``, ``seed`` …), and for the estimator
            ``resilience_level`` when it was sent.
        seed: The seed the user gave, or None.
        formats: How each circuit was written: ``qpy``, ``qasm2`` or ``qasm3``.
        shots: For each PUB, shots of one row (estimator: what its precision stands for).
    """

    program: Program
    pubs: tuple[SamplerPub, ...] | tuple[EstimatorPub, ...]
    options: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    formats: tuple[str, ...] = ()
    shots: tuple[int, ...] = ()

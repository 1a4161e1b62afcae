"""What a job insists on, against what it is known to need: each function says why it will not do, or None."""

from __future__ import annotations

from qrtx_ray.errors import ErrorInfo, FidelityFloorUnmet, QpuTimeExceeded
from qrtx_ray.model import JobRecord

__all__ = ["fidelity_refusal", "qpu_refusal"]


def fidelity_refusal(record: JobRecord, fidelity: float | None) -> ErrorInfo | None:
    """A predicted fidelity against the floor; a device without noise (None) meets every floor."""
    floor = record.fidelity_floor
    if floor is None or fidelity is None or fidelity >= floor:
        return None
    text = f"the predicted fidelity is {fidelity:.4f}; fidelity_floor demands {floor:.4f}"
    return FidelityFloorUnmet(text, field="fidelity_floor", limit=f"{floor:.4f}").info()


def qpu_refusal(record: JobRecord, qpu_s: float) -> ErrorInfo | None:
    """What the device would charge, in seconds of QPU time, against the most the job may cost."""
    limit = record.max_qpu_s
    if limit is None or qpu_s <= limit:
        return None
    text = f"the job would use {qpu_s:.6g} s of QPU time; max_qpu_s allows {limit:.6g} s"
    return QpuTimeExceeded(text, field="max_qpu_s", limit=f"{limit:.6g} s").info()

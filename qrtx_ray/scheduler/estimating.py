"""What a job would find before it exists: for every device the charge, the wait, the fidelity, and where that is from.

::

    {"devices": {name: {"qpu_s", "estimated_s", "wait_s", "wait_low_s", "wait_high_s", "fidelity", "refusal", "score",
                        "contributions", "chosen", "provenance": {"calibration_id", "noise_id", "method", "runs_seen"}}},
     "chosen": name or None, "policy": name}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qrtx_ray.model import Candidate, JobRecord, PayloadFormat, Program
from qrtx_ray.scheduler.placement import place
from qrtx_ray.scheduler.policies.protocol import Scored
from qrtx_ray.scheduler.waiting import Glances, expected_wait
from qrtx_ray.scheduler.workers import belongs
from qrtx_ray.scheduler.world import World

__all__ = ["METHOD", "estimate"]

METHOD = "survey of the circuits; waiting by estimated run times ahead, corrected by measured ones"


def estimate(
    world: World,
    tenant: str,
    priority: int,
    candidates: Sequence[Candidate],
    *,
    fidelity_floor: float | None = None,
    max_qpu_s: float | None = None,
    deadline_at: float | None = None,
    reservation: str | None = None,
    session_id: str | None = None,
) -> dict[str, Any]:
    """Of a job of `tenant` and `priority` whose circuits were surveyed: `candidates`."""
    record = JobRecord(
        id="",
        number=0,
        tenant=tenant,
        program=Program.SAMPLER,
        device="",
        payload_format=PayloadFormat.NATIVE,
        created_at=world.now,
        seed=0,
        priority=priority,
        fidelity_floor=fidelity_floor,
        max_qpu_s=max_qpu_s,
        deadline_at=deadline_at,
        reservation=reservation,
        session_id=session_id,
    )
    scored = {one.device: one for one in reversed(place(world, record, candidates))}
    best = next((one.device for one in reversed(scored.values()) if not one.refusal), None)
    glances: Glances = {}
    devices = {one.device: _device(world, record, one, scored[one.device], best, glances) for one in candidates}
    return {"devices": devices, "chosen": best, "policy": world.policy.name}


def _device(
    world: World, record: JobRecord, candidate: Candidate, scored: Scored, best: str | None, glances: Glances
) -> dict[str, Any]:
    device = world.devices.get(candidate.device)
    wait = None
    if device is not None:
        own = next((one for one in device.reservations.values() if belongs(record, one)), None)
        wait = expected_wait(world, device, record.level, own=own, glances=glances)
    return {
        "qpu_s": candidate.qpu_s,
        "estimated_s": candidate.estimated_s,
        "wait_s": wait.expected_s if wait else None,
        "wait_low_s": wait.low_s if wait else None,
        "wait_high_s": wait.high_s if wait else None,
        "fidelity": candidate.fidelity,
        "refusal": scored.refusal,
        "score": None if scored.refusal else scored.score,
        "contributions": dict(scored.contributions),
        "chosen": candidate.device == best,
        "provenance": {
            "calibration_id": candidate.calibration_id,
            "noise_id": device.noise_id if device else "",
            "method": METHOD,
            "runs_seen": device.accuracy.count if device else 0,
        },
    }

"""Why a job is where it is, and what would change that: plain data for people.

What belongs to others shows only as numbers: how many jobs of which level stand before it, never whose or which.

::

    {"job_id", "state", "public_state", "attempt", "retries", "preemptions", "promoted_at", "position", "device",
     "device_status", "agents", "reason",
     "ahead": [{"level", "count"}],
     "policy": name of the placement policy,
     "candidates": [{"device", "score", "contributions", "chosen", "refusal", "fidelity", "qpu_s", "estimated_s",
                     "calibration_id"}],
     "estimated_start": {"at", "low", "high"} (seconds since the epoch) or None,
     "changes": [text]}
"""

from __future__ import annotations

from typing import Any

from qrtx_ray.model import Candidate, DeviceStatus, JobId, JobRecord, Level, TaskState
from qrtx_ray.scheduler.calibration import Phase
from qrtx_ray.scheduler.dues import hopeless_from, pause_ends, promotion_at
from qrtx_ray.scheduler.job import ON_AGENT, Job, Move
from qrtx_ray.scheduler.lines import DeviceLine
from qrtx_ray.scheduler.placement import place
from qrtx_ray.scheduler.reading import device_status, position
from qrtx_ray.scheduler.states import PUBLIC_STATES
from qrtx_ray.scheduler.waiting import Glances, Wait, expected_wait, work_ahead
from qrtx_ray.scheduler.workers import Device, belongs
from qrtx_ray.scheduler.world import World

__all__ = ["explain"]


def explain(world: World, job_id: JobId) -> dict[str, Any]:
    """Everything about where the job is.

    Raises:
        NotFound: Not in memory.
    """
    record = world.record(job_id)
    device = world.devices.get(record.device)
    job = world.jobs.get(job_id)
    if job is not None and record.terminal:
        job = None
    wait = _wait(world, job, device)
    return {
        "job_id": job_id,
        "state": record.state.value,
        "public_state": PUBLIC_STATES[record.state].value,
        "attempt": record.attempt,
        "retries": record.retries,
        "preemptions": record.preemptions,
        "promoted_at": record.promoted_at,
        "position": position(world, job_id),
        "device": record.device,
        "device_status": (device_status(device) if device else DeviceStatus.OFFLINE).value,
        "agents": sorted(device.agents) if device else [],
        "reason": _reason(world, job, device) if job else _end_of(record),
        "ahead": _ahead(job, device),
        "policy": world.policy.name,
        "candidates": _candidates(world, record, job),
        "estimated_start": _start(world, job, wait),
        "changes": _changes(world, job, device, wait) if job else [],
    }


# -- why ---------------------------------------------------------------------------------------------------------


def _end_of(record: JobRecord) -> str:
    ended = f"it has ended: {record.state.value}"
    return ended if record.error is None else f"{ended}, for {record.error.message}"


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"


def _reason(world: World, job: Job, device: Device | None) -> str:
    record = job.record
    if record.cancel_requested:
        ended = "concluded" if record.keep_partial else "stopped"
        return f"waits until agent {record.agent} has {ended} it"
    if record.state is TaskState.PAUSED:
        return f"paused by {record.paused_by}"
    if record.state is TaskState.PENDING:
        return "waits for a compiler" if world.compilers else "no compiler is there"
    if record.state is TaskState.COMPILING:
        where = f"is with compiler {job.compiler.name}" if job.compiler else "is being compiled"
        return f"{where}, then paused by {record.paused_by}" if record.pause_requested else where
    if record.state is TaskState.QUEUED:
        return _why_queued(world, job, device)
    if record.state in ON_AGENT and job.agent is None:
        return f"waits for agent {record.agent} to come back after a restart"
    if record.pause_requested:
        return f"waits until agent {record.agent} has paused it, for {record.paused_by}"
    if job.move is not None:
        return f"waits until agent {record.agent} has given it back, to be moved"
    if record.state is TaskState.ALLOCATING:
        return f"waits on agent {record.agent} for the group before it"
    return f"runs on agent {record.agent}"


def _why_queued(world: World, job: Job, device: Device | None) -> str:
    record = job.record
    if not isinstance(job.line, DeviceLine):
        return f"waits {max((record.not_before or 0.0) - world.now, 0.0):.3f} s before its next attempt"
    if device is None or device.paused:
        return "the device is drained" if device is not None and device.drains else "the device is paused"
    if not device.takers:
        return "no agent takes work: all are drained" if device.agents else "no agent serves the device"
    if job.move is not None and not job.move.is_over(world.now):
        return f"is kept for {_whom(job.move)} for {max((job.move.until or 0.0) - world.now, 0.0):.3f} s more"
    held_up = _held_up(world, job, device)
    if held_up:
        return held_up
    ahead = job.line.ahead_of(job)
    return f"{_jobs(ahead)} {'is' if ahead == 1 else 'are'} ahead of it" if ahead else "it is next; the agents are busy"


def _whom(move: Move) -> str:
    return f"agent {move.wanted}" if move.wanted is not None else f"another agent than {move.former}"


def _held_up(world: World, job: Job, device: Device) -> str:
    state = device.calibration
    if state is not None and state.phase is Phase.DRAINING:
        return "the device drains for a calibration"
    if state is not None and state.phase is Phase.CALIBRATING:
        return f"the device is being calibrated for {max(state.until - world.now, 0.0):.3f} s more"
    window = device.window
    if window is not None and not window.admits(job.record):
        return f"the device is reserved until {window.reservation.ends_at:.3f} s since the epoch"
    if job.account.full:
        return f"its tenant has {_jobs(job.account.running)} running, which is its quota `running`"
    return ""


# -- who goes before it ------------------------------------------------------------------------------------------


def _ahead(job: Job | None, device: Device | None) -> list[dict[str, Any]]:
    """The jobs before it by level: all of higher levels, the rest of its own."""
    if job is None or device is None or not isinstance(job.line, DeviceLine):
        return []
    left = job.line.ahead_of(job)
    out = []
    for level in Level:
        count = min(left, device.waiting[level] if level < job.level else left if level == job.level else 0)
        left -= count
        if count:
            out.append({"level": level.name.lower(), "count": count})
    return out


def _wait(world: World, job: Job | None, device: Device | None) -> Wait | None:
    if job is None or device is None or not isinstance(job.line, DeviceLine):
        return None
    own = next((one for one in device.reservations.values() if belongs(job.record, one)), None)
    return expected_wait(world, device, job.level, ahead=work_ahead(device, job), own=own)


def _start(world: World, job: Job | None, wait: Wait | None) -> dict[str, float] | None:
    if job is not None and job.record.started_at is not None:
        at = job.record.started_at
        return {"at": at, "low": at, "high": at}
    if wait is None or (job is not None and job.account.full):
        return None  # when a tenant's own jobs end is up to the tenant
    now = world.now
    return {"at": now + wait.expected_s, "low": now + wait.low_s, "high": now + wait.high_s}


# -- where it could go -------------------------------------------------------------------------------------------


def _candidates(world: World, record: JobRecord, job: Job | None) -> list[dict[str, Any]]:
    """As the policy saw them when it chose; after a restart, as it sees them now. The device that a job named itself is
    its only candidate.
    """
    candidates = record.candidates or _named(record)
    known = {one.device: one for one in candidates}
    scored = job.scored if job is not None and job.scored else tuple(place(world, record, candidates))
    return [
        {
            "device": one.device,
            "score": None if one.refusal else one.score,
            "contributions": dict(one.contributions),
            "chosen": one.device == record.device,
            "refusal": one.refusal,
            "fidelity": known[one.device].fidelity,
            "qpu_s": known[one.device].qpu_s,
            "estimated_s": known[one.device].estimated_s,
            "calibration_id": known[one.device].calibration_id,
        }
        for one in scored
        if one.device in known
    ]


def _named(record: JobRecord) -> tuple[Candidate, ...]:
    profile = record.profile
    if profile is None:
        return ()
    return (Candidate(record.device, profile.calibration_id, profile.fidelity, profile.qpu_s, profile.estimated_s),)


# -- what would change it ----------------------------------------------------------------------------------------


def _changes(world: World, job: Job, device: Device | None, wait: Wait | None) -> list[str]:
    record = job.record
    if record.state is TaskState.PENDING and not world.compilers:
        return ["a compiler that joins"]
    if record.state is TaskState.PAUSED:
        return _paused_changes(world, record)
    if record.state is not TaskState.QUEUED or device is None:
        return []
    out = []
    if not isinstance(job.line, DeviceLine):
        return ["nothing but time: it waits out the pause before its next attempt"]
    if device.paused:
        out.append("the operator resumes the device")
    if not device.agents:
        out.append("an agent that serves the device joins")
    elif not device.takers:
        out.append("the operator lets an agent that serves the device take work again")
    if job.account.full:
        out.append("one of its tenant's running jobs ends, or its quota `running` is raised")
    window = device.window
    if window is not None and not window.admits(record):
        out.append(f"the reservation of the device ends, at {window.reservation.ends_at:.3f} s since the epoch")
    out += _higher(job, device)
    promotion = promotion_at(world.settings, job)
    if promotion is not None:
        out.append(f"at {promotion:.3f} s since the epoch it has waited longer than its level allows and goes first")
    hopeless = hopeless_from(record)
    if hopeless is not None:
        out.append(
            f"unless it starts by {hopeless:.3f} s since the epoch it fails, for its deadline cannot be met then"
        )
    state = device.calibration
    if state is not None and state.phase is Phase.CALIBRATING:
        out.append(f"the calibration of the device ends, at {state.until:.3f} s since the epoch")
    if wait is not None and wait.expected_s > 0 and not _held_up(world, job, device):
        faster = wait.expected_s * device.takers / (device.takers + 1)
        out.append(f"one agent more at the device: about {faster:.1f} s of waiting instead of {wait.expected_s:.1f} s")
    return out + _elsewhere(world, record, wait)


def _paused_changes(world: World, record: JobRecord) -> list[str]:
    out = ["it is resumed"]
    hopeless = hopeless_from(record)
    if hopeless is not None:
        out.append(f"at {hopeless:.3f} s since the epoch it fails, for its deadline cannot be met then")
    return [*out, f"at {pause_ends(world.settings, record):.3f} s since the epoch it ends, paused for too long"]


def _higher(job: Job, device: Device) -> list[str]:
    if job.level == Level.CRITICAL or job.record.promoted_at is not None:
        return []
    assert isinstance(job.line, DeviceLine)
    ahead = job.line.ahead_of(job)
    for level in range(job.level - 1, -1, -1):
        fewer = ahead - sum(device.waiting[: level + 1])
        if fewer > 0:
            return [f"at level {Level(level).name.lower()} about {_jobs(fewer)} fewer would go before it"]
    return []


def _elsewhere(world: World, record: JobRecord, wait: Wait | None) -> list[str]:
    """Devices of its survey where it would start sooner."""
    out, glances = [], Glances()
    for candidate in record.candidates:
        other = world.devices.get(candidate.device)
        if other is None or candidate.refusal or candidate.device == record.device:
            continue
        there = expected_wait(world, other, record.level, glances=glances)
        if there is not None and (wait is None or there.expected_s < wait.expected_s):
            out.append(f"on {candidate.device} it would start in about {there.expected_s:.3g} s")
    return out

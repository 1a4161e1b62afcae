"""Questions about the world; nothing here changes it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from qrtx_ray.model import DeviceInfo, DeviceStatus, JobId, TaskState
from qrtx_ray.scheduler.job import ON_AGENT, Job
from qrtx_ray.scheduler.states import PUBLIC_STATES
from qrtx_ray.scheduler.workers import Device
from qrtx_ray.scheduler.world import World

__all__ = ["DeviceReading", "device_readings", "device_status", "explain", "position", "snapshot"]


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """A device now: jobs in its line, jobs with its agents, the agents, seconds of QPU time charged so far."""

    info: DeviceInfo
    status: DeviceStatus
    queue_length: int
    running: int
    agents: tuple[str, ...]
    qpu_s: float


def device_readings(world: World) -> list[DeviceReading]:
    """All configured devices, in the order of the configuration."""
    held = (world.jobs.get(job_id) for agent in world.agents.values() for job_id, _ in agent.held)
    running = Counter(job.record.device for job in held if job is not None)
    return [
        DeviceReading(
            info=device.info,
            status=device_status(device),
            queue_length=len(device.line),
            running=running[name],
            agents=tuple(sorted(device.agents)),
            qpu_s=device.qpu_s,
        )
        for name, device in world.devices.items()
        if device.configured
    ]


def device_status(device: Device) -> DeviceStatus:
    """Paused by the operator, else online when an agent serves it."""
    if device.paused:
        return DeviceStatus.PAUSED
    return DeviceStatus.ONLINE if device.agents else DeviceStatus.OFFLINE


def position(world: World, job_id: JobId) -> int | None:
    """Jobs ahead of it in its device's line; None when it does not stand there (or is not in memory)."""
    job = world.jobs.get(job_id)
    if job is None or job.line is None or job.line is world.pending:
        return None
    return job.line.ahead_of(job.key)


def snapshot(world: World) -> dict[str, Any]:
    """Counts for metrics: plain data, cheap at any length of the lines."""
    return {
        "jobs": {state.value: list(levels) for state, levels in world.tally.items()},
        "live": world.live,
        "pending": len(world.pending),
        "queues": {name: len(device.line) for name, device in world.devices.items()},
        "devices": {name: device_status(device).value for name, device in world.devices.items()},
        "agents": {name: {"groups": len(a.open), "jobs": len(a.held)} for name, a in world.agents.items()},
        "compilers": {name: len(compiler.held) for name, compiler in world.compilers.items()},
        "stale_reports": world.stale_reports,
        "sequence": world.sequence,
    }


def explain(world: World, job_id: JobId) -> dict[str, Any]:
    """Why the job is where it is.

    Raises:
        NotFound: Not in memory.
    """
    record = world.record(job_id)
    device = world.devices.get(record.device)
    job = world.jobs.get(job_id)
    return {
        "job_id": job_id,
        "state": record.state.value,
        "public_state": PUBLIC_STATES[record.state].value,
        "attempt": record.attempt,
        "retries": record.retries,
        "position": position(world, job_id),
        "device": record.device,
        "device_status": (device_status(device) if device else DeviceStatus.OFFLINE).value,
        "agents": sorted(device.agents) if device else [],
        "reason": _reason(world, job, device) if job and not record.terminal else f"it is {record.state.value}",
    }


def _reason(world: World, job: Job, device: Device | None) -> str:
    record = job.record
    if record.cancel_requested:
        return f"waits until agent {record.agent} has stopped it"
    if record.state is TaskState.PENDING:
        return "waits for a compiler" if world.compilers else "no compiler is there"
    if record.state is TaskState.COMPILING:
        return f"is with compiler {job.compiler.name}" if job.compiler else "is being compiled"
    if record.state is TaskState.QUEUED:
        return _why_queued(world, job, device)
    if record.state in ON_AGENT and job.agent is None:
        return f"waits for agent {record.agent} to come back after a restart"
    if record.state is TaskState.ALLOCATING:
        return f"waits on agent {record.agent} for the group before it"
    return f"runs on agent {record.agent}"


def _why_queued(world: World, job: Job, device: Device | None) -> str:
    record = job.record
    if job.line is None:
        return f"waits {max((record.not_before or 0.0) - world.now, 0.0):.3f} s before its next attempt"
    if device is None or device.paused:
        return "the device is paused"
    if not device.agents:
        return "no agent serves the device"
    ahead = job.line.ahead_of(job.key)
    return f"{ahead} jobs are ahead of it" if ahead else "it is next; the agents are busy"

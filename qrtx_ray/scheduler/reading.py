"""Questions about the world; nothing here changes it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from qrtx_ray.model import DeviceInfo, DeviceStatus, JobId
from qrtx_ray.scheduler.lines import DeviceLine
from qrtx_ray.scheduler.workers import EVERYBODY, Attempt, Device
from qrtx_ray.scheduler.world import World

__all__ = [
    "AgentReading",
    "DeviceReading",
    "agent_readings",
    "device_readings",
    "device_status",
    "position",
    "snapshot",
]


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """A device now: jobs in its line, jobs with its agents, the agents, seconds of QPU time charged so far; of one whose
    noise drifts, the name of the published noise, when it was calibrated last, and the last measured fidelity; until when it
    is reserved, if it is now; and, while it is paused, whether it is drained.
    """

    info: DeviceInfo
    status: DeviceStatus
    queue_length: int
    running: int
    agents: tuple[str, ...]
    qpu_s: float
    noise_id: str = ""
    calibrated_at: float | None = None
    probe_fidelity: float | None = None
    reserved_until: float | None = None
    drained: bool = False


@dataclass(frozen=True, slots=True)
class AgentReading:
    """An agent now: the attempts it has, in how many groups, whether it is drained. One that is drained and not there has no
    incarnation and no devices.
    """

    name: str
    incarnation: str
    devices: tuple[str, ...]
    held: tuple[Attempt, ...]
    groups: int
    drained: bool


def device_readings(world: World) -> list[DeviceReading]:
    """All configured devices, in the order of the configuration."""
    held = (world.jobs.get(job_id) for agent in world.agents.values() for job_id, _ in agent.held)
    running = Counter(job.record.device for job in held if job is not None)
    return [_reading(device, running[name]) for name, device in world.devices.items() if device.configured]


def _reading(device: Device, running: int) -> DeviceReading:
    state = device.calibration
    return DeviceReading(
        info=device.info,
        status=device_status(device),
        queue_length=sum(device.waiting),
        running=running,
        agents=tuple(sorted(device.agents)),
        qpu_s=device.qpu_s,
        noise_id=device.noise_id,
        calibrated_at=state.calibrated_at if state else None,
        probe_fidelity=state.probes[-1][1] if state and state.probes else None,
        reserved_until=device.window.reservation.ends_at if device.window else None,
        drained=device.drains,
    )


def agent_readings(world: World) -> list[AgentReading]:
    """All agents that are here, or that are to take no work when they come, by name."""
    away = {name: AgentReading(name, "", (), (), 0, drained=True) for name in world.drained - {EVERYBODY}}
    here = {
        agent.name: AgentReading(
            agent.name, agent.incarnation, agent.devices, tuple(agent.held), len(agent.open), agent.drained
        )
        for agent in world.agents.values()
    }
    return [reading for _, reading in sorted((away | here).items())]


def device_status(device: Device) -> DeviceStatus:
    """Paused by the operator, else calibrating, else online when an agent takes its work."""
    if device.paused:
        return DeviceStatus.PAUSED
    if device.calibrating:
        return DeviceStatus.CALIBRATING
    return DeviceStatus.ONLINE if device.takers else DeviceStatus.OFFLINE


def position(world: World, job_id: JobId) -> int | None:
    """Jobs ahead of it in its device's line; None when it does not stand there (or is not in memory)."""
    job = world.jobs.get(job_id)
    if job is None or not isinstance(job.line, DeviceLine):
        return None
    return job.line.ahead_of(job)


def snapshot(world: World) -> dict[str, Any]:
    """Counts for metrics: plain data, cheap at any length of the lines."""
    return {
        "jobs": {state.value: list(levels) for state, levels in world.tally.items()},
        "live": world.live,
        "pending": len(world.pending),
        "queues": {name: sum(device.waiting) for name, device in world.devices.items()},
        "devices": {name: device_status(device).value for name, device in world.devices.items()},
        "agents": {name: {"groups": len(a.open), "jobs": len(a.held)} for name, a in world.agents.items()},
        "drained": sorted(world.drained),
        "compilers": {name: len(compiler.held) for name, compiler in world.compilers.items()},
        "promoted": list(world.promoted),
        "preempted": world.preempted,
        "replaced": world.replaced,
        "calibrations": {name: one.calibration.count for name, one in world.devices.items() if one.calibration},
        "stale_reports": world.stale_reports,
        "sequence": world.sequence,
    }

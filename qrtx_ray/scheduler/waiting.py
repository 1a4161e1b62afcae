"""How long a job would wait for a device: from what stands before it, who works there, and what holds the device up."""

from __future__ import annotations

from dataclasses import dataclass

from qrtx_ray.model import Reservation
from qrtx_ray.scheduler.calibration import Phase
from qrtx_ray.scheduler.job import Job
from qrtx_ray.scheduler.lines import DeviceLine
from qrtx_ray.scheduler.workers import Device, Pool, estimated_us
from qrtx_ray.scheduler.world import World

__all__ = ["Ahead", "Glances", "Wait", "expected_wait", "line_s", "utilisation", "work_ahead"]

Glances = dict[Pool, tuple[float, int]]
"""What a look at all agents of a pool told: seconds until one is free, and how many are at work. Kept by who asks for many
devices at the same moment, for those may have all their agents in common.
"""


@dataclass(frozen=True, slots=True)
class Ahead:
    """What goes before a job in its device's line: jobs, their estimated run time in microseconds, and which part of its own
    level that is.
    """

    jobs: int
    work_us: int
    part: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Expected seconds until a job starts; in eight of ten cases it is between `low_s` and `high_s`."""

    expected_s: float
    low_s: float
    high_s: float


def expected_wait(
    world: World,
    device: Device,
    level: int,
    *,
    ahead: Ahead | None = None,
    own: Reservation | None = None,
    glances: Glances | None = None,
) -> Wait | None:
    """The wait of a job of `level`, or None where nothing can be said: the device is paused, or nobody takes its work.

    Args:
        ahead: What goes before it, if it stands in the line; by default all that wait there at its level and above.
        own: A reservation that does not hold it up, for it is its own.
        glances: Of this very moment; filled as needed.
    """
    if device.paused or not device.takers:
        return None
    ratio = device.accuracy.ratio
    waits = []
    for pool in device.pools:
        if pool.takers:
            jobs, work_us = _ahead(pool, device, level, ahead)
            busy_s, _ = _glance(world, pool, {} if glances is None else glances)
            waits.append(((busy_s + work_us * 1e-6 * ratio / pool.takers), jobs, busy_s))
    work_s, jobs, _ = min(waits)
    low, high = device.accuracy.bar(jobs + 1)
    return Wait(*(_held_up(world, device, seconds, own) for seconds in (work_s, work_s * low, work_s * high)))


def line_s(device: Device, level: int) -> float:
    """Run time of what waits for the device at `level` and above, or will: all that can be said while nobody serves it."""
    work_us = sum(device.waiting_us[: level + 1]) + sum(device.coming_us[: level + 1])
    return work_us * 1e-6 * device.accuracy.ratio


def work_ahead(device: Device, job: Job) -> Ahead:
    """What goes before a job that stands in the device's line: the higher levels, and a part of its own."""
    assert isinstance(job.line, DeviceLine)
    ahead = job.line.ahead_of(job)
    beside = max(ahead - sum(device.waiting[: job.level]), 0)
    others = device.waiting[job.level] - 1
    part = min(beside / others, 1.0) if others else 0.0
    of_others_us = device.waiting_us[job.level] - estimated_us(job.record)
    return Ahead(ahead, sum(device.waiting_us[: job.level]) + round(of_others_us * part), part)


def utilisation(world: World, device: Device, glances: Glances) -> float:
    """The share of its agents that are at work; 1 where nobody takes work."""
    at_work = sum(_glance(world, pool, glances)[1] for pool in device.pools)
    return at_work / device.takers if device.takers else 1.0


def _ahead(pool: Pool, device: Device, level: int, ahead: Ahead | None) -> tuple[int, int]:
    """Jobs and work that the pool's agents do first; the lines of their other devices count in like proportion."""
    if ahead is None:
        jobs = sum(pool.waiting[: level + 1]) + sum(pool.coming[: level + 1])
        return jobs, sum(pool.waiting_us[: level + 1]) + sum(pool.coming_us[: level + 1])
    jobs = sum(pool.waiting[:level]) - sum(device.waiting[:level])
    work_us = sum(pool.waiting_us[:level]) - sum(device.waiting_us[:level])
    beside = pool.waiting[level] - device.waiting[level]
    beside_us = pool.waiting_us[level] - device.waiting_us[level]
    part = ahead.part
    return ahead.jobs + jobs + round(part * beside), ahead.work_us + work_us + round(part * beside_us)


def _glance(world: World, pool: Pool, glances: Glances) -> tuple[float, int]:
    found = glances.get(pool)
    if found is None:
        at_work = [agent.free_at for agent in pool.agents.values() if agent.open and not agent.drained]
        all_are = bool(at_work) and len(at_work) == pool.takers
        found = glances[pool] = (max(min(at_work) - world.now, 0.0) if all_are else 0.0, len(at_work))
    return found


def _held_up(world: World, device: Device, seconds: float, own: Reservation | None) -> float:
    """`seconds` of waiting, and what a calibration and the reservations of others add to it."""
    state = device.calibration
    if state is not None and state.phase is Phase.CALIBRATING:
        seconds += max(state.until - world.now, 0.0)
    elif state is not None and state.phase is Phase.DRAINING:
        seconds += state.noise.calibration_s
    for reservation in sorted(device.reservations.values(), key=lambda one: one.begins_at):
        if reservation is not own and reservation.begins_at <= world.now + seconds:
            seconds += max(reservation.ends_at - max(reservation.begins_at, world.now), 0.0)
    return seconds

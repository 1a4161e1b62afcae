"""Urgent work that finds all agents busy: whether somebody makes way, and who.

A job of a level that may preempt waits for a device. If one of its agents will soon be free, the job waits for that. If
not, the agent with the cheapest work gives it back: what it runs, and what it holds ready behind that, as far as all of
it is of lower levels and neither promoted nor stopped too often before. Never more agents than the urgent work needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice

from qrtx_ray.scheduler.asking import SLICES, ask_back
from qrtx_ray.scheduler.dispatch import startable
from qrtx_ray.scheduler.job import Job, Why
from qrtx_ray.scheduler.levels import aged_weight
from qrtx_ray.scheduler.preemption import Victim, cheapest
from qrtx_ray.scheduler.workers import Agent, Device
from qrtx_ray.scheduler.world import World

__all__ = ["ALARM", "estimate_s", "have_way_made", "on_look_due", "remaining_s"]

ALARM = "urgent"
_LOOK_AHEAD = 8  # jobs of the line among which an urgent one must be
_LOOKS = 2  # devices looked at by one event
_AGENTS = 64  # looked at for one decision
_TELLING = 0.02  #: progress from which on the pace of a run tells more than its estimate


def have_way_made(world: World) -> None:
    """Look at the devices of which this event changed something; at none too often and at few at once: a look takes a
    while. What is left over comes with a tick.
    """
    law = world.settings.preemption
    if not law.enabled:
        return
    urgent = [level for level, policy in enumerate(world.settings.levels) if policy.preempts]
    looks = 0
    for name, device in world.stirred.items():
        waiting = next((level for level in urgent if device.waiting[level]), None)
        # What a reservation has in line waits until others have run out, and is not contested while it lasts.
        if waiting is None or name not in world.busy or device.window is not None or not _all_at_work(device):
            continue
        if world.now < device.look_at or looks >= _LOOKS:
            world.alarms.arm(f"{ALARM}/{name}", max(device.look_at, world.now))
        else:
            looks += 1
            device.look_at = world.now + law.pause_s
            _make_way(world, device, waiting)


def on_look_due(world: World, name: str) -> None:
    """Time to look at the device again."""
    world.settle_line(world.devices[name])


@dataclass(frozen=True, slots=True)
class _Holding:
    """What of an agent's work could be given back: the victim, and its jobs."""

    agent: Agent
    victim: Victim
    jobs: tuple[Job, ...]


def _all_at_work(device: Device) -> bool:
    return bool(device.takers) and all(agent.open or agent.drained for agent in device.agents.values())


def _make_way(world: World, device: Device, level: int) -> None:
    soon, victim = _cheapest(world, device, level)
    if victim is None:
        if soon:
            _look_again(world, device)
        return
    levels = world.settings.levels
    urgent = [job for job in startable(world, device, _LOOK_AHEAD) if levels[job.level].preempts]
    if not urgent:
        return
    most_urgent = min(job.level for job in urgent)
    if most_urgent != level:  # the others of its level may not go: their tenants have all running that they may
        soon, victim = _cheapest(world, device, most_urgent)
    work_s = sum(estimate_s(world, job) for job in urgent)
    if victim is None or soon >= max(1, math.ceil(work_s / world.settings.max_group_s)):
        _look_again(world, device)
        return
    for job in victim.jobs:
        ask_back(world, job, Why.URGENT)
    world.alarms.arm(f"{ALARM}/{device.info.name}", world.now + _patience_s(world))


def _look_again(world: World, device: Device) -> None:
    """What was expected to end soon may not: estimates are wrong, and nothing else might happen here until it does."""
    world.alarms.arm(f"{ALARM}/{device.info.name}", world.now + world.settings.preemption.pause_s)


def _patience_s(world: World) -> float:
    return SLICES * world.settings.preemption.slice_s


def _cheapest(world: World, device: Device, level: int) -> tuple[int, _Holding | None]:
    """How many agents will soon be free, and whose work is the cheapest to stop for a job of `level`."""
    law = world.settings.preemption
    soon, holdings = 0, {}
    for agent in islice(device.agents.values(), _AGENTS):
        if agent.drained:
            continue
        if agent.making_way:
            # Not every run is cut into slices, and one that is not must not be all that urgent work waits for.
            soon += world.now - min(agent.making_way.values()) < _patience_s(world)
            continue
        if 0.0 < agent.free_at - world.now <= law.min_wait_s:
            soon += 1
            continue
        left_s, holding = _holding(world, agent, level)
        if left_s <= law.min_wait_s:
            soon += 1
        elif holding is not None:
            holdings[agent.name] = holding
    victim = cheapest(law, (holding.victim for holding in holdings.values()))
    if victim is None:
        return soon + len(holdings), None  # too near their end to be worth their price
    return soon, holdings[victim.agent]


def _holding(world: World, agent: Agent, level: int) -> tuple[float, _Holding | None]:
    """Seconds until the agent is free by itself, and what it could give back to be free sooner.

    Work goes back from the end: only if nothing before it must stay does stopping it make room.
    """
    groups: dict[str, list[Job]] = {group: [] for group in agent.open}
    for attempt, group in agent.held.items():
        job = world.holder(agent, attempt)
        if job is not None and not job.record.cancel_requested:
            groups[group].append(job)
    left = [_left_s(world, jobs) for jobs in groups.values()]
    total_s = sum(left)
    if not groups:
        return 0.0, None
    (running, *behind) = groups.values()
    back = [job for jobs in behind for job in jobs]
    if not all(_yields(world, job, level) for job in back):
        return total_s, None  # what is more urgent stands there already
    begun = all(_yields(world, job, level) for job in running) and left[0] > world.settings.preemption.min_wait_s
    jobs = (*running, *back) if begun else tuple(back)
    if not jobs:
        return total_s, None
    worth_s = total_s if begun else total_s - left[0]
    return total_s, _Holding(agent, Victim(agent.name, left[0] if begun else worth_s, begun), jobs)


def _yields(world: World, job: Job, level: int) -> bool:
    record = job.record
    if job.level <= level or record.promoted_at is not None or job.keeps_nothing or _aged_past(world, job, level):
        return False
    window = world.device(record.device).window
    reserved = window is not None and window.admits(record)
    return record.preemptions < world.settings.preemption.max_per_job and not reserved


def _aged_past(world: World, job: Job, level: int) -> bool:
    """Whether it got its turn because it had waited so long that it weighs more than `level`: to stop it then would take
    from it what it was just given, and what it has waited.
    """
    if not world.settings.aging:
        return False
    began = world.now if job.record.started_at is None else job.record.started_at
    levels = world.settings.levels
    return aged_weight(levels, job.level, began - job.since_us * 1e-6) > levels[level].weight


def _left_s(world: World, jobs: list[Job]) -> float:
    # Several members are never long together (`max_group_s`), and which of them runs is not known here.
    if len(jobs) == 1:
        return remaining_s(world, jobs[0])
    return sum(estimate_s(world, job) * (1.0 - job.record.progress) for job in jobs)


def estimate_s(world: World, job: Job) -> float:
    """Its estimated run time, corrected by what estimates were worth on its device."""
    record = job.record
    return record.profile.estimated_s * world.device(record.device).accuracy.ratio if record.profile else 0.0


def remaining_s(world: World, job: Job) -> float:
    """How long what an agent holds of the job will still run: by its pace, or, while that is unknown, by its estimate.

    A run that has outlived its estimate without a sign of progress is taken to have as much before it as behind it.
    """
    record = job.record
    whole_s, started_at = estimate_s(world, job), record.started_at
    if started_at is None:
        return whole_s * (1.0 - record.progress)
    elapsed_s = max(world.now - started_at, 0.0)
    done = record.progress - job.progress_before
    if done >= _TELLING and elapsed_s > 0.0:
        return elapsed_s * max(1.0 - record.progress, 0.0) / done
    left_s = whole_s * (1.0 - job.progress_before) - elapsed_s
    return left_s if left_s > 0.0 else elapsed_s

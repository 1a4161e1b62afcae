"""Which jobs go where: the choice of a group, and its lease to an agent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from qrtx_ray.model import Group, JobRecord, Member
from qrtx_ray.scheduler.commands import RunGroup
from qrtx_ray.scheduler.job import Job
from qrtx_ray.scheduler.settings import CoreSettings
from qrtx_ray.scheduler.states import Trigger
from qrtx_ray.scheduler.workers import Agent, Device
from qrtx_ray.scheduler.world import World

__all__ = ["GroupLimits", "GroupPolicy", "assign_runs", "choose_group", "fair_seconds", "fair_share", "has_room"]

_DISPATCHED = (Trigger.DISPATCHED,)
_ROUNDING = 1 + 1e-9  # a sum of parts must fit the whole
_LOOK_AHEAD = 4  # candidates looked at for every place in a group


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """Bounds of one group: members, Σ estimated wall seconds, Σ estimated bytes, one engine key or any."""

    jobs: int
    seconds: float
    bytes: int
    across_keys: bool = True


class GroupPolicy(Protocol):
    """Chooses the members of a group from the jobs of one device, given in the order of the line.

    Guarantees to keep: the first candidate is a member (nobody starves), members are distinct candidates, and there
    are no more than ``limits.jobs`` of them.
    """

    def __call__(self, candidates: Iterable[JobRecord], limits: GroupLimits) -> list[JobRecord]: ...


def choose_group(candidates: Iterable[JobRecord], limits: GroupLimits) -> list[JobRecord]:
    """The head of the line, as far as it fits.

    The first job always goes, however large. Jobs of another key are passed over where keys may not mix; the first
    job that exceeds a sum ends the group, so that a large job is not overtaken for ever. A job that has an attempt
    behind it goes alone: if it kills its agents, it takes nobody with it again.
    """
    members: list[JobRecord] = []
    seconds, size, key = 0.0, 0, ""
    for record in candidates:
        profile = record.profile
        own_s, own_bytes, own_key = (
            (profile.estimated_s, profile.estimated_bytes, profile.group_key) if profile else (0.0, 0, "")
        )
        if not members:
            key = own_key
        elif record.attempt or seconds + own_s > limits.seconds or size + own_bytes > limits.bytes:
            break
        elif own_key != key and not limits.across_keys:
            continue
        members.append(record)
        seconds += own_s
        size += own_bytes
        if record.attempt or len(members) >= limits.jobs:
            break
    return members


def fair_share(waiting: int, workers: int) -> int:
    """What one of `workers` should take of `waiting` jobs of unknown length: its part, rounded up."""
    return max(1, -(-waiting // max(workers, 1)))


def fair_seconds(waiting: Iterable[JobRecord], workers: int, least_s: float) -> float:
    """Estimated run time that one of `workers` should take of what waits: its part, so that all finish together.

    Work of less than `least_s` is not divided: another worker's call would cost more than the work.
    """
    total_s = sum(record.profile.estimated_s for record in waiting if record.profile is not None)
    return max(least_s, total_s / max(workers, 1) * _ROUNDING)


def assign_runs(world: World, policy: GroupPolicy) -> None:
    """Give work to every agent that offered room and serves a device with somebody in line."""
    if not world.busy:
        return
    for agent in list(world.parked.values()):
        if has_room(agent, world.settings):
            device = _best(world, agent)
            if device is not None:
                _lease(world, agent, device, policy)


def has_room(agent: Agent, settings: CoreSettings) -> bool:
    """Whether the agent may be given a group: to run, or to hold ready behind one that is soon over. Behind a long one it
    would only wait where no other agent can take it.
    """
    if not agent.open:
        return True
    return len(agent.open) < settings.max_groups_per_agent and agent.latest_s <= settings.prefetch_behind_s


def _best(world: World, agent: Agent) -> Device | None:
    """The device, of those the agent serves, whose first job goes before the first of all others."""
    found, least = None, 0
    for name in agent.devices:
        device = world.busy.get(name)
        if device is not None:
            key = device.line.first()
            assert key is not None
            if found is None or key < least:
                found, least = device, key
    return found


def _lease(world: World, agent: Agent, device: Device, policy: GroupPolicy) -> None:
    settings = world.settings
    count = min(agent.capacity, settings.max_group_jobs)
    waiting = [world.by_key[key].record for key in islice(device.line, _LOOK_AHEAD * count)]
    seconds = min(settings.max_group_s, fair_seconds(waiting, len(device.agents), settings.min_group_s))
    limits = GroupLimits(count, seconds, settings.max_group_bytes, settings.group_across_keys)
    chosen = {record.id: None for record in policy(waiting, limits)}
    jobs = [world.jobs[job_id] for job_id in chosen]
    first = jobs[0].record
    group_id = f"{first.id}.{first.attempt + 1}"
    members = tuple([_allocate(world, job, agent, group_id) for job in jobs])
    _allow(world, jobs)
    agent.latest_s = sum(job.record.profile.estimated_s for job in jobs if job.record.profile)
    agent.hold(group_id, [(member.job_id, member.attempt) for member in members], world.now)
    agent.capacity = 0
    del world.parked[agent.name]
    world.send(RunGroup(agent.name, agent.incarnation, Group(group_id, device.info.name, members)))


def _allocate(world: World, job: Job, agent: Agent, group_id: str) -> Member:
    world.leave_line(job)
    record = job.record
    attempt = record.attempt + 1
    world.advance(job, _DISPATCHED, "dispatched", attempt=attempt, agent=agent.name, group=group_id, not_before=None)
    job.agent = agent
    job.patience_until = None
    world.arm(job)
    qubits = record.profile.active_qubits if record.profile else 0
    return Member(record.id, attempt, record.seed, world.timeout_s(record), qubits=qubits)


def _allow(world: World, jobs: list[Job]) -> None:
    """Members run one after another: each may have to wait for those before it, all of them up to their limits."""
    total = world.settings.execution_grace_s
    for job in jobs:
        total += world.timeout_s(job.record)
        job.allowance_s = total

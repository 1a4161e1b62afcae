"""Which compiled jobs are given to which agents: the lease of a group.

Only what an event may have changed is looked at: the agents that made an offer, and those of the devices whose line
was opened, filled or freed. All others found nothing before, and nothing has changed for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import inf

from qrtx_ray.model import Group, JobRecord, Member, Reservation
from qrtx_ray.scheduler.commands import RunGroup
from qrtx_ray.scheduler.dues import timeout_s
from qrtx_ray.scheduler.job import Job
from qrtx_ray.scheduler.policies.priority import choose_group
from qrtx_ray.scheduler.policies.protocol import GroupLimits, GroupPolicy
from qrtx_ray.scheduler.settings import CoreSettings
from qrtx_ray.scheduler.states import Trigger
from qrtx_ray.scheduler.workers import Agent, Device, belongs
from qrtx_ray.scheduler.world import World

__all__ = [
    "GroupLimits",
    "GroupPolicy",
    "assign_runs",
    "choose_group",
    "fair_seconds",
    "fair_share",
    "has_room",
    "startable",
]

_DISPATCHED = (Trigger.DISPATCHED,)
_ROUNDING = 1 + 1e-9  # a sum of parts must fit the whole
_LOOK_AHEAD = 4  # candidates looked at for every place in a group
_FEW = 32  # so many devices are looked at one by one


def fair_share(waiting: int, workers: int) -> int:
    """What one of `workers` should take of `waiting` jobs of unknown length: its part, rounded up."""
    return max(1, -(-waiting // max(workers, 1)))


def fair_seconds(waiting_s: float, workers: int, least_s: float) -> float:
    """Estimated run time that one of `workers` should take of what waits: its part, so that all finish together.

    Work of less than `least_s` is not divided: another worker's call would cost more than the work.
    """
    return max(least_s, waiting_s / max(workers, 1) * _ROUNDING)


def assign_runs(world: World) -> None:
    """Give work to every agent that offered room and serves a device with somebody in line."""
    if world.busy and (world.offered or world.stirred):
        for agent in _matches(world):
            if not world.busy:
                return
            if world.parked.get(agent.name) is agent and has_room(agent, world.settings):
                any(_lease(world, agent, device) for device in _by_urgency(world, agent))


def has_room(agent: Agent, settings: CoreSettings) -> bool:
    """Whether the agent may be given a group: to run, or to hold ready behind one that is soon over. Behind a long one it
    would only wait where no other agent can take it.
    """
    if not agent.open:
        return True
    return len(agent.open) < settings.max_groups_per_agent and agent.latest_s <= settings.prefetch_behind_s


def _matches(world: World) -> list[Agent]:
    """The agents that this event may have found work for, those that wait longest first."""
    found = dict(world.offered)
    for device in world.stirred.values():
        found.update((name, agent) for name, agent in device.agents.items() if name in world.parked)
    return sorted(found.values(), key=lambda agent: agent.offer)


def _by_urgency(world: World, agent: Agent) -> Iterator[Device]:
    """The devices, of those the agent serves, that have somebody in line, the one whose first job is most urgent first.

    Of a large pool some at a time: the next only where nobody at those may go.
    """
    looked: set[str] = set()
    while devices := _candidates(world, agent, looked):
        looked.update(device.info.name for device in devices)
        if len(devices) == 1:
            yield from devices
        else:
            urgent = [(device.front.urgency(world.now), device.info.name) for device in devices]
            yield from [world.devices[name] for urgency, name in sorted(urgent) if urgency[0] < inf]
        for device in devices:
            agent.pool.turn(device)  # or the next agent would look at the same ones first


def _candidates(world: World, agent: Agent, looked: set[str]) -> list[Device]:
    """All busy devices of a small pool; of a large one some of each level, those served longest ago.

    Between levels nothing is lost by that. Within one, a more urgent job at another device may have to wait for its
    turn, which comes: a device that was served goes to the end. An agent that waited before this event found nothing
    then, and looks only where the event has changed something.
    """
    busy, pool = world.busy, agent.pool
    if agent.name not in world.offered:
        own = (device for name, device in world.stirred.items() if name in busy and agent.name in device.agents)
        return [] if looked else list(own)
    if len(pool.devices) <= _FEW:
        return [] if looked else [busy[name] for name in pool.devices if name in busy]
    found: dict[str, Device] = {}
    for standing in pool.standing:
        waiting = ((name, one) for name, one in standing.items() if name in busy and name not in looked)
        found.update(islice(waiting, _FEW // 4))
    return list(found.values())


def _lease(world: World, agent: Agent, device: Device) -> bool:
    """Give the agent a group of the device's jobs; False when none of them may go now."""
    settings = world.settings
    count = min(agent.capacity, settings.max_group_jobs)
    waiting_s = sum(device.waiting_us) * 1e-6
    seconds = min(settings.max_group_s, fair_seconds(waiting_s, device.takers, settings.min_group_s))
    limits = GroupLimits(count, seconds, settings.max_group_bytes, settings.group_across_keys, device.info.num_qubits)
    waiting = (job.record for job in startable(world, device, _LOOK_AHEAD * count, agent))
    chosen = {record.id: None for record in world.group_policy(waiting, limits)}
    if not chosen:
        return False
    jobs = [world.jobs[job_id] for job_id in chosen]
    first = jobs[0].record
    group_id = f"{first.id}.{first.attempt + 1}"
    members = tuple([_allocate(world, job, agent, group_id) for job in jobs])
    _allow(world, jobs)
    agent.latest_s = sum(job.record.profile.estimated_s for job in jobs if job.record.profile)
    begins_at = max(agent.free_at, world.now) if agent.open else world.now
    agent.free_at = begins_at + agent.latest_s * device.accuracy.ratio
    agent.hold(group_id, [(member.job_id, member.attempt) for member in members], world.now)
    agent.capacity = 0
    agent.pool.turn(device)
    del world.parked[agent.name]
    noise_id = "" if device.calibration is None else device.calibration.truth(world.now)
    world.send(RunGroup(agent.name, agent.incarnation, Group(group_id, device.info.name, members, noise_id)))
    return True


def startable(world: World, device: Device, count: int, agent: Agent | None = None) -> Iterator[Job]:
    """The next `count` jobs of the device's line, without those that would reach into another's reservation, or that are
    kept for another than `agent` (None: for anybody). The line must not change meanwhile.
    """
    name = "" if agent is None else agent.name
    line = (
        job
        for job in islice(device.front.in_order(world.now), count)
        if job.move is None or (agent is not None and job.move.admits(name, world.now))
    )
    # One that should have begun by now begins with the next tick.
    present = None if device.window is None else device.window.reservation
    to_come = [one for one in device.reservations.values() if one is not present and one.ends_at > world.now]
    if not to_come:
        return line
    following = min(to_come, key=lambda one: one.begins_at)
    gap_s = (following.begins_at - world.now) / device.accuracy.ratio
    return (job for job in line if _fits(job.record, gap_s, following))


def _fits(record: JobRecord, gap_s: float, following: Reservation) -> bool:
    return record.profile is None or record.profile.estimated_s <= gap_s or belongs(record, following)


def _allocate(world: World, job: Job, agent: Agent, group_id: str) -> Member:
    world.leave_line(job)
    record = job.record
    attempt = record.attempt + 1
    world.advance(job, _DISPATCHED, "dispatched", attempt=attempt, agent=agent.name, group=group_id, not_before=None)
    job.agent = agent
    job.asked = job.move = None
    job.progress_before = record.progress
    job.patience_until = None
    world.arm(job)
    return member_of(job.record, world.settings)


def member_of(record: JobRecord, settings: CoreSettings) -> Member:
    """What the agent is told of the attempt."""
    profile, every_s = record.profile, record.checkpoint_interval_s
    return Member(
        record.id,
        record.attempt,
        record.seed,
        timeout_s(settings, record),
        qubits=profile.active_qubits if profile else 0,
        checkpoints=record.checkpoints,
        checkpoint_every_s=settings.checkpoint_interval_s if every_s is None else every_s,
        bulk_bytes=profile.bulk_bytes if profile else 0,
    )


def _allow(world: World, jobs: list[Job]) -> None:
    """Members run one after another: each may have to wait for those before it, all of them up to their limits."""
    total = world.settings.execution_grace_s
    for job in jobs:
        total += timeout_s(world.settings, job.record)
        job.allowance_s = total

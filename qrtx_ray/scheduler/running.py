"""Device agents: who is there, what they hold, what they say of it."""

from __future__ import annotations

from itertools import islice

from qrtx_ray.model import AgentInfo, RunReport, TaskState
from qrtx_ray.scheduler.asking import ask_end, conclusion_s, reconsider, remind
from qrtx_ray.scheduler.commands import StopAttempt
from qrtx_ray.scheduler.draining import is_drained
from qrtx_ray.scheduler.dues import timeout_s
from qrtx_ray.scheduler.events import (
    AgentHeard,
    AgentJoined,
    AgentLost,
    AgentReady,
    CheckpointsKept,
    RunsReported,
    RunsStarted,
)
from qrtx_ray.scheduler.job import Job, evolve
from qrtx_ray.scheduler.keeping import keep
from qrtx_ray.scheduler.outcomes import lose_attempt, settle
from qrtx_ray.scheduler.placing import look_elsewhere, look_for_stranded, vacate
from qrtx_ray.scheduler.states import ExecutingStep, Trigger, executing_step
from qrtx_ray.scheduler.workers import Agent, Attempt
from qrtx_ray.scheduler.world import World

__all__ = [
    "on_agent_heard",
    "on_agent_joined",
    "on_agent_lost",
    "on_agent_ready",
    "on_checkpoints_kept",
    "on_runs_reported",
    "on_runs_started",
]

_STARTED = (Trigger.STARTED,)
_URGENT_DEVICES = 4  # looked at with one heartbeat


def on_agent_joined(world: World, event: AgentJoined) -> None:
    """Adopt the attempts it names that are still wanted, have it stop the others, and lose what it does not name."""
    info = event.info
    old = world.agents.get(info.name)
    if old is not None and old.incarnation != info.incarnation:
        _drop(world, old, "agent replaced")
        old = None
    agent = _enter(world, info)
    unclaimed = world.orphans.pop(info.name, {})
    for attempt in info.running:
        job = world.jobs.get(attempt[0])
        # A stranger's attempt occupies the agent all the same, until it says that it has stopped.
        group = f"{attempt[0]}.{attempt[1]}"
        if job is not None and job.record.attempt == attempt[1] and _claimable(job, old, unclaimed):
            unclaimed.pop(attempt[0], None)
            group = job.record.group or group
            _adopt(world, job, agent)
        else:
            world.send(StopAttempt(agent.name, agent.incarnation, *attempt))
        if attempt not in agent.held:
            agent.hold(group, [attempt], world.now)
    for job in unclaimed.values():
        lose_attempt(world, job, "its agent does not have it")
    if old is not None:
        _lose_all(world, old, "its agent does not have it")
    look_for_stranded(world)


def on_agent_ready(world: World, event: AgentReady) -> None:
    agent = _known(world, event.agent, event.incarnation)
    if agent is None:
        return
    world.offer(agent, event.capacity)


def on_runs_started(world: World, event: RunsStarted) -> None:
    agent = _known(world, event.agent, event.incarnation)
    if agent is None:
        return
    for attempt in event.members:
        job = world.holder(agent, attempt)
        if job is None:
            world.stale_reports += 1
        elif job.record.state is TaskState.ALLOCATING:
            _start(world, job)


def on_agent_heard(world: World, event: AgentHeard) -> None:
    """A heartbeat moves progress, and settles disagreements about what the agent holds."""
    beat = event.heartbeat
    agent = _known(world, beat.agent, beat.incarnation)
    if agent is None:
        return
    for attempt in beat.running:
        if attempt in agent.held:
            agent.seen[attempt] = world.now
        remind(world, agent, attempt)
    for job_id, number, fraction, slices in beat.progress:
        job = world.holder(agent, (job_id, number))
        if job is not None:
            note_progress(world, job, fraction, slices)
    _stir_urgent(world, agent)
    oldest = world.now - world.settings.missing_grace_s
    for attempt in [attempt for attempt, seen in agent.seen.items() if seen < oldest]:
        job = world.holder(agent, attempt)
        _release(world, agent, attempt)
        if job is not None:
            lose_attempt(world, job, "missing from its agent's heartbeats")


def on_runs_reported(world: World, event: RunsReported) -> None:
    agent = _known(world, event.agent, event.incarnation)
    if agent is None:
        return
    for report in event.reports:
        attempt = (report.job_id, report.attempt)
        job = world.holder(agent, attempt)
        _release(world, agent, attempt)
        if job is None:
            world.stale_reports += 1
        else:
            _learn(world, job, report)
            settle(world, job, report)
            look_elsewhere(world, job)


def on_checkpoints_kept(world: World, event: CheckpointsKept) -> None:
    """What is durable of a present attempt is valid from now on; of any other it is not, for another run goes on without it."""
    agent = _known(world, event.agent, event.incarnation)
    if agent is None:
        return
    for kept in event.checkpoints:
        job = world.holder(agent, (kept.job_id, kept.attempt))
        if job is None or not keep(world, job, kept.checkpoint):
            world.stale_reports += 1
        else:
            note_progress(world, job, kept.checkpoint.progress)


def on_agent_lost(world: World, event: AgentLost) -> None:
    agent = world.agents.get(event.agent)
    if agent is not None and event.incarnation in {None, agent.incarnation}:
        _drop(world, agent, event.reason or "agent lost")
        deserted = [device for name in agent.devices if not (device := world.devices[name]).agents]
        for device in deserted:
            device.deserted_at = world.now
        vacate(world, *deserted)


def _release(world: World, agent: Agent, attempt: Attempt) -> None:
    if agent.release(attempt) and agent.name in world.parked:
        world.offered[agent.name] = agent  # there may be room now for what it offered before


def _learn(world: World, job: Job, report: RunReport) -> None:
    """What the run took tells how good estimates are; of one that went on with kept progress, its part was estimated."""
    profile = job.record.profile
    if report.sha256 is not None and not report.partial and profile is not None:
        part = 1.0 - job.progress_before
        world.device(job.record.device).accuracy.observe(profile.estimated_s * part, report.wall_s)


def _stir_urgent(world: World, agent: Agent) -> None:
    """The agent's progress may tell that urgent work should not wait for it any longer."""
    for level, policy in enumerate(world.settings.levels):
        if policy.preempts and agent.pool.waiting[level]:
            for device in list(islice(agent.pool.standing[level].values(), _URGENT_DEVICES)):
                world.settle_line(device)


def _claimable(job: Job, old: Agent | None, unclaimed: dict[str, Job]) -> bool:
    return job.record.id in unclaimed or (old is not None and job.agent is old)


def _adopt(world: World, job: Job, agent: Agent) -> None:
    record = job.record
    job.agent = agent
    if record.cancel_requested:
        ask_end(world, job)
        job.patience_until = world.now + conclusion_s(world, record)
    else:
        # After a restart nobody knows how its group was made up: the limit counts anew, rather late than too early.
        job.allowance_s = job.allowance_s or timeout_s(world.settings, record) + world.settings.execution_grace_s
        running = record.state is TaskState.EXECUTING
        job.patience_until = world.now + job.allowance_s if running else None
        reconsider(world, job)
    world.arm(job)


def _start(world: World, job: Job) -> None:
    world.advance(job, _STARTED, "started", started_at=world.now, substate=ExecutingStep.QUANTUM_INITIALIZING)
    if not job.record.cancel_requested:
        job.patience_until = world.now + job.allowance_s
        world.arm(job)


def note_progress(world: World, job: Job, fraction: float, slices: int = 0) -> None:
    """The attempt is so far; what is not a number, or goes back, is left out."""
    fraction = min(max(0.0, fraction), 1.0)
    if fraction > 0 and job.record.state is TaskState.ALLOCATING:
        _start(world, job)  # the notice of the start was lost, but who makes progress has started
    record = job.record
    if record.state is TaskState.EXECUTING and (fraction > record.progress or slices > record.slices):
        # Not worth a write: the version stays, and the next write of the row takes the figures along.
        fraction, slices = max(fraction, record.progress), max(slices, record.slices)
        job.record = evolve(record, {"progress": fraction, "slices": slices, "substate": executing_step(fraction)})


def _enter(world: World, info: AgentInfo) -> Agent:
    devices = tuple(dict.fromkeys(name for name in info.devices if name in world.devices))
    known = world.agents.get(info.name)
    if known is not None:
        _leave(world, known)
    agent = world.agents[info.name] = Agent(info.name, info.incarnation, world.pool(devices))
    agent.pool.agents[info.name] = agent
    agent.drained = is_drained(world, info.name)
    agent.pool.takers += not agent.drained
    for name in devices:
        world.devices[name].agents[info.name] = agent
    return agent


def _leave(world: World, agent: Agent) -> None:
    world.parked.pop(agent.name, None)
    world.leave_pool(agent)
    for name in agent.devices:
        world.devices[name].agents.pop(agent.name, None)


def _drop(world: World, agent: Agent, reason: str) -> None:
    del world.agents[agent.name]
    _leave(world, agent)
    _lose_all(world, agent, reason)


def _lose_all(world: World, agent: Agent, reason: str) -> None:
    for attempt in agent.held:
        job = world.holder(agent, attempt)
        if job is not None:
            lose_attempt(world, job, reason)


def _known(world: World, name: str, incarnation: str) -> Agent | None:
    agent = world.agents.get(name)
    if agent is None or agent.incarnation != incarnation:
        world.stale_reports += 1
        return None
    return agent

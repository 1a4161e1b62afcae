"""What must hold between any two events. Walks everything: for tests and for debugging, not for production."""

from __future__ import annotations

from qrtx_ray.errors import InternalError
from qrtx_ray.model import TaskState
from qrtx_ray.scheduler.dispatch import has_room
from qrtx_ray.scheduler.job import ON_AGENT, Job
from qrtx_ray.scheduler.world import World

__all__ = ["check"]


def check(world: World) -> None:
    """Compare every part of the world with every other.

    Raises:
        InternalError: Two parts disagree; says which.
    """
    for job in world.jobs.values():
        _check_job(world, job)
    live = [job for job in world.jobs.values() if not job.record.terminal]
    _must(world.live == len(live) == sum(world.tenants.values()), "live jobs are miscounted")
    _must(world.by_key == {job.key: job for job in world.jobs.values()}, "the index of keys is wrong")
    _must(all(record.terminal for record in world.finished.values()), "a live job is among the finished")
    _must(not world.jobs.keys() & world.finished.keys(), "a job is both in memory and among the finished")
    _must(len(world.finished) <= world.settings.terminal_memory, "too many finished jobs are remembered")
    for state, levels in world.tally.items():
        if state.value not in {"Completed", "Failed", "Cancelled", "Timeout"}:
            _must(sum(levels) == sum(job.record.state is state for job in live), f"{state.value} is miscounted")
    _check_lines(world)
    _check_workers(world)


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise InternalError(otherwise)


def _check_job(world: World, job: Job) -> None:
    record, name = job.record, f"job {job.record.id} ({job.record.state.value})"
    state = record.state
    on_agent = state in ON_AGENT
    backing_off = state is TaskState.QUEUED and (record.not_before or 0.0) > 0.0
    wants_line = state is TaskState.PENDING or (state is TaskState.QUEUED and not backing_off)
    _must(not wants_line or job.line is not None, f"{name} stands in no line")
    _must(job.line is None or state in {TaskState.PENDING, TaskState.QUEUED}, f"{name} stands in a line")
    _must((job.compiler is not None) == (state is TaskState.COMPILING), f"{name} and its compiler disagree")
    _must(job.agent is None or on_agent, f"{name} has an agent")
    orphan = record.id in world.orphans.get(record.agent or "", {})
    _must(orphan == (on_agent and job.agent is None), f"{name} is an orphan, or is not")
    if job.agent is not None:
        _must((record.id, record.attempt) in job.agent.held, f"{name} is not held by its agent")
        _must(record.agent == job.agent.name, f"{name} names another agent")
    due = world.timers.due(record.id)
    _must(not record.terminal or due is None, f"{name} is over and has a deadline")
    _must(job.line is not None or record.terminal or due is not None or bool(job.agent), f"nothing would wake {name}")


def _check_lines(world: World) -> None:
    lines = [world.pending, *(device.line for device in world.devices.values())]
    for line in lines:
        keys = list(line)
        _must(keys == sorted(set(keys)) and len(keys) == len(line), "a line is out of order")
        _must(all(world.by_key[key].line is line for key in keys), "a line holds a job that is not in it")
    waiting = {name for name, device in world.devices.items() if device.line and not device.paused}
    _must(set(world.busy) == waiting, "the busy devices are not those with a line")


def _check_workers(world: World) -> None:
    for compiler in world.compilers.values():
        for job_id, attempt in compiler.held.items():
            job = world.jobs[job_id]
            _must(job.compiler is compiler and job.compile_attempt == attempt, f"{compiler.name} holds a stranger")
    for agent in world.agents.values():
        counts: dict[str, int] = {}
        for group in agent.held.values():
            counts[group] = counts.get(group, 0) + 1
        _must(counts == agent.open and agent.held.keys() == agent.seen.keys(), f"{agent.name} is booked wrongly")
        if agent.name in world.parked and has_room(agent, world.settings):
            _must(not any(name in world.busy for name in agent.devices), f"{agent.name} idles beside a line")
    _must(all(world.agents.get(name) is agent for name, agent in world.parked.items()), "a stranger is parked")
    _must(not (world.parked_compilers and world.pending), "a compiler idles beside a line")

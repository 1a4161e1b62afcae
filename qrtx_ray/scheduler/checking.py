"""What must hold between any two events. Walks everything: for tests and for debugging, not for production."""

from __future__ import annotations

from qrtx_ray.errors import InternalError
from qrtx_ray.model import TaskState
from qrtx_ray.scheduler.dispatch import has_room, startable
from qrtx_ray.scheduler.draining import is_drained
from qrtx_ray.scheduler.job import ON_AGENT, Job, kept_progress
from qrtx_ray.scheduler.queues import key_at
from qrtx_ray.scheduler.workers import Agent, Attempt, estimated_us
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
    _must(world.live == len(live), "live jobs are miscounted")
    _must(world.by_key == {job.key: job for job in world.jobs.values()}, "the index of keys is wrong")
    _must(all(record.terminal for record in world.finished.values()), "a live job is among the finished")
    _must(not world.jobs.keys() & world.finished.keys(), "a job is both in memory and among the finished")
    _must(len(world.finished) <= world.settings.terminal_memory, "too many finished jobs are remembered")
    for state, levels in world.tally.items():
        if state.value not in {"Completed", "Failed", "Cancelled", "Timeout"}:
            _must(sum(levels) == sum(job.record.state is state for job in live), f"{state.value} is miscounted")
    _check_lines(world)
    _check_tenants(world, live)
    _check_workers(world)
    _check_pools(world)


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
    _check_wishes(world, job, name)
    due = world.timers.due(record.id)
    _must(not record.terminal or due is None, f"{name} is over and has a deadline")
    _must(job.line is not None or record.terminal or due is not None or bool(job.agent), f"nothing would wake {name}")


def _check_wishes(world: World, job: Job, name: str) -> None:
    """What somebody wants of the job, and what is kept of it."""
    record, state = job.record, job.record.state
    held = state in ON_AGENT or state in {TaskState.VALIDATING, TaskState.COMPILING}
    _must(not record.pause_requested or (held and not record.cancel_requested), f"{name} is to be paused, and is not")
    _must(record.paused_by is not None or not record.pause_requested, f"{name} is to be paused by nobody")
    paused = state is TaskState.PAUSED
    _must(not paused or None not in {record.paused_at, record.paused_by}, f"{name} is paused by nobody")
    _must(paused or record.terminal or record.paused_at is None, f"{name} is not paused any more")
    _must(not record.keep_partial or record.cancel_requested, f"{name} is to be concluded, but not cancelled")
    _must(not record.partial or record.result_sha256 is not None, f"{name} has partial results, and none")
    _must(job.move is None or state in {TaskState.QUEUED, *ON_AGENT}, f"{name} is moved from nobody")
    numbers = [one.sequence for one in record.checkpoints]
    _must(numbers == sorted(set(numbers), reverse=True), f"the checkpoints of {name} are out of order")
    _must(len(numbers) <= world.settings.kept_checkpoints, f"{name} keeps too many checkpoints")
    if state in {TaskState.PENDING, TaskState.QUEUED, TaskState.PAUSED}:
        _must(record.progress == kept_progress(record), f"{name} waits with a progress that nobody keeps")


def _check_lines(world: World) -> None:
    keys = list(world.pending)
    _must(keys == sorted(set(keys)) and len(keys) == len(world.pending), "the compilers' line is out of order")
    _must(all(world.by_key[key_at(key)].line is world.pending for key in keys), "a line holds a job that is not in it")
    lines = [device.line for device in world.devices.values()]
    lines += [device.window.line for device in world.devices.values() if device.window]
    for line in lines:
        line.check()
        jobs = list(line)
        _must(len(jobs) == len({job.key for job in jobs}) == len(line), "a line is miscounted")
        _must(all(job.line is line for job in jobs), "a line holds a job that is not in it")
        order = [job.key for job in line.in_order(world.now)]
        head = line.head(world.now)
        _must(order[:1] == ([] if head is None else [head.key]), "the head of a line does not go first")
        _must(len(set(order)) == len(order) <= len(line), "a line gives a job away twice")
    waiting = {name for name, device in world.devices.items() if device.front and not device.closed}
    _must(set(world.busy) == waiting, "the busy devices are not those with a line")


def _check_tenants(world: World, live: list[Job]) -> None:
    for name, account in world.tenants.accounts.items():
        own = [job for job in live if job.account is account]
        _must(all(job.record.tenant == name for job in own), f"a job is booked to {name} and is not its own")
        held = [job for job in own if job.record.state in ON_AGENT]
        waiting = [job for job in own if job.line is not None and job.line is not world.pending]
        counts = (account.live, account.running, account.waiting)
        _must(counts == (len(own), len(held), len(waiting)), f"the jobs of {name} are miscounted")
        _must(account.running_us == sum(job.held_us or 0 for job in held), f"what {name} has running is miscounted")
        _must(all((job.held_us is not None) == (job in held) for job in own), f"a job of {name} is half with an agent")
        _must(account.committed_us == sum(job.committed_us for job in own), f"what {name} needs is miscounted")
        policy = account.policy
        _must(policy.max_queued is None or account.live <= policy.max_queued, f"{name} has more jobs than its quota")
        _must(
            (account.place is not None) == bool(waiting and not account.full),
            f"{name} stands in no order, or should not",
        )
        _must(account not in world.tenants.thawing or not account.full, f"{name} thaws and is full")
        _must(not any(account.skipped) or account.full or account in world.tenants.thawing, f"{name} stays passed over")
    places = world.tenants.order
    _must(places == sorted(places), "the tenants are out of order")
    _must([place[2].place for place in places] == places, "a tenant is not where the order has it")


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
        _must(agent.making_way.keys() <= agent.held.keys(), f"{agent.name} is asked for what it has not")
        _must(agent.drained == is_drained(world, agent.name), f"{agent.name} is drained, or is not")
        _must(not agent.drained or agent.name not in world.parked, f"{agent.name} is drained and parked")
        for held in agent.held:
            _check_asked(world, agent, held)
        if agent.name in world.parked and has_room(agent, world.settings):
            lines = [
                next(startable(world, world.busy[name], 1, agent), None) for name in agent.devices if name in world.busy
            ]
            _must(not any(lines), f"{agent.name} idles beside a line")
    _must(all(world.agents.get(name) is agent for name, agent in world.parked.items()), "a stranger is parked")
    _must(not (world.parked_compilers and world.pending), "a compiler idles beside a line")


def _check_asked(world: World, agent: Agent, attempt: Attempt) -> None:
    """Whoever is to give an attempt back is asked for it."""
    job = world.holder(agent, attempt)
    if job is not None and not job.record.cancel_requested:
        drains = agent.drained or world.device(job.record.device).drains
        wanted = job.record.pause_requested or drains or job.move is not None
        _must(not wanted or attempt in agent.making_way, f"nobody asks {agent.name} for {attempt}")


def _check_pools(world: World) -> None:
    """What devices and pools count beside their lines."""
    for name, device in world.devices.items():
        lines = [device.line, *([device.window.line] if device.window else [])]
        jobs = [job for line in lines for job in line]
        levels = [[job for job in jobs if job.level == level] for level in range(4)]
        _must(device.waiting == [len(some) for some in levels], f"the jobs that wait for {name} are miscounted")
        work = [sum(estimated_us(job.record) for job in some) for some in levels]
        _must(device.waiting_us == work, f"the work that waits for {name} is miscounted")
        promised = [job for job in world.jobs.values() if job.promised is not None and job.promised[0] is device]
        _must(sum(device.coming) == len(promised), f"the jobs that will come to {name} are miscounted")
        coming_us = sum(job.promised[1] for job in promised if job.promised)
        _must(sum(device.coming_us) == coming_us, f"the work that will come to {name} is miscounted")
        _must(all(job.line is device.line_for(job.record) for job in jobs), f"a job of {name} is in the wrong line")
        _must(device.paused or not device.drains, f"{name} is drained and not paused")
        _must(all(pool.agents for pool in device.pools), f"{name} has a pool without agents")
        served = {agent for pool in device.pools for agent in pool.agents}
        _must(served == device.agents.keys(), f"the agents of {name} and its pools disagree")
        _must(
            all(world.reservations.get(one) is held for one, held in device.reservations.items()), "a stray reservation"
        )
    for pool in world.pools.values():
        takers = sum(not agent.drained for agent in pool.agents.values())
        _must(pool.takers == takers, "those of a pool that take work are miscounted")
        devices = [world.devices[name] for name in pool.devices]
        for level in range(4):
            _must(pool.waiting[level] == sum(one.waiting[level] for one in devices), "a pool is miscounted")
            _must(
                pool.waiting_us[level] == sum(one.waiting_us[level] for one in devices), "a pool's work is miscounted"
            )
            _must(pool.coming_us[level] == sum(one.coming_us[level] for one in devices), "a pool expects other work")
            standing = {one.info.name for one in devices if one.waiting[level]}
            _must(standing == pool.standing[level].keys(), "a pool does not know where jobs stand")

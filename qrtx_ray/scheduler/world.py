"""Everything the core knows, and the few ways in which it may change.

The modules beside this one decide; they change jobs through `advance`, `amend`, `enqueue`, `close` and `drop` only, so
that the record, the history, the counts, the lines and the timers cannot disagree. What one event changes is collected
in a draft and leaves as one Persist, first of the commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from qrtx_ray.errors import NotFound
from qrtx_ray.model import Candidate, DeviceInfo, JobChange, JobId, JobRecord, Reservation, TaskState
from qrtx_ray.scheduler.commands import EXECUTABLE, Command, Persist, RecordMetadata
from qrtx_ray.scheduler.dues import next_due, promotion_at, waits_since
from qrtx_ray.scheduler.job import ON_AGENT, Job, change_of, evolve, kept_progress
from qrtx_ray.scheduler.lines import DeviceLine
from qrtx_ray.scheduler.policies.protocol import GroupPolicy, Policy
from qrtx_ray.scheduler.queues import WaitingLine, key_at, pending_place
from qrtx_ray.scheduler.settings import CoreSettings
from qrtx_ray.scheduler.states import TRANSITIONS, Trigger, next_state
from qrtx_ray.scheduler.tenants import Tenants
from qrtx_ray.scheduler.timers import Timers
from qrtx_ray.scheduler.workers import Agent, Attempt, Compiler, Device, Pool

__all__ = ["World"]

_THAW = 16  # lines that one event looks at again for all tenants that may have more running


class World:
    """The state of the scheduler. *Do not* change its parts directly, ever, but through the methods.

    Attributes:
        jobs: Live jobs, and finished ones whose metadata is not recorded.
        policy / group_policy: Where jobs go that leave the choice; who shares a run.
        finished: The newest finished jobs otherwise, oldest first.
        by_key: Live jobs by their place in line.
        keys: ``(tenant, idempotency key)`` → job, for all jobs in memory.
        live: How many jobs are not terminal.
        tenants: What each tenant has, had, and may have.
        promoted: Jobs promoted since the start, by level.
        pending: The line before the compilers.
        busy: Devices that take work, with somebody in line.
        draining: Devices that are to be calibrated as soon as nothing runs there.
        drained: Names of the agents that are to take no work; `EVERYBODY` is all of them.
        stirred / offered: Devices and agents of which this event may have made a match.
        offers: How many offers agents have made.
        alarms: When something is due that is no job's: ``probe/<device>``, ``reservation/<name>``, and so on.
        reservations: Those to come and the present ones, by name.
        pools: Agents by the devices they serve.
        parked / parked_compilers: Who has an open offer, longest first.
        orphans: Attempts restored from the store, by the name of the agent that should claim them.
        tally: Jobs in memory or finished since the start, by state and level.
        preempted / replaced: Attempts that made way, and jobs that were placed or compiled anew, since the start.
        stale_reports: Reports that changed nothing because they spoke of the past.
    """

    def __init__(
        self, settings: CoreSettings, devices: Iterable[DeviceInfo], policy: Policy, group_policy: GroupPolicy
    ) -> None:
        self.settings = settings
        self.policy = policy
        self.group_policy = group_policy
        self.now = 0.0
        self.sequence = 0
        self.number = 0
        self.jobs: dict[JobId, Job] = {}
        self.finished: dict[JobId, JobRecord] = {}
        self.by_key: dict[int, Job] = {}
        self.keys: dict[tuple[str, str], JobId] = {}
        self.live = 0
        self.tenants = Tenants(settings.half_life_s, settings.tenants, settings.default_tenant)
        self.promoted = [0, 0, 0, 0]
        self.devices = {info.name: Device(info, self.new_line(info.name)) for info in devices}
        self.pending = WaitingLine()
        self.busy: dict[str, Device] = {}
        self.agents: dict[str, Agent] = {}
        self.pools: dict[tuple[str, ...], Pool] = {}
        self.parked: dict[str, Agent] = {}
        self.compilers: dict[str, Compiler] = {}
        self.parked_compilers: dict[str, Compiler] = {}
        self.orphans: dict[str, dict[JobId, Job]] = {}
        self.timers = Timers()
        self.alarms = Timers()
        self.reservations: dict[str, Reservation] = {}
        self.draining: dict[str, Device] = {}
        self.drained: set[str] = set()
        self.stirred: dict[str, Device] = {}
        self.offered: dict[str, Agent] = {}
        self.offers = 0
        self.tally = {state: [0, 0, 0, 0] for state in TaskState}
        self.preempted = self.replaced = 0
        self.stale_reports = 0
        self._touched: dict[JobId, Job] = {}
        self._changes: list[JobChange] = []
        self._drops: list[tuple[JobId, str]] = []
        self._deletions: list[JobId] = []
        self._facts: dict[str, str | None] = {}
        self._commands: list[Command] = []
        self._to_record: list[JobId] = []

    # -- looking things up ---------------------------------------------------------------------------------------

    def record(self, job_id: JobId) -> JobRecord:
        """The job's record.

        Raises:
            NotFound: Not in memory; the store may have it.
        """
        job = self.jobs.get(job_id)
        record = job.record if job else self.finished.get(job_id)
        if record is None:
            raise NotFound(f"there is no job {job_id}")
        return record

    def holder(self, agent: Agent, attempt: Attempt) -> Job | None:
        """The job whose *present* attempt is `attempt` in the hands of `agent`, or None: then it is a stale one."""
        job = self.jobs.get(attempt[0])
        return job if job and job.agent is agent and job.record.attempt == attempt[1] else None

    def device(self, name: str) -> Device:
        """The device; one that only restored jobs name comes into being unconfigured."""
        device = self.devices.get(name)
        if device is None:
            device = self.devices[name] = Device(DeviceInfo(name, "", "", 0), self.new_line(name), configured=False)
        return device

    def new_line(self, device: str) -> DeviceLine:
        """An empty line for the device, or for a window of it."""
        settings = self.settings
        return DeviceLine(device, settings.levels, self.tenants, self.by_key, aging=settings.aging)

    # -- changing jobs -------------------------------------------------------------------------------------------

    def admit(self, record: JobRecord, *, restored: bool = False) -> Job:
        """Take a job into memory: a new one (written, with its first change) or one that the store had."""
        account = self.tenants.account(record.tenant)
        job = self.jobs[record.id] = Job(record, account)
        self.by_key[job.key] = job
        self.tally[record.state][job.level] += 1
        if record.idempotency_key is not None:
            self.keys[record.tenant, record.idempotency_key] = record.id
        if not record.terminal:
            self.live += 1
            account.live += 1
            self.commit(job)
            if record.state in ON_AGENT:
                job.first_run_at = self.now
                before_us = (record.created_at if record.attempt <= 1 else waits_since(record)) * 1e6
                job.since_us = round(before_us)
                job.progress_before = kept_progress(record, record.attempt)
                self._begin_attempt(job)
        if not restored:
            self._touched[record.id] = job
            self._log(job, None, record.state, 0, "submitted")
        return job

    def advance(self, job: Job, triggers: Sequence[Trigger], reason: str, **changes: Any) -> None:
        """Take the job along `triggers` and write `changes` of its record with it.

        Raises:
            InvalidTransition: The table refuses one of them; then nothing was changed.
        """
        record = job.record
        states = [record.state]
        for trigger in triggers:
            after = TRANSITIONS.get((states[-1], trigger))
            states.append(next_state(states[-1], trigger, job.story) if after is None else after)
        attempt = changes.get("attempt", record.attempt)
        for before, after in pairwise(states):
            self._log(job, before, after, attempt, reason)
        level = job.level
        self.tally[states[0]][level] -= 1
        self.tally[states[-1]][level] += 1
        changes["state"] = states[-1]
        self.amend(job, changes)
        if states[-1] in ON_AGENT:
            if job.held_us is None:
                self._begin_attempt(job)
        elif job.held_us is not None:
            self._end_attempt(job)

    def amend(self, job: Job, changes: dict[str, Any]) -> None:
        """Write `changes` of the record; its version grows once per event, for one event is one row."""
        record = job.record
        if record.id not in self._touched:
            self._touched[record.id] = job
            changes["version"] = record.version + 1
        job.record = evolve(record, changes)

    def amend_finished(self, job_id: JobId, changes: dict[str, Any]) -> None:
        """The same for a job of `finished`."""
        record = self.finished[job_id]
        job = Job(evolve(record, changes | {"version": record.version + 1}), self.tenants.account(record.tenant))
        self._touched[job_id] = job
        del self.finished[job_id]
        self.finished[job_id] = job.record  # the newest now: it must not be forgotten while the write is under way

    def note(self, job: Job, reason: str) -> None:
        """Write into the history what does not change the state."""
        self.amend(job, {})
        record = job.record
        self._log(job, record.state, record.state, record.attempt, reason)

    def close(self, job: Job) -> None:
        """Let a job that has just become terminal go: nobody waits for it, counts it or holds its executable."""
        record = job.record
        self.leave_line(job)
        self.promise(job, None)
        if job.compiler is not None:
            job.compiler.held.pop(record.id, None)
        self.unclaim(job)
        job.compiler = job.agent = job.patience_until = job.move = None
        self.timers.arm(record.id, None)
        self.live -= 1
        job.account.live -= 1
        job.account.committed_us -= job.committed_us
        job.committed_us = 0
        if record.profile is not None:
            self._drops.append((record.id, EXECUTABLE))
        self._to_record.append(record.id)

    def charge(self, job: Job, qpu_s: float) -> None:
        """An attempt of the job used `qpu_s` seconds of QPU time, whatever came of it."""
        self.device(job.record.device).qpu_s += qpu_s
        self.tenants.charge(job.account, qpu_s, self.now)
        self.write_usage()

    def write_usage(self) -> None:
        """Write what tenants have used, as far as it is due."""
        for key, text in self.tenants.facts(self.now):
            self.keep(key, text)

    def commit(self, job: Job) -> None:
        """Have the account count what the job is expected to use in all."""
        estimate_us = job.estimated_us
        job.account.committed_us += estimate_us - job.committed_us
        job.committed_us = estimate_us

    def _begin_attempt(self, job: Job) -> None:
        job.held_us = job.estimated_us
        if job.first_run_at is None:
            job.first_run_at = self.now
        self.tenants.begin(job.account, job.held_us, self.now)

    def _end_attempt(self, job: Job) -> None:
        assert job.held_us is not None
        self.tenants.end(job.account, job.held_us, self.now)
        job.held_us = None

    def thaw(self) -> None:
        """Look again at lines where a tenant was passed over that may have more running now."""
        for name in self.tenants.thaw(_THAW):
            self.settle_line(self.devices[name])

    def unclaim(self, job: Job) -> None:
        """Wait no longer for an agent to claim the restored attempt, if it is one."""
        if self.orphans and job.agent is None:
            name = job.record.agent or ""
            waiting = self.orphans.get(name, {})
            waiting.pop(job.record.id, None)
            if not waiting:
                self.orphans.pop(name, None)

    def retire(self, job_id: JobId) -> None:
        """Move a finished job, its metadata recorded, among the `finished`; the oldest beyond the limit is forgotten."""
        job = self.jobs.pop(job_id)
        del self.by_key[job.key]
        self._remember(job.record)

    def recall(self, record: JobRecord) -> None:
        """Take a finished job of the store among the `finished`."""
        if record.idempotency_key is not None:
            self.keys[record.tenant, record.idempotency_key] = record.id
        self._remember(record)

    def _remember(self, record: JobRecord) -> None:
        self.finished[record.id] = record
        if len(self.finished) > self.settings.terminal_memory:
            self._forget_key(self.finished.pop(next(iter(self.finished))))

    def drop(self, job_id: JobId) -> None:
        """Delete a finished job from memory and, with the Persist, from the store."""
        job = self.jobs.pop(job_id, None)
        if job is not None:
            del self.by_key[job.key]
        self._forget_key(job.record if job else self.finished.pop(job_id))
        self._deletions.append(job_id)

    def forget_executable(self, job: Job) -> None:
        """What the job was compiled to is of no use any more."""
        self._drops.append((job.record.id, EXECUTABLE))

    def record_again(self, job: Job) -> None:
        """Ask once more for the metadata of a finished job that a restart found without."""
        self._to_record.append(job.record.id)

    def _forget_key(self, record: JobRecord) -> None:
        if record.idempotency_key is not None:
            self.keys.pop((record.tenant, record.idempotency_key), None)

    def _log(self, job: Job, before: TaskState | None, after: TaskState, attempt: int, reason: str) -> None:
        self.sequence += 1
        change = change_of(self.sequence, job.record.id, self.now, before, after, attempt, reason)
        job.story.append(change)
        self._changes.append(change)

    def promise(self, job: Job, candidate: Candidate | None) -> None:
        """The job will come to the candidate's device when it is compiled, so that the next to be placed know of it; None
        when it has come, or will not.
        """
        if job.promised is not None:
            device, estimate_us = job.promised
            device.expect(job.level, estimate_us, -1)
            job.promised = None
        if candidate is not None:
            job.promised = self.device(candidate.device), round(candidate.estimated_s * 1e6)
            job.promised[0].expect(job.level, job.promised[1], 1)

    # -- lines and deadlines -------------------------------------------------------------------------------------

    def enqueue(self, job: Job) -> None:
        """Put a Pending job into the compilers' line, a Queued one into its device's."""
        record = job.record
        job.since_us = round(waits_since(record) * 1e6)
        due = promotion_at(self.settings, job)
        if due is not None and due <= self.now:
            self.promoted[job.level] += 1
            self.amend(job, {"promoted_at": self.now})
        if record.state is TaskState.PENDING:
            job.line = self.pending
            self.pending.add(self._pending_place(job))
            return
        self.promise(job, None)
        self.commit(job)
        device = self.device(record.device)
        line = device.line_for(record)
        line.add(job)
        job.line = line
        device.entered(job)
        self.settle_line(device)

    @staticmethod
    def _pending_place(job: Job) -> int:
        return pending_place(job.key, promoted=job.record.promoted_at is not None)

    def next_pending(self) -> Job:
        """The job that is compiled next; somebody must stand in line."""
        place = self.pending.first()
        assert place is not None
        return self.by_key[key_at(place)]

    def promote(self, job: Job) -> None:
        """The job has waited in its line for longer than its level allows: from now on it goes before others."""
        self.leave_line(job)
        self.enqueue(job)

    def leave_line(self, job: Job) -> None:
        """Take the job out of whatever line it stands in."""
        line = job.line
        if line is None:
            return
        job.line = None
        if isinstance(line, WaitingLine):
            line.discard(self._pending_place(job))
        else:
            line.discard(job)
            device = self.devices[job.record.device]
            device.left(job)
            if not device.front:
                self.busy.pop(job.record.device, None)

    def settle_line(self, device: Device) -> None:
        """Count the device among the busy ones or not, after its line, its window or its openness has changed."""
        if device.closed or not device.front:
            self.busy.pop(device.info.name, None)
        else:
            self.busy[device.info.name] = self.stirred[device.info.name] = device

    def pool(self, devices: tuple[str, ...]) -> Pool:
        """The pool of the agents that serve exactly `devices`."""
        pool = self.pools.get(devices)
        if pool is None:
            pool = self.pools[devices] = Pool(devices)
            for name in devices:
                pool.serve(self.devices[name])
                self.devices[name].pools.append(pool)
        return pool

    def leave_pool(self, agent: Agent) -> None:
        """The agent works in its pool no more; an empty pool is given up."""
        pool = agent.pool
        if pool.agents.pop(agent.name, None) is not None and not agent.drained:
            pool.takers -= 1
        if not pool.agents and self.pools.get(pool.devices) is pool:
            del self.pools[pool.devices]
            for name in pool.devices:
                self.devices[name].pools.remove(pool)

    def offer(self, agent: Agent, capacity: int) -> None:
        """The agent offers to take one more group; 0 withdraws an earlier offer. That of a drained agent stays open."""
        agent.capacity = capacity
        if capacity > 0 and not agent.drained:
            self.offers += 1
            agent.offer = self.offers
            self.parked[agent.name] = self.offered[agent.name] = agent
        else:
            self.parked.pop(agent.name, None)

    def pause(self, device: Device, *, paused: bool) -> None:
        """Close or open a device's line."""
        device.paused = paused
        self.settle_line(device)

    def arm(self, job: Job) -> None:
        """Set the job's timer to the next of its deadlines."""
        self.timers.arm(job.record.id, next_due(self.settings, job))

    def keep(self, key: str, text: str | None) -> None:
        """Have the fact `key` written with this event's Persist; None removes it."""
        self._facts[key] = text

    # -- the draft -----------------------------------------------------------------------------------------------

    def send(self, command: Command) -> None:
        """Have `command` performed after the Persist of this event."""
        self._commands.append(command)

    def flush(self) -> list[Command]:
        """The commands of the event; the draft is empty afterwards."""
        commands: list[Command] = []
        if self._touched or self._deletions or self._facts:
            records = tuple([job.record for job in self._touched.values()])
            facts = tuple(self._facts.items())
            deletions = tuple(self._deletions)
            commands.append(Persist(records, tuple(self._changes), tuple(self._drops), deletions, facts))
            self._facts = {}
        commands += self._commands
        if self._to_record:
            commands.append(RecordMetadata(tuple(self._to_record)))
        self._touched, self._changes, self._drops, self._deletions = {}, [], [], []
        self._commands, self._to_record = [], []
        return commands

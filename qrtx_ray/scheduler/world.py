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
from qrtx_ray.model import DeviceInfo, JobChange, JobId, JobRecord, TaskState
from qrtx_ray.scheduler.commands import EXECUTABLE, Command, Persist, RecordMetadata
from qrtx_ray.scheduler.job import ON_AGENT, Job, evolve
from qrtx_ray.scheduler.queues import WaitingLine
from qrtx_ray.scheduler.settings import CoreSettings
from qrtx_ray.scheduler.states import TRANSITIONS, Trigger, next_state
from qrtx_ray.scheduler.timers import Timers
from qrtx_ray.scheduler.workers import Agent, Attempt, Compiler, Device

__all__ = ["World"]


class World:
    """The state of the scheduler. *Do not* change its parts directly, ever, but through the methods.

    Attributes:
        jobs: Live jobs, and finished ones whose metadata is not recorded.
        finished: The newest finished jobs otherwise, oldest first.
        by_key: Live jobs by their place in line.
        keys: ``(tenant, idempotency key)`` → job, for all jobs in memory.
        live / tenants: How many jobs are not terminal, in all and by tenant.
        pending: The line before the compilers.
        busy: Devices, not paused, with somebody in line.
        parked / parked_compilers: Who has an open offer, longest first.
        orphans: Attempts restored from the store, by the name of the agent that should claim them.
        tally: Jobs in memory or finished since the start, by state and level.
        stale_reports: Reports that changed nothing because they spoke of the past.
    """

    def __init__(self, settings: CoreSettings, devices: Iterable[DeviceInfo]) -> None:
        self.settings = settings
        self.now = 0.0
        self.sequence = 0
        self.number = 0
        self.jobs: dict[JobId, Job] = {}
        self.finished: dict[JobId, JobRecord] = {}
        self.by_key: dict[int, Job] = {}
        self.keys: dict[tuple[str, str], JobId] = {}
        self.live = 0
        self.tenants: dict[str, int] = {}
        self.devices = {info.name: Device(info) for info in devices}
        self.pending = WaitingLine()
        self.busy: dict[str, Device] = {}
        self.agents: dict[str, Agent] = {}
        self.parked: dict[str, Agent] = {}
        self.compilers: dict[str, Compiler] = {}
        self.parked_compilers: dict[str, Compiler] = {}
        self.orphans: dict[str, dict[JobId, Job]] = {}
        self.timers = Timers()
        self.tally = {state: [0, 0, 0, 0] for state in TaskState}
        self.stale_reports = 0
        self._touched: dict[JobId, Job] = {}
        self._changes: list[JobChange] = []
        self._drops: list[tuple[JobId, str]] = []
        self._deletions: list[JobId] = []
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
            device = self.devices[name] = Device(DeviceInfo(name, "", "", 0), configured=False)
        return device

    # -- changing jobs -------------------------------------------------------------------------------------------

    def admit(self, record: JobRecord, *, restored: bool = False) -> Job:
        """Take a job into memory: a new one (written, with its first change) or one that the store had."""
        job = self.jobs[record.id] = Job(record)
        self.by_key[job.key] = job
        self.tally[record.state][record.level] += 1
        if record.idempotency_key is not None:
            self.keys[record.tenant, record.idempotency_key] = record.id
        if not record.terminal:
            self.live += 1
            self.tenants[record.tenant] = self.tenants.get(record.tenant, 0) + 1
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
        level = record.level
        self.tally[states[0]][level] -= 1
        self.tally[states[-1]][level] += 1
        changes["state"] = states[-1]
        self.amend(job, changes)

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
        job = Job(evolve(record, changes | {"version": record.version + 1}))
        self._touched[job_id] = job
        self.finished[job_id] = job.record

    def close(self, job: Job) -> None:
        """Let a job that has just become terminal go: nobody waits for it, counts it or holds its executable."""
        record = job.record
        self.leave_line(job)
        if job.compiler is not None:
            job.compiler.held.pop(record.id, None)
        self.unclaim(job)
        job.compiler = job.agent = job.patience_until = None
        self.timers.arm(record.id, None)
        self.live -= 1
        left = self.tenants[record.tenant] - 1
        if left:
            self.tenants[record.tenant] = left
        else:
            del self.tenants[record.tenant]
        if record.profile is not None:
            self._drops.append((record.id, EXECUTABLE))
        self._to_record.append(record.id)

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

    def record_again(self, job: Job) -> None:
        """Ask once more for the metadata of a finished job that a restart found without."""
        self._to_record.append(job.record.id)

    def _forget_key(self, record: JobRecord) -> None:
        if record.idempotency_key is not None:
            self.keys.pop((record.tenant, record.idempotency_key), None)

    def _log(self, job: Job, before: TaskState | None, after: TaskState, attempt: int, reason: str) -> None:
        self.sequence += 1
        change = JobChange(self.sequence, job.record.id, self.now, before, after, attempt, reason)
        job.story.append(change)
        self._changes.append(change)

    # -- lines and deadlines -------------------------------------------------------------------------------------

    def enqueue(self, job: Job) -> None:
        """Put a Pending job into the compilers' line, a Queued one into its device's."""
        record = job.record
        if record.state is TaskState.PENDING:
            job.line = self.pending
        else:
            device = self.device(record.device)
            job.line = device.line
            if not device.paused:
                self.busy[record.device] = device
        job.line.add(job.key)

    def leave_line(self, job: Job) -> None:
        """Take the job out of whatever line it stands in."""
        line = job.line
        if line is None:
            return
        line.discard(job.key)
        job.line = None
        if not line and line is not self.pending:
            self.busy.pop(job.record.device, None)

    def pause(self, device: Device, *, paused: bool) -> None:
        """Close or open a device's line."""
        device.paused = paused
        if paused:
            self.busy.pop(device.info.name, None)
        elif device.line:
            self.busy[device.info.name] = device

    def timeout_s(self, record: JobRecord) -> float:
        """What one attempt of the job may take, in seconds."""
        limit = record.execution_timeout_s
        return self.settings.execution_timeout_s if limit is None else limit

    def wait_deadline(self, record: JobRecord) -> float | None:
        """When a waiting job has waited too long: counted from the submit, or from where its last attempt left it."""
        limit = self.settings.queue_timeout_s if record.queue_timeout_s is None else record.queue_timeout_s
        if limit is None:
            return None
        since = record.created_at if not record.attempt else max(record.queued_at or 0.0, record.not_before or 0.0)
        return since + limit

    def arm(self, job: Job) -> None:
        """Set the job's timer to the next of its deadlines."""
        record = job.record
        if record.state in ON_AGENT:
            due = job.patience_until
        else:
            due = self.wait_deadline(record)
            extra = job.patience_until
            if extra is None and record.state is TaskState.QUEUED and job.line is None:
                extra = record.not_before
            if extra is not None:
                due = extra if due is None else min(due, extra)
        self.timers.arm(record.id, due)

    # -- the draft -----------------------------------------------------------------------------------------------

    def send(self, command: Command) -> None:
        """Have `command` performed after the Persist of this event."""
        self._commands.append(command)

    def flush(self) -> list[Command]:
        """The commands of the event; the draft is empty afterwards."""
        commands: list[Command] = []
        if self._touched or self._deletions:
            records = tuple([job.record for job in self._touched.values()])
            commands.append(Persist(records, tuple(self._changes), tuple(self._drops), tuple(self._deletions)))
        commands += self._commands
        if self._to_record:
            commands.append(RecordMetadata(tuple(self._to_record)))
        self._touched, self._changes, self._drops, self._deletions = {}, [], [], []
        self._commands, self._to_record = [], []
        return commands

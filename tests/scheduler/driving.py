"""A core with a store beside it: every step is checked from outside, and a crash can happen between any two."""

from __future__ import annotations

from dataclasses import replace

from qrtx_ray.errors import ErrorInfo, QrtxError
from qrtx_ray.model import (
    AUTO_DEVICE,
    AgentInfo,
    Candidate,
    CheckpointRef,
    CircuitProfile,
    CompileReport,
    DeviceInfo,
    JobRecord,
    JobRequest,
    KeptCheckpoint,
    PayloadFormat,
    Program,
    RunReport,
)
from qrtx_ray.scheduler import Core, CoreSettings, events
from qrtx_ray.scheduler.commands import Command, Compile, Duplicate, Persist, RecordMetadata, Refuse, RunGroup

DEVICE = "fake_manila@aer"
OTHER = "fake_quito@aer"
DEVICES = (DeviceInfo(DEVICE, "fake_manila", "aer", 5), DeviceInfo(OTHER, "fake_quito", "aer", 5))


def request(device=DEVICE, tenant="alice", **fields) -> JobRequest:
    return JobRequest(Program.SAMPLER, device, b"payload", PayloadFormat.NATIVE, tenant, **fields)


def profile(**fields) -> CircuitProfile:
    base = CircuitProfile(2, 3, 1, 1, 1000, 0.001, 1000, 2.5, "k", "c", "aer")
    return replace(base, **fields)


def error(code="execution_failed", retryable=False, category="ExecuteError") -> ErrorInfo:
    return ErrorInfo(code, f"it was {code}", category, retryable)


def done(job_id, attempt=1, **fields) -> RunReport:
    return RunReport(job_id, attempt, "ab" * 32, 100, 2.5, 0.01, **fields)


def ref(job_id, attempt=1, sequence=1, progress=0.5, **fields) -> CheckpointRef:
    return CheckpointRef(job_id, attempt, sequence, f"{sequence:02x}" * 32, 1000, progress, 1000.0, **fields)


def broken(job_id, attempt=1, **kinds) -> RunReport:
    return RunReport(job_id, attempt, error=error(**kinds))


class Store:
    """What a store keeps, and what a store refuses."""

    def __init__(self) -> None:
        self.records: dict[str, JobRecord] = {}
        self.changes = []
        self.facts: dict[str, str] = {}
        self.dropped = []
        self.deleted = set()

    def commit(self, persist: Persist) -> None:
        for record in persist.records:
            old = self.records.get(record.id)
            assert record.version == (old.version + 1 if old else 1), "compare-and-set would have failed"
            assert (
                old is None
                or not old.terminal
                or replace(record, version=old.version, tags=old.tags, metadata_recorded=old.metadata_recorded)
                == replace(old)
            ), "a terminal job changed"
            self.records[record.id] = record
        for change in persist.changes:
            assert change.sequence == self.last_sequence() + 1
            self.changes.append(change)
        self.dropped.extend(persist.drop_payloads)
        for job_id in persist.deletions:
            del self.records[job_id]
            self.deleted.add(job_id)
        for key, text in persist.facts:
            if text is None:
                self.facts.pop(key, None)
            else:
                self.facts[key] = text

    def last_sequence(self) -> int:
        return self.changes[-1].sequence if self.changes else 0

    def live(self) -> list[JobRecord]:
        return [r for r in self.records.values() if not r.terminal or not r.metadata_recorded]


class Driver:
    """Feeds a core; `say` returns the commands after the Persist, which goes to the store."""

    def __init__(self, devices=DEVICES, check=True, policy=None, **settings) -> None:
        self.settings = CoreSettings(**settings)
        self.devices = devices
        self.policy = policy
        self.core = Core(self.settings, devices, policy=policy)
        self.store = Store()
        self.now = 1000.0
        self.check = check
        self.counter = 0
        self.record_metadata = True

    def say(self, event) -> list[Command]:
        return self._perform(self.core.handle(event, self.now))

    def refused(self, event, kind: type[QrtxError]) -> str:
        """`event` raises `kind` and changes nothing."""
        before = (self.core.snapshot(), dict(self.store.records))
        try:
            self.core.handle(event, self.now)
        except kind as problem:
            assert (self.core.snapshot(), dict(self.store.records)) == before
            self.core.check()
            return problem.message
        raise AssertionError(f"{event} was not refused")

    def _perform(self, commands: list[Command]) -> list[Command]:
        assert sum(isinstance(c, Persist) for c in commands) <= 1
        rest = commands
        if commands and isinstance(commands[0], Persist):
            self.store.commit(commands[0])
            rest = commands[1:]
        assert not any(isinstance(c, Persist) for c in rest)
        if self.check:
            self.core.check()
            for job_id, record in self.store.records.items():
                known = self.core._world.jobs.get(job_id)
                if known:
                    moving = {"progress": 0.0, "slices": 0, "substate": None}
                    assert replace(known.record, **moving) == replace(record, **moving), "memory and disk disagree"
        answers = [c for c in rest if not isinstance(c, RecordMetadata)]
        if self.record_metadata:
            for command in rest:
                if isinstance(command, RecordMetadata):
                    answers += self.say(events.MetadataRecorded(command.job_ids))
        else:
            answers = rest
        return answers

    def crash(self, **settings) -> list[Command]:
        """Forget everything but the store and start again."""
        self.settings = replace(self.settings, **settings)
        self.core = Core(self.settings, self.devices, policy=self.policy)
        number = max((r.number for r in self.store.records.values()), default=0)
        return self._perform(
            self.core.restore(self.store.live(), self.store.last_sequence(), number, self.now, self.store.facts)
        )

    def tick(self, seconds=0.0) -> list[Command]:
        self.now += seconds
        return self.say(events.Ticked())

    # -- shortcuts along the way of a job ------------------------------------------------------------------------

    def submit(self, count=1, **fields):
        ids = [f"job{self.counter + i:03d}" for i in range(count)]
        self.counter += count
        commands = self.say(events.JobsSubmitted(tuple(events.NewJob(i, request(**fields), 7) for i in ids)))
        self.answers = [c for c in commands if isinstance(c, (Refuse, Duplicate))]
        self.commands = commands
        return ids if count > 1 else ids[0]

    def compiler(self, name="c", incarnation="1", capacity=100) -> list[Compile]:
        self.say(events.CompilerJoined(name, incarnation))
        return self.say(events.CompilerReady(name, incarnation, capacity))

    def compiled(self, command: Compile, **fields) -> list[Command]:
        reports = tuple(CompileReport(o.job_id, o.attempt, profile(**fields), b"x") for o in command.tasks)
        return self.say(events.JobsCompiled(command.compiler, command.incarnation, reports))

    def surveyed(self, command: Compile, *candidates: Candidate) -> list[Command]:
        """The compiler answers a survey with these candidates."""
        reports = tuple(CompileReport(o.job_id, o.attempt, candidates=candidates) for o in command.tasks)
        return self.say(events.JobsCompiled(command.compiler, command.incarnation, reports))

    def placed(self, *candidates: Candidate, compile_as=None, **fields) -> str:
        """Submit a job that leaves the choice, survey it and compile it for what was chosen."""
        job = self.submit(device=AUTO_DEVICE, choices=tuple(c.device for c in candidates), **fields)
        (survey,) = self.compiler()
        self.surveyed(survey, *candidates)
        if self.state(job) == "Pending":
            (order,) = self.compiler()
            self.compiled(order, **(compile_as or {}))
        return job

    def queued(self, count=1, compile_as=None, **fields):
        """Submit and compile; the job stands in its device's line."""
        ids = self.submit(count, **fields)
        while any(self.state(i) == "Pending" for i in ([ids] if count == 1 else ids)):
            for command in self.compiler():
                self.commands = self.compiled(command, **(compile_as or {}))
        return ids

    def join(self, name="a", incarnation="1", devices=(DEVICE,), running=()) -> list[Command]:
        return self.say(events.AgentJoined(AgentInfo(name, incarnation, devices, running)))

    def ready(self, name="a", incarnation="1", capacity=32) -> list[Command]:
        return self.say(events.AgentReady(name, incarnation, capacity))

    def started(self, *members, name="a", incarnation="1") -> list[Command]:
        return self.say(events.RunsStarted(name, incarnation, members))

    def reported(self, *reports, name="a", incarnation="1") -> list[Command]:
        return self.say(events.RunsReported(name, incarnation, reports))

    def allocated(self, **fields) -> str:
        job = self.queued(**fields)
        if not self.core.knows_agent("a", "1"):
            self.join()
        groups = self.ready()
        assert any(isinstance(c, RunGroup) for c in groups), groups
        return job

    def executing(self, **fields) -> str:
        job = self.allocated(**fields)
        self.started((job, self.record(job).attempt))
        assert self.state(job) == "Executing"
        return job

    def cancel(self, job, tenant="alice") -> list[Command]:
        return self.say(events.CancelRequested(job, tenant, "alice"))

    def pause(self, job, tenant="alice") -> list[Command]:
        return self.say(events.PauseRequested(job, tenant, "alice"))

    def resume(self, job, tenant="alice") -> list[Command]:
        return self.say(events.ResumeRequested(job, tenant, "alice"))

    def paused(self, job) -> str:
        """Pause a job that waits."""
        self.pause(job)
        assert self.state(job) == "Paused"
        return job

    def kept(self, *refs, name="a", incarnation="1") -> list[Command]:
        """The agent made checkpoints durable."""
        found = tuple(KeptCheckpoint(one.job_id, one.attempt, one) for one in refs)
        return self.say(events.CheckpointsKept(name, incarnation, found))

    def reasons(self, job) -> list[str]:
        """What the history says of the job, oldest first."""
        return [change.reason for change in self.store.changes if change.job_id == job]

    def record(self, job) -> JobRecord:
        return self.store.records[job]

    def state(self, job) -> str:
        return self.record(job).state.value

"""What is checked from outside: what was acknowledged, what the disk holds, what the agents themselves run.

Nothing here reads the core's own bookkeeping, but for the comparison of its records with the disk's. A violation raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from qrtx_ray.model import CheckpointRef, Group, JobChange, JobRecord, KeptCheckpoint, RunReport, TaskState
from qrtx_ray.scheduler import commands, events
from qrtx_ray.scheduler.core import Core
from qrtx_ray.scheduler.states import TRANSITIONS

from . import program
from .agents import Agent, Run
from .disk import Disk, StoreDisk
from .shell import Entry

__all__ = ["Oracles", "Violation", "same"]

ON_AGENT = (TaskState.ALLOCATING, TaskState.EXECUTING)
PAIRS = {(source, target) for (source, _), target in TRANSITIONS.items()}
_NEWS = ("tags", "metadata_recorded", "version")  # what may change of a finished job


class Violation(AssertionError):
    """Something was seen that must never be."""


def same(one: JobRecord, other: JobRecord) -> bool:
    """Whether two records say the same, but for what heartbeats move without a write."""
    return one == other or replace(one, progress=0.0, substate=None, slices=0) == replace(
        other, progress=0.0, substate=None, slices=0
    )


class Oracles:
    """All that was told to clients, operators and agents, and what follows from it for ever."""

    def __init__(self, disk: Disk | StoreDisk) -> None:
        self.disk = disk
        self.states: dict[str, TaskState] = {}
        self.latest: dict[str, JobRecord] = {}  # as the core wrote it last, durable or not
        self.durable: dict[str, JobRecord] = {}
        self.dispatched: set[tuple[str, int]] = set()
        self.fences: dict[str, int] = {}  # of the present compile lease, as written
        self.fences_ahead: dict[str, int] = {}  # the same, not yet durable
        self.acked: set[str] = set()
        self.keys: dict[tuple[str, str], str] = {}
        self.deleting: set[str] = set()
        self.cancelled: set[str] = set()
        self.partial: set[str] = set()  # somebody asked for what was done
        self.asked: dict[tuple[str, str], int] = {}  # (what, of whom) → the number of the last such request
        self.requests = 0
        self.paused: set[str] = set()
        self.drained: set[str] = set()
        self.closed: set[str] = set()
        self.refusing: set[tuple[str, str]] = set()  # by job: an agent said that it could not be used
        self.heeded: set[tuple[str, str]] = set()  # the same, said by the holder of the attempt
        self.refused: set[tuple[str, str]] = set()  # and acknowledged
        self.entitled: set[str] = set()  # checkpoints (by digest) that the holder of the attempt spoke of
        self.kept: dict[str, CheckpointRef] = {}
        self.edges: set[tuple[TaskState | None, TaskState]] = set()
        self._stale: list[tuple[str, JobRecord | None]] = []

    # -- what is asked for, and what is answered ---------------------------------------------------------------------

    def ask(self, what: str, whom: str) -> int:
        """Somebody asks; from now on the answer to an earlier request of the opposite promises nothing."""
        self.requests += 1
        self.asked[what, whom] = self.requests
        match what:
            case "resume":
                self.paused.discard(whom)
            case "undrain":
                self.drained.discard(whom)
            case "open":
                self.closed.discard(whom)
            case "partial":
                self.partial.add(whom)
            case "delete":
                self.deleting.add(whom)
        return self.requests

    def answered(self, what: str, whom: str, number: int) -> None:
        """The request was acknowledged as done."""
        record = self.disk.record(whom)
        if what in {"cancel", "partial"}:
            self._must(record is not None or whom in self.deleting, f"{whom}: a cancelled job is not there")
            self._must(
                record is None or record.cancel_requested, f"{whom}: the cancel was acknowledged and is not written"
            )
            self.cancelled.add(whom)
        elif what == "pause" and number > self.asked.get(("resume", whom), 0):
            self._must(record is not None or whom in self.deleting, f"{whom}: a paused job is not there")
            if record is not None and not record.terminal:
                held = record.state is TaskState.PAUSED or record.pause_requested or record.cancel_requested
                self._must(held, f"{whom}: the pause was acknowledged and is not written")
                self.paused.add(whom)
        elif what == "resume" and number > self.asked.get(("pause", whom), 0):
            held = record is not None and (record.state is TaskState.PAUSED or record.pause_requested)
            self._must(not held, f"{whom}: the resume was acknowledged and is not written")
        elif what == "drain" and number > self.asked.get(("undrain", whom), 0):
            self.drained.add(whom)
        elif what == "close" and number > self.asked.get(("open", whom), 0):
            self.closed.add(whom)
        elif what == "delete":
            self._must(record is None, f"{whom}: the deletion was acknowledged and is not written")

    def accepted(self, job_id: str, tenant: str, key: str | None) -> None:
        """A submit was answered with an identifier."""
        self.acked.add(job_id)
        self._must(job_id in self.durable or job_id in self.deleting, f"{job_id} was acknowledged and is not there")
        if key is not None and self.keys.setdefault((tenant, key), job_id) != job_id:
            self._must(self.keys[tenant, key] in self.deleting, f"the key {key} gave two jobs")
            self.keys[tenant, key] = job_id

    # -- the disk ----------------------------------------------------------------------------------------------------

    def committed(self, batch: Sequence[Entry]) -> None:
        for entry in batch:
            if entry.persist is not None:
                self._look_at(entry.persist)

    def _look_at(self, persist: commands.Persist) -> None:
        records = {record.id: record for record in persist.records}
        for change in persist.changes:
            self._follow(change, records)
        for job_id, record in records.items():
            before = self.durable.get(job_id)
            self._judge(job_id, before, record)
            self.durable[job_id] = record
            self._must(self.states.get(job_id) is record.state, f"{job_id}: history and record disagree")
        for job_id in persist.deletions:
            self._must(job_id in self.deleting, f"{job_id} was deleted and nobody asked for it")
            self.durable.pop(job_id, None)
            self.states.pop(job_id, None)

    def _follow(self, change: JobChange, records: dict[str, JobRecord]) -> None:
        job_id, before, after = change.job_id, change.from_state, change.to_state
        self._must(self.states.get(job_id) is before, f"{job_id}: its history has a gap before {after}")
        self._must(before is None or before is after or (before, after) in PAIRS, f"{job_id}: {before} → {after}")
        self.states[job_id] = after
        self.edges.add((before, after))
        if before is TaskState.PAUSED and after in {TaskState.QUEUED, TaskState.PENDING}:
            self._must(job_id not in self.paused, f"{job_id} went on and nobody resumed it")
        if after is TaskState.ALLOCATING and before is not after:
            record = records[job_id]
            self._must((job_id, change.attempt) not in self.dispatched, f"{job_id}: attempt {change.attempt} twice")
            self.dispatched.add((job_id, change.attempt))
            self._must(job_id not in self.paused, f"{job_id} was dispatched while paused")
            self._must(record.agent not in self.drained, f"{job_id} was given to {record.agent}, which is drained")
            self._must(record.device not in self.closed, f"{job_id} was dispatched on {record.device}, which is closed")
        if after is TaskState.COMPILING and before is not after:
            self.fences[job_id] = records[job_id].version

    def _judge(self, job_id: str, before: JobRecord | None, record: JobRecord) -> None:
        if before is not None and before.terminal:
            unchanged = {name: getattr(before, name) for name in _NEWS}
            self._must(replace(record, **unchanged) == before, f"{job_id} changed after its end")
            return
        if before is not None and before.result_sha256 is not None:
            self._must(record.result_sha256 == before.result_sha256, f"{job_id}: its result changed")
        if record.terminal:
            self._judge_end(job_id, record)
        elif record.state in {TaskState.QUEUED, TaskState.PAUSED} and record.checkpoints:
            best = max(ref.progress for ref in record.checkpoints)
            self._must(
                record.progress >= best - 1e-9, f"{job_id}: progress {record.progress} behind its checkpoint {best}"
            )
        self._remember(job_id, before, record)

    def _judge_end(self, job_id: str, record: JobRecord) -> None:
        if job_id in self.cancelled:
            self._must(record.state is TaskState.CANCELLED, f"{job_id} was cancelled and is {record.state.value}")
        found = record.result_sha256
        if record.state is TaskState.COMPLETED:
            right = f"estimate-{record.seed}" if record.dry_run else program.whole(record.seed)
            self._must(found == right, f"{job_id}: the result is {found}, not {right}")
            self._must(not record.partial, f"{job_id} is Completed with part of its results")
        elif record.state is TaskState.CANCELLED and found is not None:
            self._must(job_id in self.partial, f"{job_id}: a cancelled job has results nobody asked for")
            done = round(record.progress * program.slices(record.seed))
            self._must(found == program.whole(record.seed, done), f"{job_id}: partial results {found} of {done} slices")
            self._must(record.partial == (done < program.slices(record.seed)), f"{job_id}: partial says otherwise")
        else:
            self._must(found is None, f"{job_id} is {record.state.value} and has results")

    def _remember(self, job_id: str, before: JobRecord | None, record: JobRecord) -> None:
        """A checkpoint that was acknowledged is given up only for a newer one, or for a good reason."""
        newest = self.kept.get(job_id)
        if newest is None or record.terminal:
            return
        anew = record.state is TaskState.PENDING or (before is not None and record.retries > before.retries)
        if anew or (newest not in record.checkpoints and (job_id, newest.sha256) in self.refusing):
            del self.kept[job_id]
            return
        best = max((ref.progress for ref in record.checkpoints), default=0.0)
        self._must(best >= newest.progress, f"{job_id}: its checkpoint at {newest.progress} was forgotten")

    # -- agents ------------------------------------------------------------------------------------------------------

    def taken(self, agent: Agent, group: Group, others: Iterable[Agent]) -> None:
        """An agent got a group: as it sees the world."""
        self._must(len(agent.groups) < 2, f"{agent.name} was given more than it has room for")
        self._must(len(group.members) <= agent.capacity, f"{agent.name} offered {agent.capacity} places")
        for member in group.members:
            attempt = (member.job_id, member.attempt)
            self._must(attempt in self.dispatched, f"{attempt} runs before it is written")
            self._must(
                all(attempt not in other.here() for other in others), f"{attempt} was given to {agent.name} again"
            )
            record = self.durable.get(member.job_id)
            if record is not None and record.state in ON_AGENT and record.attempt == member.attempt:
                self._must(bool(member.executable), f"{attempt} has no program")
            for ref in member.checkpoints:
                self._must(
                    (member.job_id, ref.sha256) not in self.refused, f"{attempt}: a refused checkpoint comes again"
                )

    def began(self, run: Run, damaged: set[tuple[str, int, int]]) -> None:
        """A run begins: not behind what was kept of it, as far as the files are as they were written."""
        record = self.durable.get(run.member.job_id)
        newest = self.kept.get(run.member.job_id)
        current = record is not None and record.attempt == run.member.attempt
        if newest is not None and current:
            if newest in run.refused:
                hurt = (newest.job_id, newest.attempt, newest.sequence) in damaged
                self._must(hurt, f"{run.attempt}: its checkpoint at {newest.progress} is gone, and nobody damaged it")
                del self.kept[run.member.job_id]
                return
            self._must(run.progress >= newest.progress, f"{run.attempt} begins at {run.progress}")

    def acknowledged(self, reports: Iterable[RunReport]) -> None:
        """Reports were acknowledged: what they say is durable, or was of no interest."""
        for report in reports:
            record = self.durable.get(report.job_id)
            self.refused |= {(report.job_id, ref.sha256) for ref in report.refused} & self.heeded
            if record is None:
                continue
            open_still = record.state in ON_AGENT and record.attempt == report.attempt
            self._must(not open_still, f"{report.job_id}: the report was acknowledged and is not written")
            if report.checkpoint is not None:
                self._promise(record, report.checkpoint)

    def valid(self, said: Iterable[KeptCheckpoint]) -> None:
        """The word of these checkpoints was acknowledged."""
        for kept in said:
            record = self.durable.get(kept.job_id)
            if record is not None:
                self._promise(record, kept.checkpoint)

    def _promise(self, record: JobRecord, ref: CheckpointRef) -> None:
        """The holder of the attempt kept it and was told so: from now on the job goes on from there, or from further on."""
        anew = record.state in {TaskState.PENDING, TaskState.COMPILING} or record.retries > 0
        if record.terminal or anew or ref.sha256 not in self.entitled or (record.id, ref.sha256) in self.refusing:
            return
        best = max((one.progress for one in record.checkpoints), default=0.0)
        self._must(
            best >= ref.progress, f"{record.id}: a checkpoint at {ref.progress} was acknowledged and is not written"
        )
        if ref in record.checkpoints:
            self.kept[record.id] = ref

    # -- events ------------------------------------------------------------------------------------------------------

    def handling(self, event: events.Event) -> None:
        """Note of which jobs the event speaks without being entitled to."""
        said: list[tuple[str, bool]] = []
        if isinstance(event, events.RunsReported):
            said = [(one.job_id, self.holds(one.job_id, one.attempt, event.agent)) for one in event.reports]
            for one in event.reports:
                refused = {(one.job_id, ref.sha256) for ref in one.refused}
                self.refusing |= refused
                held = self.holds(one.job_id, one.attempt, event.agent)
                self.heeded = self.heeded | refused if held else self.heeded - refused
        elif isinstance(event, events.CheckpointsKept):
            said = [(one.job_id, self.holds(one.job_id, one.attempt, event.agent)) for one in event.checkpoints]
        elif isinstance(event, events.JobsCompiled):
            said = [(one.job_id, self._compiles(one.job_id, one.attempt)) for one in event.reports]
        entitled = {job_id for job_id, holds in said if holds}
        self._believe(event)
        self._stale = [(job_id, self.latest.get(job_id)) for job_id, _ in said if job_id not in entitled]

    def _believe(self, event: events.Event) -> None:
        said: list[tuple[str, int, CheckpointRef | None]] = []
        if isinstance(event, events.RunsReported):
            said = [(one.job_id, one.attempt, one.checkpoint) for one in event.reports if one.preempted]
        elif isinstance(event, events.CheckpointsKept):
            said = [(one.job_id, one.attempt, one.checkpoint) for one in event.checkpoints]
        for job_id, attempt, ref in said:
            if ref is not None:
                held = self.holds(job_id, attempt, event.agent)  # type: ignore[union-attr]
                (self.entitled.add if held else self.entitled.discard)(ref.sha256)

    def holds(self, job_id: str, attempt: int, agent: str) -> bool:
        """Whether the core gave this agent the job's present attempt."""
        record = self.latest.get(job_id)
        return record is not None and record.state in ON_AGENT and (record.attempt, record.agent) == (attempt, agent)

    def _compiles(self, job_id: str, attempt: int) -> bool:
        record = self.latest.get(job_id)
        return record is not None and record.state is TaskState.COMPILING and self._fence(job_id) == attempt

    def _fence(self, job_id: str) -> int:
        return self.fences_ahead.get(job_id, self.fences.get(job_id, 0))

    def handled(self, event: events.Event, persist: commands.Persist | None) -> None:
        del event
        if persist is not None:
            for change in persist.changes:
                if change.to_state is TaskState.COMPILING:
                    found = next(record for record in persist.records if record.id == change.job_id)
                    self.fences_ahead[change.job_id] = found.version
            self.latest.update((record.id, record) for record in persist.records)
            for job_id in persist.deletions:
                self.latest.pop(job_id, None)
        for job_id, before in self._stale:
            now = self.latest.get(job_id)
            if now is before:
                continue
            waited = before is not None and before.state is TaskState.QUEUED
            dispatched = now is not None and now.state is TaskState.ALLOCATING and waited
            self._must(dispatched, f"{job_id}: a stale report changed it")

    # -- crashes -----------------------------------------------------------------------------------------------------

    def crashed(self, agents: Iterable[Agent]) -> None:
        """Right after a crash, before anybody recovers."""
        for agent in agents:
            for attempt in agent.here():
                self._must(attempt in self.dispatched, f"{agent.name} runs {attempt}, which the disk does not know")
        self.nothing_lost()

    def nothing_lost(self) -> None:
        """What was acknowledged is on the disk, as it was written."""
        records = self.disk.all_records()
        self._must(records.keys() == self.durable.keys(), "the disk has other jobs than were written")
        missing = self.acked - records.keys() - self.deleting
        self._must(not missing, f"acknowledged and lost: {sorted(missing)}")
        for job_id, record in records.items():
            self._must(record == self.durable[job_id], f"{job_id}: the disk has another record than was written")

    def restarted(self, core: Core) -> None:
        """A new process has taken over: memory says what the disk says."""
        self.latest = dict(self.durable)
        self.fences_ahead = {}
        self.entitled, self.heeded = set(), set()
        self.agree(core)

    def agree(self, core: Core) -> None:
        for job_id, record in self.durable.items():
            if not record.terminal:
                self._must(same(core.record(job_id), record), f"{job_id}: memory and disk disagree")

    def ended(self, job_ids: Iterable[str]) -> None:
        """All is over: every job has exactly one end."""
        for job_id in job_ids:
            record = self.durable[job_id]
            self._must(record.terminal, f"{job_id} never ended: {record.state.value}")
            self._must(record.metadata_recorded, f"{job_id}: its metadata was never recorded")
            history = [change for change in self.disk.history(job_id) if change.from_state is not change.to_state]
            ends = [change for change in history if change.to_state is record.state]
            self._must(len(ends) == 1, f"{job_id} ended {len(ends)} times")
            for one, other in pairwise(history):
                self._must(one.to_state is other.from_state, f"{job_id}: its history has a gap")

    @staticmethod
    def _must(holds: Any, otherwise: str) -> None:
        if not holds:
            raise Violation(otherwise)

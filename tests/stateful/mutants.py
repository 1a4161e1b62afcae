"""Bugs that are planted on purpose: a programme that does not find them would not find others either.

Each mutant changes the core, the shell, the agents or the disk at one place while it is `planted`. The test beside this
module has the simulation and the enumeration look for each; one that survives fails the suite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from qrtx_ray.model import JobRecord, TaskState
from qrtx_ray.scheduler import Core, commands, events
from qrtx_ray.scheduler.world import World as CoreWorld

from .agents import Agent, Run
from .disk import Disk, StoreDisk
from .shell import Entry, Shell

__all__ = ["MUTANTS", "Mutant", "planted"]

Patch = tuple[Any, str, Any]
ON_AGENT = (TaskState.ALLOCATING, TaskState.EXECUTING)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug: its name, and what it changes, as (object, attribute, other value)."""

    name: str
    patches: tuple[Patch, ...]


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """The bug is in while the block runs."""
    before = [(thing, name, thing.__dict__[name]) for thing, name, _ in mutant.patches]
    try:
        for thing, name, other in mutant.patches:
            setattr(thing, name, other)
        yield
    finally:
        for thing, name, value in before:
            setattr(thing, name, value)


_handle, _restore = Core.handle, Core.restore


def _hearing(change: Callable[[Core, Any], Any], *kinds: type) -> tuple[Patch, ...]:
    """The core hears another event than was said."""

    def handle(self: Core, event: Any, now: float) -> list[commands.Command]:
        return _handle(self, change(self, event) if isinstance(event, kinds) else event, now)

    return ((Core, "handle", handle),)


def _restoring(
    record: Callable[[JobRecord], JobRecord] = lambda one: one,
    fact: Callable[[str], bool] = lambda _: True,
    after: Callable[[Core, list[Any]], list[Any]] = lambda _, found: found,
) -> tuple[Patch, ...]:
    """A restart finds something else than what was written."""

    def restore(self: Core, records: Any, sequence: int, number: int, now: float, facts: Any = None) -> list[Any]:
        kept = {key: text for key, text in (facts or {}).items() if fact(key)}
        return after(self, _restore(self, [record(one) for one in records], sequence, number, now, kept))

    return ((Core, "restore", restore),)


def _changed(core: Core, job_id: str, **changes: Any) -> None:
    job = core._world.jobs.get(job_id)
    if job is not None:
        job.record = replace(job.record, **changes)


def _any_attempt(self: CoreWorld, agent: Any, attempt: tuple[str, int]) -> Any:
    job = self.jobs.get(attempt[0])
    return job if job and job.agent is agent else None


def _stale_checkpoint(core: Core, event: events.CheckpointsKept) -> events.CheckpointsKept:
    kept = list(event.checkpoints)
    for place, one in enumerate(kept):
        job = core._world.jobs.get(one.job_id)
        if job is not None and job.agent is not None and job.record.state in ON_AGENT:
            event = replace(event, agent=job.agent.name, incarnation=job.agent.incarnation)
            ref = replace(one.checkpoint, attempt=job.record.attempt)
            kept[place] = replace(one, attempt=job.record.attempt, checkpoint=ref)
    return replace(event, checkpoints=tuple(kept))


def _uncancelled(core: Core, event: events.RunsReported) -> events.RunsReported:
    for report in event.reports:
        _changed(core, report.job_id, cancel_requested=False)
    return event


def _partial_is_whole(core: Core, event: events.RunsReported) -> events.RunsReported:
    for report in event.reports:
        if report.partial:
            _changed(core, report.job_id, cancel_requested=False, keep_partial=False)
    return replace(event, reports=tuple(replace(report, partial=False) for report in event.reports))


def _nothing_refused(_: Core, event: events.RunsReported) -> events.RunsReported:
    return replace(event, reports=tuple(replace(report, refused=()) for report in event.reports))


def _lost_with_its_checkpoints(core: Core, event: Any) -> Any:
    for job in core._world.jobs.values():
        if job.agent is not None and job.record.state in ON_AGENT:
            _changed(core, job.record.id, checkpoints=())
    return event


def _without_keys(core: Core, found: list[Any]) -> list[Any]:
    core._world.keys.clear()
    return found


def _paused_no_more(core: Core, event: Any) -> Any:
    for job in core._world.jobs.values():
        if job.record.state in ON_AGENT:
            _changed(core, job.record.id, pause_requested=False)
    return event


def _nothing_kept(_: Core, event: events.RunsReported) -> events.RunsReported:
    return replace(event, reports=tuple(replace(report, checkpoint=None) for report in event.reports))


def _queued_twice(core: Core, event: events.ResumeRequested) -> events.ResumeRequested:
    job = core._world.jobs.get(event.job_id)
    if job is not None and job.record.state in ON_AGENT and job.record.pause_requested:
        _changed(core, event.job_id, pause_requested=False, state=TaskState.QUEUED)
        core._world.enqueue(job)
    return event


_queue, _report, _request, _begin, _keep = Shell._queue, Shell.report, Shell.request, Agent._begin, Agent._keep


def _runs_first(self: Shell, found: Any, payloads: Any, then: Any) -> Any:
    for command in found:
        if isinstance(command, commands.RunGroup):
            self.carry_out(command)
    return _queue(self, [one for one in found if not isinstance(one, commands.RunGroup)], payloads, then)


def _in_two_halves(self: Shell, batch: Sequence[Entry]) -> None:
    for entry in batch:
        persist = entry.persist
        if persist is None:
            continue
        first = {record.id for record in persist.records[:1]}
        for part in (True, False):
            half = commands.Persist(
                tuple(one for one in persist.records if (one.id in first) is part),
                tuple(one for one in persist.changes if (one.job_id in first) is part),
                () if part else persist.drop_payloads,
                () if part else persist.deletions,
                () if part else persist.facts,
            )
            payloads = [one for one in entry.payloads if (one[0] in first) is part]
            if half != commands.Persist():
                # The history of the second half may be older than that of the first.
                self.disk.commit([(replace(half, changes=()), payloads)])
            self.point()
        self.watcher.committed([entry])


def _report_first(self: Shell, name: str, incarnation: str, said: Any, then: Callable[[], None]) -> bool:
    if not self._knows(name, incarnation):
        return False
    then()
    return _report(self, name, incarnation, said, lambda: None)


def _handled_at_once(self: Shell, event: Any, then: Callable[[Any], None]) -> None:
    before = self.eager
    self.eager = False
    try:
        _request(self, event, lambda refused: then(refused) if refused is not None else None)
    finally:
        self.eager = before
    if self.queue:
        then(None)


def _one_slice_too_far(self: Agent, run: Run) -> None:
    _begin(self, run)
    if run.done:
        run.done += 1


def _drops_before_it_is_known(self: Agent, run: Run) -> None:
    _keep(self, run)
    if run.newest is not None:
        self.house.files.keep_only(run.member.job_id, (run.newest,))


def _unmade(found: list[Any]) -> list[Any]:
    return [one for one in found if not isinstance(one, commands.RecordMetadata)]


MUTANTS: tuple[Mutant, ...] = (
    Mutant("reports are not fenced by attempt", ((CoreWorld, "holder", _any_attempt),)),
    Mutant("work is given out before the commit", ((Shell, "_queue", _runs_first),)),
    Mutant("a restart forgets who is to be paused", _restoring(lambda one: replace(one, pause_requested=False))),
    Mutant("the checkpoint of a stale attempt is accepted", _hearing(_stale_checkpoint, events.CheckpointsKept)),
    Mutant("a result overrides a cancel", _hearing(_uncancelled, events.RunsReported)),
    Mutant(
        "a restart forgets the keys",
        (
            (Disk, "find", lambda *_: None),
            (StoreDisk, "find", lambda *_: None),
            *_restoring(after=_without_keys),
        ),
    ),
    Mutant("a refused checkpoint is tried for ever", _hearing(_nothing_refused, events.RunsReported)),
    Mutant(
        "an agent's capacity is forgotten",
        _hearing(lambda _, event: replace(event, capacity=32 if event.capacity else 0), events.AgentReady),
    ),
    Mutant("a group is written in two halves", ((Shell, "commit", _in_two_halves),)),
    Mutant("a report is acknowledged before its commit", ((Shell, "report", _report_first),)),
    Mutant("a request is acknowledged before its commit", ((Shell, "request", _handled_at_once),)),
    Mutant("a partial result completes the job", _hearing(_partial_is_whole, events.RunsReported)),
    Mutant("a restart forgets which agents are drained", _restoring(fact=lambda key: not key.startswith("drained/"))),
    Mutant("a restart forgets which devices are closed", _restoring(fact=lambda key: not key.startswith("paused/"))),
    Mutant(
        "what is lost loses its checkpoints",
        _hearing(_lost_with_its_checkpoints, events.AgentLost, events.AgentJoined),
    ),
    Mutant("a job that is lost is not paused", _hearing(_paused_no_more, events.AgentLost, events.AgentJoined)),
    Mutant("what a run kept when it made way is not written", _hearing(_nothing_kept, events.RunsReported)),
    Mutant("a job that is resumed while it runs is queued again", _hearing(_queued_twice, events.ResumeRequested)),
    Mutant("a resumed run skips a slice", ((Agent, "_begin", _one_slice_too_far),)),
    Mutant("the old checkpoint is dropped before the new one is known", ((Agent, "_keep", _drops_before_it_is_known),)),
    Mutant(
        "a job is read from a row that is about to change",
        ((Shell, "catch_up", lambda *_: None), (Shell, "going", lambda *_: False)),
    ),
    Mutant("metadata is asked for once only", _restoring(after=lambda _, found: _unmade(found))),
    Mutant("a restart does not write what it changed", _restoring(after=lambda _, found: found[1:])),
)

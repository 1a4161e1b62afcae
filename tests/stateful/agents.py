"""A fake device agent: a process of its own that outlives the scheduler, runs slices, keeps checkpoints, and may die.

It knows nothing of the core. It holds at most two groups (one that runs, one that waits), honours wishes between slices,
makes files durable before it speaks of them, and repeats its reports until they are acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model import AgentInfo, CheckpointRef, Group, Heartbeat, KeptCheckpoint, Member, RunReport
from qrtx_ray.scheduler import commands

from . import program
from .files import Files, Kept

__all__ = ["Agent", "House", "Run"]

Attempt = tuple[str, int]
STOPPED = ErrorInfo("stopped", "it was stopped", "ExecuteError")


class House(Protocol):
    """What an agent lives in: files that last, time, luck, and oracles that look on."""

    files: Files
    now: float

    def chance(self, probability: float) -> bool: ...
    def taken(self, agent: Agent, group: Group) -> None: ...
    def began(self, run: Run) -> None: ...
    def acknowledged(self, agent: Agent, reports: list[RunReport]) -> None: ...


@dataclass(slots=True)
class Run:
    """One attempt in an agent's hands."""

    member: Member
    begun: bool = False
    done: int = 0
    value: int = 0
    sequence: int = 0
    newest: CheckpointRef | None = None
    refused: list[CheckpointRef] = field(default_factory=list)
    wishes: set[str] = field(default_factory=set)
    ended: bool = False

    @property
    def attempt(self) -> Attempt:
        return self.member.job_id, self.member.attempt

    @property
    def progress(self) -> float:
        return self.done / program.slices(self.member.seed)


class Agent:
    """One process of the agent `name`."""

    def __init__(self, house: House, name: str, incarnation: str, devices: tuple[str, ...], capacity: int) -> None:
        self.house = house
        self.name = name
        self.incarnation = incarnation
        self.devices = devices
        self.capacity = capacity
        self.known = False
        self.call = 0  # the number of its present lease; answers to an earlier one are lost
        self.waiting = False
        self.groups: list[list[Run]] = []
        self.reports: dict[Attempt, RunReport] = {}
        self.kept: list[KeptCheckpoint] = []

    def here(self) -> tuple[Attempt, ...]:
        """Every attempt it answers for: running, held ready, or ended and not acknowledged."""
        held = [run.attempt for group in self.groups for run in group if not run.ended]
        return tuple(dict.fromkeys([*held, *self.reports]))

    def info(self) -> AgentInfo:
        return AgentInfo(self.name, self.incarnation, self.devices, self.here())

    def beat(self) -> Heartbeat:
        runs = self.groups[0] if self.groups else []
        progress = tuple((*run.attempt, run.progress, run.done) for run in runs if run.begun and not run.ended)
        return Heartbeat(self.name, self.incarnation, self.here(), progress)

    def room(self) -> bool:
        return len(self.groups) < 2

    # -- told from outside -----------------------------------------------------------------------------------------

    def take(self, call: int, group: Group) -> None:
        """The answer to a lease. One that it gave up before is lost, as a reply to a closed connection is."""
        if call != self.call or not self.waiting:
            return
        self.waiting = False
        self.house.taken(self, group)
        self.groups.append([Run(member) for member in group.members])

    def told(self, command: Any) -> None:
        """An order of the scheduler; it may be late, repeated, or meant for the process before this one."""
        if command.incarnation != self.incarnation:
            return
        run = self._find((command.job_id, command.attempt))
        if run is None:
            return
        match command:
            case commands.StopAttempt():
                run.wishes.add("stop")
            case commands.PreemptAttempt():
                run.wishes.add("preempt")
            case commands.CheckpointAttempt():
                run.wishes.add("checkpoint")
            case commands.ConcludeAttempt():
                run.wishes.add("conclude")

    def _find(self, attempt: Attempt) -> Run | None:
        runs = (run for group in self.groups for run in group)
        return next((run for run in runs if run.attempt == attempt and not run.ended), None)

    def settled(self, reports: Iterable[RunReport]) -> None:
        """These reports are acknowledged."""
        done = list(reports)
        self.house.acknowledged(self, done)
        for report in done:
            self.reports.pop((report.job_id, report.attempt), None)

    def valid(self, found: dict[str, tuple[CheckpointRef, ...]], said: list[KeptCheckpoint]) -> None:
        """The scheduler named what is valid now: older files of runs that it holds are of no use."""
        self.kept = [one for one in self.kept if one not in said]
        for job_id, refs in found.items():
            run = next((run for group in self.groups for run in group if run.member.job_id == job_id), None)
            if run is not None and run.newest in refs:
                self.house.files.keep_only_known(job_id, refs)

    # -- its own work ----------------------------------------------------------------------------------------------

    def work(self) -> None:
        """One step: a wish, the beginning of a run, or a slice."""
        for run in [run for group in self.groups for run in group if not run.ended and "stop" in run.wishes]:
            self._end(run, RunReport(*run.attempt, error=STOPPED))
        self._tidy()
        for group in self.groups[1:]:  # what only waits gives way at once
            for run in group:
                if "preempt" in run.wishes and not run.ended:
                    self._end(run, RunReport(*run.attempt, preempted=True))
        self._tidy()
        if self.groups:
            run = next(run for run in self.groups[0] if not run.ended)
            self._step(run)
            self._tidy()

    def _step(self, run: Run) -> None:
        if "preempt" in run.wishes and not run.begun:
            self._end(run, RunReport(*run.attempt, preempted=True))
            return
        if not run.begun:
            self._begin(run)
        if "preempt" in run.wishes:
            self._make_way(run)
        elif "conclude" in run.wishes:
            self._conclude(run)
        else:
            if "checkpoint" in run.wishes or (run.member.checkpoint_every_s > 0 and self.house.chance(0.4)):
                run.wishes.discard("checkpoint")
                self._keep(run)
            run.value = program.link(run.member.seed, run.done, run.value)
            run.done += 1
            if run.done == program.slices(run.member.seed):
                self._finish(run, partial=False)

    def _begin(self, run: Run) -> None:
        member = run.member
        run.begun = True
        run.value = program.begin(member.seed)
        run.sequence = max((ref.sequence for ref in member.checkpoints), default=0)
        for ref in member.checkpoints:
            kept = self.house.files.read(ref)
            if kept is not None and kept.seed == member.seed:
                run.done, run.value, run.newest = kept.done, kept.value, ref
                break
            run.refused.append(ref)
        self.house.began(run)

    def _write(self, run: Run) -> CheckpointRef | None:
        """A checkpoint of where it is; None where nothing is new."""
        if run.done == 0 or (run.newest is not None and run.newest.progress >= run.progress):
            return None
        run.sequence += 1
        kept = Kept("", run.member.seed, run.done, run.value)
        ref = self.house.files.write(*run.attempt, run.sequence, run.progress, self.house.now, kept)
        run.newest = ref
        return ref

    def _keep(self, run: Run) -> None:
        ref = self._write(run)
        if ref is not None:
            self.kept.append(KeptCheckpoint(*run.attempt, ref))

    def _make_way(self, run: Run) -> None:
        ref, refused = self._write(run), tuple(run.refused)
        self._end(
            run,
            RunReport(*run.attempt, preempted=True, progress=run.progress, checkpoint=ref, refused=refused, wall_s=1.0),
        )

    def _conclude(self, run: Run) -> None:
        if run.done == 0:
            self._end(run, RunReport(*run.attempt, error=STOPPED))
        else:
            self._finish(run, partial=True)

    def _finish(self, run: Run, *, partial: bool) -> None:
        sha256 = program.digest(run.member.seed, run.done, run.value)
        self.house.files.write_results(run.member.job_id, sha256)
        report = RunReport(
            *run.attempt, sha256, 100, 2.5, 1.0, progress=run.progress, refused=tuple(run.refused), partial=partial
        )
        self._end(run, report)

    def fail(self, error: ErrorInfo) -> None:
        """The run that is under way ends in an error."""
        run = next((run for run in self.groups[0] if not run.ended), None) if self.groups else None
        if run is not None:
            self._end(run, RunReport(*run.attempt, error=error, refused=tuple(run.refused)))
            self._tidy()

    def _end(self, run: Run, report: RunReport) -> None:
        run.ended = True
        self.reports[run.attempt] = report

    def _tidy(self) -> None:
        self.groups = [group for group in self.groups if not all(run.ended for run in group)]

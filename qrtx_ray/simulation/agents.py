"""Simulated device agents: they keep the protocol of the real ones and let the time of a run pass.

As a real one, an agent runs one group, holds one more ready, asks for work whenever it has room for it, notes the start
of a run that is not over at once, and reports all members when the group is through.
"""

from __future__ import annotations

from typing import Protocol

from qrtx_ray.errors import ErrorInfo, ExecutionTimeout
from qrtx_ray.model import AgentInfo, Candidate, CheckpointRef, Group, Member, RunReport
from qrtx_ray.scheduler import events
from qrtx_ray.simulation.agenda import Agenda
from qrtx_ray.simulation.failures import run_failure
from qrtx_ray.simulation.live import LiveJob
from qrtx_ray.simulation.runs import Ending, Leg, Run, SliceLaw

__all__ = ["Agent", "Surroundings"]

START_NOTICE_S = 0.05  # a shorter run reports its end, which says that it had begun
_STOPPED = ErrorInfo("stopped", "the attempt was stopped on request", "ExecuteError")
_RESULT = "0" * 64
_CHECKPOINT = "c" * 64
_CHECKPOINT_BYTES = 4096


class Surroundings(Protocol):
    """What an agent needs of the world around it."""

    agenda: Agenda
    slices: SliceLaw
    group_jobs: int

    def say(self, event: events.Event) -> None:
        """Tell the scheduler, as soon as it listens."""

    def live(self, job_id: str) -> LiveJob | None:
        """The job, while it is on its way."""

    def work(self, job: LiveJob, group: Group) -> tuple[Candidate, float, float | None]:
        """What the job is on the group's device, how long its whole run really takes, and its true fidelity."""

    def began(self, leg: Leg) -> None:
        """A member's work begins now."""

    def occupied(self, by: int) -> None:
        """So many agents more, or fewer, are at work."""

    def worked(self, device: str, seconds: float) -> None:
        """An agent was busy for a device."""


class Agent:
    """One agent.

    Args:
        name / devices: Who it is, and what it serves.
        around: The world.
    """

    def __init__(self, name: str, devices: tuple[str, ...], around: Surroundings) -> None:
        self.name = name
        self.devices = devices
        self._around = around
        self._life = 0
        self._run: Run | None = None
        self._held: Group | None = None
        self._down = 0

    @property
    def incarnation(self) -> str:
        """Of its present process."""
        return str(self._life)

    # -- what happens to it --------------------------------------------------------------------------------------

    def start(self, _: object = None) -> None:
        """Its process begins: it joins and asks for work."""
        self._life += 1
        self._around.say(events.AgentJoined(AgentInfo(self.name, self.incarnation, self.devices)))
        self._ask()

    def die(self, for_s: float) -> None:
        """Its process ends, with all it ran; another takes its place `for_s` seconds later."""
        self._down += 1
        if self._down == 1:
            run, self._run, self._held = self._run, None, None
            if run is not None:
                self._forfeit(run)
            self._around.say(events.AgentLost(self.name, self.incarnation, "agent died"))
        self._around.agenda.after(for_s, self._revive)

    def _revive(self, _: object) -> None:
        self._down -= 1
        if not self._down:
            self.start()

    # -- what the scheduler tells it -----------------------------------------------------------------------------

    def take(self, group: Group) -> None:
        """Run a group, or hold it ready behind the one that runs."""
        if self._run is None:
            self._begin(group)
        else:
            assert self._held is None, "an agent with a group in hand asked for no other"
            self._held = group

    def stop(self, job_id: str, attempt: int) -> None:
        """Give an attempt up at once."""
        if self._put_down(job_id, attempt, RunReport(job_id, attempt, error=_STOPPED)):
            return
        run = self._run
        if run is not None and run.stop(job_id, attempt, self._around.agenda.now):
            self._plan(run)

    def preempt(self, job_id: str, attempt: int) -> None:
        """End an attempt at its next slice and keep its progress."""
        job = self._around.live(job_id)
        kept = job.progress if job is not None else 0.0
        report = RunReport(job_id, attempt, preempted=True, progress=kept)  # what was kept before is as good as it was
        if self._put_down(job_id, attempt, report):
            return
        run = self._run
        if run is not None and run.preempt(job_id, attempt, self._around.agenda.now, self._around.slices):
            self._plan(run)

    def _put_down(self, job_id: str, attempt: int, report: RunReport) -> bool:
        held = self._held
        if held is None or not any(m.job_id == job_id and m.attempt == attempt for m in held.members):
            return False
        kept = tuple(member for member in held.members if member.job_id != job_id)
        self._held = Group(held.id, held.device, kept, held.noise_id) if kept else None
        self._report([report])
        if not kept:
            self._ask()
        return True

    # -- running -------------------------------------------------------------------------------------------------

    def _begin(self, group: Group) -> None:
        around, works = self._around, []
        for member in group.members:
            job = around.live(member.job_id)
            # A job that ended while its group waited here costs nothing; the scheduler knows its report to be stale.
            works.append((member, 0.0, 0.0) if job is None else self._work(member, job, group))
        run = self._run = Run(group, works, around.slices, around.agenda.now)
        around.occupied(1)
        if run.ends - around.agenda.now > START_NOTICE_S:
            members = tuple((member.job_id, member.attempt) for member in group.members)
            around.say(events.RunsStarted(self.name, self.incarnation, members))
        self._advance((run, run.version))
        self._ask()

    def _work(self, member: Member, job: LiveJob, group: Group) -> tuple[Member, float, float]:
        _, seconds, _ = self._around.work(job, group)
        return member, seconds, job.progress if member.checkpoints else 0.0

    def _plan(self, run: Run) -> None:
        self._around.agenda.at(run.present.ends, self._advance, (run, run.version))

    def _advance(self, plan: tuple[Run, int]) -> None:
        """The present leg is over, if nothing has changed since that was planned: on to the next one."""
        run, version = plan
        if run is not self._run or version != run.version:
            return
        while run.proceed():
            if run.present.runs:
                self._around.began(run.present)
                self._plan(run)
                return
        self._run = None
        self._around.occupied(-1)
        self._report([self._account(run, leg) for leg in run.legs])
        held, self._held = self._held, None
        if held is not None:
            self._begin(held)

    def _account(self, run: Run, leg: Leg) -> RunReport:
        """What a leg came to: the report, and its part of the job's costs."""
        around, member = self._around, leg.member
        job = around.live(member.job_id)
        around.worked(run.group.device, leg.length_s)
        if job is None:
            return RunReport(member.job_id, member.attempt, error=_STOPPED)
        job.busy_s += leg.length_s
        began_with = job.progress if member.checkpoints else 0.0
        if leg.length_s > 0.0:
            job.paid_s += leg.preparing_s
        if leg.ending is Ending.PREEMPTED:
            job.paid_s += max(0.0, leg.length_s - leg.preparing_s - (leg.progress - began_with) * leg.whole_s)
            job.progress = leg.progress
            kept = _kept(member, leg.progress, around.agenda.now) if leg.progress else None
            return RunReport(member.job_id, member.attempt, preempted=True, progress=leg.progress, checkpoint=kept)
        error = _STOPPED if leg.ending is Ending.STOPPED else run_failure(job.line, job.runs)
        if leg.ending is Ending.TIMED_OUT:
            error = ExecutionTimeout(f"the run took longer than {member.timeout_s:g} s").info()
        if error is not None:
            job.lost_s += leg.length_s
            return RunReport(member.job_id, member.attempt, error=error, wall_s=leg.length_s)
        candidate, _, job.fidelity = around.work(job, run.group)
        return RunReport(member.job_id, member.attempt, _RESULT, 1024, candidate.qpu_s, leg.length_s)

    def _forfeit(self, run: Run) -> None:
        now = self._around.agenda.now
        self._around.occupied(-1)
        for leg in run.legs:
            seconds = min(leg.ends, now) - leg.starts
            if seconds > 0.0:
                self._around.worked(run.group.device, seconds)
                job = self._around.live(leg.member.job_id)
                if job is not None:
                    job.busy_s += seconds
                    job.lost_s += seconds

    def _report(self, reports: list[RunReport]) -> None:
        self._around.say(events.RunsReported(self.name, self.incarnation, tuple(reports)))

    def _ask(self) -> None:
        if self._held is None:
            self._around.say(events.AgentReady(self.name, self.incarnation, self._around.group_jobs))


def _kept(member: Member, progress: float, now: float) -> CheckpointRef:
    """What a member that makes way leaves behind."""
    number = 1 + max((one.sequence for one in member.checkpoints), default=0)
    return CheckpointRef(member.job_id, member.attempt, number, _CHECKPOINT, _CHECKPOINT_BYTES, progress, now)

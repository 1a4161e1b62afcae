"""The simulation: the scheduling core of production, unchanged, in a world in which time costs nothing.

The driver takes the place of the shell around the core. It feeds the core the jobs and events of a trace, performs the
core's commands on simulated compilers and agents, moves a virtual clock from one happening to the next, and keeps a
ledger. It draws no random numbers: all chance is in the trace, or in the names of the noise that the core gives out. So
the same trace under the same settings gives the same run, to the last byte of its report.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from qrtx_ray.errors import InternalError, QrtxError, ValidationError
from qrtx_ray.model import Candidate, DeviceInfo, Group, JobRequest, Level, PayloadFormat, Program, Reservation
from qrtx_ray.scheduler import Core, CoreSettings, commands, events
from qrtx_ray.scheduler.policies import Policy
from qrtx_ray.simulation.agenda import Agenda
from qrtx_ray.simulation.agents import Agent
from qrtx_ray.simulation.compilers import Compiler
from qrtx_ray.simulation.ledger import Ledger
from qrtx_ray.simulation.lines import Entry, JobLine, LossLine, ReleaseLine, ReservationLine, SwitchLine
from qrtx_ray.simulation.live import LiveJob
from qrtx_ray.simulation.nature import Nature
from qrtx_ray.simulation.runs import Leg, SliceLaw
from qrtx_ray.simulation.trace import Trace

__all__ = ["Simulation", "WorldSettings"]

_RECORD_BATCH = 256  # finished jobs whose metadata is told to be recorded in one event


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """The numbers of the simulated world; those of the scheduler are `CoreSettings`.

    Args:
        compilers: Compiling processes.
        compile_call_s / compile_job_s / compile_batch: Seconds of a call, seconds more for each job (and for each device it
            is surveyed for), most jobs of a call.
        probe_s: Seconds until the answer of a probe.
        until_s: Stop at this time after the origin, whatever is still under way; None: when all jobs have ended.
    """

    compilers: int = 4
    compile_call_s: float = 0.02
    compile_job_s: float = 0.002
    compile_batch: int = 64
    probe_s: float = 1.0
    until_s: float | None = None


class Simulation:
    """One run of a trace.

    Args:
        trace: What happens.
        settings: Of the scheduling core.
        policy: Places jobs and chooses groups; None takes the core's own.
        world: Of the simulated world.

    Attributes:
        ledger: What came of it.
        core: The scheduling core.
        handled: Events the core has handled.
        most_live: The most jobs that were on their way at once.
    """

    def __init__(
        self, trace: Trace, settings: CoreSettings, policy: Policy | None = None, world: WorldSettings | None = None
    ) -> None:
        self._world = world or WorldSettings()
        self._origin = trace.header.origin
        self._lines = {device.name: device for device in trace.devices}
        infos = [_described(name, line.num_qubits) for name, line in self._lines.items()]
        self.core = Core(settings, infos, policy=policy)
        self.settings = settings
        self.agenda = Agenda(self._origin)
        self.nature = Nature(self._lines)
        law = settings.preemption
        self.slices = SliceLaw(law.slice_s, law.checkpoint_s, law.restart_s)
        self.group_jobs = settings.max_group_jobs
        self.compile_call_s = self._world.compile_call_s
        self.compile_job_s = self._world.compile_job_s
        self.compile_batch = self._world.compile_batch
        self.ledger = Ledger(_weights(settings), _wait_limits(settings))
        self.handled = 0
        self.most_live = 0
        self._jobs: dict[str, LiveJob] = {}
        self._running = 0
        self._numbered = 0
        self._inbox: deque[events.Event] = deque()
        self._to_record: list[str] = []
        self._epochs: dict[str, int] = {}
        self._entries: Iterator[Entry] = trace.entries()
        self._more = True
        self._agents: dict[str, Agent] = {}
        self._serving: dict[str, list[Agent]] = {name: [] for name in self._lines}
        self._compilers = {f"compiler-{i}": Compiler(f"compiler-{i}", self) for i in range(self._world.compilers)}
        self._hire(trace)
        self._perform: dict[type, Callable[[Any], None]] = {
            commands.Persist: self._persist,
            commands.Compile: lambda c: self._compilers[c.compiler].take(c.tasks),
            commands.RunGroup: lambda c: self._agents[c.agent].take(c.group),
            commands.StopAttempt: self._stop,
            commands.PreemptAttempt: self._preempt,
            commands.MeasureProbe: self._probe,
            commands.RecordMetadata: self._record,
            commands.Refuse: self._refused,
            commands.Duplicate: self._duplicate,
        }

    def run(self) -> Ledger:
        """From the first line of the trace until all its jobs have ended, or until the time is over.

        Raises:
            ValidationError: The trace names a device that it does not describe.
        """
        for compiler in self._compilers.values():
            compiler.start()
        for agent in self._agents.values():
            agent.start()
        self._plan_next()
        end = None if self._world.until_s is None else self._origin + self._world.until_s
        while True:
            self._settle()
            if not self._more and not self._jobs:
                return self.ledger
            if not self._step(end):
                return self.ledger

    @property
    def elapsed_s(self) -> float:
        """Virtual seconds since the origin."""
        return self.agenda.now - self._origin

    @property
    def unfinished(self) -> int:
        """Jobs that have not ended."""
        return len(self._jobs)

    def waiting(self) -> Iterator[JobLine]:
        """The jobs that have neither begun nor ended."""
        return (job.line for job in self._jobs.values() if job.begun_at is None)

    @property
    def devices(self) -> tuple[str, ...]:
        """All devices."""
        return tuple(self._lines)

    @property
    def agents(self) -> int:
        """How many agents there are."""
        return len(self._agents)

    def agents_of(self, device: str) -> int:
        """How many agents serve the device."""
        return len(self._serving[device])

    # -- the loop ------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Everything that happens at this very moment."""
        inbox = self._inbox
        while inbox:
            self._handle(inbox.popleft())
        self.most_live = max(self.most_live, len(self._jobs))

    def _handle(self, event: events.Event) -> None:
        self.handled += 1
        perform = self._perform
        for command in self.core.handle(event, self.agenda.now):
            perform[type(command)](command)

    def _step(self, end: float | None) -> bool:
        """Move on to whatever comes next; False when nothing does."""
        agenda, due = self.agenda, self.agenda.next_at()
        wait = self.core.next_wakeup(agenda.now)
        wakes = None if wait is None else agenda.now + wait
        first = min((moment for moment in (due, wakes) if moment is not None), default=None)
        if first is None or (end is not None and first > end):
            agenda.now = agenda.now if end is None else end
            return False
        if due is not None and due == first:
            agenda.take()
        else:
            agenda.now = first
            self._inbox.append(events.Ticked())
        self.ledger.sample(agenda.now - self._origin, len(self._jobs), self._running)
        return True

    def _plan_next(self) -> None:
        entry = next(self._entries, None)
        if entry is None:
            self._more = False
        else:
            self.agenda.at(self._origin + entry.at, self._happen, entry)

    def _happen(self, entry: Entry) -> None:
        if isinstance(entry, JobLine):
            self._submit(entry)
        elif isinstance(entry, LossLine):
            self._known(entry.device)
            for agent in self._serving[entry.device]:
                agent.die(entry.for_s)
        elif isinstance(entry, SwitchLine):
            self._known(entry.device)
            self._try(
                events.DevicePaused(entry.device) if entry.kind == "pause" else events.DeviceResumed(entry.device)
            )
        elif isinstance(entry, ReservationLine):
            self._known(entry.device)
            window = (self._origin + entry.begins_at, self._origin + entry.ends_at)
            held = Reservation(entry.name, entry.device, entry.tenant, *window, entry.session_id)
            self._try(events.ReservationMade(held))
        elif isinstance(entry, ReleaseLine):
            self._try(events.ReservationReleased(entry.name, None))
        self._plan_next()

    def _try(self, event: events.Event) -> None:
        """An event that the core may refuse: that is counted, as the caller would have been told."""
        self._settle()
        try:
            self._handle(event)
        except InternalError:
            raise
        except QrtxError as refusal:
            self.ledger.refused[refusal.code] += 1

    # -- jobs ----------------------------------------------------------------------------------------------------

    def _submit(self, line: JobLine) -> None:
        self._numbered += 1
        job_id = line.id or f"job-{self._numbered:07d}"
        if job_id in self._jobs:
            raise ValidationError(f"two jobs of the trace are called {job_id}", field="id")
        for device in line.choices or ((line.device,) if line.device != "auto" else ()):
            self._known(device)
        self._jobs[job_id] = LiveJob(line)
        self.ledger.arrived(line)
        self._inbox.append(events.JobsSubmitted((events.NewJob(job_id, self._request(line), line.seed),)))
        if line.cancel_at is not None:
            self.agenda.at(self._origin + line.cancel_at, self._cancel, job_id)

    def _request(self, line: JobLine) -> JobRequest:
        choices = line.choices or (tuple(self._lines) if line.device == "auto" else ())
        return JobRequest(
            Program(line.program),
            line.device,
            b"",
            PayloadFormat.NATIVE,
            line.tenant,
            priority=line.priority,
            seed=line.seed,
            session_id=line.session_id,
            queue_timeout_s=line.queue_timeout_s,
            execution_timeout_s=line.execution_timeout_s,
            max_qpu_s=line.max_qpu_s,
            choices=choices,
            deadline_at=None if line.deadline_at is None else self._origin + line.deadline_at,
            fidelity_floor=line.fidelity_floor,
            reservation=line.reservation,
            dry_run=line.dry_run,
        )

    def _cancel(self, job_id: str) -> None:
        if job_id in self._jobs:
            self._try(events.CancelRequested(job_id, None, "its owner"))

    def _known(self, device: str) -> None:
        if device not in self._lines:
            raise ValidationError(f"the trace names the device {device}, which no line describes", field="device")

    # -- what compilers and agents ask of the world ---------------------------------------------------------------

    def say(self, event: events.Event) -> None:
        """Have the core handle `event`, after all it was told before."""
        self._inbox.append(event)

    def live(self, job_id: str) -> LiveJob | None:
        """The job, while it is on its way."""
        return self._jobs.get(job_id)

    def device_of(self, job_id: str) -> str:
        """The device the core has the job down for."""
        return self.core.record(job_id).device

    def work(self, job: LiveJob, group: Group) -> tuple[Candidate, float, float | None]:
        """What the job is on the group's device, how long its whole run really takes, and its true fidelity."""
        candidate = self.nature.candidate(job.line, group.device, group.noise_id)
        return candidate, self.nature.run_s(job.line, candidate), candidate.fidelity

    def began(self, leg: Leg) -> None:
        """A member's work begins now."""
        job = self._jobs.get(leg.member.job_id)
        if job is not None:
            job.runs += 1
            if job.begun_at is None:
                job.begun_at = self.agenda.now
                self.ledger.begun(job.line, leg.length_s)

    def occupied(self, by: int) -> None:
        """So many agents more, or fewer, are at work."""
        self._running += by

    def worked(self, device: str, seconds: float) -> None:
        """An agent was busy for a device."""
        self.ledger.busy_s[device] += seconds

    # -- what the core commands ------------------------------------------------------------------------------------

    def _persist(self, command: commands.Persist) -> None:
        for record in command.records:
            if record.terminal:
                job = self._jobs.pop(record.id, None)
                if job is not None:
                    self.ledger.ended(record, job, self._origin)
        for key, text in command.facts:
            self._note(key, text)

    def _note(self, key: str, text: str | None) -> None:
        """A new epoch among the facts of a device is a calibration."""
        kind, _, device = key.partition("/")
        if kind == "device" and text is not None:
            epoch = int(orjson.loads(text).get("epoch", 0))
            if epoch != self._epochs.get(device, 0):
                self._epochs[device] = epoch
                self.ledger.calibrations[device] += 1

    def _record(self, command: commands.RecordMetadata) -> None:
        self._to_record += command.job_ids
        if len(self._to_record) >= _RECORD_BATCH or not self._jobs:
            done, self._to_record = tuple(self._to_record), []
            self._inbox.append(events.MetadataRecorded(done))

    def _stop(self, command: commands.StopAttempt) -> None:
        agent = self._agents.get(command.agent)
        if agent is not None and agent.incarnation == command.incarnation:
            agent.stop(command.job_id, command.attempt)

    def _preempt(self, command: commands.PreemptAttempt) -> None:
        agent = self._agents.get(command.agent)
        if agent is not None and agent.incarnation == command.incarnation:
            self.ledger.counts["preempt_orders"] += 1
            agent.preempt(command.job_id, command.attempt)

    def _probe(self, command: commands.MeasureProbe) -> None:
        self.ledger.counts["probes"] += 1
        self.agenda.after(self._world.probe_s, self._answer_probe, command)

    def _answer_probe(self, command: commands.MeasureProbe) -> None:
        measured = self.nature.probe(command.device, command.noise_id)
        self._inbox.append(events.ProbeMeasured(command.device, command.noise_id, measured))

    def _refused(self, command: commands.Refuse) -> None:
        """A job that was not accepted is gone, as if it had never been."""
        job = self._jobs.pop(command.job_id)
        self.ledger.refuse(job.line, command.error.code)

    @staticmethod
    def _duplicate(command: commands.Duplicate) -> None:
        """Traces have no idempotency keys."""
        raise InternalError(f"job {command.job_id} was taken for {command.existing_id}")

    # -- who works -------------------------------------------------------------------------------------------------

    def _hire(self, trace: Trace) -> None:
        for name, line in self._lines.items():
            for i in range(line.agents):
                self._employ(f"{name}/{i}", (name,))
        for number, crew in enumerate(trace.crews):
            for i in range(crew.count):
                self._employ(f"crew-{number}/{i}", crew.devices)

    def _employ(self, name: str, devices: tuple[str, ...]) -> None:
        agent = self._agents[name] = Agent(name, devices, self)
        for device in devices:
            self._serving[device].append(agent)


def _described(name: str, num_qubits: int) -> DeviceInfo:
    metadata, _, executor = name.partition("@")
    return DeviceInfo(name, metadata, executor or "aer", num_qubits)


def _wait_limits(settings: CoreSettings) -> dict[Level, float]:
    limits = {level: settings.levels[level].max_wait_s for level in Level}
    return {level: limit for level, limit in limits.items() if limit is not None}


def _weights(settings: CoreSettings) -> dict[str, float]:
    return {tenant: policy.weight for tenant, policy in settings.tenants.items()}

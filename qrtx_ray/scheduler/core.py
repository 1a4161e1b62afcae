"""The scheduler's mind: events in, commands out.

The core decides and does nothing. It has no clock (`now` is an argument), no randomness (identifiers and seeds come
with the events) and no I/O; the same events give the same commands. The shell around it performs the commands in
order, and what comes of them is the next event.

Rules the shell keeps:

1. One caller at a time. The Persist is committed before any other command is performed and before anybody is answered.
2. If the commit fails, or `handle` raises anything but NotFound, InvalidState or another refusal, memory is ahead of
   the store: throw the core away and `restore` a new one from the store.
3. `now` is seconds since the epoch, read once from the wall clock and carried on by the monotonic clock. A `now` that
   goes back is taken for the last one.
4. Agents and compilers are made to join before anything else of theirs is passed on; `knows_agent` and
   `knows_compiler` tell whether they have. What a stranger says changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from qrtx_ray.errors import InternalError, NotFound
from qrtx_ray.model import Candidate, DeviceInfo, JobChange, JobId, JobRecord, Reservation
from qrtx_ray.scheduler import (
    admission,
    alarms,
    calibrating,
    checking,
    compiling,
    deadlines,
    draining,
    estimating,
    events,
    explaining,
    keeping,
    migrating,
    pausing,
    reading,
    recovery,
    requests,
    reservations,
    running,
    usage,
)
from qrtx_ray.scheduler.commands import Command
from qrtx_ray.scheduler.dispatch import assign_runs
from qrtx_ray.scheduler.policies.priority import PriorityPolicy
from qrtx_ray.scheduler.policies.protocol import GroupPolicy, Policy
from qrtx_ray.scheduler.preempting import have_way_made
from qrtx_ray.scheduler.settings import CoreSettings
from qrtx_ray.scheduler.world import World

__all__ = ["Core"]


def _on_ticked(world: World, event: events.Ticked) -> None:
    deadlines.on_ticked(world, event)
    alarms.on_alarms(world)


_HANDLERS: dict[type, Callable[[World, Any], None]] = {
    events.JobsSubmitted: admission.on_jobs_submitted,
    events.CompilerJoined: compiling.on_compiler_joined,
    events.CompilerReady: compiling.on_compiler_ready,
    events.JobsCompiled: compiling.on_jobs_compiled,
    events.CompilerLost: compiling.on_compiler_lost,
    events.AgentJoined: running.on_agent_joined,
    events.AgentReady: running.on_agent_ready,
    events.RunsStarted: running.on_runs_started,
    events.AgentHeard: running.on_agent_heard,
    events.RunsReported: running.on_runs_reported,
    events.AgentLost: running.on_agent_lost,
    events.CheckpointsKept: running.on_checkpoints_kept,
    events.CancelRequested: requests.on_cancel_requested,
    events.PauseRequested: pausing.on_pause_requested,
    events.ResumeRequested: pausing.on_resume_requested,
    events.CheckpointRequested: keeping.on_checkpoint_requested,
    events.MigrationRequested: migrating.on_migration_requested,
    events.TagsChanged: requests.on_tags_changed,
    events.DeletionRequested: requests.on_deletion_requested,
    events.DevicePaused: draining.on_device_paused,
    events.DeviceResumed: draining.on_device_resumed,
    events.AgentDrained: draining.on_agent_drained,
    events.AgentResumed: draining.on_agent_resumed,
    events.MetadataRecorded: requests.on_metadata_recorded,
    events.ProbeMeasured: calibrating.on_probe_measured,
    events.ReservationMade: reservations.on_reservation_made,
    events.ReservationReleased: reservations.on_reservation_released,
    events.Ticked: _on_ticked,
}


class Core:
    """All jobs, devices, compilers and agents, behind one door: state changes through `handle`, or not at all.

    Args:
        settings: Limits and deadlines.
        devices: Devices that jobs may name.
        group_policy: Who shares a run; by default the policy says.
        policy: Where jobs go that leave the choice; by default to the shortest wait.
    """

    def __init__(
        self,
        settings: CoreSettings,
        devices: Iterable[DeviceInfo],
        group_policy: GroupPolicy | None = None,
        *,
        policy: Policy | None = None,
    ) -> None:
        chosen = policy or PriorityPolicy()
        self._world = World(settings, devices, chosen, group_policy or chosen.choose_group)
        self._started = False

    def restore(
        self,
        records: Iterable[JobRecord],
        last_sequence: int,
        last_number: int,
        now: float,
        facts: Mapping[str, str] | None = None,
    ) -> list[Command]:
        """Begin with what the store holds; before the first event, at most once.

        Args:
            records: Live jobs, and terminal ones whose metadata is not recorded.
            last_sequence / last_number: The highest the store has seen.
            now: Seconds since the epoch.
            facts: What else was persisted, by key.

        Raises:
            InternalError: Something was handled before.
        """
        if self._started:
            raise InternalError("a core is restored before its first event")
        world = self._world
        world.sequence, world.number = last_sequence, last_number
        self._begin(now, facts)
        recovery.restore(world, records)
        return world.flush()

    def handle(self, event: events.Event, now: float) -> list[Command]:
        """Take note of `event` at `now` (seconds since the epoch) and say what is to be done.

        Returns:
            Commands to perform in order. At most one is a Persist, and it comes first.

        Raises:
            NotFound: A request names a job or device that is not here, or another tenant's job; nothing changed.
            InvalidState: A request does not fit the state of its job; nothing changed.
        """
        world = self._world
        self._begin(now)
        _HANDLERS[type(event)](world, event)
        if world.parked_compilers:
            compiling.assign_compiles(world)
        if world.draining:
            calibrating.look_at_draining(world)
        if world.tenants.thawing:
            world.thaw()
        if world.parked:
            assign_runs(world)
        if world.stirred:
            have_way_made(world)
        world.stirred.clear()
        world.offered.clear()
        return world.flush()

    def _begin(self, now: float, facts: Mapping[str, str] | None = None) -> None:
        self._world.now = max(self._world.now, now)
        if not self._started:
            self._started = True
            recovery.begin(self._world, facts or {})

    # -- reading -------------------------------------------------------------------------------------------------

    def record(self, job_id: JobId) -> JobRecord:
        """The job as the core knows it.

        Raises:
            NotFound: Not in memory; a finished job may be in the store.
        """
        return self._world.record(job_id)

    def knows_job(self, job_id: JobId) -> bool:
        """Whether the job is in memory."""
        return job_id in self._world.jobs or job_id in self._world.finished

    def recall(self, record: JobRecord) -> None:
        """Take a finished job that left memory in again, so that a request can be made of it."""
        if record.terminal and not self.knows_job(record.id):
            self._world.recall(record)

    def device_readings(self) -> list[reading.DeviceReading]:
        """All devices as they are now."""
        return reading.device_readings(self._world)

    def agent_readings(self) -> list[reading.AgentReading]:
        """All agents as they are now, by name; also those that are drained and not there."""
        return reading.agent_readings(self._world)

    def story(self, job_id: JobId) -> tuple[JobChange, ...]:
        """What happened to a live job since this process knows it, oldest first; empty for one long finished."""
        job = self._world.jobs.get(job_id)
        return tuple(job.story) if job else ()

    def explain(self, job_id: JobId) -> dict[str, Any]:
        """Why the job is where it is, as plain data (see `scheduler.explaining`): state, reason, position, what goes before
        it, its candidates, when it should start, what would change that. Nothing in it tells of others' jobs but numbers.

        Raises:
            NotFound: Not in memory.
        """
        return explaining.explain(self._world, job_id)

    def estimate(self, tenant: str, priority: int, candidates: Sequence[Candidate], **wishes: Any) -> dict[str, Any]:
        """What a job that does not exist yet would find on each device (see `scheduler.estimating`).

        Args:
            tenant / priority: Whose job it would be, and how urgent (0..100).
            candidates: What a survey of its circuits says of each device.
            wishes: Any of ``fidelity_floor``, ``max_qpu_s``, ``deadline_at``, ``reservation``, ``session_id``.
        """
        return estimating.estimate(self._world, tenant, priority, candidates, **wishes)

    def reservations(self) -> tuple[Reservation, ...]:
        """Those to come and the present ones, by their beginning."""
        return tuple(sorted(self._world.reservations.values(), key=lambda one: (one.begins_at, one.name)))

    def usage(self, tenant: str) -> dict[str, Any]:
        """What `tenant` is due and has used (see `scheduler.usage`)."""
        return usage.usage(self._world, tenant)

    def position(self, job_id: JobId) -> int | None:
        """Jobs ahead of it in its device's line, or None when it does not stand there."""
        return reading.position(self._world, job_id)

    def queue_length(self, device: str) -> int:
        """Compiled jobs that wait for the device.

        Raises:
            NotFound: No such device.
        """
        found = self._world.devices.get(device)
        if found is None:
            raise NotFound(f"there is no device {device}", field="device")
        return sum(found.waiting)

    def snapshot(self) -> dict[str, Any]:
        """Counts: jobs by state and level, lines, devices, agents, compilers, stale reports."""
        return reading.snapshot(self._world)

    def next_wakeup(self, now: float) -> float | None:
        """Seconds from `now` until a Ticked has something to do (0.0 when it has already), or None."""
        if self._world.tenants.thawing:
            return 0.0
        dues = (self._world.timers.next_due(), self._world.alarms.next_due())
        due = min((one for one in dues if one is not None), default=None)
        return None if due is None else max(0.0, due - max(now, self._world.now))

    def knows_agent(self, name: str, incarnation: str) -> bool:
        """Whether this process of the agent has joined."""
        agent = self._world.agents.get(name)
        return agent is not None and agent.incarnation == incarnation

    def knows_compiler(self, name: str, incarnation: str) -> bool:
        """Whether this process of the compiler has joined."""
        compiler = self._world.compilers.get(name)
        return compiler is not None and compiler.incarnation == incarnation

    @property
    def live_jobs(self) -> int:
        """Jobs that have not ended."""
        return self._world.live

    @property
    def stale_reports(self) -> int:
        """Reports that changed nothing because they spoke of the past."""
        return self._world.stale_reports

    def check(self) -> None:
        """Check every invariant; slow, for tests.

        Raises:
            InternalError: Something disagrees.
        """
        checking.check(self._world)

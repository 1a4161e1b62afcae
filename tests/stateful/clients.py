"""Clients and operators: they ask, repeat what got no answer, and keep a ledger of what they were told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qrtx_ray.errors import QrtxError
from qrtx_ray.model import AUTO_DEVICE, DeviceInfo, JobRecord, JobRequest, PayloadFormat, Program, TaskState
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.core import _HANDLERS as KNOWN

if TYPE_CHECKING:
    from .world import World

__all__ = ["DEVICE", "DEVICES", "OTHER", "Clients", "request"]

DEVICE, OTHER = "fake_manila@aer", "fake_quito@aer"
DEVICES = (DeviceInfo(DEVICE, "fake_manila", "aer", 5), DeviceInfo(OTHER, "fake_quito", "aer", 5))
TENANTS = ("alice", "bob")
PRIORITIES = (10, 50, 50, 80, 95)


def request(device: str = DEVICE, tenant: str = "alice", **fields: Any) -> JobRequest:
    return JobRequest(Program.SAMPLER, device, b"payload", PayloadFormat.NATIVE, tenant, **fields)


class Clients:
    """Everybody who asks something of the scheduler from outside. Each method is one request, and draws what it asks."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.serial = 0

    # -- submitting --------------------------------------------------------------------------------------------------

    def submit(self) -> None:
        """One to three jobs; under a key some of the time, and that key perhaps used before."""
        rng = self.world.rng
        for _ in range(1 + (rng.random() < 0.3)):
            self.serial += 1
            fields: dict[str, Any] = {"priority": rng.choice(PRIORITIES), "tenant": rng.choice(TENANTS)}
            if rng.random() < self.world.plan.keyed:
                serial = rng.randrange(1, self.serial + 1)
                fields |= {"idempotency_key": f"key-{serial}", "digest": "d"}
            self._submit(self._wishes(fields))

    def _wishes(self, fields: dict[str, Any]) -> JobRequest:
        rng, now = self.world.rng, self.world.now
        device = OTHER if rng.random() < 0.35 else DEVICE
        drawn = rng.random()
        if drawn < 0.12:
            device = AUTO_DEVICE
            fields["choices"] = (DEVICE, OTHER)
        elif drawn < 0.16:
            fields["dry_run"] = True
        elif drawn < 0.2:
            fields["queue_timeout_s"] = rng.choice((0.5, 5.0, 40.0))
        elif drawn < 0.24:
            fields["deadline_at"] = now + rng.choice((0.5, 5.0, 100.0))
        elif drawn < 0.27:
            fields["execution_timeout_s"] = rng.choice((0.5, 5.0))
        if rng.random() < 0.5:
            fields["checkpoint_interval_s"] = 60.0 if rng.random() < 0.6 else 0.0
        return request(device, seed=rng.randrange(1, 1000), **fields)

    def _submit(self, asked: JobRequest) -> None:
        oracles = self.world.oracles

        def told(answers: list[Any]) -> None:
            for answer in answers:
                if isinstance(answer, str):
                    self.world.ids.setdefault(answer)
                    oracles.accepted(answer, asked.tenant, asked.idempotency_key)

        self._ask(lambda answer: self.world.shell.submit([(asked, asked.seed or 1)], answer), told)

    def _ask(self, call: Callable[[Callable[[Any], None]], None], told: Callable[[Any], None]) -> None:
        """Call the scheduler. The request may be lost, or be repeated as after a lost answer; so may the answer."""
        world = self.world
        if not world.shell.up or world.chance(world.plan.loss):
            return

        def answer(what: Any) -> None:
            if not world.chance(world.plan.loss):
                told(what)

        call(answer)
        if world.chance(world.plan.again) and world.shell.up:
            call(answer)

    # -- jobs that exist ---------------------------------------------------------------------------------------------

    def _some(self, *states: TaskState) -> JobRecord | None:
        """A job, rather a live one; with `states` rather one that was last seen in one of them."""
        world = self.world
        records = world.oracles.durable
        if not records:
            return None
        found = list(records.values())
        if world.rng.random() < 0.9:
            aimed = [one for one in found if (one.state in states if states else not one.terminal)]
            found = aimed or found
        return found[int(world.rng.random() * len(found))]

    def control(self, what: str, job: JobRecord, event: Any, whom: str = "") -> None:
        """Ask `event`; `what` is what the oracles are told."""
        if type(event) not in KNOWN:
            return
        oracles, target = self.world.oracles, whom or job.id
        number = oracles.ask(what, target)

        def told(refused: QrtxError | None) -> None:
            if refused is None:
                oracles.answered(what, target, number)

        self._ask(lambda answer: self.world.shell.request(event, answer), told)

    def _held(self) -> JobRecord | None:
        return self._some(TaskState.ALLOCATING, TaskState.EXECUTING)

    def cancel(self) -> None:
        job = self._some() if self.world.rng.random() < 0.5 else self._held()
        if job is not None:
            tenant = None if self.world.rng.random() < 0.2 else job.tenant
            self.control("cancel", job, events.CancelRequested(job.id, tenant, "client"))

    def cancel_partial(self) -> None:
        job = self._held()
        if job is not None and events.PauseRequested in KNOWN:
            self.control("partial", job, events.CancelRequested(job.id, job.tenant, "client", partial=True))

    def pause(self) -> None:
        job = self._some() if self.world.rng.random() < 0.25 else self._held()
        if job is not None:
            self.control("pause", job, events.PauseRequested(job.id, job.tenant, "client"))

    def resume(self) -> None:
        job = self._some(TaskState.PAUSED)
        if job is not None:
            self.control("resume", job, events.ResumeRequested(job.id, job.tenant, "client"))

    def checkpoint(self) -> None:
        job = self._held()
        if job is not None:
            self.control("checkpoint", job, events.CheckpointRequested(job.id, job.tenant))

    def migrate(self) -> None:
        job = self._held()
        if job is not None:
            agent = self.world.rng.choice((None, *self.world.names))
            self.control("migrate", job, events.MigrationRequested(job.id, job.tenant, "client", agent))

    def tag(self) -> None:
        job = self._some()
        if job is not None:
            self.control("tag", job, events.TagsChanged(job.id, None, (f"t{self.serial}",)))

    def delete(self) -> None:
        job = self._some(TaskState.COMPLETED, TaskState.CANCELLED, TaskState.FAILED)
        if job is not None and job.terminal:
            self.control("delete", job, events.DeletionRequested(job.id, job.tenant))
            if self.world.rng.random() < 0.3:  # somebody else has not heard of it
                self.control("tag", job, events.TagsChanged(job.id, None, ("late",)))

    def restore(self) -> None:
        """A new job that begins with the checkpoints of one that ended without all its results."""
        job = self._some(TaskState.CANCELLED, TaskState.FAILED, TaskState.TIMEOUT)
        if job is None or not job.terminal or not job.checkpoints:
            return
        fields = {"tenant": job.tenant, "seed": job.seed, "restored_from": job.id, "checkpoints": job.checkpoints}
        self._submit(request(job.device, **fields))

    # -- operators ---------------------------------------------------------------------------------------------------

    def switch_device(self) -> None:
        world = self.world
        device = world.rng.choice((DEVICE, OTHER))
        blank = world.blank
        if world.rng.random() < 0.5:
            drain = events.AgentDrained in KNOWN and world.rng.random() < 0.5
            self.control("close", blank, events.DevicePaused(device, drain), device)
        else:
            self.control("open", blank, events.DeviceResumed(device), device)

    def switch_agent(self) -> None:
        world = self.world
        agent = world.rng.choice(world.names)
        if world.rng.random() < 0.5:
            self.control("drain", world.blank, events.AgentDrained(agent), agent)
        else:
            self.control("undrain", world.blank, events.AgentResumed(agent), agent)

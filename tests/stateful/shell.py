"""The scheduler process of the simulation: the production core behind a write-ahead shell that can die at any step.

It keeps the rules of `actors.shell` and `actors.outbox` in plain calls: an event changes the core's memory at once; what it
writes is appended, then committed, then its commands are performed one by one, then its caller is answered. `point` stands
between all of these, and a fuse makes the process die there. What dies with it: the core, what was not committed, mailboxes,
answers that were not given. What does not: the disk, the files, and everybody else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from qrtx_ray.errors import InternalError, QrtxError
from qrtx_ray.model import (
    AgentInfo,
    CompileReport,
    CompileTask,
    DeviceInfo,
    Group,
    Heartbeat,
    JobRecord,
    JobRequest,
    KeptCheckpoint,
    RunReport,
)
from qrtx_ray.scheduler import Core, CoreSettings, commands, events

from .disk import Disk, Payload, StoreDisk
from .files import Files

__all__ = ["Box", "Crash", "Entry", "Post", "Shell", "Watcher"]

Then = Callable[[QrtxError | None, Sequence[commands.Command]], None]


class Crash(BaseException):
    """kill -9 of the scheduler."""


class Post(Protocol):
    """Whoever carries messages away from the scheduler."""

    def send(self, message: Callable[[], None]) -> None: ...
    def order(self, command: Any) -> None: ...


class Watcher(Protocol):
    """Whoever looks on from outside."""

    def committed(self, batch: Sequence[Entry]) -> None: ...
    def handling(self, event: events.Event) -> None: ...
    def handled(self, event: events.Event, persist: commands.Persist | None) -> None: ...
    def recovered(self) -> None: ...


@dataclass(slots=True)
class Entry:
    """What one event wrote and wants done."""

    persist: commands.Persist | None
    payloads: Sequence[Payload]
    commands: Sequence[commands.Command]
    then: Then | None


@dataclass(slots=True)
class Box:
    """A worker's mailbox: what was decided for it, and its parked call."""

    incarnation: str
    items: deque[Any] = field(default_factory=deque)
    parked: Callable[[Any], None] | None = None


class Shell:
    """One scheduler, over all its processes.

    Args:
        disk / files: What survives.
        settings / devices: Of the core.
        post: Messages to agents.
        watcher: The oracles.
    """

    def __init__(
        self,
        disk: Disk | StoreDisk,
        files: Files,
        settings: CoreSettings,
        devices: Sequence[DeviceInfo],
        post: Post,
        watcher: Watcher,
    ) -> None:
        self.disk = disk
        self.files = files
        self.settings = settings
        self.devices = devices
        self.post = post
        self.watcher = watcher
        self.now = 0.0
        self.up = False
        self.lives = 0
        self.fuse = 0  # dies at the n-th point from here; 0: never
        self.points = 0
        self.born = 0
        self.eager = True  # commit with every event; otherwise somebody calls `flush`
        self._forget()

    def _forget(self) -> None:
        self.core = Core(self.settings, self.devices)
        self.queue: deque[Entry] = deque()
        self.agents: dict[str, Box] = {}
        self.compilers: dict[str, Box] = {}
        self.to_record: dict[str, None] = {}

    # -- life and death --------------------------------------------------------------------------------------------

    def point(self) -> None:
        """A moment at which the process may die."""
        self.points += 1
        if self.fuse:
            self.fuse -= 1
            if not self.fuse:
                raise Crash

    def die(self) -> None:
        """The process is gone."""
        self.up = False
        self.fuse = 0

    def start(self, fuse: int = 0) -> None:
        """A new process takes the disk over."""
        self._forget()
        self.fuse = fuse
        self.lives += 1
        self.disk.open()
        self.point()
        sequence, number = self.disk.last()
        found = self.core.restore(self.disk.live(), sequence, number, self.now, self.disk.facts())
        self.up = True
        self._queue(found, (), None)
        self.flush()
        self.point()
        self.watcher.recovered()

    # -- events ----------------------------------------------------------------------------------------------------

    def apply(self, event: events.Event, payloads: Iterable[Payload] = (), then: Then | None = None) -> None:
        """Hand one event to the core; what it commands waits behind its commit, and `then` behind that."""
        self.watcher.handling(event)
        try:
            found = self.core.handle(event, self.now)
        except QrtxError as refused:
            if isinstance(refused, InternalError):
                raise
            self.watcher.handled(event, None)
            if then is not None:
                self._answer(then, refused, ())
            return
        persist = self._queue(found, tuple(payloads), then)
        self.watcher.handled(event, persist)
        self.point()
        if self.eager or (len(self.queue) == 1 and persist is None):
            self.flush()

    def _queue(
        self, found: Sequence[commands.Command], payloads: Sequence[Payload], then: Then | None
    ) -> commands.Persist | None:
        persist, rest = None, found
        if found and isinstance(found[0], commands.Persist):
            persist, rest = found[0], found[1:]
            if payloads:
                written = {record.id for record in persist.records}
                payloads = [item for item in payloads if item[0] in written]
        self.queue.append(Entry(persist, payloads, rest, then))
        return persist

    def flush(self, most: int = 0) -> None:
        """Commit up to `most` entries (0: all) together, then perform them in order."""
        batch = list(self.queue)[: most or None]
        if any(entry.persist for entry in batch):
            self.point()
            self.commit(batch)
            self.point()
        for entry in batch:
            self.queue.popleft()
            self.perform(entry)

    def commit(self, batch: Sequence[Entry]) -> None:
        """Make the rows of `batch` durable, in one transaction."""
        self.disk.commit([(entry.persist, entry.payloads) for entry in batch if entry.persist])
        self.watcher.committed(batch)

    def perform(self, entry: Entry) -> None:
        for command in entry.commands:
            self.carry_out(command)
            self.point()
        if entry.then is not None:
            self._answer(entry.then, None, entry.commands)

    def _answer(self, then: Then, refused: QrtxError | None, done: Sequence[commands.Command]) -> None:
        then(refused, done)
        self.point()

    def carry_out(self, command: commands.Command) -> None:
        if isinstance(command, commands.Compile):
            self._put(self.compilers, command.compiler, command.incarnation, command.tasks)
        elif isinstance(command, commands.RunGroup):
            self._put(self.agents, command.agent, command.incarnation, command.group)
        elif isinstance(command, commands.RecordMetadata):
            self.to_record.update(dict.fromkeys(command.job_ids))
        elif not isinstance(command, commands.Refuse | commands.Duplicate):
            self.post.order(command)

    def _put(self, boxes: dict[str, Box], worker: str, incarnation: str, item: Any) -> None:
        box = boxes.get(worker)
        if box is not None and box.incarnation == incarnation:
            box.items.append(item)
            self._hand_over(box)

    def _hand_over(self, box: Box) -> None:
        if box.items and box.parked is not None:
            parked, box.parked = box.parked, None
            parked(box.items.popleft())

    # -- clients ---------------------------------------------------------------------------------------------------

    def submit(self, requests: Sequence[tuple[JobRequest, int]], then: Callable[[list[Any]], None]) -> None:
        """Requests, each with the seed it gets if it names none; `then` gets an identifier or an error for each."""
        jobs = []
        for request, seed in requests:
            self.born += 1
            key = request.idempotency_key
            earlier = None if key is None else self.disk.find(request.tenant, key)
            jobs.append(events.NewJob(f"job{self.born:04d}", request, request.seed or seed, earlier))

        def answer(_: QrtxError | None, done: Sequence[commands.Command]) -> None:
            told: dict[str, Any] = {}
            for command in done:
                if isinstance(command, commands.Refuse):
                    told[command.job_id] = command.error
                elif isinstance(command, commands.Duplicate):
                    told[command.job_id] = command.existing_id
            then([told.get(job.id, job.id) for job in jobs])

        self.apply(
            events.JobsSubmitted(tuple(jobs)), [(job.id, "request", job.request.payload) for job in jobs], answer
        )

    def request(self, event: Any, then: Callable[[QrtxError | None], None]) -> None:
        """Something that is asked of a job or of a device."""
        job_id = getattr(event, "job_id", None)
        if job_id is not None and not self.core.knows_job(job_id):
            self.catch_up()
            stored = self.disk.record(job_id)
            if stored is not None and not self.going(job_id):
                self.core.recall(stored)
        self.apply(event, (), lambda refused, _: then(refused))

    def catch_up(self) -> None:
        """Wait for the writes under way: one of them may be of a job whose row is to be read."""
        if self.queue:
            self.flush()

    def going(self, job_id: str) -> bool:
        """Whether the job is deleted and its row is still there: it must not come back from it."""
        return any(job_id in entry.persist.deletions for entry in self.queue if entry.persist is not None)

    def tick(self) -> None:
        self.apply(events.Ticked())

    # -- compilers -------------------------------------------------------------------------------------------------

    def join_compiler(self, name: str, incarnation: str) -> None:
        box = self.compilers.get(name)
        if box is None or box.incarnation != incarnation:
            self.compilers[name] = Box(incarnation)
        self.apply(events.CompilerJoined(name, incarnation))

    def lease_compile(
        self, name: str, incarnation: str, capacity: int, reports: Sequence[CompileReport], then: Callable[[Any], None]
    ) -> bool:
        """Reports and an offer; `then` gets tasks when there are some. False: join again."""
        box = self.compilers.get(name)
        if box is None or box.incarnation != incarnation:
            return False
        if reports:
            executables = [(one.job_id, "executable", one.executable) for one in reports if one.executable]
            slim = tuple(replace(report, executable=b"") for report in reports)
            self.apply(events.JobsCompiled(name, incarnation, slim), executables)
        self.apply(events.CompilerReady(name, incarnation, capacity))
        box.parked = lambda orders: then(self._tasks(orders))
        self._hand_over(box)
        return True

    def _tasks(self, orders: Sequence[commands.CompileOrder]) -> list[CompileTask]:
        tasks = []
        for order in orders:
            record, payload = self.disk.record(order.job_id), self.disk.payload(order.job_id, "request")
            if record is not None and not record.terminal and payload is not None:
                tasks.append(CompileTask.of(record, order.attempt, payload, choices=order.choices))
        return tasks

    # -- agents ----------------------------------------------------------------------------------------------------

    def join_agent(self, info: AgentInfo, then: Callable[[], None]) -> None:
        self.agents[info.name] = Box(info.incarnation)
        self.apply(events.AgentJoined(info), (), lambda *_: then())

    def _knows(self, name: str, incarnation: str) -> bool:
        box = self.agents.get(name)
        return box is not None and box.incarnation == incarnation

    def lease(self, name: str, incarnation: str, capacity: int, then: Callable[[Group], None]) -> bool:
        """An offer; `then` gets a group when there is one. False: join again."""
        if not self._knows(name, incarnation):
            return False
        self.apply(events.AgentReady(name, incarnation, capacity))
        box = self.agents[name]
        box.parked = lambda group: then(self._filled(group))
        self._hand_over(box)
        return True

    def _filled(self, group: Group) -> Group:
        members = [
            replace(member, executable=self.disk.payload(member.job_id, "executable") or b"")
            for member in group.members
        ]
        return replace(group, members=tuple(members))

    def report(self, name: str, incarnation: str, reports: Sequence[RunReport], then: Callable[[], None]) -> bool:
        """The ends of attempts; `then` when they are durable. False: join again."""
        if not self._knows(name, incarnation):
            return False
        self.apply(events.RunsReported(name, incarnation, tuple(reports)), (), lambda *_: then())
        return True

    def started(self, name: str, incarnation: str, members: Sequence[tuple[str, int]]) -> None:
        if self._knows(name, incarnation):
            self.apply(events.RunsStarted(name, incarnation, tuple(members)))

    def heartbeat(self, beat: Heartbeat) -> bool:
        """False: join again."""
        if not self._knows(beat.agent, beat.incarnation):
            return False
        self.apply(events.AgentHeard(beat))
        return True

    def checkpointed(
        self, name: str, incarnation: str, kept: Sequence[KeptCheckpoint], then: Callable[[dict[str, Any]], None]
    ) -> bool:
        """Checkpoints that are durable as files; `then` gets what is valid now, when that is durable too."""
        if not self._knows(name, incarnation):
            return False

        def answer(*_: Any) -> None:
            named = dict.fromkeys(one.job_id for one in kept)
            then({job_id: found.checkpoints for job_id in named if (found := self.disk.record(job_id)) is not None})

        self.apply(events.CheckpointsKept(name, incarnation, tuple(kept)), (), answer)
        return True

    def lose_agent(self, name: str) -> None:
        """It has been silent for too long."""
        box = self.agents.pop(name, None)
        if box is not None:
            self.apply(events.AgentLost(name, box.incarnation, "no heartbeat"))

    def lose_compiler(self, name: str) -> None:
        box = self.compilers.pop(name, None)
        if box is not None:
            self.apply(events.CompilerLost(name, box.incarnation))

    # -- the state manager's part ------------------------------------------------------------------------------------

    def record_metadata(self) -> None:
        """Write what is to be written of finished jobs, and drop the files that nobody needs."""
        ids = list(self.to_record)
        self.to_record.clear()
        for job_id in ids:
            record = self.disk.record(job_id)
            if record is not None:
                self.files.keep_only(job_id, refs_of(record))
        self.point()
        if ids:
            self.apply(events.MetadataRecorded(tuple(ids)))


def refs_of(record: JobRecord) -> tuple[Any, ...]:
    """The checkpoints that are kept of a finished job: none of one that has all its results."""
    return () if record.state == "Completed" else record.checkpoints

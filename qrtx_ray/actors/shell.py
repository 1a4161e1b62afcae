"""What the scheduler actor is made of behind its calls: events in, commits, commands out, recovery, the clock.

`SchedulerShell` is the one place where the pure core is touched. A commit that fails, or a bug in the core, leaves memory and
disk in disagreement; then the process ends, and its successor starts from what the disk has.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from qrtx_ray.actors.committed import CommittedRecords
from qrtx_ray.actors.errands import Errands
from qrtx_ray.actors.faults import reached
from qrtx_ray.actors.feed import Feed
from qrtx_ray.actors.garbage import collect_seldom, collecting_nothing
from qrtx_ray.actors.journal import Journal, Payloads
from qrtx_ray.actors.logs import log_as_configured
from qrtx_ray.actors.mailboxes import Mailboxes
from qrtx_ray.actors.metadata_recorder import MetadataRecorder
from qrtx_ray.actors.outbox import Outbox, settled
from qrtx_ray.actors.payload_cache import PayloadCache
from qrtx_ray.actors.policies import policy_of
from qrtx_ray.actors.readiness import Readiness
from qrtx_ray.actors.retention import Retention
from qrtx_ray.actors.settings import core_settings, served_devices
from qrtx_ray.actors.storage_guard import StorageGuard
from qrtx_ray.clock import SystemClock
from qrtx_ray.config import Settings
from qrtx_ray.errors import (
    ErrorInfo,
    InternalError,
    InvalidState,
    NotFound,
    PersistError,
    QrtxError,
    StoreFull,
    StoreReadOnly,
)
from qrtx_ray.model import Group, JobRecord
from qrtx_ray.scheduler import commands as do
from qrtx_ray.scheduler import events as on
from qrtx_ray.scheduler.core import Core

__all__ = ["SchedulerShell"]

log = logging.getLogger("qrtx.scheduler")

TICK_S = 0.25
TICK_MIN_S = 0.01
REFUSAL_GRACE_S = 2.0  # a server that is restarted is waited for
GONE = 20_000  # jobs deleted last, which are remembered
LAST_WORDS_S = 0.2  # for the answers to those whose request was refused


class SchedulerShell:
    """Core, journal, outbox and mailboxes, on one event loop.

    Args:
        settings: `Settings.to_dict()` of the runtime's configuration.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = Settings.from_dict(settings)
        log_as_configured(self._settings)
        clock = SystemClock()
        self._wall_origin = clock.wall() - clock.monotonic()
        self._clock = clock
        self._started_at = clock.monotonic()
        policy = policy_of(self._settings)
        self._core = Core(core_settings(self._settings), served_devices(self._settings), policy=policy)
        self._agents: Mailboxes[Group] = Mailboxes()
        self._compilers: Mailboxes[tuple[do.CompileOrder, ...]] = Mailboxes()
        self._payloads = PayloadCache(64 * 1024 * 1024)
        self._committed = CommittedRecords(self._settings.performance.status_cache_entries)
        self._events: Counter[str] = Counter()
        self._ready = Readiness()
        self._closed = False
        self._guard = StorageGuard.of(self._settings)
        self._refused_since: float | None = None
        self._view: Journal | None = None
        self._gone: OrderedDict[str, None] = OrderedDict()
        collect_seldom()
        self._main = asyncio.get_running_loop().create_task(self._run())

    async def get(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        """Committed records of `job_ids`, None where there is none."""
        await self._ready.to_read()
        found = {job_id: record for job_id in job_ids if (record := self._committed.get(job_id)) is not None}
        missing = [job_id for job_id in job_ids if job_id not in found]
        if missing:
            found |= await self._journal.read(self._journal.store.records, missing)
        return [found.get(job_id) for job_id in job_ids]

    def _now(self) -> float:
        # Epoch seconds that never step back: deadlines and backoff must not jump with the wall clock.
        return self._wall_origin + self._clock.monotonic()

    def _apply(self, event: on.Event, payloads: Payloads = ()) -> tuple[list[do.Command], asyncio.Future[None]]:
        """Hand one event to the core and queue what it commands behind the commit."""
        self._events[type(event).__name__] += 1
        try:
            commands = self._core.handle(event, self._now())
        except Exception as error:
            if not isinstance(error, QrtxError) or isinstance(error, InternalError):
                self._start_anew(error)
            raise
        durable = None
        if commands and isinstance(commands[0], do.Persist):
            persist = commands[0]
            written = {record.id for record in persist.records}
            kept = tuple(item for item in payloads if item[0] in written)
            for job_id, kind, data in kept:
                self._payloads.put(job_id, kind, data)
            durable = self._journal.commit(persist, kept)
            self._guard.latency.watch(durable)
            self._note_gone(persist.deletions)
        return commands, self._outbox.post(durable, commands)

    def _perform(self, commands: Sequence[do.Command]) -> None:
        pushed: dict[tuple[type[do.Command], str], list[tuple[str, int]]] = {}
        for command in commands:
            match command:
                case do.Persist():
                    self._show(command)
                case do.Compile():
                    self._compilers.put(command.compiler, command.incarnation, command.tasks)
                case do.RunGroup():
                    reached("scheduler.before_grant")
                    self._agents.put(command.agent, command.incarnation, command.group)
                    reached("scheduler.after_grant")
                case do.StopAttempt():
                    reached("scheduler.before_stop")
                    self._errands.stop_attempt(command.agent, command.job_id, command.attempt)
                    reached("scheduler.after_stop")
                case do.PreemptAttempt() | do.ConcludeAttempt() | do.CheckpointAttempt():
                    pushed.setdefault((type(command), command.agent), []).append((command.job_id, command.attempt))
                case do.MeasureProbe():
                    self._measure(command)
                case do.RecordMetadata():
                    reached("scheduler.before_record")
                    self._recorder.add(command.job_ids)
                    reached("scheduler.after_record")
                case do.Refuse() | do.Duplicate():
                    pass  # answered by `submit`
        for (kind, agent), attempts in pushed.items():
            self._push(kind, agent, attempts)

    def _show(self, persist: do.Persist) -> None:
        """What is durable may be seen."""
        for job_id, kind in persist.drop_payloads:
            self._payloads.discard(job_id, kind)
        news = self._committed.update(persist.records)
        self._committed.forget(persist.deletions)
        self._feed.publish(news, persist.deletions)
        self._recorder.forget(persist.deletions)

    def _push(self, kind: type[do.Command], agent: str, attempts: Sequence[tuple[str, int]]) -> None:
        if kind is do.PreemptAttempt:
            reached("scheduler.before_preempt")
            self._errands.preempt_attempts(agent, attempts)
            reached("scheduler.after_preempt")
        elif kind is do.ConcludeAttempt:
            reached("scheduler.before_conclude")
            self._errands.conclude_attempts(agent, attempts)
            reached("scheduler.after_conclude")
        else:
            reached("scheduler.before_checkpoint")
            self._errands.checkpoint_attempts(agent, attempts)
            reached("scheduler.after_checkpoint")

    def _measure(self, probe: do.MeasureProbe) -> None:
        def measured(fidelity: float | None) -> None:
            self._apply(on.ProbeMeasured(probe.device, probe.noise_id, fidelity))

        self._errands.measure_probe(probe.agent, probe.device, probe.noise_id, probe.seed, measured)

    async def _recall(self, job_id: str) -> None:
        """A finished job may have left memory; what can still be asked of it goes by what the store has."""
        if not self._core.knows_job(job_id):
            # Behind all writes under way: one of them may be of this job, and its row must not be read before that.
            await settled(self._outbox.post(None, ()))
            stored = (await self._journal.read(self._journal.store.records, [job_id])).get(job_id)
            if stored is not None and job_id not in self._gone:
                self._core.recall(stored)

    def _welcome(self, jobs: tuple[on.NewJob, ...], answers: dict[str, ErrorInfo | str]) -> tuple[on.NewJob, ...]:
        """Those of `jobs` that the storage has room for; why not the others goes to `answers`. What repeats an earlier
        submission adds nothing, and is answered in any case.
        """
        refusal = self._guard.refusal(sum(len(job.request.payload) for job in jobs if job.existing is None))
        if refusal is None:
            return jobs
        answers |= {job.id: refusal.info() for job in jobs if job.existing is None}
        return tuple(job for job in jobs if job.existing is not None)

    def _storage(self) -> dict[str, Any]:
        """How the storage is, for an operator."""
        report, refusal = self._guard.report(), self._ready.refusal
        if refusal is not None:
            report |= {"accepting": False, "reason": refusal.message, "code": refusal.code}
        return report | {"read_only": not self._ready.is_set()}

    async def _delete_old(self, job_ids: Sequence[str]) -> None:
        """Delete jobs that have ended and are known to the journal, most of them to nobody else any more."""
        performed = []
        known = {job_id for job_id in job_ids if self._core.knows_job(job_id)}
        for job_id in known:
            with suppress(NotFound, InvalidState):
                performed.append(self._apply(on.DeletionRequested(job_id, None))[1])
        rest = tuple(job_id for job_id in job_ids if job_id not in known and job_id not in self._gone)
        if rest:
            forgotten = do.Persist((), (), deletions=rest)
            self._note_gone(rest)
            performed.append(self._outbox.post(self._journal.commit(forgotten), [forgotten]))
        for one in performed:
            await settled(one)

    async def _remove_files(self, job_ids: Sequence[str]) -> None:
        self._recorder.forget(job_ids)

    def _note_gone(self, job_ids: Iterable[str]) -> None:
        # Who has read a job just before it was deleted must not bring it back.
        self._gone.update(dict.fromkeys(job_ids))
        while len(self._gone) > GONE:
            self._gone.popitem(last=False)

    async def _payload_bytes(self, job_ids: Sequence[str], kind: str) -> dict[str, bytes]:
        found = {job_id: data for job_id in job_ids if (data := self._payloads.get(job_id, kind)) is not None}
        missing = [job_id for job_id in job_ids if job_id not in found]
        if missing:
            found |= await self._journal.read(self._journal.store.payloads, missing, kind)
        return found

    def _start_anew(self, error: BaseException) -> None:
        if self._closed:
            return  # a call that was under way finds the journal closed; what it wanted is not acknowledged
        # Memory and disk disagree now. The next process starts from what the disk has, and takes over from there.
        log.critical("the scheduler starts anew from its journal", exc_info=error)
        asyncio.get_running_loop().call_later(LAST_WORDS_S, os._exit, 70)

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._guard.watch())
                await self._recover()
                self._ready.set()
                tasks.create_task(self._retention.run())
                while True:
                    await self._tick()
        except Exception as error:  # noqa: BLE001 - a scheduler without its clock only looks alive
            self._start_anew(error)

    async def _recover(self) -> None:
        started = time.monotonic()
        journal = self._journal = await self._taken_over()
        reached("scheduler.recovery_taken_over")
        self._feed = Feed(journal.epoch)
        self._outbox: Outbox[do.Command] = Outbox(self._perform, self._start_anew)
        self._recorder = MetadataRecorder(self._metadata_recorded, self.get)
        self._errands = Errands()
        self._retention = Retention(self._settings, journal, self._now, self._delete_old, self._remove_files)
        with collecting_nothing():
            await self._restore(journal)
        log.info(
            "epoch %d: %d jobs taken over in %.3f s", journal.epoch, self._core.live_jobs, time.monotonic() - started
        )

    async def _restore(self, journal: Journal) -> None:
        records = await journal.read(journal.store.live_records)
        self._committed.update(records)
        sequence = await journal.read(journal.store.last_sequence)
        number = await journal.read(journal.store.last_number)
        facts = await journal.read(journal.store.facts)
        reached("scheduler.recovery_read")
        commands = self._core.restore(records, sequence, number, self._now(), facts)
        first = commands[0] if commands else None
        await self._outbox.post(journal.commit(first) if isinstance(first, do.Persist) else None, commands)
        reached("scheduler.recovery_restored")

    async def _taken_over(self) -> Journal:
        """The journal, under an epoch of this process. While it refuses to be written, it is shown as it is."""
        ballast = self._guard.ballast
        room = {} if ballast is None else {"make_room": ballast.give_up}
        url = self._settings.paths.journal_url
        return await Journal.open(url, trying=self._hide_view, refused=self._only_show, **room)

    async def _hide_view(self) -> None:
        # SQLite lets all connections of a process share an index that one of them could only open for reading.
        view, self._view = self._view, None
        if view is not None:
            self._ready.try_again()
            await asyncio.to_thread(view.close)

    async def _only_show(self, error: PersistError) -> None:
        """The journal cannot be taken over; unless that passes at once, show what it holds and refuse to change it."""
        now = self._clock.monotonic()
        since = self._refused_since = now if self._refused_since is None else self._refused_since
        if not isinstance(error, StoreFull) and now - since < REFUSAL_GRACE_S:
            return
        try:
            self._journal = self._view = await Journal.look_into(self._settings.paths.journal_url)
        except PersistError as unreadable:
            self._ready.refuse(unreadable, readable=False)
            return
        if not isinstance(error, StoreFull):
            error = StoreReadOnly(f"the journal takes no changes now ({error.message}); what it holds can be read")
        self._ready.refuse(error, readable=True)

    def _metadata_recorded(self, job_ids: Sequence[str]) -> None:
        self._apply(on.MetadataRecorded(tuple(job_ids)))

    async def _tick(self) -> None:
        now = self._now()
        due_in_s = self._core.next_wakeup(now)
        await asyncio.sleep(TICK_S if due_in_s is None else max(TICK_MIN_S, min(TICK_S, due_in_s)))
        self._apply(on.Ticked())
        self._watch()

    def _watch(self) -> None:
        limit = self._clock.monotonic() - self._settings.scheduler.agent_timeout_s
        for agent, incarnation in self._agents.silent_since(limit):
            log.warning("device agent %s has been silent too long; its work is leased anew", agent)
            self._agents.close(agent)
            self._apply(on.AgentLost(agent, incarnation, "no heartbeat"))
            self._errands.reclaim_qubits(agent, incarnation, self._journal.epoch)
        for compiler, incarnation in self._compilers.silent_since(limit):
            self._compilers.close(compiler)
            self._apply(on.CompilerLost(compiler, incarnation))

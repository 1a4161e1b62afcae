"""What the scheduler actor is made of behind its calls: events in, commits, commands out, recovery, the clock.

`SchedulerShell` is the one place where the pure core is touched. A commit that fails, or a bug in the core, leaves memory and
disk in disagreement; then the process ends, and its successor starts from what the disk has.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from qrtx_ray.actors.committed import CommittedRecords
from qrtx_ray.actors.errands import Errands
from qrtx_ray.actors.feed import Feed
from qrtx_ray.actors.garbage import collect_seldom
from qrtx_ray.actors.journal import Journal, Payloads
from qrtx_ray.actors.logs import log_as_configured
from qrtx_ray.actors.mailboxes import Mailboxes
from qrtx_ray.actors.metadata_recorder import MetadataRecorder
from qrtx_ray.actors.outbox import Outbox
from qrtx_ray.actors.payload_cache import PayloadCache
from qrtx_ray.actors.policies import policy_of
from qrtx_ray.actors.settings import core_settings, served_devices
from qrtx_ray.clock import SystemClock
from qrtx_ray.config import Settings
from qrtx_ray.errors import InternalError, QrtxError
from qrtx_ray.model import Group, JobRecord
from qrtx_ray.scheduler import commands as do
from qrtx_ray.scheduler import events as on
from qrtx_ray.scheduler.core import Core

__all__ = ["SchedulerShell"]

log = logging.getLogger("qrtx.scheduler")

TICK_S = 0.25
TICK_MIN_S = 0.01
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
        self._ready = asyncio.Event()
        collect_seldom()
        self._main = asyncio.get_running_loop().create_task(self._run())

    async def get(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        """Committed records of `job_ids`, None where there is none."""
        await self._ready.wait()
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
        return commands, self._outbox.post(durable, commands)

    def _perform(self, commands: Sequence[do.Command]) -> None:
        making_way: dict[str, list[tuple[str, int]]] = {}
        for command in commands:
            match command:
                case do.Persist():
                    for job_id, kind in command.drop_payloads:
                        self._payloads.discard(job_id, kind)
                    news = self._committed.update(command.records)
                    self._committed.forget(command.deletions)
                    self._feed.publish(news, command.deletions)
                    self._recorder.forget(command.deletions)
                case do.Compile():
                    self._compilers.put(command.compiler, command.incarnation, command.tasks)
                case do.RunGroup():
                    self._agents.put(command.agent, command.incarnation, command.group)
                case do.StopAttempt():
                    self._errands.stop_attempt(command.agent, command.job_id, command.attempt)
                case do.PreemptAttempt():
                    making_way.setdefault(command.agent, []).append((command.job_id, command.attempt))
                case do.MeasureProbe():
                    self._measure(command)
                case do.RecordMetadata():
                    self._recorder.add(command.job_ids)
                case do.Refuse() | do.Duplicate():
                    pass  # answered by `submit`
        for agent, attempts in making_way.items():
            self._errands.preempt_attempts(agent, attempts)

    def _measure(self, probe: do.MeasureProbe) -> None:
        def measured(fidelity: float | None) -> None:
            self._apply(on.ProbeMeasured(probe.device, probe.noise_id, fidelity))

        self._errands.measure_probe(probe.agent, probe.device, probe.noise_id, probe.seed, measured)

    async def _recall(self, job_id: str) -> None:
        """A finished job may have left memory; what can still be asked of it goes by what the store has."""
        if not self._core.knows_job(job_id):
            stored = (await self._journal.read(self._journal.store.records, [job_id])).get(job_id)
            if stored is not None:
                self._core.recall(stored)

    async def _payload_bytes(self, job_ids: Sequence[str], kind: str) -> dict[str, bytes]:
        found = {job_id: data for job_id in job_ids if (data := self._payloads.get(job_id, kind)) is not None}
        missing = [job_id for job_id in job_ids if job_id not in found]
        if missing:
            found |= await self._journal.read(self._journal.store.payloads, missing, kind)
        return found

    def _start_anew(self, error: BaseException) -> None:
        # Memory and disk disagree now. The next process starts from what the disk has, and takes over from there.
        log.critical("the scheduler starts anew from its journal", exc_info=error)
        asyncio.get_running_loop().call_later(LAST_WORDS_S, os._exit, 70)

    async def _run(self) -> None:
        try:
            await self._recover()
            self._ready.set()
            while True:
                await self._tick()
        except Exception as error:  # noqa: BLE001 - a scheduler without its clock only looks alive
            self._start_anew(error)

    async def _recover(self) -> None:
        started = time.monotonic()
        journal = self._journal = await Journal.open(self._settings.paths.journal_url)
        self._feed = Feed(journal.epoch)
        self._outbox: Outbox[do.Command] = Outbox(self._perform, self._start_anew)
        self._recorder = MetadataRecorder(self._metadata_recorded, self.get)
        self._errands = Errands()
        records = await journal.read(journal.store.live_records)
        self._committed.update(records)
        sequence = await journal.read(journal.store.last_sequence)
        number = await journal.read(journal.store.last_number)
        facts = await journal.read(journal.store.facts)
        commands = self._core.restore(records, sequence, number, self._now(), facts)
        first = commands[0] if commands else None
        await self._outbox.post(journal.commit(first) if isinstance(first, do.Persist) else None, commands)
        log.info(
            "epoch %d: %d jobs taken over in %.3f s", self._journal.epoch, len(records), time.monotonic() - started
        )

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
            self._errands.reclaim_qubits(agent, incarnation)
        for compiler, incarnation in self._compilers.silent_since(limit):
            self._compilers.close(compiler)
            self._apply(on.CompilerLost(compiler, incarnation))

"""The device actor: an agent that pulls groups of jobs for its devices and has a child process run them.

The agent itself only waits: Aer holds the interpreter lock for its whole run, so whoever runs it answers nobody. The
child can be killed at any moment and a warm one takes its place; the agent goes on answering. One group runs, at most one
more is held ready, and the results of a group are durable before the scheduler hears of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from ray.exceptions import RayError

from qrtx_ray.actors.faults import reached
from qrtx_ray.actors.garbage import collect_seldom
from qrtx_ray.actors.group_run import Attempt, GroupRun
from qrtx_ray.actors.keeping import CheckpointKeeper
from qrtx_ray.actors.link import SchedulerLink
from qrtx_ray.actors.logs import log_as_configured
from qrtx_ray.actors.names import STATE_MANAGER, find_actor
from qrtx_ray.actors.settings import MIB, engine_sandbox
from qrtx_ray.config import Settings
from qrtx_ray.errors import ErrorInfo, InternalError, QrtxError
from qrtx_ray.model import AgentInfo, CheckpointRef, Group, Heartbeat, KeptCheckpoint, Member, RunReport
from qrtx_ray.store.circuit_fs import CircuitFS

__all__ = ["DeviceActor"]

log = logging.getLogger("qrtx.device")

RESTART_PAUSE_S = 0.2
START_NOTICE_S = 0.05  # a shorter run reports its end, which says that it had begun
PROBE_DEADLINE_S = 60.0
KEEP_QUBITS_S = 1.0
DRAIN_LOOK_S = 0.02
GO_ALONG_S = 0.01
MOST_KEPT = 8  # groups whose results are on their way to the disk; where it takes none, they lie in memory
RUNNING = "running"  # the level-1 lease is for whatever group runs


@dataclass(slots=True)
class _Delivery:
    """Reports on their way to the scheduler."""

    reports: list[RunReport]
    acknowledged: bool = False


class DeviceActor:
    """An agent for one or more devices. Everything runs on one event loop.

    Args:
        name: The actor's name; stable over restarts.
        devices: Canonical names of the devices it serves.
        settings: `Settings.to_dict()`.
        engine_memory_mb / engine_threads: What the child may use.
    """

    def __init__(
        self,
        name: str,
        devices: tuple[str, ...],
        settings: dict[str, Any],
        engine_memory_mb: int,
        engine_threads: int,
    ) -> None:
        self._settings = Settings.from_dict(settings)
        log_as_configured(self._settings)
        self._name = name
        self._devices = devices
        self._incarnation = secrets.token_hex(8)
        self._link = SchedulerLink()
        self._files = CircuitFS(self._settings.paths.circuit_fs_url)
        self._keeper = CheckpointKeeper(self._settings, lambda: find_actor(STATE_MANAGER))
        self._memory_bytes = engine_memory_mb * MIB
        self._sandbox = engine_sandbox(self._settings, engine_memory_mb, engine_threads)
        self._held: Group | None = None
        self._held_any = asyncio.Event()
        self._held_none = asyncio.Event()
        self._held_none.set()
        self._run: GroupRun | None = None
        self._reports: list[RunReport] = []
        self._reports_any = asyncio.Event()
        self._unacknowledged: dict[Attempt, None] = {}
        self._accepting = asyncio.Event()
        self._accepting.set()
        self._joined = asyncio.Event()
        self._joining = asyncio.Lock()
        self._generation = 0
        self._state: Any = None
        self._leased_qubits = 0
        self._idle_since = 0.0
        self._keeping: dict[asyncio.Task[Any], GroupRun] = {}
        self._leasing = False
        self._background: set[asyncio.Task[Any]] = set()
        collect_seldom()
        for part in (self._fetch, self._execute, self._report, self._beat):
            self._spawn(self._forever(part))

    # ---------------------------------------------------------------------------------------------- control (pushed)

    async def stop(self, job_id: str, attempt: int) -> bool:
        """Stop one attempt now; the child dies if it is at work on it. Returns whether the attempt was here."""
        if self._let_go({(job_id, attempt)}):
            self._hand_in([GroupRun.stopped(job_id, attempt)])
            return True
        runs = [*self._keeping.values()] if self._run is None else [self._run, *self._keeping.values()]
        return any(run.stop(job_id, attempt) for run in runs)

    async def preempt(self, job_id: str, attempt: int) -> bool:
        """Have one attempt make way after its slice, its progress kept. Returns whether it was here and had not ended."""
        return bool(await self.preempt_many([(job_id, attempt)]))

    async def preempt_many(self, attempts: list[Attempt]) -> list[Attempt]:
        """As `preempt`, for several at once. Returns those that were here; each answers with an ordinary report."""
        gone = self._let_go(set(attempts))
        self._hand_in([GroupRun.given_back(member) for member in gone])
        back = [(member.job_id, member.attempt) for member in gone]
        return back if self._run is None else back + self._run.preempt(attempts)

    async def conclude_many(self, attempts: list[Attempt]) -> list[Attempt]:
        """Have attempts end after their slice with the results they have by then; one that has not begun is stopped. Returns
        those that were here.
        """
        gone = self._let_go(set(attempts))
        self._hand_in([GroupRun.stopped(member.job_id, member.attempt) for member in gone])
        ended = [(member.job_id, member.attempt) for member in gone]
        return ended if self._run is None else ended + self._run.conclude(attempts)

    async def checkpoint_many(self, attempts: list[Attempt]) -> list[Attempt]:
        """Have attempts keep their progress after their slice and go on. Returns those that run."""
        return [] if self._run is None else self._run.checkpoint(attempts)

    async def probe(self, device: str, noise_id: str, seed: int) -> float | None:
        """The fidelity (0..1) of the probe circuits of `device` under `noise_id`, or None when it could not be measured.

        Waits for its turn with the child, between two groups.
        """
        message = {"probe": {"device": device, "noise_id": noise_id, "seed": seed}}
        try:
            measured = (await self._sandbox.call(message, deadline_s=PROBE_DEADLINE_S)).get("fidelity")
        except QrtxError as error:
            log.warning("%s: %s could not be measured: %s", self._name, device, error.message)
            return None
        return measured if isinstance(measured, float) and 0.0 <= measured <= 1.0 else None

    async def ping(self) -> int:
        """The agent's process id."""
        return os.getpid()

    async def status(self) -> dict[str, Any]:
        """What the agent does now, as plain data."""
        return {
            "name": self._name,
            "pid": os.getpid(),
            "child_pid": self._sandbox.pid,
            "incarnation": self._incarnation,
            "devices": list(self._devices),
            "running": [job_id for job_id, _ in self._run.members()] if self._run else [],
            "prefetched": [member.job_id for member in self._held.members] if self._held else [],
        }

    async def drain(self, timeout_s: float, finish_s: float = 0.0) -> list[Attempt]:
        """Take no more work and come to rest: what runs has `finish_s` to end by itself, then it makes way after its slice
        with its progress kept.

        Returns:
            What is still here after `timeout_s`: it did not get to the end of its slice, or could not be reported.
        """
        self._accepting.clear()
        began = asyncio.get_running_loop().time()
        await self._quietly(self._link.call_once("withdraw", self._name, self._incarnation))
        while here := self._here():
            waited = asyncio.get_running_loop().time() - began
            if waited >= timeout_s:
                break
            await self.preempt_many(list(here) if waited >= finish_s else self._held_attempts())
            await asyncio.sleep(DRAIN_LOOK_S)
        return list(self._here())

    # --------------------------------------------------------------------------------------------- the four loops

    async def _fetch(self) -> None:
        await self._sandbox.start()
        await self._join(0)
        capacity = self._settings.group_jobs
        while True:
            await self._held_none.wait()
            await self._accepting.wait()
            await self._last_reports()
            seen = self._generation
            async with self._delivering() as delivery:
                self._leasing = True
                try:
                    lease = await self._link.call("lease", self._name, self._incarnation, capacity, delivery.reports)
                finally:
                    self._leasing = False
                delivery.acknowledged = lease.known
            if not lease.known:
                await self._join(seen)
            elif lease.group is not None:
                self._held = lease.group
                self._held_none.clear()
                self._held_any.set()

    async def _execute(self) -> None:
        while True:
            while len(self._keeping) >= MOST_KEPT:
                await asyncio.wait(self._keeping, return_when=asyncio.FIRST_COMPLETED)
            await self._held_any.wait()
            self._held_any.clear()
            group, self._held = self._held, None
            if group is None:
                continue
            self._run = GroupRun(group, self._sandbox, self._files, self._keeper, self._announce, self._memory_bytes)
            self._held_none.set()  # the next group is fetched while this one runs
            attempts = self._run.members()
            await self._occupy(group)
            notice = asyncio.get_running_loop().call_later(START_NOTICE_S, self._note_start, self._run)
            try:
                await self._run.execute()
                # The child goes on with the next group meanwhile.
                keeping = self._spawn(self._keep(self._run))
                self._keeping[keeping] = self._run
                keeping.add_done_callback(self._keeping.pop)
            except Exception as error:
                log.exception("%s: a group could not be run", self._name)
                self._hand_in([RunReport(*attempt, error=_our_fault(error)) for attempt in attempts])
            notice.cancel()
            self._unacknowledged.update(dict.fromkeys(attempts))
            self._run = None
            self._idle_since = asyncio.get_running_loop().time()

    def _note_start(self, run: GroupRun) -> None:
        self._spawn(self._quietly(self._link.call_once("started", self._name, self._incarnation, run.members())))

    async def _keep(self, run: GroupRun) -> None:
        try:
            async for reports in run.keep():
                self._hand_in(reports)
        except Exception as error:
            log.exception("%s: results could not be kept", self._name)
            self._hand_in([RunReport(*attempt, error=_our_fault(error)) for attempt in run.members()])

    async def _announce(self, kept: KeptCheckpoint) -> Sequence[CheckpointRef] | None:
        """Tell the scheduler of a checkpoint that is durable; which ones of the job are valid now."""
        while True:
            seen = self._generation
            valid = await self._link.call("checkpointed", self._name, self._incarnation, [kept])
            if valid is not None:
                answer: Sequence[CheckpointRef] | None = valid.get(kept.job_id)
                return answer
            await self._join(seen)

    async def _last_reports(self) -> None:
        """Wait a moment for results that are being kept: their reports can then go along with the next lease."""
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=GO_ALONG_S)

    async def _report(self) -> None:
        while True:
            await self._reports_any.wait()
            if not self._leasing:
                await asyncio.sleep(GO_ALONG_S)  # a lease is about to be asked for, and takes them along
            if not self._reports:
                continue
            seen = self._generation
            async with self._delivering() as delivery:
                known = await self._link.call("report", self._name, self._incarnation, delivery.reports)
                delivery.acknowledged = known
            if not known:
                await self._join(seen)

    async def _beat(self) -> None:
        await self._joined.wait()
        while True:
            run, seen = self._run, self._generation
            beat = Heartbeat(self._name, self._incarnation, self._here(), tuple(run.progress()) if run else ())
            if not await self._link.call("heartbeat", beat):
                await self._join(seen)
            await self._vacate_when_idle()
            await asyncio.sleep(self._settings.resources.check_interval)

    # ------------------------------------------------------------------------------------------------ inside

    async def _join(self, seen: int) -> None:
        """Join, unless somebody has since `seen` was read: a second join would drop work just leased."""
        async with self._joining:
            if seen == self._generation:
                info = AgentInfo(self._name, self._incarnation, self._devices, self._here())
                await self._link.call("join_agent", info)
                self._generation += 1
                self._joined.set()

    def _here(self) -> tuple[Attempt, ...]:
        """Every attempt this agent answers for: running, held ready, or ended and not yet acknowledged."""
        here = dict.fromkeys([*(self._run.members() if self._run else ()), *self._unacknowledged])
        here |= dict.fromkeys(self._held_attempts())
        return tuple(here)

    def _held_attempts(self) -> list[Attempt]:
        return [] if self._held is None else [(member.job_id, member.attempt) for member in self._held.members]

    def _let_go(self, attempts: set[Attempt]) -> list[Member]:
        """Take these out of the group that is held ready; those that were in it."""
        held = self._held
        if held is None:
            return []
        gone = [member for member in held.members if (member.job_id, member.attempt) in attempts]
        kept = tuple(member for member in held.members if member not in gone)
        if gone:
            self._held = replace(held, members=kept) if kept else None
        if not kept:
            self._held_any.clear()
            self._held_none.set()
        return gone

    def _hand_in(self, reports: list[RunReport]) -> None:
        self._unacknowledged.update(dict.fromkeys((report.job_id, report.attempt) for report in reports))
        self._reports += reports
        if reports:
            self._reports_any.set()

    @asynccontextmanager
    async def _delivering(self) -> AsyncIterator[_Delivery]:
        """Take the reports that wait; those not acknowledged by the end of the block wait again."""
        delivery = _Delivery(self._reports)
        if self._reports:
            reached("agent.before_report")
        self._reports = []
        self._reports_any.clear()
        try:
            yield delivery
        finally:
            if delivery.acknowledged:
                for report in delivery.reports:
                    self._unacknowledged.pop((report.job_id, report.attempt), None)
            else:
                self._hand_in(delivery.reports)

    async def _occupy(self, group: Group) -> None:
        """Have the level-1 lease cover the group's live qubits. It is kept from group to group and only ever grows while
        there is work: a lease for every group would cost more than many groups do.
        """
        wanted = sum(member.qubits for member in group.members)
        if wanted > self._leased_qubits:
            self._leased_qubits = wanted
            qubits = {RUNNING: wanted}
            await self._state_manager("occupy", group.device, self._name, self._incarnation, RUNNING, qubits)

    async def _vacate_when_idle(self) -> None:
        idle = self._run is None and self._held is None
        if self._leased_qubits and idle and asyncio.get_running_loop().time() - self._idle_since > KEEP_QUBITS_S:
            self._leased_qubits = 0
            await self._state_manager("vacate", self._name, self._incarnation, RUNNING)

    async def _state_manager(self, method: str, *arguments: Any) -> None:
        # Leases are bookkeeping that a restarted state manager builds up again; no job waits for one to come back.
        try:
            if self._state is None:
                self._state = await asyncio.to_thread(find_actor, STATE_MANAGER)
            if self._state is not None:
                await getattr(self._state, method).remote(*arguments)
        except RayError:
            self._state = None

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    @staticmethod
    async def _quietly(call: Awaitable[Any]) -> None:
        try:
            await call
        except RayError:
            log.debug("the scheduler was away; it learns the same from the next heartbeat")

    async def _forever(self, part: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await part()
            except Exception:
                log.exception("%s: %s failed; it starts again", self._name, part.__name__)
                await asyncio.sleep(RESTART_PAUSE_S)


def _our_fault(error: Exception) -> ErrorInfo:
    return error.info() if isinstance(error, QrtxError) else InternalError("the agent could not run the job").info()

"""The compiler actor: pulls batches of jobs to decode, validate and transpile, and has child processes do it.

Whatever a tenant sent is parsed in a child with little memory, no files, no network and a deadline. A child that dies
costs the job it was at work on: what it had reported before is kept, and the rest goes to the next child. There are two
children, each fed by a loop of its own, so that a job that takes all its time does not make everybody wait.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from ray.exceptions import RayTaskError

from qrtx_ray.actors.answers import candidates_of, error_of, profile_of
from qrtx_ray.actors.garbage import collect_seldom
from qrtx_ray.actors.link import SchedulerLink
from qrtx_ray.actors.logs import log_as_configured
from qrtx_ray.actors.settings import compiler_sandbox
from qrtx_ray.config import Settings
from qrtx_ray.errors import CompileError, ErrorInfo, ExecutionTimeout, PersistError, QrtxError, QueueFull, WorkerDied
from qrtx_ray.model import CompileReport, CompileTask
from qrtx_ray.sandbox.process import Sandbox
from qrtx_ray.store.circuit_fs import CircuitFS

__all__ = ["CompilerActor"]

log = logging.getLogger("qrtx.compiler")

BATCH = 32
RESTART_PAUSE_S = 0.2
CHILDREN = 2  # while one is held up by a long job, the other works
HELD_UP_S = 0.2
CROWD = 8  # jobs in a batch
HAND_OVERS = 4  # batches that are being written and reported while others are compiled
SURVEYS = 64  # asked for and not answered yet


class CompilerActor:
    """A pool of compiler children behind one name.

    Args:
        name: The actor's name; stable over restarts.
        settings: `Settings.to_dict()`.
    """

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self._settings = Settings.from_dict(settings)
        log_as_configured(self._settings)
        self._name = name
        self._incarnation = secrets.token_hex(8)
        self._link = SchedulerLink()
        self._files = CircuitFS(self._settings.paths.circuit_fs_url)
        self._sandboxes = [compiler_sandbox(self._settings) for _ in range(CHILDREN)]
        self._surveyor: Sandbox | None = None
        self._surveying = asyncio.Lock()
        self._surveys = 0
        self._turn = asyncio.Lock()
        self._joined = asyncio.Event()
        self._joining = asyncio.Lock()
        self._generation = 0
        self._handing = asyncio.Semaphore(HAND_OVERS)
        self._reporting: set[asyncio.Task[None]] = set()
        collect_seldom()
        loop = asyncio.get_running_loop()
        parts: list[Callable[[], Coroutine[Any, Any, None]]] = [
            self._beat,
            *(partial(self._compile, sandbox) for sandbox in self._sandboxes),
        ]
        self._tasks = [loop.create_task(self._forever(part)) for part in parts]

    async def ping(self) -> int:
        """The actor's process id."""
        return os.getpid()

    async def status(self) -> dict[str, Any]:
        """Process ids, as plain data."""
        pids = [sandbox.pid for sandbox in self._sandboxes]
        return {"name": self._name, "pid": os.getpid(), "child_pid": pids[0], "child_pids": pids}

    async def survey(self, task: CompileTask) -> CompileReport:
        """What the job of `task` would be on each of its choices. It is no job of the scheduler, and leaves nothing behind.

        A child of its own does it, one survey at a time, so that questions hold up no job.

        Raises:
            QueueFull: Too many are asked for at once.
        """
        if self._surveys >= SURVEYS:
            raise QueueFull(f"{SURVEYS} estimates are under way; try again soon", limit=f"{SURVEYS} estimates")
        self._surveys += 1
        try:
            async with self._surveying:
                if self._surveyor is None:
                    self._surveyor = compiler_sandbox(self._settings)
                    await self._surveyor.start()
                answers: dict[str, dict[str, Any]] = {}
                error = await self._call(self._surveyor, [task], answers)
        finally:
            self._surveys -= 1
        if error is not None:
            return CompileReport(task.job_id, task.attempt, error=self._blame(error))
        return _report_of(task, answers.get(task.job_id, {}))

    async def _join(self, seen: int) -> None:
        """Join, unless somebody has since `seen` was read: a second join would drop work just leased."""
        async with self._joining:
            if seen == self._generation:
                await self._link.call("join_compiler", self._name, self._incarnation)
                self._generation += 1
                self._joined.set()

    async def _beat(self) -> None:
        await self._joined.wait()
        while True:
            seen = self._generation
            if not await self._link.call("compiler_heartbeat", self._name, self._incarnation):
                await self._join(seen)
            await asyncio.sleep(self._settings.resources.check_interval)

    async def _compile(self, sandbox: Sandbox) -> None:
        await sandbox.start()
        if not self._joined.is_set():
            await self._join(0)
        while True:
            async with self._turn:
                work = await self._compile_in_turn(sandbox)
            await self._hand_over(partial(list, await work))

    async def _compile_in_turn(self, sandbox: Sandbox) -> asyncio.Task[list[CompileReport]]:
        """Lease and compile batch after batch, until one takes long: that one is returned, and another child's turn comes.

        One child that takes all there is makes larger batches than two that race, and each batch costs two calls.
        """
        reports: list[CompileReport] = []
        while True:
            seen = self._generation
            lease = await self._ask("lease_compile", BATCH, reports)
            if not lease.known:
                await self._join(seen)
                continue
            work = asyncio.get_running_loop().create_task(self._compile_batch(sandbox, list(lease.tasks)))
            done, _ = await asyncio.wait({work}, timeout=HELD_UP_S)
            if not done:
                return work
            reports = work.result()

    async def _ask(self, method: str, *arguments: Any) -> Any:
        while True:
            try:
                return await self._link.call(method, self._name, self._incarnation, *arguments)
            except RayTaskError:
                # The scheduler could not take the reports, for now: its journal may be in trouble. They stay.
                await asyncio.sleep(RESTART_PAUSE_S)

    async def _compile_batch(self, sandbox: Sandbox, tasks: list[CompileTask]) -> list[CompileReport]:
        """Compile `tasks`. What is returned is to be reported with the next lease, which saves a call; a crowd's files are
        written and reported apart, so that the child need not wait for them.
        """
        crowd = len(tasks) >= CROWD
        reports: list[CompileReport] = []
        suspects: set[str] = set()
        while tasks:
            answers: dict[str, dict[str, Any]] = {}
            error = await self._call(sandbox, tasks, answers)
            done = [task for task in tasks if error is None or task.job_id in answers]
            tasks = [task for task in tasks if error is not None and task.job_id not in answers]
            if crowd:
                await self._hand_over(partial(self._keep, done, answers))
            else:
                reports += await asyncio.to_thread(self._keep, done, answers)
            if error is not None and tasks and not done:
                # Nothing was finished before it, so the first had the child and the time to itself.
                if isinstance(error, WorkerDied) and tasks[0].job_id not in suspects:
                    suspects.add(tasks[0].job_id)
                    continue  # one death is not enough: a child can also be killed from outside
                guilty, *tasks = tasks
                reports.append(CompileReport(guilty.job_id, guilty.attempt, error=self._blame(error)))
        return reports

    async def _hand_over(self, keep: Callable[[], list[CompileReport]]) -> None:
        """Have `keep` write what there is to write and report the outcome, while the child goes on with the next batch; wait
        only when too much is under way already.
        """
        await self._handing.acquire()
        task = asyncio.get_running_loop().create_task(self._report(keep))
        self._reporting.add(task)
        task.add_done_callback(self._handed_over)

    def _handed_over(self, task: asyncio.Task[None]) -> None:
        self._reporting.discard(task)
        self._handing.release()
        if not task.cancelled() and task.exception() is not None:
            log.error("%s: compiled jobs could not be reported", self._name, exc_info=task.exception())

    async def _report(self, keep: Callable[[], list[CompileReport]]) -> None:
        reports = await asyncio.to_thread(keep)
        while reports and not await self._ask("report_compiled", reports):
            await self._join(self._generation)

    async def _call(
        self, sandbox: Sandbox, tasks: list[CompileTask], answers: dict[str, dict[str, Any]]
    ) -> QrtxError | None:
        """Have `tasks` compiled in turn; fills `answers` by job. An error returned is the child's."""

        def heard(event: dict[str, Any]) -> None:
            report = event.get("report")
            if isinstance(report, dict) and isinstance(report.get("job_id"), str):
                answers[report["job_id"]] = report

        message = {
            "tasks": [
                {
                    "job_id": task.job_id,
                    "program": str(task.program),
                    "device": task.device,
                    "payload": task.payload,
                    "payload_format": str(task.payload_format),
                    "seed": task.seed,
                    "client": task.client,
                    "tenant": task.tenant,
                    "name": task.name,
                    "noise_id": task.calibration_id,
                    "choices": [list(choice) for choice in task.choices],
                    "dry_run": task.dry_run,
                }
                for task in tasks
            ]
        }
        try:
            reply = await sandbox.call(message, deadline_s=self._settings.compiler.timeout, on_event=heard)
        except QrtxError as error:
            return error
        reports = reply.get("reports")
        for report in reports if isinstance(reports, list) else ():
            heard({"report": report})
        return None

    def _keep(self, tasks: list[CompileTask], answers: dict[str, dict[str, Any]]) -> list[CompileReport]:
        """Write the artefacts, then report: whoever sees a compiled job finds its files."""
        return [self._keep_one(task, answers.get(task.job_id)) for task in tasks]

    def _keep_one(self, task: CompileTask, answer: dict[str, Any] | None) -> CompileReport:
        if answer is None:
            error = CompileError("the compiler gave no answer for this job").info()
            return CompileReport(task.job_id, task.attempt, error=error)
        artefacts = answer.get("artefacts")
        if isinstance(artefacts, dict):
            texts = {name: text for name, text in artefacts.items() if isinstance(text, str)}
            try:
                self._files.write_artefacts(task.job_id, texts)
            except PersistError as refused:  # the files are for people only, and the job was accepted
                log.warning("the files of %s could not be written: %s", task.job_id, refused.message)
            except QrtxError as refused:
                return CompileReport(task.job_id, task.attempt, error=refused.info())
        report = _report_of(task, answer)
        results = answer.get("results")
        if report.error is not None or not task.dry_run or not isinstance(results, bytes) or not results:
            return report
        try:
            kept = self._files.write_results(task.job_id, results, task.attempt)
        except QrtxError as refused:
            return CompileReport(task.job_id, task.attempt, error=refused.info())
        return replace(report, result_sha256=kept.sha256, result_bytes=kept.size_bytes)

    def _blame(self, error: QrtxError) -> ErrorInfo:
        if isinstance(error, ExecutionTimeout):
            limit = f"{self._settings.compiler.timeout:g} s"
            text = f"decoding and compiling the job took longer than {limit}; make the circuit smaller or send QPY"
            return CompileError(text, field="circuits", limit=limit).info()
        text = f"the job could not be compiled: {error.message}"
        return CompileError(text, field=error.field or "circuits", limit=error.limit).info()

    async def _forever(self, part: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await part()
            except Exception:
                log.exception("%s: %s failed; it starts again", self._name, getattr(part, "__name__", "compiling"))
                await asyncio.sleep(RESTART_PAUSE_S)


def _report_of(task: CompileTask, answer: dict[str, Any]) -> CompileReport:
    """What the child's `answer` to `task` comes to: what was asked for, or an error."""
    failure = error_of(answer.get("error"))
    if failure is None and task.choices:
        candidates = candidates_of(answer.get("candidates"), [device for device, _ in task.choices])
        if candidates is not None:
            return CompileReport(task.job_id, task.attempt, candidates=candidates)
    elif failure is None:
        profile, executable = profile_of(answer.get("profile")), answer.get("executable")
        if profile is not None and isinstance(executable, bytes):
            return CompileReport(task.job_id, task.attempt, profile, executable)
    failure = failure or CompileError("the compiler gave an answer that cannot be read").info()
    return CompileReport(task.job_id, task.attempt, error=failure)

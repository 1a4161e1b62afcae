"""The compiler actor: pulls batches of jobs to decode, validate and transpile, and has child processes do it.

Whatever a tenant sent is parsed in a child with little memory, no files, no network and a deadline. A child that dies
costs the batch; the members are then compiled one by one, so that only the guilty job fails.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from ray.exceptions import RayTaskError

from qrtx_ray.actors.answers import error_of, profile_of
from qrtx_ray.actors.link import SchedulerLink
from qrtx_ray.actors.settings import compiler_sandbox
from qrtx_ray.config import Settings
from qrtx_ray.errors import CompileError, ErrorInfo, ExecutionTimeout, QrtxError
from qrtx_ray.model import CompileReport, CompileTask
from qrtx_ray.sandbox.process import Sandbox
from qrtx_ray.store.circuit_fs import CircuitFS

__all__ = ["CompilerActor"]

log = logging.getLogger("qrtx.compiler")

BATCH = 16
RESTART_PAUSE_S = 0.2
LOOPS_PER_CHILD = 2  # while one batch is in the child, the other is on its way to or from the scheduler


class CompilerActor:
    """A pool of compiler children behind one name.

    Args:
        name: The actor's name; stable over restarts.
        settings: `Settings.to_dict()`.
    """

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self._settings = Settings.from_dict(settings)
        self._name = name
        self._incarnation = secrets.token_hex(8)
        self._link = SchedulerLink()
        self._files = CircuitFS(self._settings.paths.circuit_fs_url)
        self._sandbox = compiler_sandbox(self._settings)
        self._joined = asyncio.Event()
        self._joining = asyncio.Lock()
        self._generation = 0
        loop = asyncio.get_running_loop()
        parts = [self._start, self._beat, *[self._compile] * LOOPS_PER_CHILD]
        self._tasks = [loop.create_task(self._forever(part)) for part in parts]

    async def ping(self) -> int:
        """The actor's process id."""
        return os.getpid()

    async def status(self) -> dict[str, Any]:
        """Process ids, as plain data."""
        return {"name": self._name, "pid": os.getpid(), "child_pid": self._sandbox.pid}

    async def _start(self) -> None:
        await self._sandbox.start()
        await self._join(0)
        await asyncio.Event().wait()

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

    async def _compile(self) -> None:
        await self._joined.wait()
        reports: list[CompileReport] = []
        while True:
            seen = self._generation
            try:
                lease = await self._link.call("lease_compile", self._name, self._incarnation, BATCH, reports)
            except RayTaskError:
                # The scheduler could not take them, for now: its journal may be in trouble. The reports stay.
                await asyncio.sleep(RESTART_PAUSE_S)
                continue
            if not lease.known:
                await self._join(seen)
                continue
            reports = await self._compile_batch(list(lease.tasks))

    async def _compile_batch(self, tasks: list[CompileTask]) -> list[CompileReport]:
        if not tasks:
            return []
        try:
            answers = await self._call(self._sandbox, tasks)
        except QrtxError as error:
            if len(tasks) == 1:
                return [CompileReport(tasks[0].job_id, tasks[0].attempt, error=self._blame(error))]
            alone = [await self._compile_batch([task]) for task in tasks]
            return [report for reports in alone for report in reports]
        return await asyncio.to_thread(self._keep, tasks, answers)

    async def _call(self, sandbox: Sandbox, tasks: list[CompileTask]) -> dict[str, dict[str, Any]]:
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
                }
                for task in tasks
            ]
        }
        reply = await sandbox.call(message, deadline_s=self._settings.compiler.timeout)
        answers = reply.get("reports")
        return {
            answer["job_id"]: answer
            for answer in (answers if isinstance(answers, list) else ())
            if isinstance(answer, dict) and isinstance(answer.get("job_id"), str)
        }

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
            except QrtxError as refused:
                return CompileReport(task.job_id, task.attempt, error=refused.info())
        failure = error_of(answer.get("error"))
        profile, executable = profile_of(answer.get("profile")), answer.get("executable")
        if failure is None and profile is not None and isinstance(executable, bytes):
            return CompileReport(task.job_id, task.attempt, profile, executable)
        failure = failure or CompileError("the compiler gave an answer that cannot be read").info()
        return CompileReport(task.job_id, task.attempt, error=failure)

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
                log.exception("%s: %s failed; it starts again", self._name, part.__name__)
                await asyncio.sleep(RESTART_PAUSE_S)

"""`Sandbox`: one confined child process that answers calls, with a warm spare for the moment it dies.

Everything is done with descriptors the event loop can watch (socket, pidfd at the zygote); no SIGCHLD, no child
watcher, no thread. So it works in any event loop in any thread, uvloop in a Ray actor included.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from typing import Any

from qrtx_ray.errors import ErrorInfo, ExecutionTimeout, InternalError, QrtxError, WorkerDied
from qrtx_ray.sandbox.area import is_sealed
from qrtx_ray.sandbox.forker import Child, Exit, Forker
from qrtx_ray.sandbox.frames import FrameError, Kind, pack, receive, send
from qrtx_ray.sandbox.interrupts import Interrupts
from qrtx_ray.sandbox.limits import SandboxLimits

__all__ = ["Sandbox"]

_log = logging.getLogger(__name__)
_EXIT_S = 0.5  # from a process closing its socket by ending to the news of its end
OnEvent = Callable[[dict[str, Any]], None]


class Sandbox:
    """Calls a handler in a child process: one call at a time, each with a deadline.

    A call that fails by its process (deadline, crash, memory, nonsense on the socket, cancellation) costs that process;
    the next call goes to a spare whose handler already stands.

    Args:
        entry: ``"package.module:factory"``; ``factory(config) -> handler``, ``handler(message, caller) -> reply``.
        config: Plain data for the factory.
        limits: What a child may use.
        preload: Modules to import once, before forking; importing them must not start a thread.
    """

    def __init__(
        self, entry: str, config: dict[str, Any], limits: SandboxLimits, *, preload: tuple[str, ...] = ()
    ) -> None:
        self._setup = {"entry": entry, "config": config}
        self._limits = limits
        self._preload = (*preload, entry.partition(":")[0])
        self._forker: Forker | None = None
        self._child: Child | None = None
        self._spare: asyncio.Task[Child] | None = None
        self._lock = asyncio.Lock()  # one call at a time
        self._starting = asyncio.Lock()  # one zygote at a time
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Process number of the child that would answer now, or None."""
        return self._child.pid if self._child and self._child.alive else None

    @property
    def alive(self) -> bool:
        """Whether a child is there to answer at once."""
        return self.pid is not None

    async def start(self) -> None:
        """Start the zygote and the first child, and begin with the spare.

        Raises:
            WorkerDied: A module cannot be imported, or the child ended before it was ready.
            QrtxError: The factory raised.
        """
        async with self._lock:
            await self._ready_child()

    async def call(
        self,
        message: dict[str, Any],
        *,
        deadline_s: float,
        on_event: OnEvent | None = None,
        interrupts: Interrupts | None = None,
        area: int | None = None,
    ) -> dict[str, Any]:
        """Have `message` answered.

        Args:
            message: Plain data.
            deadline_s: Seconds from the moment the child gets the message; then it is killed.
            on_event: Called with each event before the reply. When it raises, the child is killed.
            interrupts: A way to reach the handler until it has answered; new for every call.
            area: Descriptor of an `area.Area`, memory that the handler may use and this process sees; stays the caller's.

        Raises:
            ExecutionTimeout: The deadline passed.
            WorkerDied: The child died, or sent what is not a frame.
            ResourceExhausted: The child ran out of memory.
            InternalError: `message` is not plain data or too large, or `area` could be resized by the child.
            QrtxError: What the handler raised.
        """
        try:
            frame = pack(Kind.CALL, message, self._limits.frame_bytes)
        except FrameError as error:
            msg = f"the message for the worker cannot be sent: {error}"
            raise InternalError(msg) from error
        if area is not None and not is_sealed(area):
            msg = "the memory of the call has no seals; whoever resized it could bring this process down"
            raise InternalError(msg)
        async with self._lock:
            child = await self._ready_child()
            try:
                async with asyncio.timeout(deadline_s):
                    kind, body = await self._exchange(child, frame, Kind.REPLY, on_event, interrupts, area)
            except TimeoutError:
                await self._bury(child)
                msg = f"the run took longer than {deadline_s:g} s and was stopped"
                raise ExecutionTimeout(msg, limit=f"{deadline_s:g} s") from None
            except BaseException:
                # Also a cancelled call: nobody waits for the answer, and the next call must not read it.
                child.kill()
                self._refill()
                raise
            finally:
                if interrupts is not None:
                    interrupts.end()
            if kind is Kind.ERROR:
                if body.get("recycle", True):
                    await self._bury(child)
                raise _error(body)
            return body

    def kill(self) -> None:
        """SIGKILL the child now; a running call fails with WorkerDied, the next one goes to the spare."""
        if self._child is not None:
            self._child.kill()
            self._refill()

    async def close(self) -> None:
        """Kill everything and wait for its end; idempotent."""
        self._closed = True
        if self._child is not None:
            self._child.kill()
        if self._spare is not None:
            self._spare.cancel()
            spare = (await asyncio.gather(self._spare, return_exceptions=True))[0]
            if isinstance(spare, Child):
                spare.sock.close()
        if self._forker is not None:
            await self._forker.close()
        if self._child is not None:
            self._child.sock.close()
        self._forker = self._child = self._spare = None

    async def _exchange(
        self,
        child: Child,
        frame: bytes,
        expected: Kind,
        on_event: OnEvent | None = None,
        interrupts: Interrupts | None = None,
        area: int | None = None,
    ) -> tuple[Kind, dict[str, Any]]:
        # A connection that breaks here is not the last word: the child may have sent an error before it ended.
        with contextlib.suppress(ConnectionError):
            await send(child.sock, frame, area)
        if interrupts is not None:
            interrupts.begin(child)
        while True:
            try:
                answer = await receive(child.sock, self._limits.frame_bytes)
            except FrameError as error:
                await self._bury(child)
                msg = f"the process that ran it sent something that is no answer: {error}"
                raise WorkerDied(msg) from None
            if answer is None:
                raise WorkerDied(await self._inquest(child))
            kind, body = answer
            if kind in {expected, Kind.ERROR}:
                return kind, body
            if kind is not Kind.EVENT:
                await self._bury(child)
                msg = "the process that ran it sent something that is no answer: a frame out of turn"
                raise WorkerDied(msg)
            if on_event is not None:
                on_event(body)
            await asyncio.sleep(0)  # one that never stops talking must hold up neither its deadline nor anybody else

    async def _inquest(self, child: Child) -> str:
        """Why the child, whose end of the socket is closed, is dead."""
        stopped = child.killed
        by_itself = await child.gone(_EXIT_S)
        ending = await self._bury(child)
        if stopped:
            return "the process that ran it was stopped"
        return _obituary(ending, self._limits) if by_itself else "the process that ran it closed its connection"

    async def _bury(self, child: Child) -> Exit:
        ending = await child.ended()
        self._refill()
        return ending

    async def _ready_child(self) -> Child:
        """The child to ask: the present one, else the spare, else a new one."""
        self._check_open()
        if self._child is None or not self._child.alive:
            if self._child is not None:
                self._child.sock.close()
            self._child = await self._take_spare() or await self._spawn()
            self._refill()
        return self._child

    def _check_open(self) -> None:
        if self._closed:
            msg = "the sandbox is closed"
            raise WorkerDied(msg)

    async def _take_spare(self) -> Child | None:
        task, self._spare = self._spare, None
        if task is None:
            return None
        try:
            child = await task
        except asyncio.CancelledError:
            # By `close`, or because the call that waits here is cancelled itself.
            self._check_open()
            raise
        except QrtxError as error:
            _log.warning("a spare worker could not be started: %s", error)
            return None
        if child.alive:
            return child
        child.sock.close()
        return None

    def _refill(self) -> None:
        if self._spare is None and not self._closed:
            self._spare = asyncio.get_running_loop().create_task(self._spawn())

    async def _spawn(self) -> Child:
        """A child whose handler stands."""
        try:
            async with asyncio.timeout(self._limits.start_timeout_s):
                forker = await self._running_forker()
                return await self._set_up(await forker.fork())
        except TimeoutError:
            msg = f"a worker was not ready within {self._limits.start_timeout_s:g} s"
            raise WorkerDied(msg) from None

    async def _running_forker(self) -> Forker:
        async with self._starting:
            self._check_open()
            if self._forker is None or not self._forker.alive:
                if self._forker is not None:
                    await self._forker.close()
                self._forker = Forker(self._preload, self._limits)
                await self._forker.start()
            return self._forker

    async def _set_up(self, child: Child) -> Child:
        try:
            frame = pack(Kind.SETUP, self._setup, self._limits.frame_bytes)
            kind, body = await self._exchange(child, frame, Kind.READY)
        except BaseException:
            child.kill()
            child.sock.close()
            raise
        if kind is not Kind.READY:
            child.kill()
            child.sock.close()
            raise _error(body)
        return child


def _error(body: dict[str, Any]) -> QrtxError:
    """The exception an error frame describes; the child is not trusted to describe one."""
    try:
        error = QrtxError.from_info(ErrorInfo.from_dict(body["error"]))
    except (KeyError, TypeError, AttributeError):
        return WorkerDied("the process that ran it sent an error that is none")
    _log.warning("worker: %s, at %s", error.code, str(body.get("where"))[:2000])
    return error


def _obituary(ending: Exit, limits: SandboxLimits) -> str:
    """Why the child is dead, in one sentence."""
    if not ending.signal:
        return f"the process that ran it ended with exit code {ending.code}"
    name = signal.Signals(ending.signal).name
    text = f"the process that ran it was killed by signal {ending.signal} ({name})"
    if ending.signal == signal.SIGKILL:
        return f"{text}, most likely because the machine ran out of memory"
    # A library that gets no memory aborts or follows a null pointer.
    if ending.peak_bytes > limits.memory_bytes // 2:
        return (
            f"{text}; it had used {ending.peak_bytes // 2**20} MiB of the {limits.memory_bytes // 2**20} MiB it may use"
        )
    return text

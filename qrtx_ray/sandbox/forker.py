"""The parent's side of a zygote: start it, ask it for children, learn how they ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from qrtx_ray.errors import WorkerDied
from qrtx_ray.sandbox.frames import CONTROL_BYTES
from qrtx_ray.sandbox.limits import SandboxLimits

__all__ = ["Child", "Exit", "Forker"]

_SETTINGS = "[default]\nmin_qpy_version = 13\nparallel = False\n"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended: `code`, or the number of the `signal`; `peak_bytes` is its largest resident size."""

    code: int = 0
    signal: int = 0
    peak_bytes: int = 0


class Child:
    """A forked child: its socket, and a descriptor that stands for this process and no other."""

    def __init__(self, pid: int, pidfd: int, sock: socket.socket, exited: asyncio.Future[Exit]) -> None:
        self.pid = pid
        self.sock = sock
        self.exited = exited
        self.killed = False
        self._pidfd = pidfd
        exited.add_done_callback(lambda _: self._close_pidfd())

    @property
    def alive(self) -> bool:
        return not self.killed and not self.exited.done()

    def kill(self) -> None:
        """SIGKILL now; nothing when it has ended."""
        self.killed = True
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def gone(self, within_s: float) -> bool:
        """Whether it has ended by itself `within_s` seconds from now."""
        await asyncio.wait({self.exited}, timeout=within_s)
        return self.exited.done()

    async def ended(self) -> Exit:
        """Kill it if need be, wait for its end, close its socket."""
        self.kill()
        self.sock.close()
        return await asyncio.shield(self.exited)

    def _close_pidfd(self) -> None:
        descriptor, self._pidfd = self._pidfd, -1
        if descriptor >= 0:
            os.close(descriptor)


class Forker:
    """One zygote. All methods belong to the event loop that called `start`."""

    def __init__(self, preload: tuple[str, ...], limits: SandboxLimits) -> None:
        self._preload = preload
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._waiting: deque[asyncio.Future[tuple[dict[str, Any], list[int]]]] = deque()
        self._children: dict[int, asyncio.Future[Exit]] = {}
        self.network_left = False

    @property
    def alive(self) -> bool:
        return self._control is not None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the process and wait until it has imported everything.

        Raises:
            WorkerDied: An import failed or the process ended.
        """
        self._loop = asyncio.get_running_loop()
        self._folder = tempfile.TemporaryDirectory(prefix="qrtx-sandbox-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        (folder / "settings.conf").write_text(_SETTINGS, encoding="ascii")
        (folder / "home").mkdir(mode=0o700)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = self._limits.environment(folder, os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(entry or os.curdir for entry in sys.path)
        program = [sys.executable, "-P", "-m", "qrtx_ray.sandbox.zygote", str(theirs.fileno()), str(os.getpid())]
        with theirs:
            self._process = subprocess.Popen(  # noqa: ASYNC220  # a few ms, and asyncio's own would need a child watcher
                [*program, self._folder.name, *self._preload],
                cwd=folder / "home",
                env=environment,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        ours.setblocking(False)
        self._control = ours
        self._loop.add_reader(ours.fileno(), self._on_control)
        message, _ = await self._answer()
        if "failed" in message:
            await self.close()
            msg = f"the sandbox cannot be started: {message['failed']}"
            raise WorkerDied(msg)
        self.network_left = bool(message["ready"])

    async def fork(self) -> Child:
        """A fresh child that waits for its set-up frame.

        Raises:
            WorkerDied: The zygote is gone or cannot fork.
        """
        if self._control is None or self._loop is None:
            msg = "the sandbox is not running"
            raise WorkerDied(msg)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with theirs:
                socket.send_fds(self._control, [msgpack.packb({"fork": self._limits.to_dict()})], [theirs.fileno()])
            message, descriptors = await self._answer()
        except OSError as error:
            ours.close()
            msg = "the sandbox's parent process is gone"
            raise WorkerDied(msg) from error
        except BaseException:
            ours.close()
            raise
        if "failed" in message:
            ours.close()
            msg = f"the sandbox cannot start a process: {message['failed']}"
            raise WorkerDied(msg)
        ours.setblocking(False)
        return Child(message["forked"], descriptors[0], ours, message["end"])

    async def close(self) -> None:
        """End the zygote and with it all children; idempotent."""
        self._lost()
        if self._process is not None:
            await asyncio.get_running_loop().run_in_executor(None, _finish, self._process)
        if self._folder is not None:
            self._folder.cleanup()
        self._process = self._folder = None

    async def _answer(self) -> tuple[dict[str, Any], list[int]]:
        assert self._loop is not None
        future: asyncio.Future[tuple[dict[str, Any], list[int]]] = self._loop.create_future()
        self._waiting.append(future)
        return await future

    def _on_control(self) -> None:
        assert self._control is not None
        while self._control is not None:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, CONTROL_BYTES, 1)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self._lost()
                return
            self._on_message(msgpack.unpackb(data), descriptors)

    def _on_message(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if "exited" in message:
            future = self._children.pop(message.pop("exited"))
            future.set_result(Exit(**message))
            return
        if "forked" in message:
            assert self._loop is not None
            # Told along with it: whoever waits for the child may hear of it only after its end, or the zygote's.
            message["end"] = self._children[message["forked"]] = self._loop.create_future()
        answer = self._waiting.popleft()
        if not answer.cancelled():
            answer.set_result((message, descriptors))
        elif descriptors:
            # Nobody waits for this child any more.
            signal.pidfd_send_signal(descriptors[0], signal.SIGKILL)
            os.close(descriptors[0])

    def _lost(self) -> None:
        """The zygote is gone or to go: its children die with it."""
        if self._control is None or self._loop is None:
            return
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        self._control = None
        for answer in self._waiting:
            if not answer.done():
                answer.set_result(({"failed": "the parent process of the sandbox ended"}, []))
        self._waiting.clear()
        for future in self._children.values():
            future.set_result(Exit(signal=signal.SIGKILL))
        self._children.clear()


def _finish(process: subprocess.Popen[bytes]) -> None:
    """It ends by itself when its control socket is closed; if not, it is made to."""
    try:
        process.wait(timeout=2.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

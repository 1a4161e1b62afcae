"""A warm process that has imported the libraries and forks a child whenever it is asked.

Why not multiprocessing's forkserver: it imports the parent's ``__main__`` in every child (under Ray that is Ray's
worker, 300 ms), has one server per interpreter with one list of preloads, inherits the environment (so OMP_NUM_THREADS
and secrets), and tells nothing of how a child ended. This one is about a hundred lines, is started once per sandbox
with the environment the libraries must see, hands out pidfds instead of process numbers, reaps its children and
reports how each ended.

It never runs anything of the libraries it imports and refuses to serve when importing them started a thread: forking
from several threads, or after OpenMP has run, hangs. It ends, with all its children, when its parent dies: it watches
the parent's pidfd, and the children have PR_SET_PDEATHSIG on it. (PR_SET_PDEATHSIG on the parent itself would fire
when the parent's *thread* ends that started it.)

Control messages are MessagePack maps on a SOCK_SEQPACKET socket; descriptors travel beside them:
``{"fork": limits}`` + socket → ``{"forked": pid}`` + pidfd, or ``{"failed": text}``; later
``{"exited": pid, "code", "signal", "peak_bytes"}``. First of all comes ``{"ready": confined}`` or ``{"failed": text}``.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import msgpack

from qrtx_ray.sandbox.child import run
from qrtx_ray.sandbox.confinement import leave_network
from qrtx_ray.sandbox.frames import CONTROL_BYTES
from qrtx_ray.sandbox.limits import SandboxLimits

__all__ = ["main"]


class _Zygote:
    """The loop: waits on the control socket, on the parent's life and on the children's, with one thread."""

    def __init__(self, control: socket.socket, parent: int) -> None:
        self._control = control
        self._parent_fd = os.pidfd_open(parent)
        self._children: dict[int, int] = {}  # pidfd → pid
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._poll.register(self._parent_fd, select.POLLIN)

    def serve(self) -> None:
        """Until the parent is gone or has closed its end."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._children:
                    self._reap(descriptor)
                elif descriptor == self._parent_fd or not self._request():
                    return

    def kill_all(self) -> None:
        """Kill the children and wait until they are gone, so that none outlives this process."""
        for descriptor in self._children:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        for pid in self._children.values():
            _kill_group(pid)
            os.waitpid(pid, 0)

    def send(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        with contextlib.suppress(ConnectionError):
            socket.send_fds(self._control, [msgpack.packb(message)], descriptors)

    def _request(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, CONTROL_BYTES, 1)
        if not data or len(descriptors) != 1:
            return False
        try:
            self._fork(descriptors[0], SandboxLimits.from_dict(msgpack.unpackb(data)["fork"]))
        except OSError as error:
            self.send({"failed": f"fork: {error.strerror}"})
        finally:
            os.close(descriptors[0])
        return True

    def _fork(self, descriptor: int, limits: SandboxLimits) -> None:
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            run(descriptor, zygote, limits)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = pid
        self._poll.register(pidfd, select.POLLIN)
        self.send({"forked": pid}, (pidfd,))

    def _reap(self, descriptor: int) -> None:
        pid = self._children.pop(descriptor)
        self._poll.unregister(descriptor)
        # Before the child is reaped: until then its number cannot belong to anybody else.
        _kill_group(pid)
        _, status, usage = os.wait4(pid, 0)
        os.close(descriptor)
        code = os.waitstatus_to_exitcode(status)
        self.send({"exited": pid, "code": max(code, 0), "signal": max(-code, 0), "peak_bytes": usage.ru_maxrss * 1024})


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _load(modules: list[str]) -> str | None:
    """Import `modules`; the reason why not, if not."""
    for module in modules:
        try:
            importlib.import_module(module)
        except BaseException as error:  # noqa: BLE001  # whatever it is, the parent is to hear of it
            return f"import of {module}: {type(error).__name__}: {error}"[:1000]
        if len(list(Path("/proc/self/task").iterdir())) != 1:
            return f"import of {module} started threads; a process with threads cannot be forked safely"
    return None


def main(arguments: list[str]) -> int:
    """``zygote CONTROL_FD PARENT_PID FOLDER [MODULE…]``; `FOLDER` is removed at the end."""
    descriptor, parent, folder, *modules = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=int(descriptor))
    try:
        zygote = _Zygote(control, int(parent))
    except ProcessLookupError:
        return 1
    try:
        if problem := _load(modules):
            zygote.send({"failed": problem})
            return 1
        # What the libraries made lives for ever; without this every collection in a child would copy its pages.
        gc.collect()
        gc.freeze()
        zygote.send({"ready": leave_network()})
        zygote.serve()
    finally:
        zygote.kill_all()
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What runs in a sandboxed child: confine itself, build the handler, answer calls until the socket closes."""

from __future__ import annotations

import faulthandler
import gc
import importlib
import os
import signal
import socket
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from qrtx_ray.errors import ErrorInfo, ExecuteError, QrtxError, ResourceExhausted
from qrtx_ray.sandbox.area import Mapped
from qrtx_ray.sandbox.confinement import confine, die_with_parent
from qrtx_ray.sandbox.frames import FrameError, Kind, receive_call, receive_now, send_now, waits
from qrtx_ray.sandbox.limits import SandboxLimits, release_reserve

__all__ = ["Caller", "Handler", "run"]


class Caller:
    """A handler's line to whoever called it: called with an event, it sends that at once.

    During a call nothing but interrupts comes from the parent, and between calls an interrupt is one that came too late.
    So each belongs to the call after which it stands in the stream, and none can be taken for another's.
    """

    def __init__(self, sock: socket.socket, limits: SandboxLimits) -> None:
        self._sock = sock
        self._limits = limits
        self._descriptor: int | None = None
        self._mapped: Mapped | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        send_now(self._sock, Kind.EVENT, event, self._limits.frame_bytes)

    def interrupts(self) -> list[dict[str, Any]]:
        """The notes that came during this call since this was last asked; does not wait."""
        notes = []
        while waits(self._sock):
            frame = receive_now(self._sock, self._limits.frame_bytes)
            if frame is None or frame[0] is not Kind.INTERRUPT:
                break  # the parent is gone, and soon we are
            notes.append(frame[1])
        return notes

    def area(self, nbytes: int | None = None) -> memoryview | None:
        """The first `nbytes` (None: all) of the memory that the caller shares for this call, writable and the same on both
        sides; None when the call has none, not so much, or this process may map no more. Not to be used after the call.
        """
        if self._descriptor is None:
            return None
        if self._mapped is None:
            self._mapped = Mapped(self._descriptor)
        return self._mapped.view(nbytes)

    def next_call(self) -> dict[str, Any] | None:
        """The message of the next call; None when there will be none. The area of the call before is given back."""
        self._leave_area()
        while (frame := receive_call(self._sock, self._limits.frame_bytes)) is not None:
            kind, body, self._descriptor = frame
            if kind is Kind.CALL:
                return body
            self._leave_area()
        return None

    def _leave_area(self) -> None:
        descriptor, mapped = self._descriptor, self._mapped
        self._descriptor = self._mapped = None
        if mapped is not None:
            mapped.close()
        if descriptor is not None:
            os.close(descriptor)


Handler = Callable[[dict[str, Any], Caller], dict[str, Any]]
"""``handler(message, caller) -> reply``; ``caller(event)`` sends an event, ``caller.interrupts()`` asks for notes, and
``caller.area()`` for the shared memory of the call.
"""


def run(descriptor: int, zygote: int, limits: SandboxLimits) -> NoReturn:
    """Be a child of the process `zygote`, answering on the socket `descriptor`; never returns."""
    code = 1
    try:
        os.setsid()
        die_with_parent(zygote)
        descriptor = _keep_only(descriptor)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        faulthandler.disable()
        os.umask(0o077)
        confine()
        limits.apply()
        with socket.socket(fileno=descriptor) as sock:
            _serve(sock, limits)
        code = 0
    except BaseException:  # noqa: BLE001, S110  # nothing may return into the zygote's loop, and nobody reads stderr
        pass
    finally:
        os._exit(code)


def _keep_only(descriptor: int) -> int:
    """Close everything but `descriptor`; the standard streams become /dev/null (libraries print what they read)."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    kept = os.dup2(descriptor, 3, inheritable=False) if descriptor != 3 else 3
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    return kept


def _serve(sock: socket.socket, limits: SandboxLimits) -> None:
    setup = receive_now(sock, limits.frame_bytes)
    if setup is None:
        return
    try:
        handler = _build(setup[1])
    except BaseException as error:  # noqa: BLE001
        _send_error(sock, error, limits)
        return
    # A job makes thousands of small objects and leaves none; looking for cycles at every 700 costs some percent.
    gc.set_threshold(20_000, 20, 50)
    send_now(sock, Kind.READY, {}, limits.frame_bytes)

    caller = Caller(sock, limits)
    while (message := caller.next_call()) is not None:
        try:
            reply = handler(message, caller)
            send_now(sock, Kind.REPLY, reply, limits.frame_bytes)
            del reply, message  # whatever of them looks at the area would keep it mapped
        except BaseException as error:  # noqa: BLE001  # a Rust panic is not an Exception
            _send_error(sock, error, limits)


def _build(setup: dict[str, Any]) -> Handler:
    module, _, factory = setup["entry"].partition(":")
    handler: Handler = getattr(importlib.import_module(module), factory)(setup["config"])
    return handler


def _send_error(sock: socket.socket, error: BaseException, limits: SandboxLimits) -> None:
    # After a panic, an exhausted memory or a blown stack, what the library left behind is not to be used again.
    if isinstance(error, MemoryError):
        release_reserve()
    where = _where(error)
    # The frames hold what filled the memory.
    traceback.clear_frames(error.__traceback__)
    recycle = not isinstance(error, Exception) or isinstance(error, MemoryError | RecursionError)
    body = {"error": _describe(error, limits).to_dict(), "recycle": recycle, "where": where}
    send_now(sock, Kind.ERROR, body, limits.frame_bytes)


def _describe(error: BaseException, limits: SandboxLimits) -> ErrorInfo:
    """The error for the user: our own ones as they are, of all others only the name of their class."""
    match error:
        case QrtxError():
            return error.info()
        case MemoryError():
            limit = f"{limits.memory_bytes // 2**20} MiB"
            return ResourceExhausted(f"the job needs more memory than the {limit} a worker has", limit=limit).info()
        case FrameError():
            return ExecuteError(f"the worker's reply cannot be sent: {error}").info()
        case _:
            return ExecuteError(f"the worker failed ({type(error).__name__})").info()


def _where(error: BaseException) -> list[str]:
    """Files, lines and functions of the last steps: enough to find a bug of ours, and nothing of the data."""
    steps = deque(traceback.walk_tb(error.__traceback__), maxlen=6)
    return [f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}" for frame, line in steps]

"""Handlers that run in sandboxed children of the tests: one factory, what to do stands in the message."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import time
from pathlib import Path

from qrtx_ray.errors import DecodeError, ExecutionTimeout
from qrtx_ray.sandbox.frames import Kind, pack


def create(config):
    if config.get("fail") == "import":
        raise DecodeError("the config is not what it claims to be", field="config")
    if config.get("fail") == "exit":
        os._exit(3)

    def handler(message, emit):
        return ACTIONS[message["do"]](message, emit)

    return handler


def _socket() -> socket.socket:
    return socket.socket(fileno=os.dup(3))


def _raw(data: bytes):
    _socket().sendall(data)
    while True:
        pass


def _close_the_pipe(message, emit):
    os.close(3)
    while True:
        pass


def _events(message, emit):
    for number in range(message["count"]):
        emit({"number": number, "data": b"x" * 10})
    return {"count": message["count"]}


def _never_stop_talking(message, emit):
    frames = pack(Kind.EVENT, {"number": 1}, 1000) * 2000
    while True:
        _socket().sendall(frames)


def _until_told(message, caller):
    """Work until as many notes have come as wanted."""
    notes = []
    caller({"looking": True})
    while len(notes) < message["notes"]:
        notes += caller.interrupts()
    return {"notes": notes}


def _deaf(message, caller):
    """Work for a while and look at nothing, then say what has come."""
    caller({"began": True})
    ends = time.monotonic() + message["seconds"]
    while time.monotonic() < ends:
        pass
    return {"notes": caller.interrupts() if message.get("look") else None}


def _fill(message, caller):
    """Write into the area what is wanted, and say what was there."""
    view = caller.area(message.get("nbytes"))
    if view is None:
        return {"size": None}
    before = bytes(view[:16])
    view[: len(message["data"])] = message["data"]
    caller({"filled": True})
    while message.get("stay"):
        pass
    return {"size": len(view), "before": before, "descriptors": _descriptors()}


def _keep_view(message, caller):
    KEPT.append(caller.area())
    return {"kept": len(KEPT)}


def _look_at_kept(message, caller):
    view = caller.area()
    return {"kept": bytes(KEPT[-1][:4]), "now": view and bytes(view[:4]), "descriptors": _descriptors()}


def _let_go(message, caller):
    while KEPT:
        KEPT.pop().release()
    return {"descriptors": _descriptors(), "mapped": "qrtx-area" in Path("/proc/self/maps").read_text()}


def _resize(message, caller):
    """Try to change the size of the area by its descriptor."""
    [descriptor] = [int(path.name) for path in Path("/proc/self/fd").iterdir() if "qrtx-area" in _target(path)]
    refused = []
    for size in (0, 4096, 2**30):
        try:
            os.ftruncate(descriptor, size)
        except OSError as error:
            refused.append(error.errno)
    try:
        os.pwrite(descriptor, b"x", 0)
    except OSError as error:
        refused.append(error.errno)
    return {"refused": refused}


def _target(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _descriptors() -> int:
    return sum(_is_open(int(path.name)) for path in Path("/proc/self/fd").iterdir())


KEPT: list = []


def _spin(message, emit):
    emit({"pid": os.getpid()})
    while True:
        pass


def _hog(message, emit):
    blocks = []
    while True:
        blocks.append(bytearray(16 * 2**20))


def _panic(message, emit):
    import qiskit.qasm2

    qiskit.qasm2.loads("OPENQASM 2.0; qreg q[18446744073709551616];", include_path=())
    return {}


def _old_qpy(message, emit):
    import io

    import qiskit.qpy

    try:
        qiskit.qpy.load(io.BytesIO(b"QISKIT" + struct.pack("!BBBBQ", 12, 2, 0, 0, 0)))
    except Exception as error:
        return {"refused": "minimum" in str(error)}
    return {"refused": False}


def _write(message, emit):
    refused = []
    for place in ("here.txt", "/tmp/qrtx-escape.txt"):
        try:
            Path(place).write_bytes(b"x")
        except OSError as error:
            refused.append(error.errno)
        finally:
            Path(place).unlink(missing_ok=True)
    return {"refused": refused}


def _look_around(message, emit):
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return {
        "files": [path.name for path in Path().iterdir()],
        "descriptors": sorted(int(path.name) for path in Path("/proc/self/fd").iterdir() if _is_open(int(path.name))),
        "environment": dict(os.environ),
        "nice": os.nice(0),
        "session": os.getsid(0) == os.getpid(),
        "no_new_privileges": status["NoNewPrivs"].strip(),
        "modules": [name for name in message["modules"] if name in sys.modules],
        "main": getattr(sys.modules["__main__"], "__file__", ""),
        "interfaces": [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]],
    }


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _grandchild(message, emit):
    pid = os.fork()
    if pid == 0:
        while True:
            pass
    emit({"pid": pid})
    while True:
        pass


def _raise(message, emit):
    raise {
        "value": ValueError("root:x:0:0:root:/root:/bin/bash"),
        "ours": ExecutionTimeout("took too long", limit="3 s"),
        "exit": SystemExit("root:x:0:0"),
        "interrupt": KeyboardInterrupt(),
        "memory": MemoryError(),
    }[message["what"]]


def _recurse(message, emit):
    return _recurse(message, emit)


ACTIONS = {
    "echo": lambda message, emit: message,
    "pid": lambda message, emit: {"pid": os.getpid(), "zygote": os.getppid()},
    "events": _events,
    "never_stop_talking": _never_stop_talking,
    "until_told": _until_told,
    "deaf": _deaf,
    "fill": _fill,
    "keep_view": _keep_view,
    "look_at_kept": _look_at_kept,
    "let_go": _let_go,
    "resize": _resize,
    "spin": _spin,
    "segfault": lambda message, emit: ctypes.string_at(0),
    "abort": lambda message, emit: os.abort(),
    "exit": lambda message, emit: os._exit(7),
    "hog": _hog,
    "panic": _panic,
    "old_qpy": _old_qpy,
    "write": _write,
    "look": _look_around,
    "grandchild": _grandchild,
    "raise": _raise,
    "recurse": _recurse,
    "print": lambda message, emit: sys.stdout.write("root:x:0:0") and {},
    "garbage": lambda message, emit: _raw(struct.pack(">I", 4) + b"\xc1\xc1\xc1\xc1"),
    "huge": lambda message, emit: _raw(struct.pack(">I", 2**32 - 1)),
    "half": lambda message, emit: (_socket().sendall(struct.pack(">I", 100) + b"x"), os._exit(0)),
    "ready_again": lambda message, emit: _raw(struct.pack(">I", 3) + b"\x92\x02\x80"),
    "false_error": lambda message, emit: _raw(struct.pack(">I", 3) + b"\x92\x05\x80"),
    "close": _close_the_pipe,
    "big_reply": lambda message, emit: {"data": b"x" * message["size"]},
    "set": lambda message, emit: {"data": {1, 2}},
}

"""Frames between a process and its sandboxed child: a four-byte length, then one MessagePack value.

What comes from the child is not trusted: a frame says its length before anything is allocated for it, extension types
are refused, keys are text or bytes, and the number of containers is bounded, so that a frame of n bytes cannot become
a structure of a hundred times n.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import struct
from enum import IntEnum
from typing import Any

import msgpack

__all__ = [
    "CONTROL_BYTES",
    "MAX_CONTAINERS",
    "FrameError",
    "Kind",
    "pack",
    "receive",
    "receive_call",
    "receive_now",
    "send",
    "send_now",
    "unpack",
    "waits",
]

CONTROL_BYTES = 4096
"""Messages between a zygote and its parent are shorter."""

MAX_CONTAINERS = 200_000
"""Lists and mappings in one frame; each costs 56 bytes or more for one byte on the wire."""

_HEADER = struct.Struct(">I")


class FrameError(Exception):
    """The bytes are not a frame, or the frame is too large; the text contains nothing of the content."""


class Kind(IntEnum):
    """What a frame is; it stands first in every frame: ``[kind, mapping]``."""

    SETUP = 0  #: to the child: entry and config
    CALL = 1  #: to the child: a message
    READY = 2  #: from the child: the handler stands
    EVENT = 3  #: from the child: emitted during a call
    REPLY = 4  #: from the child: the handler's answer
    ERROR = 5  #: from the child: why there is no answer
    INTERRUPT = 6  #: to the child during a call: a note for the handler, which looks for it when it likes


def pack(kind: Kind, body: dict[str, Any], limit_bytes: int) -> bytes:
    """Header and body of a frame.

    Raises:
        FrameError: The body is not plain data, or is larger than the limit.
    """
    try:
        payload: bytes = msgpack.packb([int(kind), body], use_bin_type=True)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        msg = f"not plain data ({type(error).__name__})"
        raise FrameError(msg) from error
    _check(len(payload), limit_bytes)
    return _HEADER.pack(len(payload)) + payload


def unpack(payload: bytes | bytearray) -> tuple[Kind, dict[str, Any]]:
    """Kind and body of a frame without its header.

    Raises:
        FrameError: Anything else than a kind and a mapping of plain data.
    """
    left = MAX_CONTAINERS

    def count(container: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            msg = f"more than {MAX_CONTAINERS} lists and mappings"
            raise FrameError(msg)
        return container

    try:
        frame = msgpack.unpackb(
            payload,
            raw=False,
            strict_map_key=True,
            timestamp=1,
            ext_hook=_refuse,
            list_hook=count,
            object_hook=count,
            max_array_len=1_000_000,
            max_map_len=100_000,
        )
    except FrameError:
        raise
    except Exception as error:  # noqa: BLE001  # the unpacker has a dozen ways to say no
        msg = f"not MessagePack within its bounds ({type(error).__name__})"
        raise FrameError(msg) from None
    if not (isinstance(frame, list) and len(frame) == 2 and isinstance(frame[1], dict)):
        msg = "not a kind and a mapping"
        raise FrameError(msg)
    try:
        return Kind(frame[0]), frame[1]
    except (ValueError, TypeError):
        msg = "of no known kind"
        raise FrameError(msg) from None


def send_now(sock: socket.socket, kind: Kind, body: dict[str, Any], limit_bytes: int) -> None:
    """Send from the child, blocking.

    Raises:
        FrameError: As `pack`; nothing was sent.
        OSError: The other end is gone.
    """
    sock.sendall(pack(kind, body, limit_bytes))


def receive_now(sock: socket.socket, limit_bytes: int) -> tuple[Kind, dict[str, Any]] | None:
    """Receive in the child, blocking; None when the other end is closed.

    Raises:
        FrameError: Not a frame, too large, or cut short.
    """
    header = bytearray(_HEADER.size)
    return _body_now(sock, header, limit_bytes) if _fill_now(sock, header) else None


def receive_call(sock: socket.socket, limit_bytes: int) -> tuple[Kind, dict[str, Any], int | None] | None:
    """As `receive_now`, with the descriptor that came along with the frame, or None where none did."""
    header, descriptors = bytearray(_HEADER.size), array.array("i")
    count, ancillary, _, _ = sock.recvmsg_into(
        [header], socket.CMSG_SPACE(descriptors.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    passed = descriptors[0] if descriptors else None
    try:
        if not count or not _fill_now(sock, memoryview(header)[count:]):
            frame = None
        else:
            frame = _body_now(sock, header, limit_bytes)
    except BaseException:
        _drop(passed)
        raise
    if frame is None:
        _drop(passed)
        return None
    return *frame, passed


async def send(sock: socket.socket, frame: bytes, descriptor: int | None = None) -> None:
    """Send a packed frame from the parent, and with it a descriptor, which stays open here.

    Raises:
        OSError: The other end is gone.
    """
    loop = asyncio.get_running_loop()
    if descriptor is None:
        await loop.sock_sendall(sock, frame)
        return
    # With the length alone: the kernel takes four bytes whole or not at all, so a descriptor is never sent twice.
    while True:
        try:
            socket.send_fds(sock, [frame[: _HEADER.size]], [descriptor])
            break
        except BlockingIOError:
            await _writable(sock)
    await loop.sock_sendall(sock, memoryview(frame)[_HEADER.size :])


async def receive(sock: socket.socket, limit_bytes: int) -> tuple[Kind, dict[str, Any]] | None:
    """Receive in the parent; None when the child closed its end (also in the middle of a frame).

    Raises:
        FrameError: Not a frame, or too large.
    """
    header = bytearray(_HEADER.size)
    if not await _fill(sock, header):
        return None
    size = _HEADER.unpack(header)[0]
    _check(size, limit_bytes)
    # Zeroed memory of this size costs nothing until bytes arrive, so a header alone cannot make us grow.
    payload = bytearray(size)
    return unpack(payload) if await _fill(sock, payload) else None


def waits(sock: socket.socket) -> bool:
    """Whether there is something to receive, the end of the connection included. Takes nothing, and does not wait."""
    try:
        sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    return True


def _body_now(sock: socket.socket, header: bytearray, limit_bytes: int) -> tuple[Kind, dict[str, Any]] | None:
    size = _HEADER.unpack(header)[0]
    _check(size, limit_bytes)
    payload = bytearray(size)
    return unpack(payload) if _fill_now(sock, payload) else None


def _drop(descriptor: int | None) -> None:
    if descriptor is not None:
        with contextlib.suppress(OSError):
            os.close(descriptor)


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    room = asyncio.Event()
    loop.add_writer(sock.fileno(), room.set)
    try:
        await room.wait()
    finally:
        loop.remove_writer(sock.fileno())


def _fill_now(sock: socket.socket, buffer: bytearray | memoryview) -> bool:
    view = memoryview(buffer)
    while view:
        count = sock.recv_into(view)
        if not count:
            return False
        view = view[count:]
    return True


async def _fill(sock: socket.socket, buffer: bytearray) -> bool:
    loop = asyncio.get_running_loop()
    view = memoryview(buffer)
    while view:
        try:
            count = await loop.sock_recv_into(sock, view)
        except ConnectionError:
            return False
        if not count:
            return False
        view = view[count:]
    return True


def _check(size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        msg = f"{size} bytes where at most {limit_bytes} are allowed"
        raise FrameError(msg)


def _refuse(_code: int, _data: bytes) -> Any:
    msg = "an extension type"
    raise FrameError(msg)

"""Frames are bounded and carry plain data only."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import struct

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.sandbox.frames import MAX_CONTAINERS, FrameError, Kind, pack, receive, receive_now, send_now, unpack

LIMIT = 1 << 20
quick = settings(deadline=None, derandomize=True)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def frame_of(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


async def received(data: bytes, limit: int = LIMIT):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        return await receive(ours, limit)


@given(st.sampled_from(Kind), st.dictionaries(st.text(), plain, max_size=4))
@quick
def test_plain_data_arrives_as_it_was_sent(kind, body):
    assert unpack(pack(kind, body, LIMIT)[4:]) == (kind, body)


def test_both_ends_understand_each_other():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send_now(theirs, Kind.EVENT, {"data": b"x" * 1000, "row": [1, 2]}, LIMIT)
        assert receive_now(ours, LIMIT) == (Kind.EVENT, {"data": b"x" * 1000, "row": [1, 2]})
        theirs.close()
        assert receive_now(ours, LIMIT) is None


async def test_a_frame_that_comes_in_pieces_is_put_together():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        reading = asyncio.ensure_future(receive(ours, LIMIT))
        for byte in pack(Kind.REPLY, {"a": 1}, LIMIT):
            theirs.send(bytes([byte]))
            await asyncio.sleep(0)
        assert await reading == (Kind.REPLY, {"a": 1})


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x00\x05abc"])
async def test_an_end_in_the_middle_of_a_frame_is_an_end(data):
    assert await received(data) is None


async def test_a_header_beyond_the_limit_is_refused_before_anything_is_read():
    with pytest.raises(FrameError, match="4294967295 bytes where at most 1048576 are allowed"):
        await received(struct.pack(">I", 2**32 - 1))


@given(st.binary(max_size=200))
@quick
def test_any_bytes_are_a_frame_or_a_frame_error(data):
    try:
        kind, body = unpack(data)
    except FrameError as error:
        assert str(error)  # noqa: PT017
    else:
        assert isinstance(kind, Kind)
        assert isinstance(body, dict)


@pytest.mark.parametrize(
    "value",
    [
        [4, {1: 2}],
        [4, {"x": msgpack.ExtType(5, b"x")}],
        [99, {}],
        ["4", {}],
        [4],
        [4, {}, 5],
        {"kind": 4},
        [4, []],
        4,
        [None, {}],
        [4.5, {}],
    ],
)
def test_what_is_not_a_kind_and_a_mapping_of_plain_data_is_refused(value):
    with pytest.raises(FrameError):
        unpack(msgpack.packb(value))


def test_a_timestamp_becomes_a_number():
    moment = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    assert unpack(msgpack.packb([4, {"t": moment}], datetime=True))[1] == {"t": moment.timestamp()}


def test_a_small_frame_cannot_become_a_large_structure():
    payload = b"\x92\x04\x81\xa1x\xdd" + struct.pack(">I", MAX_CONTAINERS + 10) + b"\x90" * (MAX_CONTAINERS + 10)
    with pytest.raises(FrameError, match="more than 200000 lists and mappings"):
        unpack(payload)


def test_deep_nesting_is_refused():
    with pytest.raises(FrameError):
        unpack(b"\x91" * 100_000)


@pytest.mark.parametrize("body", [{"x": {1, 2}}, {"x": object()}, {"x": 2**70}, {"x": 1j}])
def test_what_is_not_plain_data_is_not_sent(body):
    with pytest.raises(FrameError, match="not plain data"):
        pack(Kind.REPLY, body, LIMIT)


def test_a_frame_beyond_the_limit_is_not_sent():
    with pytest.raises(FrameError, match="where at most 100 are allowed"):
        pack(Kind.REPLY, {"x": b"y" * 100}, 100)

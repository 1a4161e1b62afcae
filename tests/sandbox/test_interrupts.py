"""Notes to a busy child: they come when it looks, belong to one call, and disturb no other."""

from __future__ import annotations

import asyncio
import os

import pytest
import uvloop

from qrtx_ray.errors import ExecutionTimeout, WorkerDied
from qrtx_ray.sandbox import Interrupts
from qrtx_ray.sandbox.frames import FrameError
from qrtx_ray.sandbox.interrupts import MAX_NOTE_BYTES

from .conftest import sandbox_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(box, do: str, deadline_s: float = 10.0, interrupts=None, on_event=None, **message):
    return await box.call({"do": do, **message}, deadline_s=deadline_s, interrupts=interrupts, on_event=on_event)


async def test_a_busy_child_is_told_and_the_child_stays(box):
    pid, line = box.pid, Interrupts()

    def listening(event):
        line.send({"preempt": ["a", "b"]})
        line.send({"preempt": ["c"]})

    reply = await ask(box, "until_told", notes=2, interrupts=line, on_event=listening)
    assert reply == {"notes": [{"preempt": ["a", "b"]}, {"preempt": ["c"]}]}
    assert box.pid == pid


async def test_a_note_sent_before_the_child_has_the_call_waits_for_it(box):
    line = Interrupts()
    line.send({"n": 1})
    before = asyncio.create_task(ask(box, "deaf", seconds=0.05, look=True))
    reply = await ask(box, "until_told", notes=1, interrupts=line)
    assert (await before) == {"notes": []}, "the call before it hears nothing of it"
    assert reply == {"notes": [{"n": 1}]}


async def test_a_note_the_handler_never_looked_for_is_not_there_in_the_next_call(box):
    line = Interrupts()
    reply = await ask(box, "deaf", seconds=0.05, interrupts=line, on_event=lambda _: line.send({"n": 1}))
    assert reply == {"notes": None}
    assert await ask(box, "deaf", seconds=0.01, look=True) == {"notes": []}
    assert await ask(box, "echo", x=2) == {"do": "echo", "x": 2}


async def test_a_note_that_comes_when_the_call_has_just_ended_goes_nowhere(box):
    line = Interrupts()
    await ask(box, "echo", interrupts=line)
    line.send({"n": 1})
    assert await ask(box, "deaf", seconds=0.01, look=True) == {"notes": []}


async def test_ends_and_notes_at_the_same_moment_never_disturb_the_calls_that_follow(box):
    """The note is on its way while the reply is: some are seen, some are late, none is left over."""
    pid = box.pid
    for turn in range(200):
        line = Interrupts()
        asyncio.get_running_loop().call_later(turn % 20 * 1e-5, line.send, {"turn": turn})
        reply = await ask(box, "deaf", seconds=1e-4, look=True, interrupts=line)
        assert reply["notes"] in ([], [{"turn": turn}])
        assert await ask(box, "echo", turn=turn) == {"do": "echo", "turn": turn}
    assert box.pid == pid


async def test_a_call_of_megabytes_and_a_note_do_not_mix(box):
    for _ in range(5):
        line = Interrupts()
        call = asyncio.create_task(ask(box, "until_told", notes=1, filling=os.urandom(6 * 2**20), interrupts=line))
        await asyncio.sleep(0)
        line.send({"n": 1})
        assert await call == {"notes": [{"n": 1}]}


async def test_so_many_notes_that_the_line_is_full_all_arrive(box):
    line = Interrupts()
    note = {"filling": "x" * 20_000}

    def many(event):
        for _ in range(60):
            line.send(note)

    reply = await ask(box, "until_told", notes=60, interrupts=line, on_event=many)
    assert reply["notes"] == [note] * 60


async def test_a_note_for_a_child_that_dies_or_hangs_is_dropped_with_it(box):
    line = Interrupts()
    with pytest.raises(ExecutionTimeout):
        await ask(box, "spin", deadline_s=0.1, interrupts=line, on_event=lambda _: line.send({"n": 1}))
    line.send({"n": 2})
    line = Interrupts()
    call = asyncio.create_task(ask(box, "spin", interrupts=line, on_event=lambda _: box.kill()))
    with pytest.raises(WorkerDied):
        await call
    line.send({"n": 3})
    assert await ask(box, "deaf", seconds=0.01, look=True) == {"notes": []}


async def test_a_note_is_plain_and_small():
    line = Interrupts()
    with pytest.raises(FrameError):
        line.send({"data": "x" * (MAX_NOTE_BYTES + 1)})
    with pytest.raises(FrameError):
        line.send({"data": {1, 2}})


async def test_uvloop_carries_notes_as_well():
    async def work():
        async with sandbox_of() as box:
            line = Interrupts()
            return await ask(box, "until_told", notes=1, interrupts=line, on_event=lambda _: line.send({"n": 1}))

    assert await asyncio.to_thread(lambda: uvloop.run(work())) == {"notes": [{"n": 1}]}

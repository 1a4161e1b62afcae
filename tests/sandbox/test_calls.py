"""Calls, events, deadlines, and every way in which a child can fail."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
import uvloop

from qrtx_ray.errors import ExecuteError, ExecutionTimeout, InternalError, ResourceExhausted, WorkerDied
from qrtx_ray.sandbox import SandboxLimits
from qrtx_ray.sandbox.forker import Forker

from .conftest import descriptors, runs, sandbox_of, wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(box, do: str, deadline_s: float = 10.0, **message):
    return await box.call({"do": do, **message}, deadline_s=deadline_s)


async def still_works(box) -> bool:
    return await ask(box, "echo", x=1) == {"do": "echo", "x": 1}


async def test_a_message_is_answered(box):
    message = {"do": "echo", "bytes": b"\x00\xff", "text": "ψ", "list": [1, 2.5, None, True], "map": {"a": {}}}
    assert await box.call(message, deadline_s=5) == message


async def test_calls_share_one_process_and_wait_for_each_other(box):
    pids = await asyncio.gather(*(ask(box, "pid") for _ in range(10)))
    assert {answer["pid"] for answer in pids} == {box.pid}


async def test_a_message_of_megabytes_passes_both_ways(box):
    data = os.urandom(6 * 2**20)
    assert (await ask(box, "echo", data=data))["data"] == data


async def test_events_come_in_order_and_before_the_reply(box):
    events = []
    reply = await box.call({"do": "events", "count": 100}, deadline_s=5, on_event=events.append)
    assert reply == {"count": 100}
    assert [event["number"] for event in events] == list(range(100))


async def test_a_child_that_never_stops_talking_is_ended_at_its_deadline(box):
    heard = []

    def hear(event):
        heard.append(event)
        assert len(heard) < 1_000_000, "nobody else ever had a turn"

    with pytest.raises(ExecutionTimeout):
        await box.call({"do": "never_stop_talking"}, deadline_s=0.2, on_event=hear)
    assert await still_works(box)


async def test_events_nobody_listens_to_are_dropped(box):
    assert await ask(box, "events", count=3) == {"count": 3}


async def test_a_listener_that_raises_ends_the_run(box):
    pid = box.pid

    def listener(event):
        raise LookupError

    with pytest.raises(LookupError):
        await box.call({"do": "spin"}, deadline_s=5, on_event=listener)
    assert await still_works(box)
    assert box.pid != pid


async def test_an_endless_loop_is_killed_at_its_deadline(box):
    pid = box.pid
    with pytest.raises(ExecutionTimeout, match=r"longer than 0\.1 s") as caught:
        await ask(box, "spin", deadline_s=0.1)
    assert caught.value.limit == "0.1 s"
    assert not caught.value.retryable
    assert not runs(pid)
    assert await still_works(box)


@pytest.mark.parametrize(
    ("do", "words"),
    [
        ("segfault", r"killed by signal 11 \(SIGSEGV\)"),
        ("abort", r"killed by signal 6 \(SIGABRT\)"),
        ("exit", "ended with exit code 7"),
        ("garbage", "something that is no answer: not MessagePack"),
        ("huge", "something that is no answer: 4294967295 bytes where at most"),
        ("half", "ended with exit code 0"),
        ("close", "closed its connection"),
        ("ready_again", "a frame out of turn"),
        ("false_error", "sent an error that is none"),
    ],
)
async def test_a_child_that_dies_or_talks_nonsense_costs_only_its_call(box, do, words):
    pid = box.pid
    with pytest.raises(WorkerDied, match=words) as caught:
        await ask(box, do)
    assert not caught.value.retryable
    wait_until(lambda: not runs(pid))
    assert await still_works(box)
    assert box.pid != pid


async def test_memory_beyond_the_limit_is_refused_with_the_limit(box):
    pid = box.pid
    with pytest.raises(ResourceExhausted, match="256 MiB") as caught:
        await ask(box, "hog")
    assert caught.value.limit == "256 MiB"
    assert await still_works(box)
    assert box.pid != pid


async def test_our_own_error_comes_through_as_it_is(box):
    assert await still_works(box)
    pid = box.pid
    with pytest.raises(ExecutionTimeout, match="took too long") as caught:
        await ask(box, "raise", what="ours")
    assert caught.value.limit == "3 s"
    assert box.pid == pid


@pytest.mark.parametrize("what", ["value", "exit", "interrupt"])
async def test_of_any_other_error_only_the_kind_is_told(box, what, caplog):
    with pytest.raises(ExecuteError) as caught:
        await ask(box, "raise", what=what)
    assert "root" not in caught.value.message
    assert "Error" in caught.value.message or "Exit" in caught.value.message or "Interrupt" in caught.value.message
    assert "handlers.py" in caplog.text
    assert "root:x" not in caplog.text
    assert await still_works(box)


async def test_a_blown_stack_costs_the_process(box):
    pid = box.pid
    with pytest.raises(ExecuteError, match="RecursionError"):
        await ask(box, "recurse")
    assert await still_works(box)
    assert box.pid != pid


async def test_what_a_library_prints_goes_nowhere(box, capfd):
    await ask(box, "print")
    assert capfd.readouterr() == ("", "")


async def test_a_reply_that_is_not_plain_or_too_large_is_an_error(box):
    with pytest.raises(ExecuteError, match="not plain data"):
        await ask(box, "set")
    with pytest.raises(ExecuteError, match="where at most 8388608 are allowed"):
        await ask(box, "big_reply", size=9 * 2**20)
    assert await still_works(box)


async def test_a_message_that_cannot_be_sent_is_a_bug_of_ours(box):
    assert await still_works(box)
    pid = box.pid
    with pytest.raises(InternalError, match="not plain data"):
        await ask(box, "echo", x={1})
    assert box.pid == pid


async def test_a_cancelled_call_kills_the_run(box):
    started = asyncio.Event()
    pids = []

    def listener(event):
        pids.append(event["pid"])
        started.set()

    call = asyncio.ensure_future(box.call({"do": "spin"}, deadline_s=30, on_event=listener))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    wait_until(lambda: not runs(pids[0]))
    assert await still_works(box)


async def test_a_kill_ends_the_running_call_and_the_next_goes_to_the_spare(box):
    await still_works(box)
    started = asyncio.Event()
    call = asyncio.ensure_future(box.call({"do": "spin"}, deadline_s=30, on_event=lambda _: started.set()))
    await started.wait()
    began = asyncio.get_running_loop().time()
    box.kill()
    assert not box.alive
    with pytest.raises(WorkerDied, match="was stopped"):
        await call
    assert await still_works(box)
    assert asyncio.get_running_loop().time() - began < 1.0


async def test_a_kill_between_calls_is_not_noticed_by_the_next(box):
    box.kill()
    box.kill()
    assert await still_works(box)


async def test_grandchildren_die_with_the_child(box):
    pids = []
    with pytest.raises(ExecutionTimeout):
        await box.call({"do": "grandchild"}, deadline_s=0.2, on_event=lambda event: pids.append(event["pid"]))
    wait_until(lambda: not runs(pids[0]))


async def test_fifty_kills_leave_no_zombie_and_no_descriptor(box):
    zygote = (await ask(box, "pid"))["zygote"]
    await box._spare
    before = descriptors(), descriptors(zygote)
    pids = []
    for _ in range(50):
        pids.append(box.pid)
        with pytest.raises(WorkerDied):
            await ask(box, "abort")
        assert await still_works(box)
    await box._spare
    after = descriptors(), descriptors(zygote)
    assert after == before
    assert len(set(pids)) == 50
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


async def test_a_dead_zygote_is_replaced():
    async with sandbox_of() as box:
        zygote = (await ask(box, "pid"))["zygote"]
        child = box.pid
        os.kill(zygote, 9)
        wait_until(lambda: not runs(child))
        with pytest.raises(WorkerDied):
            await ask(box, "echo")
        assert await still_works(box)
        assert (await ask(box, "pid"))["zygote"] != zygote


async def test_a_child_whose_zygote_died_before_anybody_heard_of_it_is_a_dead_child():
    forker = Forker((), SandboxLimits())
    await forker.start()
    try:
        forking = asyncio.create_task(forker.fork())
        await asyncio.sleep(0)
        wait_until(lambda: children_of(forker.pid))  # the loop stands still meanwhile, and hears of both at once
        time.sleep(0.2)
        os.kill(forker.pid, signal.SIGKILL)
        wait_until(lambda: not runs(forker.pid))
        child = await forking
        assert (await child.ended()).signal == signal.SIGKILL
        assert not child.alive
    finally:
        await forker.close()


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def test_a_factory_that_fails_says_so_at_the_start():
    from qrtx_ray.errors import DecodeError

    with pytest.raises(DecodeError, match="not what it claims"):
        async with sandbox_of({"fail": "import"}):
            pass
    with pytest.raises(WorkerDied, match="exit code 3"):
        async with sandbox_of({"fail": "exit"}):
            pass


@pytest.mark.parametrize(
    ("preload", "words"),
    [
        ("qrtx_ray_nowhere", "import of qrtx_ray_nowhere: ModuleNotFoundError"),
        (f"{__package__}.threads", "started threads"),
    ],
)
async def test_a_preload_that_cannot_be_forked_from_is_refused(preload, words):
    with pytest.raises(WorkerDied, match=words):
        async with sandbox_of(preload=(preload,)):
            pass


async def test_a_worker_that_is_never_ready_is_given_up():
    with pytest.raises(WorkerDied, match=r"not ready within 0\.05 s"):
        async with sandbox_of(limits=SandboxLimits(start_timeout_s=0.05), preload=("qiskit",)):
            pass


async def test_a_closed_sandbox_answers_nothing_and_leaves_nothing():
    async with sandbox_of() as box:
        answer = await ask(box, "pid")
        folder = Path(f"/proc/{answer['zygote']}/cwd").readlink().parent
        call = asyncio.ensure_future(ask(box, "spin"))
        await asyncio.sleep(0)
        await box.close()
        with pytest.raises(WorkerDied):
            await call
        with pytest.raises(WorkerDied, match="closed"):
            await ask(box, "echo")
        await box.close()
    assert not runs(answer["pid"])
    assert not runs(answer["zygote"])
    assert not folder.exists()


async def test_it_works_in_uvloop_in_a_thread_that_is_not_the_main_one():
    async def work():
        async with sandbox_of() as box:
            assert await still_works(box)
            with pytest.raises(WorkerDied, match="SIGSEGV"):
                await ask(box, "segfault")
            with pytest.raises(ExecutionTimeout):
                await ask(box, "spin", deadline_s=0.05)
            return await still_works(box)

    assert await asyncio.to_thread(lambda: uvloop.run(work()))

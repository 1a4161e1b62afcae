"""Nothing is performed before its commit, nothing out of order, and nothing after a failure."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.actors.outbox import Outbox
from qrtx_ray.errors import StoreFull


class Log:
    def __init__(self) -> None:
        self.performed: list[str] = []
        self.failures: list[BaseException] = []
        self.outbox: Outbox[str] = Outbox(self.performed.extend, self.failures.append)


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_commands_wait_for_their_commit():
    log = Log()
    durable: Future[None] = Future()
    performed = log.outbox.post(durable, ["a"])
    await settle()
    assert log.performed == []
    durable.set_result(None)
    await performed
    assert log.performed == ["a"]


async def test_commands_without_a_commit_are_performed_at_once_when_nothing_is_before_them():
    log = Log()
    performed = log.outbox.post(None, ["a"])
    assert log.performed == ["a"]
    assert performed.done()


async def test_a_later_event_waits_behind_an_earlier_one_whichever_is_durable_first():
    log = Log()
    first: Future[None] = Future()
    second: Future[None] = Future()
    log.outbox.post(first, ["a"])
    later = log.outbox.post(second, ["b"])
    bare = log.outbox.post(None, ["c"])
    second.set_result(None)
    await settle()
    assert log.performed == []
    first.set_result(None)
    await asyncio.gather(later, bare)
    assert log.performed == ["a", "b", "c"]


async def test_a_refused_commit_fails_it_and_everything_behind_it_and_is_told_once():
    log = Log()
    first: Future[None] = Future()
    second: Future[None] = Future()
    posted = [log.outbox.post(first, ["a"]), log.outbox.post(None, ["b"]), log.outbox.post(second, ["c"])]
    error = StoreFull("full")
    first.set_exception(error)
    second.set_result(None)
    assert await asyncio.gather(*posted, return_exceptions=True) == [error] * 3
    await settle()
    assert (log.performed, log.failures) == ([], [error])
    with pytest.raises(StoreFull):
        await log.outbox.post(None, ["d"])
    assert log.performed == []


async def test_a_command_that_cannot_be_performed_is_a_failure_and_not_a_silence():
    failures: list[BaseException] = []

    def perform(commands):
        raise RuntimeError("a bug")

    outbox: Outbox[str] = Outbox(perform, failures.append)
    durable: Future[None] = Future()
    posted = [outbox.post(durable, ["a"]), outbox.post(None, ["b"])]
    durable.set_result(None)
    answers = await asyncio.gather(*posted, return_exceptions=True)
    assert [type(answer) for answer in answers] == [RuntimeError, RuntimeError]
    assert len(failures) == 1


async def test_a_caller_that_left_does_not_hold_up_the_others():
    log = Log()
    first: Future[None] = Future()
    gone = log.outbox.post(first, ["a"])
    stays = log.outbox.post(None, ["b"])
    gone.cancel()
    first.set_result(None)
    await stays
    assert log.performed == ["a", "b"]


@settings(deadline=None, derandomize=True, max_examples=50)
@given(kinds=st.lists(st.booleans(), max_size=12), order=st.randoms(use_true_random=False))
def test_the_order_is_that_of_the_events_for_every_order_of_the_commits(kinds, order):
    async def scenario() -> None:
        log = Log()
        commits: list[Future[None]] = []
        posted = []
        for number, durable in enumerate(kinds):
            future: Future[None] | None = Future() if durable else None
            if future is not None:
                commits.append(future)
            posted.append(log.outbox.post(future, [str(number)]))
        order.shuffle(commits)
        for commit in commits:
            commit.set_result(None)
            await settle()
        await asyncio.gather(*posted)
        assert log.performed == [str(number) for number in range(len(kinds))]

    asyncio.run(scenario())

"""One call in flight; whatever arrives meanwhile goes together; nobody is left waiting."""

from __future__ import annotations

import asyncio

import pytest

from qrtx_ray.api.micro_batch import MicroBatcher
from qrtx_ray.errors import QueueFull


class Line:
    """A call that answers with the doubles, once the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.batches: list[list[int]] = []
        self.error: BaseException | None = None
        self.short = False

    async def __call__(self, items):
        self.batches.append(list(items))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [2 * item for item in items][: 1 if self.short else None]


@pytest.fixture
def line() -> Line:
    return Line()


async def parked(*calls):
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_a_single_caller_does_not_wait(line):
    batcher = MicroBatcher(line, 10)
    assert await batcher.submit(4) == 8
    assert await batcher.submit(5) == 10
    assert line.batches == [[4], [5]]


async def test_what_arrives_during_a_call_goes_together_in_the_next_up_to_the_bound(line):
    line.gate.clear()
    batcher = MicroBatcher(line, 3)
    tasks = await parked(batcher.submit(0))
    tasks += await parked(*(batcher.submit(n) for n in range(1, 6)))
    line.gate.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10]
    assert line.batches == [[0], [1, 2, 3], [4, 5]]


async def test_large_items_end_a_batch_early_and_one_beyond_the_bound_still_goes(line):
    line.gate.clear()
    batcher = MicroBatcher(line, 100, weigh=lambda item: item, max_bytes=10)
    tasks = await parked(batcher.submit(0))
    tasks += await parked(*(batcher.submit(n) for n in (4, 5, 6, 99, 1)))
    line.gate.set()
    await asyncio.gather(*tasks)
    assert line.batches == [[0], [4, 5], [6], [99], [1]]


async def test_a_client_that_hangs_up_costs_the_others_nothing(line):
    line.gate.clear()
    batcher = MicroBatcher(line, 10)
    running, waiting, other = await parked(batcher.submit(1), batcher.submit(2), batcher.submit(3))
    running.cancel()
    waiting.cancel()
    line.gate.set()
    assert await other == 6
    assert await batcher.submit(4) == 8
    assert running.cancelled()


async def test_an_error_reaches_everybody_of_its_batch_and_nobody_else(line):
    line.gate.clear()
    line.error = QueueFull("the queue holds 5 jobs")
    batcher = MicroBatcher(line, 2)
    tasks = await parked(*(batcher.submit(n) for n in range(2)))
    line.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [QueueFull, QueueFull]
    line.error = None
    assert await batcher.submit(3) == 6


async def test_answers_that_do_not_fit_the_batch_hang_nobody(line):
    line.gate.clear()
    line.short = True
    batcher = MicroBatcher(line, 10)
    tasks = await parked(batcher.submit(1), batcher.submit(2))
    line.gate.set()
    answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1)
    assert answers[0] == 2
    assert isinstance(answers[1], ValueError)
    line.short = False
    assert await batcher.submit(3) == 6


async def test_a_batcher_whose_task_is_cancelled_leaves_nobody_waiting(line):
    line.gate.clear()
    batcher = MicroBatcher(line, 10)
    [task] = await parked(batcher.submit(1))
    batcher._task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 1)
    line.gate.set()
    assert await batcher.submit(2) == 4


async def test_those_just_answered_are_waited_for_and_go_together_again():
    """Eight callers that come back at different moments still share one call a round."""
    sizes: list[int] = []

    async def call(items):
        sizes.append(len(items))
        await asyncio.sleep(0.001)
        return items

    batcher: MicroBatcher[int, int] = MicroBatcher(call, 64)

    async def caller(number: int) -> None:
        for _ in range(6):
            assert await batcher.submit(number) == number
            await asyncio.sleep(0.0003 * number)

    await asyncio.gather(*(caller(number) for number in range(8)))
    assert sum(sizes) == 48
    # Without the wait the first and the last of a round never meet: rounds fall apart into two calls and more.
    assert len(sizes) <= 12

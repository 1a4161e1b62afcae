"""A long queue makes decisions hardly dearer: counted in steps of the interpreter, never in seconds."""

from __future__ import annotations

import sys

from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import Compile
from qrtx_ray.scheduler.queues import WaitingLine
from tests.scheduler.driving import DEVICE, Driver, request


def calls(act) -> int:
    """Python and C calls that `act` makes."""
    count = 0

    def tracer(frame, kind, arg):
        nonlocal count
        count += kind in {"call", "c_call"}

    sys.setprofile(tracer)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


def crowded(jobs: int) -> Driver:
    driver = Driver(check=False, max_queue_size=10**6)
    driver.core.handle(events.CompilerJoined("c", "1"), 0.0)
    todo = driver.core.handle(events.CompilerReady("c", "1", 10**6), 0.0)
    news = tuple(events.NewJob(f"q{i}", request(priority=i * 7919 % 100), i) for i in range(jobs))
    driver.store.commit = lambda persist: None
    todo = driver.core.handle(events.JobsSubmitted(news), 0.0)
    driver.compiled(next(c for c in todo if isinstance(c, Compile)))
    assert driver.core.queue_length(DEVICE) == jobs
    driver.join()
    return driver


def test_decisions_in_a_long_queue_cost_little_more_than_in_a_short_one():
    cost = {}
    for size in (1_000, 20_000):
        driver = crowded(size)
        driver.tick()  # sweeps the deadlines that the compile leases left behind: paid once, not per decision
        cost[size] = {
            "group": calls(lambda d=driver: d.ready(capacity=8)),
            "submit": calls(lambda d=driver: d.submit()),
            "cancel": calls(lambda d=driver, s=size: d.cancel(f"q{s // 2}")),
            "tick": calls(driver.tick),
            "lose": calls(lambda d=driver: d.say(events.AgentLost("a"))),
        }
    assert all(cost[20_000][what] <= 1.5 * cost[1_000][what] + 20 for what in cost[1_000]), cost


def test_a_line_of_a_hundred_thousand_takes_and_gives_like_one_of_a_thousand():
    cost = {}
    for size in (1_000, 100_000):
        line = WaitingLine()
        for i in range(size):
            line.add(i * 7919 % size * 2)
        cost[size] = {
            "add": calls(lambda k=line, s=size: [k.add(i * 2 + 1) for i in range(0, s, s // 100)]),
            "discard": calls(lambda k=line, s=size: [k.discard(i * 2) for i in range(0, s, s // 100)]),
            "first": calls(lambda k=line: [k.discard(k.first()) for _ in range(100)]),
        }
    assert all(cost[100_000][what] <= 1.5 * cost[1_000][what] + 20 for what in cost[1_000]), cost


def test_the_blocks_of_a_long_line_stay_short():
    line = crowded(20_000).core._world.devices[DEVICE].line
    queues = [queue for lane in (*line._lanes, *line._overdue) for queue in lane.queues.values()]
    assert sum(map(len, queues)) == 20_000
    for queue in queues:
        assert max(map(len, queue._blocks)) <= 1024
        assert len(queue._blocks) <= len(queue) / 256 + 1
        assert list(queue) == sorted(queue)

"""The small memories of the actors: mailboxes, feed, committed records, payloads, live qubits."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from qrtx_ray.actors import feed as feeds
from qrtx_ray.actors.committed import CommittedRecords
from qrtx_ray.actors.feed import Feed
from qrtx_ray.actors.live_qubits import LiveQubits, QubitLease
from qrtx_ray.actors.mailboxes import Mailbox, Mailboxes
from qrtx_ray.actors.payload_cache import PayloadCache
from qrtx_ray.model import TaskState

from .building import job_id, record


async def test_a_mailbox_gives_what_came_before_and_what_comes_later_in_order():
    box: Mailbox[int] = Mailbox("i")
    box.put(1)
    box.put(2)
    assert [await box.take(0), await box.take(0)] == [1, 2]
    waiting = asyncio.create_task(box.take(5))
    await asyncio.sleep(0)
    box.put(3)
    assert await waiting == 3
    assert await box.take(0) is None


async def test_of_two_who_wait_one_gets_the_item_and_the_other_nothing():
    box: Mailbox[int] = Mailbox("i")
    waiting = [asyncio.create_task(box.take(5)) for _ in range(2)]
    await asyncio.sleep(0)
    box.put(1)
    assert sorted([await task for task in waiting], key=str) == [1, None]


async def test_an_item_stays_when_the_call_that_waited_for_it_is_gone():
    box: Mailbox[int] = Mailbox("i")
    waiting = asyncio.create_task(box.take(5))
    await asyncio.sleep(0)
    waiting.cancel()
    box.put(1)
    await asyncio.gather(waiting, return_exceptions=True)
    assert await box.take(0) == 1


async def test_a_new_incarnation_gets_a_fresh_mailbox_and_the_old_ones_call_ends():
    boxes: Mailboxes[int] = Mailboxes()
    old = boxes.open("a", "1", now=10.0)
    waiting = asyncio.create_task(old.take(5))
    await asyncio.sleep(0)
    boxes.open("a", "2", now=20.0)
    assert await waiting is None
    boxes.put("a", "1", 1)
    boxes.put("a", "2", 2)
    assert boxes.get("a", "1") is None
    box = boxes.get("a", "2")
    assert box is not None
    assert await box.take(0) == 2


def test_who_was_silent_too_long_is_named():
    boxes: Mailboxes[int] = Mailboxes()
    boxes.open("a", "1", now=10.0)
    boxes.open("b", "2", now=20.0)
    assert boxes.silent_since(15.0) == [("a", "1")]
    assert boxes.last_heard() == {"a": 10.0, "b": 20.0}
    boxes.close("a")
    boxes.close("a")
    assert boxes.silent_since(15.0) == []


async def test_a_follower_gets_everything_after_its_cursor_once():
    feed = Feed(epoch=3)
    start = await feed.since(0, 0, 0)
    assert (start.epoch, start.cursor, start.reset) == (3, 0, True)
    feed.publish([record(1), record(2)])
    changes = await feed.since(3, 0, 0)
    assert [entry.number for entry in changes.records] == [1, 2]
    assert (await feed.since(3, changes.cursor, 0)).records == ()


async def test_a_parked_follower_wakes_for_news():
    feed = Feed(epoch=1)
    parked = [asyncio.create_task(feed.since(1, 0, 5)) for _ in range(3)]
    await asyncio.sleep(0)
    feed.publish([])
    feed.publish([record(1)], [job_id(9)])
    for changes in await asyncio.gather(*parked):
        assert [entry.number for entry in changes.records] == [1]
        assert changes.deletions == (job_id(9),)
        assert changes.cursor == 2


async def test_a_follower_too_far_behind_or_of_another_life_starts_anew():
    feed = Feed(epoch=2, capacity=3)
    feed.publish(record(number) for number in range(1, 6))
    assert (await feed.since(2, 1, 0)).reset
    assert (await feed.since(2, 9, 0)).reset
    assert (await feed.since(1, 4, 0)).reset
    assert [entry.number for entry in (await feed.since(2, 2, 0)).records] == [3, 4, 5]


async def test_a_long_absence_is_answered_in_parts(monkeypatch):
    monkeypatch.setattr(feeds, "ANSWER_ENTRIES", 4)
    feed = Feed(epoch=1)
    feed.publish(record(number) for number in range(1, 11))
    seen, cursor = [], 0
    while cursor < 10:
        changes = await feed.since(1, cursor, 0)
        assert len(changes.records) <= 4
        seen += [entry.number for entry in changes.records]
        cursor = changes.cursor
    assert seen == list(range(1, 11))


def test_finished_jobs_are_kept_up_to_a_bound_and_live_ones_always():
    committed = CommittedRecords(finished_capacity=2)
    committed.update(record(number) for number in range(1, 5))
    committed.update(record(number, TaskState.COMPLETED) for number in range(1, 4))
    assert committed.get(job_id(1)) is None
    assert [committed.get(job_id(number)) is not None for number in (2, 3, 4)] == [True] * 3
    committed.forget([job_id(4), job_id(3), job_id(77)])
    assert committed.get(job_id(4)) is None
    assert committed.get(job_id(3)) is None


def test_progress_is_shown_of_the_present_attempt_and_never_goes_back():
    committed = CommittedRecords(10)
    committed.update([record(1, TaskState.EXECUTING, attempt=2, progress=0.5), record(2, attempt=1)])
    moved = committed.advance(
        [
            (job_id(1), 2, 0.75, 3),
            (job_id(1), 1, 0.9, 9),
            (job_id(2), 1, 0.9, 1),
            (job_id(3), 1, 0.9, 1),
            (job_id(1), 2, 0.1, 1),
            (job_id(1), 2, 0.1, 4),
        ]
    )
    assert [(entry.id, entry.progress, entry.slices) for entry in moved] == [(job_id(1), 0.75, 3), (job_id(1), 0.75, 4)]
    shown = committed.get(job_id(1))
    assert shown is not None
    assert (shown.progress, shown.slices) == (0.75, 4)


def test_what_is_written_in_the_middle_of_a_run_does_not_take_its_progress_back():
    committed = CommittedRecords(10)
    running = record(1, TaskState.EXECUTING, attempt=1)
    committed.update([running])
    committed.advance([(job_id(1), 1, 0.75, 3)])
    [news] = committed.update([replace(running, version=2, tags=("t",))])
    assert (news.version, news.tags, news.progress, news.slices) == (2, ("t",), 0.75, 3)
    [news] = committed.update([replace(running, version=3, state=TaskState.PAUSED, progress=0.5)])
    assert (news.progress, news.slices) == (0.5, 0), "what is kept counts when it stands still"
    [news] = committed.update([replace(running, version=4, attempt=2, progress=0.5)])
    assert (news.progress, news.slices) == (0.5, 0)


def test_payloads_are_kept_up_to_a_size_the_oldest_going_first():
    cache = PayloadCache(max_bytes=10)
    cache.put("a", "request", b"12345")
    cache.put("b", "request", b"12345")
    cache.put("b", "executable", b"1")
    assert cache.get("a", "request") is None
    assert cache.get("b", "request") == b"12345"
    cache.put("c", "request", b"x" * 11)
    assert cache.get("c", "request") is None
    cache.put("b", "request", b"123456789")
    assert cache.get("b", "executable") == b"1", "replacing gives the old size back"
    cache.discard("b", "request")
    cache.discard("b", "request")
    cache.put("d", "request", b"123456789")
    assert cache.get("d", "request") == b"123456789"


def lease(agent: str, qubits: int, incarnation: str = "1", group: str = "g") -> QubitLease:
    return QubitLease("d", agent, incarnation, group, {"job": qubits}, 0.0)


def test_live_qubits_are_bounded_and_one_that_is_too_large_goes_alone():
    live = LiveQubits(10)
    assert live.fits(50)
    live.occupy(lease("a", 8))
    assert live.fits(2)
    assert not live.fits(3)
    assert live.alive == 8


def test_an_agent_holds_one_lease_and_asking_again_ends_it():
    live = LiveQubits(10)
    assert not live.greet("a", "1")
    live.occupy(lease("a", 8))
    assert live.greet("a", "1")
    assert live.alive == 0


def test_only_the_holder_gives_a_lease_back():
    live = LiveQubits(10)
    live.greet("a", "2")
    live.occupy(lease("a", 8, "2"))
    assert not live.vacate("a", "1", "g"), "a dead incarnation"
    assert not live.vacate("a", "2", "another group")
    assert not live.vacate("b", "2", "g")
    assert live.vacate("a", "2", "g")
    assert not live.vacate("a", "2", "g")


def test_what_is_given_up_is_free_and_its_incarnation_no_longer_expected():
    live = LiveQubits(10)
    live.greet("a", "1")
    live.occupy(lease("a", 8))
    assert not live.give_up("a", "0")
    assert live.expects("a", "1")
    assert live.give_up("a", "1")
    assert not live.expects("a", "1")
    assert live.leases() == []


@pytest.mark.parametrize(("device", "agents"), [(None, ["a", "b"]), ("d", ["a", "b"]), ("other", [])])
def test_leases_are_listed_by_device(device, agents):
    live = LiveQubits(100)
    for agent in ("a", "b"):
        live.occupy(lease(agent, 1))
    assert [entry.agent for entry in live.leases(device)] == agents


def test_a_lease_has_a_number_that_grows():
    live = LiveQubits(10, first_fence=100)
    numbers = [live.occupy(lease("a", 1)), live.occupy(lease("b", 1)), live.occupy(lease("a", 1))]
    assert numbers == [101, 102, 103]
    assert sorted(entry.fence for entry in live.leases()) == [102, 103]


def test_a_superseded_incarnation_is_never_heard_again_and_one_given_up_may_return():
    live = LiveQubits(10)
    live.greet("a", "1")
    live.give_up("a", "1")
    live.greet("a", "1")
    assert live.expects("a", "1")
    live.greet("a", "2")
    live.occupy(lease("a", 3, "2"))
    assert not live.greet("a", "1")
    assert live.expects("a", "2")
    assert live.alive == 3


def test_an_earlier_scheduler_gives_nothing_up():
    live = LiveQubits(10)
    live.greet("a", "1")
    assert not live.give_up("a", "0", epoch=5)
    assert not live.give_up("a", "1", epoch=4)
    assert live.expects("a", "1")
    assert live.give_up("a", "1", epoch=5)


def test_qubits_are_counted_by_device():
    live = LiveQubits(100)
    assert live.by_device() == {}
    live.occupy(lease("a", 2))
    live.occupy(lease("b", 3))
    assert live.by_device() == {"d": 5}

from __future__ import annotations

import asyncio
import threading

import pytest

from qrtx_ray.errors import InternalError, PersistError, StoreConflict, StoreFull
from qrtx_ray.store.group_commit import GroupCommitter
from qrtx_ray.store.memory import MemoryStore
from qrtx_ray.store.protocol import Transaction
from tests.store.building import inserting, job, job_id


class GatedStore(MemoryStore):
    """Commits only while the gate is open; remembers the groups and fails as told."""

    def __init__(self):
        super().__init__()
        self.open_epoch()
        self.gate = threading.Event()
        self.waiting = threading.Event()
        self.groups = []
        self.failures = []

    def commit(self, transactions):
        self.waiting.set()
        assert self.gate.wait(30)
        self.groups.append(len(transactions))
        if self.failures:
            raise self.failures.pop(0)
        super().commit(transactions)


@pytest.fixture
def store():
    return GatedStore()


@pytest.fixture
def committer(store):
    opened = GroupCommitter(store, max_batch=10)
    yield opened
    store.gate.set()
    opened.close()


def first_in_flight(committer, store):
    """A first transaction that holds the writer, so that the next ones gather behind it."""
    future = committer.submit(inserting(1))
    assert store.waiting.wait(30)
    return future


def test_what_gathers_during_a_commit_is_committed_together(committer, store):
    futures = [first_in_flight(committer, store)]
    futures += [committer.submit(inserting(number)) for number in range(2, 26)]
    assert not any(future.done() for future in futures)
    store.gate.set()
    assert [future.result(30) for future in futures] == [None] * 25
    assert store.groups == [1, 10, 10, 4]
    assert store.last_number() == 25


def test_large_payloads_bound_a_group(store):
    committer = GroupCommitter(store, max_batch_bytes=10)
    futures = [first_in_flight(committer, store)]
    futures += [committer.submit(inserting(number)) for number in range(2, 6)]
    store.gate.set()
    for future in futures:
        future.result(30)
    committer.close()
    assert store.groups == [1, 2, 2]


def test_only_the_guilty_transaction_of_a_group_fails(committer, store):
    first_in_flight(committer, store)
    futures = [committer.submit(transaction) for transaction in (inserting(2), inserting(1), inserting(3))]
    store.gate.set()
    futures[0].result(30)
    with pytest.raises(StoreConflict):
        futures[1].result(30)
    futures[2].result(30)
    assert store.last_number() == 3
    assert committer.failed is None


def test_a_bug_in_one_transaction_spares_the_others(committer, store):
    first_in_flight(committer, store)
    futures = [committer.submit(Transaction(changes=(object(),))), committer.submit(inserting(3))]
    store.gate.set()
    with pytest.raises(InternalError):
        futures[0].result(30)
    futures[1].result(30)


def test_a_full_disk_refuses_what_does_not_fit_and_nothing_else(committer, store):
    future = first_in_flight(committer, store)
    store.failures = [StoreFull("full")]
    store.gate.set()
    with pytest.raises(StoreFull):
        future.result(30)
    committer.submit(inserting(2)).result(30)
    assert committer.failed is None


def test_a_failed_flush_fails_all_waiters_and_is_never_tried_again(committer, store):
    futures = [first_in_flight(committer, store), committer.submit(inserting(2)), committer.submit(inserting(3))]
    store.failures = [PersistError("fsync failed")]
    store.gate.set()
    for future in futures:
        with pytest.raises(PersistError, match="fsync failed"):
            future.result(30)
    with pytest.raises(PersistError, match="fsync failed"):
        committer.submit(inserting(4)).result(30)
    assert store.groups == [1]
    assert committer.failed.message == "fsync failed"


def test_a_flush_that_fails_while_the_guilty_one_is_sought_ends_the_search(committer, store):
    blocked = first_in_flight(committer, store)
    group = [committer.submit(inserting(number)) for number in (6, 7, 8)]
    store.failures = [StoreConflict("x"), StoreConflict("y"), PersistError("fsync failed")]
    store.gate.set()
    kinds = [type(f.exception(30)) for f in [blocked, *group]]
    assert kinds == [StoreConflict, PersistError, PersistError, PersistError]
    assert committer.failed is not None


def test_a_waiter_that_leaves_does_not_take_its_transaction_back(committer, store):
    first_in_flight(committer, store)
    future = committer.submit(inserting(2))
    assert not future.cancel()
    store.gate.set()
    future.result(30)
    assert store.record(job_id(2)) == job(2)


async def test_it_works_from_asyncio(committer, store):
    store.gate.set()
    await asyncio.gather(*[asyncio.wrap_future(committer.submit(inserting(number))) for number in range(1, 30)])
    found = await asyncio.wrap_future(committer.read(store.record, job_id(29)))
    assert found == job(29)
    with pytest.raises(StoreConflict):
        await asyncio.wrap_future(committer.submit(inserting(29)))


def test_reads_do_not_wait_for_the_writer(committer, store):
    first_in_flight(committer, store)
    assert committer.run(store.last_number).result(30) == 0
    assert committer.read(store.changes_since, 0, limit=5).result(30) == []


def test_closing_commits_what_waits_and_then_refuses(committer, store):
    futures = [first_in_flight(committer, store), *[committer.submit(inserting(number)) for number in range(2, 40)]]
    store.gate.set()
    committer.close()
    committer.close()
    assert all(future.done() and future.exception() is None for future in futures)
    for call in (lambda: committer.submit(inserting(99)), lambda: committer.read(store.last_number)):
        with pytest.raises(PersistError, match="closed"):
            call()


def test_many_submitting_threads_lose_nothing(committer, store):
    store.gate.set()
    failures = []

    def submit(base):
        for number in range(base, base + 25):
            try:
                committer.submit(Transaction(records=(job(number),))).result(30)
            except PersistError as error:
                failures.append(error)

    threads = [threading.Thread(target=submit, args=(base,)) for base in (1, 101, 201, 301)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.live_records()) == 100

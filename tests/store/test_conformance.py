"""Every promise of `store.protocol`, held by every store."""

from __future__ import annotations

import dataclasses

import pytest

from qrtx_ray.errors import PersistError, StoreConflict
from qrtx_ray.model import TERMINAL_STATES, CircuitProfile, JobQuery, Program, TaskState
from qrtx_ray.store.protocol import Transaction
from tests.store.building import after, change, inserting, job, job_id
from tests.store.postgres import URL

PROFILE = CircuitProfile(5, 12, 4, 1, 1024, 0.1, 4096, 2.5, "k", "abc", "aer")


def put(store, *records):
    store.commit([Transaction(records=records)])


def numbers(page):
    return [record.number for record in page.records]


def snapshot(store):
    jobs = store.query(JobQuery("alice", limit=1000)).records
    return (
        jobs,
        [store.history(record.id) for record in jobs],
        store.payloads([record.id for record in jobs], "request"),
        store.last_number(),
        store.last_sequence(),
    )


def test_postgresql_is_among_the_stores():
    if not URL:
        pytest.skip("no PostgreSQL: set QRTX_TEST_POSTGRES_URL, or run under scripts/postgres_for_tests.py")


def test_an_empty_store_knows_nothing(store):
    assert store.live_records() == []
    assert store.last_sequence() == 0
    assert store.last_number() == 0
    assert store.record(job_id(1)) is None
    assert store.records([job_id(1)]) == {}
    assert store.find_idempotent("alice", "k") is None
    assert store.query(JobQuery("alice")).total == 0
    assert store.history(job_id(1)) == []
    assert store.changes_since(0, 10) == []
    assert store.payloads([job_id(1)], "request") == {}
    assert store.usage_qpu_s("alice", 0.0) == 0.0
    assert store.facts() == {}


def test_facts_are_kept_beside_the_jobs_and_replaced_by_key(store):
    store.commit([Transaction(facts=(("device/b", "1"), ("device/a", "ü"), ("usage/alice", "{}")))])
    store.commit([Transaction(facts=(("device/b", "2"), ("usage/alice", None), ("unknown", None)))])
    assert store.facts() == {"device/a": "ü", "device/b": "2"}


@pytest.mark.parametrize("fact", [("", "1"), ("\ud800", "1"), ("k", "\ud800")])
def test_a_refused_fact_takes_the_whole_group_with_it(store, fact):
    store.commit([Transaction(facts=(("k", "old"), ("gone", "1")))])
    guilty = Transaction(facts=(("k", "new"), ("gone", None), fact))
    with pytest.raises(StoreConflict):
        store.commit([inserting(1), guilty])
    assert store.facts() == {"gone": "1", "k": "old"}
    assert store.record(job_id(1)) is None


def test_what_was_committed_is_read_back_as_it_was(store):
    full = job(1, profile=PROFILE, tags=("a", "ü\x00"), seed=2**64 - 1, idempotency_key="k", private=True)
    store.commit([Transaction((full,), (change(7, 1),), ((full.id, "request", b"\x00\xff"),))])
    assert store.record(full.id) == full
    assert store.records([full.id, job_id(2)]) == {full.id: full}
    assert store.find_idempotent("alice", "k") == full
    assert store.history(full.id) == [change(7, 1)]
    assert store.payloads([job_id(2), full.id], "request") == {full.id: b"\x00\xff"}
    assert store.payloads([full.id], "executable") == {}
    assert (store.last_number(), store.last_sequence()) == (1, 7)


def test_a_group_is_committed_whole(store):
    store.commit([inserting(1), inserting(2, 3)])
    assert numbers(store.query(JobQuery("alice", ascending=True))) == [1, 2, 3]
    store.commit([])


def test_the_steps_of_a_job_may_share_a_group(store):
    first = job(1)
    store.commit([inserting(1), Transaction((after(first, state=TaskState.QUEUED),), (change(2, 1),))])
    assert store.record(first.id).state is TaskState.QUEUED


@pytest.mark.parametrize(
    "guilty",
    [
        Transaction(records=(job(1),)),
        Transaction(records=(job(9, number=1),)),
        Transaction(records=(job(9, version=2),)),
        Transaction(records=(job(1, version=4),)),
        Transaction(records=(job(1, version=2, tenant="bob"),)),
        Transaction(records=(job(1, version=2, number=77),)),
        Transaction(records=(job(1, version=2, idempotency_key="late"),)),
        Transaction(records=(job(9, version=0),)),
        Transaction(records=(job(9, number=0),)),
        Transaction(records=(job(9, id=""),)),
        Transaction(records=(job(9, attempt=-1),)),
        Transaction(records=(job(9, qpu_s=-1.0),)),
        Transaction(records=(job(9, created_at=float("nan")),)),
        Transaction(records=(job(9, profile=dataclasses.replace(PROFILE, estimated_s=float("inf"))),)),
        Transaction(records=(job(9, name="\ud800"),)),
        Transaction(records=(job(9, seed=2**64),)),
        Transaction(records=(job(9, tags=("\ud800",)),)),
        Transaction(records=(job(9, number=2**63),)),
        Transaction(records=(job(9, attempt=2**63),)),
        Transaction(changes=(dataclasses.replace(change(9, 1), reason="\ud800"),)),
        Transaction(changes=(dataclasses.replace(change(9, 1), at=float("nan")),)),
        Transaction(changes=(dataclasses.replace(change(9, 1), attempt=-1),)),
        Transaction(changes=(change(2**63, 1),)),
        Transaction(records=(job(9), after(job(9)), after(job(9)))),
        Transaction(changes=(change(1, 1),)),
        Transaction(changes=(change(9, 1), change(9, 1))),
        Transaction(changes=(change(9, 99),)),
        Transaction(payloads=((job_id(99), "request", b""),)),
        Transaction(payloads=((job_id(1), "selfie", b""),)),
        *[Transaction(records=(job(9, state=state),)) for state in sorted(TERMINAL_STATES)],
    ],
)
def test_a_refused_transaction_takes_its_whole_group_with_it(store, guilty):
    store.commit([inserting(1, 2)])
    before = snapshot(store)
    innocent = Transaction(
        records=(job(5), after(job(1), state=TaskState.QUEUED)),
        changes=(change(5, 5),),
        payloads=((job_id(1), "request", b"new"), (job_id(5), "request", b"five")),
    )
    for group in ([innocent, guilty], [Transaction(deletions=(job_id(2),)), innocent, inserting(6), guilty]):
        with pytest.raises(StoreConflict):
            store.commit(group)
        assert snapshot(store) == before
    with pytest.raises(StoreConflict):
        store.commit([guilty])
    assert snapshot(store) == before
    store.commit([innocent])


def test_what_is_put_after_it_was_dropped_or_deleted_is_there(store):
    store.commit([inserting(1), inserting(2)])
    again = Transaction(payloads=((job_id(1), "request", b"again"),), facts=(("k", "2"),))
    drop = Transaction(drop_payloads=((job_id(1), "request"),), facts=(("k", "1"), ("k", None)))
    anew = Transaction((job(2, device="fake_lima@aer"),), (change(9, 2),))
    store.commit([drop, again, Transaction(deletions=(job_id(2),)), anew])
    assert store.payloads([job_id(1), job_id(2)], "request") == {job_id(1): b"again"}
    assert store.record(job_id(2)).device == "fake_lima@aer"
    assert store.history(job_id(2)) == [change(9, 2)]
    assert store.facts() == {"k": "2"}


def test_the_guilty_one_of_several_rows_is_named(store):
    put(store, job(1), job(2), job(3))
    with pytest.raises(StoreConflict, match=f"{job_id(2)}.*version 3"):
        put(store, after(job(1)), job(2, version=3), after(job(3)))
    with pytest.raises(StoreConflict):
        store.commit([Transaction((after(job(4)),)), Transaction((job(4),))])
    assert [record.version for record in store.live_records()] == [1, 1, 1]


def test_versions_are_compared_and_set(store):
    first = job(1)
    put(store, first)
    second = after(first, state=TaskState.VALIDATING, progress=0.5)
    put(store, second)
    with pytest.raises(StoreConflict, match="version 2"):
        put(store, after(first, state=TaskState.CANCELLED, finished_at=5.0))
    assert store.record(first.id) == second


def test_a_terminal_state_is_never_left_but_its_row_may_be_completed(store):
    done = job(1, state=TaskState.COMPLETED, finished_at=2000.0, result_sha256="00")
    put(store, done)
    for state in set(TaskState) - {TaskState.COMPLETED}:
        with pytest.raises(StoreConflict):
            put(store, after(done, state=state))
    put(store, after(done, metadata_recorded=True))
    assert store.record(done.id).metadata_recorded


def test_an_idempotency_key_is_unique_within_its_tenant(store):
    put(store, job(1, idempotency_key="k"), job(2, idempotency_key="k", tenant="bob"), job(3), job(4))
    with pytest.raises(StoreConflict, match="idempotency key") as caught:
        put(store, job(5, idempotency_key="k"))
    assert caught.value.field == "idempotency_key"
    assert store.find_idempotent("bob", "k").number == 2
    store.commit([Transaction(deletions=(job_id(1),))])
    put(store, job(5, idempotency_key="k"))
    assert store.find_idempotent("alice", "k").number == 5


def test_live_records_are_those_with_something_left_to_do(store):
    done = {"state": TaskState.FAILED, "finished_at": 1.0}
    put(store, job(3), job(1, state=TaskState.PAUSED), job(2, **done), job(4, **done, metadata_recorded=True))
    assert [record.number for record in store.live_records()] == [1, 2, 3]
    put(store, after(job(2, **done), metadata_recorded=True))
    assert [record.number for record in store.live_records()] == [1, 3]


def test_payloads_are_replaced_dropped_and_kept_apart_by_kind(store):
    store.commit([inserting(1)])
    store.commit([Transaction(payloads=((job_id(1), "request", b"again"), (job_id(1), "executable", b"code")))])
    assert store.payloads([job_id(1)], "request") == {job_id(1): b"again"}
    store.commit([Transaction(drop_payloads=((job_id(1), "request"), (job_id(2), "request")))])
    assert store.payloads([job_id(1)], "request") == {}
    assert store.payloads([job_id(1)], "executable") == {job_id(1): b"code"}


def test_deletion_leaves_nothing_but_the_numbers_it_used(store):
    store.commit([inserting(1), inserting(2)])
    store.commit([Transaction(deletions=(job_id(2), job_id(77)))])
    assert store.record(job_id(2)) is None
    assert store.history(job_id(2)) == []
    assert store.payloads([job_id(2)], "request") == {}
    assert [found.sequence for found in store.changes_since(0, 10)] == [1]
    assert (store.last_number(), store.last_sequence()) == (2, 2)
    with pytest.raises(StoreConflict, match="sequence 2"):
        store.commit([Transaction(changes=(change(2, 1),))])


def test_history_and_streams_come_in_order_and_can_be_resumed(store):
    store.commit([Transaction((job(1), job(2)), (change(1, 1), change(3, 2)))])
    store.commit([Transaction(changes=(change(10, 1, TaskState.QUEUED), change(11, 2)))])
    assert [found.sequence for found in store.history(job_id(1))] == [1, 10]
    assert store.history(job_id(1))[1].to_state is TaskState.QUEUED
    assert [found.sequence for found in store.changes_since(0, 3)] == [1, 3, 10]
    assert [found.sequence for found in store.changes_since(3, 10)] == [10, 11]
    assert store.changes_since(11, 10) == []


@pytest.fixture
def crowd(store):
    put(store, *[job(number, created_at=float(number)) for number in range(1, 6)])
    put(store, job(6, created_at=6.0, device="fake_lima@aer", program=Program.ESTIMATOR, session_id="s"))
    put(store, job(7, created_at=7.0, tags=("red", "big"), state=TaskState.QUEUED))
    put(store, job(8, created_at=8.0, tags=("red",)), job(9, tenant="bob"))
    return store


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [8, 7, 6, 5, 4, 3, 2, 1]),
        ({"ascending": True}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"device": "fake_lima@aer"}, [6]),
        ({"program": "estimator"}, [6]),
        ({"program": "sampler", "created_after": 5.0}, [8, 7]),
        ({"session_id": "s"}, [6]),
        ({"tags": ("red",)}, [8, 7]),
        ({"tags": ("red", "big")}, [7]),
        ({"tags": ("re",)}, []),
        ({"states": frozenset({TaskState.QUEUED, TaskState.FAILED})}, [7]),
        ({"states": frozenset()}, []),
        ({"created_after": 2.0, "created_before": 5.0}, [4, 3]),
        ({"tenant": "bob"}, [9]),
        ({"tenant": "carol"}, []),
    ],
)
def test_a_query_finds_what_matches_all_its_filters(crowd, wanted, found):
    page = crowd.query(JobQuery(**{"tenant": "alice", "limit": 100, **wanted}))
    assert numbers(page) == found
    assert page.total == len(found)


@pytest.mark.parametrize(
    ("limit", "offset", "found"),
    [(3, 0, [8, 7, 6]), (3, 6, [2, 1]), (3, 99, []), (0, 0, []), (-1, 0, []), (2, -5, [8, 7])],
)
def test_a_query_is_paged(crowd, limit, offset, found):
    page = crowd.query(JobQuery("alice", limit=limit, offset=offset))
    assert (numbers(page), page.total) == (found, 8)


def test_usage_sums_the_tenants_finished_jobs(store):
    done = {"state": TaskState.COMPLETED}
    put(store, job(1, **done, finished_at=10.0, qpu_s=0.1), job(2, **done, finished_at=20.0, qpu_s=0.2))
    put(store, job(3, **done, finished_at=30.0, qpu_s=0.4), job(4, qpu_s=5.0), job(5, **done, finished_at=30.0))
    put(store, job(6, **done, finished_at=30.0, qpu_s=9.0, tenant="bob"))
    assert store.usage_qpu_s("alice", 0.0) == pytest.approx(0.7)
    assert store.usage_qpu_s("alice", 20.0) == pytest.approx(0.6)
    assert store.usage_qpu_s("alice", 30.5) == 0.0


def test_a_store_must_be_taken_over_before_it_is_written(another):
    with pytest.raises(StoreConflict, match="open_epoch"):
        another().commit([inserting(1)])


def test_a_replaced_owner_cannot_write_but_can_read(another):
    old = another()
    first = old.open_epoch()
    old.commit([inserting(1)])
    new = another()
    assert new.open_epoch() == first + 1
    with pytest.raises(StoreConflict, match="newer scheduler"):
        old.commit([inserting(2)])
    new.commit([inserting(2)])
    with pytest.raises(StoreConflict, match="newer scheduler"):
        old.commit([Transaction((job(2),), facts=(("k", "1"),))])
    assert old.record(job_id(2)) == job(2)
    assert old.open_epoch() == first + 2
    with pytest.raises(StoreConflict, match="newer scheduler"):
        new.commit([inserting(3)])


def test_reopening_keeps_everything(another):
    first = another()
    epoch = first.open_epoch()
    first.commit([inserting(1), inserting(2), Transaction(deletions=(job_id(2),))])
    before = snapshot(first)
    first.close()
    second = another()
    assert snapshot(second) == before
    assert second.open_epoch() == epoch + 1


def test_a_closed_store_refuses_and_closing_twice_is_fine(store):
    store.close()
    store.close()
    for call in (store.open_epoch, store.live_records, lambda: store.commit([inserting(1)])):
        with pytest.raises(PersistError, match="closed"):
            call()


def ended(serial, finished_at, **fields):
    return job(serial, state=TaskState.COMPLETED, finished_at=finished_at, metadata_recorded=True, **fields)


def test_the_jobs_that_ended_longest_ago_are_found_oldest_first(store):
    put(store, ended(1, 500.0), ended(2, 300.0), ended(3, 400.0), ended(4, 300.0), ended(5, 600.0, tenant="bob"))
    assert store.finished_before(600.0, 10) == [job_id(2), job_id(4), job_id(3), job_id(1)]
    assert store.finished_before(601.0, 2) == [job_id(2), job_id(4)]
    assert store.finished_before(300.0, 10) == []
    assert store.finished_before(1e9, 0) == store.finished_before(1e9, -1) == []
    store.commit([Transaction(deletions=(job_id(2), job_id(1)))])
    assert store.finished_before(1e9, 10) == [job_id(4), job_id(3), job_id(5)]


def test_no_job_is_old_that_is_live_or_whose_metadata_is_not_recorded(store):
    unrecorded = dataclasses.replace(ended(2, 5.0), metadata_recorded=False)
    put(store, job(1, state=TaskState.QUEUED), unrecorded)
    assert store.finished_before(1e9, 10) == []
    store.commit([Transaction(records=(after(unrecorded, metadata_recorded=True),))])
    assert store.finished_before(1e9, 10) == [job_id(2)]

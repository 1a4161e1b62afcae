"""What of the journal in PostgreSQL needs no server: texts and the order of a commit's steps."""

from __future__ import annotations

from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.errors import StoreConflict
from qrtx_ray.model import TERMINAL_STATES, Program, TaskState
from qrtx_ray.store import postgres_rows as sql
from qrtx_ray.store.postgres_schema import migrations
from qrtx_ray.store.protocol import PAYLOAD_EXECUTABLE, PAYLOAD_REQUEST, Transaction
from tests.store.building import after, change, inserting, job, job_id

TEXTS = st.text(st.sampled_from("ab\\0\0ü"))


def shapes(*transactions):
    """The steps as the first two words of each statement and how many rows it has."""
    return [(" ".join(statement.split()[:3]), len(rows)) for statement, rows in sql.steps(transactions)]


@given(TEXTS, TEXTS)
@settings(deadline=None, derandomize=True)
def test_any_text_can_be_kept_and_different_texts_stay_different(one, other):
    assert "\0" not in sql.plain(one)
    assert sql.restored(sql.plain(one)) == one
    assert (sql.plain(one) == sql.plain(other)) == (one == other)


def test_many_transactions_become_few_statements():
    moved = Transaction((after(job(1)),), (change(9, 1),), drop_payloads=((job_id(2), "request"),))
    assert shapes(inserting(1), inserting(2), moved) == [
        ("INSERT INTO job", 2),
        ("UPDATE job SET", 1),
        ("INSERT INTO history", 3),
        ("INSERT INTO payload", 2),
        ("DELETE FROM payload", 1),
    ]


def test_what_comes_after_a_deletion_stays_after_it():
    gone = Transaction(deletions=(job_id(1),))
    assert shapes(gone, inserting(1))[:3] == [("UPDATE owner SET", 1), ("DELETE FROM job", 1), ("INSERT INTO job", 1)]
    assert shapes(Transaction((job(1),), deletions=(job_id(1),)))[0] == ("INSERT INTO job", 1)


def test_a_payload_that_is_dropped_and_put_again_is_there_in_the_end():
    drop = Transaction(drop_payloads=((job_id(1), "request"),))
    put = Transaction(payloads=((job_id(1), "request", b""),))
    payload = ("INSERT INTO payload", 1)
    assert shapes(put, drop, put) == [payload, ("DELETE FROM payload", 1), payload]


def test_the_last_value_of_a_fact_counts_and_the_others_are_still_judged():
    facts = Transaction(facts=(("a", "1"), ("a", None), ("b", None), ("b", "2")))
    assert shapes(facts) == [("INSERT INTO fact", 1), ("DELETE FROM fact", 1)]
    with pytest.raises(UnicodeEncodeError):
        sql.steps([Transaction(facts=(("a", "\ud800"), ("a", "1")))])


def test_a_job_cannot_be_changed_before_it_is_inserted():
    with pytest.raises(StoreConflict, match="version 1"):
        sql.steps([Transaction((after(job(1)),)), Transaction((job(1),))])


def test_the_versions_are_those_of_the_sqlite_file():
    folder = resources.files("qrtx_ray.store") / "migrations"
    names = {entry.name for entry in folder.iterdir() if entry.name.endswith(".sql")}
    assert {entry.name for entry in (folder / "postgresql").iterdir()} == names
    assert len(migrations()) == len(names)


def test_the_words_in_the_schema_are_the_models():
    text = "".join(migrations())
    for word in [*TaskState, *Program, PAYLOAD_REQUEST, PAYLOAD_EXECUTABLE]:
        assert f"'{word}'" in text
    terminal = "('Completed', 'Failed', 'Cancelled', 'Timeout')"
    assert {f"'{state}'" for state in TERMINAL_STATES} == set(terminal.strip("()").split(", "))
    assert text.count(terminal) == 2

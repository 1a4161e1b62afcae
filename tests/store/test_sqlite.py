"""What only the SQLite store can get wrong: files, crashes, space, and concurrency."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from qrtx_ray.errors import PersistError, StoreConflict, StoreFull
from qrtx_ray.model import JobQuery, TaskState
from qrtx_ray.store.protocol import Transaction
from qrtx_ray.store.schema import install, migrations
from qrtx_ray.store.sqlite import SqliteStore
from qrtx_ray.store.sqlite_errors import translated
from qrtx_ray.store.sqlite_rows import INSERT_JOB, job_row
from tests.store.building import after, change, inserting, job, job_id

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "jobs.db"


@pytest.fixture
def store(path):
    opened = SqliteStore(path)
    opened.open_epoch()
    yield opened
    opened.close()


def reopened_numbers(path):
    store = SqliteStore(path)
    try:
        found = [record.number for record in store.query(JobQuery("alice", ascending=True, limit=10**6)).records]
        for number in found:
            assert store.history(job_id(number)) == [change(number, number)]
            assert store.payloads([job_id(number)], "request") == {job_id(number): b"body %d" % number}
        return found
    finally:
        store.close()


def test_only_the_owner_can_read_the_files(store, path):
    store.commit([inserting(1)])
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_commits_are_flushed(store):
    assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_name_with_odd_characters_is_a_name(tmp_path):
    store = SqliteStore(tmp_path / "a b?mode=ro#%41.db")
    store.open_epoch()
    store.commit([inserting(1)])
    assert store.last_number() == 1
    store.close()
    assert (tmp_path / "a b?mode=ro#%41.db").exists()


def test_a_file_that_is_no_database_is_refused(path):
    path.parent.mkdir()
    path.write_bytes(b"not a database, but long enough to be looked at" * 50)
    with pytest.raises(PersistError, match="SQLITE_NOTADB"):
        SqliteStore(path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PersistError, match="cannot be created"):
        SqliteStore(tmp_path / "file" / "jobs.db")


def test_a_full_disk_keeps_nothing_of_the_call_and_the_store_goes_on_with_space(store):
    store.commit([inserting(1)])
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    large = Transaction((job(3),), (change(3, 3),), ((job_id(3), "request", bytes(10**6)),))
    with pytest.raises(StoreFull, match="no space"):
        store.commit([inserting(2), large])
    assert store.last_number() == 1
    assert store.record(job_id(1)) == job(1)
    store._writer.execute("PRAGMA max_page_count = 1000000")
    store.commit([inserting(2), large])
    assert store.last_sequence() == 3


def test_the_schema_itself_refuses_what_must_not_be(store):
    store.commit([inserting(1)])
    for wrong in ("state = 'Levitating'", "state = 'Failed'", "live = 0", "program = 'oracle'", "tags = '{}'"):
        with pytest.raises(sqlite3.IntegrityError):
            store._writer.execute(f"UPDATE job SET {wrong}")


@pytest.mark.parametrize(
    ("statement", "kind"),
    [("SELECT nothing", PersistError), ("INSERT INTO owner VALUES (1, 0, 0, 0)", StoreConflict)],
)
def test_errors_are_told_in_our_words(store, statement, kind):
    with pytest.raises(PersistError) as caught, translated():
        store._writer.execute(statement)
    assert type(caught.value) is kind


def test_an_error_of_the_medium_is_not_a_conflict():
    failure = sqlite3.OperationalError("disk I/O error")
    failure.sqlite_errorcode, failure.sqlite_errorname = sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC"
    with pytest.raises(PersistError, match="SQLITE_IOERR_FSYNC") as caught, translated():
        raise failure
    assert type(caught.value) is PersistError


def test_numbers_beyond_the_columns_are_the_transactions_fault(store):
    with pytest.raises(StoreConflict):
        store.commit([Transaction((job(1),), (change(2**63, 1),))])
    assert store.last_number() == 0


def test_readers_run_beside_the_writer_and_see_whole_commits(store):
    done = threading.Event()
    wrong = []
    rounds = []

    def read():
        seen, last = 0, False
        while not last:
            last = done.is_set()
            page = store.query(JobQuery("alice", limit=1000))
            found = len(page.records)
            if found != page.total or found % 2 or found < seen:
                wrong.append((found, page.total, seen))
            seen = found
            rounds.append(found)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 120, 2):
        store.commit([inserting(number, number + 1)])
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert max(rounds) == 120


def test_reading_does_not_wait_for_an_open_transaction(store):
    store.commit([inserting(1)])
    with store._writing() as db:
        db.execute("DELETE FROM job")
        assert store.record(job_id(1)) == job(1)
    assert store.record(job_id(1)) is None


WRITER = """
    import sys
    from tests.store.building import inserting
    from qrtx_ray.store.sqlite import SqliteStore

    store = SqliteStore(sys.argv[1])
    store.open_epoch()
    number = 0
    while True:
        group = range(number + 1, number + 4)
        store.commit([inserting(n) for n in group])
        number += 3
        print(number, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 40, 200])
def test_every_acknowledged_row_survives_a_kill(path, acknowledged):
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [child.stdout.readline() for _ in range(acknowledged)]
    child.send_signal(signal.SIGKILL)
    lines += child.stdout.readlines()
    child.stdout.close()
    child.wait()
    last = max(int(line) for line in lines if line.endswith("\n"))
    found = reopened_numbers(path)
    assert found == list(range(1, len(found) + 1))
    assert len(found) % 3 == 0
    assert last <= len(found) <= last + 3


def test_a_torn_log_opens_with_whole_commits_only(store, path, tmp_path):
    for number in range(1, 13):
        store.commit([inserting(number)])
    log = path.with_name("jobs.db-wal").read_bytes()
    sizes = set()
    for cut in [0, 1, 100, 4096, 5000, 9000, 20000, 40000, len(log) - 10, len(log)]:
        torn = tmp_path / f"torn{cut}" / "jobs.db"
        torn.parent.mkdir()
        shutil.copy(path, torn)
        torn.with_name("jobs.db-wal").write_bytes(log[: max(len(log) - cut, 0)])
        found = reopened_numbers(torn)
        assert found == list(range(1, len(found) + 1))
        sizes.add(len(found))
    assert max(sizes) == 12
    assert len(sizes) > 3


def test_a_damaged_log_frame_ends_the_log_there(store, path, tmp_path):
    for number in range(1, 13):
        store.commit([inserting(number)])
    log = bytearray(path.with_name("jobs.db-wal").read_bytes())
    log[len(log) // 2] ^= 1
    copy = tmp_path / "damaged" / "jobs.db"
    copy.parent.mkdir()
    shutil.copy(path, copy)
    copy.with_name("jobs.db-wal").write_bytes(log)
    found = reopened_numbers(copy)
    assert found == list(range(1, len(found) + 1))
    assert len(found) < 12


def test_the_planner_uses_the_indexes(store):
    def plan(statement):
        return " ".join(row[3] for row in store._writer.execute(f"EXPLAIN QUERY PLAN {statement}"))

    assert "job_live" in plan("SELECT record FROM job WHERE live = 1 ORDER BY number")
    assert "job_by_tenant" in plan("SELECT record FROM job WHERE tenant = 'a' ORDER BY number DESC LIMIT 10 OFFSET 0")
    assert "job_idempotency" in plan("SELECT record FROM job WHERE tenant = 'a' AND idempotency_key = 'k'")
    usage = "SELECT total(qpu_s) FROM job WHERE tenant = 'a' AND finished_at IS NOT NULL AND finished_at >= 1"
    assert "COVERING INDEX job_usage" in plan(usage)


def test_a_job_that_ends_stays_as_it_ended_across_handles(store, path):
    store.commit([inserting(1)])
    other = SqliteStore(path)
    other.open_epoch()
    ended = after(job(1), state=TaskState.CANCELLED, finished_at=5.0)
    other.commit([Transaction((ended,))])
    with pytest.raises(StoreConflict):
        store.commit([Transaction((after(job(1), state=TaskState.QUEUED),))])
    assert store.record(job_id(1)) == ended
    other.close()


def test_closing_waits_for_reads_under_way(store):
    for number in range(1, 60):
        store.commit([inserting(number)])
    started = threading.Barrier(4)
    ends = []

    def read():
        started.wait()
        try:
            while True:
                assert len(store.query(JobQuery("alice", limit=1000)).records) == 59
        except PersistError as error:
            ends.append(error.message)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    started.wait()
    store.close()
    for thread in threads:
        thread.join()
    assert ends == ["the store is closed"] * 3


def test_a_journal_of_the_first_version_is_taken_over_with_its_jobs(tmp_path):
    path = tmp_path / "old.db"
    old = sqlite3.connect(path, isolation_level=None)
    install(old, migrations()[:1])
    old.execute(INSERT_JOB, job_row(job(1)))
    old.close()
    store = SqliteStore(path)
    store.open_epoch()
    assert (store.record(job_id(1)), store.facts()) == (job(1), {})
    store.commit([Transaction(facts=(("device/a", "1"),))])
    store.close()
    again = SqliteStore(path)
    assert again.facts() == {"device/a": "1"}
    again.close()

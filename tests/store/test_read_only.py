"""Journals on media that take no writes: what they hold can be read, changes are refused, and nothing is lost."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from qrtx_ray.errors import PersistError, StoreFull
from qrtx_ray.model import JobQuery
from qrtx_ray.store.open import open_store
from qrtx_ray.store.protocol import Transaction
from qrtx_ray.store.sqlite import SqliteStore
from tests.store.building import after, inserting, job, job_id

BIG = "x" * 2**20


def mounted(*arguments: str) -> bool:
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not mounted("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)):
        pytest.skip("no file system can be mounted here: that takes the rights of root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(folder: Path) -> None:
    with suppress(OSError):
        file = os.open(folder / "filler", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            while True:
                os.write(file, b"x" * 4096)
        finally:
            os.close(file)


KILLED = """
import os, sys
from qrtx_ray.store.sqlite import SqliteStore
from tests.store.building import inserting
store = SqliteStore(sys.argv[1])
store.open_epoch()
store.commit([inserting(1, 2)])
os._exit(9)
"""


def left_behind(file: Path) -> None:
    """A journal with two jobs whose process was killed: log and index lie beside it."""
    subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    assert file.with_name(f"{file.name}-wal").stat().st_size > 0


def closed_in_order(file: Path) -> None:
    store = SqliteStore(file)
    store.open_epoch()
    store.commit([inserting(1, 2)])
    store.close()
    assert [entry.name for entry in file.parent.glob(f"{file.name}-*")] == []


@contextmanager
def taken_over(file: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(file)) as store:
        store.open_epoch()
        yield store


def check_readable(file: Path) -> None:
    store = SqliteStore(file, read_only=True)
    try:
        assert [record.number for record in store.live_records()] == [1, 2]
        assert store.record(job_id(1)) == job(1)
        assert store.query(JobQuery("alice")).total == 2
        assert len(store.history(job_id(2))) == 1
        assert store.payloads([job_id(2)], "request") == {job_id(2): b"body 2"}
        for change in (store.open_epoch, lambda: store.commit([Transaction()])):
            with pytest.raises(PersistError, match="reading only"):
                change()
    finally:
        store.close()


@pytest.mark.parametrize("how", [left_behind, closed_in_order])
def test_a_journal_is_read_without_touching_it(tmp_path, how):
    file = tmp_path / "jobs.db"
    how(file)
    before = file.read_bytes()
    check_readable(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("how", [left_behind, closed_in_order])
def test_a_journal_on_a_file_system_that_became_read_only_can_be_read(small_disk, how):
    file = small_disk / "jobs.db"
    how(file)
    assert mounted("-o", "remount,ro", str(small_disk))
    with pytest.raises(PersistError), taken_over(file):
        pass
    check_readable(file)
    assert mounted("-o", "remount,rw", str(small_disk))
    store = SqliteStore(file)
    assert store.open_epoch() == 2
    store.close()


@pytest.mark.parametrize("how", [left_behind, closed_in_order])
def test_a_journal_on_a_full_disk_can_be_read_and_goes_on_when_there_is_room(small_disk, how):
    file = small_disk / "jobs.db"
    how(file)
    fill_up(small_disk)
    with pytest.raises(StoreFull), taken_over(file):
        pass
    check_readable(file)
    (small_disk / "filler").unlink()
    store = SqliteStore(file)
    store.open_epoch()
    store.commit([inserting(3)])
    assert [record.number for record in store.live_records()] == [1, 2, 3]
    store.close()


def test_a_disk_that_fills_up_refuses_the_commit_and_keeps_what_was_acknowledged(small_disk):
    store = SqliteStore(small_disk / "jobs.db")
    store.open_epoch()
    numbers = []
    with suppress(StoreFull):
        for number in range(1, 50):
            store.commit([inserting(number), Transaction(payloads=((job_id(number), "executable", BIG.encode()),))])
            numbers.append(number)
    assert len(numbers) < 49, "it is a small disk"
    assert numbers, "there was room for some"
    assert [record.number for record in store.live_records()] == numbers
    store.close()
    store = SqliteStore(small_disk / "jobs.db", read_only=True)
    assert [record.number for record in store.live_records()] == numbers
    store.close()


def test_a_database_that_may_not_grow_refuses_and_reads_and_goes_on_when_it_may(tmp_path):
    store = SqliteStore(tmp_path / "jobs.db")
    store.open_epoch()
    store.commit([inserting(1)])
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFull):
        store.commit([Transaction(facts=(("big", BIG),))])
    assert store.record(job_id(1)) == job(1)
    store._writer.execute("PRAGMA max_page_count = 1000000")
    store.commit([Transaction(records=(after(job(1)),))])
    store.close()


LIMITED = """
import resource, signal, sys
from qrtx_ray.errors import PersistError
from qrtx_ray.store.protocol import Transaction
from qrtx_ray.store.sqlite import SqliteStore
from tests.store.building import inserting
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = SqliteStore(sys.argv[1])
store.open_epoch()
store.commit([inserting(1)])
resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, 2**17))
try:
    store.commit([inserting(2), Transaction(facts=(("big", "x" * 2**20),))])
except PersistError as error:
    print(type(error).__name__)
print([record.number for record in store.live_records()])
"""


def test_a_log_that_may_not_grow_refuses_the_commit_whole(tmp_path):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "jobs.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] in (["PersistError", "[1]"], ["StoreFull", "[1]"])
    store = SqliteStore(tmp_path / "jobs.db")
    store.open_epoch()
    store.commit([inserting(2)])
    assert [record.number for record in store.live_records()] == [1, 2]
    store.close()


def test_what_is_no_journal_cannot_be_read_either(tmp_path):
    with pytest.raises(PersistError):
        open_store(f"sqlite:///{tmp_path}/none.db", read_only=True)
    assert not (tmp_path / "none.db").exists(), "nothing is made"
    (tmp_path / "empty.db").touch()
    with pytest.raises(PersistError, match="empty"):
        open_store(f"sqlite:///{tmp_path}/empty.db", read_only=True)

from __future__ import annotations

import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from uuid import uuid4

import pytest

from qrtx_ray.errors import NotFound, PersistError, StoreConflict, StoreFull, ValidationError
from qrtx_ray.store import local_files
from qrtx_ray.store.checkpoints import CheckpointStore
from qrtx_ray.store.circuit_fs import COMPILED_QASM, INPUT, META, NAMES, RESULTS, CircuitFS
from tests.store.building import job_id

ROOT = Path(__file__).parents[2]
JOB = job_id(1)
DATA = b'{"counts": {"00": 512}}'


def digest(data):
    return hashlib.sha256(data).hexdigest()


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture(params=["path", "file", "memory"])
def files(request, tmp_path):
    url = {"path": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{uuid4().hex}"}[request.param]
    return CircuitFS(url)


@pytest.fixture
def local(tmp_path):
    return CircuitFS(str(tmp_path))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "circuit_fs" / JOB


def test_artefacts_are_written_read_and_replaced(files):
    files.write_artefacts(JOB, {INPUT: "name: ü", META: b"{}"})
    files.write_artefacts(JOB, {META: b'{"a": 1}'})
    assert files.read(JOB, INPUT) == "name: ü".encode()
    assert files.read(JOB, META) == b'{"a": 1}'
    assert files.read(JOB, COMPILED_QASM) is None
    assert files.exists(JOB)
    assert files.exists(JOB, META)
    assert not files.exists(JOB, COMPILED_QASM)
    assert not files.exists(job_id(2))


def test_results_come_back_with_the_digest_that_was_told(files):
    ref = files.write_results(JOB, DATA, 1)
    assert (ref.sha256, ref.size_bytes, ref.written) == (digest(DATA), len(DATA), True)
    assert files.read_results(JOB, ref.sha256) == DATA
    assert files.read_results(JOB, ref.sha256.upper()) == DATA
    assert files.read_results(JOB, None) == DATA
    assert files.read_results(job_id(2), ref.sha256) is None


def test_results_that_changed_are_not_served(files):
    files.write_results(JOB, DATA, 1)
    with pytest.raises(PersistError, match=f"results of job {JOB} do not match their checksum"):
        files.read_results(JOB, digest(b"other"))


@pytest.mark.parametrize("later", [1, 2, 3])
def test_the_first_results_stay_and_a_later_writer_learns_their_digest(files, later):
    first = files.write_results(JOB, DATA, 2)
    second = files.write_results(JOB, b"another document", later)
    assert (second.sha256, second.size_bytes, second.written) == (first.sha256, first.size_bytes, False)
    assert files.read_results(JOB, second.sha256) == DATA


def test_of_many_writers_one_wins_and_all_tell_its_digest(files):
    barrier = threading.Barrier(8)
    refs = []

    def write(attempt):
        barrier.wait()
        refs.append(files.write_results(JOB, b"attempt %d" % attempt * 1000, attempt))

    threads = [threading.Thread(target=write, args=(attempt,)) for attempt in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refs) == 8
    assert sum(ref.written for ref in refs) == 1
    assert {ref.sha256 for ref in refs} == {digest(files.read_results(JOB, None))}


def test_a_checkpoint_of_an_earlier_version_is_no_document_and_goes_with_the_job(local, folder):
    local.write_artefacts(JOB, {INPUT: "a"})
    (folder / "checkpoint").write_bytes(b"half")
    with pytest.raises(ValidationError):
        local.read(JOB, "checkpoint")
    assert CheckpointStore(local.url).names(JOB) == []
    CheckpointStore(local.url).drop(JOB)
    assert names(folder) == ["checkpoint", INPUT]
    local.delete(JOB)
    assert not folder.exists()


def test_deleting_removes_the_folder_and_may_be_repeated(files):
    files.write_artefacts(JOB, {INPUT: "a"})
    files.write_results(JOB, DATA, 1)
    files.write_artefacts(job_id(2), {INPUT: "b"})
    assert files.list_jobs() == [JOB, job_id(2)]
    files.delete(JOB)
    files.delete(JOB)
    assert files.list_jobs() == [job_id(2)]
    assert not files.exists(JOB)
    assert files.write_results(JOB, b"new", 1).written


@pytest.mark.parametrize(
    "wrong", ["", ".", "..", "../x", "/etc", JOB + "/", JOB + "\n", JOB.upper(), "x" * 20, "a\x00b"]
)
def test_only_identifiers_of_ours_are_jobs(files, wrong):
    calls = [
        lambda: files.write_artefacts(wrong, {INPUT: ""}),
        lambda: files.write_results(wrong, b"", 1),
        lambda: files.read_results(wrong, None),
        lambda: files.read(wrong, INPUT),
        lambda: files.exists(wrong),
        lambda: files.delete(wrong),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()


@pytest.mark.parametrize("wrong", ["", "..", "../meta.json", "/etc/passwd", "meta.json/", "other.json", ".meta.json"])
def test_only_the_fixed_names_are_files(files, wrong):
    for call in (
        lambda: files.read(JOB, wrong),
        lambda: files.exists(JOB, wrong),
        lambda: files.write_artefacts(JOB, {META: "{}", wrong: ""}),
    ):
        with pytest.raises(ValidationError, match="must be one of"):
            call()
    assert not files.exists(JOB)


def test_results_cannot_be_replaced_as_an_artefact(files):
    with pytest.raises(ValidationError, match="write_results"):
        files.write_artefacts(JOB, {RESULTS: "{}"})
    assert RESULTS in NAMES


@pytest.mark.parametrize("url", ["http://h/x", "ftp://h/x", "sftp://h/x", "nonsense://x", "zip://x"])
def test_stores_without_whole_objects_are_refused(url):
    with pytest.raises(ValidationError, match="local folder or one of"):
        CircuitFS(url)


def test_a_missing_driver_is_told_by_the_protocols_name(monkeypatch):
    def missing(url, **options):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(ValidationError, match="driver for s3://"):
        CircuitFS("s3://bucket/prefix")


def test_an_object_stores_errors_are_told_without_their_text(monkeypatch):
    files = CircuitFS(f"memory://{uuid4().hex}")

    def refuse(*args, **kwargs):
        raise RuntimeError("secret=hunter2")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.pipe_file", refuse)
    with pytest.raises(PersistError, match="RuntimeError") as caught:
        files.write_results(JOB, DATA, 1)
    assert "hunter2" not in str(caught.value)


def test_only_the_owner_can_read_the_files(local, folder):
    local.write_results(JOB, DATA, 1)
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / RESULTS).stat().st_mode) == 0o600


def test_nothing_unfinished_is_left_behind(local, folder):
    local.write_artefacts(JOB, {INPUT: "a", META: "{}"})
    local.write_results(JOB, DATA, 1)
    local.write_results(JOB, DATA, 2)
    assert names(folder) == [INPUT, META, RESULTS]


def test_drafts_of_dead_attempts_are_cleaned_by_a_later_one_and_newer_ones_stay(local, folder):
    local.write_artefacts(JOB, {INPUT: "a"})
    for attempt in (1, 2, 3, 4):
        (folder / f".{RESULTS}.{attempt}.abc.tmp").write_bytes(b"half")
    assert local.read_results(JOB, None) is None
    local.write_results(JOB, DATA, 3)
    assert names(folder) == [f".{RESULTS}.3.abc.tmp", f".{RESULTS}.4.abc.tmp", INPUT, RESULTS]
    local.delete(JOB)
    assert not folder.exists()


def failing(monkeypatch, name, number, nth=1):
    """Let the nth call of `os.<name>` fail with `number`."""
    real, calls = getattr(os, name), []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == nth:
            raise OSError(number, "made to fail", "a", None, "b")
        return real(*args, **kwargs)

    monkeypatch.setattr(local_files.os, name, call)


@pytest.mark.parametrize(
    ("name", "number", "kind", "text"),
    [
        ("write", errno.ENOSPC, StoreFull, "no space"),
        ("fsync", errno.EIO, PersistError, "EIO"),
        ("fsync", errno.EDQUOT, StoreFull, "no space"),
        ("link", errno.EPERM, PersistError, "hard links"),
    ],
)
def test_a_write_that_fails_leaves_no_results_and_may_be_repeated(local, folder, monkeypatch, name, number, kind, text):
    failing(monkeypatch, name, number)
    with pytest.raises(kind, match=text):
        local.write_results(JOB, DATA, 1)
    assert names(folder) == []
    assert local.write_results(JOB, DATA, 1).written


@pytest.mark.parametrize("nth", [2, 3])
def test_when_flushing_the_folder_fails_nothing_is_acknowledged_but_a_repetition_is(local, monkeypatch, nth):
    failing(monkeypatch, "fsync", errno.EIO, nth)
    with pytest.raises(PersistError):
        local.write_results(JOB, DATA, 1)
    ref = local.write_results(JOB, b"second run", 2)
    assert not ref.written
    assert local.read_results(JOB, ref.sha256) == DATA


def test_an_artefact_that_fails_keeps_the_old_one(local, folder, monkeypatch):
    local.write_artefacts(JOB, {META: "old"})
    failing(monkeypatch, "rename", errno.EIO)
    with pytest.raises(PersistError):
        local.write_artefacts(JOB, {META: "new"})
    assert local.read(JOB, META) == b"old"
    assert names(folder) == [META]


def test_a_job_deleted_during_the_write_is_a_conflict(local, monkeypatch):
    real = os.link

    def link(*args):
        local.delete(JOB)
        return real(*args)

    monkeypatch.setattr(local_files.os, "link", link)
    with pytest.raises(StoreConflict):
        local.write_results(JOB, DATA, 1)


def test_an_old_attempt_whose_draft_was_cleaned_tells_the_newer_ones_digest(local, monkeypatch):
    real = os.link

    def link(*args):
        monkeypatch.setattr(local_files.os, "link", real)
        local.write_results(JOB, DATA, 2)
        return real(*args)

    monkeypatch.setattr(local_files.os, "link", link)
    ref = local.write_results(JOB, b"late", 1)
    assert not ref.written
    assert local.read_results(JOB, ref.sha256) == DATA


WRITER = """
    import itertools, sys
    from qrtx_ray.store.circuit_fs import CircuitFS
    from tests.store.building import job_id

    files = CircuitFS(sys.argv[1])
    for number in itertools.count(1):
        ref = files.write_results(job_id(number), b"%d " % number * 20000, 1)
        print(number, ref.sha256, flush=True)
"""


def test_acknowledged_results_survive_a_kill_and_the_others_are_complete_or_absent(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [child.stdout.readline() for _ in range(60)]
    child.send_signal(signal.SIGKILL)
    lines += [line for line in child.stdout.readlines() if line.endswith("\n")]
    child.stdout.close()
    child.wait()
    files = CircuitFS(str(tmp_path))
    for line in lines:
        number, sha256 = line.split()
        assert files.read_results(job_id(int(number)), sha256) is not None
    for number in range(1, len(lines) + 3):
        assert files.read_results(job_id(number), None) in {None, b"%d " % number * 20000}

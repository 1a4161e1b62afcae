"""Files of jobs in an object store that is reached over the network, as S3 is: a server of its own process, on this machine."""

from __future__ import annotations

import dataclasses
import os
import random
import subprocess
import sys
import threading
from uuid import uuid4

import pytest

from qrtx_ray.errors import CheckpointDamaged, CheckpointNotFound, NotFound, PersistError
from qrtx_ray.store.checkpoints import CheckpointDraft, CheckpointStore
from qrtx_ray.store.circuit_fs import INPUT, META, CircuitFS
from qrtx_ray.store.named_states import NamedStates
from qrtx_ray.store.object_files import PART_BYTES
from tests.store.building import job_id

REASON = "the tests against an S3 server need the packages moto[server] and s3fs"
s3fs = pytest.importorskip("s3fs", reason=REASON)
pytest.importorskip("moto.server", reason=REASON)

JOB = job_id(1)
BUCKET = "quantum-files"
SERVER = """
import sys
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""
NOWHERE = "/dev/null"
HERE = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": NOWHERE,
    "AWS_SHARED_CREDENTIALS_FILE": NOWHERE,
    "AWS_MAX_ATTEMPTS": "1",
    "NO_PROXY": "127.0.0.1",
}
ELSEWHERE = ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture(scope="module")
def endpoint():
    """Where the server listens. It ends with its standard input, so also when the tests are killed."""
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SERVER],
        env={**os.environ, **HERE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    yield f"http://127.0.0.1:{int(child.stdout.readline())}"
    child.stdin.close()
    child.wait(20)
    child.stdout.close()


def reach(endpoint, environment):
    """Have whoever asks for S3 reach this endpoint, and nothing else; the store as others see it."""
    s3fs.S3FileSystem.clear_instance_cache()
    for name in ELSEWHERE:
        environment.delenv(name, raising=False)
        environment.delenv(name.lower(), raising=False)
    for name, value in {**HERE, "AWS_ENDPOINT_URL": endpoint}.items():
        environment.setenv(name, value)
    system = s3fs.S3FileSystem(use_listings_cache=False)
    system.connect()
    assert system._s3.meta.endpoint_url == endpoint
    return system


@pytest.fixture(scope="module")
def bucket(endpoint):
    """The object store as others see it."""
    with pytest.MonkeyPatch.context() as environment:
        system = reach(endpoint, environment)
        system.mkdir(BUCKET)
        yield system
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def url(bucket):
    return f"s3://{BUCKET}/{uuid4().hex}"


@pytest.fixture
def files(url):
    return CircuitFS(url)


@pytest.fixture
def store(url):
    return CheckpointStore(url, compression_level=3)


@pytest.fixture
def root(url):
    return url.removeprefix("s3://")


@pytest.fixture
def nowhere(monkeypatch):
    reach("http://127.0.0.1:9", monkeypatch)
    yield
    s3fs.S3FileSystem.clear_instance_cache()


def draft(sequence=1, **fields):
    plain = CheckpointDraft(JOB, 1, sequence, 0.5, "segment", 1000.5, {"engine": "aer", "state_version": 1})
    return dataclasses.replace(plain, **fields)


def test_documents_are_written_read_replaced_and_removed(files, bucket, root):
    files.write_artefacts(JOB, {INPUT: "name: ü", META: b"{}"})
    files.write_artefacts(JOB, {META: b'{"a": 1}'})
    assert (files.read(JOB, INPUT), files.read(JOB, META)) == ("name: ü".encode(), b'{"a": 1}')
    assert bucket.cat_file(f"{root}/circuit_fs/{JOB}/{META}") == b'{"a": 1}'
    assert (files.exists(JOB), files.exists(job_id(2)), files.list_jobs()) == (True, False, [JOB])
    for _ in range(2):
        files.delete(JOB)
    assert (files.exists(JOB), files.read(JOB, META), files.list_jobs()) == (False, None, [])


def test_the_first_results_stay(files):
    first = files.write_results(JOB, b"first", 1)
    second = files.write_results(JOB, b"second", 2)
    assert (first.written, second.written, second.sha256) == (True, False, first.sha256)
    assert files.read_results(JOB, first.sha256) == b"first"


def test_of_many_writers_in_several_processes_one_wins_and_all_tell_its_digest(url):
    barrier, refs = threading.Barrier(6), []

    def write(attempt):
        others = CircuitFS(url)  # with a lock of its own, as another process has
        barrier.wait()
        refs.append(others.write_results(JOB, b"attempt %d" % attempt * 1000, attempt))

    threads = [threading.Thread(target=write, args=(attempt,)) for attempt in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ref.written for ref in refs].count(True) == 1
    assert len({ref.sha256 for ref in refs}) == 1


def test_results_that_changed_are_not_served(files, bucket, root):
    ref = files.write_results(JOB, b"right", 1)
    bucket.pipe_file(f"{root}/circuit_fs/{JOB}/results.json", b"wrong")
    with pytest.raises(PersistError, match="checksum"):
        files.read_results(JOB, ref.sha256)


@pytest.mark.parametrize("size", [0, 5, 2**20, PART_BYTES + 12345])
def test_a_checkpoint_comes_back_as_it_was_kept(store, size):
    bulk = random.Random(size).randbytes(size)
    ref = store.write(draft(), b"body" * 100, memoryview(bulk))
    room = bytearray(size)
    found = store.read(ref, lambda _: memoryview(room))
    assert (found.body, found.bulk_bytes, bytes(room)) == (b"body" * 100, size, bulk)
    assert store.found(JOB)[0][0] == ref


def test_a_state_that_shrinks_is_streamed_too(store):
    bulk = bytes(PART_BYTES * 2) + random.Random(1).randbytes(PART_BYTES)
    ref = store.write(draft(), b"", memoryview(bulk))
    assert ref.size_bytes < len(bulk) / 2
    room = bytearray(len(bulk))
    store.read(ref, lambda _: memoryview(room))
    assert room == bulk


def test_a_packed_checkpoint_is_the_same_object(store):
    ref, data = store.pack(draft(), b"body", memoryview(b"bulk"))
    store.write_packed(ref, data)
    assert store.read(ref) == store.read_packed(ref, data)


def test_damaged_truncated_and_missing_ones_are_told_apart(store, bucket, root):
    ref = store.write(draft(), b"body" * 1000, memoryview(random.Random(1).randbytes(5000)))
    path = f"{root}/circuit_fs/{JOB}/checkpoint-1-1"
    whole = bucket.cat_file(path)
    assert len(whole) == ref.size_bytes
    for position in range(0, len(whole), 397):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        bucket.pipe_file(path, bytes(damaged))
        with pytest.raises(CheckpointDamaged):
            store.read(ref)
    for length in (0, 1, 100, len(whole) - 1):
        bucket.pipe_file(path, whole[:length])
        with pytest.raises(CheckpointDamaged):
            store.read(ref)
    bucket.rm(path)
    with pytest.raises(CheckpointNotFound):
        store.read(ref)


@pytest.mark.parametrize("size", [10, PART_BYTES * 2])
def test_one_whose_writing_is_broken_off_leaves_the_one_before(store, bucket, root, monkeypatch, size):
    before = store.write(draft(), b"before")
    from qrtx_ray.store.checkpoint_envelope import Envelope

    whole, passes = Envelope.rest, []

    def broken(self):
        passes.append(self)
        pieces = list(whole(self))
        yield from pieces[: len(pieces) if len(passes) == 1 else -1]
        if len(passes) == 2:
            raise OSError("the connection is gone")

    monkeypatch.setattr(Envelope, "rest", broken)
    with pytest.raises(PersistError):
        store.write(draft(2), b"after", memoryview(random.Random(1).randbytes(size)))
    assert store.names(JOB) == ["checkpoint-1-1"]
    assert store.read(before).body == b"before"
    assert bucket.call_s3("list_multipart_uploads", Bucket=BUCKET).get("Uploads", []) == []


def test_what_another_process_writes_is_seen_at_once(store, bucket, root):
    store.write(draft(), b"one")
    assert store.names(JOB) == ["checkpoint-1-1"]
    bucket.copy(f"{root}/circuit_fs/{JOB}/checkpoint-1-1", f"{root}/circuit_fs/{JOB}/checkpoint-1-7")
    assert store.names(JOB) == ["checkpoint-1-7", "checkpoint-1-1"]
    bucket.rm(f"{root}/circuit_fs/{JOB}/checkpoint-1-1")
    assert store.names(JOB) == ["checkpoint-1-7"]


def test_checkpoints_are_kept_while_they_may_be_needed(store, files):
    refs = [store.write(draft(number), b"x") for number in (1, 2, 3)]
    store.keep_only(JOB, refs[1:])
    assert store.names(JOB) == ["checkpoint-1-3", "checkpoint-1-2"]
    for _ in range(2):
        store.retain(JOB, refs[1:2], 5000.0)
    assert (store.names(JOB), store.expiries(JOB)) == (["checkpoint-1-2"], {(1, 2): 5000.0})
    assert (store.expire(4999.0), store.expire(5000.0), store.expire(9999.0)) == (0, 1, 0)
    files.write_artefacts(JOB, {META: "{}"})
    store.write(draft(4), b"late")
    assert store.remove_leftovers(1000.0, 1.0) == 1
    store.write(draft(5), b"x")
    store.drop(JOB)
    assert (store.names(JOB), files.exists(JOB, META)) == ([], True)


def test_named_states(url):
    states = NamedStates(url)
    first = states.put("alice", "loop", b"one", "", 1.0)
    assert states.get("alice", "loop") == (b"one", first)
    assert [state.name for state in states.list("alice")] == ["loop"]
    states.delete("alice", "loop", first)
    with pytest.raises(NotFound):
        states.get("alice", "loop")


def test_a_store_that_cannot_be_reached_is_told_without_what_the_driver_said(nowhere):
    files = CircuitFS(f"s3://{BUCKET}/x")
    for call in (lambda: files.write_results(JOB, b"x", 1), lambda: files.read(JOB, META), files.list_jobs):
        with pytest.raises(PersistError, match=r"the object store refused \(\w+\)") as caught:
            call()
        assert "127.0.0.1" not in str(caught.value)

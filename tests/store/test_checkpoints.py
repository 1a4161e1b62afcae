"""Checkpoints come back as they were kept, or are refused; they are kept while they may be needed, and no longer."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path
from uuid import uuid4

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.errors import (
    CheckpointDamaged,
    CheckpointIncompatible,
    CheckpointNotFound,
    NotFound,
    PersistError,
    StoreConflict,
    StoreFull,
    ValidationError,
)
from qrtx_ray.model import CheckpointRef
from qrtx_ray.store import checkpoint_envelope
from qrtx_ray.store.checkpoints import CheckpointDraft, CheckpointStore
from qrtx_ray.store.circuit_fs import INPUT, META, CircuitFS
from tests.store.building import job_id

ROOT = Path(__file__).parents[2]
JOB = job_id(1)
ABOUT = {"engine": "aer", "versions": {"qiskit": "2.6.1"}, "program": "ab" * 32, "seed": 2**64 - 1, "state_version": 3}
NOISE = random.Random(7).randbytes(3000)
NUMBERS = b"".join(number.to_bytes(8, "little") for number in range(1000))


def draft(attempt=1, sequence=1, **fields):
    plain = CheckpointDraft(JOB, attempt, sequence, 0.25, "slices", 1000.5, ABOUT)
    return dataclasses.replace(plain, **fields)


class Room:
    """Memory for a bulk, and how much of it was asked for."""

    def __init__(self, size=0):
        self.memory = bytearray(size)
        self.asked = []

    def __call__(self, size):
        self.asked.append(size)
        if not self.memory:
            self.memory = bytearray(size)
        return memoryview(self.memory)


@pytest.fixture(params=["path", "file", "memory"])
def store(request, tmp_path):
    url = {"path": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{uuid4().hex}"}[request.param]
    return CheckpointStore(url, compression_level=3)


@pytest.fixture
def local(tmp_path):
    return CheckpointStore(str(tmp_path))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "circuit_fs" / JOB


def entries(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("body", [b"", b"half", NOISE, NUMBERS])
@pytest.mark.parametrize("bulk", [None, b"", b"x", NOISE * 7, NUMBERS * 9])
def test_a_checkpoint_comes_back_as_it_was_kept(store, body, bulk):
    ref = store.write(draft(2, 5), body, None if bulk is None else memoryview(bulk))
    assert (ref.job_id, ref.attempt, ref.sequence, ref.progress, ref.at) == (JOB, 2, 5, 0.25, 1000.5)
    room = Room()
    found = store.read(ref, room)
    assert (found.body, found.bulk_bytes) == (body, len(bulk or b""))
    assert room.asked == ([len(bulk)] if bulk else [])
    assert bytes(room.memory) == (bulk or b"")
    assert store.read(ref).body == body, "a bulk that nobody wants is compared only"
    assert store.names(JOB) == ["checkpoint-2-5"]


def test_the_header_says_what_it_is(store):
    said = draft(parent_sha256="cd" * 32, restored_from=job_id(9), expires_at=5000.0, kind="segment")
    header = store.read(store.write(said, b"body" * 100, memoryview(NOISE))).header
    body, bulk = header.pop("parts")
    assert header == {
        "schema": 1,
        "compatibility": {"schema": [1, 1], "state_version": 3},
        "job_id": JOB,
        "attempt": 1,
        "sequence": 1,
        "progress": 0.25,
        "kind": "segment",
        "created_at": 1000.5,
        "expires_at": 5000.0,
        "parent": "cd" * 32,
        "restored_from": job_id(9),
        "about": ABOUT,
    }
    assert (body["name"], body["encoding"], body["raw_bytes"]) == ("body", "zstd", 400)
    assert bulk == {
        "name": "bulk",
        "encoding": "raw",
        "stored_bytes": 3000,
        "raw_bytes": 3000,
        "sha256": hashlib.sha256(NOISE).hexdigest(),
    }


def test_only_what_shrinks_is_compressed(store):
    numbers, noise = store.write(draft(), NUMBERS), store.write(draft(sequence=2), NOISE)
    assert numbers.size_bytes < len(NUMBERS) / 2
    assert len(NOISE) < noise.size_bytes < len(NOISE) + 1500


def test_a_large_state_with_both_kinds_of_content_is_streamed_in_pieces(store):
    bulk = NUMBERS * 4000 + random.Random(1).randbytes(2**23)
    room = Room(len(bulk) + 100)
    ref = store.write(draft(), b"body", memoryview(bulk))
    assert store.read(ref, room).bulk_bytes == len(bulk)
    assert bytes(room.memory[: len(bulk)]) == bulk


def test_a_bulk_is_never_held_twice(local):
    bulk = memoryview(random.Random(2).randbytes(2**20) * 64)
    room = Room(bulk.nbytes)
    tracemalloc.start()
    ref = local.write(draft(), b"body", bulk)
    local.read(ref, room)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < bulk.nbytes / 3
    assert memoryview(room.memory) == bulk


@pytest.mark.parametrize("content", [NOISE, NUMBERS])
def test_memory_that_somebody_changes_meanwhile_makes_no_damaged_file(local, monkeypatch, content):
    bulk, real = bytearray(content), os.write

    def write(file, data):
        bulk[:] = bytes(len(bulk))
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    ref = local.write(draft(), b"", memoryview(bulk))
    room = Room()
    local.read(ref, room)
    assert room.memory == content
    assert bulk != content


def test_what_is_packed_is_the_file_that_would_be_written(store):
    for body, bulk in ((NUMBERS, None), (NOISE, memoryview(NUMBERS))):
        ref, data = store.pack(draft(), body, bulk)
        store.write_packed(ref, data)
        assert store.write(draft(), body, bulk) == ref
        room = Room()
        assert store.read_packed(ref, data, room) == store.read(ref)
        assert bytes(room.memory) == bytes(bulk or b"")
    with pytest.raises(CheckpointDamaged):
        store.write_packed(ref, data[:-1] + b"x")


def kept(body=NUMBERS[:900], bulk=NOISE[:300]):
    return CheckpointStore(f"memory://{uuid4().hex}").pack(draft(), body, memoryview(bulk))


def refused(ref, data, kind=CheckpointDamaged):
    with pytest.raises(kind) as caught:
        CheckpointStore.read_packed(ref, data, Room())
    return caught.value.message


@pytest.mark.parametrize("content", [(NUMBERS[:900], NOISE[:300]), (NOISE[:100], NUMBERS[:2000])])
def test_every_flipped_byte_is_detected(content):
    ref, data = kept(*content)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        refused(ref, damaged)


def test_every_truncation_and_every_extension_is_detected():
    ref, data = kept()
    for length in range(len(data)):
        refused(ref, data[:length])
        # Also where the length is as expected: the journal's word is not the only guard.
        refused(dataclasses.replace(ref, size_bytes=length), data[:length])
    refused(ref, data + b"\0")
    refused(dataclasses.replace(ref, size_bytes=len(data) + 1), data + b"\0")


@given(st.data())
@settings(deadline=None, derandomize=True, max_examples=150)
def test_whatever_becomes_of_the_bytes_what_comes_back_is_what_was_kept_or_nothing(source):
    ref, data = KEPT
    damaged = bytearray(data)
    for _ in range(source.draw(st.integers(1, 4))):
        start = source.draw(st.integers(0, len(damaged)))
        end = source.draw(st.integers(start, min(len(damaged), start + 40)))
        damaged[start:end] = source.draw(st.binary(max_size=40))
    if damaged == data:
        return
    refused(ref, bytes(damaged))
    assert checkpoint_header(bytes(damaged)) in ("a checkpoint", "refused")


KEPT = kept(NUMBERS, NUMBERS * 3)


def checkpoint_header(data):
    try:
        checkpoint_envelope.read_header(checkpoint_envelope.BytesFile(data))
    except (CheckpointDamaged, CheckpointIncompatible):
        return "refused"
    return "a checkpoint"


def test_nothing_is_put_into_memory_before_header_and_body_are_right():
    ref, data = kept()
    room = Room()
    damaged = bytearray(data)
    damaged[len(data) - len(NOISE[:300]) - 1] ^= 1  # the last byte of the body
    with pytest.raises(CheckpointDamaged, match="checksum"):
        CheckpointStore.read_packed(ref, damaged, room)
    assert room.asked == []


def test_too_little_room_is_said(local):
    ref = local.write(draft(), b"", memoryview(NOISE))
    with pytest.raises(ValidationError, match="do not fit"):
        local.read(ref, Room(10))


def made_up(body=b"body", **header):
    """A file whose digests are all right and whose header says something else."""
    [part] = header.pop("parts", [{}])
    said = {
        "schema": 1,
        "compatibility": {"schema": [1, 1], "state_version": None},
        "job_id": JOB,
        "attempt": 1,
        "sequence": 1,
        "progress": 0.5,
        "kind": "slices",
        "created_at": 1.0,
        "expires_at": None,
        "parent": None,
        "restored_from": None,
        "about": {},
        "parts": [
            {
                "name": "body",
                "encoding": "raw",
                "stored_bytes": len(body),
                "raw_bytes": len(body),
                "sha256": hashlib.sha256(body).hexdigest(),
            }
            | part
        ],
    } | header
    text = json.dumps(said).encode()
    data = struct.pack("<8sI", b"QRTXCKPT", len(text)) + text + body
    return CheckpointRef(JOB, 1, 1, hashlib.sha256(text).hexdigest(), len(data), 0.5, 1.0), data


def test_a_made_up_file_is_read_where_it_is_right():
    assert CheckpointStore.read_packed(*made_up()).body == b"body"


@pytest.mark.parametrize(
    "said",
    [
        {"job_id": job_id(2)},
        {"attempt": 2},
        {"sequence": 2},
        {"attempt": "1"},
        {"progress": None},
        {"about": []},
        {"compatibility": None},
        {"compatibility": {"schema": [1]}},
        {"parts": [{"name": "bulk"}]},
        {"parts": [{"encoding": "pickle"}]},
        {"parts": [{"raw_bytes": 5}]},
        {"parts": [{"raw_bytes": 4.0}]},
        {"parts": [{"raw_bytes": 2**40, "encoding": "zstd"}]},
        {"parts": [{"stored_bytes": 3, "raw_bytes": 3}]},
        {"parts": [{"stored_bytes": -4, "raw_bytes": -4}]},
        {"parts": [{"sha256": "ab"}]},
        {"parts": [{"sha256": 5}]},
    ],
)
def test_a_header_that_contradicts_its_file_is_refused(said):
    refused(*made_up(**said))


@pytest.mark.parametrize(("oldest", "schema"), [(2, 2), (3, 5), (0, 0)])
def test_a_checkpoint_of_versions_that_this_one_cannot_read_is_called_incompatible(oldest, schema):
    ref, data = made_up(schema=schema, compatibility={"schema": [oldest, schema], "state_version": None})
    assert str(schema) in refused(ref, data, CheckpointIncompatible)


def test_a_later_version_that_is_still_readable_is_read():
    ref, data = made_up(schema=2, compatibility={"schema": [1, 2], "state_version": None})
    assert CheckpointStore.read_packed(ref, data).body == b"body"


@pytest.mark.parametrize("inflated", [11, 2**27])
def test_what_inflates_beyond_what_was_said_is_refused_without_taking_the_memory(inflated):
    body = zstandard.ZstdCompressor().compress(bytes(inflated))
    ref, data = made_up(body, parts=[{"encoding": "zstd", "raw_bytes": 10}])
    tracemalloc.start()
    refused(ref, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**25


def test_a_frame_that_asks_for_a_large_window_or_ends_early_is_refused():
    wide = zstandard.ZstdCompressionParameters.from_level(19, window_log=27, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    wide_body = compressor.compress(bytes(1000)) + compressor.flush()
    assert zstandard.get_frame_parameters(wide_body).window_size == 2**27
    for body in (wide_body, zstandard.compress(bytes(1000))[:-1], zstandard.compress(bytes(999)), b"no frame", b""):
        refused(*made_up(body, parts=[{"encoding": "zstd", "raw_bytes": 1000}]))


def test_what_is_not_there_is_not_found(store):
    ref = store.write(draft(), b"body")
    for other in (dataclasses.replace(ref, sequence=2), dataclasses.replace(ref, job_id=job_id(2))):
        with pytest.raises(CheckpointNotFound):
            store.read(other)


def test_a_checkpoint_under_anothers_name_is_refused(local, folder):
    first, second = local.write(draft(), b"body one"), local.write(draft(sequence=2), b"body two")
    (folder / "checkpoint-1-2").write_bytes((folder / "checkpoint-1-1").read_bytes())
    with pytest.raises(CheckpointDamaged):
        local.read(second)
    assert local.read(first).body == b"body one"


@pytest.mark.parametrize("wrong", ["", ".", "..", "../x", "/etc", JOB + "/", JOB.upper(), "x" * 20])
def test_only_identifiers_of_ours_are_jobs(store, wrong):
    ref = CheckpointRef(wrong, 1, 1, "ab", 1, 0.5, 1.0)
    calls = [
        lambda: store.write(draft(job_id=wrong), b""),
        lambda: store.write_packed(ref, b""),
        lambda: store.read(ref),
        lambda: store.names(wrong),
        lambda: store.found(wrong),
        lambda: store.keep_only(wrong, []),
        lambda: store.retain(wrong, [], 1.0),
        lambda: store.drop(wrong),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()


@pytest.mark.parametrize(
    "said",
    [
        {"about": {"x": object()}},
        {"about": {1: 2}},
        {"about": {"x": "y" * 70_000}},
        {"progress": float("nan")},
        {"progress": 1.5},
        {"at": float("inf")},
    ],
)
def test_a_draft_that_is_not_plain_is_refused_and_leaves_nothing(local, folder, said):
    with pytest.raises(ValidationError):
        local.write(draft(**said), b"body")
    assert not folder.exists()


def test_parts_have_a_largest_size(local, monkeypatch):
    monkeypatch.setattr(checkpoint_envelope, "MAX_BODY_BYTES", 10)
    monkeypatch.setattr(checkpoint_envelope, "MAX_BULK_BYTES", 20)
    local.write(draft(), b"x" * 10, memoryview(b"y" * 20))
    for body, bulk, field in ((b"x" * 11, b"", "body"), (b"", b"y" * 21, "bulk")):
        with pytest.raises(ValidationError) as caught:
            local.write(draft(), body, memoryview(bulk))
        assert caught.value.field == field


# --------------------------------------------------------------------------------------------------- what is kept


def refs_of(store, *numbers):
    return [store.write(draft(*number, expires_at=None), b"%d %d" % number) for number in numbers]


def test_names_come_newest_first_by_number_not_by_text(store):
    refs_of(store, (1, 9), (1, 10), (2, 11), (10, 12))
    names = ["checkpoint-10-12", "checkpoint-2-11", "checkpoint-1-10", "checkpoint-1-9"]
    assert store.names(JOB) == names
    assert [ref.sequence for ref, _ in store.found(JOB)] == [12, 11, 10, 9]


def test_what_is_there_is_described_by_the_references_that_were_given(store):
    refs = refs_of(store, (1, 1), (2, 2))
    assert [ref for ref, _ in store.found(JOB)] == refs[::-1]
    assert [header["about"] for _, header in store.found(JOB)] == [ABOUT, ABOUT]
    assert store.found(job_id(2)) == []


def test_a_file_that_cannot_be_read_is_not_described(local, folder):
    refs_of(local, (1, 1), (1, 2))
    (folder / "checkpoint-1-2").write_bytes(b"QRTX")
    assert [ref.sequence for ref, _ in local.found(JOB)] == [1]


def test_older_ones_that_are_not_named_go_and_newer_ones_stay(store):
    refs = refs_of(store, (1, 1), (1, 2), (2, 3), (2, 4), (2, 5))
    store.keep_only(JOB, [refs[3], refs[1]])
    assert store.names(JOB) == ["checkpoint-2-5", "checkpoint-2-4", "checkpoint-1-2"]
    store.keep_only(JOB, [])
    store.keep_only(JOB, [dataclasses.replace(refs[4], job_id=job_id(2))])
    assert len(store.names(JOB)) == 3, "those of another job say nothing about these"
    store.keep_only(JOB, [refs[4]])
    assert store.names(JOB) == ["checkpoint-2-5"]


def test_drafts_of_older_ones_go_with_them_and_one_under_way_stays(local, folder):
    [ref] = refs_of(local, (2, 4))
    for name in (
        ".checkpoint-1-3.abc.tmp",
        ".checkpoint-2-4.abc.tmp",
        ".checkpoint-2-5.abc.tmp",
        ".results.json.1.a.tmp",
    ):
        (folder / name).write_bytes(b"half")
    local.keep_only(JOB, [ref])
    assert entries(folder) == [
        ".checkpoint-2-4.abc.tmp",
        ".checkpoint-2-5.abc.tmp",
        ".results.json.1.a.tmp",
        "checkpoint-2-4",
    ]
    local.drop(JOB)
    assert entries(folder) == [".results.json.1.a.tmp"]


def test_dropping_removes_all_of_the_job_and_nothing_else(store):
    refs_of(store, (1, 1), (1, 2))
    CircuitFS(store.url).write_artefacts(JOB, {META: "{}"})
    other = store.write(draft(job_id=job_id(2)), b"other")
    for _ in range(2):
        store.drop(JOB)
    assert store.names(JOB) == []
    assert CircuitFS(store.url).exists(JOB, META)
    assert store.read(other).body == b"other"


def test_what_an_ended_job_may_be_restored_from_is_kept_for_its_time(store):
    refs = refs_of(store, (1, 1), (1, 2), (2, 3), (2, 4))
    for _ in range(2):
        store.retain(JOB, [refs[2], refs[1]], 5000.5)
    assert store.names(JOB) == ["checkpoint-2-3", "checkpoint-1-2"]
    assert store.expiries(JOB) == {(2, 3): 5001.0, (1, 2): 5001.0}
    assert store.expiries(job_id(2)) == {}
    assert store.expire(5000.9) == 0
    assert store.read(refs[1]).body == b"1 2"
    assert store.expire(5001.0) == 2
    assert (store.names(JOB), store.expiries(JOB), store.expire(9999.0)) == ([], {}, 0)


def test_a_checkpoint_that_says_itself_when_it_may_go_goes_then(store):
    store.write(draft(expires_at=2000.0), b"body")
    store.write(draft(sequence=2), b"body")
    assert store.expire(1999.0) == 0
    assert store.expire(2000.0) == 1
    assert store.names(JOB) == ["checkpoint-1-2"]


def test_what_is_no_mark_is_left_alone(local, tmp_path):
    local.write(draft(expires_at=2000.0), b"body")
    others = ["000000001000-..-1-1", "000000001000-1-1", "README"]
    for name in others:
        (tmp_path / "checkpoint_expiry" / name).touch()
    (tmp_path / "checkpoint_expiry" / "000000001000-abc-1-1").touch()
    assert local.expire(9999.0) == 1
    assert entries(tmp_path / "checkpoint_expiry") == others


def test_leftovers_of_jobs_that_ended_or_were_deleted_are_removed(store):
    files = CircuitFS(store.url)
    ended, live, deleted, lately = (job_id(number) for number in (1, 2, 3, 4))
    refs = [
        store.write(draft(job_id=job, at=at), b"x")
        for job, at in ((ended, 1.0), (live, 1.0), (deleted, 1.0), (lately, 900.0))
    ]
    files.write_artefacts(ended, {INPUT: "", META: "{}"})
    files.write_artefacts(live, {INPUT: ""})
    late = store.write(draft(2, 7, job_id=ended), b"by an attempt believed lost")
    store.retain(ended, [refs[0]], 5000.0)
    late = store.write(draft(2, 7, job_id=ended), b"by an attempt believed lost")
    assert store.remove_leftovers(1000.0, age_s=500.0) == 2
    for ref in (refs[0], refs[1], refs[3]):
        store.read(ref)
    for ref in (late, refs[2]):
        with pytest.raises(CheckpointNotFound):
            store.read(ref)


def test_what_a_job_may_be_restored_from_stays_when_it_ends_while_leftovers_are_looked_for(store, monkeypatch):
    ref, late = (store.write(draft(sequence=number), b"x") for number in (1, 2))
    folders = store._files.folders

    def ends_meanwhile():
        store.retain(JOB, [ref], 5000.0)
        CircuitFS(store.url).write_artefacts(JOB, {META: "{}"})
        store.write(draft(sequence=2), b"x")
        yield from folders()

    monkeypatch.setattr(store._files, "folders", ends_meanwhile)
    assert store.remove_leftovers(1000.0, age_s=500.0) == 1
    assert store.read(ref).body == b"x"
    with pytest.raises(CheckpointNotFound):
        store.read(late)


# --------------------------------------------------------------------------------------------------- what may go wrong


def test_a_checkpoint_survives_power_loss_before_its_reference_is_told(local, folder, monkeypatch):
    flushed = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: (flushed.append(str(Path(f"/proc/self/fd/{file}").readlink())), fsync(file))
    )
    local.write(draft(), b"half", memoryview(NOISE))
    assert flushed[0].startswith(str(folder / ".checkpoint-1-1."))
    assert flushed[1:] == [str(folder), str(folder.parent)]
    assert entries(folder) == ["checkpoint-1-1"]


@pytest.mark.parametrize("name", ["write", "fsync", "rename"])
@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, StoreFull), (errno.EIO, PersistError)])
def test_one_that_cannot_be_written_leaves_nothing_but_the_one_before(local, folder, monkeypatch, name, number, kind):
    before = local.write(draft(), b"before")

    def fail(*_):
        raise OSError(number, "made to fail")

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(kind):
        local.write(draft(sequence=2), b"after", memoryview(NOISE))
    monkeypatch.undo()
    assert entries(folder) == ["checkpoint-1-1"]
    assert local.read(before).body == b"before"


def test_one_whose_job_was_deleted_meanwhile_is_a_conflict(local, folder, monkeypatch):
    real, files = os.fsync, CircuitFS(local.url)

    def fsync(file):
        files.delete(JOB)
        return real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreConflict, match="removed"):
        local.write(draft(), b"body")
    monkeypatch.undo()
    assert not folder.exists()


def test_a_checkpoint_leaves_some_room_to_those_that_need_it_more(tmp_path):
    free = CheckpointStore(str(tmp_path))._files.free_bytes()
    assert free is not None
    far, near = (CheckpointStore(str(tmp_path), reserve_bytes=reserve) for reserve in (1, 2 * free))
    ref = far.write(draft(), b"body", memoryview(NOISE))
    packed = near.pack(draft(sequence=2), b"body")
    for call in (lambda: near.write(draft(sequence=2), b"body"), lambda: near.write_packed(*packed)):
        with pytest.raises(StoreFull, match="free space") as caught:
            call()
        assert caught.value.limit == f"{2 * free} bytes"
    assert near.names(JOB) == ["checkpoint-1-1"]
    assert near.read(ref).body == b"body"


def test_an_object_store_has_room_as_far_as_we_know():
    store = CheckpointStore(f"memory://{uuid4().hex}", reserve_bytes=2**62)
    assert store.read(store.write(draft(), b"body")).body == b"body"


def test_a_read_error_is_not_taken_for_damage(local, monkeypatch):
    ref = local.write(draft(), b"body")

    def fail(*_):
        raise OSError(errno.EIO, "made to fail")

    monkeypatch.setattr(os, "readv", fail)
    with pytest.raises(PersistError, match="EIO") as caught:
        local.read(ref)
    assert not isinstance(caught.value, CheckpointDamaged)


WRITER = """
    import itertools, random, sys
    from qrtx_ray.store.checkpoints import CheckpointDraft, CheckpointStore
    from tests.store.building import job_id

    store = CheckpointStore(sys.argv[1])
    bulk = memoryview(random.Random(1).randbytes(2**21))
    for number in itertools.count(1):
        ref = store.write(CheckpointDraft(job_id(1), 1, number, 0.5, "segment", 1.0), b"%d" % number, bulk)
        print(number, ref.sha256, ref.size_bytes, flush=True)
"""


@pytest.mark.parametrize("after", [3, 7, 12])
def test_after_a_kill_each_checkpoint_is_complete_or_absent_and_those_told_of_are_complete(tmp_path, after):
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    told = [child.stdout.readline() for _ in range(after)]
    child.send_signal(signal.SIGKILL)
    told += child.stdout.read().splitlines(keepends=True)
    child.wait()
    store = CheckpointStore(str(tmp_path))
    for line in (line for line in told if line.endswith("\n")):
        number, sha256, size = line.split()
        ref = CheckpointRef(JOB, 1, int(number), sha256, int(size), 0.5, 1.0, "segment")
        assert store.read(ref).body == number.encode()
    found = store.found(JOB)
    assert len(found) == len(store.names(JOB)) >= after
    for ref, _ in found:
        assert store.read(ref).body == b"%d" % ref.sequence
    store.drop(JOB)
    assert entries(tmp_path / "circuit_fs" / JOB) == [], "also what was unfinished"


STEPS = ["write", "write", "write", "keep_only", "retain", "drop", "expire"]


@given(st.data())
@settings(deadline=None, derandomize=True, max_examples=150)
def test_whatever_is_written_kept_and_dropped_in_whatever_order_the_files_are_those_of_a_simple_book(source):
    """Two jobs; the book says which checkpoints there are, and which were promised to go when."""
    store = CheckpointStore(f"memory://{uuid4().hex}")
    book: dict[tuple[str, int, int], CheckpointRef] = {}
    promised: set[tuple[float, tuple[str, int, int]]] = set()
    jobs, number = [job_id(1), job_id(2)], st.integers(1, 3)
    for step in source.draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=16)):
        job = source.draw(st.sampled_from(jobs))
        mine = [key for key in sorted(book) if key[0] == job]
        named = [key for key in mine if source.draw(st.booleans())]
        gone: list[tuple[str, int, int]] = []
        if step == "write":
            key = (job, source.draw(number), source.draw(number))
            book[key] = store.write(draft(key[1], key[2], job_id=job), b"%d" % len(book))
        elif step == "keep_only":
            store.keep_only(job, [book[key] for key in named])
            gone = [key for key in mine if key not in named and key < max(named, default=key)]
        elif step == "retain":
            when = source.draw(st.integers(1, 20))
            store.retain(job, [book[key] for key in named], float(when))
            promised |= {(when, key) for key in named}
            gone = [key for key in mine if key not in named]
        elif step == "drop":
            store.drop(job)
            gone = mine
        else:
            now = source.draw(st.integers(0, 20))
            due = {(when, key) for when, key in promised if when <= now}
            gone = [key for key in book if key in {key for _, key in due}]
            assert store.expire(float(now)) == len(gone)
            promised -= due
        for key in gone:
            del book[key]
        for other in jobs:
            there = [ref for ref, _header in store.found(other)]
            assert there == [book[key] for key in sorted(book, reverse=True) if key[0] == other]

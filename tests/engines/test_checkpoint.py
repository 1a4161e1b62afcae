"""A checkpoint is read by the very job it is of, and by nobody else; whatever else stands there costs time and nothing more."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib.metadata import PackageNotFoundError

import msgpack
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.engines import checkpoint, shots, versions
from qrtx_ray.engines.checkpoint import MAX_RAW_BYTES, Kept, seal, unseal
from qrtx_ray.engines.protocol import JobRun
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.engines.stages import CheckpointRefused, Stage
from qrtx_ray.engines.versions import STATE_VERSION, libraries

from .building import hardware_efficient, sampler_job
from .test_preemption import JOBS, Asker

RUN = JobRun(sampler_job(hardware_efficient(2)), 5)
OTHERS = {
    "program": (JobRun(sampler_job(hardware_efficient(2, seed=8)), 5), "aer"),
    "seed": (JobRun(RUN.job, 6), "aer"),
    "engine": (RUN, "aer_ideal"),
}


def stages() -> list[Stage]:
    inner = Stage(1, 4, [np.arange(12, dtype=np.uint8).reshape(3, 4)])
    return [Stage(2, 3, [np.linspace(0, 1, 6).reshape(3, 2), np.zeros((3, 0), np.uint8)], inner)]


def sealed() -> bytes:
    checkpoint = seal(stages(), 0.5, RUN, engine="aer", noise_id="n")
    assert checkpoint is not None
    return checkpoint.body


def reopened(data: bytes, run: JobRun = RUN, engine: str = "aer") -> Kept:
    return unseal(replace(run, checkpoint=data), engine=engine)


def same(a: Stage | None, b: Stage | None) -> bool:
    if a is None or b is None:
        return a is b
    arrays = zip(a.arrays, b.arrays, strict=True)
    return (
        (a.done, a.total) == (b.done, b.total)
        and all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in arrays)
        and same(a.inner, b.inner)
    )


def opened(data: bytes) -> tuple[dict, list]:
    _, parts = msgpack.unpackb(zstandard.ZstdDecompressor().decompress(data))
    header, entries = msgpack.unpackb(parts)
    return header, entries


def closed(header, entries) -> bytes:
    """A checkpoint with whatever content and the right checksum."""
    parts = msgpack.packb([header, entries])
    return zstandard.ZstdCompressor().compress(msgpack.packb([hashlib.sha256(parts).digest(), parts]))


def test_it_comes_back_as_it_was_and_can_be_written_on():
    kept = reopened(sealed())
    assert (kept.progress, kept.noise_id) == (0.5, "n")
    assert [same(a, b) for a, b in zip(kept.stages, stages(), strict=True)] == [True]
    kept.stages[0].arrays[0][0] = 7.0


@pytest.mark.parametrize("name", OTHERS)
def test_another_job_refuses_it_and_says_why(name):
    run, engine = OTHERS[name]
    with pytest.raises(CheckpointRefused, match=f"another {name}"):
        reopened(sealed(), run, engine)


def test_what_it_is_of_is_said_beside_it():
    checkpoint = seal(stages(), 0.5, RUN, engine="aer", noise_id="n")
    assert (checkpoint.progress, checkpoint.bulk_bytes) == (0.5, 0)
    assert checkpoint.about == {
        "program": hashlib.sha256(RUN.job.to_bytes()).hexdigest(),
        "seed": "5",
        "engine": "aer",
        "noise_id": "n",
        "kind": "slices",
        "state_version": STATE_VERSION,
        "versions": libraries(),
    }


def test_the_compatibility_window_is_the_state_version_not_the_release(monkeypatch):
    import qrtx_ray

    data = sealed()
    monkeypatch.setattr(qrtx_ray, "__version__", "99.0.0")
    assert reopened(data).progress == 0.5
    monkeypatch.setattr(checkpoint, "STATE_VERSION", STATE_VERSION + 2)
    assert reopened(data).progress == 0.5, "a newer one goes on from what it says it does"
    monkeypatch.setattr(checkpoint, "OLDEST_STATE_VERSION", STATE_VERSION + 1)
    with pytest.raises(CheckpointRefused, match=f"state version {STATE_VERSION}, .* from {STATE_VERSION + 1} to"):
        reopened(data)
    newer = sealed()
    monkeypatch.undo()
    with pytest.raises(CheckpointRefused, match=f"state version {STATE_VERSION + 2}"):
        reopened(newer)


def test_another_schema_is_refused(monkeypatch):
    data = sealed()
    monkeypatch.setattr(checkpoint, "SCHEMA", 7)
    with pytest.raises(CheckpointRefused, match="schema 2, this runtime reads 7"):
        reopened(data)


def test_other_libraries_are_refused_by_name(monkeypatch):
    data = sealed()
    monkeypatch.setattr(checkpoint, "libraries", lambda: "numpy 9.9")
    with pytest.raises(CheckpointRefused, match=r"came to be with numpy .*; here is numpy 9\.9"):
        reopened(data)


@pytest.mark.parametrize(("there", "said"), [("1.2.3", "1.2"), ("1.2.3rc1+cpu", "1.2"), ("2.0", "2.0")])
def test_of_a_librarys_version_the_first_two_parts_count(monkeypatch, there, said):
    monkeypatch.setattr(versions, "version", lambda _name: there)
    assert versions.libraries.__wrapped__().startswith(f"numpy {said}, numba {said}, qiskit-aer {said}, ")


def test_a_library_that_is_not_there_is_said_to_be_none(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(versions, "version", missing)
    assert "qiskit-aer none" in versions.libraries.__wrapped__()


@pytest.mark.parametrize("part", ["header", "stages"])
def test_a_flipped_bit_is_found_out(part):
    data = sealed()
    digest, parts = msgpack.unpackb(zstandard.ZstdDecompressor().decompress(data))
    place = parts.index(b"n", parts.index(b"noise_id") + 9) if part == "header" else len(parts) - 3
    damaged = parts[:place] + bytes([parts[place] ^ 1]) + parts[place + 1 :]
    with pytest.raises(CheckpointRefused, match="checksum"):
        reopened(zstandard.ZstdCompressor().compress(msgpack.packb([digest, damaged])))


def resealed(form) -> bytes:
    header, _ = opened(sealed())
    return closed(header, form)


@pytest.mark.parametrize(
    "form",
    [
        7,
        {},
        [[]],
        [[1, 2, [], None]],
        [[1, 2, [], None, False, 5]],
        [["1", 2, [], None, False]],
        [[1, 2, [["O", [1], b"x"]], None, False]],
        [[1, 2, [["u1", [2**62, 2**62], b"x"]], None, False]],
        [[1, 2, [["u1", [-1], b"x"]], None, False]],
        [[1, 2, [["f8", [1], b"x"]], None, False]],
        [[1, 2, [], [1, 2, [], [1, 2, [], [1, 2, [], [1, 2, [], None, False], False], False], False], False]],
        [[0, 1, [], None, False]] * 2,
        [None] * 200_000,
    ],
)
def test_a_form_that_cannot_be_is_refused(form):
    with pytest.raises(CheckpointRefused):
        reopened(resealed(form))


@pytest.mark.parametrize(
    "lie",
    [
        {"progress": 1.5},
        {"progress": float("nan")},
        {"progress": "half"},
        {"noise_id": 7},
        {"state_version": "1"},
        {"bulk_bytes": -1},
        {"bulk_bytes": 2**40},
        {"bulk_bytes": None},
        {"versions": ["x" * 5000]},
    ],
)
def test_a_header_that_cannot_be_is_refused(lie):
    header, entries = opened(sealed())
    with pytest.raises(CheckpointRefused) as refused:
        reopened(closed(header | lie, entries))
    assert len(str(refused.value)) < 400
    assert reopened(closed(header, entries)).progress == 0.5, "and but for that it is a good one"


def test_what_inflates_without_end_is_refused_before_it_does():
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(MAX_RAW_BYTES + 1))
    assert len(bomb) < 100_000
    with pytest.raises(CheckpointRefused, match="inflates"):
        reopened(bomb)
    unsaid = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100)
    with pytest.raises(CheckpointRefused, match="inflates"):
        reopened(unsaid)


def test_what_is_too_large_is_not_kept(monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 100)
    assert seal(stages(), 0.5, RUN, engine="aer", noise_id="") is None
    with pytest.raises(CheckpointRefused, match="more than 100"):
        reopened(bytes(101))


@settings(deadline=None, derandomize=True)
@given(noise=st.binary(max_size=200), place=st.integers(0, 10**6))
def test_no_bytes_at_all_do_more_than_be_refused(noise, place):
    data = sealed()
    place %= len(data)
    for mangled in (noise, data[:place], data[:place] + noise + data[place + len(noise) :]):
        if mangled != data:
            with pytest.raises(CheckpointRefused):
                reopened(mangled)


@pytest.mark.parametrize("kept", ["noise", "of another seed", "of another cut"])
def test_a_run_begins_anew_from_what_it_cannot_use(monkeypatch, kept):
    monkeypatch.setattr(shots, "slices_of", lambda _seconds, _shots: 4)
    job = JOBS["sampler, dynamic"]()
    engine = engine_for("aer_ideal")

    def left(seed: int) -> bytes:
        return engine.run([JobRun(job, seed)], Asker([2]))[0].checkpoint

    if kept == "noise":
        data = b"anything"
    elif kept == "of another seed":
        data = left(4)
    else:
        monkeypatch.setattr(shots, "slices_of", lambda _seconds, _shots: 5)
        data = left(3)
        monkeypatch.setattr(shots, "slices_of", lambda _seconds, _shots: 4)
    assert data
    (anew,) = engine.run([JobRun(job, 3, checkpoint=data)])
    (whole,) = engine.run([JobRun(job, 3)])
    assert anew.error is None
    assert anew.results == whole.results
    assert anew.anew
    assert not whole.anew

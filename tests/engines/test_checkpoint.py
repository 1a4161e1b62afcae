"""A checkpoint is read by the very job it is of, and by nobody else; whatever else stands there costs time and nothing more."""

from __future__ import annotations

import hashlib

import msgpack
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.engines import checkpoint, shots
from qrtx_ray.engines.checkpoint import MAX_RAW_BYTES, seal, unseal
from qrtx_ray.engines.protocol import JobRun
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.engines.stages import CheckpointRefused, Stage

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


def sealed(**fields) -> bytes:
    data = seal(stages(), 0.5, RUN, engine="aer", noise_id="n", **fields)
    assert data is not None
    return data


def same(a: Stage | None, b: Stage | None) -> bool:
    if a is None or b is None:
        return a is b
    arrays = zip(a.arrays, b.arrays, strict=True)
    return (
        (a.done, a.total) == (b.done, b.total)
        and all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in arrays)
        and same(a.inner, b.inner)
    )


def opened(data: bytes) -> tuple[dict, bytes]:
    header, body = msgpack.unpackb(zstandard.ZstdDecompressor().decompress(data))
    return header, body


def closed(header, body) -> bytes:
    return zstandard.ZstdCompressor().compress(msgpack.packb([header, body]))


def test_it_comes_back_as_it_was_and_can_be_written_on():
    kept = unseal(sealed(), RUN, engine="aer")
    assert (kept.progress, kept.noise_id) == (0.5, "n")
    assert [same(a, b) for a, b in zip(kept.stages, stages(), strict=True)] == [True]
    kept.stages[0].arrays[0][0] = 7.0


@pytest.mark.parametrize("name", OTHERS)
def test_another_job_refuses_it_and_says_why(name):
    run, engine = OTHERS[name]
    with pytest.raises(CheckpointRefused, match=f"another {name}"):
        unseal(sealed(), run, engine=engine)


def test_another_version_refuses_it(monkeypatch):
    data = sealed()
    monkeypatch.setattr(checkpoint, "_versions", lambda: "qrtx-ray 99")
    with pytest.raises(CheckpointRefused, match="another version"):
        unseal(data, RUN, engine="aer")
    monkeypatch.undo()
    monkeypatch.setattr(checkpoint, "SCHEMA", 2)
    with pytest.raises(CheckpointRefused, match="another schema"):
        unseal(data, RUN, engine="aer")


def test_a_flipped_bit_is_found_out():
    header, body = opened(sealed())
    damaged = body[:-1] + bytes([body[-1] ^ 1])
    with pytest.raises(CheckpointRefused, match="checksum"):
        unseal(closed(header, damaged), RUN, engine="aer")


def resealed(form) -> bytes:
    header, _ = opened(sealed())
    body = msgpack.packb(form)
    return closed(header | {"sha256": hashlib.sha256(body).hexdigest()}, body)


@pytest.mark.parametrize(
    "form",
    [
        7,
        {},
        [[]],
        [[1, 2, [], None, 5]],
        [["1", 2, [], None]],
        [[1, 2, [["O", [1], b"x"]], None]],
        [[1, 2, [["u1", [2**62, 2**62], b"x"]], None]],
        [[1, 2, [["u1", [-1], b"x"]], None]],
        [[1, 2, [["f8", [1], b"x"]], None]],
        [[1, 2, [], [1, 2, [], [1, 2, [], [1, 2, [], [1, 2, [], None]]]]]],
        [[0, 1, [], None]] * 2,
        [None] * 200_000,
    ],
)
def test_a_form_that_cannot_be_is_refused(form):
    with pytest.raises(CheckpointRefused):
        unseal(resealed(form), RUN, engine="aer")


def test_what_inflates_without_end_is_refused_before_it_does():
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(MAX_RAW_BYTES + 1))
    assert len(bomb) < 100_000
    with pytest.raises(CheckpointRefused, match="inflates"):
        unseal(bomb, RUN, engine="aer")
    unsaid = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100)
    with pytest.raises(CheckpointRefused, match="inflates"):
        unseal(unsaid, RUN, engine="aer")


def test_what_is_too_large_is_not_kept(monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 100)
    assert seal(stages(), 0.5, RUN, engine="aer", noise_id="") is None
    with pytest.raises(CheckpointRefused, match="more than 100"):
        unseal(bytes(101), RUN, engine="aer")


@settings(deadline=None, derandomize=True)
@given(noise=st.binary(max_size=200), place=st.integers(0, 10**6))
def test_no_bytes_at_all_do_more_than_be_refused(noise, place):
    data = sealed()
    place %= len(data)
    for mangled in (noise, data[:place], data[:place] + noise + data[place + len(noise) :]):
        if mangled != data:
            with pytest.raises(CheckpointRefused):
                unseal(mangled, RUN, engine="aer")


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

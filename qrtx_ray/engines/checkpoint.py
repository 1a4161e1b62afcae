"""Kept progress as bytes: MessagePack of plain arrays behind a header that says whose progress it is, compressed.

A checkpoint is only of use to the very same job: the same compiled program, seed and engine, and versions under which it gives
the same bytes (see `versions.py`). To any other it is refused, for a run that went on from it would give results that no
seed explains. It names the noise that the run began with, and the run goes on with that: half a result under one calibration
and half under another would be nobody's.

The *bulk* of a stage (a state vector) is not packed: it lies in shared memory, and the header has its size and its digest. So
a body is of use only together with the bulk it was sealed with.

The bytes come from a file and may be anything: every size is bounded before memory is taken for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import msgpack
import numpy as np
import zstandard

from qrtx_ray.engines.protocol import Checkpoint, JobRun
from qrtx_ray.engines.stages import Array, Bulk, CheckpointRefused, Stage, with_room
from qrtx_ray.engines.versions import OLDEST_STATE_VERSION, STATE_VERSION, libraries

__all__ = ["MAX_BULK_BYTES", "MAX_BYTES", "MAX_RAW_BYTES", "SCHEMA", "Kept", "bulk_digest", "seal", "unseal"]

SCHEMA = 2
"""Of the bytes: how header and stages are written down."""
MAX_BYTES = 32 * 2**20
"""Largest body; it must fit a frame of the sandbox together with the program."""
MAX_RAW_BYTES = 256 * 2**20
"""Largest body once it is inflated."""
MAX_BULK_BYTES = 2**36
"""Largest bulk: a state vector of 32 qubits."""
MAX_STAGES = 100_000
MAX_DEPTH = 4
_LEVEL = 1  # random bits do not get smaller by trying harder
_BLOCK_WORDS = 2**17
_DTYPES: dict[str, np.dtype[Any]] = {"u1": np.dtype(np.uint8), "f8": np.dtype(np.float64)}
_DAMAGED = "the kept progress is damaged: its checksum is wrong"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a checkpoint holds: the stages of the PUBs begun, the fraction done, the noise the run began with."""

    stages: list[Stage]
    progress: float
    noise_id: str


def seal(stages: Sequence[Stage], progress: float, run: JobRun, *, engine: str, noise_id: str) -> Checkpoint | None:
    """The checkpoint of `stages`, or None when it would be larger than one may be, or its bulk is not in shared memory.

    Args:
        engine: Name of the engine that runs the job.
        noise_id: The noise under which the stages came to be.
    """
    bulks = [bulk for stage in stages for bulk in stage.bulks]
    if len(bulks) > 1 or any(not bulk.shared or bulk.view.nbytes > MAX_BULK_BYTES for bulk in bulks):
        return None
    if sum(stage.nbytes for stage in stages) > MAX_RAW_BYTES // 2:
        return None
    bulk_bytes = sum(bulk.view.nbytes for bulk in bulks)
    about = _about(run, engine) | {"noise_id": noise_id, "kind": "segment" if bulks else "slices"}
    try:
        header = about | {
            "schema": SCHEMA,
            "progress": progress,
            "bulk_bytes": bulk_bytes,
            "bulk_digest": bulk_digest(bulks[0].view) if bulks else "",
        }
        parts = msgpack.packb([header, [_plain(stage) for stage in stages]])
        packed = msgpack.packb([hashlib.sha256(parts).digest(), parts])
        body: bytes = zstandard.ZstdCompressor(level=_LEVEL).compress(packed)
    except MemoryError:
        return None
    return Checkpoint(body, progress, bulk_bytes, about) if len(body) <= MAX_BYTES else None


def unseal(run: JobRun, *, engine: str) -> Kept:
    """What the checkpoint that `run` came with keeps of its job.

    Raises:
        CheckpointRefused: It is damaged, too large, without its bulk, or of another program, seed, engine or version.
    """
    try:
        digest, parts = msgpack.unpackb(_inflated(run.checkpoint), **_BOUNDS)
        if hashlib.sha256(parts).digest() != digest:
            raise CheckpointRefused(_DAMAGED)
        header, entries = msgpack.unpackb(parts, **_BOUNDS)
        _refuse_another(header, run, engine)
        if not isinstance(entries, list):
            raise CheckpointRefused("the kept progress has no such form")
        bulk = _bulk(header, run)
        stages = [_stage(entry, MAX_DEPTH, bulk) for entry in entries]
        progress, noise_id = float(header["progress"]), header["noise_id"]
    except CheckpointRefused:
        raise
    except Exception as error:
        msg = f"the kept progress cannot be read ({type(error).__name__})"
        raise CheckpointRefused(msg) from error
    if len(stages) > len(run.job.pubs) or not 0.0 <= progress <= 1.0 or not isinstance(noise_id, str):
        raise CheckpointRefused("the kept progress does not fit the job")
    if len([held for stage in stages for held in stage.bulks]) != (bulk is not None):
        raise CheckpointRefused("the kept progress does not say which of its stages has the state")
    return Kept(stages, progress, noise_id)


def bulk_digest(view: memoryview) -> str:
    """A digest of many bytes at the speed of memory: SHA-256 of the sums of their blocks of a mebibyte, in 64-bit words.

    It finds what goes wrong on the way (flipped bits, a bulk of another moment or half of one); against somebody who means
    harm the envelope in which the bytes are stored has a digest of its own.
    """
    octets = np.frombuffer(view, np.uint8)
    words = octets[: octets.size // 8 * 8].view("<u8")
    blocks = words[: words.size // _BLOCK_WORDS * _BLOCK_WORDS].reshape(-1, _BLOCK_WORDS)
    digest = hashlib.sha256(octets.size.to_bytes(8, "little"))
    digest.update(blocks.sum(axis=1, dtype="<u8").tobytes())
    digest.update(octets[blocks.size * 8 :].tobytes())
    return digest.hexdigest()


def _bulk(header: dict[str, Any], run: JobRun) -> Bulk | None:
    """The bulk that the header speaks of, as it lies in the run's shared memory."""
    size = header["bulk_bytes"]
    if not isinstance(size, int) or not 0 <= size <= MAX_BULK_BYTES or size != run.bulk_bytes:
        msg = f"the kept progress goes with a state of {size} bytes, and {run.bulk_bytes} are there"
        raise CheckpointRefused(msg)
    if not size:
        return None
    view = None if run.area is None else with_room(run.area, size)
    if view is None:
        raise CheckpointRefused("the kept state is not there: there is no shared memory of its size")
    if bulk_digest(view) != header["bulk_digest"]:
        raise CheckpointRefused("the kept state is damaged: its checksum is wrong")
    return Bulk(view, shared=True)


_BOUNDS: dict[str, Any] = {
    "raw": False,
    "max_bin_len": MAX_RAW_BYTES,
    "max_str_len": 4096,
    "max_array_len": MAX_STAGES,
    "max_map_len": 64,
    "max_ext_len": 0,
}


def _about(run: JobRun, engine: str) -> dict[str, Any]:
    """Whose progress it is, and under which versions it came to be."""
    return {
        "program": hashlib.sha256(run.job.to_bytes()).hexdigest(),
        "seed": str(run.seed),
        "engine": engine,
        "state_version": STATE_VERSION,
        "versions": libraries(),
    }


def _refuse_another(header: dict[str, Any], run: JobRun, engine: str) -> None:
    """Refuse what is of another job, or of versions under which it cannot go on to the same bytes."""
    schema, state = header.get("schema"), header.get("state_version")
    if schema != SCHEMA:
        msg = f"the kept progress has schema {schema}, this runtime reads {SCHEMA}"
        raise CheckpointRefused(msg)
    if not isinstance(state, int) or not OLDEST_STATE_VERSION <= state <= STATE_VERSION:
        msg = f"the kept progress is of state version {state}, this runtime goes on from {OLDEST_STATE_VERSION} to {STATE_VERSION}"
        raise CheckpointRefused(msg)
    for name, wanted in _about(run, engine).items():
        if name != "state_version" and header.get(name) != wanted:
            if name == "versions":
                msg = f"the kept progress came to be with {str(header.get(name))[:100]}; here is {wanted}"
                raise CheckpointRefused(msg)
            msg = f"the kept progress is of another {name}"
            raise CheckpointRefused(msg)


def _inflated(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        msg = f"the kept progress has {len(data)} bytes, more than {MAX_BYTES}"
        raise CheckpointRefused(msg)
    size = zstandard.get_frame_parameters(data).content_size
    if size in {zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR} or size > MAX_RAW_BYTES:
        msg = f"the kept progress does not say that it inflates to at most {MAX_RAW_BYTES} bytes"
        raise CheckpointRefused(msg)
    inflate = zstandard.ZstdDecompressor().decompress
    raw: bytes = inflate(data, max_output_size=MAX_RAW_BYTES, allow_extra_data=False)
    return raw


def _plain(stage: Stage) -> list[Any]:
    arrays = [[array.dtype.str[1:], list(array.shape), array.tobytes()] for array in stage.arrays]
    inner = None if stage.inner is None else _plain(stage.inner)
    return [stage.done, stage.total, arrays, inner, stage.bulk is not None]


def _stage(entry: Any, depth: int, bulk: Bulk | None) -> Stage:
    done, total, arrays, inner, holds = entry
    if not (isinstance(done, int) and isinstance(total, int) and depth):
        raise CheckpointRefused("the kept progress has no such form")
    below = None if inner is None else _stage(inner, depth - 1, bulk)
    return Stage(done, total, [_array(*array) for array in arrays], below, bulk if holds is True else None)


def _array(kind: str, shape: list[int], data: bytes) -> Array:
    dtype = _DTYPES[kind]
    if any(length < 0 for length in shape) or prod(shape) * dtype.itemsize != len(data):
        raise CheckpointRefused("an array of the kept progress has not the size it says")
    return np.frombuffer(data, dtype).reshape(shape).copy()  # a copy, for the run goes on writing into it

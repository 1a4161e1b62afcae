"""Kept progress as bytes: MessagePack of plain arrays behind a header that says whose progress it is, compressed.

A checkpoint is only of use to the very same job: the same compiled program, seed, engine and versions. To any other it is
refused, for a run that went on from it would give results that no seed explains. It names the noise that the run began
with, and the run goes on with that: half a result under one calibration and half under another would be nobody's.

The bytes come from a file and may be anything: every size is bounded before memory is taken for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from math import prod
from typing import Any

import msgpack
import numpy as np
import zstandard

from qrtx_ray import __version__
from qrtx_ray.engines.protocol import JobRun
from qrtx_ray.engines.stages import Array, CheckpointRefused, Stage

__all__ = ["MAX_BYTES", "MAX_RAW_BYTES", "SCHEMA", "Kept", "seal", "unseal"]

SCHEMA = 1
MAX_BYTES = 32 * 2**20
"""Largest checkpoint; it must fit a frame of the sandbox together with the program."""
MAX_RAW_BYTES = 256 * 2**20
"""Largest checkpoint once it is inflated."""
MAX_STAGES = 100_000
MAX_DEPTH = 4
_LEVEL = 1  # random bits do not get smaller by trying harder
_SIMULATORS = ("numpy", "numba", "qiskit-aer")
_DTYPES: dict[str, np.dtype[Any]] = {"u1": np.dtype(np.uint8), "f8": np.dtype(np.float64)}


@dataclass(frozen=True, slots=True)
class Kept:
    """What a checkpoint holds: the stages of the PUBs begun, the fraction done, the noise the run began with."""

    stages: list[Stage]
    progress: float
    noise_id: str


def seal(stages: Sequence[Stage], progress: float, run: JobRun, *, engine: str, noise_id: str) -> bytes | None:
    """The checkpoint of `stages`, or None when it would be larger than one may be.

    Args:
        engine: Name of the engine that runs the job.
        noise_id: The noise under which the stages came to be.
    """
    if sum(stage.nbytes for stage in stages) > MAX_RAW_BYTES // 2:
        return None
    try:
        body = msgpack.packb([_plain(stage) for stage in stages])
        header = _header(run, engine) | {
            "noise_id": noise_id,
            "progress": progress,
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        sealed: bytes = zstandard.ZstdCompressor(level=_LEVEL).compress(msgpack.packb([header, body]))
    except MemoryError:
        return None
    return sealed if len(sealed) <= MAX_BYTES else None


def unseal(data: bytes, run: JobRun, *, engine: str) -> Kept:
    """What `data` keeps of the job `run`.

    Raises:
        CheckpointRefused: It is damaged, too large, or of another program, seed, engine or version.
    """
    try:
        header, body = msgpack.unpackb(_inflated(data), **_BOUNDS)
        for name, wanted in _header(run, engine).items():
            if header.get(name) != wanted:
                msg = f"the kept progress is of another {name}"
                raise CheckpointRefused(msg)
        if hashlib.sha256(body).hexdigest() != header["sha256"]:
            raise CheckpointRefused("the kept progress is damaged: its checksum is wrong")
        entries: list[Any] = msgpack.unpackb(body, **_BOUNDS)
        if not isinstance(entries, list):
            raise CheckpointRefused("the kept progress has no such form")
        stages = [_stage(entry, MAX_DEPTH) for entry in entries]
        progress, noise_id = float(header["progress"]), header["noise_id"]
    except CheckpointRefused:
        raise
    except Exception as error:
        msg = f"the kept progress cannot be read ({type(error).__name__})"
        raise CheckpointRefused(msg) from error
    if len(stages) > len(run.job.pubs) or not 0.0 <= progress <= 1.0 or not isinstance(noise_id, str):
        raise CheckpointRefused("the kept progress does not fit the job")
    return Kept(stages, progress, noise_id)


_BOUNDS: dict[str, Any] = {
    "raw": False,
    "max_bin_len": MAX_RAW_BYTES,
    "max_str_len": 4096,
    "max_array_len": MAX_STAGES,
    "max_map_len": 64,
    "max_ext_len": 0,
}


def _header(run: JobRun, engine: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "program": hashlib.sha256(run.job.to_bytes()).hexdigest(),
        "seed": str(run.seed),
        "engine": engine,
        "version": _versions(),
    }


@cache
def _versions() -> str:
    """All that decides how a job is cut and what a slice gives."""
    return " ".join([f"qrtx-ray {__version__}", *(f"{name} {_version(name)}" for name in _SIMULATORS)])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _inflated(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        msg = f"the kept progress has {len(data)} bytes, more than {MAX_BYTES}"
        raise CheckpointRefused(msg)
    size = zstandard.get_frame_parameters(data).content_size
    if size in {zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR} or size > MAX_RAW_BYTES:
        msg = f"the kept progress does not say that it inflates to at most {MAX_RAW_BYTES} bytes"
        raise CheckpointRefused(msg)
    raw: bytes = zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_RAW_BYTES)
    return raw


def _plain(stage: Stage) -> list[Any]:
    arrays = [[array.dtype.str[1:], list(array.shape), array.tobytes()] for array in stage.arrays]
    return [stage.done, stage.total, arrays, None if stage.inner is None else _plain(stage.inner)]


def _stage(entry: Any, depth: int) -> Stage:
    done, total, arrays, inner = entry
    if not (isinstance(done, int) and isinstance(total, int) and depth):
        raise CheckpointRefused("the kept progress has no such form")
    return Stage(done, total, [_array(*array) for array in arrays], None if inner is None else _stage(inner, depth - 1))


def _array(kind: str, shape: list[int], data: bytes) -> Array:
    dtype = _DTYPES[kind]
    if any(length < 0 for length in shape) or prod(shape) * dtype.itemsize != len(data):
        raise CheckpointRefused("an array of the kept progress has not the size it says")
    return np.frombuffer(data, dtype).reshape(shape).copy()  # a copy, for the run goes on writing into it

"""The file format of a checkpoint: what it is, for whom, by whom, and its bytes, each part with a digest.

::

    magic "QRTXCKPT" | header length u32 | header (JSON, padded with spaces) | body | bulk

The header says the sizes and SHA-256 digests of the parts as stored, and a `CheckpointRef` carries the digest of the header:
whoever holds the reference from the journal recognises every flipped bit. A header is a few hundred bytes, a body a few
megabytes at most, and a bulk may be gigabytes: it is neither copied nor held as a whole on its way to and from the file.

The length of the header is settled before the digests are known, so that one pass over the bulk is enough where the beginning
of a file can be written last.

Nothing that is read is believed before its digest was compared, no size before it was bounded, and the bytes are plain data.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, cast

import orjson
import zstandard

from qrtx_ray.errors import CheckpointDamaged, CheckpointIncompatible, ValidationError
from qrtx_ray.model import CheckpointKind, CheckpointRef, JobId
from qrtx_ray.store.files import OpenFile

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_BULK_BYTES",
    "MAX_HEADER_BYTES",
    "SCHEMA",
    "BytesFile",
    "CheckpointDraft",
    "Envelope",
    "Into",
    "StoredCheckpoint",
    "read_envelope",
    "read_header",
]

SCHEMA = 1
OLDEST_READER = 1
"""Of the versions that know what is written now: the first. A reader refuses what says that it is too old for it."""

MAX_HEADER_BYTES = 64 * 2**10
MAX_BODY_BYTES = 256 * 2**20
MAX_BULK_BYTES = 64 * 2**30

_MAGIC = b"QRTXCKPT"
_PREFIX = struct.Struct("<8sI")
_PIECE = 8 * 2**20
_WIDEST = 10**18  # no size has more digits
_SAMPLES, _SAMPLE_BYTES = 8, 64 * 2**10
_WORTH_IT = 0.9
_WINDOW_BYTES = 2**24  # larger than any level up to 19 asks for
_RAW, _ZSTD = "raw", "zstd"

Into = Callable[[int], memoryview]

_NUMBER, _TEXT, _NONE = (int, float), (str,), (type(None),)
_KINDS: dict[str, tuple[type, ...]] = {
    "schema": (int,),
    "job_id": _TEXT,
    "attempt": (int,),
    "sequence": (int,),
    "progress": _NUMBER,
    "kind": _TEXT,
    "created_at": _NUMBER,
    "expires_at": _NUMBER + _NONE,
    "parent": _TEXT + _NONE,
    "restored_from": _TEXT + _NONE,
    "about": (dict,),
}


@dataclass(frozen=True, slots=True)
class CheckpointDraft:
    """A checkpoint that is about to be kept.

    Args:
        job_id: In whose folder it will lie.
        attempt / sequence: See `CheckpointRef`.
        progress: Fraction done, 0..1.
        kind: See `CheckpointKind`.
        at: When it was taken, seconds since the epoch.
        about: What made it and what for: engine, versions, program, seed; plain values as in JSON. `state_version` in it
            says which version of the engine's state the body holds.
        parent_sha256: Reference digest of the checkpoint that the run began with or took before, or None.
        restored_from: The job whose checkpoint the run began with, where that is another one.
        expires_at: When it may go whatever else happens, or None.
    """

    job_id: JobId
    attempt: int
    sequence: int
    progress: float
    kind: CheckpointKind
    at: float
    about: Mapping[str, Any] = field(default_factory=dict)
    parent_sha256: str | None = None
    restored_from: JobId | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """What a checkpoint holds: the body, how many bytes of bulk were put where the reader said, and the header."""

    body: bytes
    bulk_bytes: int
    header: dict[str, Any]


class Envelope:
    """A checkpoint on its way into a file (a `store.files.Streamed`).

    Args:
        draft: What the header says.
        body: At most `MAX_BODY_BYTES`.
        bulk: At most `MAX_BULK_BYTES` in one contiguous piece, which must not change meanwhile; or None.
        level: Zstandard level, for parts of which a sample shrinks.

    Raises:
        ValidationError: A part is too large, or the draft holds what JSON cannot carry.
    """

    def __init__(self, draft: CheckpointDraft, body: bytes, bulk: memoryview | None, *, level: int) -> None:
        self._draft = draft
        self._parts = [_Part("body", memoryview(body), level, MAX_BODY_BYTES)]
        if bulk is not None and bulk.nbytes:
            self._parts.append(_Part("bulk", bulk.cast("B"), level, MAX_BULK_BYTES))
        widest = [part.described(_WIDEST, "f" * 64) for part in self._parts]
        self._header_bytes = len(_header(draft, widest))
        if self._header_bytes > MAX_HEADER_BYTES:
            msg = "what is said about a checkpoint is too long"
            raise ValidationError(msg, field="about", limit=f"{MAX_HEADER_BYTES} bytes")
        self.head_bytes = _PREFIX.size + self._header_bytes

    def head(self) -> bytes:
        return _PREFIX.pack(_MAGIC, self._header_bytes) + self._header()

    def rest(self) -> Iterator[bytes | memoryview]:
        for part in self._parts:
            yield from part.pieces()

    def whole(self) -> bytes:
        """The file's bytes, for one that is small."""
        rest = bytearray()
        for piece in self.rest():
            rest += piece
        return self.head() + rest

    def ref(self) -> CheckpointRef:
        """The reference; known when `rest` was produced to its end."""
        draft = self._draft
        return CheckpointRef(
            job_id=draft.job_id,
            attempt=draft.attempt,
            sequence=draft.sequence,
            sha256=hashlib.sha256(self._header()).hexdigest(),
            size_bytes=self.head_bytes + sum(part.stored_bytes for part in self._parts),
            progress=draft.progress,
            at=draft.at,
            kind=draft.kind,
        )

    def _header(self) -> bytes:
        text = _header(self._draft, [part.described(part.stored_bytes, part.sha256) for part in self._parts])
        return text.ljust(self._header_bytes)


class _Part:
    """One of the parts. `stored_bytes` and `sha256` are known when `pieces` was gone through once."""

    def __init__(self, name: str, data: memoryview, level: int, limit_bytes: int) -> None:
        if data.nbytes > limit_bytes:
            msg = f"the {name} of a checkpoint is too large"
            raise ValidationError(msg, field=name, limit=f"{limit_bytes} bytes")
        self._name, self._data, self._level = name, data, level
        self._encoding = _ZSTD if _shrinks(data, level) else _RAW
        self.stored_bytes = 0
        self.sha256 = ""

    def described(self, stored_bytes: int, sha256: str) -> dict[str, Any]:
        return {
            "name": self._name,
            "encoding": self._encoding,
            "stored_bytes": stored_bytes,
            "raw_bytes": self._data.nbytes,
            "sha256": sha256,
        }

    def pieces(self) -> Iterator[bytes | memoryview]:
        """What is stored, piece by piece; each is good until the next is asked for."""
        if self.sha256:
            yield from self._stored()
            return
        digest, count = hashlib.sha256(), 0
        for piece in self._stored():
            digest.update(piece)
            count += len(piece)
            yield piece
        self.stored_bytes, self.sha256 = count, digest.hexdigest()

    def _stored(self) -> Iterator[bytes | memoryview]:
        if self._encoding == _RAW:
            yield from self._raw()
            return
        compressor = zstandard.ZstdCompressor(level=self._level).compressobj(size=self._data.nbytes)
        for piece in self._raw():
            if packed := compressor.compress(piece):
                yield packed
        yield compressor.flush()

    def _raw(self) -> Iterator[memoryview]:
        # Copied piece by piece: a bulk lies in memory that a child of ours shares, and a child may be a tenant's by now. What is
        # hashed or compressed must not change at the same time.
        own = memoryview(bytearray(min(_PIECE, self._data.nbytes)))
        for start in range(0, self._data.nbytes, _PIECE):
            piece = self._data[start : start + _PIECE]
            own[: piece.nbytes] = piece
            yield own[: piece.nbytes]


class BytesFile:
    """Bytes in memory, read as a file is (a `store.files.OpenFile`)."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._left = memoryview(data).cast("B")
        self.size_bytes = self._left.nbytes

    def read_into(self, target: memoryview) -> int:
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def read_header(file: OpenFile) -> tuple[dict[str, Any], str]:
    """The header of a checkpoint's file and its digest (hex), which is what a reference to it would carry.

    Raises:
        CheckpointDamaged: It is not a checkpoint, or its sizes contradict each other.
        CheckpointIncompatible: It was written for other versions than this one.
    """
    data = _header_bytes(file)
    return _parsed(data, file.size_bytes), hashlib.sha256(data).hexdigest()


def read_envelope(file: OpenFile, ref: CheckpointRef, into: Into | None) -> StoredCheckpoint:
    """Everything that `ref` refers to, each part compared with its digest.

    Args:
        file: At its beginning.
        into: Given the size of the bulk in bytes, memory for it of at least that size. Asked after header and body were
            found to be right, and only if there is a bulk. None: the bulk is compared and not kept.

    Raises:
        CheckpointDamaged: Truncated, changed, or another checkpoint.
        CheckpointIncompatible: It was written for other versions than this one.
    """
    if file.size_bytes != ref.size_bytes:
        msg = f"the checkpoint has {file.size_bytes} bytes instead of {ref.size_bytes}"
        raise CheckpointDamaged(msg)
    data = _header_bytes(file)
    if not hmac.compare_digest(hashlib.sha256(data).hexdigest(), ref.sha256.lower()):
        raise CheckpointDamaged("the checkpoint's header does not match its checksum")
    header = _parsed(data, file.size_bytes)
    if (header["job_id"], header["attempt"], header["sequence"]) != (ref.job_id, ref.attempt, ref.sequence):
        raise CheckpointDamaged("the checkpoint is another one")
    body_part, *bulk_parts = header["parts"]
    body = bytearray(body_part["raw_bytes"])
    _fill(file, body_part, memoryview(body))
    bulk_bytes = 0
    for part in bulk_parts:
        bulk_bytes = part["raw_bytes"]
        target = None if into is None else into(bulk_bytes).cast("B")[:bulk_bytes]
        if target is not None and target.nbytes < bulk_bytes:
            msg = f"{bulk_bytes} bytes of the checkpoint do not fit into {target.nbytes}"
            raise ValidationError(msg, field="into")
        _fill(file, part, target)
    return StoredCheckpoint(bytes(body), bulk_bytes, header)


def _header(draft: CheckpointDraft, parts: list[dict[str, Any]]) -> bytes:
    if not (math.isfinite(draft.at) and 0.0 <= draft.progress <= 1.0):
        raise ValidationError("a checkpoint's progress must be from 0 to 1, and its time finite", field="progress")
    header = {
        "schema": SCHEMA,
        "compatibility": {"schema": [OLDEST_READER, SCHEMA], "state_version": draft.about.get("state_version")},
        "job_id": draft.job_id,
        "attempt": draft.attempt,
        "sequence": draft.sequence,
        "progress": draft.progress,
        "kind": draft.kind,
        "created_at": draft.at,
        "expires_at": draft.expires_at,
        "parent": draft.parent_sha256,
        "restored_from": draft.restored_from,
        "about": dict(draft.about),
        "parts": parts,
    }
    try:
        return orjson.dumps(header)
    except TypeError as error:  # its text may quote the value
        raise ValidationError(
            "what is said about a checkpoint must be plain values (as in JSON)", field="about"
        ) from error


def _shrinks(data: memoryview, level: int) -> bool:
    """Whether a few pieces of it become clearly smaller."""
    if data.nbytes <= _SAMPLES * _SAMPLE_BYTES:
        sample = bytes(data)
    else:
        step = (data.nbytes - _SAMPLE_BYTES) // (_SAMPLES - 1)
        sample = b"".join(data[start * step : start * step + _SAMPLE_BYTES] for start in range(_SAMPLES))
    return len(zstandard.ZstdCompressor(level=level).compress(sample)) < _WORTH_IT * len(sample)


def _header_bytes(file: OpenFile) -> bytes:
    prefix = bytearray(_PREFIX.size)
    if file.read_into(memoryview(prefix)) < len(prefix):
        raise CheckpointDamaged("the checkpoint is truncated")
    magic, length = _PREFIX.unpack(prefix)
    if magic != _MAGIC:
        raise CheckpointDamaged("the file is not a checkpoint")
    if length > min(MAX_HEADER_BYTES, file.size_bytes - len(prefix)):
        raise CheckpointDamaged("the checkpoint's header is damaged")
    header = bytearray(length)
    if file.read_into(memoryview(header)) < length:
        raise CheckpointDamaged("the checkpoint is truncated")
    return bytes(header)


def _parsed(data: bytes, size_bytes: int) -> dict[str, Any]:
    try:
        header: dict[str, Any] = orjson.loads(data)
        oldest, newest = header["compatibility"]["schema"]
        if oldest > SCHEMA or header["schema"] < OLDEST_READER:
            msg = f"the checkpoint has schema {header['schema']} for readers {oldest} to {newest}; this version reads {SCHEMA}"
            raise CheckpointIncompatible(msg)
        if not all(isinstance(header[name], kinds) for name, kinds in _KINDS.items()):
            raise CheckpointDamaged("the checkpoint's header is damaged")
        parts = header["parts"]
        sound = [part["name"] for part in parts] in (["body"], ["body", "bulk"]) and all(map(_is_sound, parts))
        stored = _PREFIX.size + len(data) + sum(part["stored_bytes"] for part in parts)
        if not sound or stored != size_bytes:
            raise CheckpointDamaged("the checkpoint's sizes contradict each other")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointDamaged("the checkpoint's header is damaged") from error
    return header


def _is_sound(part: dict[str, Any]) -> bool:
    stored, raw = part["stored_bytes"], part["raw_bytes"]
    most = MAX_BODY_BYTES if part["name"] == "body" else MAX_BULK_BYTES
    if not (isinstance(stored, int) and isinstance(raw, int) and stored >= 0 and 0 <= raw <= most):
        return False
    return isinstance(part["sha256"], str) and (
        part["encoding"] == _ZSTD or (part["encoding"] == _RAW and stored == raw)
    )


class _Source:
    """The stored bytes of one part, hashed as they are read."""

    def __init__(self, file: OpenFile, part: Mapping[str, Any]) -> None:
        self._file, self._left, self._sha256 = file, part["stored_bytes"], part["sha256"]
        self._digest = hashlib.sha256()

    def read_into(self, target: memoryview) -> None:
        """Fill `target`."""
        if self._file.read_into(target) < len(target):
            raise CheckpointDamaged("the checkpoint is truncated")
        self._digest.update(target)
        self._left -= len(target)

    def read(self, size: int) -> bytes:
        """At most `size` bytes; empty at the end."""
        piece = bytearray(min(size, self._left))
        self.read_into(memoryview(piece))
        return bytes(piece)

    def finish(self) -> None:
        """Read what is left, and compare all of it with the digest."""
        while self._left:
            self.read(_PIECE)
        if not hmac.compare_digest(self._digest.hexdigest(), self._sha256):
            raise CheckpointDamaged("the checkpoint does not match its checksum")


def _fill(file: OpenFile, part: Mapping[str, Any], target: memoryview | None) -> None:
    """Read one part into `target`, or without one only compare it."""
    source = _Source(file, part)
    if part["encoding"] == _ZSTD and target is not None:
        _inflate(source, target)
    elif target is not None:
        for start in range(0, target.nbytes, _PIECE):
            source.read_into(target[start : start + _PIECE])
    source.finish()


def _inflate(source: _Source, target: memoryview) -> None:
    try:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
        with decompressor.stream_reader(cast("IO[bytes]", source), read_size=2**20, closefd=False) as reader:
            while target:
                count = reader.readinto(target[:_PIECE])
                if not count:
                    raise CheckpointDamaged("the checkpoint is truncated")
                target = target[count:]
            if reader.read(1):
                raise CheckpointDamaged("the checkpoint's sizes contradict each other")
    except (zstandard.ZstdError, MemoryError) as error:
        source.finish()  # most likely it was changed, and then that is what to say
        raise CheckpointDamaged("the checkpoint does not inflate") from error

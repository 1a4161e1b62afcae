"""Checkpoints of runs, as files in the folders of their jobs.

::

    <url>/circuit_fs/<job id>/checkpoint-<attempt>-<sequence>
    <url>/checkpoint_expiry/<seconds since the epoch>-<job id>-<attempt>-<sequence>     empty: when that one may go

A checkpoint is written once, whole or not at all, under a name that no other attempt uses; whether it is *valid* says the
job's record alone, which names it by a digest. So nobody has to be told that one was refused, taken back or superseded: a file
that is not named is only a leftover, to be removed sooner or later.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable
from typing import Any

from qrtx_ray.errors import CheckpointNotFound, NotFound, QrtxError, StoreFull
from qrtx_ray.model import CheckpointRef, JobId, is_job_id
from qrtx_ray.store.checkpoint_envelope import (
    BytesFile,
    CheckpointDraft,
    Envelope,
    Into,
    StoredCheckpoint,
    read_envelope,
    read_header,
)
from qrtx_ray.store.circuit_fs import INPUT, META
from qrtx_ray.store.files import open_files
from qrtx_ray.store.state_container import DEFAULT_LEVEL

__all__ = ["CheckpointDraft", "CheckpointStore", "StoredCheckpoint"]

_NAME = re.compile(r"checkpoint-([0-9]{1,18})-([0-9]{1,18})")
_MARK = re.compile(r"([0-9]{12,})-([0-9a-z]+)-([0-9]{1,18})-([0-9]{1,18})")

Number = tuple[int, int]
"""Attempt and sequence; grows with every checkpoint of a job."""


class CheckpointStore:
    """The checkpoints of all jobs below `url`. Synchronous; any thread.

    Args:
        url: As for `CircuitFS`.
        compression_level: Zstandard level of what is kept from now on, where it shrinks; anything kept is read.
        reserve_bytes: Free space that no checkpoint takes: without one a run loses time, without the journal all stands still.

    Raises:
        ValidationError: A URL of another kind.
        NotFound: (any method) no identifier of ours.
        StoreFull: (writing) no space.
        PersistError: (any method) the file system refused.
    """

    def __init__(self, url: str, *, compression_level: int = DEFAULT_LEVEL, reserve_bytes: int = 0) -> None:
        self.url = url
        self._reserve_bytes = reserve_bytes
        self._level = compression_level
        self._files = open_files(url, "circuit_fs")
        self._marks = open_files(url, "checkpoint_expiry")

    def write(self, draft: CheckpointDraft, body: bytes, bulk: memoryview | None = None) -> CheckpointRef:
        """Keep a checkpoint durably. `bulk` is streamed from where it lies and must not change meanwhile.

        Raises:
            ValidationError: A part is too large, or the draft is not plain.
            StoreConflict: The job's folder was removed meanwhile.
        """
        path = _path(draft.job_id, (draft.attempt, draft.sequence))
        envelope = Envelope(draft, body, bulk, level=self._level)
        self._check_space(len(body) + (0 if bulk is None else bulk.nbytes))
        self._files.stream(path, envelope)
        ref = envelope.ref()
        if draft.expires_at is not None:
            self._mark(ref, draft.expires_at)
        return ref

    def pack(self, draft: CheckpointDraft, body: bytes, bulk: memoryview | None = None) -> tuple[CheckpointRef, bytes]:
        """The reference and the bytes of the file that `write` would make of a small checkpoint; `write_packed` keeps them.

        Raises:
            ValidationError: As `write`.
        """
        envelope = Envelope(draft, body, bulk, level=self._level)
        whole = envelope.whole()
        return envelope.ref(), whole

    def write_packed(self, ref: CheckpointRef, data: bytes | memoryview) -> None:
        """Keep durably what `pack` made.

        Raises:
            CheckpointDamaged: `data` is not what `ref` refers to.
        """
        path = _path(ref.job_id, (ref.attempt, ref.sequence))
        self.read_packed(ref, data, None)
        self._check_space(ref.size_bytes)
        self._files.replace(path, bytes(data), durable=True)

    def read(self, ref: CheckpointRef, into: Into | None = None) -> StoredCheckpoint:
        """The checkpoint that `ref` refers to; see `read_envelope`.

        Raises:
            CheckpointNotFound: It is not there.
            CheckpointDamaged: It is not what was kept.
            CheckpointIncompatible: This version cannot read it.
        """
        with self._files.open(_path(ref.job_id, (ref.attempt, ref.sequence))) as file:
            if file is None:
                raise CheckpointNotFound("there is no such checkpoint any more", field="checkpoint")
            return read_envelope(file, ref, into)

    @staticmethod
    def read_packed(ref: CheckpointRef, data: bytes | memoryview, into: Into | None = None) -> StoredCheckpoint:
        """As `read`, from the bytes of the file."""
        return read_envelope(BytesFile(data), ref, into)

    def names(self, job_id: JobId) -> list[str]:
        """Names of the job's files that are checkpoints, the newest first."""
        return [_file_name(number) for number in self._numbers(job_id)]

    def found(self, job_id: JobId) -> list[tuple[CheckpointRef, dict[str, Any]]]:
        """References and headers of the checkpoints that are there and whose header can be read, the newest first.

        Only sizes are compared; whether the contents are right is seen when one is read.
        """
        out = []
        for number in self._numbers(job_id):
            with self._files.open(_path(job_id, number)) as file:
                try:
                    header, sha256 = read_header(file) if file is not None else (None, "")
                except QrtxError:
                    continue
                if header is not None and file is not None:
                    moment, progress, kind = header["created_at"], header["progress"], header["kind"]
                    out.append(
                        (CheckpointRef(job_id, *number, sha256, file.size_bytes, progress, moment, kind), header)
                    )
        return out

    def keep_only(self, job_id: JobId, refs: Iterable[CheckpointRef]) -> None:
        """Remove the job's checkpoints that are older than the newest of `refs` and not among them.

        Newer ones stay: they may be durable and not yet in the record.
        """
        _check_id(job_id)
        kept = {(ref.attempt, ref.sequence) for ref in refs if ref.job_id == job_id}
        newest = max(kept, default=(0, 0))

        def is_older(name: str) -> bool:
            return (_number(name) or newest) < newest

        self._files.sweep(job_id, lambda name: is_older(name) and _number(name) not in kept, is_older)

    def remove(self, ref: CheckpointRef) -> None:
        """Remove one; idempotent."""
        self._files.remove(_path(ref.job_id, (ref.attempt, ref.sequence)))

    def retain(self, job_id: JobId, refs: Iterable[CheckpointRef], expires_at: float) -> None:
        """The job has ended: keep `refs` until `expires_at` and remove every other checkpoint of it. Repeatable."""
        _check_id(job_id)
        kept = {_file_name((ref.attempt, ref.sequence)): ref for ref in refs if ref.job_id == job_id}
        for name, ref in kept.items():
            if self._files.exists(f"{job_id}/{name}"):
                self._mark(ref, expires_at)
        self._remove_but(job_id, kept)

    def drop(self, job_id: JobId) -> None:
        """Remove all checkpoints of the job, unfinished ones included; idempotent."""
        _check_id(job_id)
        self._remove_but(job_id, ())

    def expire(self, now: float) -> int:
        """Remove the checkpoints whose time is over; how many were still there."""
        removed = 0
        for mark in sorted(self._marks.names("")):
            parts = _MARK.fullmatch(mark)
            if parts is None or int(parts[1]) > now:
                continue
            if is_job_id(parts[2]):
                path = _path(parts[2], (int(parts[3]), int(parts[4])))
                removed += self._files.exists(path)
                self._files.remove(path)
            self._marks.remove(mark)
        return removed

    def remove_leftovers(self, now: float, age_s: float) -> int:
        """Remove what no run will ask for: checkpoints of ended jobs that were not retained (an attempt believed lost wrote
        them late), and of jobs that were deleted. Looks into every job's folder. How many were removed.

        Args:
            age_s: Where nothing of the job but checkpoints is left, they go when they are older than that.
        """
        removed, marks = 0, self._marked()
        for job_id, present in self._files.folders():
            if not is_job_id(job_id) or not any("checkpoint-" in name for name in present):
                continue
            if META in present:
                there = {f"{job_id}/{name}" for name in present if _is_checkpoint(name)}
                if not there <= marks:
                    marks = self._marked()  # it may have ended since: its marks are older than its metadata
                kept = {path.partition("/")[2] for path in there & marks}
            elif INPUT not in present and all(header["created_at"] < now - age_s for _, header in self.found(job_id)):
                kept = set[str]()
            else:
                continue
            removed += self._remove_but(job_id, kept)
        return removed

    def expiries(self, job_id: JobId) -> dict[Number, float]:
        """When the retained checkpoints of an ended job go, by attempt and sequence."""
        marks = (_MARK.fullmatch(name) for name in self._marks.names("") if f"-{job_id}-" in name)
        return {(int(mark[3]), int(mark[4])): float(mark[1]) for mark in marks if mark}

    def _marked(self) -> set[str]:
        """The files that are kept for a time."""
        marks = (_MARK.fullmatch(name) for name in self._marks.names(""))
        return {f"{mark[2]}/{_file_name((int(mark[3]), int(mark[4])))}" for mark in marks if mark}

    def _numbers(self, job_id: JobId) -> list[Number]:
        _check_id(job_id)
        numbers = (_number(name) for name in self._files.names(job_id))
        return sorted((number for number in numbers if number is not None), reverse=True)

    def _remove_but(self, job_id: JobId, kept: Container[str]) -> int:
        return self._files.sweep(job_id, lambda name: _is_checkpoint(name) and name not in kept, _is_checkpoint)

    def _check_space(self, size_bytes: int) -> None:
        free = self._files.free_bytes() if self._reserve_bytes else None
        if free is not None and free - size_bytes < self._reserve_bytes:
            msg = f"a checkpoint of {size_bytes} bytes would leave too little of {free} bytes of free space"
            raise StoreFull(msg, limit=f"{self._reserve_bytes} bytes")

    def _mark(self, ref: CheckpointRef, expires_at: float) -> None:
        mark = f"{math.ceil(expires_at):012d}-{ref.job_id}-{ref.attempt}-{ref.sequence}"
        self._marks.replace(mark, b"", durable=True)


def _check_id(job_id: JobId) -> None:
    if not is_job_id(job_id):
        raise NotFound("no such job", field="job_id")


def _file_name(number: Number) -> str:
    return f"checkpoint-{number[0]}-{number[1]}"


def _path(job_id: JobId, number: Number) -> str:
    _check_id(job_id)
    return f"{job_id}/{_file_name(number)}"


def _is_checkpoint(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _number(name: str) -> Number | None:
    found = _NAME.fullmatch(name)
    return None if found is None else (int(found[1]), int(found[2]))

"""Job records as JSON text and back: the one form in which every durable store keeps them.

A key that this version does not know is refused, not ignored: a record is rewritten whole with every change, so an
ignored key would be lost for good by the first write after a rollback. A key that is missing takes the field's
default: it was written by an older version, or it is one that few jobs use (`_RARE`) and was left out, so that the rows of
all other jobs do not grow. Numbers that JSON has no word for (NaN, infinity) are
refused on writing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any

import orjson

from qrtx_ray.errors import ErrorInfo, PersistError, StoreConflict
from qrtx_ray.model import Candidate, CheckpointRef, CircuitProfile, JobRecord, PayloadFormat, Program, TaskState
from qrtx_ray.store.record_reading import quick_reader

__all__ = ["record_from_json", "record_to_json"]

_FLOATS = (
    "created_at",
    "queue_timeout_s",
    "execution_timeout_s",
    "max_qpu_s",
    "queued_at",
    "started_at",
    "finished_at",
    "not_before",
    "progress",
    "qpu_s",
    "deadline_at",
    "fidelity_floor",
    "promoted_at",
    "checkpoint_interval_s",
    "paused_at",
)
_PROFILE_FLOATS = ("estimated_s", "qpu_s", "fidelity", "sensitivity")
_CANDIDATE_FLOATS = ("fidelity", "qpu_s", "estimated_s")
_CHECKPOINT_FLOATS = ("progress", "at")
# Kept by earlier versions: the digest of a checkpoint that this version cannot read, so nothing is lost with it.
_DROPPED = "checkpoint_sha256"

_FIELDS = {field.name: field.default for field in fields(JobRecord)}
_RARE = dict(list(_FIELDS.items())[list(_FIELDS).index("choices") :])
_values = attrgetter(*_FIELDS)
# How a text ends in which all of them are left out. Quotation marks inside a text are escaped: no text looks like this.
_RARE_END = orjson.dumps(_RARE).replace(b"{", b",", 1)
# The same for the last fields of a profile.
_NOTHING, _NO_BULK = b"}", b',"bulk_bytes":0}'
_NEITHER = b',"noise_id":"","bulk_bytes":0}'


def _profile(data: dict[str, Any] | None) -> CircuitProfile | None:
    return None if data is None else _quick_profile(data) or CircuitProfile(**data)


_quick_profile = quick_reader(CircuitProfile, {"noise_id": "", "bulk_bytes": 0}, {})
_MADE: dict[str, Callable[[Any], Any]] = {
    "program": {word.value: word for word in Program}.__getitem__,
    "payload_format": {word.value: word for word in PayloadFormat}.__getitem__,
    "state": {word.value: word for word in TaskState}.__getitem__,
    "tags": tuple,
    "choices": tuple,
    "candidates": lambda items: tuple(Candidate(**item) for item in items),
    "checkpoints": lambda items: tuple(CheckpointRef(**item) for item in items),
    "profile": _profile,
    "error": lambda item: None if item is None else ErrorInfo(**item),
}
_quick = quick_reader(JobRecord, _RARE, _MADE)


def record_to_json(record: JobRecord) -> str:
    """The record as JSON text, one object with the names of the fields.

    Raises:
        StoreConflict: A field holds what JSON cannot carry (a number that is not finite, an integer beyond 64 bits,
            text that is not Unicode); the message names the field where it is known.
    """
    _check_finite(record, _FLOATS, "")
    if record.profile is not None:
        _check_finite(record.profile, _PROFILE_FLOATS, "profile.")
    for index, candidate in enumerate(record.candidates):
        _check_finite(candidate, _CANDIDATE_FLOATS, f"candidates[{index}].")
    for index, checkpoint in enumerate(record.checkpoints):
        _check_finite(checkpoint, _CHECKPOINT_FLOATS, f"checkpoints[{index}].")
    try:
        text = orjson.dumps(record)
        if text.endswith(_RARE_END):
            text = text.removesuffix(_RARE_END) + _NOTHING
        else:
            said = zip(_FIELDS, _values(record), strict=True)
            text = orjson.dumps({name: value for name, value in said if name not in _RARE or value != _RARE[name]})
    except TypeError as error:  # orjson.JSONEncodeError is a TypeError; its text may quote the value
        msg = f"the record of job {record.id!r:.40} holds a value that JSON cannot carry"
        raise StoreConflict(msg) from error
    if record.profile is not None and not record.profile.bulk_bytes:
        text = text.replace(_NO_BULK if record.profile.noise_id else _NEITHER, _NOTHING)
    return text.decode()


def record_from_json(text: str | bytes) -> JobRecord:
    """The record that `text` describes.

    Raises:
        PersistError: Not JSON, an unknown or missing key, or an unknown word for state, program or format.
    """
    try:
        data: dict[str, Any] = orjson.loads(text)
        quick = _quick(data)
        if quick is not None:
            return quick
        data.pop(_DROPPED, None)
        return JobRecord(**data | {name: make(data[name]) for name, make in _MADE.items() if name in data})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PersistError("a stored job record cannot be read: damaged, or written by a newer version") from error


def _check_finite(
    value: JobRecord | CircuitProfile | Candidate | CheckpointRef, names: tuple[str, ...], prefix: str
) -> None:
    for name in names:
        number = getattr(value, name)
        if number is not None and not math.isfinite(number):
            msg = f"the job record's {prefix}{name} is not a finite number"
            raise StoreConflict(msg, field=f"{prefix}{name}")

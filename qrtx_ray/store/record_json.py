"""Job records as JSON text and back: the one form in which every durable store keeps them.

A key that this version does not know is refused, not ignored: a record is rewritten whole with every change, so an
ignored key would be lost for good by the first write after a rollback. A key that is missing takes the field's
default: it was written by an older version. Numbers that JSON has no word for (NaN, infinity) are refused on writing.
"""

from __future__ import annotations

import math
from typing import Any

import orjson

from qrtx_ray.errors import ErrorInfo, PersistError, StoreConflict
from qrtx_ray.model import CircuitProfile, JobRecord, PayloadFormat, Program, TaskState

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
)
_PROFILE_FLOATS = ("estimated_s", "qpu_s")


def record_to_json(record: JobRecord) -> str:
    """The record as JSON text, one object with the names of the fields.

    Raises:
        StoreConflict: A field holds what JSON cannot carry (a number that is not finite, an integer beyond 64 bits,
            text that is not Unicode); the message names the field where it is known.
    """
    _check_finite(record, _FLOATS, "")
    if record.profile is not None:
        _check_finite(record.profile, _PROFILE_FLOATS, "profile.")
    try:
        return orjson.dumps(record).decode()
    except TypeError as error:  # orjson.JSONEncodeError is a TypeError; its text may quote the value
        msg = f"the record of job {record.id!r:.40} holds a value that JSON cannot carry"
        raise StoreConflict(msg) from error


def record_from_json(text: str | bytes) -> JobRecord:
    """The record that `text` describes.

    Raises:
        PersistError: Not JSON, an unknown or missing key, or an unknown word for state, program or format.
    """
    try:
        data: dict[str, Any] = orjson.loads(text)
        data["program"] = Program(data["program"])
        data["payload_format"] = PayloadFormat(data["payload_format"])
        data["state"] = TaskState(data["state"])
        data["tags"] = tuple(data.get("tags", ()))
        if data.get("profile") is not None:
            data["profile"] = CircuitProfile(**data["profile"])
        if data.get("error") is not None:
            data["error"] = ErrorInfo(**data["error"])
        return JobRecord(**data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PersistError("a stored job record cannot be read: damaged, or written by a newer version") from error


def _check_finite(value: JobRecord | CircuitProfile, names: tuple[str, ...], prefix: str) -> None:
    for name in names:
        number = getattr(value, name)
        if number is not None and not math.isfinite(number):
            msg = f"the job record's {prefix}{name} is not a finite number"
            raise StoreConflict(msg, field=f"{prefix}{name}")

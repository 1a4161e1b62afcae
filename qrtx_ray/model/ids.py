"""Identifiers the server makes. Nothing a client sends ever becomes part of a path or a key without passing here."""

from __future__ import annotations

import re

__all__ = ["GroupId", "JobId", "is_job_id", "new_id"]

JobId = str
GroupId = str

_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_JOB_ID = re.compile(r"[0-9a-v]{20}\Z")


def new_id(wall_s: float, entropy: bytes) -> str:
    """A 20-character identifier that sorts by time: 48 bits of milliseconds, then 52 bits of `entropy`.

    Args:
        wall_s: Seconds since the Unix epoch.
        entropy: At least 7 random bytes.

    Raises:
        ValueError: Fewer than 7 bytes of entropy.
    """
    if len(entropy) < 7:
        msg = "an identifier needs at least 7 bytes of entropy"
        raise ValueError(msg)
    number = (int(wall_s * 1000) & (2**48 - 1)) << 52 | int.from_bytes(entropy[:7]) >> 4
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(95, -1, -5))


def is_job_id(text: str) -> bool:
    """Whether `text` has the form of an identifier made here (and so is safe as a path component)."""
    return _JOB_ID.match(text) is not None

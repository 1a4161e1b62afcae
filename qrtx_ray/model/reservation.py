"""A device held for somebody for a while."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Reservation"]


@dataclass(frozen=True, slots=True)
class Reservation:
    """From `begins_at` to `ends_at` (seconds since the epoch) only jobs of `tenant` that name the reservation, or belong to
    `session_id`, are given to `device`.
    """

    name: str
    device: str
    tenant: str
    begins_at: float
    ends_at: float
    session_id: str | None = None

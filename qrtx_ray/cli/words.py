"""How times and priorities are written on the command line."""

from __future__ import annotations

__all__ = ["MOMENTS", "priority_of"]

#: How a time may be written; local unless a zone is.
MOMENTS = [
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M%z",
    "%Y-%m-%dT%H:%M:%S%z",
]


def priority_of(text: str | None) -> int | str | None:
    """A priority as the API takes it: a number if it is one, else the name of a level (which the server checks)."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return text

"""Times on the command line: local unless a zone is written."""

from __future__ import annotations

__all__ = ["MOMENTS"]

#: How a time may be written.
MOMENTS = [
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M%z",
    "%Y-%m-%dT%H:%M:%S%z",
]

"""Bytes on their way between two leases, kept in memory so that the store need not be read back."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["PayloadCache"]


class PayloadCache:
    """A mapping ``(job id, kind) → bytes`` bounded by its total size; the oldest entries go first.

    It only saves reads: whatever is missing here is in the store.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._entries: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def put(self, job_id: str, kind: str, data: bytes) -> None:
        self.discard(job_id, kind)
        if len(data) > self._max_bytes:
            return
        self._entries[job_id, kind] = data
        self._size += len(data)
        while self._size > self._max_bytes:
            _, dropped = self._entries.popitem(last=False)
            self._size -= len(dropped)

    def get(self, job_id: str, kind: str) -> bytes | None:
        return self._entries.get((job_id, kind))

    def discard(self, job_id: str, kind: str) -> None:
        data = self._entries.pop((job_id, kind), None)
        if data is not None:
            self._size -= len(data)

"""Reads a stream of server-sent events line by line (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

__all__ = ["EventReader"]

_DEFAULT = "message"


class EventReader:
    """Collects lines into events and remembers the last id, from which a broken stream is taken up again."""

    def __init__(self) -> None:
        self.last_id = 0
        self._data: list[str] = []
        self._name = _DEFAULT
        self._id: int | None = None

    def restart(self) -> None:
        """Forget the part of an event that a broken stream left."""
        self._data, self._name, self._id = [], _DEFAULT, None

    def feed(self, line: str) -> Iterator[tuple[str, Any]]:
        """Name and JSON data of the event that `line` completes, if it completes one."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name == "event":
                self._name = value
            elif name == "id" and value.isdigit():
                self._id = int(value)
            return
        data, self._data = self._data, []
        event, self._name = self._name, _DEFAULT
        if self._id is not None:
            self.last_id, self._id = self._id, None
        if data:
            yield event, json.loads("\n".join(data))

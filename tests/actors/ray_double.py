"""Actors without Ray: plain objects whose methods are called as `handle.method.remote(...)`."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.exceptions import ActorUnavailableError


class Handle:
    """A handle of `target`. While `away`, or when it is gone, a call raises what Ray raises.

    Attributes:
        calls: Names of the methods called.
    """

    def __init__(self, target: Any) -> None:
        self.target = target
        self.away = False
        self.calls: list[str] = []
        self._under_way: set[asyncio.Task[Any]] = set()

    def __getattr__(self, name: str) -> Any:
        return _Method(self, name)

    def crash(self) -> None:
        """Cut every call under way, as the death of the process does."""
        self.away = True
        for task in list(self._under_way):
            task.cancel()

    async def _call(self, name: str, arguments: tuple[Any, ...]) -> Any:
        self.calls.append(name)
        if self.away:
            raise ActorUnavailableError("away", None)
        task = asyncio.ensure_future(getattr(self.target, name)(*arguments))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            return await task
        except asyncio.CancelledError:
            if self.away:
                raise ActorUnavailableError("away", None) from None
            raise


class _Method:
    def __init__(self, handle: Handle, name: str) -> None:
        self._handle = handle
        self._name = name

    def remote(self, *arguments: Any) -> Any:
        return self._handle._call(self._name, arguments)


class Cluster:
    """Named actors; `find` stands in for `find_actor`."""

    def __init__(self) -> None:
        self.handles: dict[str, Handle] = {}

    def add(self, name: str, target: Any) -> Handle:
        self.handles[name] = handle = Handle(target)
        return handle

    def find(self, name: str) -> Handle | None:
        return self.handles.get(name)

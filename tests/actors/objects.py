"""An object store of plain objects in the place of Ray's."""

from __future__ import annotations

from typing import Any

import pytest
import ray
from ray.exceptions import ObjectStoreFullError, OwnerDiedError


class Objects:
    """Counts what is put into it; an object can be lost, and the store be full."""

    def __init__(self) -> None:
        self.put_in: list[Any] = []
        self.full = False

    def put(self, value: Any) -> _Object:
        if self.full:
            raise ObjectStoreFullError
        self.put_in.append(value.copy())
        self.put_in[-1].flags.writeable = False
        return _Object(self, len(self.put_in) - 1)

    def lose(self, index: int) -> None:
        self.put_in[index] = None


class _Object:
    def __init__(self, store: Objects, index: int) -> None:
        self._store, self._index = store, index

    def __await__(self):
        if self._store.put_in[self._index] is None:
            raise OwnerDiedError("object", b"", "")
        return self._value().__await__()

    async def _value(self) -> Any:
        return self._store.put_in[self._index]


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Objects:
    store = Objects()
    monkeypatch.setattr(ray, "put", store.put)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    return store

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qrtx_ray.store.memory import MemoryData, MemoryStore
from qrtx_ray.store.protocol import Store
from qrtx_ray.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
def another(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens one more handle on the same stored data."""
    data = MemoryData()
    opened: list[Store] = []

    def open_one() -> Store:
        store: Store = MemoryStore(data) if request.param == "memory" else SqliteStore(tmp_path / "store" / "jobs.db")
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(another: Callable[[], Store]) -> Store:
    """An empty store that its owner has taken over."""
    opened = another()
    opened.open_epoch()
    return opened

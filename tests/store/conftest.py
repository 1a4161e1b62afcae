from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from qrtx_ray.store.memory import MemoryData, MemoryStore
from qrtx_ray.store.open import open_store
from qrtx_ray.store.protocol import Store
from qrtx_ray.store.sqlite import SqliteStore
from tests.store.postgres import URL, own_schema

# One test of the conformance suite says that these are left out, and why.
collect_ignore = [] if URL else ["test_postgres.py", "test_postgres_faults.py"]


@pytest.fixture(params=["memory", "sqlite", *(["postgresql"] if URL else [])])
def another(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens one more handle on the same stored data."""
    data = MemoryData()
    opened: list[Store] = []
    with ExitStack() as stack:
        schema = stack.enter_context(own_schema()) if request.param == "postgresql" else ""

        def open_one() -> Store:
            if schema:
                store = open_store(schema)
            else:
                memory = request.param == "memory"
                store = MemoryStore(data) if memory else SqliteStore(tmp_path / "store" / "jobs.db")
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

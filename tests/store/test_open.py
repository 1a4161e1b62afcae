from __future__ import annotations

import pytest

from qrtx_ray.errors import ValidationError
from qrtx_ray.store.memory import MemoryStore
from qrtx_ray.store.open import open_store
from qrtx_ray.store.sqlite import SqliteStore
from tests.store.building import inserting


def test_memory_is_new_each_time():
    first = open_store("memory:")
    first.open_epoch()
    first.commit([inserting(1)])
    assert isinstance(first, MemoryStore)
    assert open_store("memory:").last_number() == 0


def test_sqlite_paths_are_relative_or_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url, file in (("sqlite:///one.db", "one.db"), (f"sqlite:///{tmp_path}/two.db", "two.db")):
        store = open_store(url)
        assert isinstance(store, SqliteStore)
        store.close()
        assert (tmp_path / file).exists()


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///", "postgresql://h/d", "jobs.db", "sqlite:///a?mode=ro"])
def test_anything_else_is_refused_by_naming_what_is_supported(url):
    with pytest.raises(ValidationError, match=r"sqlite:///<file>.*memory:") as caught:
        open_store(url)
    assert caught.value.field == "store"

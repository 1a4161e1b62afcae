from __future__ import annotations

import subprocess
import sys

import pytest

from qrtx_ray.errors import PersistError, ValidationError
from qrtx_ray.store.memory import MemoryStore
from qrtx_ray.store.open import check_store, open_store
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


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", r"sqlite:///<absolute path>.*postgresql://.*memory:"),
        ("jobs.db", "not a store"),
        ("mysql://alice:secret@h/d", "not a store"),
        ("sqlite://", "not a store"),
        ("sqlite:///", "names no file"),
        ("sqlite:///a?mode=ro", "names no file"),
        ("memory:secret", "behind it"),
        ("postgresql://alice:secret@h@i/d", "percent-encoded"),
        ("postgresql://h/d?password=secret", "unknown parameter"),
    ],
)
def test_anything_else_is_refused_by_naming_what_is_supported_and_quoting_nothing(url, said):
    for function in (check_store, open_store):
        with pytest.raises(ValidationError, match=said) as caught:
            function(url)
        assert caught.value.field == "store"
        assert "secret" not in str(caught.value)


def test_a_missing_driver_is_named_by_what_to_install(monkeypatch):
    monkeypatch.setattr("qrtx_ray.store.open.find_spec", lambda name: None)
    with pytest.raises(ValidationError, match=r"pip install 'qrtx-ray\[postgres\]'"):
        open_store("postgresql://h/d")
    check_store("memory:")


def test_a_server_that_is_not_there_is_a_failure_that_may_pass():
    check_store("postgresql://alice:secret@127.0.0.1:1/d")
    with pytest.raises(PersistError, match="cannot be used") as caught:
        open_store("postgresql://alice:secret@127.0.0.1:1/d")
    assert caught.value.retryable
    assert "secret" not in str(caught.value)


def test_the_driver_is_loaded_only_for_a_journal_that_needs_it():
    code = "import sys; from qrtx_ray.store.open import check_store, open_store; open_store('memory:'); print('psycopg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]

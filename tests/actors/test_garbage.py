"""The collector is held off while a journal is loaded, and only then."""

from __future__ import annotations

import gc

import pytest

from qrtx_ray.actors.garbage import collecting_nothing


@pytest.fixture(autouse=True)
def _thawed():
    yield
    gc.unfreeze()


def test_what_is_made_meanwhile_is_never_looked_through():
    with collecting_nothing():
        assert not gc.isenabled()
        made = [[] for _ in range(1000)]
        before = gc.get_freeze_count()
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)


def test_an_error_leaves_the_collector_at_work():
    with pytest.raises(ValueError, match="x"), collecting_nothing():
        raise ValueError("x")
    assert gc.isenabled()

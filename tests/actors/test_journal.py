"""How the scheduler comes by its store."""

from __future__ import annotations

import pytest

from qrtx_ray.actors import journal
from qrtx_ray.actors.journal import Journal
from qrtx_ray.errors import PersistError, ValidationError
from qrtx_ray.store.memory import MemoryStore


class Reluctant(MemoryStore):
    """Refuses to be taken over as often as told."""

    refusals = 2

    def open_epoch(self):
        if Reluctant.refusals:
            Reluctant.refusals -= 1
            raise PersistError("not yet")
        return super().open_epoch()


@pytest.fixture
def opened(monkeypatch):
    stores = []

    def open_store(url):
        stores.append(Reluctant())
        return stores[-1]

    monkeypatch.setattr(journal, "open_store", open_store)
    monkeypatch.setattr(journal, "RETRY_S", 0.0)
    return stores


async def test_a_store_that_refuses_is_tried_until_it_does_not_and_what_was_opened_is_closed(opened):
    taken = await Journal.open("memory:")
    assert taken.store is opened[2]
    assert taken.epoch == 1
    assert [store._closed for store in opened] == [True, True, False]
    taken.close()
    assert opened[2]._closed


async def test_a_url_that_names_no_store_is_an_error_at_once():
    with pytest.raises(ValidationError, match="not a store"):
        await Journal.open("nothing")

"""How the scheduler comes by its store."""

from __future__ import annotations

import pytest

from qrtx_ray.actors import journal
from qrtx_ray.actors.journal import Journal
from qrtx_ray.errors import PersistError, StoreFull, ValidationError
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

    def open_store(url, *, read_only=False):
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


class Tight(MemoryStore):
    """Has room for the next epoch and for nothing else, until somebody makes some."""

    room = False

    def commit(self, transactions):
        if not Tight.room:
            raise StoreFull("no space")
        super().commit(transactions)


@pytest.fixture
def tight(monkeypatch):
    monkeypatch.setattr(Tight, "room", False)
    monkeypatch.setattr(journal, "open_store", lambda url, **_: Tight())
    monkeypatch.setattr(journal, "RETRY_S", 0.0)


def make_room():
    made, Tight.room = not Tight.room, True
    return made


async def test_a_store_with_room_for_the_takeover_only_is_not_taken_over(tight):
    told = []

    async def refused(error):
        told.append(error)
        if len(told) == 3:
            Tight.room = True

    taken = await Journal.open("memory:", refused=refused)
    assert [type(error) for error in told] == [StoreFull] * 3
    assert taken.store.facts() == {}, "what was tried is taken back"
    taken.close()


async def test_room_is_made_before_anybody_is_told(tight):
    async def refused(error):
        raise AssertionError(error)

    taken = await Journal.open("memory:", make_room=make_room, refused=refused)
    taken.close()


async def test_a_journal_can_be_looked_into_without_being_taken_over(tmp_path):
    url = f"sqlite:///{tmp_path}/journal.db"
    owner = await Journal.open(url)
    view = await Journal.look_into(url)
    assert (owner.epoch, view.epoch) == (1, 0)
    assert await view.read(view.store.last_number) == 0
    view.close()
    owner.close()

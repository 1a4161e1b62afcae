"""The way from a replica to the state manager for named states, through its restarts."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from ray.exceptions import RayTaskError

from qrtx_ray.api import named_states
from qrtx_ray.api.gateway import NamedState
from qrtx_ray.api.named_states import NamedStates
from qrtx_ray.errors import InternalError, NotFound, PersistError, StateChanged
from tests.actors.building import until
from tests.actors.ray_double import Cluster


class Manager:
    """Keeps documents; `errors` are raised first."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}
        self.errors: list[Exception] = []

    def _trouble(self) -> None:
        if self.errors:
            raise RayTaskError("f", "", self.errors.pop(0)).as_instanceof_cause()

    async def put_named_state(self, tenant, name, document, expected):
        self._trouble()
        self.kept[tenant, name] = document
        return hashlib.sha256(document).hexdigest()

    async def get_named_state(self, tenant, name):
        self._trouble()
        return self.kept[tenant, name], "etag"

    async def delete_named_state(self, tenant, name, expected):
        self._trouble()
        if self.kept.pop((tenant, name), None) is None:
            raise RayTaskError("f", "", NotFound("there is no such state")).as_instanceof_cause()

    async def named_states(self, tenant):
        return [{"name": name, "etag": "e", "size_bytes": 2, "at": 1.0} for _, name in self.kept]


@pytest.fixture
def bench(monkeypatch):
    cluster = Cluster()
    monkeypatch.setattr(named_states, "find_actor", cluster.find)
    monkeypatch.setattr(named_states, "RETRY_PAUSE_S", 0.001)
    manager = Manager()
    handle = cluster.add("qrtx-state-manager", manager)
    return manager, handle


async def test_states_are_put_read_listed_and_deleted(bench):
    states = NamedStates()
    assert await states.put("al", "s", b"{}", None) == hashlib.sha256(b"{}").hexdigest()
    assert await states.get("al", "s") == (b"{}", "etag")
    assert await states.list("al") == [NamedState("s", "e", 2, 1.0)]
    await states.delete("al", "s", None)
    with pytest.raises(NotFound):
        await states.delete("al", "s", None)


async def test_a_manager_that_is_away_is_waited_for_and_what_a_repeated_call_deletes_may_be_gone(bench):
    manager, handle = bench
    states = NamedStates()
    await states.put("al", "s", b"{}", None)
    handle.away = True
    deleting = asyncio.create_task(states.delete("al", "s", None))
    await until(lambda: handle.calls.count("delete_named_state") > 1)
    manager.kept.clear()  # the call that was cut short had been carried out
    handle.away = False
    await deleting


async def test_a_manager_away_too_long_is_an_error_worth_a_retry(bench, monkeypatch):
    monkeypatch.setattr(named_states, "PATIENCE_S", 0.02)
    bench[1].away = True
    with pytest.raises(PersistError) as caught:
        await NamedStates().get("al", "s")
    assert caught.value.retryable


async def test_refusals_are_themselves_and_bugs_say_nothing_of_the_inside(bench):
    manager, _ = bench
    manager.errors = [StateChanged("another is there"), ZeroDivisionError("secret")]
    with pytest.raises(StateChanged):
        await NamedStates().put("al", "s", b"{}", "x")
    with pytest.raises(InternalError) as caught:
        await NamedStates().get("al", "s")
    assert "secret" not in caught.value.message

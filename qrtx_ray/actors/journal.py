"""The store as the scheduler uses it: opened once, written in order on one thread, read on others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import ParamSpec, Self, TypeVar

from qrtx_ray.actors.faults import reached
from qrtx_ray.actors.wire import OWN_KEY
from qrtx_ray.errors import PersistError
from qrtx_ray.model import JobRecord, JobRequest
from qrtx_ray.scheduler.commands import Persist
from qrtx_ray.store.group_commit import GroupCommitter
from qrtx_ray.store.open import open_store
from qrtx_ray.store.protocol import Store, Transaction

__all__ = ["Journal", "Payloads"]

log = logging.getLogger("qrtx.scheduler")

RETRY_S = 0.5
P = ParamSpec("P")
T = TypeVar("T")
Payloads = Sequence[tuple[str, str, bytes]]


class Journal:
    """A store under the epoch of this process; an older process can write no more.

    Attributes:
        store: For its reading methods, by way of `read`.
        epoch: Grows with every process that takes the store over.
    """

    def __init__(self, store: Store, epoch: int) -> None:
        self.store = store
        self.epoch = epoch
        self._committer = GroupCommitter(store)

    @classmethod
    async def open(cls, url: str) -> Self:
        """Take the store at `url` over; waits for as long as the file system or the server refuses.

        Raises:
            ValidationError: `url` names no store, or one whose driver is not installed.
        """
        while True:
            try:
                return cls(*await asyncio.to_thread(_taken_over, url))
            except PersistError as error:
                log.error("the journal cannot be opened yet: %s", error.message)  # noqa: TRY400 - expected, retried
                await asyncio.sleep(RETRY_S)

    def commit(self, persist: Persist, payloads: Payloads = ()) -> Future[None]:
        """Write what one event changed, with `payloads` beside the rows; done when it is durable."""
        reached("scheduler.before_commit")
        return self._committer.submit(
            Transaction(
                persist.records,
                persist.changes,
                tuple(payloads),
                persist.drop_payloads,
                persist.deletions,
                persist.facts,
            )
        )

    async def read(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The answer of a reading method of `store`."""
        return await asyncio.wrap_future(self._committer.read(method, *args, **kwargs))

    async def earlier(self, requests: Sequence[JobRequest], *, again: bool) -> dict[tuple[str, str], JobRecord]:
        """Jobs submitted before under the keys of `requests`, by tenant and key; see `SchedulerActor.submit`."""
        found: dict[tuple[str, str], JobRecord] = {}
        for request in requests:
            key = request.idempotency_key
            if key and (again or not key.startswith(OWN_KEY)):
                record = await self.read(self.store.find_idempotent, request.tenant, key)
                if record is not None:
                    found[request.tenant, key] = record
        return found

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        self._committer.close()
        self.store.close()


def _taken_over(url: str) -> tuple[Store, int]:
    store = open_store(url)
    try:
        return store, store.open_epoch()
    except BaseException:
        store.close()  # tried again with another one: a server's connections must not pile up
        raise

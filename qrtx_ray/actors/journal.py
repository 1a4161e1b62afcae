"""The store as the scheduler uses it: opened once, written in order on one thread, read on others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import ParamSpec, Self, TypeVar

from qrtx_ray.actors.faults import reached
from qrtx_ray.actors.wire import OWN_KEY
from qrtx_ray.errors import PersistError, StoreFull
from qrtx_ray.model import JobRecord, JobRequest
from qrtx_ray.scheduler.commands import Persist
from qrtx_ray.store.group_commit import GroupCommitter
from qrtx_ray.store.open import open_store
from qrtx_ray.store.protocol import Store, Transaction

__all__ = ["Journal", "Payloads"]

log = logging.getLogger("qrtx.scheduler")

RETRY_S = 0.5
RETRY_MAX_S = 3.0
TRIAL = "trial"
TRIAL_BYTES = 256 * 2**10
P = ParamSpec("P")
T = TypeVar("T")
Payloads = Sequence[tuple[str, str, bytes]]


class Journal:
    """A store under the epoch of this process; an older process can write no more.

    Attributes:
        store: For its reading methods, by way of `read`.
        epoch: Grows with every process that takes the store over; 0 where it was opened for reading only.
    """

    def __init__(self, store: Store, epoch: int) -> None:
        self.store = store
        self.epoch = epoch
        self._committer = GroupCommitter(store)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        make_room: Callable[[], bool] = lambda: False,
        trying: Callable[[], Awaitable[None]] | None = None,
        refused: Callable[[PersistError], Awaitable[None]] | None = None,
    ) -> Self:
        """Take the store at `url` over; waits for as long as the file system or the server refuses.

        Args:
            make_room: Called, on a thread, when there is no space; tells whether there is some now.
            trying: Called before every attempt.
            refused: Called after every attempt that failed.

        Raises:
            ValidationError: `url` names no store, or one whose driver is not installed.
        """
        pause_s, told = RETRY_S, ""
        while True:
            if trying is not None:
                await trying()
            try:
                return cls(*await asyncio.to_thread(_taken_over, url))
            except PersistError as error:
                if isinstance(error, StoreFull) and await asyncio.to_thread(make_room):
                    continue
                if error.message != told:
                    told = error.message
                    log.error("the journal cannot be taken over yet: %s", told)  # noqa: TRY400 - expected, retried
                if refused is not None:
                    await refused(error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_MAX_S)

    @classmethod
    async def look_into(cls, url: str) -> Self:
        """Open the store at `url` for `read` only.

        Raises:
            PersistError: Not even that is possible.
        """
        return cls(await asyncio.to_thread(open_store, url, read_only=True), 0)

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
        epoch = store.open_epoch()
        _try(store)
        return store, epoch
    except BaseException:
        store.close()  # tried again with another one: a server's connections must not pile up
        raise


def _try(store: Store) -> None:
    """Write something of the size of what comes next, and take it back.

    The new epoch alone may fit where nothing else does. A scheduler that served on that would end at its next commit, and so
    would the one after it.

    Raises:
        StoreFull: There is not even space for that.
    """
    store.commit([Transaction(facts=((TRIAL, "-" * TRIAL_BYTES),))])
    store.commit([Transaction(facts=((TRIAL, None),))])

"""Many transactions, one flush: whatever waits while the disk is busy is committed together.

A flush to the medium costs the same for one row as for a hundred, so the writer thread takes everything that has
gathered since the last commit. Callers get a future that resolves once their transaction is durable.

When a group is refused, its members are committed one by one, in order, so that only the guilty one fails. When the
medium itself fails (an I/O error, a failed flush) nothing is tried again: after a failed fsync the kernel may have
dropped the dirty pages, and a second fsync that succeeds would promise what is not on the disk. The committer is then
`failed` for good; the process is expected to end and to recover from what the file holds.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from qrtx_ray.errors import InternalError, PersistError, StoreConflict, StoreFull
from qrtx_ray.store.protocol import Store, Transaction

__all__ = ["GroupCommitter"]

P = ParamSpec("P")
T = TypeVar("T")

_Waiting = tuple[Transaction, "Future[None]"]


class GroupCommitter:
    """Commits transactions of `store` in groups, on its own thread, in the order they were submitted.

    Args:
        store: Taken over already (`open_epoch`). The committer does not close it.
        max_batch: Most transactions in one commit.
        max_batch_bytes: Payload bytes after which a group is not filled further.
        readers: Threads for `read`.
    """

    def __init__(
        self, store: Store, max_batch: int = 256, *, max_batch_bytes: int = 16 * 1024 * 1024, readers: int = 2
    ) -> None:
        self._store = store
        self._max_batch = max_batch
        self._max_batch_bytes = max_batch_bytes
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._failed: PersistError | None = None
        self._closed = False
        self._door = threading.Lock()
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="qrtx-store-read")
        self._writer = threading.Thread(target=self._write, name="qrtx-store-write", daemon=True)
        self._writer.start()

    @property
    def failed(self) -> PersistError | None:
        """The error of the medium that ended this committer's work, or None while it works."""
        return self._failed

    def submit(self, transaction: Transaction) -> Future[None]:
        """Commit `transaction`; the future resolves when it is durable, or holds the StoreConflict, StoreFull or
        PersistError that refused it.

        The future cannot be cancelled: once submitted, a transaction is written whoever still waits for it.

        Raises:
            PersistError: The committer is closed.
        """
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        with self._door:
            if self._closed:
                raise PersistError("the store's committer is closed")
            self._queue.put((transaction, future))
        return future

    def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a reading method of the store on a reader thread.

        Raises:
            PersistError: The committer is closed.
        """
        with self._door:
            if self._closed:
                raise PersistError("the store's committer is closed")
            return self._readers.submit(function, *args, **kwargs)

    run = read

    def close(self) -> None:
        """Commit what waits, finish the reads under way, end the threads; idempotent."""
        with self._door:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._writer.join()
        self._readers.shutdown(wait=True)

    def _write(self) -> None:
        ended = False
        while not ended:
            first = self._queue.get()
            if first is None:
                return
            group, ended = self._gather(first)
            self._commit(group)

    def _gather(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """Everything that waits behind `first`, up to the bounds; and whether the end was among it."""
        group = [first]
        size = _size(first)
        while len(group) < self._max_batch and size < self._max_batch_bytes:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is None:
                return group, True
            group.append(waiting)
            size += _size(waiting)
        return group, False

    def _commit(self, group: list[_Waiting]) -> None:
        error = self._attempt([transaction for transaction, _ in group])
        if error is None or len(group) == 1 or self._failed is not None:
            for _, future in group:
                _resolve(future, error)
            return
        for transaction, future in group:
            _resolve(future, self._attempt([transaction]))

    def _attempt(self, transactions: list[Transaction]) -> PersistError | InternalError | None:
        """One commit; the error it ended with. An error of the medium makes the committer fail for good."""
        if self._failed is not None:
            return self._failed
        try:
            self._store.commit(transactions)
        except (StoreConflict, StoreFull) as error:
            return error
        except PersistError as error:
            self._failed = error
            return error
        except Exception as error:  # noqa: BLE001 - a bug in one transaction must not end the writer of all
            bug = InternalError("the store could not handle a transaction")
            bug.__cause__ = error
            return bug
        return None


def _size(waiting: _Waiting) -> int:
    return sum(len(body) for _, _, body in waiting[0].payloads)


def _resolve(future: Future[None], error: PersistError | InternalError | None) -> None:
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)

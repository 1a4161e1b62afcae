"""The journal in PostgreSQL when the server crashes and when connections are cut at the worst moments."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from urllib.parse import urlsplit

import pytest

from qrtx_ray.errors import PersistError
from qrtx_ray.store.group_commit import GroupCommitter
from qrtx_ray.store.postgres import PostgresStore
from scripts.postgres_for_tests import Server, running
from tests.store.building import change, inserting, job, job_id
from tests.store.postgres import URL, own_schema


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One that may be crashed: not the one of all the other tests."""
    with running() as started:
        yield started


def whole_jobs(store):
    """The numbers of all jobs; every one has its history and its payload."""
    found = [record.number for record in store.live_records()]
    for number in found:
        assert store.history(job_id(number)) == [change(number, number)]
        assert store.payloads([job_id(number)], "request") == {job_id(number): b"body %d" % number}
    return found


@pytest.mark.parametrize("acknowledged", [1, 20])
def test_every_acknowledged_row_survives_a_crash_of_the_server(server, acknowledged):
    with own_schema(server.url) as url:
        store = PostgresStore(url)
        store.open_epoch()
        done, enough = [], threading.Event()

        def write():
            number = 1
            try:
                while True:
                    store.commit([inserting(number), inserting(number + 1), inserting(number + 2)])
                    done.append(number + 2)
                    number += 3
                    if len(done) >= acknowledged:
                        enough.set()
            except PersistError:
                enough.set()

        writer = threading.Thread(target=write)
        writer.start()
        assert enough.wait(60)
        server.stop("immediate")
        writer.join()
        with pytest.raises(PersistError):
            store.live_records()
        server.start()
        found = whole_jobs(store)
        assert found == list(range(1, len(found) + 1))
        assert len(found) % 3 == 0
        assert done[-1] <= len(found) <= done[-1] + 3
        store.open_epoch()
        store.commit([inserting(len(found) + 1)])
        store.close()


def test_a_crash_ends_the_committer_and_what_it_acknowledged_is_there(server):
    with own_schema(server.url) as url:
        store = PostgresStore(url)
        store.open_epoch()
        committer = GroupCommitter(store)
        futures = [committer.submit(inserting(number)) for number in range(1, 200)]
        futures[20].result(60)
        server.stop("immediate")
        futures += [committer.submit(inserting(number)) for number in range(200, 300)]
        kept = [number for number, future in enumerate(futures, 1) if future.exception(60) is None]
        assert committer.failed is not None
        committer.close()
        store.close()
        server.start()
        with closing(PostgresStore(url)) as again:
            assert set(kept) <= set(whole_jobs(again))


class Proxy:
    """Stands between a store and its server, and cuts the connection that next says COMMIT.

    Args:
        url: The server.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port or 5432)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = url.replace(f"@{parts.hostname}:{parts.port}", f"@127.0.0.1:{self._door.getsockname()[1]}")
        self.cut = ""  # "" | "before" | "after" the server has the COMMIT
        self.open = True  # whether new connections are let through
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._door.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                if not self.open:
                    client.close()
                    continue
                server = socket.create_connection(self._server)
                threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self.cut and b"COMMIT" in data:
                    self._cut(client, server, data)
                    return
                server.sendall(data)
        _hang_up(server)

    def _cut(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        self.cuts += 1
        # The client's side first: the answer must not get through.
        _hang_up(client)
        if self.cut == "after":
            server.sendall(data)
        self.cut = ""
        _hang_up(server, socket.SHUT_WR)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                with suppress(OSError):
                    client.sendall(data)
        _hang_up(client)


def _hang_up(side: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    with suppress(OSError):
        side.shutdown(how)


@pytest.fixture
def proxy(server):
    with own_schema(server.url) as url, closing(Proxy(url)) as between:
        yield between


@pytest.fixture
def store(proxy):
    opened = PostgresStore(proxy.url)
    opened.open_epoch()
    opened.commit([inserting(1)])
    yield opened
    opened.close()


@pytest.mark.parametrize(("moment", "times"), [("before", 2), ("after", 1)])
def test_a_commit_whose_answer_was_lost_is_kept_exactly_once(store, proxy, moment, times, monkeypatch):
    written = []
    write = PostgresStore._write
    monkeypatch.setattr(PostgresStore, "_write", lambda *args: written.append(1) or write(*args))
    proxy.cut = moment
    store.commit([inserting(2), inserting(3)])
    assert (proxy.cuts, len(written)) == (1, times)
    assert whole_jobs(store) == [1, 2, 3]
    store.commit([inserting(4)])
    assert whole_jobs(store) == [1, 2, 3, 4]


@pytest.mark.parametrize(("moment", "kept"), [("before", [1]), ("after", [1, 2])])
def test_a_commit_that_cannot_be_asked_for_is_an_error_until_the_store_is_taken_over_anew(store, proxy, moment, kept):
    proxy.cut, proxy.open = moment, False
    for number in (2, 3):
        with pytest.raises(PersistError, match="whether the last commit was kept is not known") as caught:
            store.commit([inserting(number)])
        assert caught.value.retryable
    assert proxy.cuts == 1
    proxy.open = True
    with pytest.raises(PersistError, match="not known"):
        store.commit([inserting(3)])
    store.open_epoch()
    store.commit([inserting(9)])
    assert whole_jobs(store) == [*kept, 9]


def test_a_successor_decides_what_a_lost_commit_became(store, proxy, server):
    direct = PostgresStore(proxy.url)
    proxy.cut, proxy.open = "before", False
    with pytest.raises(PersistError, match="not known"):
        store.commit([inserting(2)])
    epoch = direct.open_epoch()
    direct.commit([inserting(2)])
    proxy.open = True
    with pytest.raises(PersistError, match="not known"):
        store.commit([inserting(3)])
    assert whole_jobs(direct) == [1, 2]
    assert store.open_epoch() == epoch + 1
    direct.close()


def test_connections_that_were_ended_while_idle_are_made_anew(store, server):
    import psycopg

    def end_all():
        with psycopg.connect(server.url) as db:
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'qrtx'")

    assert store.record(job_id(1)) == job(1)
    end_all()
    assert store.record(job_id(1)) == job(1)
    store.commit([inserting(2)])
    end_all()
    store.commit([inserting(3)])
    end_all()
    # The takeover is not tried twice here: whoever opens a journal tries for as long as it takes.
    with pytest.raises(PersistError):
        store.open_epoch()
    assert store.open_epoch() == 2
    assert whole_jobs(store) == [1, 2, 3]


def test_the_shared_server_is_not_the_one_that_is_crashed(server):
    assert urlsplit(server.url).port != urlsplit(URL).port

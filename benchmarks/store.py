"""The store alone: durable commits one by one and grouped, and result files, against a bare flush of the same disk.

With QRTX_TEST_POSTGRES_URL set the journal in that PostgreSQL server is measured as well, in a schema of its own.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report import Figure, Options, main, median, percentile
from qrtx_ray.model import JobChange, JobRecord, PayloadFormat, Program, TaskState, new_id
from qrtx_ray.store.circuit_fs import CircuitFS
from qrtx_ray.store.group_commit import GroupCommitter
from qrtx_ray.store.open import open_store
from qrtx_ray.store.protocol import Store, Transaction
from qrtx_ray.store.sqlite import SqliteStore

PAYLOAD = b"p" * 4000
RESULT = b"r" * 5000
ARTEFACTS = {"input.job.yaml": "x" * 500, "compiled.aqo.json": "y" * 4000, "compiled.qasm": "z" * 2000}


def measure(options: Options) -> Iterator[Figure]:
    """Milliseconds and jobs per second in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="qrtx-benchmark-") as folder:
        yield from _journal(SqliteStore(str(Path(folder) / "journal.db")), options)
        yield from _postgresql(options)
        yield from _files(Path(folder), options.pick(1000, 300))
        flushes = _seconds(_flush(Path(folder) / "flush"), options.pick(500, 200))
        yield Figure("fsync_p50_ms", 1e3 * median(flushes), "ms")


def _journal(store: Store, options: Options, kind: str = "", goal_ms: float | None = 1) -> Iterator[Figure]:
    store.open_epoch()
    committer = GroupCommitter(store)
    try:
        single, many = options.pick(1000, 300), options.pick(20_000, 5_000)
        times = _seconds(lambda number: committer.submit(_accepted(number)).result(), single)
        yield Figure(f"{kind}durable_commit_p50_ms", 1e3 * median(times), "ms", goal_ms)
        yield Figure(f"{kind}durable_commit_p99_ms", 1e3 * percentile(times, 99), "ms")
        transactions = [_accepted(single + number) for number in range(many)]
        rate = many / _elapsed(committer, transactions)
        yield Figure(f"{kind}grouped_commits_per_s", rate, "jobs/s", None, "higher")
        transactions = [_advanced(single + number) for number in range(many)]
        rate = many / _elapsed(committer, transactions)
        yield Figure(f"{kind}grouped_updates_per_s", rate, "jobs/s", None, "higher")
        reads = _seconds(lambda number: store.records([_id(number)]), single)
        yield Figure(f"{kind}read_record_p50_ms", 1e3 * median(reads), "ms")
    finally:
        committer.close()
        store.close()


def _postgresql(options: Options) -> Iterator[Figure]:
    url = os.environ.get("QRTX_TEST_POSTGRES_URL")
    if not url:
        return
    import psycopg

    schema = f"benchmark_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"CREATE SCHEMA {schema}")
        try:
            place = f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{schema}"
            yield from _journal(open_store(place), options, "postgresql_", None)
        finally:
            db.execute("SET client_min_messages = error")
            db.execute(f"DROP SCHEMA {schema} CASCADE")


def _elapsed(committer: GroupCommitter, transactions: Sequence[Transaction]) -> float:
    """Seconds until all of `transactions` are durable."""
    started = time.perf_counter()
    for pending in [committer.submit(transaction) for transaction in transactions]:
        pending.result()
    return time.perf_counter() - started


def _files(folder: Path, count: int) -> Iterator[Figure]:
    files = CircuitFS(str(folder / "files"))
    artefacts = _seconds(lambda number: files.write_artefacts(_id(number), ARTEFACTS), count)
    results = _seconds(lambda number: files.write_results(_id(number), RESULT, 1), count)
    reads = _seconds(lambda number: files.read_results(_id(number), None), count)
    yield Figure("write_artefacts_p50_ms", 1e3 * median(artefacts), "ms")
    yield Figure("write_results_p50_ms", 1e3 * median(results), "ms")
    yield Figure("write_results_p99_ms", 1e3 * percentile(results, 99), "ms")
    yield Figure("read_results_p50_ms", 1e3 * median(reads), "ms")


def _flush(path: Path) -> Callable[[int], None]:
    """Append 4 KiB to a file and flush it: the least that durable can cost here."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work(_: int) -> None:
        os.write(file, PAYLOAD)
        os.fdatasync(file)

    return work


def _advanced(number: int) -> Transaction:
    """What a step of that job on its way writes."""
    record = _accepted(number).records[0]
    after = replace(record, version=2, state=TaskState.QUEUED, queued_at=record.created_at)
    change = JobChange(10**9 + number, record.id, record.created_at, TaskState.PENDING, TaskState.QUEUED, 0, "")
    return Transaction(records=(after,), changes=(change,))


def _accepted(number: int) -> Transaction:
    """What the submission of one job writes."""
    record = JobRecord(
        id=_id(number),
        number=number + 1,
        tenant="alice",
        program=Program.SAMPLER,
        device="fake_manila@aer",
        payload_format=PayloadFormat.NATIVE,
        created_at=1e9 + number,
        seed=number,
    )
    change = JobChange(number + 1, record.id, record.created_at, None, TaskState.PENDING, 0, "")
    return Transaction(records=(record,), changes=(change,), payloads=((record.id, "request", PAYLOAD),))


def _id(number: int) -> str:
    return new_id(1.7e9 + number, number.to_bytes(7, "big"))


def _seconds(work: Callable[[int], Any], repeats: int) -> list[float]:
    """Seconds of each repetition; `work` is told its number."""
    times = []
    for number in range(repeats):
        started = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    raise SystemExit(main(__doc__ or "", measure))

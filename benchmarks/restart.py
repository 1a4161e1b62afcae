"""How long the scheduler takes to be ready again on a journal full of waiting jobs.

A journal is filled with jobs that wait (and a few that run), with as many that ended long ago, all with their requests,
compiled forms and history. Then a new process opens it again and again: from the making of the scheduler until it answers,
and, counted apart, from the start of the process. The CPU time of the first tells a busy machine from a slow start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report import ROOT, Figure, Options, main, median
from qrtx_ray.config import load_settings
from qrtx_ray.model import CircuitProfile, JobChange, JobRecord, PayloadFormat, Program, TaskState, new_id
from qrtx_ray.store.protocol import Transaction
from qrtx_ray.store.sqlite import SqliteStore

REOPEN = "--reopen"
GOAL_S = 3.0
BATCH = 2_000
REQUEST = b"p" * 1000
EXECUTABLE = b"e" * 1000
DEVICES = ("fake_manila@aer", "fake_sherbrooke@aer", "fake_brisbane@aer", "fake_quito@aer_ideal", "fake_lima@aer")
PROFILE = CircuitProfile(
    active_qubits=5,
    depth=12,
    two_qubit_gates=4,
    circuits=1,
    shots=1024,
    estimated_s=0.01234,
    estimated_bytes=123_456,
    qpu_s=2.71828,
    group_key="0123456789abcdef",
    calibration_id="0123456789ab",
    engine="aer",
    fidelity=0.9321,
    sensitivity=0.31,
    structure="fedcba9876543210",
)
WAITED = (TaskState.PENDING, TaskState.VALIDATING, TaskState.COMPILING, TaskState.QUEUED)
RAN = (*WAITED, TaskState.ALLOCATING, TaskState.EXECUTING)
ENDED = (*RAN, TaskState.COMPLETING, TaskState.COMPLETED)


def measure(options: Options) -> Iterator[Figure]:
    """Seconds, the median of a few restarts; 10,000 and 100,000 live jobs."""
    with tempfile.TemporaryDirectory(prefix="qrtx-benchmark-") as folder:
        for jobs, name, goal in ((10_000, "1e4", None), (100_000, "1e5", GOAL_S)):
            storage = Path(folder) / name
            fill(storage, jobs, jobs // options.pick(1, 10), options.seed)
            runs = [_restarted(storage, jobs) for _ in range(options.pick(5, 2))]
            yield Figure(f"restart_{name}_s", median(run["ready_s"] for run in runs), "s", goal)
            yield Figure(f"restart_{name}_worst_s", max(run["ready_s"] for run in runs), "s")
            yield Figure(f"restart_{name}_cpu_s", median(run["cpu_s"] for run in runs), "s")
            yield Figure(f"restart_{name}_with_process_s", median(run["process_s"] for run in runs), "s")
            yield Figure(f"restart_{name}_read_s", median(run["read_s"] for run in runs), "s")
            yield Figure(f"restart_{name}_memory_mib", median(run["memory_mib"] for run in runs), "MiB")
            size = sum(file.stat().st_size for file in storage.glob("journal.db*"))
            yield Figure(f"journal_{name}_mib", size / 2**20, "MiB")


def fill(storage: Path, live: int, ended: int, seed: int) -> None:
    """A journal with `live` jobs that wait or run, after `ended` ones that do not."""
    store = SqliteStore(storage / "journal.db")
    store.open_epoch()
    now = time.time() - 60.0
    sequence = 0
    for first in range(1, live + ended + 1, BATCH):
        batch = []
        for number in range(first, min(first + BATCH, live + ended + 1)):
            states = (
                ENDED if number <= ended else WAITED[:1] if number % 50 == 7 else RAN if number % 99 == 3 else WAITED
            )
            batch.append(_job(number, states, now, sequence, seed))
            sequence += len(states)
        store.commit(batch)
    store.close()


def _job(number: int, states: tuple[TaskState, ...], now: float, sequence: int, seed: int) -> Transaction:
    record = JobRecord(
        id=new_id(now + number, number.to_bytes(7, "little")),
        number=number,
        tenant=f"tenant-{number % 97}",
        program=Program.SAMPLER,
        device=DEVICES[number % len(DEVICES)],
        payload_format=PayloadFormat.RUNTIME,
        created_at=now + number * 1e-4,
        seed=(number * 0x9E3779B97F4A7C15 + seed) % 2**63,
        state=states[-1],
        priority=(50, 50, 50, 75, 15)[number % 5],
        tags=("benchmark", f"sweep-{number % 31}"),
        instance="crn:v1:bluemix:public:quantum-computing:us-east:a/0:0::",
        idempotency_key=f"\x1f{number:032x}",
        digest=f"{number:064x}",
        client="qiskit-version-2.6.1/qiskit-ibm-runtime/0.51.0",
        source="runtime",
    )
    if len(states) > 1:
        record = replace(record, profile=PROFILE, queued_at=record.created_at + 0.05)
    if len(states) > len(WAITED):
        agent = f"qrtx-device-0-{number % 4}"
        record = replace(record, attempt=1, agent=agent, group=record.id, started_at=record.created_at + 1)
    if record.terminal:
        digest = f"{number:064x}"
        record = replace(record, finished_at=now + number * 1e-4 + 2, qpu_s=2.7, result_sha256=digest, progress=1.0)
        record = replace(record, result_bytes=5000, metadata_recorded=True)
    befores = (None, *states[:-1])
    changes = tuple(
        JobChange(sequence + 1 + n, record.id, record.created_at + n, before, after, record.attempt, "because")
        for n, (before, after) in enumerate(zip(befores, states, strict=True))
    )
    payloads = [(record.id, "request", REQUEST)]
    if record.profile is not None and not record.terminal:
        payloads.append((record.id, "executable", EXECUTABLE))
    return Transaction((record,), changes, tuple(payloads))


def _restarted(storage: Path, jobs: int) -> dict[str, Any]:
    """What a new process needs to take the journal over."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.restart", REOPEN, str(storage)]
    # Nothing here may look for a cluster, or start one.
    environment = os.environ | {"RAY_ENABLE_AUTO_CONNECT": "0", "HOME": str(storage)}
    child = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    facts: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    assert facts["live"] == jobs, facts
    return facts | {"process_s": facts["ready_at"] - began}


async def _reopen(storage: str) -> dict[str, Any]:
    from qrtx_ray.actors.scheduler import SchedulerActor

    settings = load_settings(env={"HOME": storage}, overrides={"storage.path": storage}).to_dict()
    began, cpu = time.perf_counter(), time.process_time()
    scheduler = SchedulerActor(settings)
    await scheduler.ping()
    ready_at, cpu_s = time.perf_counter(), time.process_time() - cpu
    status = await scheduler.status()
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    await scheduler.close()
    store = SqliteStore(Path(storage) / "journal.db", read_only=True)
    before = time.perf_counter()
    store.live_records()
    read_s = time.perf_counter() - before
    store.close()
    return {
        "ready_s": ready_at - began,
        "ready_at": ready_at,
        "cpu_s": cpu_s,
        "read_s": read_s,
        "live": status.extra["live"],
        "memory_mib": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
    }


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        REOPEN, metavar="STORAGE", help="only open the journal below STORAGE and tell the times as JSON"
    )


if __name__ == "__main__":
    if REOPEN in sys.argv:
        print(json.dumps(asyncio.run(_reopen(sys.argv[-1]))))
        sys.exit(0)
    sys.exit(main(__doc__, measure, extend=_arguments))

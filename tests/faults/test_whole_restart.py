"""Everything is killed at once, as by a power cut, and started again on the same storage."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrtx_ray.client import QrtxClient

from .tools import BELL, DEVICE, endless, executing, runs, until

pytestmark = [pytest.mark.cluster, pytest.mark.faults, pytest.mark.timeout(240)]

HEAVY = "fake_sherbrooke@aer_ideal"


@contextlib.contextmanager
def runtime_on(
    folder: Path, agents: int = 1, checkpoint_s: float = 60.0, **extra: str
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any], QrtxClient]]:
    command = [sys.executable, "-m", "tests.faults.runtime_process", str(folder), str(agents), str(checkpoint_s)]
    # What the shared runtime has set for its own processes, ports among it, is not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "QRTX_"))} | extra
    with (folder / "errors").open("a", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdin is not None
    assert process.stdout is not None
    facts: dict[str, Any] = {"pids": []}
    try:
        line = process.stdout.readline()
        assert line, (folder / "errors").read_text("utf-8")
        facts = json.loads(line)
        with QrtxClient(facts["url"], facts["token"]) as client:
            yield process, facts, client
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()
        for pid in facts["pids"]:  # none is left when all is well
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_runtime_started_on_the_storage_of_a_dead_one_finishes_its_jobs(tmp_path: Path, measured) -> None:
    with runtime_on(tmp_path) as (process, facts, client):
        ended = client.submit(BELL, DEVICE, shots=64, seed=5)
        assert client.wait(ended.id, 60).state == "Completed"
        before = client.results(ended.id)
        running = client.submit(endless(), HEAVY, shots=10)
        executing(client, running.id)
        queued = [client.submit(BELL, HEAVY, shots=64, seed=n) for n in range(10)]
        cancelled = client.submit(BELL, HEAVY, shots=64)
        client.cancel(cancelled.id)
        keyed = client.submit(BELL, DEVICE, shots=64, idempotency_key="once")
        process.kill()
        process.wait(30)
        until(lambda: not any(runs(pid) for pid in facts["pids"]), 30, 0.1)
    began = time.monotonic()
    with runtime_on(tmp_path) as (_, _, client):
        measured("everything killed: serving again, start of Ray included", time.monotonic() - began)
        assert client.results(ended.id) == before
        assert client.get(cancelled.id).state == "Cancelled"
        assert client.submit(BELL, DEVICE, shots=64, idempotency_key="once").id == keyed.id
        assert client.wait(keyed.id, 60).state == "Completed"
        executing(client, running.id, attempt=2)
        client.cancel(running.id)
        assert client.wait(running.id, 30).state == "Cancelled"
        for job in queued:
            assert client.wait(job.id, 60).state == "Completed"
        measured("everything killed: all its jobs have ended", time.monotonic() - began)

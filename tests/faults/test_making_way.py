"""A long run makes way on request and goes on later, with real Ray; nothing is lost when its agent dies on the way."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import ray

from qrtx_ray.client import JobStatus, QrtxClient
from qrtx_ray.launch import LocalRuntime

from .test_whole_restart import runtime_on
from .tools import AGENT, BELL, DEVICE, actor, executing, until

pytestmark = [pytest.mark.cluster, pytest.mark.faults, pytest.mark.timeout(240)]

CIRCUITS = 10


def slow(client: QrtxClient, seed: int, circuits: int = CIRCUITS, **fields: Any) -> JobStatus:
    """A job of some seconds whose every circuit is a slice: trajectories of a circuit that measures midway."""
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', "qreg q[3];", "creg c[3];"]
    for layer in range(8):
        lines += [f"rx(0.{layer + 1}) q[{qubit}];" for qubit in range(3)]
        lines += ["cx q[0],q[1];", "cx q[1],q[2];", f"measure q[{layer % 3}] -> c[{layer % 3}];"]
    circuit = {"format": "qasm2", "source": "\n".join([*lines, "measure q -> c;"])}
    body = {"device": DEVICE, "circuits": [circuit] * circuits, "shots": 3000, "seed": seed}
    return client.submit_body(body | fields)


def some_way(client: QrtxClient, job: str, more_than: float = 0.0) -> float:
    """Wait until the job is on its way, and not near its end; how far it is."""
    until(lambda: client.get(job).progress > more_than, 60)
    progress = client.get(job).progress
    assert progress < 1.0
    return progress


def words(client: QrtxClient, job: str) -> list[str]:
    return [change["to_state"] for change in client.history(job)]


def kept(storage: str | Path, job: str) -> list[str]:
    """Names of the files with progress of the job."""
    return sorted(path.name for path in Path(storage).rglob(f"circuit_fs/{job}/checkpoint-*"))


@pytest.mark.usefixtures("whole")
def test_a_run_that_is_preempted_twice_gives_what_it_gives_alone(
    runtime: LocalRuntime, client: QrtxClient, measured: Any
) -> None:
    alone = slow(client, seed=5)
    assert client.wait(alone.id, 120).state == "Completed"
    job = slow(client, seed=5)
    reached = 0.0
    for attempt in (1, 2):
        executing(client, job.id, attempt=attempt)
        reached = some_way(client, job.id, more_than=reached)
        asked = time.monotonic()
        assert ray.get(actor(AGENT).preempt.remote(job.id, attempt), timeout=10)
        until(lambda attempt=attempt: words(client, job.id).count("Queued") > attempt, 30)
        measured("preempted: the job is back in line", time.monotonic() - asked)
        assert client.get(job.id).progress >= reached, "the progress is kept"
    assert not ray.get(actor(AGENT).preempt.remote(job.id, 1), timeout=10), "that attempt has ended"
    ended = client.wait(job.id, 120)
    assert ended.state == "Completed"
    assert ended.view["attempt"] == 3
    assert client.results(job.id, memory=True) == client.results(alone.id, memory=True)
    until(lambda: not kept(runtime.settings.paths.storage, job.id), 10)


@pytest.mark.usefixtures("whole")
def test_a_critical_job_does_not_wait_for_a_long_one_of_low_priority(client: QrtxClient, measured: Any) -> None:
    low = slow(client, seed=5, circuits=60, priority=0)
    executing(client, low.id)
    before = some_way(client, low.id)
    asked = time.monotonic()
    critical = client.submit(BELL, DEVICE, shots=8, priority=100)
    assert client.wait(critical.id, 60).state == "Completed"
    measured("critical job behind a long one: it has its result", time.monotonic() - asked)
    executing(client, low.id, attempt=2)
    left = client.get(low.id)
    assert left.progress >= before
    assert left.view["attempt"] == 2
    client.cancel(low.id)
    assert client.wait(low.id, 30).state == "Cancelled"


@pytest.mark.long
def test_an_agent_that_dies_with_the_checkpoint_just_written_loses_nothing(tmp_path: Path, measured: Any) -> None:
    fault = {"QRTX_FAULT": "agent.checkpoint_written:1"}
    with runtime_on(tmp_path, **fault) as (process, _, client):
        alone = slow(client, seed=7)
        assert client.wait(alone.id, 120).state == "Completed"
        job = slow(client, seed=7)
        executing(client, job.id)
        some_way(client, job.id)
        assert process.stdin is not None
        process.stdin.write(f"preempt {AGENT} {job.id} 1\n")
        process.stdin.flush()
        began = time.monotonic()
        until(lambda: kept(tmp_path, job.id), 30)
        executing(client, job.id, attempt=2, within_s=60)
        measured("agent killed with a checkpoint written: the job runs again", time.monotonic() - began)
        ended = client.wait(job.id, 120)
        assert ended.state == "Completed"
        assert ended.view["attempt"] == 2
        assert client.results(job.id, memory=True) == client.results(alone.id, memory=True)
        assert client.wait(client.submit(BELL, DEVICE, shots=8).id, 60).state == "Completed"
        until(lambda: not kept(tmp_path, job.id), 10)

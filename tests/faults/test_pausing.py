"""Long runs with real Ray that are paused, moved, robbed of their agent or of the state manager: they lose nothing that was kept,
and end with the bytes of a run that nobody disturbed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from qrtx_ray.client import JobStatus, QrtxClient, find_connection

from .test_making_way import kept, slow, some_way
from .test_whole_restart import runtime_on
from .tools import until

pytestmark = [pytest.mark.cluster, pytest.mark.faults, pytest.mark.long, pytest.mark.timeout(240)]

MANAGER = "qrtx-state-manager"
SEED = 11
OFTEN_S = 0.05  # between checkpoints: after every slice


class Place(NamedTuple):
    """A runtime of two agents for one device, and what the long job gives there when it is left alone."""

    client: QrtxClient
    actors: dict[str, int]
    folder: Path
    alone: dict[str, Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("pausing")
    with runtime_on(folder, agents=2, checkpoint_s=OFTEN_S) as (_, facts, client):
        alone = long(client)
        assert client.wait(alone.id, 120).state == "Completed"
        yield Place(client, facts["actors"], folder, client.results(alone.id, memory=True)["pubs"])


def long(client: QrtxClient, **fields: Any) -> JobStatus:
    return slow(client, seed=SEED, **fields)


def completed(place: Place, job: str) -> JobStatus:
    """Wait for the end; the results are those of the run that was left alone."""
    ended = place.client.wait(job, 120)
    assert ended.state == "Completed", ended.view
    assert place.client.results(job, memory=True)["pubs"] == place.alone
    until(lambda: not kept(place.folder, job), 10)
    return ended


def agent_at_work(client: QrtxClient) -> str:
    """The only agent that has something to do."""
    found: list[str] = []

    def one() -> bool:
        found[:] = [agent["name"] for agent in client.agents() if agent["running"]]
        return len(found) == 1

    until(one, 60)
    return found[0]


def enough_kept(client: QrtxClient, job: str, count: int = 2) -> float:
    """Wait until so many checkpoints were taken; the fraction that the newest of them holds."""
    until(lambda: (client.checkpoints(job) or [{"sequence": 0}])[0]["sequence"] >= count, 60)
    return float(client.checkpoints(job)[0]["progress"])


def test_a_job_is_paused_and_goes_on_with_another_agent(place: Place, measured: Any) -> None:
    client = place.client
    job = long(client)
    some_way(client, job.id)
    first = agent_at_work(client)
    asked = time.monotonic()
    client.pause(job.id)
    until(lambda: client.get(job.id).state == "Paused", 30)
    measured("paused: the device is free", time.monotonic() - asked)
    stands = client.get(job.id)
    assert 0.0 < stands.progress < 1.0
    assert client.checkpoints(job.id)[0]["progress"] == stands.progress
    client.drain_agent(first)
    try:
        client.resume(job.id)
        assert agent_at_work(client) != first
        assert client.get(job.id).progress >= stands.progress
        assert completed(place, job.id).view["attempt"] == 2
    finally:
        client.resume_agent(first)


def test_a_running_job_moves_to_the_other_agent(place: Place, measured: Any) -> None:
    client = place.client
    job = long(client)
    before = some_way(client, job.id)
    first = agent_at_work(client)
    asked = time.monotonic()
    client.migrate(job.id)
    until(lambda: client.get(job.id).view["attempt"] == 2, 30)
    measured("moved: the other agent has it", time.monotonic() - asked)
    assert agent_at_work(client) != first
    assert client.get(job.id).progress >= before
    completed(place, job.id)


def test_an_agent_that_is_killed_loses_only_what_came_after_the_last_checkpoint(place: Place, measured: Any) -> None:
    client = place.client
    job = long(client)
    kept_part = enough_kept(client, job.id)
    os.kill(place.actors.pop(agent_at_work(client)), signal.SIGKILL)
    began = time.monotonic()
    until(lambda: client.get(job.id).view["attempt"] == 2, 60)
    measured("agent killed: the job goes on from its checkpoint", time.monotonic() - began)
    lowest = 1.0
    while not (status := client.get(job.id)).terminal:
        lowest = min(lowest, status.progress)
        time.sleep(0.02)
    assert lowest >= kept_part
    assert completed(place, job.id).view["attempt"] == 2


def test_the_state_manager_is_killed_while_checkpoints_are_kept(place: Place) -> None:
    client = place.client
    job = long(client)
    enough_kept(client, job.id, 1)
    os.kill(place.actors.pop(MANAGER), signal.SIGKILL)
    before = client.checkpoints(job.id)[0]["sequence"]
    until(lambda: client.checkpoints(job.id)[0]["sequence"] > before + 1 or client.get(job.id).terminal, 60)
    assert completed(place, job.id).view["attempt"] == 1


def test_a_cancelled_job_has_what_was_done_and_a_new_one_goes_on_from_there(place: Place) -> None:
    client = place.client
    job = long(client)
    kept_part = enough_kept(client, job.id)
    client.cancel(job.id, partial=True)
    ended = client.wait(job.id, 60)
    assert ended.state == "Cancelled"
    assert ended.view["partial"]
    assert kept_part <= ended.progress < 1.0
    assert client.results(job.id)["metadata"]["qrtx"]["partial"]
    again = client.restore(job.id)
    assert again.id != job.id
    assert again.progress >= kept_part
    completed(place, again.id)


def qrtx(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    config = folder / "config.yaml"
    devices = [{"name": "fake_manila@aer", "count": 1}]
    config.write_text(yaml.safe_dump({"devices": devices, "storage": {"path": str(folder)}}), "utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "QRTX_"))}
    environment |= {"RAY_AUTH_MODE": "disabled", "QRTX_CONFIG": str(config)}
    command = [sys.executable, "-m", "qrtx_ray.cli.main", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def up(folder: Path) -> subprocess.Popen[str]:
    process = qrtx(folder, "up", "--port", "0", "--no-dashboard")
    assert process.stdout is not None
    said = []
    while line := process.stdout.readline():
        said.append(line)
        if line.startswith("ready"):
            return process
    raise AssertionError("".join(said))


def test_a_runtime_that_is_told_to_end_keeps_the_progress_of_its_runs(tmp_path: Path, measured: Any) -> None:
    process = up(tmp_path)
    with QrtxClient(*connection(tmp_path)) as client:
        alone = long(client)
        assert client.wait(alone.id, 120).state == "Completed"
        job = long(client)
        some_way(client, job.id)
        waiting = [long(client, circuits=1) for _ in range(3)]
    asked = time.monotonic()
    ended = qrtx(tmp_path, "down")
    assert ended.communicate(timeout=100)[0] == "stopped\n"
    assert ended.returncode == 0
    said = process.communicate(timeout=100)[0]
    measured("qrtx down: a runtime with a long run has ended", time.monotonic() - asked)
    assert process.returncode == 0, said
    assert kept(tmp_path, job.id), "nobody had asked for a checkpoint before"
    process = up(tmp_path)
    try:
        with QrtxClient(*connection(tmp_path)) as client:
            assert client.get(job.id).progress > 0.0
            assert client.wait(job.id, 120).state == "Completed"
            assert client.get(job.id).view["attempt"] >= 2
            for other in waiting:
                assert client.wait(other.id, 60).state == "Completed"
            assert client.results(alone.id, memory=True)["pubs"] == client.results(job.id, memory=True)["pubs"]
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=100)[0]
    assert process.returncode == 0, said
    assert said.endswith("stopped\n")


def connection(folder: Path) -> tuple[str, str]:
    found = find_connection(environment={"HOME": str(folder), "QRTX_STORAGE_PATH": str(folder)})
    return found.url, found.token

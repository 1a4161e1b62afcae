"""Nodes and Ray's control store die under a runtime that is spread over two nodes: its jobs end as if nothing had happened.

The tests share a cluster, which each leaves whole, and the last one ends. On a quiet machine the whole module takes about a minute.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .nodes_process import AGENT, DEVICE, HEAVY
from .tools import BELL, endless, until

pytestmark = [pytest.mark.cluster, pytest.mark.faults, pytest.mark.long]

ROOT = Path(__file__).resolve().parents[2]
SEEDS = [11, 12]
SHOTS = 2_000


def some_seconds(qubits: int = 21, layers: int = 110) -> str:
    """A circuit that takes two or three seconds."""
    return endless(qubits, layers)


class Cluster:
    """A process that has the cluster, and does as it is told."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.faults.nodes_process", str(folder)]
        self._log = (folder / "cluster.log").open("w")
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self._folder = folder

    def ask(self, method: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([method, *arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, (self._folder / "cluster.log").read_text()[-3000:]
        return json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        finally:
            self._process.kill()
            self._log.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("nodes"))
    try:
        pids = cluster.ask("start")
        assert cluster.ask("on_second_node", pids[AGENT])
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> dict[int, str]:
    """Digests of the results by seed, of jobs that nothing happened to."""
    jobs = cluster.ask("submit", HEAVY, some_seconds(), SEEDS, SHOTS)
    ended = cluster.ask("await_jobs", jobs, "Completed")
    assert {job["attempt"] for job in ended} == {1}
    return {seed: job["sha256"] for seed, job in zip(SEEDS, ended, strict=True)}


def check_same(ended: list[dict[str, Any]], undisturbed: dict[int, str]) -> None:
    assert {seed: job["sha256"] for seed, job in zip(SEEDS, ended, strict=True)} == undisturbed
    for job in ended:
        assert job["states"].count("Completed") == 1
        assert job["states"][-1] == "Completed"


def test_a_node_dies_and_its_jobs_run_elsewhere_to_the_same_results(cluster, undisturbed, measured) -> None:
    running = cluster.ask("submit", HEAVY, some_seconds(), SEEDS, SHOTS)
    cluster.ask("await_jobs", running[:1], "Executing")
    moment = cluster.ask("kill_node")
    other = cluster.ask("submit", DEVICE, BELL, [1], 64)
    [told] = cluster.ask("await_jobs", other, "Completed")
    measured("node killed: first result of another node", told["at"] - moment)
    until(lambda: AGENT not in cluster.ask("status")["agents"] or cluster.ask("jobs", running)[0]["attempt"] > 1, 30)
    assert cluster.ask("living_nodes") == 1
    ended = cluster.ask("await_jobs", running, "Completed")
    check_same(ended, undisturbed)
    assert ended[0]["attempt"] == 2
    assert cluster.ask("devices")[HEAVY] == [AGENT], "its capacity is that of the node that is left"
    measured("node_recovery_s", ended[0]["at"] - moment)
    cluster.ask("add_node")
    until(lambda: cluster.ask("living_nodes") == 2, 20)


def test_a_node_that_was_given_up_comes_back_and_changes_nothing(cluster, undisturbed, measured) -> None:
    pids = cluster.ask("move_agent")
    assert cluster.ask("on_second_node", pids[AGENT])
    running = cluster.ask("submit", HEAVY, some_seconds(), SEEDS, SHOTS)
    cluster.ask("await_jobs", running[:1], "Executing")
    moment = cluster.ask("freeze_node")
    ended = cluster.ask("await_jobs", running, "Completed")
    measured("node silent: its jobs have their results", ended[0]["at"] - moment)
    check_same(ended, undisturbed)
    assert ended[0]["attempt"] >= 2
    cluster.ask("thaw_node")
    until(lambda: cluster.ask("frozen_left") == 0, 30, 0.1)
    check_same(cluster.ask("jobs", running), undisturbed)
    again = cluster.ask("submit", HEAVY, some_seconds(), SEEDS, SHOTS)
    check_same(cluster.ask("await_jobs", again, "Completed"), undisturbed)
    assert cluster.ask("devices")[HEAVY] == [AGENT]
    cluster.ask("add_node")
    until(lambda: cluster.ask("living_nodes") == 2, 20)


def test_the_control_store_dies_and_comes_back_and_nobody_forgets_anything(cluster, undisturbed, measured) -> None:
    running = cluster.ask("submit", HEAVY, some_seconds(), SEEDS, SHOTS)
    cluster.ask("await_jobs", running[:1], "Executing")
    before = cluster.ask("status")
    moment = cluster.ask("kill_gcs")
    cluster.ask("start_gcs")
    fresh = cluster.ask("submit", DEVICE, BELL, [1], 64)
    [told] = cluster.ask("await_jobs", fresh, "Completed")
    measured("control store killed: a job submitted meanwhile has its result", told["at"] - moment)
    until(lambda: cluster.ask("living_nodes") == 2, 20)
    measured("gcs_recovery_s", time.monotonic() - moment)
    ended = cluster.ask("await_jobs", running, "Completed")
    check_same(ended, undisturbed)
    assert {job["attempt"] for job in ended} == {1}, "what ran went on"
    after = cluster.ask("status")
    assert (after["pid"], after["epoch"]) == (before["pid"], before["epoch"]), "the scheduler noticed nothing"
    assert after["uptime_s"] > before["uptime_s"]
    assert set(after["agents"]) == set(before["agents"])


def test_a_new_cluster_on_the_storage_of_a_dead_one_finishes_every_job(cluster, undisturbed, measured) -> None:
    running = cluster.ask("submit", HEAVY, some_seconds(), SEEDS, SHOTS)
    cluster.ask("await_jobs", running[:1], "Executing")
    waiting = cluster.ask("submit", DEVICE, BELL, list(range(20)), 64)
    epoch = cluster.ask("status")["epoch"]
    began = time.monotonic()
    cluster.ask("stop")
    cluster.ask("start")
    measured("whole cluster killed: a new one serves", time.monotonic() - began)
    assert cluster.ask("status")["epoch"] == epoch + 1
    check_same(cluster.ask("await_jobs", running, "Completed"), undisturbed)
    for job in cluster.ask("await_jobs", waiting, "Completed"):
        assert job["states"].count("Completed") == 1
    measured("whole cluster killed: all its jobs have ended", time.monotonic() - began)
    assert cluster.ask("status")["live"] == 0

"""Jobs that are interrupted as their users do it: paused, checkpointed, cut short, restored, drained away, looped over."""

from __future__ import annotations

import os
import runpy
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qrtx_ray.client import JobStatus, QrtxClient, job_body
from qrtx_ray.errors import InvalidState, NotFound, StateChanged
from qrtx_ray.launch import LocalRuntime

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

MANILA, IDEAL = "fake_manila@aer", "fake_manila@aer_ideal"
SHOTS = 3000
CIRCUITS = 9


def long_job(client: QrtxClient, **fields: Any) -> JobStatus:
    """A job of three to five seconds in many slices: trajectories of a circuit that measures midway."""
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', "qreg q[3];", "creg c[3];"]
    for layer in range(8):
        lines += [f"rx(0.{layer + 1}) q[{qubit}];" for qubit in range(3)]
        lines += ["cx q[0],q[1];", "cx q[1],q[2];", f"measure q[{layer % 3}] -> c[{layer % 3}];"]
    circuit = {"format": "qasm2", "source": "\n".join([*lines, "measure q -> c;"])}
    return client.submit_body({"device": MANILA, "circuits": [circuit] * CIRCUITS, "shots": SHOTS, "seed": 5, **fields})


def until(condition: Callable[[], Any], within_s: float = 60.0) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.05)
    return found


def running(client: QrtxClient, job_id: str) -> JobStatus:
    """The job once it has done a part of its work."""

    def moved() -> JobStatus | None:
        job = client.get(job_id)
        assert not job.terminal, (job.state, job.error)
        return job if job.state == "Executing" and job.progress > 0 else None

    return until(moved)


def counts(client: QrtxClient, job_id: str) -> Any:
    return [pub["registers"] for pub in client.results(job_id)["pubs"]]


@pytest.fixture(scope="module")
def expected(runtime: LocalRuntime) -> Iterator[Any]:
    """What the long job measures when nobody disturbs it."""
    with QrtxClient(runtime.url, runtime.token) as client:
        job = long_job(client)
        assert client.wait(job.id, 120).state == "Completed"
        yield counts(client, job.id)


def test_a_job_that_was_paused_measures_the_same(client: QrtxClient, expected: Any) -> None:
    job = long_job(client)
    running(client, job.id)
    asked = client.pause(job.id)
    assert asked.state == "Paused" or asked.view["pause_requested"]
    paused = until(lambda: (now := client.get(job.id)).state == "Paused" and now)
    assert 0 < paused.progress < 1
    assert paused.view["checkpoints"][0]["progress"] == paused.progress
    assert client.pause(job.id).version == paused.version
    assert client.resume(job.id).state in {"Queued", "Allocating", "Executing"}
    ended = client.wait(job.id, 120)
    assert (ended.state, ended.view["preemptions"], ended.view["checkpoints"]) == ("Completed", 0, [])
    assert counts(client, job.id) == expected
    words = [change["to_state"] for change in client.history(job.id)]
    assert "Paused" in words


def test_a_job_waits_paused_without_ever_running(client: QrtxClient) -> None:
    client.pause_device(MANILA)
    try:
        job = long_job(client)
        until(lambda: client.get(job.id).state == "Queued")
        assert client.pause(job.id).state == "Paused"
    finally:
        client.resume_device(MANILA)
    assert client.updates(job.id, 0, 0.5)["state"] == "Paused"
    assert client.cancel(job.id).state == "Cancelled"
    with pytest.raises(InvalidState):
        client.resume(job.id)


def test_progress_and_checkpoints_are_followed_and_no_change_is_missing(client: QrtxClient, expected: Any) -> None:
    job = long_job(client)
    running(client, job.id)
    kept = client.checkpoint(job.id, 30)
    first = kept.view["checkpoints"][0]
    assert (first["sequence"], first["kind"]) == (1, "slices")
    assert 0 < first["progress"] <= 1
    assert client.checkpoints(job.id)[0] == first
    seen = list(client.watch(job.id))
    assert seen[-1].state == "Completed"
    assert any(0 < status.progress < 1 and status.slices for status in seen)
    history = client.history(job.id)
    assert [change["sequence"] for change in history] == sorted({change["sequence"] for change in history})
    assert any(change["reason"].startswith("checkpoint 1 at ") for change in history)
    middle = history[len(history) // 2]["sequence"]
    assert client.updates(job.id, middle)["changes"] == [one for one in history if one["sequence"] > middle]
    assert counts(client, job.id) == expected
    with pytest.raises(InvalidState):
        client.checkpoint(job.id)


def test_what_was_done_is_kept_and_a_new_job_goes_on_with_it(client: QrtxClient, expected: Any) -> None:
    job = long_job(client)
    running(client, job.id)
    client.checkpoint(job.id, 30)
    client.cancel(job.id, partial=True)
    ended = client.wait(job.id, 60)
    assert (ended.state, ended.partial) == ("Cancelled", True)
    assert 0 < ended.progress < 1
    results = client.results(job.id)
    assert results["metadata"]["qrtx"]["partial"]
    done = sum(pub["shots"] for pub in results["pubs"])
    assert 0 < done < SHOTS * CIRCUITS
    assert all(sum(pub["registers"]["c"]["counts"].values()) == pub["shots"] for pub in results["pubs"])
    new = client.restore(job.id)
    assert (new.view["restored_from"], new.view["seed"]) == (job.id, ended.view["seed"])
    assert client.wait(new.id, 120).state == "Completed"
    assert counts(client, new.id) == expected
    with pytest.raises(NotFound):
        client.restore(job.id, 99)


def test_a_drained_device_gives_its_work_back_and_goes_on_later(client: QrtxClient, expected: Any) -> None:
    job = long_job(client)
    running(client, job.id)
    assert client.drain_device(MANILA)["status"] == "paused"
    try:
        until(lambda: client.get(job.id).state == "Queued")
        (device,) = [one for one in client.devices() if one["name"] == MANILA]
        assert (device["running"], device["status"]) == (0, "paused")
    finally:
        client.resume_device(MANILA)
    assert client.wait(job.id, 120).state == "Completed"
    assert counts(client, job.id) == expected


def test_a_drained_agents_work_goes_on_elsewhere_or_waits(client: QrtxClient, expected: Any) -> None:
    serving = [one["name"] for one in client.agents() if MANILA in one["devices"]]
    assert serving
    job = long_job(client)
    running(client, job.id)
    try:
        for name in serving:
            assert client.drain_agent(name)["drained"]
        until(lambda: client.get(job.id).state == "Queued")
        until(lambda: all(one["running"] == 0 for one in client.agents() if one["name"] in serving))
    finally:
        for name in serving:
            client.resume_agent(name)
    assert client.wait(job.id, 120).state == "Completed"
    assert counts(client, job.id) == expected


def test_a_running_job_moves_to_another_agent_where_there_is_one(client: QrtxClient, expected: Any) -> None:
    serving = [one["name"] for one in client.agents() if MANILA in one["devices"]]
    job = long_job(client)
    running(client, job.id)
    if len(serving) > 1:
        client.migrate(job.id)
    else:
        with pytest.raises(InvalidState):
            client.migrate(job.id)
    assert client.wait(job.id, 120).state == "Completed"
    assert counts(client, job.id) == expected


def walk(client: QrtxClient, name: str, until_iteration: int) -> dict[str, Any]:
    """A few steps of a loop whose numbers come from noise: of the generator and of shots."""
    circuit = 'OPENQASM 3.0;\ninclude "stdgates.inc";\ninput float[64] a;\nqubit q;\nrx(a) q;\n'
    loop = client.hybrid_loop(name, {"x": np.array([0.4]), "rng": np.random.default_rng(3)}, iterations=4, seed=9)
    for step in loop:
        x = step.state["x"] + step.state["rng"].normal(scale=0.1, size=1)
        pair = [
            job_body(circuit, IDEAL, parameters=[(x + side).tolist()], observables=[{"Z": 1.0}], shots=64)
            for side in (-0.2, 0.2)
        ]
        low, high = (float(np.ravel(one["pubs"][0]["evs"])[0]) for one in step.run(pair))
        if step.iteration >= until_iteration:
            return {}  # dies here, with its jobs done and nothing saved
        step.save(x=x - (high - low))
    return loop.state


def test_a_loop_outlives_its_client_and_the_state_manager(runtime: LocalRuntime, client: QrtxClient) -> None:
    whole = walk(client, "undisturbed", 99)
    for lasting in (1, 2):
        with QrtxClient(runtime.url, runtime.token) as mortal:
            assert walk(mortal, "disturbed", lasting) == {}
    kill_state_manager()
    disturbed = walk(client, "disturbed", 99)
    assert disturbed["x"].tobytes() == whole["x"].tobytes()
    assert disturbed["rng"].bit_generator.state == whole["rng"].bit_generator.state
    tags = [job.view["tags"] for job in client.jobs(limit=50) if job.view["tags"]]
    mine = [tag for several in tags for tag in several if tag.startswith("disturbed.")]
    assert len(mine) == len(set(mine)) == 8


def kill_state_manager() -> None:
    import ray

    from qrtx_ray.actors.names import STATE_MANAGER, find_actor

    os.kill(ray.get(find_actor(STATE_MANAGER).ping.remote()), signal.SIGKILL)


def test_named_states_are_compared_before_they_are_replaced(client: QrtxClient) -> None:
    first = client.put_state("mine", {"a": np.arange(3)}, expected="")
    second = client.put_state("mine", {"a": np.arange(4)}, expected=first)
    with pytest.raises(StateChanged):
        client.put_state("mine", {"a": np.arange(5)}, expected=first)
    state, etag = client.get_state("mine")
    assert (state["a"].tolist(), etag) == ([0, 1, 2, 3], second)
    assert "mine" in {one["name"] for one in client.states()}
    client.delete_state("mine", expected=second)
    with pytest.raises(NotFound):
        client.get_state("mine")


def test_the_example_of_a_loop_runs(client: QrtxClient) -> None:
    path = Path(__file__).parents[2] / "examples" / "resumable_vqe.py"
    minimise = runpy.run_path(str(path))["minimise"]
    first = minimise(client, "example", 1)
    second = minimise(client, "example", 2)
    assert second["energies"][:1] == first["energies"]
    assert len(second["energies"]) == 2
    assert all(-1.3 < energy < 0.0 for energy in second["energies"])

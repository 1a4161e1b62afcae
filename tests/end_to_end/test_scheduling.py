"""The scheduler as its users meet it: chosen devices, urgent work, estimates, reservations, quotas, dry runs, restarts."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2

from qrtx_ray.client import JobStatus, QrtxClient
from qrtx_ray.client.connection import Connection
from qrtx_ray.errors import DeadlineUnmeetable, NotFound, QuotaQueued, ValidationError
from qrtx_ray.launch import LocalRuntime

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

MANILA, LIMA, QUITO = "fake_manila@aer", "fake_lima@aer", "fake_quito@aer"
BELL = """OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
"""


def until(condition: Callable[[], Any], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.05)


def counts(client: QrtxClient, job: str) -> Any:
    return [pub["registers"] for pub in client.results(job)["pubs"]]


def long_job(client: QrtxClient, **fields: Any) -> JobStatus:
    """A job of some ten seconds in many slices: trajectories of a circuit that measures midway."""
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', "qreg q[3];", "creg c[3];"]
    for layer in range(8):
        lines += [f"rx(0.{layer + 1}) q[{qubit}];" for qubit in range(3)]
        lines += ["cx q[0],q[1];", "cx q[1],q[2];", f"measure q[{layer % 3}] -> c[{layer % 3}];"]
    circuit = {"format": "qasm2", "source": "\n".join([*lines, "measure q -> c;"])}
    return client.submit_body({"device": MANILA, "circuits": [circuit] * 28, "shots": 3000, "seed": 5, **fields})


def test_a_job_that_leaves_the_choice_is_placed_and_says_why(client: QrtxClient) -> None:
    job = client.submit(BELL, "auto", devices=["manila", LIMA, "fake_armonk@aer"], shots=200, seed=3)
    ended = client.wait(job.id, 60)
    assert (ended.state, ended.device in {MANILA, LIMA}) == ("Completed", True)
    told = {one["device"]: one for one in client.explain(job.id)["candidates"]}
    assert told.keys() == {MANILA, LIMA, "fake_armonk@aer"}
    assert told["fake_armonk@aer"]["refusal"], "one qubit is too few"
    assert [name for name, one in told.items() if one["chosen"]] == [ended.device]
    assert 0.5 < told[ended.device]["fidelity"] < 1.0
    assert sum(counts(client, job.id)[0]["c"]["counts"].values()) == 200
    # the survey of before and the compiled circuit agree about what the device does to it
    assert ended.view["profile"]["fidelity"] == pytest.approx(told[ended.device]["fidelity"], abs=0.05)


def test_an_urgent_job_preempts_a_long_one_and_both_give_what_they_give_alone(client: QrtxClient) -> None:
    alone = long_job(client)
    assert client.wait(alone.id, 120).state == "Completed"
    low = long_job(client, priority=10)
    until(lambda: client.get(low.id).progress > 0.02)
    urgent = client.submit(BELL, MANILA, shots=100, seed=3, priority=95)
    assert client.wait(urgent.id, 60).state == "Completed"
    assert not client.get(low.id).terminal
    ended = client.wait(low.id, 120)
    assert (ended.state, ended.view["preemptions"], ended.view["retries"]) == ("Completed", 1, 0)
    assert counts(client, low.id) == counts(client, alone.id)


def test_what_a_job_would_be_is_known_before_it_is_one(client: QrtxClient) -> None:
    before = len(client.jobs(limit=200))
    told = client.estimate(BELL, "auto", devices=["manila", LIMA, "fake_quito@aer_ideal"], shots=1000)
    assert len(client.jobs(limit=200)) == before
    devices = {one["device"]: one for one in told["devices"]}
    assert devices.keys() == {MANILA, LIMA, "fake_quito@aer_ideal"}
    assert devices["fake_quito@aer_ideal"]["fidelity"] is None
    figures = devices[MANILA]
    assert figures["wait_low_s"] <= figures["wait_s"] <= figures["wait_high_s"]
    ran = client.wait(client.submit(BELL, MANILA, shots=1000).id, 60)
    assert ran.qpu_s == pytest.approx(figures["qpu_s"], rel=0.1)
    assert ran.view["profile"]["fidelity"] == pytest.approx(figures["fidelity"], abs=0.05)


def test_a_circuit_that_cannot_be_read_is_not_estimated(client: QrtxClient) -> None:
    with pytest.raises(ValidationError) as caught:
        client.estimate("OPENQASM 3.0; nonsense", MANILA)
    assert caught.value.field == "circuits[0].source"


def test_a_reserved_device_is_its_tenants_alone(client: QrtxClient, limited: QrtxClient) -> None:
    ends = datetime.now(UTC) + timedelta(minutes=10)
    held = client.reserve(LIMA, ends, tenant="limited")
    try:
        others = client.submit(BELL, LIMA, shots=10)
        until(lambda: client.get(others.id).state == "Queued")
        meant = limited.submit(BELL, LIMA, shots=10, reservation=held["name"])
        assert limited.wait(meant.id, 60).state == "Completed"
        assert client.get(others.id).state == "Queued"
        assert "reserved" in client.explain(others.id)["reason"]
        assert client.estimate(BELL, LIMA)["devices"][0]["wait_s"] > 300
        [seen] = [one for one in limited.reservations() if one["device"] == LIMA]
        assert (seen["name"], seen["active"]) == (held["name"], True)
    finally:
        client.release(held["name"])
    assert client.wait(others.id, 60).state == "Completed"
    with pytest.raises(NotFound):
        limited.submit(BELL, LIMA, reservation=held["name"])


def test_quotas_and_deadlines_that_cannot_be_kept_are_refused_at_the_door(
    client: QrtxClient, limited: QrtxClient
) -> None:
    name = client.reserve(QUITO, datetime.now(UTC) + timedelta(minutes=10))["name"]
    try:
        held_up = [limited.submit(BELL, QUITO, shots=10) for _ in range(2)]
        with pytest.raises(QuotaQueued) as caught:
            limited.submit(BELL, MANILA, shots=10)
        assert caught.value.limit == "2 jobs"
        assert limited.usage()["quotas"]["queued"] == {"used": 2, "limit": 2}
        for job in held_up:
            limited.cancel(job.id)
    finally:
        client.release(name)
    with pytest.raises(DeadlineUnmeetable):
        client.submit(BELL, MANILA, deadline="2020-01-01T00:00:00Z")
    failed = client.wait(client.submit(BELL, MANILA, fidelity_floor=1.0).id, 60)
    assert (failed.state, failed.error and failed.error.code) == ("Failed", "fidelity_floor_unmet")


def test_the_official_client_asks_with_a_dry_run(
    runtime: LocalRuntime, client: QrtxClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in Connection(runtime.url, runtime.token).runtime_environment().items():
        monkeypatch.setenv(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        backend = QiskitRuntimeService().backend(MANILA)
        circuit = QuantumCircuit(2)
        circuit.h(0)
        circuit.cx(0, 1)
        circuit.measure_all()
        isa = generate_preset_pass_manager(optimization_level=1, backend=backend, seed_transpiler=5).run(circuit)
        job = SamplerV2(backend, options={"experimental": {"qrtx": {"dry_run": True}}}).run([isa], shots=1000)
        result = job.result()
    assert len(result) == 0
    estimate = result.metadata["qrtx"]["estimate"]
    view = client.get(job.job_id()).view
    assert (view["state"], view["dry_run"], view["qpu_s"] or 0.0) == ("Completed", True, 0.0)
    assert estimate


def test_what_the_scheduler_knows_besides_jobs_survives_its_death(client: QrtxClient, limited: QrtxClient) -> None:
    import ray

    from qrtx_ray.actors.names import NAMESPACE, SCHEDULER

    held = client.reserve(LIMA, datetime.now(UTC) + timedelta(minutes=10), tenant="limited")
    try:
        job = limited.submit(BELL, LIMA, shots=100, reservation=held["name"])
        assert limited.wait(job.id, 60).state == "Completed"
        used = limited.usage()
        assert used["decayed_qpu_s"] > 1.0
        os.kill(ray.get(ray.get_actor(SCHEDULER, namespace=NAMESPACE).ping.remote()), signal.SIGKILL)
        after = limited.usage()
        assert after["decayed_qpu_s"] == pytest.approx(used["decayed_qpu_s"], rel=1e-3)
        assert after["quotas"]["qpu_seconds"]["used"] == pytest.approx(used["quotas"]["qpu_seconds"]["used"])
        assert held in client.reservations()
        until(lambda: client.health()["ready"])
        again = limited.submit(BELL, LIMA, shots=100, reservation=held["name"])
        assert limited.wait(again.id, 60).state == "Completed"
    finally:
        client.release(held["name"])

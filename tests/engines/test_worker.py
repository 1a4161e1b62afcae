from __future__ import annotations

import subprocess
import sys

import pytest

from qrtx_ray.devices.cost import JobCost
from qrtx_ray.engines.protocol import JobOutcome
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.engines.worker import _run_members, create
from qrtx_ray.errors import DecodeError, ErrorInfo, ExecuteError, QrtxError, ResourceExhausted, ValidationError

from .building import estimator_job, hardware_efficient, read, sampler_job

DEVICE = "fake_manila@aer_ideal"


def member(job, job_id="a", seed=1):
    return {"job_id": job_id, "seed": seed, "executable": job.to_bytes()}


def test_a_request_gives_one_outcome_for_each_member_in_order():
    handle = create({"threads": 1})
    members = [member(sampler_job(hardware_efficient(3, seed=i)), f"job{i}", i) for i in range(3)]
    reply = handle({"device": DEVICE, "members": members}, lambda _: None)
    assert [outcome["job_id"] for outcome in reply["outcomes"]] == ["job0", "job1", "job2"]
    for seed, outcome in enumerate(reply["outcomes"]):
        assert outcome["error"] is None
        assert outcome["qpu_s"] > 2
        assert read(outcome["results"]).metadata["qrtx"]["seed"] == seed


def test_bytes_that_are_no_job_and_jobs_of_another_device_fail_alone():
    handle = create({})
    good = sampler_job(hardware_efficient(2))
    foreign = sampler_job(hardware_efficient(2), device="fake_montreal@aer_ideal")
    members = [{"job_id": "x", "seed": 1, "executable": b"\x00junk"}, member(foreign, "y"), member(good, "z")]
    outcomes = handle({"device": DEVICE, "members": members}, lambda _: None)["outcomes"]
    errors = [outcome["error"] and ErrorInfo.from_dict(outcome["error"]) for outcome in outcomes]
    assert isinstance(QrtxError.from_info(errors[0]), DecodeError)
    assert "fake_montreal@aer_ideal" in errors[1].message
    assert errors[2] is None


def test_what_would_not_fit_is_refused_with_both_numbers():
    handle = create({"memory_bytes": 10_000_000})
    wide = hardware_efficient(20, 2)
    job = estimator_job(wide.remove_final_measurements(inplace=False), (), device="fake_montreal@aer_ideal")
    message = {"device": "fake_montreal@aer_ideal", "members": [member(job)]}
    error = ErrorInfo.from_dict(create({"memory_bytes": 10_000_000})(message, lambda _: None)["outcomes"][0]["error"])
    assert error.code == ResourceExhausted.code
    assert "10000000 bytes" in error.message
    assert str(engine_for("aer_ideal").estimate(job).bytes) in error.message
    small = {"device": DEVICE, "members": [member(sampler_job(hardware_efficient(3)))]}
    assert handle(small, lambda _: None)["outcomes"][0]["error"] is None


def test_sixty_qubits_are_refused_and_not_attempted():
    job = sampler_job(hardware_efficient(60, 1), device="fake_sherbrooke@aer_ideal")
    message = {"device": "fake_sherbrooke@aer_ideal", "members": [member(job)]}
    error = create({"memory_bytes": 2**40})(message, lambda _: None)["outcomes"][0]["error"]
    assert error["code"] == "resource_exhausted"
    assert int(error["message"].split()[4]) >= 16 * 2**60


class SlowEngine:
    """Claims that every job takes long, and reports progress."""

    name = "slow"

    def estimate(self, job):
        return JobCost(10.0, 1)

    def run(self, runs, progress=None):
        progress(0, 0.5)
        if runs[0].seed == 13:
            raise RuntimeError("/etc/passwd: secret")
        return [JobOutcome(results=b"done")]


def test_finished_members_are_sent_ahead_while_others_take_long():
    sent = []
    members = [member(sampler_job(hardware_efficient(2)), name) for name in ("a", "b")]
    outcomes = _run_members(SlowEngine(), DEVICE, members, sent.append)
    early = [message for message in sent if "outcome" in message]
    assert [message["job_id"] for message in early] == ["a"]
    assert early[0]["outcome"] == outcomes[0]


def test_an_engine_that_raises_loses_one_member_and_no_text_of_the_library():
    members = [member(sampler_job(hardware_efficient(2)), "a", 13), member(sampler_job(hardware_efficient(2)), "b")]
    first, second = _run_members(SlowEngine(), DEVICE, members, lambda _: None)
    assert first["error"]["code"] == "internal"
    assert "secret" not in first["error"]["message"]
    assert second["results"] == b"done"


def test_a_wrong_device_name_is_refused():
    with pytest.raises(ValidationError):
        create({})({"device": "nonsense", "members": []}, lambda _: None)


def test_an_unknown_executor_is_refused():
    with pytest.raises(ExecuteError, match="warp"):
        engine_for("warp")


def test_plug_ins_are_found_by_entry_point(monkeypatch):
    class Point:
        @staticmethod
        def load():
            return lambda **options: ("made", options)

    monkeypatch.setattr("qrtx_ray.engines.registry.entry_points", lambda group, name: [Point] if name == "warp" else [])
    assert engine_for("warp", threads=2) == ("made", {"threads": 2, "memory_bytes": None})


def test_creating_a_worker_loads_no_simulator():
    code = "import sys, qrtx_ray.engines.worker as w; w.create({}); print('qiskit_aer' in sys.modules, 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]

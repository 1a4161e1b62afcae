from __future__ import annotations

import subprocess
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from qrtx_ray.devices.cost import JobCost
from qrtx_ray.engines import caller
from qrtx_ray.engines.protocol import JobOutcome
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.engines.worker import _run_members, create
from qrtx_ray.errors import DecodeError, ErrorInfo, ExecuteError, QrtxError, ResourceExhausted, ValidationError
from qrtx_ray.model.noise import NoiseId

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

    def run(self, runs, progress=None, keep=None):
        progress(0, 0.5)
        if runs[0].seed == 13:
            raise RuntimeError("/etc/passwd: secret")
        return [JobOutcome(results=b"done")]


def test_finished_members_are_sent_ahead_while_others_take_long():
    sent = []
    members = [member(sampler_job(hardware_efficient(2)), name) for name in ("a", "b")]
    outcomes = _run_members(SlowEngine(), {"device": DEVICE, "members": members}, sent.append)
    early = [message for message in sent if "outcome" in message]
    assert [message["job_id"] for message in early] == ["a"]
    assert early[0]["outcome"] == outcomes[0]


def test_an_engine_that_raises_loses_one_member_and_no_text_of_the_library():
    members = [member(sampler_job(hardware_efficient(2)), "a", 13), member(sampler_job(hardware_efficient(2)), "b")]
    first, second = _run_members(SlowEngine(), {"device": DEVICE, "members": members}, lambda _: None)
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


class Line:
    """A caller that interrupts: what `notes` holds when the handler looks for the n-th time."""

    def __init__(self, *notes):
        self.sent = []
        self.looks = 0
        self._notes = list(notes)

    def __call__(self, event):
        self.sent.append(event)

    def interrupts(self):
        self.looks += 1
        return [self._notes.pop(0)] if self._notes else []


@pytest.fixture
def fine(monkeypatch):
    """Every question is asked, and three shots make a slice."""
    monkeypatch.setattr(caller, "ASK_EVERY_S", 0.0)
    monkeypatch.setattr("qrtx_ray.engines.sampler.rows_per_slice", lambda _row_s: 1)


def swept(job_id, seed=1, rows=5):
    job = sampler_job(hardware_efficient(2))
    pub = job.pubs[0]
    pub = replace(pub, values=np.repeat(pub.values, rows, axis=0), shape=(rows,))
    return member(replace(job, pubs=(pub,)), job_id, seed)


def test_the_one_that_runs_leaves_a_checkpoint_those_not_begun_go_back_and_the_others_go_on(fine):
    handle = create({})
    members = [swept("done"), swept("left"), swept("stays", 7), swept("waits")]
    # One look before each member and one after each of its slices.
    line = Line(*[{}] * 8, {"preempt": ["left", "waits", "done", "nobody"]})
    outcomes = handle({"device": DEVICE, "noise_id": "", "members": members}, line)["outcomes"]
    done, left, stays, waits = outcomes
    assert done["error"] is stays["error"] is None
    assert done["results"]
    assert stays["results"] == handle({"device": DEVICE, "members": members[2:3]}, Line())["outcomes"][0]["results"]
    assert (waits["preempted"], waits["checkpoint"], waits["progress"]) == (True, b"", 0.0)
    [early] = [event["outcome"] for event in line.sent if "outcome" in event]
    assert early["job_id"] == "left"
    assert early["preempted"]
    assert 0.0 < early["progress"] < 1.0
    assert left == early | {"checkpoint": b""}, "the reply does not carry it twice"

    goes_on = members[1] | {"checkpoint": early["checkpoint"]}
    line = Line()
    [rest] = handle({"device": DEVICE, "members": [goes_on]}, line)["outcomes"]
    [whole] = handle({"device": DEVICE, "members": [members[1]]}, Line())["outcomes"]
    assert rest["results"] == whole["results"]
    assert "anew" not in rest


def test_a_checkpoint_that_is_none_is_no_reason_to_fail(fine):
    [outcome] = create({})({"device": DEVICE, "members": [swept("a") | {"checkpoint": b"none"}]}, Line())["outcomes"]
    assert outcome["error"] is None
    assert outcome["results"]
    assert "cannot be read" in outcome["anew"]


def test_a_lone_member_hands_its_checkpoint_out_with_the_reply(fine):
    line = Line({}, {}, {"preempt": ["a"]})
    [outcome] = create({})({"device": DEVICE, "members": [swept("a")]}, line)["outcomes"]
    assert outcome["preempted"]
    assert outcome["checkpoint"]
    assert not [event for event in line.sent if "outcome" in event]


def test_a_checkpoint_is_handed_out_and_the_run_goes_on(fine):
    handle, one = create({}), swept("a", seed=4)
    line = Line({}, {}, {"checkpoint": ["a"]})
    [outcome] = handle({"device": DEVICE, "members": [one]}, line)["outcomes"]
    [whole] = handle({"device": DEVICE, "members": [one]}, Line())["outcomes"]
    assert outcome["results"] == whole["results"]
    assert "preempted" not in outcome
    [event] = [event for event in line.sent if "checkpoint" in event]
    assert (event["job_id"], event["progress"], event["bulk_bytes"], event["bulk_at"]) == ("a", 0.4, 0, 0)
    assert (event["about"]["engine"], event["about"]["kind"], event["about"]["seed"]) == ("aer_ideal", "slices", "4")
    assert all(isinstance(value, str | int) for value in event["about"].values())
    [rest] = handle({"device": DEVICE, "members": [one | {"checkpoint": event["checkpoint"]}]}, Line())["outcomes"]
    assert rest["results"] == whole["results"]


def test_checkpoints_are_taken_by_elapsed_time_one_after_the_other(fine):
    line = Line({}, {}, {}, {}, {"taken": ["a"]})
    [outcome] = create({})({"device": DEVICE, "members": [swept("a", rows=8) | {"checkpoint_every_s": 1e-9}]}, line)[
        "outcomes"
    ]
    assert outcome["results"]
    # The second look is that after the first slice; the word that the first one is durable comes with the fifth.
    assert [event["progress"] for event in line.sent if "checkpoint" in event] == [1 / 8, 4 / 8]


def test_a_concluded_member_gives_what_is_done_and_those_not_begun_go_back(fine):
    handle, members = create({}), [swept("a"), swept("b"), swept("c")]
    left = handle({"device": DEVICE, "members": [swept("b", seed=9)]}, Line({}, {}, {"preempt": ["b"]}))["outcomes"][0]
    members[1] = swept("b", seed=9) | {"checkpoint": left["checkpoint"]}
    line = Line({}, {}, {}, {"conclude": ["a", "b", "c"]})
    a, b, c = handle({"device": DEVICE, "members": members}, line)["outcomes"]
    assert (a["partial"], a["progress"]) == (True, 0.6)
    assert "checkpoint" not in a
    document = read(a["results"])
    assert document[0].data.shape == (3,)
    assert document.metadata["qrtx"]["partial"]
    assert (b["partial"], b["progress"]) == (True, 0.4), "what its checkpoint held, without a further slice"
    assert read(b["results"])[0].data.shape == (2,)
    assert (c["preempted"], c["checkpoint"], c["progress"]) == (True, b"", 0.0)


def test_to_conclude_what_is_done_is_too_late(fine):
    line = Line({}, *[{}] * 4, {"conclude": ["a"]})
    [outcome] = create({})({"device": DEVICE, "members": [swept("a")]}, line)["outcomes"]
    assert "partial" not in outcome
    assert read(outcome["results"])[0].data.shape == (5,)


def test_small_jobs_are_not_held_up_by_questions():
    line = Line()
    create({})({"device": DEVICE, "members": [swept(f"job{n}", rows=50) for n in range(8)]}, line)
    assert line.looks < 60, "at most one in ten milliseconds"


def test_an_engine_that_keeps_nothing_runs_on():
    line = Line({"preempt": ["a", "b"]})
    members = [member(sampler_job(hardware_efficient(2)), name) for name in ("a", "b")]
    first, second = _run_members(SlowEngine(), {"device": DEVICE, "members": members}, line)
    assert first["preempted"], "it had not begun"
    assert second["preempted"]
    line = Line({}, {"preempt": ["a"]})
    [only] = _run_members(SlowEngine(), {"device": DEVICE, "members": members[:1]}, line)
    assert only["results"] == b"done"


def test_the_noise_of_the_request_is_the_noise_of_the_run():
    noise = NoiseId(seed=3, rate=0.5, epoch=1, step=20).text()
    job = sampler_job(hardware_efficient(3), device="fake_manila@aer")
    handle, request = create({}), {"device": "fake_manila@aer", "members": [member(job)]}
    drifted, packaged = (
        read(handle(request | {"noise_id": noise_id}, lambda _: None)["outcomes"][0]["results"])
        for noise_id in (noise, "")
    )
    assert drifted.metadata["qrtx"]["noise_id"] == noise
    assert "noise_id" not in packaged.metadata["qrtx"]
    assert drifted.metadata["qrtx"]["calibration_id"] != packaged.metadata["qrtx"]["calibration_id"]
    assert drifted[0].data.c.get_counts() != packaged[0].data.c.get_counts()


def test_a_probe_is_measured_in_the_child(monkeypatch):
    probe = types.ModuleType("qrtx_ray.engines.probe")
    probe.measure = lambda device, noise_id, seed: {(DEVICE, "n", 3): np.float64(0.75)}[device, noise_id, seed]
    monkeypatch.setitem(sys.modules, "qrtx_ray.engines.probe", probe)
    reply = create({})({"probe": {"device": DEVICE, "noise_id": "n", "seed": 3}}, lambda _: None)
    assert reply == {"fidelity": 0.75}
    assert type(reply["fidelity"]) is float, "plain data"

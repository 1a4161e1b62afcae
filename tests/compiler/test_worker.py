"""The child's handler: one report for each task, and no task can spoil another's or learn our insides."""

from __future__ import annotations

from dataclasses import fields

import msgpack
import pytest
from qiskit import QuantumCircuit, qasm3

from qrtx_ray.compiler import pipeline
from qrtx_ray.compiler.worker import create
from qrtx_ray.devices.executable import ExecutableJob
from qrtx_ray.errors import ErrorInfo, ValidationError
from qrtx_ray.model.job import CircuitProfile
from tests.compiler.payloads import hardware_efficient, native_payload, runtime_payload, task

GOOD = runtime_payload("sampler", [(hardware_efficient(3, 0), None, 100)])


def reports(*tasks, config=None):
    """The reports of one message, whether they came as events or with the reply."""
    events = []
    reply = create(config or {})({"tasks": list(tasks)}, events.append)
    # What goes over the pipe is plain data.
    reply, events = msgpack.unpackb(msgpack.packb([reply, events]))
    return [*(event["report"] for event in events), *reply["reports"]]


def test_of_several_tasks_each_report_is_sent_as_soon_as_it_stands():
    handle = create({})
    events = []
    assert handle({"tasks": [task("sampler", GOOD)] * 2}, events.append) == {"reports": []}
    assert [set(event) for event in events] == [{"report"}, {"report"}]
    assert len(handle({"tasks": [task("sampler", GOOD)]}, events.append)["reports"]) == 1
    assert len(events) == 2


def test_a_batch_is_reported_in_order_with_everything_the_actor_needs():
    tasks = [task("sampler", GOOD, job_id=f"job-{index}", seed=index) for index in range(3)]
    found = reports(*tasks)
    assert [report["job_id"] for report in found] == ["job-0", "job-1", "job-2"]
    for report in found:
        assert report["error"] is None
        assert set(report["profile"]) == {item.name for item in fields(CircuitProfile)}
        assert CircuitProfile(**report["profile"]).active_qubits == 3
        assert ExecutableJob.from_bytes(report["executable"]).pubs[0].shots == 100
        assert set(report["artefacts"]) == {"input.job.yaml", "compiled.aqo.json", "compiled.qasm"}
    assert found[0]["executable"] == found[2]["executable"]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"payload": b"{"}, "decode_failed"),
        ({"payload": b"\xff\xfe"}, "decode_failed"),
        ({"payload": b"{}"}, "validation_failed"),
        ({"device": "fake_nowhere@aer"}, "not_found"),
        ({"device": "../etc@aer"}, "validation_failed"),
        ({"program": "executor"}, "validation_failed"),
        ({"payload_format": "pickle"}, "validation_failed"),
        ({"program": "estimator"}, "validation_failed"),
    ],
)
def test_a_bad_task_is_its_own_error_and_its_neighbours_compile(bad, code):
    first, second, third = reports(
        task("sampler", GOOD), task("sampler", GOOD, job_id="bad") | bad, task("sampler", GOOD)
    )
    assert first["error"] is third["error"] is None
    assert first["executable"] == third["executable"]
    assert ErrorInfo.from_dict(second["error"]).code == code
    assert (second["job_id"], second["profile"], second["executable"], second["artefacts"]) == ("bad", None, b"", {})


class PanicLikeError(BaseException):
    """As a native library's panic: no Exception."""


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (PanicLikeError("secret"), "compile_failed"),
        (MemoryError("secret"), "resource_exhausted"),
        (RecursionError("secret"), "decode_failed"),
        (RuntimeError("secret"), "compile_failed"),
        (ValidationError("ours", field="f"), "validation_failed"),
    ],
)
def test_whatever_is_raised_inside_becomes_a_report_in_our_words(monkeypatch, caplog, raised, code):
    decode = pipeline.decode_runtime
    calls = iter([True, False])

    def decoding(*args, **more):
        if next(calls):
            raise raised
        return decode(*args, **more)

    monkeypatch.setattr(pipeline, "decode_runtime", decoding)
    bad, good = reports(task("sampler", GOOD), task("sampler", GOOD))
    assert bad["error"]["code"] == code
    assert "secret" not in str(bad)
    assert "secret" not in caplog.text
    assert good["error"] is None


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_a_request_to_stop_stops(monkeypatch, raised):
    def stop(*args, **more):
        raise raised

    monkeypatch.setattr(pipeline, "decode_runtime", stop)
    with pytest.raises(raised):
        reports(task("sampler", GOOD))


def test_an_unexpected_failure_drops_the_pass_managers(monkeypatch):
    dropped = []

    def drop(compiler):
        dropped.append(compiler)

    monkeypatch.setattr(pipeline.Compiler, "forget_unfinished", drop)
    monkeypatch.setattr(pipeline, "job_cost", lambda *args, **more: 1 / 0)
    (report,) = reports(task("sampler", GOOD))
    assert report["error"]["category"] == "CompileError"
    assert len(dropped) == 1


def test_the_configuration_reaches_limits_and_compiler():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.h(0)
    circuit.measure_all()
    payload = native_payload(device="d", circuits=[{"format": "qasm3", "source": qasm3.dumps(circuit)}])
    depths = []
    for level in (0, 3):
        (report,) = reports(task("sampler", payload, native=True), config={"optimization_level": level, "other": 1})
        depths.append(report["profile"]["depth"])
    assert depths[0] > depths[1]
    (report,) = reports(task("sampler", GOOD), config={"limits": {"shots": 10}})
    assert report["error"]["field"] == "pubs[0].shots"


def test_compiled_texts_can_be_left_out():
    (report,) = reports(task("sampler", GOOD), config={"compiled_texts": False})
    assert set(report["artefacts"]) == {"input.job.yaml"}


def test_a_limit_that_does_not_exist_is_refused_when_the_child_starts():
    with pytest.raises(ValidationError, match="nonsense"):
        create({"limits": {"nonsense": 1}})

"""Result documents read back by the official decoder, the native API, JobSpec files, and the artefact texts."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from qiskit.primitives.containers import BitArray
from qiskit_ibm_runtime import RuntimeDecoder  # noqa: TID251 - reads our own results, as clients do

from qrtx_ray.codec.amounts import check_interval
from qrtx_ray.codec.aqo import aqo_text
from qrtx_ray.codec.jobspec import read_jobspec, write_jobspec
from qrtx_ray.codec.limits import Limits
from qrtx_ray.codec.native import decode_native
from qrtx_ray.codec.native_schema import NativeJob
from qrtx_ray.codec.qasm_text import qasm3_text
from qrtx_ray.codec.results import EstimatorPubData, SamplerPubData, encode_estimator, encode_sampler, native_view
from qrtx_ray.devices.program import CircuitProgram, Register
from qrtx_ray.errors import DecodeError, ValidationError
from qrtx_ray.model import Program

from .client_params import bell, qpy_bytes

LIMITS = Limits()
BELL3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\nbit[2] c;\nh q[0];\ncx q[0], q[1];\nc = measure q;\n'
TURN = 'OPENQASM 3.0;\ninclude "stdgates.inc";\ninput float[64] a;\nqubit q;\nrx(a) q;\n'


def program() -> CircuitProgram:
    ops = np.array([[0, 0, -1, -1, 0, 1], [1, 0, 1, -1, -1, 0], [2, 1, -1, -1, 0, 0]], dtype=np.int32)
    return CircuitProgram(127, (3, 7), ("rz", "ecr", "measure"), ops, 1, 1, (Register("c", (0,)),))


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_samples_are_read_by_the_official_decoder(shape):
    array = np.random.default_rng(0).integers(0, 4, size=(*shape, 10, 1), dtype=np.uint8)
    pub = SamplerPubData(shape, 10, {"meas": (2, array)}, {"circuit_metadata": {"id": 7}})
    document = encode_sampler([pub, pub], {"qrtx": {"seed": 1}})
    result = json.loads(document, cls=RuntimeDecoder)
    assert len(result) == 2
    assert result[0].data.shape == shape
    assert result[0].data.meas == BitArray(array, 2)
    assert result[0].metadata == {"circuit_metadata": {"id": 7}}
    assert result.metadata == {"execution": {}, "version": 2, "qrtx": {"seed": 1}}
    register = native_view(document, memory=True)["pubs"][0]["registers"]["meas"]
    if not shape:
        assert register["counts"] == result[0].data.meas.get_counts()
        assert register["memory"] == result[0].data.meas.get_bitstrings()


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_estimates_are_arrays_even_without_a_shape(shape):
    evs = np.random.default_rng(0).random(shape)
    document = encode_estimator([EstimatorPubData(np.asarray(evs), np.zeros(shape), np.zeros(shape))], {})
    (pub,) = json.loads(document, cls=RuntimeDecoder)
    assert pub.data.evs.shape == pub.data.stds.shape == pub.data.ensemble_standard_error.shape == shape
    assert np.array_equal(pub.data.evs, evs)
    assert native_view(document)["pubs"][0]["evs"] == np.asarray(evs).tolist()


def test_samples_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="register"):
        encode_sampler([SamplerPubData((), 5, {"c": (2, np.zeros((4, 1), np.uint8))})], {})
    with pytest.raises(DecodeError):
        native_view(b"{}")


def body(**circuit) -> bytes:
    top = circuit.pop("top", {})
    return json.dumps({"device": "fake_manila@aer", "circuits": [{"source": BELL3, **circuit}], **top}).encode()


def test_native_circuits_of_every_format_are_read():
    packed = base64.b64encode(qpy_bytes(bell())).decode()
    two = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; h q[0]; measure q[0] -> c[0];'
    for form, source in (("qasm3", BELL3), ("qasm2", two), ("qpy", packed)):
        job = decode_native(body(format=form, source=source, shots=9), Program.SAMPLER, LIMITS)
        assert (job.formats, job.shots) == ((form,), (9,))


def test_native_observables_are_taken_for_every_row():
    circuit = {"source": TURN, "parameters": [[0.0], [1.0], [2.0]], "observables": [{"Z": 1}, {"X": 1}]}
    assert decode_native(body(**circuit), Program.ESTIMATOR, LIMITS).pubs[0].shape == (3, 2)
    circuit |= {"parameters": {"a": [0, 1]}, "observables": {"Z": 1}}
    assert decode_native(body(**circuit), Program.ESTIMATOR, LIMITS).pubs[0].shape == (2,)


@pytest.mark.parametrize(
    ("circuit", "words"),
    [
        ({"shot": 1}, "did you mean 'shots'"),
        ({"top": {"sede": 1}}, "did you mean 'seed'"),
        ({"shots": "5"}, "circuits[0].shots"),
        ({"shots": 0}, "circuits[0].shots"),
        ({"source": 5}, "circuits[0].source"),
        ({"observables": [{"ZZ": 1}]}, "no meaning for a sampler"),
        ({"parameters": [1.0]}, "1 parameter values"),
        ({"top": {"priority": 101}}, "priority"),
    ],
)
def test_native_bodies_that_are_wrong_are_refused_by_name(circuit, words):
    with pytest.raises(ValidationError) as caught:
        decode_native(body(**circuit), Program.SAMPLER, LIMITS)
    assert words in caught.value.message


SPEC = """
apiVersion: eigen.os/v1
kind: QuantumJob
metadata: {name: v1-full}
spec:
  target: fake_manila@aer
  priority: 75
  program: {path: bell.qasm}
  metadata: {shots: "2048", seed: "7"}
"""


@pytest.mark.parametrize("deadline", ["2030-01-01T00:00:00Z", "2030-01-01", "'2030-01-01T00:00:00Z'"])
def test_a_jobspec_may_leave_the_choice_and_set_bounds(deadline):
    wishes = (
        f"devices: [manila, lima]\n  deadline: {deadline}\n  fidelity_floor: 0.5\n  dry_run: true\n  max_qpu_s: 3\n"
    )
    text = f"apiVersion: qrtx/v1\nkind: QuantumJob\nspec:\n  target: auto\n  {wishes}  program: {{source: x}}\n"
    body = read_jobspec(text, LIMITS).body
    assert (body["device"], body["devices"], body["fidelity_floor"]) == ("auto", ["manila", "lima"], 0.5)
    assert body["deadline"].startswith("2030-01-01")
    assert NativeJob.model_validate(body).dry_run
    assert read_jobspec(write_jobspec(body), LIMITS).body == body


@pytest.mark.parametrize("seconds", [0, 1, 2.5, 86_400])
def test_a_jobspec_may_say_how_often_progress_is_kept(seconds):
    wish = f"checkpoint_interval_s: {seconds}\n"
    text = f"apiVersion: qrtx/v1\nkind: QuantumJob\nspec:\n  target: manila\n  {wish}  program: {{source: x}}\n"
    body = read_jobspec(text, LIMITS).body
    assert NativeJob.model_validate(body).checkpoint_interval_s == seconds
    assert read_jobspec(write_jobspec(body), LIMITS).body == body
    assert check_interval(seconds, field="checkpoint_interval_s") == seconds


@pytest.mark.parametrize("value", [-1, 0.5, 86_401, float("nan"), "60", True, None])
def test_an_interval_out_of_bounds_is_refused_with_its_limit(value):
    with pytest.raises(ValidationError) as caught:
        check_interval(value, field="x")
    assert (caught.value.field, caught.value.limit) == ("x", "0, 1..86400 s")


def test_a_jobspec_becomes_a_native_body_and_back():
    spec = read_jobspec(SPEC, LIMITS, reader=lambda path: BELL3.encode())
    assert (spec.body["shots"], spec.body["seed"], spec.body["priority"]) == (2048, 7, 75)
    assert read_jobspec(write_jobspec(spec.body), LIMITS).body == spec.body
    job = decode_native(json.dumps(spec.body).encode(), Program.SAMPLER, LIMITS)
    assert (job.seed, job.shots) == (7, (2048,))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("bell.qasm", "/etc/passwd"),
        ("bell.qasm", "../x.qasm"),
        ("  target", "  tagret"),
        ("QuantumJob", "Job"),
        ("eigen.os/v1", "v2"),
        ('"2048"', "many"),
        ("v1-full", "a/b"),
        ("{name: v1-full}", "&a [*a]"),
        ("{name: v1-full}", "!!python/object/apply:os.system [x]"),
    ],
)
def test_jobspecs_that_are_wrong_are_refused(old, new):
    with pytest.raises(ValidationError):
        read_jobspec(SPEC.replace(old, new), LIMITS, reader=lambda path: BELL3.encode())
    with pytest.raises(ValidationError, match="client only"):
        read_jobspec(SPEC, LIMITS)


def test_compiled_texts_name_physical_qubits():
    text = qasm3_text(program(), np.array([[0.5]]))
    assert "rz(0.5) $3;" in text
    assert "ecr $3, $7;" in text
    assert "c[0] = measure $7;" in text
    assert "input float[64] p0;" in qasm3_text(program())
    aqo = json.loads(aqo_text(program(), np.array([0.5])))
    assert aqo["operations"][0] == {"op": "RZ", "q": [3], "c": [], "params": [0.5]}
    assert aqo["operations"][2] == {"op": "MEASURE", "q": [7], "c": [0], "params": []}

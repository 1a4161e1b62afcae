"""Artefacts are readable by the tools that read their formats, and never longer than their bound."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from qiskit import QuantumCircuit, qasm3
from qiskit.circuit import Parameter

from qrtx_ray.compiler.artefacts import MAX_ARTEFACT_BYTES, Envelope, artefacts_of
from qrtx_ray.devices.executable import ExecutableJob, SamplerPub
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program_builder import build_program
from qrtx_ray.model.job import PayloadFormat, Program

MANILA = DeviceModel.load("fake_manila@aer")
ENVELOPE = Envelope("job", Program.SAMPLER, "fake_manila@aer", PayloadFormat.RUNTIME, 3, "client")


def job(*circuits: QuantumCircuit, rows=None) -> ExecutableJob:
    pubs = []
    for circuit in circuits:
        program, values = build_program(circuit, MANILA, parameter_values=rows)
        pubs.append(SamplerPub(program, values, () if len(values) == 1 else (len(values),), 10))
    return ExecutableJob("sampler", MANILA.name, "cal", tuple(pubs))


def circuit(length: int = 1, angle=0.5) -> QuantumCircuit:
    made = QuantumCircuit(2)
    for _ in range(length):
        made.rz(angle, 0)
        made.cx(0, 1)
    made.measure_all()
    return made


def test_the_input_is_json_and_yaml_and_holds_what_was_sent():
    text = artefacts_of(ENVELOPE, b'{"pubs": [1, 2.5, "\\u00e9"]}', job(circuit()))["input.job.yaml"]
    document = json.loads(text)
    assert document == yaml.safe_load(text)
    assert (document["apiVersion"], document["kind"]) == ("qrtx/v1", "QuantumJob")
    assert document["spec"]["params"] == {"pubs": [1, 2.5, "é"]}
    assert document["spec"]["device"] == "fake_manila@aer"


def test_a_large_payload_is_named_by_its_hash():
    payload = json.dumps("x" * MAX_ARTEFACT_BYTES).encode()
    spec = json.loads(artefacts_of(ENVELOPE, payload, job(circuit()))["input.job.yaml"])["spec"]
    assert "params" not in spec
    assert len(spec["params_sha256"]) == 64


def test_one_pub_is_one_document_with_its_numbers():
    texts = artefacts_of(ENVELOPE, b"{}", job(circuit()))
    document = json.loads(texts["compiled.aqo.json"])
    assert [operation["op"] for operation in document["operations"]] == ["RZ", "CX", "MEASURE", "MEASURE"]
    assert document["operations"][0]["params"] == [0.5]
    assert qasm3.loads(texts["compiled.qasm"]).count_ops()["cx"] == 1


def test_a_sweep_is_written_with_names_instead_of_numbers():
    texts = artefacts_of(ENVELOPE, b"{}", job(circuit(angle=Parameter("a")), rows=np.array([[0.1], [0.2]])))
    assert json.loads(texts["compiled.aqo.json"])["parameters"] == ["p0"]
    assert "input float[64] p0;" in texts["compiled.qasm"]


def test_several_pubs_are_a_list_and_texts_one_after_the_other():
    texts = artefacts_of(ENVELOPE, b"{}", job(circuit(1), circuit(2), circuit(3)))
    assert [document["metadata"]["pub"] for document in json.loads(texts["compiled.aqo.json"])] == [0, 1, 2]
    assert [line for line in texts["compiled.qasm"].splitlines() if line.startswith("// PUB")] == [
        "// PUB 0",
        "// PUB 1",
        "// PUB 2",
    ]


@pytest.mark.parametrize("lengths", [[30_000], [1, 30_000], [4_000] * 10])
def test_no_artefact_is_longer_than_its_bound_and_says_what_is_left_out(lengths):
    compiled = job(*[circuit(length) for length in lengths])
    texts = artefacts_of(ENVELOPE, b"{}", compiled)
    assert all(len(text) <= MAX_ARTEFACT_BYTES + 1024 for text in texts.values())
    last = json.loads(texts["compiled.aqo.json"])
    last = last if len(lengths) == 1 else last[-1]
    assert "left out" in last["truncated"]
    assert any(last["structure"] == pub.program.structure for pub in compiled.pubs)
    assert "left out" in texts["compiled.qasm"]

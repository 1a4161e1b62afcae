"""Surveys: sketches count what transpilation makes, candidates rank devices as compiling for them would."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit.random import random_circuit
from qiskit_ibm_runtime import RuntimeDecoder  # noqa: TID251 - what the client reads a document with

from qrtx_ray.codec.limits import Limits
from qrtx_ray.compiler.pipeline import Compiler, CompilerConfig
from qrtx_ray.compiler.sketching import sketch_of
from qrtx_ray.compiler.worker import create
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.model import NoiseId
from qrtx_ray.model.job import PayloadFormat, Program

from .payloads import hardware_efficient, native_payload, runtime_payload, task

FLEET = ["fake_kolkata@aer", "fake_manhattan@aer", "fake_sherbrooke@aer", "fake_fez@aer", "fake_manila@aer"]
GHZ5 = 'OPENQASM 3.0; include "stdgates.inc"; qubit[5] q; bit[5] c; h q[0]; cx q[0], q[1]; cx q[1], q[2]; cx q[2], q[3]; cx q[3], q[4]; c = measure q;'
RING8 = (
    'OPENQASM 3.0; include "stdgates.inc"; qubit[8] q; bit[8] c; '
    + " ".join(f"rx(0.3) q[{i}]; cx q[{i}], q[{(i + 1) % 8}];" for i in range(8))
    + " c = measure q;"
)


@pytest.fixture(scope="module")
def compiler():
    return Compiler()


def native(source, **more):
    return native_payload(device="auto", circuits=[{"format": "qasm3", "source": source}], **({"shots": 1000} | more))


def surveyed(compiler, payload, choices, program=Program.SAMPLER, payload_format=PayloadFormat.NATIVE):
    pairs = [choice if isinstance(choice, tuple) else (choice, "") for choice in choices]
    return compiler.survey(program=program, choices=pairs, payload=payload, payload_format=payload_format)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(1, 6), st.integers(0, 8), st.integers(0, 2**16))
def test_a_sketch_is_within_the_circuit(num_qubits, depth, seed):
    circuit = random_circuit(num_qubits, depth, max_operands=min(4, num_qubits), seed=seed, measure=True)
    sketch, used = sketch_of(circuit)
    assert sketch.qubits == len(used) == len(set(used)) == num_qubits
    assert sum(sketch.reads) == sketch.measurements == num_qubits
    assert all(0 <= a < sketch.qubits and 0 <= b < sketch.qubits and a != b for a, b, _ in sketch.pairs)
    assert all(gates > 0 for _, _, gates in sketch.pairs)


def test_a_sketch_counts_what_gates_become():
    circuit = QuantumCircuit(4, 2)
    circuit.h(1)
    circuit.cx(1, 2)
    circuit.rz(0.3, 2)
    circuit.cz(2, 1)
    circuit.swap(1, 3)
    circuit.rzz(0.2, 1, 3)
    circuit.measure([1, 3], [0, 1])
    sketch, used = sketch_of(circuit)
    assert used == (1, 2, 3)
    assert sketch.pairs == ((0, 1, 2.0), (0, 2, 5.0))
    assert sketch.turns == (1.0, 0.0, 0.0)
    assert sketch.reads == (1, 0, 1)
    assert sketch.depth == 7.0
    toffoli = QuantumCircuit(3)
    toffoli.ccx(0, 1, 2)
    assert sketch_of(toffoli)[0].two_qubit_gates == 6


def test_control_flow_and_measuring_on_the_way_are_noticed():
    circuit = QuantumCircuit(2, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.cx(0, 1)
    sketch, _ = sketch_of(circuit)
    assert sketch.dynamic
    assert sketch.control_flow == {"if_else"}
    assert sketch.two_qubit_gates == 1
    again = QuantumCircuit(1, 2)
    again.measure(0, 0)
    again.x(0)
    again.measure(0, 1)
    assert sketch_of(again)[0].dynamic


def test_the_candidates_are_as_the_job_will_be(compiler):
    for source in (GHZ5, RING8):
        payload = native(source)
        found = surveyed(compiler, payload, FLEET)
        assert [candidate.device for candidate in found] == FLEET
        for candidate in found:
            if candidate.refusal:
                continue
            compiled = compiler.compile(
                program=Program.SAMPLER, device=candidate.device, payload=payload, payload_format=PayloadFormat.NATIVE
            ).profile
            assert candidate.fidelity == pytest.approx(compiled.fidelity, rel=0.1)
            assert candidate.qpu_s == pytest.approx(compiled.qpu_s, rel=0.01)
            assert candidate.estimated_s == pytest.approx(compiled.estimated_s, rel=2.0)


def test_a_circuit_in_a_devices_own_terms_stays_where_it_is(compiler):
    circuit = QuantumCircuit(27, 2)
    circuit.sx(20)
    circuit.cx(*next(edge for edge in sorted(DeviceModel.load("fake_kolkata@aer").coupling) if 20 in edge))
    circuit.measure([20], [0])
    from benchmarks.circuits import qpy_text

    payload = native_payload(device="auto", circuits=[{"format": "qpy", "source": qpy_text(circuit)}], shots=1000)
    (found,) = surveyed(compiler, payload, ["fake_kolkata@aer"])
    compiled = compiler.compile(
        program=Program.SAMPLER, device="fake_kolkata@aer", payload=payload, payload_format=PayloadFormat.NATIVE
    ).profile
    assert found.fidelity == pytest.approx(compiled.fidelity, abs=1e-3)


def test_what_cannot_run_is_refused_with_a_reason(compiler):
    found = {candidate.device: candidate for candidate in surveyed(compiler, native(RING8), FLEET)}
    assert "8 qubits" in found["fake_manila@aer"].refusal
    assert found["fake_manila@aer"].fidelity is None
    assert not found["fake_kolkata@aer"].refusal
    loop = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; h q[0]; c[0] = measure q[0]; if (c[0]) { x q[1]; } c[1] = measure q[1];'
    found = {
        candidate.device: candidate for candidate in surveyed(compiler, native(loop), [*FLEET, "fake_rochester@aer"])
    }
    for name, candidate in found.items():
        supported = "if_else" in DeviceModel.load(name).control_flow
        assert bool(candidate.refusal) != supported, name
    shots = DeviceModel.load("fake_rochester@aer").max_shots + 1
    found = surveyed(compiler, native(GHZ5, shots=shots), ["fake_rochester@aer"])
    assert f"takes at most {shots - 1}" in found[0].refusal


def test_a_device_that_is_gone_does_not_take_the_others_along(compiler):
    gone, there = surveyed(compiler, native(GHZ5), ["fake_nowhere@aer", "fake_kolkata@aer"])
    assert "fake_nowhere" in gone.refusal
    assert there.fidelity > 0.8


def test_a_job_that_needs_too_much_memory_is_refused():
    small = Compiler(CompilerConfig(max_job_bytes=1 << 20), Limits())
    wide = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit[22] q; bit[22] c; h q; '
        + " ".join(f"cx q[{i}], q[{i + 1}]; rx(0.1) q[{i}];" for i in range(21))
        + " c = measure q;"
    )
    (found,) = surveyed(small, native(wide), ["fake_kolkata@aer"])
    assert "memory" in found.refusal or "MiB" in found.refusal


def test_an_ideal_device_has_no_fidelity_to_predict(compiler):
    (found,) = surveyed(compiler, native(GHZ5), ["fake_kolkata@aer_ideal"])
    assert found.fidelity is None
    assert not found.refusal


def test_estimators_are_surveyed_with_what_their_observables_read(compiler):
    from qiskit.quantum_info import SparsePauliOp

    ansatz = QuantumCircuit(4)
    ansatz.ry(0.3, range(4))
    ansatz.cx([0, 1, 2], [1, 2, 3])
    pubs = [(ansatz, [SparsePauliOp(["ZZII"]), SparsePauliOp(["IIXX", "ZIII"])])]
    from qiskit import transpile
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    isa = transpile(ansatz, FakeManilaV2(), initial_layout=[0, 1, 2, 3], optimization_level=0)
    observables = [operator.apply_layout(isa.layout) for operator in pubs[0][1]]
    payload = runtime_payload("estimator", [(isa, observables)])
    found = surveyed(
        compiler, payload, ["fake_manila@aer", "fake_kolkata@aer"], Program.ESTIMATOR, PayloadFormat.RUNTIME
    )
    compiled = compiler.compile(
        program=Program.ESTIMATOR, device="fake_manila@aer", payload=payload, payload_format=PayloadFormat.RUNTIME
    ).profile
    assert found[0].fidelity == pytest.approx(compiled.fidelity, abs=0.01)
    assert found[0].qpu_s == pytest.approx(compiled.qpu_s, rel=0.01)
    assert found[1].fidelity > 0.8


def test_the_published_noise_is_what_is_surveyed(compiler):
    worn = NoiseId(3, 0.2, 0, 40).text()
    fresh, drifted = surveyed(compiler, native(GHZ5), [("fake_kolkata@aer", ""), ("fake_kolkata@aer", worn)])
    assert drifted.fidelity < fresh.fidelity
    assert fresh.calibration_id == DeviceModel.load("fake_kolkata@aer").calibration.id
    assert drifted.calibration_id == DeviceModel.load("fake_kolkata@aer", worn).calibration.id != fresh.calibration_id


def test_a_survey_and_a_compilation_call_a_calibration_by_the_same_name(compiler):
    published = NoiseId(3, 0.2, 2, 0).text()
    (found,) = surveyed(compiler, native(GHZ5), [("fake_kolkata@aer", published)])
    message = task("sampler", native(GHZ5), device="fake_kolkata@aer", native=True, noise_id=published)
    assert found.calibration_id == answered(message)["profile"]["calibration_id"]


def test_placements_are_kept():
    compiler = Compiler()
    for _ in range(3):
        surveyed(compiler, native(GHZ5), FLEET)
    statistics = compiler._surveyor.statistics()
    assert statistics.misses == len(FLEET)
    assert statistics.hits == 2 * len(FLEET)


def answered(message):
    return create({})({"tasks": [message]}, lambda _: None)["reports"][0]


def test_the_child_surveys_and_gives_no_executable():
    report = answered(task("sampler", native(GHZ5), device="auto", native=True, choices=[[name, ""] for name in FLEET]))
    assert report["error"] is None
    assert report["profile"] is None
    assert report["executable"] == b""
    assert [candidate["device"] for candidate in report["candidates"]] == FLEET
    assert report["results"] == b""


def test_what_cannot_be_read_is_an_error_of_a_survey_too():
    report = answered(task("sampler", b"{}", device="auto", native=True, choices=[["fake_manila@aer", ""]]))
    assert report["error"]["category"] == "ValidationError"
    assert report["candidates"] == []


@pytest.mark.parametrize("kind", ["sampler", "estimator"])
def test_a_dry_run_gives_a_document_that_the_official_decoder_reads(kind):
    from qiskit.quantum_info import SparsePauliOp

    circuit = hardware_efficient(4, 2)
    if kind == "estimator":
        circuit.remove_final_measurements()
    circuit = _on_manila(circuit)
    pub = (circuit,) if kind == "sampler" else (circuit, SparsePauliOp(["ZZZZI"]))
    more = {"shots": 500} if kind == "sampler" else {"precision": 0.1}
    report = answered(task(kind, runtime_payload(kind, [pub], **more), dry_run=True))
    assert report["error"] is None, report["error"]
    assert report["executable"] == b""
    result = orjson.loads(report["results"])
    decoded = _decode(report["results"])
    assert len(decoded) == 0
    estimate = decoded.metadata["qrtx"]["estimate"]
    assert estimate["device"] == "fake_manila@aer"
    assert 0.0 < estimate["fidelity"] < 1.0
    assert estimate["qpu_s"] > 2.0
    assert estimate["calibration_id"] == DeviceModel.load("fake_manila@aer").calibration.id
    assert estimate["method"] == "compiled"
    assert result["__type__"] == "PrimitiveResult"
    assert report["profile"]["fidelity"] == estimate["fidelity"]


def test_a_dry_run_of_a_survey_has_an_estimate_for_each_device():
    message = task(
        "sampler", native(GHZ5), device="auto", native=True, choices=[[name, ""] for name in FLEET], dry_run=True
    )
    estimate = _decode(answered(message)["results"]).metadata["qrtx"]["estimate"]
    assert [candidate["device"] for candidate in estimate["candidates"]] == FLEET
    assert estimate["method"] == "survey"


def test_a_profile_says_under_which_noise_it_was_made():
    worn = NoiseId(3, 0.2, 1, 0).text()
    packaged, drifted = (
        answered(task("sampler", native(GHZ5), device="fake_kolkata@aer", native=True, noise_id=noise))["profile"]
        for noise in ("", worn)
    )
    assert packaged["noise_id"] == ""
    assert drifted["noise_id"] == worn
    assert packaged["calibration_id"] != drifted["calibration_id"]
    assert packaged["structure"]
    assert 0.0 < packaged["sensitivity"] < 1.0
    assert 0.5 < packaged["fidelity"] < 1.0


def test_a_job_is_as_faithful_as_its_worst_circuit():
    bell = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;'
    both = native_payload(
        device="x", circuits=[{"format": "qasm3", "source": text} for text in (bell, RING8)], shots=10
    )
    alone, together = (
        answered(task("sampler", payload, device="fake_kolkata@aer", native=True))["profile"]
        for payload in (native(RING8, shots=10), both)
    )
    assert together["fidelity"] == alone["fidelity"]
    assert together["structure"] != alone["structure"]


def _decode(document: bytes):
    import json

    return json.loads(document, cls=RuntimeDecoder)


def _on_manila(circuit: QuantumCircuit) -> QuantumCircuit:
    wide = QuantumCircuit(5, circuit.num_clbits)
    wide.compose(circuit, range(circuit.num_qubits), range(circuit.num_clbits), inplace=True)
    return wide


def test_numbers_are_plain():
    report = answered(task("sampler", native(GHZ5), device="auto", native=True, choices=[["fake_kolkata@aer", ""]]))
    candidate = report["candidates"][0]
    assert type(candidate["fidelity"]) is float
    assert type(candidate["qpu_s"]) is float
    assert type(candidate["estimated_s"]) is float
    assert not isinstance(candidate["fidelity"], np.floating)

"""Whole jobs: what the official client or a native user sends, against what Qiskit says the answer is."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit, qasm2, qasm3
from qiskit.circuit import Parameter
from qiskit.circuit.library import n_local
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit.transpiler import generate_preset_pass_manager

from qrtx_ray.codec.limits import Limits
from qrtx_ray.compiler.pipeline import Compiler, CompilerConfig
from qrtx_ray.devices.cost import JobCost
from qrtx_ray.devices.executable import ExecutableJob
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.errors import CompileError, PayloadTooLarge, ResourceExhausted, ValidationError
from qrtx_ray.model.job import PayloadFormat, Program
from tests.compiler.payloads import hardware_efficient, native_payload, runtime_payload
from tests.compiler.simulate import assert_same_distribution, distribution, expectation_values

DEVICES = ["fake_manila", "fake_sherbrooke"]


@pytest.fixture
def compiler() -> Compiler:
    return Compiler(CompilerConfig(), Limits(allow_exact_precision=True))


def run(compiler: Compiler, program: str, payload: bytes, metadata: str = "fake_manila", *, native: bool = False):
    """The compiled job after its way over the wire, and the report's other parts."""
    compiled = compiler.compile(
        program=Program(program),
        device=f"{metadata}@aer",
        payload=payload,
        payload_format=PayloadFormat.NATIVE if native else PayloadFormat.RUNTIME,
        job_id="job",
    )
    return ExecutableJob.from_bytes(compiled.executable), compiled


def isa(circuit: QuantumCircuit, metadata: str) -> QuantumCircuit:
    target = DeviceModel.load(f"{metadata}@aer").target()
    return generate_preset_pass_manager(optimization_level=1, target=target, seed_transpiler=1).run(circuit)


def ghz(num_qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(num_qubits)
    circuit.h(0)
    for qubit in range(1, num_qubits):
        circuit.cx(0, qubit)
    return circuit


@pytest.mark.parametrize("metadata", DEVICES)
def test_a_sampler_job_of_the_official_client_keeps_its_place_and_its_distribution(compiler, metadata):
    circuit = ghz(3)
    circuit.ry(0.7, 1)
    circuit.measure_all()
    sent = isa(circuit, metadata)
    job, compiled = run(
        compiler, "sampler", runtime_payload("sampler", [(sent, None, 500)], metadata=metadata), metadata
    )
    (pub,) = job.pubs
    placed = {sent.find_bit(item.qubits[0]).index for item in sent.data if item.name == "measure"}
    assert set(pub.program.active_qubits) == placed
    assert (pub.shots, pub.shape, [r.name for r in pub.program.registers]) == (500, (), ["meas"])
    expected = _probabilities(circuit)
    assert_same_distribution(
        distribution(pub.program, pub.values[0]), {f"{index:03b}": p for index, p in expected.items()}
    )
    assert compiled.profile.active_qubits == 3
    assert compiled.profile.calibration_id == job.calibration_id == DeviceModel.load(f"{metadata}@aer").calibration.id
    assert compiled.profile.qpu_s > 2 + 500 * 250e-6


def _probabilities(circuit: QuantumCircuit) -> dict[int, float]:
    state = Statevector(circuit.remove_final_measurements(inplace=False))
    return {index: float(p) for index, p in enumerate(state.probabilities()) if p > 1e-12}


@pytest.mark.parametrize("metadata", DEVICES)
def test_an_estimator_job_of_the_official_client_has_the_exact_values(compiler, metadata):
    circuit = n_local(3, ["ry", "rz"], "cx", reps=1)
    operators = [SparsePauliOp(["ZZI", "IXX"], [0.5, -1.5]), SparsePauliOp("YIZ"), SparsePauliOp("III")]
    rows = np.random.default_rng(3).uniform(-3, 3, (2, 1, circuit.num_parameters))
    expected = StatevectorEstimator().run([(circuit, operators, rows)]).result()[0].data.evs
    sent = isa(circuit, metadata)
    mapped = [operator.apply_layout(sent.layout) for operator in operators]
    payload = runtime_payload("estimator", [(sent, mapped, rows)], metadata=metadata, precision=0.02)
    job, _ = run(compiler, "estimator", payload, metadata)
    (pub,) = job.pubs
    assert pub.shape == (2, 3)
    assert (pub.precision, pub.shots) == (0.02, 2500)
    np.testing.assert_allclose(expectation_values(pub), expected, atol=1e-9)


@pytest.mark.parametrize("metadata", DEVICES)
def test_a_native_circuit_is_transpiled_and_keeps_its_distribution(compiler, metadata):
    circuit = ghz(4)
    circuit.ry(0.3, 2)
    circuit.cx(2, 0)
    circuit.measure_all()
    source = qasm3.dumps(circuit)
    payload = native_payload(device="d", shots=77, circuits=[{"format": "qasm3", "source": source}])
    job, compiled = run(compiler, "sampler", payload, metadata, native=True)
    (pub,) = job.pubs
    expected = _probabilities(circuit)
    assert_same_distribution(
        distribution(pub.program, pub.values[0]), {f"{index:04b}": p for index, p in expected.items()}
    )
    assert pub.shots == 77
    assert set(pub.program.names) <= {*DeviceModel.load(f"{metadata}@aer").basis_gates, "measure"}
    assert compiled.profile.two_qubit_gates >= 4


@pytest.mark.parametrize("metadata", DEVICES)
def test_observables_follow_the_qubits_to_where_transpiling_puts_them(compiler, metadata):
    """The star does not fit on a line, so qubits are moved about; one qubit is idle and another has an observable alone."""
    circuit = QuantumCircuit(5)
    circuit.ry(Parameter("a"), 0)
    for qubit in (1, 2, 3):
        circuit.cx(0, qubit)
        circuit.ry(0.4 * qubit, qubit)
    labels = ["ZIIII", "IZIIZ", "IIXXI", "IIIYY", "XIIII", "ZZZZZ", "IIIIZ"]
    rows = [[0.3], [1.2]]
    expected = StatevectorEstimator().run([(circuit, labels, np.array(rows)[:, None])]).result()[0].data.evs
    payload = native_payload(
        device="d",
        program="estimator",
        circuits=[
            {
                "format": "qasm3",
                "source": qasm3.dumps(circuit),
                "parameters": rows,
                "observables": [{label: 1.0} for label in labels],
                "precision": 0.1,
            }
        ],
    )
    job, _ = run(compiler, "estimator", payload, metadata, native=True)
    (pub,) = job.pubs
    assert (pub.shape, pub.shots) == ((2, 7), 100)
    np.testing.assert_allclose(expectation_values(pub), expected, atol=1e-9)


def test_an_estimator_reads_before_final_measurements_and_exactly_when_asked(compiler):
    circuit = hardware_efficient(2, seed=1, layers=1)
    expected = (
        StatevectorEstimator().run([(circuit.remove_final_measurements(inplace=False), "XZ")]).result()[0].data.evs
    )
    payload = runtime_payload("estimator", [(circuit, "XZ", None, 0.1)])
    payload = payload.replace(b", 0.1]]", b", 0]]")
    job, _ = run(compiler, "estimator", payload)
    (pub,) = job.pubs
    assert "measure" not in pub.program.names
    assert (pub.precision, pub.shots, pub.shape) == (0.0, 0, ())
    np.testing.assert_allclose(expectation_values(pub), expected, atol=1e-9)


def test_every_row_of_a_sweep_has_its_own_numbers(compiler):
    circuit = QuantumCircuit(2)
    a, b = Parameter("a"), Parameter("b")
    circuit.rz(b, 0)
    circuit.sx(0)
    circuit.rz(2 * a, 0)
    circuit.measure_all()
    rows = np.arange(12.0).reshape(2, 3, 2) / 10
    job, compiled = run(compiler, "sampler", runtime_payload("sampler", [(circuit, rows, 10)]))
    (pub,) = job.pubs
    assert pub.shape == (2, 3)
    np.testing.assert_allclose(pub.values, np.stack([rows[..., 1], 2 * rows[..., 0]], -1).reshape(6, 2))
    assert (compiled.profile.circuits, compiled.profile.shots) == (6, 60)


def test_a_dynamic_circuit_with_parameters_has_a_bound_circuit_for_each_row(compiler):
    circuit = QuantumCircuit(2, 2)
    circuit.rz(Parameter("a"), 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    job, compiled = run(compiler, "sampler", runtime_payload("sampler", [(circuit, [[0.1], [0.2]], 10)]))
    (pub,) = job.pubs
    assert pub.program.dynamic
    assert len(pub.row_programs) == 2
    assert compiled.profile.circuits == 2
    assert compiled.profile.depth == circuit.depth()


def test_ignored_options_and_the_clients_seed_travel_with_the_job(compiler):
    options = {"dynamical_decoupling": {"enable": True}, "simulator": {"seed_simulator": 11}}
    circuit = hardware_efficient(2, 0)
    job, _ = run(compiler, "sampler", runtime_payload("sampler", [circuit], options=options))
    assert job.options["ignored"] == ["dynamical_decoupling.enable"]
    assert job.options["seed"] == 11
    assert job.pubs[0].shots == 4096


def test_the_same_circuit_with_other_numbers_hits_both_caches(compiler):
    circuit = QuantumCircuit(3)
    for qubit in range(3):
        circuit.sx(qubit)
        circuit.rz(Parameter(f"a{qubit}"), qubit)
        circuit.sx(qubit)
    circuit.cx(0, 1)
    found = []
    for step in range(4):
        rows = np.array([0.1, 0.2, 0.3]) * step
        job, _ = run(compiler, "estimator", runtime_payload("estimator", [(circuit, "ZIZ", rows)], precision=0.1))
        found.append(float(expectation_values(job.pubs[0])))
        expected = StatevectorEstimator().run([(circuit, "ZIZ", rows)]).result()[0].data.evs
        np.testing.assert_allclose(found[-1], expected, atol=1e-9)
    assert len(set(found)) == 4
    statistics = compiler.circuits.statistics()
    assert (statistics["programs"].misses, statistics["programs"].hits) == (1, 3)
    assert (statistics["circuits"].misses, statistics["circuits"].hits) == (1, 7)


def test_a_transpiled_circuit_misses_no_more_often_than_qpy_has_ways_to_write_its_layout(compiler):
    """QPY writes the registers of a layout in the order of a set, so equal circuits have two texts."""
    circuit = n_local(3, "ry", "cx", reps=1)
    sent = isa(circuit, "fake_manila")
    operator = SparsePauliOp("ZZZ").apply_layout(sent.layout)
    for step in range(8):
        rows = np.full(circuit.num_parameters, 0.1 * step)
        run(compiler, "estimator", runtime_payload("estimator", [(sent, operator, rows)], precision=0.1))
    assert compiler.circuits.statistics()["programs"].misses <= 2


def test_transpiling_happens_once_for_equal_sources(compiler, monkeypatch):
    body = {"device": "d", "circuits": [{"format": "qasm2", "source": qasm2.dumps(_measured(ghz(3)))}]}
    first, _ = run(compiler, "sampler", native_payload(**body), native=True)
    monkeypatch.setattr(compiler.circuits._passes, "transpile", None)
    second, _ = run(compiler, "sampler", native_payload(**body, shots=5), native=True)
    assert second.pubs[0].program.structure == first.pubs[0].program.structure


def _measured(circuit: QuantumCircuit) -> QuantumCircuit:
    circuit.measure_all()
    return circuit


@pytest.mark.parametrize("metadata", DEVICES)
def test_equal_jobs_compile_to_equal_bytes_in_any_process_state(metadata):
    payload = native_payload(
        device="d", circuits=[{"format": "qasm3", "source": qasm3.dumps(_measured(ghz(4)))}], seed=1
    )
    busy = Compiler()
    run(busy, "sampler", runtime_payload("sampler", [hardware_efficient(2, 0)]))
    results = [run(compiler, "sampler", payload, metadata, native=True)[1] for compiler in (Compiler(), busy, busy)]
    assert results[0] == results[1] == results[2]


def test_an_optimisation_level_can_be_asked_for(compiler):
    circuit = QuantumCircuit(2)
    for _ in range(2):
        circuit.h(0)
    circuit.measure_all()
    depths = []
    for level in (0, 3):
        payload = native_payload(
            device="d",
            circuits=[{"format": "qasm3", "source": qasm3.dumps(circuit)}],
            options={"experimental": {"qrtx": {"optimization_level": level}}},
        )
        depths.append(run(compiler, "sampler", payload, native=True)[1].profile.depth)
    assert depths[0] > depths[1]
    with pytest.raises(ValidationError, match=r"optimization_level must be 0\.\.3"):
        run(compiler, "sampler", payload.replace(b'_level": 3', b'_level": 4'), native=True)


class TestRefusals:
    def test_wider_than_the_device(self, compiler):
        payload = native_payload(device="d", circuits=[{"format": "qasm3", "source": qasm3.dumps(_measured(ghz(6)))}])
        with pytest.raises((CompileError, ValidationError), match=r"has 6 qubits.* 5"):
            run(compiler, "sampler", payload, native=True)

    def test_an_instruction_nobody_knows(self, compiler):
        payload = native_payload(
            device="d",
            circuits=[
                {
                    "format": "qasm2",
                    "source": "OPENQASM 2.0; opaque foo a; qreg q[1]; creg c[1]; foo q[0]; measure q[0] -> c[0];",
                }
            ],
        )
        with pytest.raises((CompileError, ValidationError), match="foo"):
            run(compiler, "sampler", payload, native=True)

    def test_nothing_measured(self, compiler):
        payload = native_payload(device="d", circuits=[{"format": "qasm3", "source": qasm3.dumps(ghz(2))}])
        with pytest.raises(ValidationError, match="nothing to sample"):
            run(compiler, "sampler", payload, native=True)

    def test_an_estimator_that_uses_a_qubit_after_measuring_it(self, compiler):
        circuit = QuantumCircuit(1, 1)
        circuit.measure(0, 0)
        circuit.x(0)
        with pytest.raises(ValidationError, match="measures a qubit and then uses it"):
            run(compiler, "estimator", runtime_payload("estimator", [(circuit, "Z")]))

    def test_an_estimator_that_measures_inside_control_flow(self, compiler):
        circuit = QuantumCircuit(1, 1)
        with circuit.for_loop(range(2)):
            circuit.measure(0, 0)
        with pytest.raises(ValidationError, match="measures a qubit and then uses it"):
            run(compiler, "estimator", runtime_payload("estimator", [(circuit, "Z")]))

    def test_more_memory_than_a_job_may_use(self, compiler):
        circuit = isa(_measured(ghz(60)), "fake_sherbrooke")
        circuit.sx(range(127))
        payload = runtime_payload("sampler", [circuit], metadata="fake_sherbrooke")
        with pytest.raises(
            ResourceExhausted, match=r"simulating 127 active qubits needs about 2\^\d+ MiB, a job may use 8192 MiB"
        ):
            run(compiler, "sampler", payload, "fake_sherbrooke")

    def test_the_cost_law_decides(self):
        compiler = Compiler(CompilerConfig(max_job_bytes=999), estimate=lambda job: JobCost(1.0, 1000))
        with pytest.raises(ResourceExhausted):
            run(compiler, "sampler", runtime_payload("sampler", [hardware_efficient(2, 0)]))

    def test_a_compiled_job_that_is_too_long(self):
        compiler = Compiler(CompilerConfig(max_executable_bytes=100))
        with pytest.raises(PayloadTooLarge, match="limit 100"):
            run(compiler, "sampler", runtime_payload("sampler", [hardware_efficient(2, 0)]))

    def test_metadata_that_is_not_plain(self, compiler):
        circuit = hardware_efficient(2, 0)
        circuit.metadata = {"note": 2**70}
        with pytest.raises(ValidationError, match="metadata must be plain JSON"):
            run(compiler, "sampler", runtime_payload("sampler", [circuit]))

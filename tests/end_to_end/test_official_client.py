"""The unmodified official client, by environment variables alone, against the whole running house."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime import EstimatorV2, QiskitRuntimeService, SamplerV2, Session
from qiskit_ibm_runtime.exceptions import RuntimeInvalidStateError, RuntimeJobFailureError
from qiskit_ibm_runtime.fake_provider import FakeManilaV2, FakeSherbrooke

from qrtx_ray.client.connection import Connection
from qrtx_ray.launch import LocalRuntime

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]

NOISY = "fake_manila@aer"
IDEAL = "fake_manila@aer_ideal"
WIDE = "fake_sherbrooke@aer"


@pytest.fixture(scope="module")
def service(runtime: LocalRuntime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QiskitRuntimeService]:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        for name, value in Connection(runtime.url, runtime.token).runtime_environment().items():
            patch.setenv(name, value)
        yield QiskitRuntimeService()


def ghz(num_qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(num_qubits)
    circuit.h(0)
    for qubit in range(num_qubits - 1):
        circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    return circuit


def turned() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.ry(Parameter("θ"), 0)
    circuit.measure(0, 0)
    return circuit


def isa(circuit: QuantumCircuit, backend, level: int = 1) -> QuantumCircuit:
    return generate_preset_pass_manager(optimization_level=level, backend=backend, seed_transpiler=5).run(circuit)


def seeded(seed: int = 5, **hints) -> dict:
    return {"simulator": {"seed_simulator": seed}, "experimental": {"qrtx": hints}}


def test_every_device_and_every_alias_is_a_backend(service: QiskitRuntimeService) -> None:
    names = [backend.name for backend in service.backends()]
    assert len(names) == len(set(names)) == 2 * 68 + 1
    assert {NOISY, IDEAL, WIDE, "manila"} <= set(names)
    assert service.least_busy(min_num_qubits=127).num_qubits >= 127


def test_an_alias_runs_on_its_device(service: QiskitRuntimeService) -> None:
    backend = service.backend("manila")
    assert backend.name == backend.properties().backend_name == backend.status().backend_name == "manila"
    assert backend.target.operation_names == service.backend(NOISY).target.operation_names
    job = SamplerV2(backend).run([isa(ghz(2), backend)], shots=50)
    assert job.result()[0].data.meas.num_shots == 50
    assert service.job(job.job_id()).backend().name == NOISY


def test_the_target_is_that_of_the_fake_backend(service: QiskitRuntimeService) -> None:
    theirs, ours = FakeSherbrooke().target, service.backend(WIDE).target
    assert ours.dt == theirs.dt
    assert ours.num_qubits == theirs.num_qubits
    assert {(name, qubits) for name in theirs.operation_names for qubits in theirs[name] or ()} <= {
        (name, qubits) for name in ours.operation_names for qubits in ours[name] or ()
    }


def test_several_pubs_and_sweeps_keep_their_shapes(service: QiskitRuntimeService) -> None:
    backend = service.backend(IDEAL)
    sweep = np.linspace(0, np.pi, 6).reshape(2, 3, 1)
    pubs = [isa(ghz(3), backend), (isa(turned(), backend), sweep), (isa(turned(), backend), [np.pi], 77)]
    job = SamplerV2(backend, options=seeded()).run(pubs, shots=300)
    first, second, third = job.result()
    assert set(first.data.meas.get_counts()) == {"000", "111"}
    assert second.data.c.shape == (2, 3)
    assert second.data.c.num_shots == 300
    ones = second.data.c.expectation_values("Z").reshape(-1)
    # Six estimates of cos θ from 300 shots, at most 1/√300 wide each: 5 sigma, false alarm below 1e-5.
    assert np.abs(ones - np.cos(sweep.reshape(-1))).max() < 5 / np.sqrt(300)
    assert third.data.c.get_counts() == {"1": 77}


def test_an_estimator_tells_values_and_errors(service: QiskitRuntimeService) -> None:
    backend = service.backend(IDEAL)
    bell = ghz(2).remove_final_measurements(inplace=False)
    prepared = isa(bell, backend)
    observables = [SparsePauliOp(label).apply_layout(prepared.layout) for label in ("ZZ", "XX", "YY", "ZI")]
    rotated = QuantumCircuit(1)
    rotated.ry(Parameter("θ"), 0)
    turning = isa(rotated, backend)
    angles = np.linspace(0, np.pi, 4).reshape(4, 1)
    one = SparsePauliOp("Z").apply_layout(turning.layout)
    job = EstimatorV2(backend, options={"default_precision": 0.01, "seed_estimator": 3}).run(
        [(prepared, observables), (turning, one, angles), (turning, one, [0.5], 0.004)]
    )
    pairs, curve, precise = job.result()
    # 0.05 and more is five standard errors of what was asked for: false alarm below 1e-5 for all.
    assert pairs.data.evs.shape == pairs.data.stds.shape == (4,)
    assert np.abs(pairs.data.evs - [1, 1, -1, 0]).max() < 0.05
    assert np.abs(curve.data.evs - np.cos(angles[:, 0])).max() < 0.05
    assert precise.data.evs.shape == ()
    assert abs(precise.data.evs - np.cos(0.5)) < 0.02
    assert precise.metadata["target_precision"] == 0.004


def test_noise_shortens_expectation_values(service: QiskitRuntimeService) -> None:
    backend = service.backend(NOISY)
    prepared = isa(ghz(2).remove_final_measurements(inplace=False), backend)
    parity = SparsePauliOp("ZZ").apply_layout(prepared.layout)
    result = EstimatorV2(backend, options={"default_precision": 0.005}).run([(prepared, parity)]).result()
    assert 0.7 < float(result[0].data.evs) < 0.995
    assert result.metadata["qrtx"]["noise"] is True


@pytest.mark.parametrize(("name", "local", "width"), [(NOISY, FakeManilaV2, 4), (WIDE, FakeSherbrooke, 8)])
def test_noisy_counts_are_distributed_as_those_of_aer(
    service: QiskitRuntimeService, name: str, local: type, width: int
) -> None:
    """The same ISA circuit here and in `AerSimulator.from_backend`; false-alarm rate at most 2e-6 for each device.

    The statistic is the two-sample Pearson one over the outcomes, the rare ones together; its tail is bounded by the
    inequality of Laurent and Massart: P(χ²ₖ > k + 2√(k·x) + 2x) ≤ exp(-x).
    """
    backend = service.backend(name)
    circuit = isa(ghz(width), backend, level=2)
    shots = 8000
    counted = SamplerV2(backend, options=seeded(7)).run([circuit], shots=shots).result()[0].data.meas.get_counts()
    simulator = AerSimulator.from_backend(local(), method="density_matrix", max_parallel_threads=1)
    theirs = simulator.run(circuit, shots=shots, seed_simulator=11).result().get_counts()
    table = np.array([[one.get(word, 0) for word in counted.keys() | theirs.keys()] for one in (counted, theirs)])
    rare = table.sum(axis=0) < 20
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    statistic = float(((table[0] - table[1]) ** 2 / table.sum(axis=0)).sum())
    freedom, x = table.shape[1] - 1, np.log(1 / 2e-6)
    assert statistic < freedom + 2 * np.sqrt(freedom * x) + 2 * x


def test_the_same_seed_repeats_a_noisy_job(service: QiskitRuntimeService) -> None:
    backend = service.backend(NOISY)
    circuit = isa(ghz(3), backend)
    sampler = SamplerV2(backend, options=seeded(99))
    first, second = (sampler.run([circuit], shots=500).result()[0].data.meas for _ in range(2))
    assert first.get_counts() == second.get_counts()


def test_a_job_tells_all_about_itself(service: QiskitRuntimeService) -> None:
    backend = service.backend(NOISY)
    sampler = SamplerV2(backend, options=seeded(5, priority=70, name="told"))
    sampler.options.environment.job_tags = ["about"]
    sampler.options.max_execution_time = 600
    job = sampler.run([(isa(turned(), backend), [[0.1], [0.2]], 40)])
    result = job.result()
    assert job.status() == "DONE"
    assert result.metadata["qrtx"]["seed"] == 5
    metrics = job.metrics()
    assert metrics["qrtx"]["priority"] == 70
    assert metrics["qrtx"]["progress"] == 1.0
    assert metrics["timestamps"]["created"] < metrics["timestamps"]["finished"]
    # 2 s, and 80 shots with 250 µs between them.
    assert 2.02 <= job.usage() == metrics["usage"]["quantum_seconds"] < 2.03
    assert [line.split()[3] for line in job.logs().splitlines()][-1] == "Completed"
    again = service.job(job.job_id())
    assert again.tags == ["about"]
    assert again.creation_date == job.creation_date
    circuit, values, shots = again.inputs["pubs"][0]
    assert isinstance(circuit, QuantumCircuit)
    assert (np.asarray(values).tolist(), shots) == ([[0.1], [0.2]], 40)
    assert again.result()[0].data.c == result[0].data.c


def test_jobs_are_found_by_tag_backend_and_state(service: QiskitRuntimeService) -> None:
    backend = service.backend(IDEAL)
    sampler = SamplerV2(backend)
    sampler.options.environment.job_tags = ["page", "of many"]
    circuit = isa(ghz(2), backend)
    ids = [sampler.run([circuit], shots=10) for _ in range(5)]
    for job in ids:
        job.wait_for_final_state()
    newest_first = [job.job_id() for job in reversed(ids)]
    assert [job.job_id() for job in service.jobs(job_tags=["page"], limit=None)] == newest_first
    assert [job.job_id() for job in service.jobs(job_tags=["page", "of many"], limit=2, skip=1)] == newest_first[1:3]
    assert service.jobs(job_tags=["page", "unheard of"]) == []
    assert service.jobs(job_tags=["page"], pending=True) == []
    assert len(service.jobs(job_tags=["page"], backend_name=IDEAL, program_id="sampler", pending=False)) == 5
    assert service.jobs(job_tags=["page"], backend_name=WIDE) == []
    oldest = service.jobs(job_tags=["page"], descending=False, limit=1)
    assert [job.job_id() for job in oldest] == newest_first[-1:]


def endless() -> QuantumCircuit:
    """Noisy and wide: its shots take minutes."""
    circuit = QuantumCircuit(20)
    for layer in range(12):
        for qubit in range(20):
            circuit.rx(0.3 + qubit, qubit)
        for qubit in range(layer % 2, 19, 2):
            circuit.cz(qubit, qubit + 1)
    circuit.measure_all()
    return circuit


def test_a_running_job_is_cancelled(service: QiskitRuntimeService) -> None:
    backend = service.backend(WIDE)
    job = SamplerV2(backend).run([isa(endless(), backend)], shots=4000)
    while job.status() not in {"RUNNING", "DONE", "ERROR"}:
        pass  # the server holds each of these questions until there is something new
    job.cancel()
    assert job.status() == "CANCELLED"
    # The client believes that without asking; a job fetched anew tells what the server says.
    fetched = service.job(job.job_id())
    fetched.wait_for_final_state(30)
    assert fetched.status() == "CANCELLED"
    with pytest.raises(RuntimeInvalidStateError):
        job.result()
    with pytest.raises(RuntimeInvalidStateError):
        job.cancel()


def test_a_job_that_fails_says_why(service: QiskitRuntimeService) -> None:
    backend = service.backend(IDEAL)
    circuit = QuantumCircuit(5, 1)
    circuit.rz(float("nan"), 0)
    circuit.measure(0, 0)
    job = SamplerV2(backend).run([circuit])
    with pytest.raises(RuntimeJobFailureError, match=r"pubs\[0\].*finite"):
        job.result()
    assert job.status() == "ERROR"
    assert "finite" in job.error_message()


def test_a_precision_out_of_reach_is_refused_with_the_limit(service: QiskitRuntimeService) -> None:
    backend = service.backend(IDEAL)
    prepared = isa(ghz(2).remove_final_measurements(inplace=False), backend)
    job = EstimatorV2(backend).run([(prepared, SparsePauliOp("ZZ").apply_layout(prepared.layout), None, 0.0001)])
    with pytest.raises(RuntimeJobFailureError, match=r"pubs\[0\]\.precision .* shots accepted; the smallest is"):
        job.result()


def test_results_of_a_private_job_are_read_once(service: QiskitRuntimeService) -> None:
    backend = service.backend(IDEAL)
    sampler = SamplerV2(backend)
    sampler.options.environment.private = True
    job = sampler.run([isa(ghz(2), backend)], shots=20)
    assert job.result()[0].data.meas.num_shots == 20
    again = service.job(job.job_id())
    assert again.private
    assert again.inputs == {}
    assert again.result() is None


def test_usage_grows_with_what_runs(service: QiskitRuntimeService) -> None:
    backend = service.backend(IDEAL)
    before = service.usage()["usage_consumed_seconds"]
    job = SamplerV2(backend).run([isa(ghz(2), backend)], shots=1000)
    job.result()
    assert service.usage()["usage_consumed_seconds"] - before >= job.usage() - 1e-6


def test_a_session_is_refused_with_a_reason(service: QiskitRuntimeService) -> None:
    with pytest.raises(Exception, match="sessions are not offered by this server yet; use job mode"):
        Session(service.backend(IDEAL))


def test_a_deleted_job_is_gone(service: QiskitRuntimeService) -> None:
    backend = service.backend(IDEAL)
    job = SamplerV2(backend).run([isa(ghz(2), backend)], shots=20)
    job.result()
    service.delete_job(job.job_id())
    with pytest.raises(Exception, match=r"no such job|not found"):
        service.job(job.job_id())

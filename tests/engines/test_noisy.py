"""The noisy engine, from job to result, against Aer with the same backend."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from qrtx_ray.devices.executable import PauliTerm
from qrtx_ray.engines.primitives import readout_mitigated
from qrtx_ray.engines.protocol import JobRun
from qrtx_ray.engines.registry import engine_for

from .building import estimator_job, hardware_efficient, read, sampler_job
from .conformance import chi_square_passes, histogram

DEVICE = "fake_manila@aer"


@pytest.fixture(scope="module")
def noisy():
    return engine_for("aer")


@pytest.fixture(scope="module")
def simulator():
    return AerSimulator.from_backend(FakeManilaV2(), method="density_matrix", max_parallel_threads=1)


def run_one(engine, job, seed=1):
    (outcome,) = engine.run([JobRun(job, seed)])
    assert outcome.error is None, outcome.error
    return read(outcome.results)


def two_sample_counts(ours, theirs):
    """Pearson's two-sample statistic as a one-sample test against the pooled distribution: conservative by half."""
    pooled = (ours + theirs) / (ours.sum() + theirs.sum())
    return chi_square_passes(ours, pooled) and chi_square_passes(theirs, pooled)


def test_samples_are_distributed_as_aers(noisy, simulator):
    # False-alarm rate at most 2e-6 (two tests of 1e-6 against the pooled distribution).
    circuit = hardware_efficient()
    result = run_one(noisy, sampler_job(circuit, device=DEVICE, shots=40_000))
    assert result.metadata["qrtx"]["method"] == "density_matrix"
    ours = histogram(result[0].data.c, 5)
    counts = simulator.run(circuit, shots=40_000, seed_simulator=3).result().get_counts()
    theirs = np.array([counts.get(f"{outcome:05b}", 0) for outcome in range(32)], dtype=float)
    assert two_sample_counts(ours, theirs)


def test_noise_is_visible(noisy):
    circuit = QuantumCircuit(5, 5)
    circuit.x(range(5))
    circuit.measure(range(5), range(5))
    counts = run_one(noisy, sampler_job(circuit, device=DEVICE, shots=2000))[0].data.c.get_counts()
    assert 1200 < counts["11111"] < 1990


def test_the_result_says_what_ran(noisy):
    said = run_one(noisy, sampler_job(hardware_efficient(), device=DEVICE), seed=77).metadata["qrtx"]
    assert said["noise"] is True
    assert said["engine"] == "aer"
    assert said["seed"] == 77
    assert len(said["calibration_id"]) == 12
    assert said["qpu_s"] > 2.0 + 1024 * 250e-6


def test_the_outcome_charges_what_the_result_says(noisy):
    (outcome,) = noisy.run([JobRun(sampler_job(hardware_efficient(), device=DEVICE), 1)])
    assert outcome.qpu_s == read(outcome.results).metadata["qrtx"]["qpu_s"]
    assert outcome.wall_s > 0


def exact_noisy(simulator, circuit, paulis):
    from qiskit.quantum_info import SparsePauliOp

    prepared = circuit.copy()
    for label in paulis:
        prepared.save_expectation_value(SparsePauliOp(label), range(circuit.num_qubits), label=label)
    data = simulator.run(prepared).result().data()
    return [data[label] for label in paulis]


def prepared():
    circuit = QuantumCircuit(3)
    for qubit in range(3):
        circuit.sx(qubit)
        circuit.rz(0.4 + qubit, qubit)
        circuit.sx(qubit)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    return circuit


PAULIS = ["IIZ", "IXX", "ZZI", "YIY", "XYZ"]


def observables():
    out = []
    for label in PAULIS:
        letters = [(qubit, letter) for qubit, letter in enumerate(reversed(label)) if letter != "I"]
        out.append((PauliTerm(tuple(q for q, _ in letters), "".join(letter for _, letter in letters), 1.0),))
    return out


def test_exact_noisy_expectations_equal_aers(noisy, simulator):
    job = estimator_job(prepared(), *observables(), device=DEVICE)
    evs = run_one(noisy, job)[0].data.evs
    assert evs == pytest.approx(exact_noisy(simulator, prepared(), PAULIS), abs=1e-7)


def test_without_mitigation_readout_errors_damp_each_pauli_by_its_support(noisy, simulator):
    job = estimator_job(prepared(), *observables(), device=DEVICE, options={"resilience_level": 0})
    result = run_one(noisy, job)
    assert result[0].metadata["resilience"] == {"measure_mitigation": False}
    target = FakeManilaV2().target
    damping = [
        np.prod([1 - 2 * target["measure"][(q,)].error for q, letter in enumerate(reversed(label)) if letter != "I"])
        for label in PAULIS
    ]
    wanted = np.array(exact_noisy(simulator, prepared(), PAULIS)) * damping
    assert result[0].data.evs == pytest.approx(wanted, abs=1e-7)


def test_sampled_noisy_expectations_scatter_around_the_exact_ones(noisy):
    # Five values within five standard errors each: false-alarm rate 3e-6.
    exact = run_one(noisy, estimator_job(prepared(), *observables(), device=DEVICE))[0].data.evs
    sampled = run_one(noisy, estimator_job(prepared(), *observables(), device=DEVICE, shots=4000))[0].data
    assert (sampled.stds > 0).all()
    assert (sampled.stds <= 4000**-0.5).all()
    assert (np.abs(sampled.evs - exact) < 5 * sampled.stds).all()
    assert np.array_equal(sampled.stds, sampled.ensemble_standard_error)


def test_trajectories_agree_with_the_density_matrix(noisy):
    # 6 qubits are a density matrix; the same circuit beside an idle-free chain of 13 is drawn by trajectories.
    circuit = QuantumCircuit(13)
    for qubit in range(13):
        circuit.sx(qubit)
    job = estimator_job(
        circuit,
        (PauliTerm((0,), "Y", 1.0),),
        (PauliTerm((12,), "Z", 1.0),),
        device="fake_montreal@aer",
        shots=600,
        active=tuple(range(13)),
    )
    result = run_one(noisy, job)
    assert result.metadata["qrtx"]["method"] == "trajectories"
    y_value, z_value = result[0].data.evs
    assert -1.0 <= y_value < -0.97
    assert abs(z_value) < 6 * 600**-0.5


@pytest.mark.parametrize(
    ("options", "mitigated"),
    [
        ({}, True),
        ({"resilience_level": 0}, False),
        ({"resilience_level": 2}, True),
        ({"resilience_level": 0, "resilience": {"measure_mitigation": True}}, True),
        ({"resilience": {"measure_mitigation": False}}, False),
        ({"resilience": {}}, True),
    ],
)
def test_mitigation_follows_its_own_option_then_the_level(options, mitigated):
    assert readout_mitigated(options) is mitigated

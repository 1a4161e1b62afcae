from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

from qrtx_ray.devices.executable import PauliTerm
from qrtx_ray.engines.expectation import MAX_BASIS_QUBITS, bases_of, tally, term_values
from qrtx_ray.engines.protocol import JobRun
from qrtx_ray.engines.registry import engine_for

from .building import estimator_job, read, terms_of


@pytest.fixture(scope="module")
def ideal():
    return engine_for("aer_ideal")


def run_one(engine, job, seed=1):
    (outcome,) = engine.run([JobRun(job, seed)])
    assert outcome.error is None, outcome.error
    return read(outcome.results)


def test_terms_that_agree_on_every_qubit_share_a_basis():
    observable = terms_of(
        SparsePauliOp.from_list([("ZZI", 1.0), ("IZZ", 2.0), ("XXI", 3.0), ("IIX", 4.0), ("III", 5.0)])
    )
    bases, constants = bases_of([observable], [0])
    assert constants.tolist() == [5.0]
    assert sum(len(basis.terms) for basis in bases) == 4
    assert len(bases) == 2
    for basis in bases:
        for _, term in basis.terms:
            assert set(term.qubits) <= set(basis.qubits)


def test_bases_stay_narrow_but_a_wide_term_stands():
    singles = tuple(PauliTerm((qubit,), "Z", 1.0) for qubit in range(40))
    bases, _ = bases_of([singles, (PauliTerm(tuple(range(20)), "Z" * 20, 1.0),)], [0, 1])
    widths = sorted(len(basis.qubits) for basis in bases)
    assert widths[-1] == 20
    assert all(width <= MAX_BASIS_QUBITS for width in widths[:-1])
    assert sum(len(basis.terms) for basis in bases) == 41


def test_unused_observables_are_not_measured():
    observables = [(PauliTerm((0,), "X", 1.0),), (PauliTerm((0,), "Z", 1.0),)]
    assert len(bases_of(observables, [1, 1])[0]) == 1


def test_values_of_letters():
    (basis,), _ = bases_of([(PauliTerm((0, 2), "Z1", 1.0),)], [0])
    assert term_values(basis, PauliTerm((0, 2), "Z1", 1.0)).tolist() == [0, 0, 1, -1]


def test_a_tally_counts_covariances_of_terms_read_together():
    observable = (PauliTerm((0,), "Z", 1.0), PauliTerm((1,), "Z", 1.0))
    (basis,), _ = bases_of([observable], [0])
    said = tally(basis, np.array([0.5, 0.0, 0.0, 0.5]), 1)  # a Bell pair: both values always agree
    assert said.mean[0] == 0.0
    assert said.variance[0] == pytest.approx(4.0)


def test_many_random_observables_agree_with_the_state_vector(ideal):
    rng = np.random.default_rng(8)
    circuit = QuantumCircuit(4)
    for qubit in range(4):
        circuit.ry(rng.uniform(0, 3), qubit)
        circuit.rz(rng.uniform(0, 3), qubit)
    circuit.cx(0, 1)
    circuit.cx(2, 3)
    circuit.cx(1, 2)
    labels = ["".join(rng.choice(list("IXYZ"), 4)) for _ in range(30)]
    operators = [SparsePauliOp.from_list([(label, 1.0), ("ZIIX", 0.5)]) for label in labels]
    data = run_one(ideal, estimator_job(circuit, *map(terms_of, operators)))[0].data
    state = Statevector(circuit)
    wanted = [state.expectation_value(operator).real for operator in operators]
    assert data.evs == pytest.approx(wanted, abs=1e-12)


def ghz(width):
    circuit = QuantumCircuit(width)
    circuit.h(0)
    for qubit in range(width - 1):
        circuit.cx(qubit, qubit + 1)
    return circuit


@pytest.mark.parametrize("shots", [0, 400])
def test_wide_clifford_circuits_are_estimated_as_stabilizers(ideal, shots):
    observables = ((PauliTerm((0, 59), "ZZ", 1.0),), (PauliTerm((5, 6), "XX", 2.0),), (PauliTerm((7, 8), "00", 1.0),))
    job = estimator_job(ghz(60), *observables, device="fake_sherbrooke@aer_ideal", shots=shots)
    result = run_one(ideal, job)
    assert result.metadata["qrtx"]["method"] == "stabilizer"
    evs, stds = result[0].data.evs, result[0].data.stds
    assert np.abs(evs - [1.0, 0.0, 0.5]) == pytest.approx(0, abs=1e-12 if not shots else 0.7)
    assert (np.abs(evs - [1.0, 0.0, 0.5]) <= 6 * stds + 1e-12).all()


@pytest.mark.parametrize("shots", [0, 500])
def test_circuits_with_conditions_are_estimated(ideal, shots):
    circuit = QuantumCircuit(2, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    observables = ((PauliTerm((0, 1), "ZZ", 1.0),), (PauliTerm((1,), "Z", 1.0),), (PauliTerm((0,), "X", 1.0),))
    evs = run_one(ideal, estimator_job(circuit, *observables, shots=shots, dynamic=True))[0].data.evs
    assert evs[0] == pytest.approx(1.0)
    assert abs(evs[1]) < 0.3
    assert abs(evs[2]) < 0.3


def test_an_estimate_of_nothing_is_its_constant(ideal):
    circuit = QuantumCircuit(1)
    circuit.h(0)
    data = run_one(ideal, estimator_job(circuit, (PauliTerm((), "", 2.5),), (), shots=100))[0].data
    assert data.evs.tolist() == [2.5, 0.0]
    assert data.stds.tolist() == [0.0, 0.0]

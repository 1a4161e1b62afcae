"""Fused circuits are the circuits: compared with Qiskit's state vectors, and the noise with Aer's own models."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator, Statevector, SuperOp, random_unitary
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_ibm_runtime.fake_provider import FakeManilaV2, FakeMontrealV2, FakeSherbrooke

from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.engines.channels import NoisySource, aer_order, flip_probabilities, gate_noise
from qrtx_ray.engines.distribution import Evolution, fused_circuits, measured_distributions
from qrtx_ray.engines.fusion import MAX_PAIRS, MAX_RUN, plan_of
from qrtx_ray.engines.gates import fixed_unitary, unitaries
from qrtx_ray.engines.native import execute
from qrtx_ray.errors import ExecuteError

from .building import hardware_efficient, program_of

ONE = ("x", "sx", "h", "s", "t", "id")
ROTATIONS = ("rz", "rx", "ry", "p")
TWO = ("cx", "ecr", "cz", "swap", "iswap")


@st.composite
def circuits(draw, max_qubits=4, max_gates=60):
    qubits = draw(st.integers(1, max_qubits))
    circuit = QuantumCircuit(qubits, qubits)
    for _ in range(draw(st.integers(0, max_gates))):
        kind = draw(st.integers(0, 4))
        places = draw(st.permutations(range(qubits)))
        if kind == 0:
            getattr(circuit, draw(st.sampled_from(ONE)))(places[0])
        elif kind == 1:
            getattr(circuit, draw(st.sampled_from(ROTATIONS)))(draw(st.floats(-7, 7)), places[0])
        elif kind == 2 and qubits > 1:
            getattr(circuit, draw(st.sampled_from(TWO)))(places[0], places[1])
        elif kind == 3 and qubits > 1:
            circuit.rzz(draw(st.floats(-7, 7)), places[0], places[1])
        elif kind == 4 and qubits > 2:
            circuit.ccx(*places[:3])
    return circuit


def fused_probabilities(program, values):
    """What Aer makes of the blocks, also where the engine would take its own kernel."""
    evolved = fused_circuits(program, values, Evolution(None))
    for circuit in evolved:
        circuit.save_probabilities(range(program.num_qubits), "p")
    return [np.asarray(data["p"]) for data in execute(evolved, method="statevector")]


def ideal_probabilities(circuit):
    return fused_probabilities(*program_of(circuit))[0]


@settings(deadline=None, derandomize=True, max_examples=80)
@given(circuits())
def test_distributions_equal_those_of_the_state_vector(circuit):
    wanted = Statevector(circuit).probabilities()
    assert ideal_probabilities(circuit) == pytest.approx(wanted, abs=1e-12)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(circuits())
def test_a_plan_holds_every_gate_once_and_keeps_blocks_small(circuit):
    program, _ = program_of(circuit)
    plan = plan_of(program)
    assert sorted(index for block in plan.blocks for index in block.gates) == list(range(len(plan.gates)))
    for block in plan.blocks:
        assert sum(len(plan.gates[index].qubits) == 2 for index in block.gates) <= MAX_PAIRS
        if len(block.qubits) == 1:
            assert len(block.gates) <= MAX_RUN


@pytest.mark.parametrize("length", [1, 31, 32, 33, 500])
def test_long_runs_on_one_qubit_and_one_pair_are_right(length):
    circuit = QuantumCircuit(2, 2)
    for step in range(length):
        circuit.rx(0.1 * step, 0)
        circuit.sx(1)
        if step % 3:
            circuit.cx(step % 2, 1 - step % 2)
    assert ideal_probabilities(circuit) == pytest.approx(Statevector(circuit).probabilities(), abs=1e-10)


def test_the_plan_of_a_structure_is_made_once():
    first, second = (program_of(hardware_efficient(seed=seed))[0] for seed in (1, 2))
    assert plan_of(first) is plan_of(second)
    assert len(plan_of(first).blocks) == 12


def test_rows_of_one_structure_do_not_mix():
    circuits = [hardware_efficient(4, seed=seed) for seed in range(5)]
    program, _ = program_of(circuits[0])
    values = np.concatenate([program_of(circuit)[1] for circuit in circuits])
    together = fused_probabilities(program, values)
    for row in range(5):
        alone = fused_probabilities(program, values[row : row + 1])[0]
        assert np.array_equal(together[row], alone)


def test_gates_nobody_knows_are_refused_by_name():
    with pytest.raises(ExecuteError, match="'flux'"):
        unitaries("flux", np.zeros((1, 1, 2)))
    with pytest.raises(ExecuteError, match="'measure'"):
        fixed_unitary("measure")


def test_gates_without_a_vectorised_form_come_from_qiskit():
    angles = np.array([[[0.3], [1.2]]])
    from qiskit.circuit.library import CRZGate

    matrices = unitaries("crz", angles)
    assert matrices.shape == (1, 2, 4, 4)
    assert matrices[0, 1] == pytest.approx(CRZGate(1.2).to_matrix())


FAKES = {"fake_manila": FakeManilaV2, "fake_montreal": FakeMontrealV2}


@pytest.mark.parametrize("name", FAKES)
def test_channels_are_those_of_aers_model_of_the_same_backend(name):
    calibration = DeviceModel.load(f"{name}@aer").calibration
    model = NoiseModel.from_backend(FAKES[name]())
    checked = 0
    for gate, errors in model._local_quantum_errors.items():
        for qubits, error in list(errors.items())[:12]:
            ours = gate_noise(calibration, gate, tuple(qubits))
            ours = ours if len(qubits) == 1 else aer_order(ours)
            assert abs(ours - SuperOp(error).data).max() < 1e-9, (gate, qubits)
            checked += 1
    assert checked > 20
    for (qubit,), error in model._local_readout_errors.items():
        of_0, of_1 = flip_probabilities(calibration, [qubit])[:, 0]
        assert error.probabilities == pytest.approx(np.array([[1 - of_0, of_0], [of_1, 1 - of_1]]), abs=1e-12)


def test_gates_without_errors_have_no_channel():
    calibration = DeviceModel.load("fake_manila@aer").calibration
    assert gate_noise(calibration, "rz", (0,)) is None
    assert gate_noise(calibration, "h", (0,)) is None


def test_index_orders_of_two_qubit_channels_are_inverse_to_each_other():
    channel = SuperOp(Operator(random_unitary(4, seed=3))).data
    assert np.array_equal(aer_order(aer_order(channel)), channel)


@pytest.mark.parametrize(
    ("fake", "active", "two", "edges"),
    [
        (FakeManilaV2, (0, 1, 2, 3, 4), "cx", [(0, 1), (2, 1), (3, 4), (2, 3)]),
        (FakeMontrealV2, (1, 2, 3, 5), "cx", [(0, 1), (2, 1), (2, 3)]),
        (FakeSherbrooke, (0, 1, 2, 14), "ecr", [(1, 0), (1, 2), (3, 0)]),
    ],
)
def test_noisy_distributions_equal_aers_density_matrix(fake, active, two, edges):
    rng = np.random.default_rng(5)
    circuit = QuantumCircuit(len(active), len(active))
    for _ in range(60):
        circuit.rz(rng.uniform(0, 6), int(rng.integers(len(active))))
        circuit.sx(int(rng.integers(len(active))))
        getattr(circuit, two)(*edges[rng.integers(len(edges))])
    backend = fake()
    wide = QuantumCircuit(backend.num_qubits)
    wide.compose(circuit, active, inplace=True)
    wide.save_probabilities(active)
    # Only the noise of the qubits that take part: the equality of both models is the subject of test_noise.
    simulator = AerSimulator(method="density_matrix", noise_model=_noise_of(backend, active), max_parallel_threads=1)
    wanted = simulator.run(wide).result().data()["probabilities"]
    circuit.measure(range(len(active)), range(len(active)))
    program, values = program_of(circuit, active)
    calibration = DeviceModel.load(f"{backend.name}@aer").calibration
    (ours,) = measured_distributions(program, values, Evolution(calibration))
    # Aer drops Kraus operators below 1e-8, which is what remains between the two.
    assert abs(ours - wanted).max() < 1e-7


def _noise_of(backend, active):
    from qiskit_aer.noise.device.models import basic_device_gate_errors

    target = backend.target
    restricted = type(target)(num_qubits=target.num_qubits, qubit_properties=target.qubit_properties)
    for name in target.operation_names:
        table = target[name]
        if table and set(table) != {None}:
            inside = {qubits: entry for qubits, entry in table.items() if set(qubits) <= set(active)}
            if inside:
                restricted.add_instruction(target.operation_from_name(name), inside, name=name)
    model = NoiseModel(basis_gates=list(target.operation_names))
    for name, qubits, error in basic_device_gate_errors(target=restricted):
        model.add_quantum_error(error, name, qubits)
    return model


def test_a_noisy_source_keeps_traces():
    calibration = DeviceModel.load("fake_manila@aer").calibration
    source = NoisySource(calibration, (0, 1))
    channel = aer_order(source.matrices("cx", [(0, 1)], np.empty((1, 1, 0)))[0, 0])
    assert SuperOp(channel).is_cptp(atol=1e-9)


def test_a_gate_on_three_qubits_whose_matrix_is_not_symmetric_is_not_transposed():
    circuit = QuantumCircuit(3, 3)
    for qubit in range(3):
        circuit.u(0.3 + qubit, 0.7, 1.1 * qubit, qubit)
    circuit.rccx(2, 0, 1)
    for qubit in range(3):
        circuit.u(1.3 + qubit, 0.2, 0.4, qubit)
    assert ideal_probabilities(circuit) == pytest.approx(Statevector(circuit).probabilities(), abs=1e-12)

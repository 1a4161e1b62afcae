"""Wide ideal circuits: the state against Aer's, what is read from it, and that neither interruptions nor threads change a bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit, transpile
from qiskit.quantum_info import Statevector
from qiskit_aer import AerSimulator

from qrtx_ray.devices.cost import MAX_DISTRIBUTION_QUBITS
from qrtx_ray.engines import wide_plan
from qrtx_ray.engines.stages import Bulk, CheckpointRefused, Stage, own_memory
from qrtx_ray.engines.wide import draw_from, evolve, plan_wide, read_distribution, read_product
from qrtx_ray.errors import ExecuteError

from .building import hardware_efficient, program_of
from .test_kernel import GATES, append, random_circuit


def on_aer(circuit):
    saved = circuit.copy()
    saved.save_statevector()
    simulator = AerSimulator(method="statevector", max_parallel_threads=1)
    # Aer has no ECR and the like of its own.
    saved = transpile(saved, simulator, optimization_level=0)
    return np.asarray(simulator.run(saved, shots=1).result().get_statevector())


def planned(circuit, bases=({0: "Z"},)):
    program, values = program_of(circuit)
    return plan_wide(program, values[0], bases)


def states(plan, *, threads=1):
    """The state at each reading."""
    seen = []
    evolve(
        plan,
        Stage(),
        own_memory,
        threads=threads,
        read=lambda _, state: seen.append(state[0] + 1j * state[1]),
        on_step=lambda _: None,
    )
    return seen


def state(circuit, **kwargs):
    (only,) = states(planned(circuit), **kwargs)
    return only


def planes(vector):
    return np.ascontiguousarray([vector.real, vector.imag])


def test_random_circuits_of_all_gates_equal_qiskits_state():
    worst = 0.0
    for seed in range(12):
        circuit = random_circuit(seed, qubits=15 + seed % 3, length=20 + 10 * seed)
        worst = max(worst, abs(state(circuit) - Statevector(circuit).data).max())
    assert worst <= 1e-12


@pytest.mark.parametrize("qubits", [17, 18, 20])
def test_wide_random_circuits_equal_aers_state(qubits):
    circuit = random_circuit(5, qubits, length=120)
    assert abs(state(circuit) - on_aer(circuit)).max() <= 1e-10


@pytest.mark.parametrize("name", sorted(GATES))
def test_every_gate_acts_on_low_and_high_qubits_in_every_order(name):
    rng = np.random.default_rng(len(name))
    circuit = QuantumCircuit(15)
    for qubit in range(15):
        circuit.u(*rng.uniform(0, 6, 3), qubit)
    for _ in range(10):
        append(circuit, name, rng)
    assert abs(state(circuit) - Statevector(circuit).data).max() <= 1e-13


def test_long_runs_deep_layers_and_idle_qubits_are_no_special_case():
    circuit = QuantumCircuit(16)
    for angle in range(100):
        circuit.rx(0.1 * angle, 15)
        circuit.rz(0.3 * angle, 0)
    for angle in range(40):
        circuit.rxx(0.2 * angle, 15, 0)
        circuit.ry(0.2, 0)
    assert abs(state(circuit) - Statevector(circuit).data).max() <= 1e-12
    assert state(QuantumCircuit(15)).tolist() == [1.0, *[0.0] * (2**15 - 1)]


@given(seed=st.integers(0, 10_000), threads=st.integers(2, 5))
@settings(deadline=None, derandomize=True, max_examples=10)
def test_threads_change_no_bit(seed, threads):
    circuit = random_circuit(seed, qubits=16, length=60)
    assert np.array_equal(state(circuit), state(circuit, threads=threads))


def test_gates_are_taken_once_and_in_an_order_that_keeps_those_that_share_qubits():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        wires = [tuple(rng.permutation(22)[: rng.integers(1, 4)].tolist()) for _ in range(300)]
        taken = [index for _, indices in wide_plan.passes_of(22, tuple(wires)) for index in indices]
        assert sorted(taken) == list(range(300))
        place = {index: number for number, index in enumerate(taken)}
        for later in range(300):
            for earlier in range(later):
                if not set(wires[earlier]).isdisjoint(wires[later]):
                    assert place[earlier] < place[later]


def test_a_pass_is_bounded_however_many_gates_would_fit(monkeypatch):
    monkeypatch.setattr(wide_plan, "MAX_PASS_GATES", 7)
    wide_plan.passes_of.cache_clear()
    circuit = random_circuit(3, 15, 100)
    plan = planned(circuit)
    (only,) = states(plan)
    assert abs(only - Statevector(circuit).data).max() <= 1e-12
    taken = [len(indices) for _, indices in wide_plan.passes_of(20, tuple((0, k % 9 + 1) for k in range(100)))]
    assert taken == [7] * 14 + [2]
    wide_plan.passes_of.cache_clear()


def test_a_pass_holds_many_gates():
    for qubits, most in ((20, 4), (26, 5)):
        plan = planned(hardware_efficient(qubits))
        assert len(plan.passes) <= most


def test_a_plan_is_cut_into_segments_that_cover_every_block_once():
    plan = planned(hardware_efficient(26, layers=6), ({0: "X", 25: "Y"}, {3: "Z"}))
    covered = dict.fromkeys(range(len(plan.passes)), 0)
    last = 0
    for step in plan.steps:
        assert step.seconds <= 2 * wide_plan.SEGMENT_S
        for piece in step.pieces:
            assert piece.first == covered[piece.number]
            assert piece.number >= last
            covered[piece.number], last = piece.last, piece.number
    assert all(covered[number] == plan.passes[number].blocks for number in covered)
    assert [step.reading for step in plan.steps if step.reading is not None] == [0, 1]
    assert len(plan.steps) > 5


class Interrupted(Exception):
    pass


def run_in_parts(plan, stops, threads=1):
    """Readings of a run that is ended after each of the numbered steps: its state is copied for the next, and then spoilt."""
    stage, readings, stops = Stage(), {}, set(stops)

    def read(number, present):
        readings[number] = present.tobytes()

    def stop(_):
        if stage.done in stops:
            stops.remove(stage.done)
            raise Interrupted

    def memory(asked, size):
        return own_memory(asked, size) if asked.bulk is None else asked.bulk.view

    while True:
        try:
            evolve(plan, stage, memory, threads=threads, read=read, on_step=stop)
        except Interrupted:
            old = stage.bulk.view
            stage = Stage(stage.done, stage.total, bulk=Bulk(memoryview(bytearray(old)), shared=True))
            np.frombuffer(old, np.uint8).fill(255)
        else:
            assert stage.bulk is None
            assert not stops
            return readings


@given(seed=st.integers(0, 10_000), data=st.data())
@settings(deadline=None, derandomize=True, max_examples=15)
def test_a_run_interrupted_after_any_segments_gives_the_same_bits(seed, data):
    circuit = random_circuit(seed, qubits=16, length=120)
    letters = [{qubit: "XYZ"[(qubit + number) % 3] for qubit in range(12)} for number in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wide_plan, "SEGMENT_S", 1e-4)
        plan = planned(circuit, letters)
    assert len(plan.steps) > 6
    stops = data.draw(st.sets(st.integers(1, len(plan.steps) - 1)))
    assert run_in_parts(plan, stops) == run_in_parts(plan, set(), threads=2)


def test_progress_without_its_state_is_refused():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wide_plan, "SEGMENT_S", 1e-4)
        plan = planned(random_circuit(1, 16, 100))
    with pytest.raises(CheckpointRefused, match="without the state"):
        evolve(plan, Stage(1, len(plan.steps)), own_memory, threads=1, read=print, on_step=print)
    with pytest.raises(CheckpointRefused, match="cut otherwise"):
        evolve(plan, Stage(1, 999), own_memory, threads=1, read=print, on_step=print)


def test_what_does_not_fit_the_circuit_is_refused():
    program, values = program_of(random_circuit(1, 15, 30))
    for change in (
        lambda: plan_wide(program, values[0], [{15: "X"}]),
        lambda: plan_wide(program, values[0][:-1], [{0: "X"}]),
    ):
        with pytest.raises(ExecuteError) as caught:
            change()
        assert caught.value.field == "circuit"


def test_turning_from_basis_to_basis_reads_what_each_basis_alone_reads():
    circuit = random_circuit(8, 15, 80)
    bases = [{0: "X", 9: "Y"}, {0: "Y", 14: "Z", 9: "Y"}, {3: "X", 0: "Z"}, {9: "X", 3: "X"}]
    together = states(planned(circuit, bases))
    for letters, vector in zip(bases, together, strict=True):
        alone = read_distribution(planes(states(planned(circuit, [letters]))[0]), tuple(letters))
        assert abs(read_distribution(planes(vector), tuple(letters)) - alone).max() <= 1e-14


@pytest.mark.parametrize("qubits", [(0,), (16,), (16, 0, 9, 11), tuple(range(16, 3, -1)), (5, 10, 15)])
def test_a_distribution_is_that_of_the_qubits_in_their_order(qubits):
    vector = random_state(17, 3)
    exact = Statevector(vector).probabilities(list(qubits))
    assert abs(read_distribution(planes(vector), qubits) - exact).max() <= 1e-12


def random_state(qubits, seed):
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=2**qubits) + 1j * rng.normal(size=2**qubits)
    return vector / np.linalg.norm(vector)


def test_a_product_of_paulis_and_projectors_has_the_three_probabilities_of_its_values():
    vector = random_state(15, 4)
    probabilities = (vector.conj() * vector).real
    index = np.arange(2**15)
    qubits, letters = (0, 3, 14, 11, 7), "Zr1X+"
    sign = 1 - 2 * ((index ^ index >> 11) & 1)
    kept = (index >> 3 & 1 == 0) & (index >> 14 & 1 == 1) & (index >> 7 & 1 == 0)
    value = sign * kept
    exact = [probabilities[value == wanted].sum() for wanted in (1, -1, 0)]
    assert read_product(planes(vector), letters, qubits) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("tabulated", [0, MAX_DISTRIBUTION_QUBITS])
def test_each_number_gets_the_outcome_whose_share_of_the_line_it_lies_in(tabulated):
    vector = random_state(15, 9)
    vector[: 2**14 : 3] = 0
    vector[2**14 + 2**12 : 2**14 + 2**13] = 0
    numbers = np.concatenate([np.random.default_rng(1).random(5000), [0.0, 1 - 2**-53, 0.5]])
    outcomes = draw_from(planes(vector), tuple(range(15)), numbers, tabulated)
    ends = np.cumsum((vector.conj() * vector).real)
    upper, lower = ends[outcomes] / ends[-1], np.concatenate([[0.0], ends])[outcomes] / ends[-1]
    assert (lower - 1e-12 <= numbers).all()
    assert (numbers <= upper + 1e-12).all()
    assert (vector[outcomes] != 0).all()


def test_numbers_looked_up_in_the_state_and_in_its_table_are_the_same_outcomes():
    vector = random_state(16, 2)
    numbers = np.random.default_rng(5).random(20_000)
    qubits = (7, 0, 15, 3)
    whole = draw_from(planes(vector), tuple(range(16)), numbers, 0)
    assert (whole == draw_from(planes(vector), tuple(range(16)), numbers, 16)).mean() == 1.0
    some = draw_from(planes(vector), qubits, numbers, 0)
    assert np.array_equal(some, sum((whole >> qubit & 1) << bit for bit, qubit in enumerate(qubits)))

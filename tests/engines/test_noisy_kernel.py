"""The noisy kernel: compared with Aer's density matrices, which the engine takes for wider circuits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit

from qrtx_ray.devices.catalogue import metadata_names
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.engines import distribution, pauli_channels
from qrtx_ray.engines.distribution import Evolution, basis_distributions, measured_distributions
from qrtx_ray.engines.expectation import Basis
from qrtx_ray.engines.noisy import noisy_table
from qrtx_ray.engines.pauli_channels import PauliChannels
from qrtx_ray.engines.pauli_kernel import CHANNEL
from qrtx_ray.engines.protocol import JobRun
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.errors import ExecuteError

from .building import estimator_job, hardware_efficient, program_of, read, sampler_job, terms_of
from .conformance import H2

MANILA = DeviceModel.load("fake_manila@aer")
ONE = ("id", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg")
TURNS = {"rz": 1, "p": 1, "u1": 1, "rx": 1, "ry": 1, "r": 2, "u2": 2, "u": 3, "u3": 3}
TWO = ("cx", "cy", "cz", "ch", "ecr", "swap", "iswap", "dcx", "csx", "cs")


def both(monkeypatch, program, values, calibration, bases=None):
    """The distributions of the kernel, and those of Aer."""
    how = Evolution(calibration)

    def found():
        if bases is None:
            return measured_distributions(program, values, how)
        return [part for row in basis_distributions(program, values, bases, how) for part in row]

    ours = found()
    with monkeypatch.context() as patch:
        patch.setattr(distribution, "MAX_NOISY_KERNEL_QUBITS", 0)
        return ours, found()


def closeness(ours, theirs):
    assert len(ours) == len(theirs)
    return max(abs(a - b).max() for a, b in zip(ours, theirs, strict=True))


def _append(circuit, name, qubits, rng):
    from qiskit.circuit.library import get_standard_gate_name_mapping

    kind = get_standard_gate_name_mapping()[name]
    circuit.append(kind.base_class(*rng.uniform(-7, 7, TURNS[name])) if name in TURNS else kind, qubits)


def random_circuit(seed, qubits, length, ones=(*ONE, *TURNS), twos=TWO):
    rng = np.random.default_rng([seed, qubits])
    circuit = QuantumCircuit(qubits, qubits)
    for _ in range(length):
        if qubits > 1 and rng.random() < 0.3:
            _append(circuit, str(rng.choice(twos)), rng.permutation(qubits)[:2].tolist(), rng)
        else:
            _append(circuit, str(rng.choice(ones)), [int(rng.integers(qubits))], rng)
    return circuit


def measured(circuit):
    measuring = circuit.copy()
    measuring.measure(range(circuit.num_qubits), range(circuit.num_qubits))
    return program_of(measuring)


def test_random_circuits_of_all_gates_equal_aers_density_matrices(monkeypatch):
    worst = 0.0
    for seed in range(150):
        program, values = measured(random_circuit(seed, 1 + seed % 5, 5 + seed % 50))
        worst = max(worst, closeness(*both(monkeypatch, program, values, MANILA.calibration)))
    assert worst <= 1e-12


@pytest.mark.parametrize("name", metadata_names())
def test_circuits_of_every_device_equal_aers_density_matrices(monkeypatch, name):
    device = DeviceModel.load(f"{name}@aer")
    rng = np.random.default_rng(len(name))
    edges = [places for gate, places in sorted(device.instructions) if len(places) == 2 and gate != "rzz"]
    first = edges[0] if edges else (0,)  # there is a device of one qubit
    active = sorted({*first, *next((edge for edge in edges if len({*edge, *first}) == 3), first)})
    inside = [(gate, places) for gate, places in sorted(device.instructions) if set(places) <= set(active)]
    usable = [(gate, places) for gate, places in inside if gate in {*ONE, *TURNS, *TWO}]
    circuit = QuantumCircuit(len(active), len(active))
    for _ in range(60):
        gate, places = usable[rng.integers(len(usable))]
        _append(circuit, gate, [active.index(place) for place in places], rng)
    circuit.measure(range(len(active)), range(len(active)))
    program, values = program_of(circuit, tuple(active))
    assert len({program.names[kind] for kind in program.ops[:, 0]}) > 2
    assert closeness(*both(monkeypatch, program, values, device.calibration)) <= 1e-12


def test_wider_circuits_equal_aers_density_matrices(monkeypatch):
    program, values = measured(random_circuit(1, 7, 60))
    calibration = DeviceModel.load("fake_montreal@aer").calibration
    assert closeness(*both(monkeypatch, program, values, calibration)) <= 1e-12


def test_parameter_rows_give_the_same_numbers_together_and_alone(monkeypatch):
    program, _ = program_of(hardware_efficient(4))
    values = np.concatenate([program_of(hardware_efficient(4, seed=seed))[1] for seed in range(6)])
    together, theirs = both(monkeypatch, program, values, MANILA.calibration)
    assert closeness(together, theirs) <= 1e-12
    how = Evolution(MANILA.calibration)
    for row in range(6):
        assert np.array_equal(together[row], measured_distributions(program, values[row : row + 1], how)[0])


@pytest.mark.parametrize("qubits", [(0,), (3, 1), (2, 4, 0), (4, 3, 2, 1, 0)])
def test_measured_qubits_are_the_bits_of_the_outcome_in_their_order(monkeypatch, qubits):
    circuit = random_circuit(3, 5, 40)
    circuit.measure(qubits, range(len(qubits)))
    program, values = program_of(circuit)
    assert closeness(*both(monkeypatch, program, values, MANILA.calibration)) <= 1e-12


def test_bases_are_other_components_of_the_same_state(monkeypatch):
    program, values = program_of(random_circuit(5, 4, 50))
    bases = [Basis({0: "X"}), Basis({3: "Y", 1: "Z"}), Basis({0: "Y", 1: "X", 2: "Z", 3: "Y"})]
    assert closeness(*both(monkeypatch, program, values, MANILA.calibration, bases)) <= 1e-12


def test_qubits_relax_during_delays_and_idle_gates(monkeypatch):
    circuit = QuantumCircuit(3, 3)
    circuit.x([0, 1, 2])
    circuit.h(1)
    circuit.id(2)
    for qubit, length_s in enumerate((0.0, 30e-6, 200e-6)):
        circuit.delay(length_s, qubit, unit="s")
    circuit.h(1)
    circuit.measure(range(3), range(3))
    program, values = program_of(circuit)
    ours, theirs = both(monkeypatch, program, values, MANILA.calibration)
    assert closeness(ours, theirs) <= 1e-12
    assert ours[0].reshape(2, 4)[1].sum() < 0.5  # qubit 2 fell


def test_a_calibration_without_noise_gives_the_ideal_distribution():
    perfect = replace(
        MANILA.calibration,
        t1_s=np.full(5, np.inf),
        t2_s=np.full(5, np.inf),
        gate_error={},
        gate_duration_s={},
    )
    program, values = measured(random_circuit(9, 5, 80))
    ours = measured_distributions(program, values, Evolution(perfect))
    assert closeness(ours, measured_distributions(program, values, Evolution(None))) <= 1e-12


def test_what_the_kernel_has_no_form_for_goes_to_aer(monkeypatch):
    for change in ("rzz", "ccx"):
        circuit = random_circuit(2, 3, 20)
        circuit.rzz(0.4, 0, 2) if change == "rzz" else circuit.ccx(0, 1, 2)
        program, values = measured(circuit)
        assert noisy_table(program, values, (("Z", (0,)),), MANILA.calibration) is None
        assert closeness(*both(monkeypatch, program, values, MANILA.calibration)) == 0.0


def test_a_qubit_that_is_read_twice_goes_to_aer():
    program, values = measured(random_circuit(2, 3, 20))
    assert noisy_table(program, values, (("ZZ", (1, 1)),), MANILA.calibration) is None


def test_results_are_the_bytes_that_aer_gave(monkeypatch):
    engine = engine_for("aer")
    jobs = [sampler_job(hardware_efficient(1 + seed % 5, seed=seed), device="fake_manila@aer") for seed in range(20)]
    runs = [JobRun(job, seed) for seed, job in enumerate(jobs)]
    kernel = [outcome.results for outcome in engine.run(runs)]
    assert all(kernel)
    assert [engine.run([run])[0].results for run in runs] == kernel
    monkeypatch.setattr(distribution, "MAX_NOISY_KERNEL_QUBITS", 0)
    assert [outcome.results for outcome in engine.run(runs)] == kernel


def test_expectation_values_are_those_that_aer_gave(monkeypatch):
    circuit = hardware_efficient(2).remove_final_measurements(inplace=False)
    run = JobRun(estimator_job(circuit, terms_of(H2), device="fake_manila@aer"), 1)
    engine = engine_for("aer")
    kernel = read(engine.run([run])[0].results)[0].data.evs
    monkeypatch.setattr(distribution, "MAX_NOISY_KERNEL_QUBITS", 0)
    assert read(engine.run([run])[0].results)[0].data.evs == pytest.approx(kernel, abs=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {(0, 0): 7},  # no such name
        {(0, 0): -1},
        {(1, 1): 5},  # no such qubit
        {(1, 1): -1},
        {(1, 2): 1},  # a second qubit for a gate on one
        {(15, 2): 0},  # the same qubit twice
        {(15, 2): -1},  # one qubit for a gate on two
        {(15, 2): -1, (15, 3): 2},  # a gap between the qubits
        {(0, 4): 40},  # no such slot
        {(0, 4): -1},
        {(0, 5): 2},  # an angle too many
        {(0, 5): 2**30},
        {(0, 5): -3},
    ],
)
def test_operations_that_reach_outside_the_arrays_are_refused(change):
    program, values = program_of(hardware_efficient())
    assert program.names[program.ops[15, 0]] == "cx"
    ops = program.ops.copy()
    for place, value in change.items():
        ops[place] = value
    with pytest.raises(ExecuteError, match="does not fit"):
        measured_distributions(replace(program, ops=ops), values, Evolution(MANILA.calibration))


def test_values_and_bases_that_reach_outside_the_arrays_are_refused():
    program, values = program_of(hardware_efficient())
    for row, qubits in ((values[:, :-1], (0,)), (values, (5,)), (values, (0, -1))):
        with pytest.raises(ExecuteError, match="do not fit"):
            noisy_table(program, row, (("Z" * len(qubits), qubits),), MANILA.calibration)


def test_a_gate_nobody_knows_is_refused_by_name():
    program, values = program_of(hardware_efficient())
    renamed = replace(program, names=tuple("flux" if name == "sx" else name for name in program.names))
    with pytest.raises(ExecuteError, match="'flux'"):
        measured_distributions(renamed, values, Evolution(MANILA.calibration))


def test_programs_of_one_structure_share_their_steps_and_those_of_another_do_not():
    channels = PauliChannels(MANILA.calibration)
    first, second, other = (
        program_of(circuit)[0]
        for circuit in (hardware_efficient(seed=1), hardware_efficient(seed=2), hardware_efficient(layers=2))
    )
    assert channels.steps(first) is channels.steps(second)
    assert channels.steps(other) is not channels.steps(first)
    moved = replace(first, active_qubits=(4, 3, 2, 1, 0))
    assert not np.array_equal(channels.steps(moved), channels.steps(first))


def test_what_is_kept_of_a_calibration_is_bounded(monkeypatch):
    monkeypatch.setattr(pauli_channels, "_MOST_GATES", 10)
    monkeypatch.setattr(pauli_channels, "_MOST_PROGRAMS", 3)
    kept = PauliChannels(MANILA.calibration)
    for seed in range(20):
        program, _ = measured(random_circuit(seed, 4, 30))
        steps, fresh = kept.steps(program), PauliChannels(MANILA.calibration)
        assert steps is not None
        assert fresh.steps(program) is not None
        assert np.array_equal(_singles_used(kept, steps), _singles_used(fresh, fresh.steps(program)))
        assert len(kept._programs) <= 3
        assert len(kept._known) <= 10 + 60


def _singles_used(channels, steps):
    return channels.channels().singles[[step[2] for step in steps if step[0] == CHANNEL]]

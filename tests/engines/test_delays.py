"""A noisy device relaxes while it waits; an ideal one does not, and waiting alone wakes no qubit."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program_builder import build_program
from qrtx_ray.devices.timing import schedule_duration_s
from qrtx_ray.engines.channels import relaxation_kraus, relaxations
from qrtx_ray.engines.distribution import Evolution, measured_distributions
from qrtx_ray.engines.native import NativeCircuit, execute
from qrtx_ray.engines.shots import native_program

MANILA = DeviceModel.load("fake_manila@aer")
IDEAL = DeviceModel.load("fake_manila@aer_ideal")


def waiting(seconds: float | Parameter) -> QuantumCircuit:
    circuit = QuantumCircuit(5, 2)
    circuit.x(1)
    circuit.sx(2)
    circuit.delay(seconds, 1, unit="s")
    circuit.delay(seconds, 2, unit="s")
    circuit.delay(seconds, 4, unit="s")
    circuit.sx(2)
    circuit.measure([1, 2], [0, 1])
    return circuit


def test_waiting_alone_makes_no_qubit_active() -> None:
    program, values = build_program(waiting(1e-4), MANILA)
    assert program.active_qubits == (1, 2)
    assert [op.name for op in program.operations()].count("delay") == 2
    assert values.shape[1] == program.num_slots


def test_an_ideal_device_has_no_delays_to_run() -> None:
    program, _ = build_program(waiting(1e-4), IDEAL)
    assert "delay" not in program.names
    assert program.duration_s > 1e-4


def test_the_excited_state_decays_as_in_aers_model_of_the_device() -> None:
    circuit = waiting(8e-5)
    exact = AerSimulator.from_backend(FakeManilaV2(), method="density_matrix")
    quiet = circuit.copy()
    quiet.remove_final_measurements()
    quiet.save_probabilities([1, 2])
    wanted = exact.run(quiet, shots=1).result().data()["probabilities"]
    program, values = build_program(circuit, MANILA)
    (found,) = measured_distributions(program, values, Evolution(MANILA.calibration, 1))
    np.testing.assert_allclose(found, wanted, atol=1e-7)


def test_the_length_of_a_delay_may_be_a_parameter() -> None:
    wait = Parameter("wait")
    rows = np.array([[0.0], [5e-5], [1e-3]])
    program, values = build_program(waiting(wait), MANILA, parameter_values=rows)
    excited = [
        found[1] + found[3] for found in measured_distributions(program, values, Evolution(MANILA.calibration, 1))
    ]
    assert excited[0] > 0.99
    assert excited[0] > excited[1] > excited[2]
    assert schedule_duration_s(program, values[2], MANILA.calibration) > 1e-3


@pytest.mark.parametrize("seconds", [0.0, 3e-5, 1e-3])
def test_kraus_operators_are_the_channel(seconds: float) -> None:
    operators = relaxation_kraus(MANILA.calibration, 2, seconds)
    channel = sum(np.kron(operator.conj(), operator) for operator in operators)
    wanted = relaxations(MANILA.calibration, [2], np.array([seconds]))[0]
    np.testing.assert_allclose(channel, wanted, atol=1e-12)


def test_trajectories_relax_too() -> None:
    """The share of survivors of 4000 trajectories; five standard deviations, false alarms below 1e-6."""
    program, values = build_program(waiting(8e-5), MANILA)
    circuit: NativeCircuit = native_program(program, values[0], calibration=MANILA.calibration)
    data = execute([circuit], method="statevector", shots=4000, seed=5, memory=True)[0]
    survived = sum(int(word, 16) & 1 for word in data["memory"]) / 4000
    wanted = float(np.exp(-8e-5 / MANILA.calibration.t1_s[1]))
    assert abs(survived - wanted) < 5 * (wanted * (1 - wanted) / 4000) ** 0.5

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit

from qrtx_ray.devices.cost import Method, group_key, is_clifford, job_cost, method_of, row_cost

from .building import estimator_job, hardware_efficient, program_of, qpy_program, sampler_job


def chosen(circuit, *, noisy, shots=1024):
    program, values = program_of(circuit)
    return method_of(program, values, noisy=noisy, shots=shots)


def test_small_circuits_give_distributions():
    assert chosen(hardware_efficient(5), noisy=False) is Method.STATEVECTOR
    assert chosen(hardware_efficient(5), noisy=True) is Method.DENSITY_MATRIX


def test_wide_circuits_are_drawn():
    assert chosen(hardware_efficient(18), noisy=False) is Method.STATEVECTOR_SHOTS
    assert chosen(hardware_efficient(14), noisy=True) is Method.TRAJECTORIES


def test_between_eight_and_twelve_noisy_qubits_the_number_of_shots_decides():
    assert chosen(hardware_efficient(10), noisy=True, shots=10) is Method.TRAJECTORIES
    assert chosen(hardware_efficient(10), noisy=True, shots=20_000) is Method.DENSITY_MATRIX


def test_exact_noisy_values_need_a_density_matrix():
    program, values = program_of(hardware_efficient(14).remove_final_measurements(inplace=False))
    cost = row_cost(program, values, noisy=True, shots=0)
    assert cost.method is Method.DENSITY_MATRIX
    assert cost.bytes >= 16 * 4**14


def test_sixty_qubits_are_impossible_unless_clifford():
    assert job_cost(sampler_job(hardware_efficient(60)), noisy=False).bytes >= 16 * 2**60
    ghz = QuantumCircuit(60, 60)
    ghz.h(0)
    for qubit in range(59):
        ghz.cx(qubit, qubit + 1)
    ghz.measure(range(60), range(60))
    cost = job_cost(sampler_job(ghz), noisy=False)
    assert cost.bytes < 100e6
    assert cost.seconds < 10
    assert job_cost(sampler_job(ghz), noisy=True).bytes >= 16 * 2**60  # the noise is not Clifford


def test_quarter_turns_are_clifford_and_other_angles_are_not():
    circuit = QuantumCircuit(1)
    circuit.rz(np.pi / 2, 0)
    circuit.sx(0)
    circuit.rz(-np.pi, 0)
    program, values = program_of(circuit)
    assert is_clifford(program, values)
    assert not is_clifford(program, values + 0.001)
    assert is_clifford(replace(program, clifford=True), values + 0.001)
    circuit.rx(np.pi / 2, 0)
    assert not is_clifford(*program_of(circuit))


def test_dynamic_circuits_are_drawn():
    circuit = QuantumCircuit(2, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    program = qpy_program(circuit)
    assert method_of(program, np.empty((1, 0)), noisy=False, shots=10) is Method.STATEVECTOR_SHOTS
    assert method_of(program, np.empty((1, 0)), noisy=True, shots=10) is Method.TRAJECTORIES
    assert row_cost(program, np.empty((1, 0)), noisy=True, shots=10).seconds > 0


@pytest.mark.parametrize("noisy", [False, True])
def test_cost_grows_with_rows_shots_and_width(noisy):
    small = job_cost(sampler_job(hardware_efficient(3), shots=100), noisy=noisy)
    for bigger in (
        sampler_job(hardware_efficient(3), shots=100_000),
        sampler_job(hardware_efficient(8), shots=100),
        sampler_job(hardware_efficient(3), hardware_efficient(3), shots=100),
    ):
        cost = job_cost(bigger, noisy=noisy)
        assert cost.seconds > small.seconds
        assert cost.bytes > small.bytes


def test_an_estimator_costs_its_evolution_and_terms():
    circuit = hardware_efficient(5).remove_final_measurements(inplace=False)
    assert 0 < job_cost(estimator_job(circuit, ()), noisy=False).seconds < 0.1


def test_jobs_of_one_device_and_calibration_share_calls():
    first, second = sampler_job(hardware_efficient(3)), sampler_job(hardware_efficient(5))
    assert group_key(first) == group_key(second)
    assert group_key(first) != group_key(replace(first, calibration_id="other"))
    assert group_key(first) != group_key(replace(first, device="fake_manila@aer"))

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit

from qrtx_ray.devices.cost import MAX_KERNEL_QUBITS, Method, group_key, is_clifford, job_cost, method_of, row_cost
from qrtx_ray.devices.executable import PauliTerm

from .building import estimator_job, hardware_efficient, program_of, qpy_program, sampler_job


def chosen(circuit, *, noisy, shots=1024):
    program, values = program_of(circuit)
    return method_of(program, values, noisy=noisy, shots=shots)


def test_small_circuits_give_distributions():
    assert chosen(hardware_efficient(5), noisy=False) is Method.STATEVECTOR
    assert chosen(hardware_efficient(5), noisy=True) is Method.DENSITY_MATRIX


def measured_on_the_way(circuit):
    """The same with a qubit that is measured before it is acted on."""
    begun = QuantumCircuit(*circuit.qregs, *circuit.cregs)
    begun.measure(0, 0)
    return begun.compose(circuit)


def test_wide_circuits_are_drawn_when_they_are_noisy_or_measured_on_the_way():
    assert chosen(hardware_efficient(18), noisy=False) is Method.STATEVECTOR
    assert chosen(measured_on_the_way(hardware_efficient(18)), noisy=False) is Method.STATEVECTOR_SHOTS
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


def test_small_jobs_cost_what_they_take_and_not_what_a_simulator_call_takes():
    job = sampler_job(hardware_efficient(5))
    assert 0.1e-3 < job_cost(job, noisy=False).seconds < 0.3e-3  # measured: 0.14 ms
    assert 0.2e-3 < job_cost(job, noisy=True).seconds < 0.6e-3  # measured: 0.3 ms


def test_noisy_gates_that_the_kernel_has_no_form_for_cost_what_aer_takes():
    circuit = hardware_efficient(5).remove_final_measurements(inplace=False)
    usual = row_cost(*program_of(circuit), noisy=True, shots=0)
    for change in ("rzz", "ccx"):
        other = circuit.copy()
        other.rzz(0.1, 0, 1) if change == "rzz" else other.ccx(0, 1, 2)
        cost = row_cost(*program_of(other), noisy=True, shots=0)
        assert cost.method is usual.method is Method.DENSITY_MATRIX
        assert cost.seconds > 3 * usual.seconds


def test_the_cost_of_a_parameter_row_is_far_below_that_of_a_job():
    (pub,) = sampler_job(hardware_efficient(5)).pubs
    job = sampler_job(hardware_efficient(5))
    rows = replace(job, pubs=(replace(pub, values=np.repeat(pub.values, 100, axis=0), shape=(100,)),))
    assert job_cost(rows, noisy=False).seconds < 50 * job_cost(job, noisy=False).seconds


def test_a_wide_circuit_carries_its_state_and_a_narrow_one_its_results():
    narrow, wide = (hardware_efficient(qubits) for qubits in (MAX_KERNEL_QUBITS, MAX_KERNEL_QUBITS + 1))
    costs = [row_cost(*program_of(circuit), noisy=False, shots=100) for circuit in (narrow, wide)]
    assert [cost.method for cost in costs] == [Method.STATEVECTOR] * 2
    assert [cost.bulk_bytes for cost in costs] == [0, 16 << (MAX_KERNEL_QUBITS + 1)]
    assert costs[1].bytes > costs[1].bulk_bytes
    assert job_cost(sampler_job(wide, narrow), noisy=False).bulk_bytes == costs[1].bulk_bytes
    assert job_cost(sampler_job(wide), noisy=True).bulk_bytes == 0
    assert row_cost(*program_of(measured_on_the_way(wide)), noisy=False, shots=100).bulk_bytes == 0


def test_a_wide_circuit_costs_its_gates_on_two_qubits_and_its_amplitudes():
    costs = {
        (qubits, layers): row_cost(*program_of(hardware_efficient(qubits, layers)), noisy=False, shots=1).seconds
        for qubits in (20, 24)
        for layers in (3, 12)
    }
    assert costs[24, 3] == pytest.approx(16 * 1.2 * costs[20, 3], rel=0.3)
    assert costs[24, 12] == pytest.approx(4 * costs[24, 3], rel=0.3)
    assert 0.05 < costs[20, 3] < 0.2  # measured: 0.08 s


def test_costs_that_decide_how_shots_are_cut_are_part_of_the_format():
    # The slices of drawn shots follow from these, and from the slices the shots: another law gives old jobs other results.
    program, values = program_of(measured_on_the_way(hardware_efficient(18)))
    drawn = row_cost(program, values, noisy=False, shots=1000)
    assert (drawn.method, drawn.seconds) == (Method.STATEVECTOR_SHOTS, pytest.approx(77.1261928))
    noisy = row_cost(*program_of(hardware_efficient(14)), noisy=True, shots=1000)
    assert (noisy.method, noisy.seconds) == (Method.TRAJECTORIES, pytest.approx(23.957416))


def test_an_observable_on_many_qubits_costs_its_measurement_and_not_the_whole_space():
    ghz = QuantumCircuit(60)
    ghz.h(0)
    for qubit in range(59):
        ghz.cx(qubit, qubit + 1)
    pair, wide = (PauliTerm(tuple(range(width)), "Z" * width, 1.0) for width in (2, 20))
    assert job_cost(estimator_job(ghz, (pair,)), noisy=False).seconds < 0.1
    assert job_cost(estimator_job(ghz, (wide,)), noisy=False).seconds > 2**20 * 1e-9


def test_jobs_of_one_device_and_calibration_share_calls():
    first, second = sampler_job(hardware_efficient(3)), sampler_job(hardware_efficient(5))
    assert group_key(first) == group_key(second)
    assert group_key(first) != group_key(replace(first, calibration_id="other"))
    assert group_key(first) != group_key(replace(first, device="fake_manila@aer"))

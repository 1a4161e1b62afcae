from __future__ import annotations

import pytest
from qiskit import QuantumCircuit, transpile

from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.program_builder import build_program
from qrtx_ray.devices.timing import IBM_JOB_OVERHEAD_S, UNKNOWN_MEASURE_S, delay_s, qpu_seconds, schedule_duration_s

DEVICE = DeviceModel.load("fake_manila@aer")
DURATIONS = DEVICE.calibration.gate_duration_s


def length(circuit, device=DEVICE):
    program, values = build_program(circuit)
    return schedule_duration_s(program, values[0], device.calibration)


def test_gates_on_different_qubits_run_at_the_same_time():
    circuit = QuantumCircuit(5)
    circuit.sx(0)
    circuit.sx(1)
    assert length(circuit) == pytest.approx(max(DURATIONS["sx", (0,)], DURATIONS["sx", (1,)]))


def test_a_two_qubit_gate_waits_for_both():
    circuit = QuantumCircuit(5)
    circuit.sx(1)
    circuit.cx(1, 2)
    circuit.measure_all()
    measured = max(DURATIONS["measure", (q,)] for q in (1, 2))
    assert length(circuit) == pytest.approx(DURATIONS["sx", (1,)] + DURATIONS["cx", (1, 2)] + measured)


def test_virtual_gates_take_no_time():
    circuit = QuantumCircuit(5)
    circuit.rz(0.3, 0)
    assert length(circuit) == 0.0
    assert length(QuantumCircuit(5)) == 0.0


def test_a_device_without_readout_length_is_charged_a_stated_one():
    circuit = QuantumCircuit(5, 1)
    circuit.measure(0, 0)
    assert length(circuit, DeviceModel.load("fake_london@aer")) == UNKNOWN_MEASURE_S


@pytest.mark.parametrize("metadata", ["fake_manila", "fake_sherbrooke", "fake_fez"])
def test_both_ways_to_the_duration_agree(metadata):
    device = DeviceModel.load(f"{metadata}@aer")
    circuit = QuantumCircuit(4, 4)
    circuit.h(0)
    for i in range(3):
        circuit.cx(0, i + 1)
    circuit.measure(range(4), range(4))
    isa = transpile(circuit, device.target(), seed_transpiler=0)
    program, values = build_program(isa, device)
    assert program.duration_s == pytest.approx(schedule_duration_s(program, values[0], device.calibration))


def test_qpu_seconds_are_ibms_formula():
    assert qpu_seconds(1000, 4e-6) == pytest.approx(1000 * 254e-6)
    assert qpu_seconds(10, 0.0, rep_delay_s=1e-3, overhead_s=IBM_JOB_OVERHEAD_S) == pytest.approx(2.01)


@pytest.mark.parametrize(
    ("duration", "unit", "expected"), [(3, "us", 3e-6), (2, "dt", 4e-9), (2, "fortnight", 0.0), (object(), "s", 0.0)]
)
def test_delays_are_read_in_every_unit(duration, unit, expected):
    assert delay_s(duration, unit, 2e-9) == pytest.approx(expected)
    assert delay_s(5, "dt", None) == 0.0

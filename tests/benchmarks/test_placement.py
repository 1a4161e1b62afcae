"""The measures by which predictions are judged."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit

from benchmarks.families import families, jobs
from benchmarks.placement import _hellinger, _judged, _ranks, _spearman
from qrtx_ray.devices.model import DeviceModel


def test_a_rank_correlation_sees_order_only():
    assert _spearman(np.array([1.0, 2.0, 3.0]), np.array([0.1, 5.0, 900.0])) == pytest.approx(1.0)
    assert _spearman(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1.0)
    assert _ranks(np.array([5.0, 1.0, 5.0, 7.0])).tolist() == [2.5, 1.0, 2.5, 4.0]


def test_hellinger_fidelity_is_1_for_equal_and_0_for_disjoint():
    p = np.array([0.25, 0.75, 0.0, 0.0])
    assert _hellinger(p, p) == pytest.approx(1.0)
    assert _hellinger(p, p[::-1].copy()) == 0.0


def test_there_are_enough_families_with_and_without_a_sharp_answer():
    found = families(7)
    assert len(found) >= 50
    assert {circuit.num_qubits for circuit in found.values()} >= set(range(2, 10))
    assert len({str(circuit) for circuit in jobs(20, 7)}) == 20
    assert [str(circuit) for circuit in jobs(5, 7)] == [str(circuit) for circuit in jobs(5, 7)]


def test_readout_errors_are_in_what_is_measured():
    device = DeviceModel.load("fake_manila@aer")
    circuit = QuantumCircuit(5, 2)
    circuit.x([0, 1])
    circuit.measure([0, 1], [1, 0])
    predicted, measured, uniform, known, share = _judged(circuit, device)
    error = device.calibration.gate_error
    read = (1 - error["measure", (0,)]) * (1 - error["measure", (1,)])
    assert measured == pytest.approx(read, rel=1e-3)
    assert predicted == pytest.approx(measured, abs=1e-3)
    assert uniform == pytest.approx(0.25)
    assert measured <= known <= 1.0
    assert 0.9 < share < 1.0

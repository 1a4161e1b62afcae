"""The target for routing lacks couplings that do not work, and nothing else."""

from __future__ import annotations

import pytest

from qrtx_ray.compiler.reliable import _hopeless, _parts, reliable_target
from qrtx_ray.devices.drift import MAX_ERROR
from qrtx_ray.devices.model import DeviceModel


def places(target):
    return {(name, qubits) for name in target.operation_names for qubits in (target[name] or {None: None})}


@pytest.mark.parametrize("metadata", ["fake_sherbrooke", "fake_manhattan", "fake_aachen", "fake_torino"])
def test_hopeless_couplings_are_gone_and_all_else_is_there(metadata):
    device = DeviceModel.load(f"{metadata}@aer")
    whole, reduced = device.target(), reliable_target(device)
    gone = places(whole) - places(reduced)
    assert gone
    assert places(reduced) < places(whole)
    for name, qubits in gone:
        assert device.calibration.gate_error[name, qubits] >= MAX_ERROR
    for name, qubits in places(reduced):
        if qubits is not None:
            assert reduced[name][qubits] == whole[name][qubits]
    assert reduced.num_qubits == whole.num_qubits
    assert reduced.dt == whole.dt


@pytest.mark.parametrize("metadata", ["fake_sherbrooke", "fake_manhattan", "fake_aachen", "fake_torino"])
def test_every_qubit_can_still_be_reached(metadata):
    device = DeviceModel.load(f"{metadata}@aer")
    pairs = {frozenset(qubits) for _, qubits in device.instructions if len(qubits) == 2}
    assert _parts(pairs - _hopeless(device), device.num_qubits) == _parts(pairs, device.num_qubits)


def test_a_device_without_them_or_without_noise_keeps_its_target():
    for name in ("fake_manila@aer", "fake_sherbrooke@aer_ideal"):
        device = DeviceModel.load(name)
        assert reliable_target(device) is device.target()

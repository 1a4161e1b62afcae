"""Probe circuits: they visit every working qubit, they are the device's own instructions, and their answer is 0."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from qrtx_ray.devices import catalogue
from qrtx_ray.devices.isa import violations
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.probes import CHAIN_QUBITS, VARIANTS, _mirror, chains, probes_of

DEVICES = ["fake_manila", "fake_kolkata", "fake_rochester", "fake_sherbrooke", "fake_fez", "fake_armonk"]


@pytest.mark.parametrize("metadata", catalogue.metadata_names())
def test_every_working_qubit_is_in_one_chain(metadata):
    device = DeviceModel.load(f"{metadata}@aer")
    for variant in range(VARIANTS):
        visited = [qubit for chain in chains(device, variant) for qubit in chain]
        assert sorted(visited) == [q for q in range(device.num_qubits) if ("measure", (q,)) in device.instructions]


@pytest.mark.parametrize("metadata", DEVICES)
def test_chains_are_short_and_of_coupled_neighbours(metadata):
    device = DeviceModel.load(f"{metadata}@aer")
    coupled = {frozenset(edge) for edge in device.coupling}
    for chain in chains(device):
        assert 1 <= len(chain) <= CHAIN_QUBITS
        assert all(frozenset(pair) in coupled for pair in itertools.pairwise(chain))


@pytest.mark.parametrize("metadata", DEVICES)
def test_a_probe_is_in_the_devices_instructions(metadata):
    device = DeviceModel.load(f"{metadata}@aer")
    for chain in chains(device):
        assert violations(_mirror(device, chain), device) is None


@pytest.mark.parametrize("metadata", DEVICES)
def test_without_noise_every_qubit_reads_0(metadata):
    from qrtx_ray.engines.distribution import Evolution, measured_distributions

    for probe in probes_of(f"{metadata}@aer"):
        assert measured_distributions(probe.program, probe.values, Evolution(None))[0][0] == pytest.approx(1.0)
        assert probe.program.active_qubits == tuple(sorted(probe.qubits))


def test_variants_visit_other_couplings():
    device = DeviceModel.load("fake_sherbrooke@aer")
    pairs = [
        {frozenset(pair) for chain in chains(device, variant) for pair in itertools.pairwise(chain)}
        for variant in range(VARIANTS)
    ]
    assert len(set().union(*pairs)) > 1.2 * max(map(len, pairs))
    assert probes_of(device.name, VARIANTS)[0].qubits == probes_of(device.name, 0)[0].qubits


def test_values_have_a_row():
    probe = probes_of("fake_manila@aer")[0]
    assert probe.values.shape == (1, probe.program.num_slots)
    assert np.isfinite(probe.values).all()

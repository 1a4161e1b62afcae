"""The measured fidelity of a device: 1 after a calibration, lower the further its noise has wandered, cheap, repeatable."""

from __future__ import annotations

import time

import pytest

from qrtx_ray.engines import probe
from qrtx_ray.engines.probe import measure
from qrtx_ray.errors import NotFound, ValidationError
from qrtx_ray.model import NoiseId

KOLKATA = "fake_kolkata@aer"


@pytest.mark.parametrize("device", [KOLKATA, "fake_manila@aer", "fake_sherbrooke@aer", "fake_rochester@aer"])
def test_a_device_just_calibrated_measures_1(device):
    for epoch in (0, 1):
        assert measure(device, NoiseId(3, 0.1, epoch, 0).text(), 5) == pytest.approx(1.0, abs=0.03)


def test_equal_questions_have_equal_answers():
    noise = NoiseId(3, 0.1, 0, 7).text()
    first = measure(KOLKATA, noise, 11)
    probe._successes.cache_clear()
    assert measure(KOLKATA, noise, 11) == first
    assert measure(KOLKATA, noise, 12) != first


def test_it_falls_while_the_noise_wanders_and_the_next_calibration_restores_it():
    late = [measure(KOLKATA, NoiseId(seed, 0.2, 0, 30).text(), seed) for seed in range(5)]
    assert max(late) < 0.92
    assert sum(late) / 5 < 0.85
    early = [measure(KOLKATA, NoiseId(seed, 0.2, 0, 1).text(), seed) for seed in range(5)]
    assert min(early) > 0.9
    again = [measure(KOLKATA, NoiseId(seed, 0.2, 1, 0).text(), seed) for seed in range(5)]
    assert min(again) > 0.97


def test_it_is_a_fraction_of_the_published_calibration_not_of_perfection():
    assert measure("fake_rochester@aer", "", 1) > 0.95  # one of the noisiest devices there are


def test_the_answer_is_the_exact_success_to_within_the_shots():
    noise = NoiseId(3, 0.2, 0, 20)
    now = probe._successes(KOLKATA, noise.text(), 2)
    promised = probe._successes(KOLKATA, noise.published.text(), 2)
    qubits = [len(item.qubits) for item in probe.probes_of(KOLKATA, 2)]
    exact = sum(n * p for n, p in zip(qubits, now, strict=True)) / sum(
        n * p for n, p in zip(qubits, promised, strict=True)
    )
    assert measure(KOLKATA, noise.text(), 2) == pytest.approx(exact, abs=0.03)


def test_a_device_without_noise_measures_1():
    assert measure("fake_kolkata@aer_ideal", NoiseId(3, 0.2, 0, 30).text(), 1) == 1.0


def test_a_probe_of_127_qubits_costs_less_than_half_a_second():
    measure("fake_sherbrooke@aer", "", 0)
    started = time.process_time()
    measure("fake_sherbrooke@aer", NoiseId(8, 0.1, 0, 9).text(), 0)
    assert time.process_time() - started < 0.5


def test_unknown_names_are_refused():
    with pytest.raises(NotFound):
        measure("fake_nowhere@aer", "", 0)
    with pytest.raises(ValidationError):
        measure(KOLKATA, "tomorrow", 0)

"""Drift: a pure function, within what is physical, continuous in time, and undone by a calibration."""

from __future__ import annotations

import itertools

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.devices import catalogue
from qrtx_ray.devices.backend_json import properties_json, status_dict
from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.drift import MAX_ERROR, drifted
from qrtx_ray.devices.drift_document import with_calibration
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.errors import ValidationError
from qrtx_ray.model import DeviceStatus, NoiseId

KOLKATA = DeviceModel.load("fake_kolkata@aer").calibration
NOISES = st.builds(
    NoiseId,
    seed=st.integers(0, 2**64 - 1),
    rate=st.floats(1e-3, 2.0),
    epoch=st.integers(0, 2**31 - 1),
    step=st.integers(0, 2**31 - 1),
)
FEW = settings(deadline=None, derandomize=True, max_examples=25)


def gate_errors(calibration):
    return np.array([error for (name, _), error in sorted(calibration.gate_error.items()) if name == "cx"])


def log_distance(one, other):
    return float(np.sqrt(np.mean(np.log(gate_errors(one) / gate_errors(other)) ** 2)))


@FEW
@given(NOISES)
def test_whatever_the_noise_it_stays_physical(noise):
    now = drifted(KOLKATA, noise)
    assert (now.t1_s > 0).all()
    assert (now.t2_s > 0).all()
    assert (now.t2_s <= 2 * now.t1_s * (1 + 1e-12)).all() or now is KOLKATA
    for key, error in now.gate_error.items():
        assert 0 <= error <= MAX_ERROR or error == KOLKATA.gate_error[key]
    for column in (now.p01, now.p10):
        assert ((column >= 0) & (column < 0.5)).all()
    assert now.gate_duration_s == KOLKATA.gate_duration_s
    assert now.faulty_qubits == KOLKATA.faulty_qubits


@FEW
@given(NOISES)
def test_it_is_a_pure_function_of_its_name(noise):
    one, other = drifted(KOLKATA, noise), drifted(KOLKATA, NoiseId.parse(noise.text()))
    assert one.id == other.id
    assert one.gate_error == other.gate_error
    assert (one.t1_s == other.t1_s).all()
    assert (one.p01 == other.p01).all()


def test_the_values_are_the_same_on_every_machine():
    now = drifted(KOLKATA, NoiseId(7, 0.1, 1, 5))
    assert now.id == "169e776e7f1d"
    assert now.gate_error["cx", (0, 1)] == pytest.approx(0.01836946506900085, rel=1e-12)


def test_without_a_rate_and_at_the_first_calibration_nothing_has_drifted():
    assert drifted(KOLKATA, NoiseId(seed=3, rate=0.0, epoch=4, step=5)) is KOLKATA
    assert drifted(KOLKATA, NoiseId(seed=3, rate=0.1)) is KOLKATA


def test_every_state_has_an_identifier_of_its_own():
    states = [
        NoiseId(seed, rate, epoch, step)
        for seed in (1, 2)
        for rate in (0.1, 0.2)
        for epoch in (1, 2)
        for step in (0, 1)
    ]
    assert len({drifted(KOLKATA, state).id for state in states} | {KOLKATA.id}) == len(states) + 1


def test_a_step_changes_little_and_many_change_much():
    rate = 0.05
    walk = [drifted(KOLKATA, NoiseId(5, rate, 1, step)) for step in range(60)]
    steps = [log_distance(a, b) for a, b in itertools.pairwise(walk)]
    assert max(steps) < 3 * rate
    assert min(steps) > 0.3 * rate
    assert log_distance(walk[0], walk[-1]) > 3 * rate


def test_controls_that_nobody_retunes_get_worse_towards_a_level_and_stay_there():
    rate = 0.1
    means = [
        np.mean(
            [
                np.mean(np.log(gate_errors(drifted(KOLKATA, NoiseId(seed, rate, 0, step))) / gate_errors(KOLKATA)))
                for seed in range(40)
            ]
        )
        for step in (5, 20, 200, 5000)
    ]
    assert means[0] == pytest.approx(5 * rate * (1 - 0.9**5), abs=0.05)
    assert means[1] == pytest.approx(5 * rate * (1 - 0.9**20), abs=0.05)
    assert means[2:] == pytest.approx([5 * rate] * 2, abs=0.05)


def test_coherence_wanders_to_both_sides():
    factors = np.concatenate(
        [np.log(drifted(KOLKATA, NoiseId(seed, 0.1, 0, 100)).t1_s / KOLKATA.t1_s) for seed in range(40)]
    )
    assert abs(factors.mean()) < 0.02
    assert factors.std() == pytest.approx(0.05 / np.sqrt(1 - 0.9**2), rel=0.1)


def test_a_calibration_undoes_the_worsening():
    late, published = drifted(KOLKATA, NoiseId(5, 0.1, 0, 50)), drifted(KOLKATA, NoiseId(5, 0.1, 1, 0))
    assert gate_errors(late).mean() > 1.3 * gate_errors(KOLKATA).mean()
    assert gate_errors(published).mean() == pytest.approx(gate_errors(KOLKATA).mean(), rel=0.1)


def test_both_directions_of_a_pair_and_all_gates_of_a_qubit_drift_together():
    now = drifted(KOLKATA, NoiseId(9, 0.1, 0, 30))
    for name in ("sx", "x"):
        key = (name, (3,))
        assert now.gate_error[key] / KOLKATA.gate_error[key] == pytest.approx(
            now.gate_error["sx", (3,)] / KOLKATA.gate_error["sx", (3,)]
        )
    assert now.p01[4] / KOLKATA.p01[4] == pytest.approx(
        now.gate_error["measure", (4,)] / KOLKATA.gate_error["measure", (4,)]
    )


def test_a_broken_gate_stays_as_it_is():
    aachen = DeviceModel.load("fake_aachen@aer").calibration
    broken = {key for key, error in aachen.gate_error.items() if error >= MAX_ERROR}
    now = drifted(aachen, NoiseId(1, 0.2, 3, 40))
    assert broken
    assert all(now.gate_error[key] == aachen.gate_error[key] for key in broken)


def test_a_device_without_a_calibration_has_nothing_to_drift():
    perfect = Calibration.from_properties(None, {"n_qubits": 3})
    now = drifted(perfect, NoiseId(1, 0.1, 0, 9))
    assert now.gate_error == {}
    assert np.isinf(now.t2_s).all()


def test_a_device_is_loaded_under_its_noise_once():
    text = NoiseId(1, 0.1, 2, 3).text()
    device = DeviceModel.load("fake_kolkata@aer", text)
    assert device is DeviceModel.load("fake_kolkata@aer", text)
    assert device.calibration.id == drifted(KOLKATA, NoiseId(1, 0.1, 2, 3)).id
    assert device.instructions == DeviceModel.load("fake_kolkata@aer").instructions
    assert DeviceModel.load("fake_kolkata@aer", "") is DeviceModel.load("fake_kolkata@aer")


def test_the_target_of_a_drifted_device_has_its_errors():
    device = DeviceModel.load("fake_manila@aer", NoiseId(1, 0.2, 1, 3).text())
    target = device.target()
    for (name, qubits), error in device.calibration.gate_error.items():
        if name in {"cx", "sx", "measure"}:
            assert target[name][qubits].error == error
    assert target.qubit_properties[2].t1 == pytest.approx(device.calibration.t1_s[2])
    packaged = DeviceModel.load("fake_manila@aer")
    assert DeviceModel.load("fake_manila@aer", NoiseId(1, 0.2).text()).target() is packaged.target()
    assert packaged.target()["cx"][0, 1].error == packaged.calibration.gate_error["cx", (0, 1)]


@pytest.mark.parametrize("metadata", ["fake_manila", "fake_sherbrooke", "fake_rochester", "fake_aachen"])
def test_the_published_document_says_what_the_calibration_says(metadata):
    noise = NoiseId(11, 0.1, 2, 0)
    expected = DeviceModel.load(f"{metadata}@aer", noise.text()).calibration
    raw = properties_json(f"{metadata}@aer", noise.text(), taken_at="2030-01-02T03:04:05+00:00")
    document = orjson.loads(raw)
    assert document["last_update_date"] == "2030-01-02T03:04:05+00:00"
    assert document["backend_name"] == f"{metadata}@aer"
    read = Calibration.from_properties(document, catalogue.configuration(metadata))
    assert read.gate_error == pytest.approx(expected.gate_error)
    assert read.t1_s == pytest.approx(expected.t1_s)
    assert np.minimum(read.t2_s, 2 * read.t1_s) == pytest.approx(expected.t2_s)
    assert read.p01 == pytest.approx(expected.p01)
    assert read.p10 == pytest.approx(expected.p10)


def test_a_document_of_drift_leaves_the_packaged_one_alone():
    before = orjson.dumps(catalogue.properties("fake_manila"))
    with_calibration(
        catalogue.properties("fake_manila"),
        DeviceModel.load("fake_manila@aer", NoiseId(1, 0.2, 1, 1).text()).calibration,
    )
    assert orjson.dumps(catalogue.properties("fake_manila")) == before


def test_a_device_that_calibrates_is_up_and_not_active():
    assert status_dict("fake_manila@aer", status=DeviceStatus.CALIBRATING)["state"] is True
    assert status_dict("fake_manila@aer", status=DeviceStatus.CALIBRATING)["status"] != "active"


@FEW
@given(NOISES)
def test_a_name_is_read_as_it_was_written(noise):
    assert NoiseId.parse(noise.text()) == noise
    assert noise.published.step == 0


@pytest.mark.parametrize(
    "text",
    ["drift", "drift:1:2", "drift:1:nan:0:0", "drift:1:0.1:-1:0", "drift:1:99:0:0", "drift:1:0.1:0:0 ", "x" * 5000],
)
def test_anything_else_is_not_the_name_of_a_noise(text):
    with pytest.raises(ValidationError, match="noise_id"):
        NoiseId.parse(text)


def test_no_rate_means_the_packaged_calibration():
    assert NoiseId(5, 0.0, 3, 4).text() == ""
    assert NoiseId.parse("").packaged

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

from qrtx_ray.devices import catalogue
from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.model import DeviceModel


def made(properties, width=1):
    return Calibration.from_properties(properties, {"n_qubits": width})


def entry(name, value, unit=""):
    return {"date": "2024-01-01T00:00:00+00:00", "name": name, "unit": unit, "value": value}


def document(qubit, gates=()):
    return {"last_update_date": "2024-01-01T00:00:00+00:00", "qubits": [qubit], "gates": list(gates), "general": []}


@pytest.mark.parametrize("metadata", ["fake_manila", "fake_sherbrooke", "fake_torino", "fake_rochester", "fake_perth"])
def test_every_number_is_the_official_clients(metadata):
    from qiskit_ibm_runtime.models import BackendProperties

    raw = catalogue.properties(metadata)
    official = BackendProperties.from_dict(copy.deepcopy(raw))
    calibration = Calibration.from_properties(raw, catalogue.configuration(metadata))
    for qubit in range(calibration.num_qubits):
        assert calibration.t1_s[qubit] == pytest.approx(official.t1(qubit))
        assert calibration.t2_s[qubit] == pytest.approx(official.t2(qubit))
        assert calibration.gate_error["measure", (qubit,)] == official.readout_error(qubit)
        assert calibration.p01[qubit] == official.qubit_property(qubit, "prob_meas1_prep0")[0]
        assert calibration.p10[qubit] == official.qubit_property(qubit, "prob_meas0_prep1")[0]
    for gate in official.gates:
        values = official.gate_property(gate.gate, gate.qubits)
        key = (gate.gate, tuple(gate.qubits))
        if gate.gate == "measure":
            continue
        assert calibration.gate_error.get(key) == values.get("gate_error", (None,))[0]
        assert calibration.gate_duration_s[key] == pytest.approx(values["gate_length"][0])


def test_every_packaged_device_has_finite_errors_and_positive_times():
    for metadata in catalogue.metadata_names():
        calibration = DeviceModel.load(f"{metadata}@aer").calibration
        assert (calibration.t1_s > 0).all(), metadata
        assert (calibration.t2_s > 0).all(), metadata
        for column in (calibration.p01, calibration.p10):
            assert ((column >= 0) & (column <= 1)).all(), metadata
        assert all(0 <= error <= 1 for error in calibration.gate_error.values()), metadata
        assert all(0 <= seconds < 1e-3 for seconds in calibration.gate_duration_s.values()), metadata


def test_equal_documents_have_equal_identifiers_whatever_the_order_of_keys():
    raw = catalogue.properties("fake_manila")
    shuffled = dict(reversed(raw.items()))
    assert made(raw, 5).id == made(shuffled, 5).id
    assert len(made(raw, 5).id) == 12
    changed = copy.deepcopy(raw)
    changed["qubits"][0][0]["value"] += 1e-9
    assert made(changed, 5).id != made(raw, 5).id


def test_all_packaged_calibrations_have_different_identifiers():
    names = catalogue.metadata_names()
    assert len({DeviceModel.load(f"{name}@aer").calibration.id for name in names}) == len(names)


@pytest.mark.parametrize("missing", [[], [entry("T1", math.nan, "us")], [entry("T1", 0.0, "us")]])
def test_an_unknown_relaxation_time_is_infinite(missing):
    assert made(document(missing)).t1_s[0] == math.inf


def test_both_spellings_of_the_microsecond_are_read():
    for unit in ("us", "µs", "μs"):
        assert made(document([entry("T1", 2.0, unit)])).t1_s[0] == pytest.approx(2e-6)


def test_a_mean_readout_error_stands_for_both_directions():
    calibration = made(document([entry("readout_error", 0.1)]))
    assert calibration.p01[0] == calibration.p10[0] == 0.1


def test_what_is_not_operational_is_told():
    gate = {"gate": "cx", "qubits": [0, 1], "parameters": [entry("operational", 0), entry("gate_error", 0.5)]}
    calibration = made(document([entry("operational", 0)], [gate]))
    assert calibration.faulty_qubits == {0}
    assert calibration.faulty_gates == {("cx", (0, 1))}


def test_without_a_document_the_device_is_perfect():
    calibration = made(None, 3)
    assert calibration.num_qubits == 3
    assert np.isinf(calibration.t1_s).all()
    assert not calibration.p01.any()
    assert calibration.gate_duration_s == {}
    assert len(calibration.id) == 12

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from qrtx_ray.devices import catalogue
from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.names import DeviceName
from qrtx_ray.errors import NotFound, ValidationError

LAB = {
    "backend_name": "lab",
    "backend_version": "1",
    "n_qubits": 2,
    "basis_gates": ["rz", "sx", "cz"],
    "gates": [{"name": "cz", "parameters": [], "qasm_def": "", "coupling_map": [[0, 1]]}],
    "coupling_map": [[0, 1]],
    "online_date": "2024-01-01T00:00:00+00:00",
    "local": False,
    "simulator": False,
    "conditional": False,
    "open_pulse": False,
    "memory": True,
    "max_shots": 1000,
}


@pytest.fixture
def registered(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "_registered", {})
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "conf_lab.json").write_text(json.dumps(LAB))
    yield catalogue.register_folder(tmp_path)
    catalogue._parsed.cache_clear()


def test_there_are_68_packaged_devices_in_order():
    names = [name for name in catalogue.metadata_names() if name.startswith("fake_")]
    assert len(names) == 68
    assert names == sorted(names)
    assert {"fake_manila", "fake_sherbrooke", "fake_fractional"} <= set(names)


def test_every_packaged_device_has_both_documents_under_its_own_width():
    for name in catalogue.metadata_names():
        width = catalogue.configuration(name)["n_qubits"]
        assert len(catalogue.properties(name)["qubits"]) == width, name


def test_of_two_calibrations_the_one_named_after_the_device_counts():
    assert catalogue._document("fake_cambridge", "props").name == "props_cambridge.json"


def test_reading_the_catalogue_does_not_import_the_client_or_qiskit():
    code = (
        "import sys; from qrtx_ray.devices import catalogue, model; "
        "model.DeviceModel.load('fake_manila@aer').instructions; "
        "print(sorted(m for m in sys.modules if m in ('qiskit', 'qiskit_ibm_runtime')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["fake_nowhere", "", "x" * 10_000])
def test_an_unknown_device_is_not_found(name):
    with pytest.raises(NotFound) as caught:
        catalogue.configuration(name)
    assert len(caught.value.message) < 200
    with pytest.raises(NotFound):
        catalogue.properties_bytes(name)


def test_a_device_of_ones_own_comes_from_a_folder(registered):
    assert registered == ("lab",)
    assert "lab" in catalogue.metadata_names()
    assert catalogue.properties("lab") is None
    assert catalogue.properties_bytes("lab") is None


def test_a_device_without_calibration_is_perfect(registered):
    device = DeviceModel(DeviceName("lab", "aer"))
    assert isinstance(device.calibration, Calibration)
    assert device.calibration.gate_error == {}
    assert device.calibration.p01.tolist() == [0.0, 0.0]
    assert ("cz", (0, 1)) in device.instructions
    assert ("cz", (1, 0)) not in device.instructions
    assert ("sx", (1,)) in device.instructions
    assert ("measure", (1,)) in device.instructions
    assert device.target().num_qubits == 2


def test_a_folder_without_devices_is_refused(tmp_path):
    with pytest.raises(ValidationError):
        catalogue.register_folder(tmp_path)
    with pytest.raises(ValidationError):
        catalogue.register_folder(tmp_path / "missing")

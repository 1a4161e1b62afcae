from __future__ import annotations

import pytest

from qrtx_ray.devices import catalogue
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.names import DeviceName
from qrtx_ray.errors import NotFound, ValidationError

from .official import FAKES, SAMPLE, same_target


def places(target):
    return {(name, qubits) for name in target.operation_names for qubits in target[name] if qubits is not None}


def anywhere(target):
    return {name for name in target.operation_names if None in target[name]}


@pytest.mark.parametrize("metadata", SAMPLE)
def test_the_target_is_that_of_the_fake_backend(metadata):
    same_target(DeviceModel.load(f"{metadata}@aer").target(), FAKES[metadata]().target)


@pytest.mark.parametrize("metadata", SAMPLE)
def test_the_instruction_set_is_the_targets_without_building_it(metadata):
    device = DeviceModel(DeviceName.parse(f"{metadata}@aer"))
    instructions, control_flow = device.instructions, device.control_flow
    assert "_target" not in vars(device)
    assert instructions == places(device.target())
    assert control_flow == anywhere(device.target())


@pytest.mark.parametrize("metadata", SAMPLE)
def test_edges_and_numbers_are_those_of_the_configuration(metadata):
    device = DeviceModel.load(f"{metadata}@aer")
    fake = FAKES[metadata]()
    assert device.num_qubits == fake.num_qubits
    assert device.coupling == {tuple(edge) for edge in fake.configuration().coupling_map}
    assert device.max_shots == fake.configuration().max_shots
    assert list(device.basis_gates) == fake.configuration().basis_gates
    assert device.rep_delay_s == pytest.approx(getattr(fake.configuration(), "default_rep_delay", 250e-6))
    assert 1e-10 < device.dt_s < 1e-8


def test_instructions_on_every_qubit_are_named():
    device = DeviceModel.load("fake_sherbrooke@aer")
    assert device.everywhere == {"id", "rz", "sx", "x", "measure", "reset", "delay"}


def test_an_ideal_device_keeps_topology_and_timing_and_loses_noise():
    noisy, ideal = DeviceModel.load("fake_manila@aer"), DeviceModel.load("fake_manila@aer_ideal")
    assert noisy.noisy
    assert not ideal.noisy
    assert ideal.instructions == noisy.instructions
    assert ideal.calibration.id == noisy.calibration.id
    assert ideal.calibration.gate_duration_s


def test_a_device_is_loaded_once():
    assert DeviceModel.load("fake_manila@aer") is DeviceModel.load("fake_manila@aer")
    device = DeviceModel.load("fake_manila@aer")
    assert device.target() is device.target()
    assert device.calibration is device.calibration


def test_faulty_qubits_and_gates_are_not_in_the_instruction_set(monkeypatch, tmp_path):
    import orjson

    document = orjson.loads(catalogue.properties_bytes("fake_manila"))
    document["qubits"][4].append({"date": document["last_update_date"], "name": "operational", "unit": "", "value": 0})
    for gate in document["gates"]:
        if gate["gate"] == "cx" and gate["qubits"] == [0, 1]:
            gate["parameters"].append(
                {"date": document["last_update_date"], "name": "operational", "unit": "", "value": 0}
            )
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "conf_broken.json").write_bytes(catalogue.configuration_bytes("fake_manila"))
    (tmp_path / "broken" / "props_broken.json").write_bytes(orjson.dumps(document))
    monkeypatch.setattr(catalogue, "_registered", {})
    catalogue.register_folder(tmp_path)
    device = DeviceModel(DeviceName("broken", "aer"))
    assert ("cx", (0, 1)) not in device.instructions
    assert ("cx", (1, 0)) in device.instructions
    assert not {qubits for _, qubits in device.instructions if 4 in qubits}
    assert device.instructions == places(device.target())
    assert "sx" not in device.everywhere
    catalogue._parsed.cache_clear()


def test_unknown_devices_are_refused():
    with pytest.raises(NotFound):
        DeviceModel.load("fake_nowhere@aer")
    with pytest.raises(ValidationError):
        DeviceModel.load("fake_manila")

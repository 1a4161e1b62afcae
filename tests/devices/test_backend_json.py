from __future__ import annotations

import json

import pytest

from qrtx_ray.devices import catalogue
from qrtx_ray.devices.backend_json import configuration_json, listing_entry, properties_json, status_dict
from qrtx_ray.errors import NotFound, ValidationError
from qrtx_ray.model import DeviceInfo, DeviceStatus

from .official import FAKES, SAMPLE, same_target


def target_by_the_client(device):
    """What `IBMBackend.target` is when a server answers with our documents."""
    from qiskit_ibm_runtime.utils.backend_converter import convert_to_target
    from qiskit_ibm_runtime.utils.backend_decoder import configuration_from_server_data, properties_from_server_data

    configuration = configuration_from_server_data(json.loads(configuration_json(device)), use_fractional_gates=None)
    assert configuration is not None
    properties = properties_from_server_data(json.loads(properties_json(device)), use_fractional_gates=None)
    return convert_to_target(configuration=configuration, properties=properties)


@pytest.mark.parametrize("metadata", SAMPLE)
def test_the_official_client_builds_the_target_of_the_fake_backend(metadata):
    same_target(target_by_the_client(f"{metadata}@aer"), FAKES[metadata]().target)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_does_so_for_every_packaged_device():
    assert set(FAKES) >= {name for name in catalogue.metadata_names() if name.startswith("fake_")}
    for metadata in sorted(FAKES):
        same_target(target_by_the_client(f"{metadata}@aer_ideal"), FAKES[metadata]().target)


@pytest.mark.parametrize("metadata", SAMPLE)
def test_a_backend_of_the_client_can_be_made_of_our_documents(metadata):
    from qiskit_ibm_runtime import IBMBackend
    from qiskit_ibm_runtime.api.rest.cloud_backend import CloudBackend
    from qiskit_ibm_runtime.utils.backend_decoder import configuration_from_server_data

    class Api:
        def backend_properties(self, backend_name, **kwargs):
            return json.loads(properties_json(backend_name))

        def backend_status(self, backend_name):
            class Answer:
                def get(self, *args, **kwargs):
                    return self

                def json(self):
                    return json.loads(json.dumps(status_dict(backend_name, queue_length=3)))

            return CloudBackend(Answer(), "", backend_name).status()

    name = f"{metadata}@aer"
    configuration = configuration_from_server_data(json.loads(configuration_json(name)), use_fractional_gates=None)
    backend = IBMBackend(configuration=configuration, service=None, api_client=Api(), instance=None)
    assert backend.name == name
    assert not backend.simulator
    assert backend.num_qubits == FAKES[metadata]().num_qubits
    status = backend.status()
    assert (status.operational, status.status_msg, status.pending_jobs) == (True, "active", 3)
    # By default the client hides rotations other than rz, and with them u2 and u3 of the oldest devices.
    backend.options.use_fractional_gates = None
    same_target(backend.target, FAKES[metadata]().target)


@pytest.mark.parametrize("metadata", SAMPLE)
@pytest.mark.parametrize("executor", ["aer", "aer_ideal"])
def test_only_what_must_differ_from_the_snapshot_does(metadata, executor):
    name = f"{metadata}@{executor}"
    ours, raw = json.loads(configuration_json(name)), json.loads(catalogue.configuration_bytes(metadata))
    assert (ours["backend_name"], ours["local"], ours["simulator"]) == (name, False, False)
    different = {key for key in ours | raw if ours.get(key) != raw.get(key)}
    assert different <= {"backend_name", "local", "simulator", "supported_features"}
    assert ("supported_features" in different) == (metadata == "fake_kolkata")
    properties = json.loads(properties_json(name))
    assert properties.pop("backend_name") == name
    expected = json.loads(catalogue.properties_bytes(metadata))
    del expected["backend_name"]
    assert properties == expected


def test_features_are_words_on_every_device():
    for metadata in catalogue.metadata_names():
        features = json.loads(configuration_json(f"{metadata}@aer")).get("supported_features") or []
        assert all(isinstance(feature, str) and len(feature) > 1 for feature in features), metadata


def test_documents_are_encoded_once():
    assert configuration_json("fake_sherbrooke@aer") is configuration_json("fake_sherbrooke@aer")
    assert properties_json("fake_sherbrooke@aer") is properties_json("fake_sherbrooke@aer")


def test_a_device_may_be_given_by_name_or_by_its_description():
    info = DeviceInfo("fake_manila@aer", "fake_manila", "aer", 5)
    assert configuration_json(info) == configuration_json("fake_manila@aer")
    assert listing_entry(info) == listing_entry("fake_manila@aer")


def test_the_list_has_what_least_busy_reads():
    entry = listing_entry("fake_sherbrooke@aer", queue_length=7)
    assert entry["name"] == "fake_sherbrooke@aer"
    assert entry["status"]["name"] == "online"
    assert (entry["queue_length"], entry["qubits"], entry["physical_qubits"]) == (7, 127, 127)
    assert entry["is_simulator"] is False
    assert entry["clops"] == {"type": "hardware", "value": 30000}
    assert entry["processor_type"] == {"family": "Eagle", "revision": 3}
    json.dumps(entry)


def test_every_device_can_be_listed():
    for metadata in catalogue.metadata_names():
        entry = listing_entry(f"{metadata}@aer")
        assert entry["qubits"] == catalogue.configuration(metadata)["n_qubits"]
        assert isinstance(entry.get("clops", {"value": 0})["value"], int)


@pytest.mark.parametrize(
    ("status", "up", "word"),
    [
        (DeviceStatus.ONLINE, True, "active"),
        (DeviceStatus.PAUSED, True, "paused"),
        (DeviceStatus.OFFLINE, False, "maintenance"),
    ],
)
def test_a_status_says_whether_the_device_takes_work(status, up, word):
    document = status_dict("fake_manila@aer", status=status, queue_length=2, message="why")
    assert (document["state"], document["status"], document["length_queue"], document["message"]) == (
        up,
        word,
        2,
        "why",
    )
    assert listing_entry("fake_manila@aer", status=status)["status"]["name"] == str(status)


def test_unknown_devices_are_refused():
    with pytest.raises(NotFound):
        configuration_json("fake_nowhere@aer")
    with pytest.raises(ValidationError):
        properties_json("fake_manila@nothing")


def test_a_device_without_calibration_answers_with_an_empty_document(monkeypatch, tmp_path):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "conf_bare.json").write_bytes(catalogue.configuration_bytes("fake_manila"))
    monkeypatch.setattr(catalogue, "_registered", {})
    catalogue.register_folder(tmp_path)
    assert properties_json("bare@aer") == b"{}"

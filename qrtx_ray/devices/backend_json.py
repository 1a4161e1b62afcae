"""The documents by which the official client knows a device: configuration, properties, status, entry of the list.

The packaged snapshots are already in the format of the wire. What is changed: the name, `local` and `simulator` (an
emulated device must answer as a machine does, or the client omits its checks and creates no sessions), and one
snapshot's feature list, which had been taken apart into letters. Documents are encoded once per device and process.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

from qrtx_ray.devices import catalogue
from qrtx_ray.devices.drift_document import with_calibration
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.names import DeviceName
from qrtx_ray.model import DeviceInfo, DeviceStatus

__all__ = ["configuration_json", "listing_entry", "properties_json", "status_dict"]

_KEPT = 256


def configuration_json(device: DeviceInfo | DeviceName | str, *, shown_as: str | None = None) -> bytes:
    """The device's `QasmBackendConfiguration` document (JSON, UTF-8).

    Args:
        device: The device.
        shown_as: The name in the document, where it is not the device's own: an alias.

    Raises:
        ValidationError: Not a device name.
        NotFound: No such device.
    """
    name, metadata = _parts(device)
    return _configuration(shown_as or name, metadata)


def properties_json(
    device: DeviceInfo | DeviceName | str,
    noise_id: str = "",
    *,
    taken_at: str = "",
    shown_as: str | None = None,
) -> bytes:
    """The device's `BackendProperties` document (JSON, UTF-8), ``{}`` for a device that was never calibrated.

    Args:
        device: The device.
        noise_id: The noise its last calibration published; ``""`` is that of the packaged snapshot.
        taken_at: ISO 8601 time of that calibration, written as ``last_update_date``; ``""`` keeps the snapshot's.
        shown_as: The name in the document, where it is not the device's own: an alias.

    Raises:
        ValidationError: Not a device name, or not the name of a state of noise.
        NotFound: No such device.
    """
    name, metadata = _parts(device)
    if not noise_id and not taken_at:
        return _properties(shown_as or name, metadata)
    return _calibrated_properties(name, metadata, noise_id, taken_at, shown_as or name)


def status_dict(
    device: DeviceInfo | DeviceName | str,
    *,
    status: DeviceStatus = DeviceStatus.ONLINE,
    queue_length: int = 0,
    message: str = "",
    shown_as: str | None = None,
) -> dict[str, Any]:
    """The device's status as the client reads it; it warns at submission unless ``status`` is ``"active"``.

    Args:
        device: The device.
        status: Whether it takes work. A paused device still accepts jobs, so it is up, yet not active.
        queue_length: Jobs waiting for it.
        message: Reason shown to users.
        shown_as: The name in the document, where it is not the device's own: an alias.
    """
    name, metadata = _parts(device)
    words = {
        DeviceStatus.ONLINE: "active",
        DeviceStatus.PAUSED: "paused",
        DeviceStatus.CALIBRATING: "paused",
        DeviceStatus.OFFLINE: "maintenance",
    }
    return {
        "backend_name": shown_as or name,
        "backend_version": _facts(metadata)["backend_version"],
        "state": status is not DeviceStatus.OFFLINE,
        "status": words[status],
        "message": message,
        "length_queue": queue_length,
    }


def listing_entry(
    device: DeviceInfo | DeviceName | str,
    *,
    status: DeviceStatus = DeviceStatus.ONLINE,
    queue_length: int = 0,
    reason: str = "",
    shown_as: str | None = None,
) -> dict[str, Any]:
    """The device's entry in the list of backends.

    Args:
        device: The device.
        status: Whether it takes work.
        queue_length: Jobs waiting for it; the client's `least_busy` sorts by it.
        reason: Why it is not online.
        shown_as: The name in the entry, where it is not the device's own: an alias.
    """
    name, metadata = _parts(device)
    facts = _facts(metadata)
    entry: dict[str, Any] = {
        "name": shown_as or name,
        "status": {"name": str(status), "reason": reason or ("available" if status == "online" else str(status))},
        "queue_length": queue_length,
        "qubits": facts["qubits"],
        "physical_qubits": facts["qubits"],
        "is_simulator": False,
        "processor_type": facts["processor_type"],
        "performance_metrics": {},
    }
    if facts["clops"]:
        entry["clops"] = facts["clops"]
    return entry


def _parts(device: DeviceInfo | DeviceName | str) -> tuple[str, str]:
    if isinstance(device, DeviceInfo):
        return device.name, device.metadata
    name = DeviceName.parse(device) if isinstance(device, str) else device
    return str(name), name.metadata


@lru_cache(maxsize=_KEPT)
def _configuration(name: str, metadata: str) -> bytes:
    document: dict[str, Any] = orjson.loads(catalogue.configuration_bytes(metadata))
    document |= {"backend_name": name, "local": False, "simulator": False}
    features = document.get("supported_features")
    if isinstance(features, str):
        document["supported_features"] = [features]
    elif features and all(len(feature) == 1 for feature in features):
        document["supported_features"] = ["".join(features)]
    return orjson.dumps(document)


@lru_cache(maxsize=_KEPT)
def _properties(name: str, metadata: str) -> bytes:
    raw = catalogue.properties_bytes(metadata)
    if raw is None:
        return b"{}"
    document: dict[str, Any] = orjson.loads(raw)
    document["backend_name"] = name
    return orjson.dumps(document)


@lru_cache(maxsize=_KEPT)
def _calibrated_properties(name: str, metadata: str, noise_id: str, taken_at: str, shown_as: str) -> bytes:
    published = catalogue.properties(metadata)
    if published is None:
        return b"{}"
    calibration = DeviceModel.load(name, noise_id).calibration
    document = with_calibration(published, calibration, taken_at=taken_at)
    return orjson.dumps(document | {"backend_name": shown_as})


@lru_cache(maxsize=_KEPT)
def _facts(metadata: str) -> dict[str, Any]:
    """What the short documents need of the long one, kept apart so that a list of all devices keeps none of them."""
    document = orjson.loads(catalogue.configuration_bytes(metadata))
    clops = None
    # The word "None" stands in some of these fields.
    if isinstance(document.get("clops_h"), int):
        clops = {"type": "hardware", "value": document["clops_h"]}
    elif isinstance(document.get("clops"), int):
        clops = {"type": "virtual", "value": document["clops"]}
    return {
        "qubits": document["n_qubits"],
        "backend_version": document["backend_version"],
        "processor_type": document.get("processor_type") or {},
        "clops": clops,
    }

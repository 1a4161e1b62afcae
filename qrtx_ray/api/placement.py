"""Where and until when a job may run, as a request says it: devices to choose among, and the deadline."""

from __future__ import annotations

from collections.abc import Sequence

from qrtx_ray.api.directory import DeviceDirectory
from qrtx_ray.api.requests import moment
from qrtx_ray.errors import ValidationError
from qrtx_ray.model import AUTO_DEVICE

__all__ = ["deadline_of", "device_and_choices"]

_LATEST = 253_000_000_000.0  # in the year 9987: later times cannot be written in every time zone
_UNKNOWN = "there is no such device; GET /v1/devices names all there are"


def device_and_choices(
    device: str, devices: Sequence[str] | None, directory: DeviceDirectory
) -> tuple[str, tuple[str, ...]]:
    """The canonical name of the device and no choices; or ``auto`` and the canonical names to choose among.

    Raises:
        ValidationError: A name means no device, `devices` stands beside a single device, or nothing is left to choose from.
    """
    if device != AUTO_DEVICE:
        found = directory.find(device)
        if found is None:
            raise ValidationError(_UNKNOWN, field="device")
        if devices is not None:
            text = f"devices has a meaning with device {AUTO_DEVICE!r} only; leave it out, or name the one device there"
            raise ValidationError(text, field="devices")
        return found.name, ()
    if devices is None:
        choices = directory.noisy()
        if not choices:
            raise ValidationError(
                "this server has no device with noise; name the devices to choose among", field="devices"
            )
        return AUTO_DEVICE, choices
    names = []
    for index, name in enumerate(devices):
        found = directory.find(name)
        if found is None:
            raise ValidationError(_UNKNOWN, field=f"devices[{index}]")
        names.append(found.name)
    return AUTO_DEVICE, tuple(dict.fromkeys(names))


def deadline_of(value: str | None, field: str = "deadline") -> float | None:
    """The deadline as seconds since the epoch. Whether it can be met is the scheduler's to say.

    Raises:
        ValidationError: Not an ISO 8601 time, or one that no clock of ours can show.
    """
    if value is None:
        return None
    at = moment(value, field)
    if not 0.0 <= at <= _LATEST:
        raise ValidationError(f"{field} must lie in the years 1970 to 9986", field=field, limit="1970..9986")
    return at

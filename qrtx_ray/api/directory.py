"""Which device a name means."""

from __future__ import annotations

from collections.abc import Mapping

from qrtx_ray.errors import NotFound
from qrtx_ray.model import DeviceInfo

__all__ = ["DeviceDirectory"]


class DeviceDirectory:
    """Device names and aliases.

    Args:
        devices: Canonical name → what it is.

    Raises:
        ValueError: One name means two devices.
    """

    def __init__(self, devices: Mapping[str, DeviceInfo]) -> None:
        self._by_name: dict[str, DeviceInfo] = {}
        for info in devices.values():
            for name in (info.name, *info.aliases):
                if self._by_name.setdefault(name, info) is not info:
                    msg = f"the name {name} means two devices: {self._by_name[name].name} and {info.name}"
                    raise ValueError(msg)

    def find(self, name: str) -> DeviceInfo | None:
        """The device that `name` (canonical or alias) means, or None."""
        return self._by_name.get(name)

    def noisy(self) -> tuple[str, ...]:
        """Canonical names of all devices with noise, in the order of the configuration."""
        return tuple(dict.fromkeys(info.name for info in self._by_name.values() if info.executor == "aer"))

    def require(self, name: str, field: str) -> DeviceInfo:
        """The device that `name` means.

        Raises:
            NotFound: None does.
        """
        info = self._by_name.get(name)
        if info is None:
            raise NotFound("there is no such device; the list of devices names all there are", field=field)
        return info

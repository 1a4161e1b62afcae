"""The catalogue: raw configuration and calibration documents of every known device.

The 68 snapshots of real devices come with the `qiskit_ibm_runtime` package. Importing that package costs most of a
second, so its files are read where they lie, without importing it. Devices of one's own come from a folder.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from qrtx_ray.errors import NotFound, ValidationError

__all__ = [
    "configuration",
    "configuration_bytes",
    "metadata_names",
    "properties",
    "properties_bytes",
    "register_folder",
]

_PREFIX = "fake_"
_registered: dict[str, Path] = {}


@lru_cache(maxsize=1)
def _packaged() -> dict[str, Path]:
    spec = importlib.util.find_spec("qiskit_ibm_runtime")
    if spec is None or not spec.submodule_search_locations:
        return {}
    backends = Path(spec.submodule_search_locations[0]) / "fake_provider" / "backends"
    return {
        f"{_PREFIX}{folder.name}": folder
        for folder in sorted(backends.iterdir())
        if (folder / f"conf_{folder.name}.json").is_file()
    }


def metadata_names() -> tuple[str, ...]:
    """Names of all devices there are documents for, sorted: the packaged ``fake_*`` and the registered ones."""
    return tuple(sorted(_packaged().keys() | _registered.keys()))


def register_folder(path: str | Path) -> tuple[str, ...]:
    """Add devices from a folder of ``<name>/conf_*.json`` and, where calibrated, ``<name>/props_*.json``.

    A name that is already known now means the device of this folder.

    Returns:
        The names that were added, sorted.

    Raises:
        ValidationError: Not a folder, or one without a single device.
    """
    root = Path(path)
    folders = [folder for folder in root.iterdir() if any(folder.glob("conf_*.json"))] if root.is_dir() else []
    if not folders:
        msg = "device folder holds no <name>/conf_*.json"
        raise ValidationError(msg, field="device_folder")
    _registered.update({folder.name: folder for folder in folders})
    _parsed.cache_clear()
    return tuple(sorted(folder.name for folder in folders))


def configuration_bytes(metadata: str) -> bytes:
    """The configuration document as it lies on disk (JSON, UTF-8).

    Raises:
        NotFound: No such device.
    """
    return _document(metadata, "conf").read_bytes()


def properties_bytes(metadata: str) -> bytes | None:
    """The calibration document as it lies on disk, or None for a device without one.

    Raises:
        NotFound: No such device.
    """
    try:
        return _document(metadata, "props").read_bytes()
    except FileNotFoundError:
        return None


def configuration(metadata: str) -> dict[str, Any]:
    """The configuration document. The dictionary is shared: treat it as read-only.

    Raises:
        NotFound: No such device.
    """
    return _parsed(metadata, "conf")


def properties(metadata: str) -> dict[str, Any] | None:
    """The calibration document, or None for a device without one. Shared: treat it as read-only.

    Raises:
        NotFound: No such device.
    """
    try:
        return _parsed(metadata, "props")
    except FileNotFoundError:
        return None


@lru_cache(maxsize=32)
def _parsed(metadata: str, kind: str) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(_document(metadata, kind).read_bytes())
    return document


def _document(metadata: str, kind: str) -> Path:
    folder = _registered.get(metadata) or _packaged().get(metadata)
    if folder is None:
        msg = f"there is no device {metadata!r}" if len(metadata) <= 80 else "there is no such device"
        raise NotFound(msg, field="device")
    # One snapshot carries a second, alternative calibration: the file named after the folder is the device's own.
    exact = folder / f"{kind}_{folder.name}.json"
    if exact.is_file():
        return exact
    others = sorted(folder.glob(f"{kind}_*.json"))
    if not others:
        raise FileNotFoundError(exact.name)
    return others[0]

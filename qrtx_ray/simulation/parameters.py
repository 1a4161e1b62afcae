"""Settings by name: ``key=value`` of a command line becomes a field of the scheduler's or the world's settings."""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any, get_args, get_type_hints

from qrtx_ray.errors import ValidationError
from qrtx_ray.model import Level
from qrtx_ray.scheduler import CoreSettings
from qrtx_ray.scheduler.calibration import DeviceNoise
from qrtx_ray.scheduler.tenants import TenantPolicy
from qrtx_ray.simulation.driver import WorldSettings
from qrtx_ray.simulation.lines import DeviceLine

__all__ = ["Parameters"]

_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NOTHING = {"none", "null"}
_LEVELS = tuple(level.name.lower() for level in Level)


def _roomy() -> CoreSettings:
    # Generated traces are not bounded by what a server's memory holds, and nothing is ever asked of a finished job.
    return CoreSettings(max_queue_size=10_000_000, terminal_memory=0)


@dataclass(frozen=True, slots=True)
class Parameters:
    """All numbers of a simulation.

    Args:
        core: Of the scheduler; written as its fields are called, with dots between the parts: ``max_group_jobs``,
            ``preemption.enabled``, ``levels.low.max_wait_s``, ``tenants.alice.weight``.
        noise: How the noise of devices with drift moves, written ``noise.field``; the rate is each device's own.
        world: Of the simulated world, written ``world.field``.
    """

    core: CoreSettings = field(default_factory=_roomy)
    noise: DeviceNoise = field(default_factory=DeviceNoise)
    world: WorldSettings = field(default_factory=WorldSettings)

    def with_values(self, assignments: Iterable[str]) -> Parameters:
        """These, changed by texts ``key=value``.

        Raises:
            ValidationError: Not such a text, no such key, or a value of another kind.
        """
        changed = self
        for text in assignments:
            key, equals, value = text.partition("=")
            if not equals:
                raise ValidationError(f"{text!r} is not of the form key=value", field="set")
            section, dot, rest = key.strip().partition(".")
            if dot and section in {"noise", "world"}:
                changed = _assigned(changed, [section, rest], value.strip(), key)
            else:
                changed = _assigned(changed, ["core", *key.strip().split(".")], value.strip(), key)
        return changed

    def core_for(self, devices: Iterable[DeviceLine]) -> CoreSettings:
        """The scheduler's settings, with the noise of the devices that drift."""
        noise = {d.name: replace(self.noise, rate=d.drift) for d in devices if d.drift > 0.0}
        return replace(self.core, noise={**self.core.noise, **noise})


def _assigned(owner: Any, path: list[str], text: str, key: str) -> Any:
    """`owner` with the part that `path` leads to replaced by what `text` says."""
    name, rest = path[0], path[1:]
    if isinstance(owner, tuple):
        if name not in _LEVELS:
            raise ValidationError(f"{key!r}: there is no level {name!r}; there are {', '.join(_LEVELS)}", field="set")
        return tuple(
            _within(one, rest, text, key) if level == name else one for level, one in zip(_LEVELS, owner, strict=True)
        )
    if isinstance(owner, Mapping):
        return {**owner, name: _within(owner.get(name, TenantPolicy()), rest, text, key)}
    kinds = get_type_hints(type(owner))
    if name not in kinds:
        raise ValidationError(f"there is no setting {key!r}; here there are {', '.join(sorted(kinds))}", field="set")
    present = getattr(owner, name)
    if is_dataclass(present) or isinstance(present, Mapping) or name == "levels":
        return replace(owner, **{name: _within(present, rest, text, key)})
    if rest:
        raise ValidationError(f"{key!r}: {name} has no parts", field="set")
    return replace(owner, **{name: _read(kinds[name], text, key)})


def _within(owner: Any, path: list[str], text: str, key: str) -> Any:
    if not path:
        raise ValidationError(f"{key!r} has parts; name one of them", field="set")
    return _assigned(owner, path, text, key)


def _read(kind: Any, text: str, key: str) -> Any:
    kinds = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if type(None) in kinds and text.lower() in _NOTHING:
        return None
    if bool in kinds and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    for number in (int, float):
        if number in kinds:
            try:
                value = number(text)
            except ValueError:
                continue
            if math.isfinite(value):
                return value
    if str in kinds:
        return text
    names = " or ".join(getattr(one, "__name__", str(one)) for one in kinds)
    raise ValidationError(f"{key} must be {names}; it is {text!r}", field="set")

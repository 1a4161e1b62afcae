"""The `devices` list: which emulated devices exist, under which names, served by how many agents."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, field_validator, model_validator

from qrtx_ray.config.section import Section, key
from qrtx_ray.config.units import Count, PositiveCount, PositiveDuration
from qrtx_ray.errors import ValidationError

__all__ = ["DeviceEntry", "DeviceOptions", "Drift", "Executor"]

Executor = Literal["aer", "aer_ideal"]
_NAME = re.compile(r"[a-z0-9_]{1,64}@(aer|aer_ideal)\Z")
_ALIAS = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Drift(Section):
    """How the noise of emulated devices wanders away from their calibration."""

    rate: float = key(
        0.0,
        "Spread of the relative change of each error rate and coherence time in one interval; 0: the noise stays.",
        ge=0.0,
        le=2.0,
        allow_inf_nan=False,
    )
    interval: PositiveDuration = key(600.0, "Time between two changes.", unit="s")
    seed: Count = key(0, "Seed of the changes; the same seed gives a device the same history.", lt=2**63)


class DeviceOptions(Section):
    """What the agents of one entry may use, where it differs from `resources`, and how its devices behave."""

    engine_memory_mb: PositiveCount | None = key(
        None, "Address space of an executing child; null: resources.engine_memory_mb.", unit="MiB", ge=256
    )
    engine_threads: PositiveCount | None = key(
        None, "OpenMP threads of an executing child; null: resources.engine_threads.", unit="threads", le=1024
    )
    drift: Drift = key(Drift(), "Drift of the noise.")


class DeviceEntry(Section):
    """One entry: one device by `name`, or every combination of `metadata` and `executor`."""

    name: str | None = key(None, "One device, <metadata>@<executor>; instead of metadata and executor.")
    metadata: Annotated[tuple[str, ...], BeforeValidator(_listed)] = key(
        ("*",), "Where topology and calibration come from, e.g. fake_sherbrooke; a name, a list, or * for all."
    )
    executor: Annotated[tuple[Executor, ...], BeforeValidator(_listed)] = key(
        ("aer", "aer_ideal"), "aer: with the noise of the calibration; aer_ideal: without. One or a list."
    )
    alias: Annotated[tuple[str, ...], BeforeValidator(_listed)] = key(
        (), "Further names of the device; only for an entry that is one device."
    )
    count: PositiveCount | None = key(
        None, "Agents that serve the entry, each with one child process; null: max(2, cores).", unit="actors", le=4096
    )

    options: DeviceOptions = key(DeviceOptions(), "Resources of the agents of this entry, and drift of its devices.")

    @field_validator("name")
    @classmethod
    def _full_name(cls, value: str | None) -> str | None:
        if value is not None and not _NAME.match(value):
            msg = f"{value!r} is not a device name; write <metadata>@aer or <metadata>@aer_ideal, e.g. fake_manila@aer"
            raise ValueError(msg)
        return value

    @field_validator("alias")
    @classmethod
    def _plain_alias(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for alias in value:
            if alias == "auto":
                msg = "'auto' leaves the choice of a device to the scheduler and cannot be the name of one"
                raise ValueError(msg)
            if not _ALIAS.match(alias):
                msg = f"{alias!r} is not an alias; write 1 to 64 letters, digits, '.', '_' or '-'"
                raise ValueError(msg)
        return value

    @field_validator("metadata", "executor")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            msg = "at least one is wanted"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        if self.name is not None and (self.metadata, self.executor) != (("*",), ("aer", "aer_ideal")):
            msg = "name already says metadata and executor; give either name, or metadata and executor"
            raise ValueError(msg)
        single = self.name is not None or (len(self.metadata) == len(self.executor) == 1 and "*" not in self.metadata)
        if self.alias and not single:
            msg = "an alias needs an entry that is one device: give name, or one metadata and one executor"
            raise ValueError(msg)
        return self

    def expand(self, known: Sequence[str]) -> tuple[str, ...]:
        """The device names of this entry, given the metadata names that exist; order of `known`, then of `executor`.

        Raises:
            ValidationError: A metadata name is not in `known`.
        """
        if self.name is not None:
            metadata, _, _ = self.name.partition("@")
            _require(metadata, known)
            return (self.name,)
        chosen = known if "*" in self.metadata else _required(self.metadata, known)
        return tuple(dict.fromkeys(f"{metadata}@{executor}" for metadata in chosen for executor in self.executor))

    def agents(self, cores: int) -> int:
        """How many agents serve the entry on a cluster with `cores` CPU cores."""
        return self.count if self.count is not None else max(2, cores)


def _required(names: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        _require(name, known)
    return tuple(names)


def _require(name: str, known: Sequence[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        msg = f"devices: there is no metadata {name!r}{hint}"
        raise ValidationError(msg, field="devices")

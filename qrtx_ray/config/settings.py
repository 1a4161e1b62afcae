"""All sections together, and what follows from several keys at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

import pydantic
from pydantic import field_validator, model_validator
from pydantic_core import PydanticCustomError

from qrtx_ray.config.devices import DeviceEntry
from qrtx_ray.config.paths import Paths
from qrtx_ray.config.scheduling import Queues, Scheduler
from qrtx_ray.config.section import Section, key
from qrtx_ray.config.service import Auth, LimitsSection, Monitoring, Performance, Server, Storage
from qrtx_ray.config.work import Compiler, Multiplexing, QuantumState, Resources, RetryPolicy
from qrtx_ray.errors import ValidationError

__all__ = ["Settings"]


class Settings(Section):
    """The whole configuration: frozen, validated, plain data inside."""

    scheduler: Scheduler = key(Scheduler(), Scheduler.__doc__ or "")
    queues: Queues = key(Queues(), Queues.__doc__ or "")
    resources: Resources = key(Resources(), Resources.__doc__ or "")
    quantum_state: QuantumState = key(QuantumState(), QuantumState.__doc__ or "")
    multiplexing: Multiplexing = key(Multiplexing(), Multiplexing.__doc__ or "")
    monitoring: Monitoring = key(Monitoring(), Monitoring.__doc__ or "")
    retry_policy: RetryPolicy = key(RetryPolicy(), RetryPolicy.__doc__ or "")
    performance: Performance = key(Performance(), Performance.__doc__ or "")
    devices: tuple[DeviceEntry, ...] = key((DeviceEntry(),), "The emulated devices; a list of entries.")
    custom_devices: str | None = key(None, "Folder of further device metadata: <name>/conf_*.json and props_*.json.")
    compiler: Compiler = key(Compiler(), Compiler.__doc__ or "")
    limits: LimitsSection = key(LimitsSection(), LimitsSection.__doc__ or "")
    storage: Storage = key(Storage(), Storage.__doc__ or "")
    auth: Auth = key(Auth(), Auth.__doc__ or "")
    server: Server = key(Server(), Server.__doc__ or "")

    @field_validator("devices")
    @classmethod
    def _some_and_unambiguous(cls, value: tuple[DeviceEntry, ...]) -> tuple[DeviceEntry, ...]:
        if not value:
            msg = "at least one entry is wanted"
            raise ValueError(msg)
        counts = Counter(alias for entry in value for alias in entry.alias)
        if repeated := [alias for alias, times in counts.items() if times > 1]:
            msg = f"the alias {repeated[0]!r} is given to more than one device"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _agents_are_heard_in_time(self) -> Self:
        if 2 * self.resources.check_interval > self.scheduler.agent_timeout_s:
            problem = "must be at most half of scheduler.agent_timeout_s, or living agents are taken to be gone"
            raise PydanticCustomError("value_error", problem, {"key": "resources.check_interval"})
        return self

    @property
    def paths(self) -> Paths:
        """Absolute paths and URLs of everything stored."""
        return Paths.of(
            storage=self.storage.path,
            journal_url=self.storage.journal_url,
            circuit_fs_url=self.storage.circuit_fs_url,
            token_file=self.auth.token_file,
            level2=self.quantum_state.level2_storage_path,
            level3=self.quantum_state.level3_metadata_path,
            custom_devices=self.custom_devices,
        )

    @property
    def group_jobs(self) -> int:
        """Jobs that may share one engine call: 1 when multiplexing is off."""
        if not self.multiplexing.enabled:
            return 1
        return min(
            self.scheduler.max_group_jobs, self.multiplexing.max_circuits_per_device or self.scheduler.max_group_jobs
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, complete; `from_dict` restores an equal value."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Settings:
        """The settings that `to_dict` described.

        Raises:
            ValidationError: `data` is not what `to_dict` gives.
        """
        try:
            return cls.model_validate(dict(data))
        except pydantic.ValidationError as error:
            dotted = ".".join(str(part) for part in error.errors()[0]["loc"])
            msg = f"{dotted or 'settings'}: not plain data of Settings.to_dict"
            raise ValidationError(msg, field=dotted or None) from error

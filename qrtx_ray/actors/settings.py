"""What the configuration means for the actors: devices and who serves them, the core's numbers, the children's limits."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from qrtx_ray.codec.limits import Limits
from qrtx_ray.config import Settings
from qrtx_ray.config.scheduling import TenantShare
from qrtx_ray.devices import catalogue
from qrtx_ray.devices.names import DeviceName
from qrtx_ray.model import DeviceInfo
from qrtx_ray.sandbox.limits import SandboxLimits
from qrtx_ray.sandbox.process import Sandbox
from qrtx_ray.scheduler.calibration import DeviceNoise
from qrtx_ray.scheduler.levels import LevelPolicy
from qrtx_ray.scheduler.preemption import PreemptionLaw
from qrtx_ray.scheduler.settings import CoreSettings
from qrtx_ray.scheduler.tenants import TenantPolicy

__all__ = [
    "Serving",
    "codec_limits",
    "compiler_sandbox",
    "core_settings",
    "engine_sandbox",
    "served_devices",
    "servings",
]

MIB = 1024 * 1024
PLANNED_SHARE = 0.85
NOISY = "aer"  # the executor whose noise can drift
COMPILER_NICE = 2
# What a first job of any kind would otherwise wait for; imported once, before the children are forked.
COMPILER_PRELOAD = (
    "qrtx_ray.compiler.pipeline",
    "qiskit.qasm2",
    "qiskit.qasm3",
    "qiskit_qasm3_import",
    "qiskit.transpiler.preset_passmanagers.builtin_plugins",
    "qiskit_ibm_runtime.utils.backend_converter",
)


@dataclass(frozen=True, slots=True)
class Serving:
    """One entry of the `devices` list, expanded: these devices are served by `agents` device actors, each with a child of
    `engine_memory_mb` and `engine_threads`.
    """

    entry: int
    devices: tuple[DeviceInfo, ...]
    agents: int
    engine_memory_mb: int
    engine_threads: int


def servings(settings: Settings) -> tuple[Serving, ...]:
    """All entries. A device named by several entries belongs to the first of them.

    Raises:
        ValidationError: An entry names metadata that does not exist.
    """
    register_custom_devices(settings)
    known = catalogue.metadata_names()
    taken: set[str] = set()
    out = []
    for index, entry in enumerate(settings.devices):
        names = [name for name in entry.expand(known) if name not in taken]
        taken.update(names)
        devices = tuple(_describe(name, entry.alias) for name in names)
        if devices:
            memory_mb = entry.options.engine_memory_mb or settings.resources.engine_memory_mb
            threads = entry.options.engine_threads or settings.resources.engine_threads
            out.append(Serving(index, devices, entry.agents(os.cpu_count() or 1), memory_mb, threads))
    return tuple(out)


def served_devices(settings: Settings) -> tuple[DeviceInfo, ...]:
    """All devices that jobs can name."""
    return tuple(device for serving in servings(settings) for device in serving.devices)


def register_custom_devices(settings: Settings) -> None:
    """Make the devices of the configured folder known in this process."""
    folder = settings.paths.custom_devices
    if folder is not None:
        catalogue.register_folder(folder)


def _describe(name: str, aliases: Iterable[str]) -> DeviceInfo:
    parts = DeviceName.parse(name)
    width = int(catalogue.configuration(parts.metadata)["n_qubits"])
    return DeviceInfo(name, parts.metadata, parts.executor, width, tuple(aliases))


def core_settings(settings: Settings) -> CoreSettings:
    """The scheduling core's numbers."""
    scheduler, retry = settings.scheduler, settings.retry_policy
    engine_bytes = most_engine_bytes(settings)
    shares = scheduler.fair_share
    queues = (settings.queues.critical, settings.queues.high, settings.queues.normal, settings.queues.low)
    return CoreSettings(
        max_queue_size=scheduler.max_queue_size,
        max_queue_per_tenant=scheduler.max_queue_per_tenant,
        levels=tuple(LevelPolicy(queue.weight, queue.max_wait_time, queue.preemption) for queue in queues),
        aging=scheduler.aging,
        half_life_s=shares.half_life,
        tenants={name: _tenant_policy(share, shares.default) for name, share in shares.tenants.items()},
        default_tenant=_tenant_policy(shares.default, shares.default),
        queue_timeout_s=scheduler.default_queue_timeout,
        execution_timeout_s=scheduler.default_execution_timeout,
        max_job_bytes=engine_bytes,
        max_group_jobs=settings.group_jobs,
        max_group_s=scheduler.max_group_s,
        max_group_bytes=engine_bytes,
        max_retries=retry.max_retries,
        max_losses=retry.max_losses,
        retry_initial_s=retry.backoff.initial,
        retry_multiplier=retry.backoff.multiplier,
        retry_max_s=retry.backoff.max,
        retry_budget_s=retry.budget,
        retryable_codes=frozenset(retry.retryable_errors),
        agent_grace_s=scheduler.agent_grace_s,
        cancel_grace_s=scheduler.cancel_grace_s,
        preemption=PreemptionLaw(
            enabled=scheduler.enable_preemption,
            cost_threshold=scheduler.preemption_cost_threshold,
            min_wait_s=scheduler.preemption_min_wait_s,
            max_per_job=scheduler.max_preemptions,
            slice_s=scheduler.slice_s,
            checkpoint_s=scheduler.checkpoint_s,
            restart_s=scheduler.restart_s,
        ),
        noise=_noise(settings),
        max_reservation_s=scheduler.reservations.max_ahead,
        max_reservations=scheduler.reservations.max_total,
        checkpoint_interval_s=settings.quantum_state.checkpoint_interval,
        kept_checkpoints=settings.quantum_state.kept_checkpoints,
        paused_timeout_s=scheduler.max_paused_time,
    )


def _tenant_policy(share: TenantShare, default: TenantShare) -> TenantPolicy:
    """What holds for a tenant; what its own share leaves open is as in the default."""

    def either(name: str) -> Any:
        own = getattr(share.quotas, name)
        return getattr(default.quotas, name) if own is None else own

    weight = default.weight if share.weight is None else share.weight
    assert weight is not None  # the default has one, see `config.scheduling`
    return TenantPolicy(weight, either("queued"), either("running"), either("qpu_seconds"), either("period"))


def _noise(settings: Settings) -> dict[str, DeviceNoise]:
    """How noise moves on the devices where it does."""
    care = settings.resources.calibration
    found = {}
    for serving in servings(settings):
        drift = settings.devices[serving.entry].options.drift
        for device in serving.devices:
            if drift.rate > 0.0 and device.executor == NOISY:
                found[device.name] = DeviceNoise(
                    seed=drift.seed,
                    rate=drift.rate,
                    drift_interval_s=drift.interval,
                    probe_interval_s=care.probe_interval,
                    threshold=care.threshold if care.auto_calibrate else 0.0,
                    max_frequency_s=care.max_frequency,
                    calibration_s=care.calibration_time,
                    predictive=care.predictive and care.auto_calibrate,
                    horizon_s=drift.interval,
                )
    return found


def planned_bytes(memory_mb: int) -> int:
    """Memory that a run may be planned to take; the rest of the child's bound is for what no cost law foresees."""
    return int(memory_mb * MIB * PLANNED_SHARE)


def most_engine_bytes(settings: Settings) -> int:
    """What a run may be planned to take on the largest of the agents."""
    return planned_bytes(max(serving.engine_memory_mb for serving in servings(settings)))


def codec_limits(settings: Settings) -> Limits:
    """The decoder's bounds."""
    return Limits.from_dict(settings.limits.model_dump(exclude={"state_bytes"}))


def compiler_sandbox(settings: Settings) -> Sandbox:
    """The child that parses and transpiles: little memory, no files."""
    return Sandbox(
        "qrtx_ray.compiler.worker:create",
        {
            "limits": codec_limits(settings).to_dict(),
            "optimization_level": settings.compiler.optimization_level,
            "cache_entries": settings.compiler.cache_entries,
            "max_job_bytes": most_engine_bytes(settings),
            "custom_devices": str(settings.paths.custom_devices) if settings.paths.custom_devices else None,
        },
        # Every job passes here, so it must not stand behind the simulations.
        SandboxLimits(memory_bytes=settings.resources.compile_memory_mb * MIB, nice=COMPILER_NICE),
        preload=COMPILER_PRELOAD,
    )


def engine_sandbox(settings: Settings, memory_mb: int, threads: int) -> Sandbox:
    """The child that simulates."""
    return Sandbox(
        "qrtx_ray.engines.worker:create",
        {
            "threads": threads,
            "memory_bytes": planned_bytes(memory_mb),
            "custom_devices": str(settings.paths.custom_devices) if settings.paths.custom_devices else None,
        },
        SandboxLimits(memory_bytes=memory_mb * MIB, threads=threads),
        preload=("qiskit", "qiskit_aer", "qrtx_ray.engines.worker"),
    )

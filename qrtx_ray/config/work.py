"""Sections that decide how jobs are compiled, grouped, run and retried, and how devices are kept."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from qrtx_ray.config.section import Section, key
from qrtx_ray.config.units import Count, Duration, PositiveCount, PositiveDuration, SizeOrNone

__all__ = [
    "Backoff",
    "Calibration",
    "Compiler",
    "Multiplexing",
    "QuantumState",
    "Resources",
    "RetryPolicy",
]

_MINUTE, _HOUR = 60.0, 3600.0


class Calibration(Section):
    """When a device whose noise drifts is measured and calibrated anew."""

    auto_calibrate: bool = key(True, "Whether the runtime calibrates drifting devices by itself.")
    threshold: float = key(
        0.85, "Measured fidelity of the probe circuits below which a device is calibrated.", gt=0.0, lt=1.0
    )
    max_frequency: PositiveDuration = key(_HOUR, "Least time between two calibrations of a device.", unit="s")
    predictive: bool = key(True, "Whether the trend of the probes may call for a calibration before the threshold.")
    probe_interval: PositiveDuration = key(5 * _MINUTE, "Time between two measurements of a device's probes.", unit="s")
    calibration_time: Duration = key(_MINUTE, "How long a calibration keeps the device from work.", unit="s")


class Resources(Section):
    """What the processes that compile and run jobs may use."""

    check_interval: PositiveDuration = key(1.0, "Time between two heartbeats of an agent.", unit="s")
    compiler_workers: PositiveCount = key(1, "Compiler actors, each with two child processes.", unit="actors")
    compile_memory_mb: PositiveCount = key(
        2048, "Memory a compiling child may take beyond its libraries (RLIMIT_AS).", unit="MiB", ge=256
    )
    engine_memory_mb: PositiveCount = key(
        8192, "Memory an executing child may take beyond its libraries (RLIMIT_AS).", unit="MiB", ge=256
    )
    engine_threads: PositiveCount = key(1, "OpenMP threads of an executing child.", unit="threads", le=1024)
    calibration: Calibration = key(Calibration(), "Measuring and calibrating devices.")


class QuantumState(Section):
    """The three levels that the state manager keeps."""

    level1_cache_size: Count = key(1024, "Live qubits that may be leased at once.", unit="qubits")
    level2_storage_path: str | None = key(None, "Folder of stored states; null: <storage.path>/quantum_states.")
    level2_compression: Literal["zstd"] = key("zstd", "How stored states are compressed.")
    level2_compression_level: PositiveCount = key(3, "Zstandard level: higher is smaller and slower.", le=19)
    level2_object_bytes: SizeOrNone = key(
        64 * 2**20,
        "Largest state that is also held in Ray's object store; larger ones are in files only.",
        unit="bytes",
    )
    level3_metadata_path: str | None = key(None, "Folder of state metadata; null: <storage.path>/metadata.")
    checkpoint_interval: Duration = key(
        _MINUTE, "Seconds of run between two checkpoints of a job; 0: none but when asked for.", unit="s"
    )
    kept_checkpoints: PositiveCount = key(2, "Newest checkpoints of a job that are kept.", le=16)
    checkpoint_retention: Duration = key(
        7 * 24 * _HOUR, "How long the checkpoints of a job that ended without all its results are kept.", unit="s"
    )


class Multiplexing(Section):
    """Several jobs in one engine call."""

    enabled: bool = key(True, "Whether jobs are grouped at all; false: one job in one engine call.")
    max_circuits_per_device: PositiveCount | None = key(
        None, "Jobs that share a device in one group, at most; null: scheduler.max_group_jobs alone.", unit="jobs"
    )
    isolation_level: Literal["strong", "moderate"] = key(
        "moderate", "strong: a group holds jobs of one tenant only; moderate: tenants may share a group."
    )

    @field_validator("isolation_level", mode="before")
    @classmethod
    def _only_what_works(cls, value: Any) -> Any:
        if value == "weak":
            msg = "'weak' asks for shared qubits, which is not part of this release; use strong or moderate"
            raise ValueError(msg)
        return value


class Backoff(Section):
    """The wait before a repeated attempt: initial × multiplier^(retry - 1), at most `max`."""

    initial: Duration = key(1.0, "Wait before the first retry.", unit="s")
    multiplier: float = key(2.0, "Factor from one retry to the next.", ge=1.0, le=100.0, allow_inf_nan=False)
    max: Duration = key(_MINUTE, "Longest wait.", unit="s")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.initial > self.max:
            msg = f"initial ({self.initial:g} s) is more than max ({self.max:g} s)"
            raise ValueError(msg)
        return self


class RetryPolicy(Section):
    """What happens when an attempt fails through no fault of the job."""

    max_retries: Count = key(3, "Repeated attempts of a job after a retryable error.", unit="attempts")
    max_losses: Count = key(
        5, "Attempts that may vanish with their agent before the job is taken to be the cause.", unit="attempts"
    )
    backoff: Backoff = key(Backoff(), "The wait before a retry.")
    budget: PositiveDuration = key(
        _HOUR, "Time since a job's first attempt after which it is not tried again.", unit="s"
    )
    retryable_errors: tuple[Literal["device_unavailable", "attempt_lost", "worker_died"], ...] = key(
        ("device_unavailable", "attempt_lost"), "Error codes after which a job is tried again."
    )


class Compiler(Section):
    """Making circuits fit a device."""

    optimization_level: Count = key(1, "Effort of the transpiler for circuits that do not fit yet.", le=3)
    timeout: PositiveDuration = key(20.0, "Longest time to decode and compile one batch, then one job.", unit="s")
    cache_entries: Count = key(512, "Compiled circuits kept by a compiling child.", unit="circuits")

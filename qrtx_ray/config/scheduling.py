"""Sections that decide who goes next and where: the scheduler, its queues, fair shares, reservations."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import field_validator, model_validator

from qrtx_ray.config.policies import checked_policy
from qrtx_ray.config.section import Section, key
from qrtx_ray.config.units import Count, Duration, PositiveCount, PositiveDuration

__all__ = ["FairShare", "Hybrid", "NoiseAware", "Queue", "Queues", "Quotas", "Reservations", "Scheduler", "TenantShare"]

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


class NoiseAware(Section):
    """The policy `noise_aware`: predicted fidelity less penalties."""

    calibration_penalty: float = key(
        0.1, "For a device that is being calibrated, or should be.", ge=0.0, le=1e3, allow_inf_nan=False
    )
    utilisation_weight: float = key(
        0.05, "For a device all of whose agents are busy.", ge=0.0, le=1e3, allow_inf_nan=False
    )
    waiting_weight: float = key(2.0, "The most that waiting can cost.", ge=0.0, le=1e3, allow_inf_nan=False)
    waiting_scale: PositiveDuration = key(30.0, "The wait that costs half of that.", unit="s")


class Hybrid(Section):
    """The policy `hybrid`: one policy while there is room, another under load."""

    primary: str = key("noise_aware", "Policy while the load is below switch_threshold.")
    fallback: str = key("multiplexing", "Policy above it.")
    switch_threshold: float = key(
        0.8, "Share of busy agents above which the fallback decides.", gt=0.0, le=1.0, allow_inf_nan=False
    )

    @field_validator("primary", "fallback")
    @classmethod
    def _another_policy(cls, value: str) -> str:
        if value == "hybrid":
            msg = "hybrid cannot be made of itself; name another policy"
            raise ValueError(msg)
        return checked_policy(value)


class Quotas(Section):
    """What one tenant may have at once, or in a period."""

    queued: PositiveCount | None = key(
        None,
        "Unfinished jobs; more are refused. null: for a tenant that of the default, for the default none.",
        unit="jobs",
    )
    running: PositiveCount | None = key(None, "Jobs that execute at once; more wait. null: as above.", unit="jobs")
    qpu_seconds: PositiveDuration | None = key(
        None, "QPU time used in one period; after it jobs are refused. null: as above.", unit="s"
    )
    period: PositiveDuration | None = key(
        None, "Length of that period. null: as above, and 28 days by default.", unit="s"
    )


class TenantShare(Section):
    """The part of the devices that a tenant is due."""

    weight: float | None = key(
        None,
        "Share among equals, relative to the others'. null: that of the default.",
        gt=0.0,
        le=1e6,
        allow_inf_nan=False,
    )
    quotas: Quotas = key(Quotas(), "Bounds for the tenant.")


class FairShare(Section):
    """Among jobs of one level, the tenant goes first that has used least QPU time for its weight."""

    half_life: PositiveDuration = key(7 * _DAY, "Time after which use counts half.", unit="s")
    default: TenantShare = key(
        TenantShare(weight=1.0, quotas=Quotas(period=28 * _DAY)),
        "What holds for a tenant that `tenants` does not name.",
    )
    tenants: dict[str, TenantShare] = key({}, "Shares of single tenants, by name.")

    @field_validator("tenants")
    @classmethod
    def _plain_names(cls, value: dict[str, TenantShare]) -> dict[str, TenantShare]:
        for name in value:
            if not _TENANT.match(name):
                msg = f"{name!r} is not a tenant's name: 1 to 64 letters, digits, '.', '_' or '-'"
                raise ValueError(msg)
        return value

    @field_validator("default")
    @classmethod
    def _complete(cls, value: TenantShare) -> TenantShare:
        # Somebody who sets one number of the default does not mean to take the others away.
        quotas = (
            value.quotas if value.quotas.period is not None else value.quotas.model_copy(update={"period": 28 * _DAY})
        )
        return value.model_copy(update={"weight": 1.0 if value.weight is None else value.weight, "quotas": quotas})


class Reservations(Section):
    """Windows in which a device is held for one tenant. The operator's reservations know no bounds but these two first."""

    max_ahead: PositiveDuration = key(28 * _DAY, "How far in the future a reservation may end.", unit="s")
    max_total: PositiveCount = key(1000, "Reservations that may stand at once, of all tenants.", unit="reservations")
    max_duration: Duration = key(
        _HOUR, "Longest window that a tenant may reserve for itself; 0: only the operator reserves.", unit="s"
    )
    max_per_tenant: PositiveCount = key(2, "Reservations of one tenant that may stand at once.", unit="reservations")


class Scheduler(Section):
    """Who goes next, on which device, and the leases of those who work for the scheduler."""

    algorithm: str = key(
        "priority",
        "The policy that places jobs and forms groups: priority, noise_aware, multiplexing, hybrid, or the name of an "
        "entry point of the group qrtx_ray.policies.",
    )
    noise_aware: NoiseAware = key(NoiseAware(), "The policy noise_aware.")
    hybrid_config: Hybrid = key(Hybrid(), "The policy hybrid.")
    aging: bool = key(True, "Whether a waiting job gains weight, up to that of critical at its level's max_wait_time.")
    fair_share: FairShare = key(FairShare(), "Shares and quotas of tenants.")
    reservations: Reservations = key(Reservations(), "Bounds of reservations.")
    enable_preemption: bool = key(True, "Whether jobs of levels with preemption may stop lower work between slices.")
    preemption_cost_threshold: float = key(
        0.2,
        "Largest cost of a preemption: lost work, checkpoint and restart over the work that remains.",
        ge=0.0,
        le=1.0,
        allow_inf_nan=False,
    )
    max_preemptions: Count = key(3, "How often one job may be preempted.", unit="times")
    preemption_min_wait_s: Duration = key(
        0.75, "Work that ends sooner than this is waited for rather than preempted.", unit="s"
    )
    slice_s: PositiveDuration = key(
        1.0,
        "How long a run that is stopped is taken to go on, to the end of its slice. Engines make slices of about a second.",
        unit="s",
    )
    checkpoint_s: Duration = key(0.05, "What keeping the progress of a run is taken to cost.", unit="s")
    restart_s: Duration = key(0.2, "What taking a run up again is taken to cost.", unit="s")
    max_queue_size: PositiveCount = key(10_000, "Jobs that may be unfinished at once; more are refused.", unit="jobs")
    max_queue_per_tenant: PositiveCount | None = key(
        None, "The same bound for every tenant; null: only max_queue_size and the quotas.", unit="jobs"
    )
    max_group_jobs: PositiveCount = key(32, "Jobs that one agent runs in one engine call, at most.", unit="jobs")
    max_group_s: PositiveDuration = key(
        1.0, "Estimated run time of a group, at most (one job may exceed it).", unit="s"
    )
    agent_timeout_s: PositiveDuration = key(10.0, "An agent silent for longer is taken to be gone.", unit="s")
    agent_grace_s: Duration = key(
        10.0,
        "After a restart of the scheduler: how long agents may take to come back before their jobs move.",
        unit="s",
    )
    cancel_grace_s: Duration = key(
        5.0, "How long a cancelled run may take to stop before it is taken to be dead.", unit="s"
    )
    default_queue_timeout: PositiveDuration = key(
        48 * _HOUR, "Longest wait of a job that names no queue_timeout_s itself.", unit="s"
    )
    default_execution_timeout: PositiveDuration = key(
        300.0, "Longest run of a job that names no limit itself.", unit="s"
    )

    max_paused_time: PositiveDuration = key(
        30 * _DAY, "Longest pause of a job; after it the job ends as timed out.", unit="s"
    )

    @field_validator("algorithm")
    @classmethod
    def _known_policy(cls, value: str) -> str:
        return checked_policy(value)


class Queue(Section):
    """One priority level."""

    weight: float = key(1.0, "Weight of the level, where aging compares levels.", gt=0.0, le=1e6, allow_inf_nan=False)
    max_wait_time: PositiveDuration | None = key(
        None, "A job that has waited longer goes before all others; null: never.", unit="s"
    )
    preemption: bool = key(False, "Whether jobs of this level may preempt running work of lower levels.")


class Queues(Section):
    """The four levels; a job's numeric priority decides its level (90.. critical, 70.. high, 30.. normal, else low)."""

    critical: Queue = key(Queue(weight=10.0, max_wait_time=5 * _MINUTE, preemption=True), "Priority 90 to 100.")
    high: Queue = key(Queue(weight=7.0, max_wait_time=15 * _MINUTE, preemption=True), "Priority 70 to 89.")
    normal: Queue = key(Queue(weight=5.0, max_wait_time=_HOUR), "Priority 30 to 69.")
    low: Queue = key(Queue(weight=1.0, max_wait_time=24 * _HOUR), "Priority 0 to 29.")

    @model_validator(mode="before")
    @classmethod
    def _levels_keep_what_is_not_said(cls, data: Any) -> Any:
        """A level that is given in part keeps the rest of its own defaults, not those of a level without name."""
        if not isinstance(data, dict):
            return data
        out = dict(data)
        for name, info in cls.model_fields.items():
            if isinstance(out.get(name), dict):
                out[name] = {**info.default.model_dump(), **out[name]}
        return out

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        weights = [self.critical.weight, self.high.weight, self.normal.weight, self.low.weight]
        if weights != sorted(weights, reverse=True):
            msg = "a level may not weigh more than the one above it (critical, high, normal, low)"
            raise ValueError(msg)
        return self

"""Every number the core decides by, with its unit in its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qrtx_ray.scheduler.calibration import DeviceNoise
from qrtx_ray.scheduler.levels import DEFAULT_LEVELS, LevelPolicy
from qrtx_ray.scheduler.preemption import PreemptionLaw
from qrtx_ray.scheduler.tenants import TenantPolicy

__all__ = ["CoreSettings"]


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """Limits, deadlines and the retry law of the scheduling core.

    Args:
        max_queue_size: Jobs that are not terminal, over all tenants.
        max_queue_per_tenant: The same for one tenant, or None.
        levels: Weight, longest wait and right to preempt of each level: critical, high, normal, low.
        aging: Whether waiting jobs of lower levels gain weight; promotion after a level's longest wait is apart from it.
        half_life_s: Time after which a tenant's use of QPU time counts half.
        tenants / default_tenant: Weights and quotas, by name and for all others.
        queue_timeout_s: Longest wait when the request names none; None waits for ever.
        execution_timeout_s: Longest run of one attempt when the request names none.
        execution_grace_s: What an agent may be late in enforcing that before the core does.
        max_job_bytes: Estimated memory above which a job is refused.
        max_group_jobs / max_group_s / max_group_bytes: A group's members, Σ estimated seconds, Σ estimated bytes.
        min_group_s: Estimated run time below which a line is not divided among the agents.
        group_across_keys: Whether members of one group may have different `CircuitProfile.group_key`.
        max_groups_per_agent: One running, the rest prefetched.
        prefetch_behind_s: Estimated run time of a group behind which no other is prefetched.
        max_retries: Attempts after the first that an error of the job may cost.
        max_losses: Agents (or, apart, compilers) a job may lose before it fails itself.
        retry_initial_s / retry_multiplier / retry_max_s: Exponential backoff between retries.
        retry_budget_s: Time after the beginning of a job's first attempt in which it may be tried again; None: no bound.
        retryable_codes: Error codes worth another attempt even where the error does not say so.
        agent_grace_s: After a restart, how long agents may take to name the attempts they hold.
        missing_grace_s: How long an attempt may be missing from its agent's heartbeats.
        cancel_grace_s: How long an agent may take to report a cancelled attempt.
        compile_lease_s: How long a compiler may hold a job.
        terminal_memory: Finished jobs kept readable in memory, the newest ones.
        preemption: When running work makes way for more urgent work.
        noise: How the noise of a device moves, by the device's name; one that is not named keeps its packaged calibration.
        max_placements: How often a job that leaves the choice to the scheduler is placed anew while it waits.
        placements_batch: Jobs placed anew by one event; more are left for the next tick, which is then due at once.
        max_reservation_s: Longest window that can be reserved.
        max_reservations: Windows that one tenant may hold, those to come included.
        checkpoint_interval_s: Seconds of run between two checkpoints of a job that names none itself; 0: only when asked for.
        kept_checkpoints: Newest checkpoints of a job that stay valid.
        paused_timeout_s: Longest pause of a job.
        ticks_batch: Deadlines handled by one Ticked; more are left for the next, which is then due at once.
    """

    max_queue_size: int = 100_000
    max_queue_per_tenant: int | None = None
    levels: tuple[LevelPolicy, ...] = DEFAULT_LEVELS
    aging: bool = True
    half_life_s: float = 7 * 86_400.0
    tenants: Mapping[str, TenantPolicy] = field(default_factory=dict)
    default_tenant: TenantPolicy = field(default_factory=TenantPolicy)
    queue_timeout_s: float | None = 172_800.0
    execution_timeout_s: float = 300.0
    execution_grace_s: float = 10.0
    max_job_bytes: int = 2 << 30
    max_group_jobs: int = 32
    min_group_s: float = 0.02
    max_group_s: float = 1.0
    max_group_bytes: int = 1 << 30
    group_across_keys: bool = True
    max_groups_per_agent: int = 2
    prefetch_behind_s: float = 2.0
    max_retries: int = 3
    max_losses: int = 3
    retry_initial_s: float = 1.0
    retry_multiplier: float = 2.0
    retry_max_s: float = 60.0
    retry_budget_s: float | None = 3_600.0
    retryable_codes: frozenset[str] = frozenset()
    agent_grace_s: float = 15.0
    missing_grace_s: float = 30.0
    cancel_grace_s: float = 10.0
    compile_lease_s: float = 300.0
    terminal_memory: int = 10_000
    ticks_batch: int = 16
    preemption: PreemptionLaw = field(default_factory=PreemptionLaw)
    noise: Mapping[str, DeviceNoise] = field(default_factory=dict)
    max_placements: int = 3
    placements_batch: int = 8
    max_reservation_s: float = 2_419_200.0
    max_reservations: int = 16
    checkpoint_interval_s: float = 60.0
    kept_checkpoints: int = 2
    paused_timeout_s: float = 30 * 86_400.0

"""Every number the core decides by, with its unit in its name."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CoreSettings"]


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """Limits, deadlines and the retry law of the scheduling core.

    Args:
        max_queue_size: Jobs that are not terminal, over all tenants.
        max_queue_per_tenant: The same for one tenant, or None.
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
        retryable_codes: Error codes worth another attempt even where the error does not say so.
        agent_grace_s: After a restart, how long agents may take to name the attempts they hold.
        missing_grace_s: How long an attempt may be missing from its agent's heartbeats.
        cancel_grace_s: How long an agent may take to report a cancelled attempt.
        compile_lease_s: How long a compiler may hold a job.
        terminal_memory: Finished jobs kept readable in memory, the newest ones.
        ticks_batch: Deadlines handled by one Ticked; more are left for the next, which is then due at once.
    """

    max_queue_size: int = 100_000
    max_queue_per_tenant: int | None = None
    queue_timeout_s: float | None = 86_400.0
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
    max_retries: int = 2
    max_losses: int = 3
    retry_initial_s: float = 1.0
    retry_multiplier: float = 2.0
    retry_max_s: float = 60.0
    retryable_codes: frozenset[str] = frozenset()
    agent_grace_s: float = 15.0
    missing_grace_s: float = 30.0
    cancel_grace_s: float = 10.0
    compile_lease_s: float = 300.0
    terminal_memory: int = 10_000
    ticks_batch: int = 1_000

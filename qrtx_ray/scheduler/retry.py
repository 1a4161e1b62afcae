"""Whether a failed attempt deserves another one, and after how long.

Two budgets are kept apart, and time is the third: after
`retry_budget_s` no retry is begun. A *retry* is spent on an error of the job (`JobRecord.retries`, `max_retries`); a *loss*
(`JobRecord.losses`) is the system's fault (an agent that died) and is not held against the job until there are too many
(`max_losses`), for then it is likelier that the job kills its agents. An attempt that ended because it was asked to, for
more urgent work, a pause, a migration or a drain, is neither.
"""

from __future__ import annotations

from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model import JobRecord
from qrtx_ray.scheduler.settings import CoreSettings

__all__ = ["backoff_s", "deserves_retry", "losses_with_this"]


def deserves_retry(error: ErrorInfo, retries: int, settings: CoreSettings, tried_for_s: float = 0.0) -> bool:
    """Whether a job with `retries` behind it, the first attempt `tried_for_s` ago, gets another attempt after `error`."""
    if retries >= settings.max_retries or (
        settings.retry_budget_s is not None and tried_for_s > settings.retry_budget_s
    ):
        return False
    return error.retryable or error.code in settings.retryable_codes


def backoff_s(retries: int, settings: CoreSettings) -> float:
    """Seconds to wait before retry number `retries` (1 is the first)."""
    # The exponent is bounded because a float overflows at about 2.0**1024.
    delay = settings.retry_initial_s * settings.retry_multiplier ** min(retries - 1, 64)
    return min(delay, settings.retry_max_s)


def losses_with_this(record: JobRecord) -> int:
    """Attempts of `record` lost by the system, counting the present one."""
    return record.losses + 1

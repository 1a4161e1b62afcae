"""What a tenant is due and what it has used, as plain data for people.

::

    {"tenant", "weight", "half_life_s", "decayed_qpu_s",
     "quotas": {"queued": {"used", "limit"}, "running": {"used", "limit"},
                "qpu_seconds": {"used", "limit", "period_s", "period_ends_at"}}}
"""

from __future__ import annotations

from math import floor
from typing import Any

from qrtx_ray.scheduler.world import World

__all__ = ["usage"]


def usage(world: World, tenant: str) -> dict[str, Any]:
    """Of `tenant`, which need not have been seen before. A limit of None is no bound."""
    tenants, account = world.tenants, world.tenants.accounts.get(tenant)
    policy = world.settings.tenants.get(tenant, world.settings.default_tenant)
    return {
        "tenant": tenant,
        "weight": policy.weight,
        "half_life_s": world.settings.half_life_s,
        "decayed_qpu_s": tenants.usage_s(account, world.now) if account else 0.0,
        "quotas": {
            "queued": {"used": account.live if account else 0, "limit": policy.max_queued},
            "running": {"used": account.running if account else 0, "limit": policy.max_running},
            "qpu_seconds": {
                "used": tenants.used_in_period_s(account, world.now) if account else 0.0,
                "limit": policy.max_qpu_s,
                "period_s": policy.period_s,
                "period_ends_at": (floor(world.now / policy.period_s) + 1) * policy.period_s,
            },
        },
    }

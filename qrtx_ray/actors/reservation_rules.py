"""How long, how far ahead and how many: what the configuration allows reservations to be."""

from __future__ import annotations

from collections.abc import Sequence

from qrtx_ray.config.scheduling import Reservations
from qrtx_ray.errors import PermissionDenied, QueueFull, ValidationError
from qrtx_ray.model import Reservation

__all__ = ["check_reservation"]


def check_reservation(
    wanted: Reservation, standing: Sequence[Reservation], rules: Reservations, now: float, *, operator: bool
) -> None:
    """Whether `wanted` keeps the rules beside those that stand; whether it overlaps one is the scheduler's question.

    Args:
        now: Seconds since the epoch.
        operator: Whether an operator asks: then only the rules for all hold.

    Raises:
        PermissionDenied: Tenants do not reserve here.
        ValidationError: It ends too far in the future, or is too long.
        QueueFull: As many stand as are allowed, in all or for the tenant.
    """
    if wanted.ends_at > now + rules.max_ahead:
        limit = f"{rules.max_ahead:.15g} s from now"
        text = f"a reservation may end at most {limit}, which is scheduler.reservations.max_ahead"
        raise ValidationError(text, field="ends_at", limit=limit)
    if len(standing) >= rules.max_total:
        limit = f"{rules.max_total} reservations"
        raise QueueFull(f"{limit} stand already; scheduler.reservations.max_total allows no more", limit=limit)
    if operator:
        return
    if not rules.max_duration:
        raise PermissionDenied("only the operator reserves devices here")
    if wanted.ends_at - wanted.begins_at > rules.max_duration:
        limit = f"{rules.max_duration:.15g} s"
        text = f"a tenant reserves a device for at most {limit}, which is scheduler.reservations.max_duration"
        raise ValidationError(text, field="ends_at", limit=limit)
    if sum(one.tenant == wanted.tenant for one in standing) >= rules.max_per_tenant:
        limit = f"{rules.max_per_tenant} reservations"
        raise QueueFull(f"the tenant has {limit}; scheduler.reservations.max_per_tenant allows no more", limit=limit)

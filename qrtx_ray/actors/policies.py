"""The scheduling policy that the configuration names: one of the house, or one of another installed package."""

from __future__ import annotations

from importlib.metadata import entry_points

from qrtx_ray.config import Settings
from qrtx_ray.config.policies import GROUP
from qrtx_ray.errors import ValidationError
from qrtx_ray.multiplex.isolation import isolated
from qrtx_ray.scheduler.policies import (
    HybridPolicy,
    MultiplexingPolicy,
    NoiseAwarePolicy,
    Policy,
    PriorityPolicy,
    check_policy,
)

__all__ = ["policy_of"]


def policy_of(settings: Settings) -> Policy:
    """The policy in force, with the isolation of tenants around it.

    Raises:
        ValidationError: A policy of another package cannot be made, or breaks a rule of `scheduler.policies.Policy`.
    """
    return isolated(_named(settings.scheduler.algorithm, settings), settings.multiplexing.isolation_level)


def _named(name: str, settings: Settings) -> Policy:
    scheduler = settings.scheduler
    match name:
        case "priority":
            return PriorityPolicy()
        case "noise_aware":
            given = scheduler.noise_aware
            return NoiseAwarePolicy(
                given.calibration_penalty, given.utilisation_weight, given.waiting_weight, given.waiting_scale
            )
        case "multiplexing":
            most = settings.multiplexing.max_circuits_per_device
            return MultiplexingPolicy() if most is None else MultiplexingPolicy(most)
        case "hybrid":
            chosen = scheduler.hybrid_config
            primary, fallback = _named(chosen.primary, settings), _named(chosen.fallback, settings)
            return HybridPolicy(primary, fallback, chosen.switch_threshold)
        case _:
            return _installed(name)


def _installed(name: str) -> Policy:
    found = next(iter(entry_points(group=GROUP, name=name)), None)
    if found is None:
        raise ValidationError(f"the policy {name} is not installed here", field="scheduler.algorithm")
    try:
        policy: Policy = found.load()()
        check_policy(policy)
    except ValidationError as error:
        raise ValidationError(f"{name} ({found.value}): {error.message}", field="scheduler.algorithm") from None
    except Exception as error:
        text = f"the policy {name} ({found.value}) cannot be made: {type(error).__name__}: {error}"
        raise ValidationError(text, field="scheduler.algorithm") from error
    return policy

"""The way from contributions to an order, the same for every policy of the house."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qrtx_ray.scheduler.policies.protocol import Option, Scored

__all__ = ["NO_AGENT", "rank", "waiting_term"]

NO_AGENT = "it takes no work now"
Contributions = tuple[tuple[str, float], ...]


def rank(
    policy: str,
    options: Sequence[Option],
    judge: Callable[[Option], Contributions],
    refuse: Callable[[Option], str] = lambda option: option.refusal,
) -> list[Scored]:
    """Score every option with the sum of what `judge` says of it; the refused ones come last, in their order.

    A device that takes no work now is refused as long as another one will do. Equal scores go by the shorter wait,
    then by name, so that the order of the options does not matter.
    """
    suitable = [option for option in options if not (option.refusal or refuse(option))]
    online = [option for option in suitable if option.online]
    chosen = {option.device for option in (online or suitable)}
    good, bad = [], []
    for option in options:
        if option.device in chosen:
            parts = tuple([(name, part + 0.0) for name, part in judge(option)])  # no minus before a nought
            good.append((option, Scored(option.device, sum(part for _, part in parts), parts, policy=policy)))
        else:
            reason = option.refusal or refuse(option) or NO_AGENT
            bad.append(Scored(option.device, 0.0, (), reason, policy))
    good.sort(key=lambda pair: (-pair[1].score, pair[0].wait_s, pair[0].device))
    return [scored for _, scored in good] + bad


def waiting_term(wait_s: float, scale_s: float) -> float:
    """0 for no wait, ½ for one of `scale_s`, towards 1 for ever longer ones."""
    return wait_s / (wait_s + scale_s) if wait_s > 0.0 else 0.0

"""When jobs arrive: streams of moments, in seconds from 0, with a given mean rate in the long run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from random import Random

from qrtx_ray.errors import ValidationError

__all__ = ["PATTERNS", "arrivals", "bursty", "diurnal", "poisson"]


def poisson(rate: float, chance: Random) -> Iterator[float]:
    """Independent of one another: exponential gaps of mean ``1 / rate`` seconds."""
    at = 0.0
    while True:
        at += chance.expovariate(rate)
        yield at


def bursty(
    rate: float, chance: Random, *, burst: float = 5.0, calm_s: float = 540.0, burst_s: float = 60.0
) -> Iterator[float]:
    """Calm and burst in turn (a Markov-modulated Poisson process): in a burst jobs arrive `burst` times as often as on
    average, in between as often as the average then demands.

    Args:
        rate: Jobs per second in the long run.
        burst: Rate of a burst over the mean rate; at most ``(calm_s + burst_s) / burst_s``.
        calm_s / burst_s: Mean lengths; exponential.

    Raises:
        ValidationError: A burst alone would be more than the mean.
    """
    share = burst_s / (calm_s + burst_s)
    calm = (1.0 - burst * share) / (1.0 - share)
    if calm < 0.0:
        limit = f"{1 / share:g}"
        raise ValidationError(f"burst is {burst:g}; the mean rate allows {limit}", field="burst", limit=limit)
    at, end, hot = 0.0, 0.0, True
    while True:
        begin, hot = end, not hot
        end += chance.expovariate(1.0 / (burst_s if hot else calm_s))
        present = rate * (burst if hot else calm)
        at = begin
        while present > 0.0:
            # What is left of a gap when the rate changes is drawn anew: an exponential gap does not remember.
            at += chance.expovariate(present)
            if at >= end:
                break
            yield at


def diurnal(rate: float, chance: Random, *, swing: float = 0.8, period_s: float = 86_400.0) -> Iterator[float]:
    """Day and night: the rate follows a sine around its mean, least at 0, ``rate × (1 ± swing)``."""
    at = 0.0
    most = rate * (1.0 + swing)
    while True:
        at += chance.expovariate(most)
        if chance.random() * most < rate * (1.0 - swing * math.cos(2.0 * math.pi * at / period_s)):
            yield at


PATTERNS: dict[str, Callable[[float, Random], Iterator[float]]] = {
    "poisson": poisson,
    "bursty": bursty,
    "diurnal": diurnal,
}


def arrivals(pattern: str, rate: float, chance: Random) -> Iterator[float]:
    """Moments of the pattern called `pattern`.

    Raises:
        ValidationError: There is no such pattern.
    """
    if pattern not in PATTERNS:
        names = ", ".join(PATTERNS)
        raise ValidationError(
            f"there is no arrival pattern {pattern!r}; there are {names}", field="generate", limit=names
        )
    return PATTERNS[pattern](rate, chance)

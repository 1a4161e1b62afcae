"""How good the estimates of run times were on a device, and so how far the next ones can be trusted.

Run times are off by factors, not by seconds, so what is kept is the logarithm of measured over estimated: its mean and
its spread, both fading with every new observation. Before the first observation an estimate is trusted within a factor
of two.
"""

from __future__ import annotations

import math

__all__ = ["Accuracy"]

_FADING = 0.05  #: weight of one new observation, once there are many
_PRIOR_VARIANCE = math.log(2.0) ** 2
_WILDEST = math.log(1_000.0)  #: one absurd measurement must not spoil the figure for long
_SIGMAS = 1.28  #: eight of ten fall inside of the bar


class Accuracy:
    """Mean and variance of ln(measured / estimated), fading.

    Attributes:
        count: Observations so far.
    """

    __slots__ = ("_mean", "_variance", "count")

    def __init__(self) -> None:
        self.count = 0
        self._mean = 0.0
        self._variance = _PRIOR_VARIANCE

    def observe(self, estimated_s: float, measured_s: float) -> None:
        """Take note of one run; what has no positive length tells nothing."""
        if estimated_s <= 0.0 or measured_s <= 0.0:
            return
        off = min(max(math.log(measured_s / estimated_s), -_WILDEST), _WILDEST)
        self.count += 1
        weight = max(_FADING, 1.0 / (self.count + 1))
        gap = off - self._mean
        self._mean += weight * gap
        self._variance = (1.0 - weight) * (self._variance + weight * gap * gap)

    @property
    def ratio(self) -> float:
        """What an estimate must be multiplied with to be right on the average."""
        return math.exp(self._mean)

    def bar(self, parts: float) -> tuple[float, float]:
        """Factors for the low and the high end of a sum of `parts` estimates of like size, that are off independently."""
        spread = math.exp(_SIGMAS * math.sqrt(self._variance / max(parts, 1.0)))
        return 1.0 / spread, spread

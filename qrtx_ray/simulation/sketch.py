"""Distributions in little memory: exact count, mean and extremes, quantiles to one per cent."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["ACCURACY", "Sketch"]

ACCURACY = 0.01  #: greatest relative error of a quantile

_BASE = (1.0 + ACCURACY) / (1.0 - ACCURACY)
_LOG = math.log(_BASE)
_LEAST = 1e-6  # what is smaller counts as 0


class Sketch:
    """Counts of values ≥ 0 in buckets whose bounds grow by the same factor (a "DDSketch": the memory is bounded by the
    logarithm of the range of the values, however many there are).
    """

    __slots__ = ("_buckets", "count", "most", "total", "zeros")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.zeros = 0
        self.count = 0
        self.total = 0.0
        self.most = 0.0

    def add(self, value: float) -> None:
        """Take a value in."""
        self.count += 1
        self.total += value
        self.most = max(self.most, value)
        if value < _LEAST:
            self.zeros += 1
        else:
            bucket = math.ceil(math.log(value) / _LOG)
            self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    @property
    def mean(self) -> float:
        """The mean; 0 when there is nothing."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """The value that a share of all values does not exceed, to `ACCURACY`; 0 when there is nothing."""
        wanted = max(1, math.ceil(share * self.count))
        if wanted <= self.zeros or not self.count:
            return 0.0
        seen = self.zeros
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(self.most, 2.0 * _BASE**bucket / (_BASE + 1.0))
        return self.most

    def curve(self, points: int = 60) -> list[tuple[float, float]]:
        """The distribution function: ``(value, share of values not above it)``, at most `points` of them."""
        if not self.count:
            return []
        seen, out = self.zeros, [(0.0, self.zeros / self.count)]
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            out.append((min(self.most, _BASE**bucket), seen / self.count))
        stride = -(-len(out) // points)
        return [*out[:-1:stride], out[-1]]

    def summary(self) -> dict[str, Any]:
        """Count, mean, quantiles and the greatest, rounded to microseconds."""
        figures = {f"p{round(100 * share)}": round(self.quantile(share), 6) for share in (0.5, 0.95, 0.99)}
        return {"count": self.count, "mean": round(self.mean, 6), **figures, "max": round(self.most, 6)}

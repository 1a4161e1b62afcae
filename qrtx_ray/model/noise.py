"""The name of a state of an emulated device's noise: short, comparable, and enough to compute the noise from.

A device whose noise drifts goes through *epochs*: calibration number ``epoch`` publishes a snapshot, and from then on
the true noise wanders away from it, one *step* for each drift interval. Which noise a name means is a pure function of
the name and the packaged calibration (`qrtx_ray.devices.drift`), so any process can make it, and nothing needs to be
sent or stored but the name.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from qrtx_ray.errors import ValidationError

__all__ = ["MAX_RATE", "PACKAGED", "NoiseId"]

MAX_RATE = 2.0
"""Largest drift rate; with far less a device is useless one interval after its calibration."""

_MAX_SEED = 2**64 - 1
_MAX_COUNT = 2**31 - 1
_TEXT = re.compile(r"drift:(\d{1,20}):([0-9.e+-]{1,25}):(\d{1,10}):(\d{1,10})")


@dataclass(frozen=True, slots=True)
class NoiseId:
    """Names a state of noise. The default is the packaged calibration, as is every name whose `rate` is 0.

    Args:
        seed: Seed of the drift, 0 ≤ seed < 2**64.
        rate: How fast the noise wanders, 0 ≤ rate ≤ `MAX_RATE`; 0 means not at all.
        epoch: Number of the calibration, from 0.
        step: Drift intervals since that calibration; 0 is what it published.

    Raises:
        ValidationError: A number is outside of its range.
    """

    seed: int = 0
    rate: float = 0.0
    epoch: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        for name, value, most in (
            ("seed", self.seed, _MAX_SEED),
            ("rate", self.rate, MAX_RATE),
            ("epoch", self.epoch, _MAX_COUNT),
            ("step", self.step, _MAX_COUNT),
        ):
            if not (math.isfinite(value) and 0 <= value <= most):
                msg = f"noise_id.{name} must be from 0 to {most}"
                raise ValidationError(msg, field=f"noise_id.{name}", limit=f"0..{most}")

    @property
    def packaged(self) -> bool:
        """Whether it means the packaged calibration."""
        return self.rate == 0.0

    @property
    def published(self) -> NoiseId:
        """What the latest calibration published: step 0 of the same epoch."""
        return replace(self, step=0) if self.step else self

    def text(self) -> str:
        """``""`` for the packaged calibration, else ``drift:<seed>:<rate>:<epoch>:<step>``."""
        if self.packaged:
            return ""
        return f"drift:{self.seed}:{float(self.rate)!r}:{self.epoch}:{self.step}"

    @classmethod
    def parse(cls, text: str) -> NoiseId:
        """The name that `text` writes; ``NoiseId.parse(name.text()) == name`` for every name with a rate above 0.

        Raises:
            ValidationError: Not such a text.
        """
        if not text:
            return PACKAGED
        found = _TEXT.fullmatch(text)
        try:
            if found is not None:
                return cls(int(found[1]), float(found[2]), int(found[3]), int(found[4]))
        except ValueError:
            pass
        msg = "noise_id must be empty or drift:<seed>:<rate>:<epoch>:<step>"
        raise ValidationError(msg, field="noise_id", limit="drift:<seed>:<rate>:<epoch>:<step>")


PACKAGED = NoiseId()

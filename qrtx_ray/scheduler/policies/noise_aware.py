"""The policy that weighs what noise would do to a job against how long it would wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qrtx_ray.model import JobRecord
from qrtx_ray.scheduler.policies.priority import choose_group
from qrtx_ray.scheduler.policies.protocol import Fleet, GroupLimits, Option, Scored
from qrtx_ray.scheduler.policies.ranking import rank, waiting_term

__all__ = ["NoiseAwarePolicy"]


class NoiseAwarePolicy:
    """Filter by the noise the job can bear, then take the best of fidelity less penalties.

    ``score = fidelity − calibration_penalty·(calibrating or stale) − utilisation_weight·utilisation −
    waiting_weight·wait/(wait + waiting_scale)``, where the fidelity of a device without noise is 1.

    Args:
        calibration_penalty: For a device that is being calibrated, or whose probes say that it should be.
        utilisation_weight: For a device all of whose agents are at work.
        waiting_weight / waiting_scale_s: The most that waiting can cost, and the wait that costs half of it.
    """

    name = "noise_aware"

    def __init__(
        self,
        calibration_penalty: float = 0.1,
        utilisation_weight: float = 0.05,
        waiting_weight: float = 2.0,
        waiting_scale_s: float = 30.0,
    ) -> None:
        self._calibration_penalty = calibration_penalty
        self._utilisation_weight = utilisation_weight
        self._waiting_weight = waiting_weight
        self._waiting_scale_s = waiting_scale_s

    def place(self, job: JobRecord, options: Sequence[Option], fleet: Fleet) -> list[Scored]:  # noqa: ARG002
        floor = job.fidelity_floor

        def refuse(option: Option) -> str:
            if floor is not None and option.fidelity is not None and option.fidelity < floor:
                return f"predicted fidelity {option.fidelity:.4f} is below fidelity_floor {floor:.4f}"
            return ""

        return rank(self.name, options, self._judge, refuse)

    def choose_group(self, candidates: Iterable[JobRecord], limits: GroupLimits) -> list[JobRecord]:
        return choose_group(candidates, limits)

    def _judge(self, option: Option) -> tuple[tuple[str, float], ...]:
        wait = waiting_term(option.wait_s, self._waiting_scale_s)
        penalty = self._calibration_penalty if option.calibrating or option.stale else 0.0
        return (
            ("fidelity", 1.0 if option.fidelity is None else option.fidelity),
            ("calibration", -penalty),
            ("utilisation", -self._utilisation_weight * option.utilisation),
            ("waiting", -self._waiting_weight * wait),
        )

"""The policy that fills devices: jobs side by side on the qubits of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qrtx_ray.model import CircuitProfile, JobRecord
from qrtx_ray.scheduler.policies.protocol import Fleet, GroupLimits, Option, Scored
from qrtx_ray.scheduler.policies.ranking import rank, waiting_term

__all__ = ["MultiplexingPolicy"]


class MultiplexingPolicy:
    """Jobs of like shots and like length share a run as long as their qubits fit the device together.

    What runs side by side takes as long as its longest member: a short job beside a long one gains nothing and waits
    for it. Where a job may choose, it goes to the device that is soon free, and rather to a wide one.

    Args:
        max_circuits_per_device: Most jobs side by side.
        shots_factor / length_factor: How many times as many shots, or seconds, the largest member may have.
        waiting_weight / waiting_scale_s / utilisation_weight / width_weight: Of the placement's score.
    """

    name = "multiplexing"

    def __init__(
        self,
        max_circuits_per_device: int = 4,
        shots_factor: float = 2.0,
        length_factor: float = 4.0,
        waiting_weight: float = 0.5,
        waiting_scale_s: float = 600.0,
        utilisation_weight: float = 0.05,
        width_weight: float = 0.1,
    ) -> None:
        self._most = max_circuits_per_device
        self._shots_factor = shots_factor
        self._length_factor = length_factor
        self._waiting_weight = waiting_weight
        self._waiting_scale_s = waiting_scale_s
        self._utilisation_weight = utilisation_weight
        self._width_weight = width_weight

    def place(self, job: JobRecord, options: Sequence[Option], fleet: Fleet) -> list[Scored]:  # noqa: ARG002
        widest = max((option.num_qubits for option in options), default=0) or 1

        def judge(option: Option) -> tuple[tuple[str, float], ...]:
            return (
                ("width", self._width_weight * option.num_qubits / widest),
                ("utilisation", -self._utilisation_weight * option.utilisation),
                ("waiting", -self._waiting_weight * waiting_term(option.wait_s, self._waiting_scale_s)),
            )

        return rank(self.name, options, judge)

    def choose_group(self, candidates: Iterable[JobRecord], limits: GroupLimits) -> list[JobRecord]:
        """The head of the line, and those that go well with it; others are passed over, they are the next head soon."""
        members: list[JobRecord] = []
        seconds, size, qubits = 0.0, 0, 0
        most = min(limits.jobs, self._most)
        for record in candidates:
            profile = record.profile
            if members and (profile is None or record.retries + record.losses > 0):
                break
            own = profile or CircuitProfile(0, 0, 0, 0, 0, 0.0, 0, 0.0, "", "", "")
            if members:
                first = members[0].profile
                too_wide = limits.qubits and qubits + own.active_qubits > limits.qubits
                too_much = seconds + own.estimated_s > limits.seconds or size + own.estimated_bytes > limits.bytes
                if first is None or too_wide or too_much or not self._alike(first, own, limits):
                    continue
            members.append(record)
            seconds += own.estimated_s
            size += own.estimated_bytes
            qubits += own.active_qubits
            if len(members) >= most or record.retries + record.losses > 0:
                break
        return members

    def _alike(self, first: CircuitProfile, other: CircuitProfile, limits: GroupLimits) -> bool:
        if first.group_key != other.group_key and not limits.across_keys:
            return False
        return _within(first.shots, other.shots, self._shots_factor) and _within(
            first.estimated_s, other.estimated_s, self._length_factor
        )


def _within(one: float, other: float, factor: float) -> bool:
    return max(one, other) <= factor * min(one, other)

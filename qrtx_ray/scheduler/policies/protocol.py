"""What a policy is asked, and what it answers: plain values, no world behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from qrtx_ray.model import JobRecord

__all__ = ["Fleet", "GroupLimits", "GroupPolicy", "Option", "Policy", "Scored"]


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """Bounds of one group: members, Σ estimated wall seconds, Σ estimated bytes, one engine key or any; and the width of
    the device in qubits (0: not known), for policies that put members side by side.
    """

    jobs: int
    seconds: float
    bytes: int
    across_keys: bool = True
    qubits: int = 0


class GroupPolicy(Protocol):
    """Chooses the members of a group from the jobs of one device, given in the order of the line, one by one: a policy looks
    only as far as it needs to. There may be none.

    Guarantees to keep: the first candidate is a member (nobody starves), members are distinct candidates, and there
    are no more than ``limits.jobs`` of them.
    """

    def __call__(self, candidates: Iterable[JobRecord], limits: GroupLimits) -> list[JobRecord]: ...


@dataclass(frozen=True, slots=True)
class Option:
    """One device that a job could go to, as it is now.

    Args:
        device: Canonical name.
        num_qubits: Width.
        fidelity: Predicted fidelity of the job there; None on a device without noise.
        qpu_s / estimated_s: What the device would charge; wall seconds of the run.
        refusal: Why the job cannot go there, or "".
        online: Whether an agent serves it and it takes work.
        utilisation: Share of its agents that are at work, 0..1.
        wait_s: Expected seconds until the job would start.
        calibrating: Whether it drains for a calibration or is at it.
        stale: Whether its probes say that a calibration is due.
    """

    device: str
    num_qubits: int = 0
    fidelity: float | None = None
    qpu_s: float = 0.0
    estimated_s: float = 0.0
    refusal: str = ""
    online: bool = True
    utilisation: float = 0.0
    wait_s: float = 0.0
    calibrating: bool = False
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Fleet:
    """The devices in question as a whole: the time, and the share of their agents that are at work."""

    now: float
    load: float


@dataclass(frozen=True, slots=True)
class Scored:
    """What a policy thinks of an option: a score (more is better) and what it is the sum of, by name; or why not."""

    device: str
    score: float
    contributions: tuple[tuple[str, float], ...] = ()
    refusal: str = ""
    policy: str = ""


class Policy(Protocol):
    """Where a job goes, and who shares a run. A policy has no state that decisions change, and nothing random.

    `place` returns every option once: those that will do by falling score, then the refused ones with a reason each.
    `choose_group` keeps what `GroupPolicy` says. `policies.check_policy` tells whether one keeps all of this.
    """

    @property
    def name(self) -> str: ...

    def place(self, job: JobRecord, options: Sequence[Option], fleet: Fleet) -> list[Scored]: ...

    def choose_group(self, candidates: Iterable[JobRecord], limits: GroupLimits) -> list[JobRecord]: ...

"""What a seed draws before it begins: how large its world is, what may go wrong in it, and how often.

Every seed has only some of the faults ("swarm testing"): a world in which everything happens all the time hides what needs
a quiet moment to show.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers of one run. Probabilities are per occasion."""

    steps: int
    loss: float  # a message is lost
    again: float  # a message comes twice
    late: float  # a message waits in the network, and others overtake it
    lazy: float  # an event's commit waits for that of others
    crash: float  # before a step, a fuse is set that kills the scheduler some points later
    down: float  # a dead scheduler stays dead for some steps
    deaths: float  # of agents and compilers
    cuts: float  # an agent is cut off and works on
    damage: float  # of checkpoint files
    errors: float  # a run ends in an error
    lies: float
    jumps: float  # of the clock
    rush: float  # hours pass
    max_losses: int
    paused_timeout_s: float
    agents: int
    capacity: int
    keyed: float

    @classmethod
    def quiet(cls) -> Plan:
        """Nothing goes wrong but what a story says."""
        return cls(0, *[0.0] * 13, 1000, 1e6, 2, 2, 1.0)

    @classmethod
    def of(cls, rng: Random) -> Plan:
        def some(most: float, share: float = 0.6) -> float:
            return rng.random() * most if rng.random() < share else 0.0

        return cls(
            steps=rng.randrange(30, 90),
            loss=some(0.25),
            again=some(0.2),
            late=some(0.5),
            lazy=some(0.5),
            crash=some(0.06, 0.75),
            down=some(0.8, 0.3),
            deaths=some(0.05),
            cuts=some(0.06, 0.5),
            damage=some(0.08, 0.5),
            errors=some(0.1, 0.5),
            lies=some(0.12, 0.6),
            jumps=some(0.6, 0.3),
            rush=some(0.02, 0.2),
            max_losses=0 if rng.random() < 0.08 else 1000,
            paused_timeout_s=15.0 if rng.random() < 0.1 else 30 * 86_400.0,
            agents=1 + (rng.random() < 0.6),
            capacity=rng.randrange(1, 4),
            keyed=rng.random() * 0.6,
        )

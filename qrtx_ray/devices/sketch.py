"""Sketch: what placing a circuit on a device depends on, taken once from the circuit and the same for every device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Sketch", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """One qubit to be placed, after those that it is attached to.

    Args:
        qubit: Local qubit.
        attached: ``(local qubit placed before, two-qubit gates with it, how often they begin anew)``.
    """

    qubit: int
    attached: tuple[tuple[int, float, int], ...]


@dataclass(frozen=True, eq=False)
class Sketch:
    """A circuit before it is placed, on its used qubits only.

    Args:
        qubits: Number of used qubits.
        pairs: Runs of two-qubit gates in order: ``(local qubit, local qubit, native two-qubit gates)``.
        turns: Physical one-qubit gates of each qubit, about.
        reads: Measurements of each qubit.
        depth: Longest chain of native two-qubit gates.
        operations: All operations.
        measurements: All measurements.
        clifford: Whether all gates are Clifford.
        dynamic: Whether there is control flow, or anything after a measurement on the same qubit.
        control_flow: Names of the control-flow instructions.
    """

    qubits: int
    pairs: tuple[tuple[int, int, float], ...]
    turns: tuple[float, ...]
    reads: tuple[int, ...]
    depth: float
    operations: int
    measurements: int
    clifford: bool = False
    dynamic: bool = False
    control_flow: frozenset[str] = frozenset()

    @cached_property
    def two_qubit_gates(self) -> float:
        """Native two-qubit gates without those of routing."""
        return sum(count for _, _, count in self.pairs)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """An order to place the qubits in: the busiest first, then always what is most attached to those placed."""
        weights = self._weights
        busy = [sum(gates for gates, _ in others.values()) for others in weights]
        pull = [0.0] * self.qubits
        placed: list[int] = []
        open_ = set(range(self.qubits))
        steps = []
        while open_:
            qubit = max(open_, key=lambda q: (pull[q], busy[q], -q))
            open_.discard(qubit)
            attached = tuple((q, *weights[qubit][q]) for q in placed if q in weights[qubit])
            steps.append(Step(qubit, attached))
            placed.append(qubit)
            for other, (gates, _) in weights[qubit].items():
                pull[other] += gates
        return tuple(steps)

    @cached_property
    def neighbours(self) -> tuple[tuple[tuple[int, float, int], ...], ...]:
        """For each qubit all it interacts with, as in `Step.attached`."""
        return tuple(tuple((other, gates, runs) for other, (gates, runs) in found.items()) for found in self._weights)

    @cached_property
    def _weights(self) -> Sequence[dict[int, tuple[float, int]]]:
        weights: list[dict[int, tuple[float, int]]] = [{} for _ in range(self.qubits)]
        for a, b, count in self.pairs:
            for one, other in ((a, b), (b, a)):
                gates, runs = weights[one].get(other, (0.0, 0))
                weights[one][other] = gates + count, runs + 1
        return weights

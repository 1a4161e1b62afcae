"""Survey: where on a device a circuit would go, and how faithfully it would run there, without transpiling it.

A circuit's qubits are placed one after the other, the most attached first, each where it costs least beside those placed
already: gates, detours and readout. Several beginnings in the best parts of the device are tried side by side; the best
is improved by moving single qubits, and then its two-qubit gates are walked through in order, with swaps where they are
apart. All of it takes a fraction of a millisecond for a small circuit, a hundredth of transpiling it.

The figure is an estimate of `fidelity.predicted_fidelity` after transpilation: right enough to choose a device by.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import exp

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.devices.regions import SWAP_GATES, RegionTable
from qrtx_ray.devices.sketch import Sketch

__all__ = ["Placement", "place", "placement_on"]

Intp = npt.NDArray[np.intp]

_BEGINNINGS = 16
_STEPS_IN_ALL = 240  # beginnings times qubits: bounds the time of wide circuits
_ROUNDS = 2
_OUTLOOK = 0.25  # how much the quality of its surroundings counts for a qubit with others still to come
_USED = 1e9
_AHEAD = 8  # two-qubit gates looked at to choose between two swaps
_TURNED = 1.0  # one-qubit gates that go with a two-qubit gate of another kind than the circuit's


@dataclass(frozen=True, slots=True)
class Placement:
    """A circuit on a device: estimates.

    Args:
        qubits: Physical qubit of each qubit of the sketch, at the beginning.
        fidelity: Predicted fidelity, 0..1.
        swaps: Swaps that routing adds.
        duration_s: Length of the schedule.
        width: Physical qubits in use, those that routing passes included.
    """

    qubits: tuple[int, ...]
    fidelity: float
    swaps: int
    duration_s: float
    width: int


def place(sketch: Sketch, device: DeviceModel) -> Placement | None:
    """The best placement found for `sketch`, or None where the device has too few working qubits."""
    table = RegionTable.of(device)
    if sketch.qubits > table.working:
        return None
    return _evaluated(sketch, table, _improved(sketch, table, _begun(sketch, table)))


def placement_on(sketch: Sketch, device: DeviceModel, qubits: tuple[int, ...]) -> Placement:
    """The placement of `sketch` on the physical `qubits`: of a circuit that was sent in the device's own terms."""
    return _evaluated(sketch, RegionTable.of(device), list(qubits))


def _begun(sketch: Sketch, table: RegionTable) -> list[int]:
    """The best of several greedy placements."""
    steps = sketch.steps
    if not steps:
        return []
    beginnings = max(4, min(_BEGINNINGS, _STEPS_IN_ALL // len(steps), len(table.read)))
    firsts = np.argsort(table.quality, kind="stable")[:beginnings]
    count = len(firsts)
    rows = np.arange(count)
    spots = np.zeros((count, sketch.qubits), dtype=np.intp)
    taken = np.zeros((count, len(table.read)))
    total = np.zeros(count)
    for number, step in enumerate(steps):
        qubit = step.qubit
        alone = sketch.reads[qubit] * table.read + sketch.turns[qubit] * table.turn
        if number == 0:
            best = firsts
            total += alone[best]
        else:
            cost = taken + alone
            for other, gates, runs in step.attached:
                spot = spots[:, other]
                cost += gates * table.gate[spot] + runs * table.detour[spot]
            outlook = _OUTLOOK * table.quality if number + 1 < len(steps) else 0.0
            best = (cost + outlook).argmin(axis=1)
            total += cost[rows, best]
        spots[:, qubit] = best
        taken[rows, best] = _USED
    found: list[int] = spots[int(total.argmin())].tolist()
    return found


def _improved(sketch: Sketch, table: RegionTable, spots: list[int]) -> list[int]:
    """Single qubits moved to free places as long as that makes the whole cheaper."""
    taken = np.zeros(len(table.read))
    taken[spots] = _USED
    for _ in range(_ROUNDS):
        moved = False
        for qubit in range(sketch.qubits):
            here = spots[qubit]
            cost = taken + sketch.reads[qubit] * table.read + sketch.turns[qubit] * table.turn
            for other, gates, runs in sketch.neighbours[qubit]:
                cost += gates * table.gate[spots[other]] + runs * table.detour[spots[other]]
            cost[here] -= _USED
            there = int(cost.argmin())
            if there != here and cost[there] < cost[here] - 1e-9:
                taken[here], taken[there] = 0.0, _USED
                spots[qubit] = there
                moved = True
        if not moved:
            break
    return spots


def _evaluated(sketch: Sketch, table: RegionTable, spots: list[int]) -> Placement:
    """The placement with its gates walked through in order, two that are apart brought together by swaps."""
    edges, hop, hops = table.edge_cost, table.hop, table.hops
    at = list(spots)
    holds = {spot: qubit for qubit, spot in enumerate(at)}
    passed = set(at)
    cost, swaps, turns = 0.0, 0, 0.0
    for number, (a, b, gates) in enumerate(sketch.pairs):
        edge = edges[at[a]].get(at[b])
        while edge is None:
            here, there = at[a], at[b]
            if hop[here][there] == there:
                return Placement(tuple(spots), 0.0, swaps, 0.0, len(passed))
            ways = ((here, hop[here][there]), (there, hop[there][here]))
            coming = sketch.pairs[number + 1 : number + 1 + _AHEAD]
            left, right = [_distance_after(way, coming, at, holds, hops) for way in ways]
            one, other = ways[0 if left <= right else 1]
            cost += SWAP_GATES * edges[one][other]
            swaps += 1
            _swap(one, other, at, holds)
            passed.update((one, other))
            edge = edges[at[a]].get(at[b])
        cost += gates * edge
        turns += gates
    alone = np.dot(sketch.reads, table.read[at]) + np.dot(sketch.turns, table.turn[at]) if at else 0.0
    if table.turned:
        cost += _TURNED * (turns + SWAP_GATES * swaps) * float(table.turn[at].mean())
    ratio = 1.0 + SWAP_GATES * swaps / max(turns, 1.0)
    read_s = table.read_s if sketch.measurements else 0.0
    duration_s = sketch.depth * ratio * table.pair_s + read_s
    return Placement(tuple(spots), exp(-float(cost + alone)), swaps, duration_s, len(passed))


def _distance_after(
    way: tuple[int, int],
    coming: tuple[tuple[int, int, float], ...],
    at: list[int],
    holds: dict[int, int],
    hops: list[array[int]],
) -> int:
    """How far apart the pairs `coming` are after a swap of `way`."""
    _swap(*way, at, holds)
    distance = sum([hops[at[a]][at[b]] for a, b, _ in coming])
    _swap(*way, at, holds)
    return distance


def _swap(one: int, other: int, at: list[int], holds: dict[int, int]) -> None:
    """What is at physical qubit `one` goes to `other`, and the other way round."""
    first, second = holds.pop(one, None), holds.pop(other, None)
    if first is not None:
        at[first] = other
        holds[other] = first
    if second is not None:
        at[second] = one
        holds[one] = second

"""Tables of a device for placing circuits quickly: what each qubit, each coupling and each detour costs.

All costs are negative logarithms of success probabilities, so that they add up.
"""

from __future__ import annotations

from array import array
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.error_tables import ErrorTables
from qrtx_ray.devices.model import DeviceModel

__all__ = ["RegionTable"]

Float64 = npt.NDArray[np.float64]

SWAP_GATES = 3.0
"""Two-qubit gates of a swap."""

_FAR = 1e6
_LEAST = 1e-9  # where couplings cost nothing, the shortest way is still the best
_PAIR_GATES = ("ecr", "cz", "cx")
_TURNS = ("sx", "u2", "x", "u3")
_SMOOTHING = 3  # rounds in which a qubit's quality takes on that of its neighbourhood


class RegionTable:
    """What placing needs to know of a device under one calibration; ``n`` is its number of qubits.

    Attributes:
        read: Cost of reading each qubit, shape ``(n,)``; `_FAR` where it does not work.
        turn: Cost of a one-qubit gate, shape ``(n,)``.
        gate: Cost of a two-qubit gate between two qubits, brought together if they are apart, without bringing them
            together: shape ``(n, n)``.
        detour: Cost of bringing two qubits together, shape ``(n, n)``; 0 for neighbours.
        hop / hops: Next qubit on the cheapest way from one to another, and the number of couplings of that way.
        edge_cost: For each qubit its neighbours and the cost of a gate with them.
        working: Number of working qubits.
        quality: Cost of what lies around each qubit, shape ``(n,)``: small is good.
        pair_s / read_s: Median seconds of a two-qubit gate and of a measurement.
        turned: Whether a two-qubit gate of the circuit needs further one-qubit gates here.
    """

    def __init__(self, device: DeviceModel) -> None:
        tables = ErrorTables.of(device.calibration)
        width = device.num_qubits
        usable = [("measure", (qubit,)) in device.instructions for qubit in range(width)]
        self.read = np.where(usable, -tables.readout, _FAR)
        self.turn = np.array([_turn_cost(device, tables, qubit) for qubit in range(width)])
        edges = _edges(device, tables)
        self.edge_cost = [dict[int, float]() for _ in range(width)]
        for (a, b), cost in edges.items():
            self.edge_cost[a][b] = self.edge_cost[b][a] = cost
        self._measure_ways(width, edges)
        self.quality = self._smoothed()
        self.working = sum(usable)
        durations = device.calibration.gate_duration_s
        self.pair_s = _median([seconds for (name, _), seconds in durations.items() if name in _PAIR_GATES], 400e-9)
        self.read_s = _median([seconds for (name, _), seconds in durations.items() if name == "measure"], 1e-6)
        self.turned = "cx" not in device.basis_gates

    @staticmethod
    @lru_cache(maxsize=64)
    def of(device: DeviceModel) -> RegionTable:
        """The table of `device`, made once."""
        return RegionTable(device)

    def _measure_ways(self, width: int, edges: dict[tuple[int, int], float]) -> None:
        """Fills `gate`, `detour` and `hop` by the cheapest ways (Floyd and Warshall)."""
        cost = np.full((width, width), _FAR)
        hop = np.tile(np.arange(width), (width, 1))
        for (a, b), value in edges.items():
            cost[a, b] = cost[b, a] = max(value, _LEAST)
        np.fill_diagonal(cost, 0.0)
        hops = np.where(cost < _FAR, 1.0, _FAR)
        for k in range(width):
            through = cost[:, k, None] + cost[None, k, :]
            one, other = (through < cost - 1e-15).nonzero()
            cost[one, other] = through[one, other]
            hops[one, other] = hops[one, k] + hops[k, other]
            hop[one, other] = hop[one, k]
        self.gate = cost / np.maximum(hops, 1.0)
        self.detour = SWAP_GATES * (cost - self.gate)
        # Neighbours need no detour, however bad their own coupling is.
        for (a, b), value in edges.items():
            self.gate[a, b] = self.gate[b, a] = value
            self.detour[a, b] = self.detour[b, a] = 0.0
        unreachable = cost >= _FAR
        self.gate[unreachable] = self.detour[unreachable] = _FAR
        # Rows of small integers: read one by one, they are quicker than an array of two dimensions, and as small.
        self.hop = [array("H", row) for row in hop.tolist()]
        self.hops = [array("H", row) for row in np.minimum(hops, 0xFFFF).astype(int).tolist()]

    def _smoothed(self) -> Float64:
        own = [
            read + _best_two(list(found.values()), 1.0) for read, found in zip(self.read, self.edge_cost, strict=True)
        ]
        around = own
        for _ in range(_SMOOTHING):
            beside = [_best_two([around[other] for other in found], 10.0) for found in self.edge_cost]
            around = [0.5 * mine + 0.5 * theirs for mine, theirs in zip(own, beside, strict=True)]
        return np.array(around)


def _best_two(costs: list[float], none: float) -> float:
    """Mean of the two smallest."""
    best = sorted(costs)[:2]
    return sum(best) / len(best) if best else none


def _edges(device: DeviceModel, tables: ErrorTables) -> dict[tuple[int, int], float]:
    """Cost of the best two-qubit gate of each coupled pair, the smaller qubit first."""
    out: dict[tuple[int, int], float] = {}
    for name, qubits in device.instructions:
        if name in _PAIR_GATES:
            found = tables.log_success(name, qubits)
            a, b = sorted(qubits)
            out[a, b] = min(out.get((a, b), _FAR), -(found or 0.0))
    return out


def _turn_cost(device: DeviceModel, tables: ErrorTables, qubit: int) -> float:
    for name in _TURNS:
        if (name, (qubit,)) in device.instructions:
            return -(tables.log_success(name, (qubit,)) or 0.0)
    return 0.0


def _median(values: list[float], otherwise: float) -> float:
    return float(np.median(values)) if values else otherwise

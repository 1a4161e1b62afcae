"""The matrices of a plan's blocks for all parameter rows, by a fixed small number of batched products.

A block on a pair is a sequence of *stages*: a run of one-qubit gates on each of the two qubits, then a two-qubit gate.
All runs of all blocks are multiplied together in one tree of batched products, then all first stages, all second stages
and so on, padded with identities. What one gate is comes from a `GateSource`: a unitary (``base == 2``) or a noisy
superoperator (``base == 4``).

Index convention: the index of a pair is ``index(a) + base * index(b)``; for superoperators the index of one qubit is
``row + 2 * column`` of its density matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from qrtx_ray.engines.fusion import Gate, Plan
from qrtx_ray.engines.gates import fixed_unitary, unitaries

__all__ = ["BlockMatrices", "GateSource", "UnitarySource", "block_matrices"]

Complex = npt.NDArray[np.complex128]
Float = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]


class GateSource(Protocol):
    """Where the matrices of gates come from."""

    base: int

    def matrices(self, name: str, qubits: Sequence[tuple[int, ...]], angles: Float) -> Complex:
        """Matrices of `name` on each of `qubits` (local) with angles ``(rows, len(qubits), num_params)``.

        Returns:
            Broadcastable to ``(rows, len(qubits), base**k, base**k)`` for a gate on k qubits.
        """
        ...


class UnitarySource:
    """Ideal gates."""

    base = 2

    def matrices(self, name: str, qubits: Sequence[tuple[int, ...]], angles: Float) -> Complex:  # noqa: ARG002
        return unitaries(name, angles) if angles.shape[-1] else fixed_unitary(name)


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Occurrences of one gate: where their matrices go, and where their angles come from."""

    name: str
    qubits: tuple[tuple[int, ...], ...]
    places: Index
    slots: Index
    reversed_places: Index


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """Index tables of a plan. Place ``num_ones`` / ``num_twos`` / ``num_runs`` of a table is the identity."""

    ones: tuple[_Group, ...]
    twos: tuple[_Group, ...]
    num_ones: int
    num_twos: int
    runs: Index  # (num_runs + 1, power of two): places of one-qubit gates in order of application
    stages: Index  # (num_pair_blocks, num_stages, 3): run of a, run of b, two-qubit gate
    single_runs: Index  # (num_single_blocks,): run of each one-qubit block
    order: tuple[tuple[int, int], ...]  # per block of the plan: number of qubits, and index among those of that number


@dataclass(frozen=True, slots=True, eq=False)
class BlockMatrices:
    """Matrices per block: `singles` ``(rows, k, base, base)``, `pairs` ``(rows, m, base², base²)``.

    `order` gives for each block of the plan its number of qubits and its index in `singles` or `pairs`; blocks of three
    qubits are single gates and are always unitary: `triples` lists their ``(rows or 1, 8, 8)``.
    """

    order: tuple[tuple[int, int], ...]
    singles: Complex
    pairs: Complex
    triples: tuple[Complex, ...]


def block_matrices(plan: Plan, values: Float, source: GateSource) -> BlockMatrices:
    """All block matrices of `plan` for the parameter rows `values` of shape ``(rows, num_slots)``."""
    layout = _layout(plan)
    base = source.base
    ones = _fill(layout.ones, layout.num_ones, values, source, base)
    product = ones[:, layout.runs]
    while product.shape[2] > 1:
        product = product[:, :, 1::2] @ product[:, :, 0::2]
    runs = product[:, :, 0]
    pairs = np.zeros((1, 0, base * base, base * base), dtype=np.complex128)
    if layout.stages.shape[0]:
        twos = _fill(layout.twos, layout.num_twos, values, source, base * base)
        pairs = _pair_products(layout.stages, runs, twos)
    triples = tuple(
        unitaries(plan.gates[block.gates[0]].name, _angles(plan.gates[block.gates[0]], values))
        for block in plan.blocks
        if len(block.qubits) == 3
    )
    singles = np.ascontiguousarray(runs[:, layout.single_runs])
    return BlockMatrices(layout.order, singles, np.ascontiguousarray(pairs), triples)


def _angles(gate: Gate, values: Float) -> Float:
    return values[:, gate.first : gate.first + gate.count] if gate.count else values[:, :0]


def _pair_products(stages: Index, runs: Complex, twos: Complex) -> Complex:
    total: Complex | None = None
    for stage in range(stages.shape[1]):
        first, second = runs[:, stages[:, stage, 0]], runs[:, stages[:, stage, 1]]
        dim = first.shape[-1] ** 2
        both = (second[:, :, :, None, :, None] * first[:, :, None, :, None, :]).reshape(*first.shape[:2], dim, dim)
        total = both if total is None else both @ total
        total = twos[:, stages[:, stage, 2]] @ total
    assert total is not None
    return total


def _fill(groups: tuple[_Group, ...], count: int, values: Float, source: GateSource, dim: int) -> Complex:
    table = np.empty((values.shape[0], count + 1, dim, dim), dtype=np.complex128)
    table[:, count] = np.eye(dim)
    for group in groups:
        table[:, group.places] = source.matrices(group.name, group.qubits, values[:, group.slots])
        if group.reversed_places.size:
            base = source.base
            swap = np.arange(dim).reshape(base, base).T.ravel()
            turned = table[:, group.reversed_places]
            table[:, group.reversed_places] = turned[:, :, swap[:, None], swap]
    return table


@lru_cache(maxsize=1024)
def _layout(plan: Plan) -> _Layout:
    number_of: dict[int, int] = {}
    members: dict[int, dict[tuple[str, int], list[tuple[Gate, bool]]]] = {1: {}, 2: {}}
    numbering: dict[int, dict[tuple[str, int], list[int]]] = {1: {}, 2: {}}
    counts = {1: 0, 2: 0}
    for block in plan.blocks:
        for index in block.gates:
            gate = plan.gates[index]
            width = len(gate.qubits)
            if width == 3:
                continue
            key = (gate.name, gate.count)
            members[width].setdefault(key, []).append((gate, width == 2 and gate.qubits != block.qubits))
            numbering[width].setdefault(key, []).append(counts[width])
            number_of[index] = counts[width]
            counts[width] += 1
    runs: list[list[int]] = []
    singles: list[int] = []
    stages: list[list[tuple[int, int, int]]] = []
    order: list[tuple[int, int]] = []
    for block in plan.blocks:
        if len(block.qubits) == 1:
            order.append((1, len(singles)))
            singles.append(len(runs))
            runs.append([number_of[index] for index in block.gates])
        elif len(block.qubits) == 2:
            order.append((2, len(stages)))
            stages.append(_stages_of(plan, block.qubits, block.gates, number_of, runs, counts[2]))
        else:
            order.append((3, sum(1 for width, _ in order if width == 3)))
    length = 1 << max(0, max((len(run) for run in runs), default=1) - 1).bit_length()
    padded = [run + [counts[1]] * (length - len(run)) for run in [*runs, []]]
    depth = max((len(sequence) for sequence in stages), default=0)
    idle = (len(runs), len(runs), counts[2])
    table = [
        [(*(len(runs) if run < 0 else run for run in stage[:2]), stage[2]) for stage in sequence]
        + [idle] * (depth - len(sequence))
        for sequence in stages
    ]
    return _Layout(
        ones=_groups(members[1], numbering[1]),
        twos=_groups(members[2], numbering[2]),
        num_ones=counts[1],
        num_twos=counts[2],
        runs=np.array(padded, dtype=np.intp),
        stages=np.array(table, dtype=np.intp).reshape(len(stages), depth, 3),
        single_runs=np.array(singles, dtype=np.intp),
        order=tuple(order),
    )


def _stages_of(
    plan: Plan,
    qubits: tuple[int, ...],
    gates: tuple[int, ...],
    number_of: dict[int, int],
    runs: list[list[int]],
    identity: int,
) -> list[tuple[int, int, int]]:
    """Stages of one pair block; appends its runs to `runs`. A run index of -1 stands for "no gates"."""
    stages: list[tuple[int, int, int]] = []
    pending: tuple[list[int], list[int]] = ([], [])

    def close(two: int) -> None:
        indices = []
        for run in pending:
            indices.append(len(runs) if run else -1)
            if run:
                runs.append(list(run))
            run.clear()
        stages.append((indices[0], indices[1], two))

    for index in gates:
        gate = plan.gates[index]
        if len(gate.qubits) == 2:
            close(number_of[index])
        else:
            pending[qubits.index(gate.qubits[0])].append(number_of[index])
    if pending[0] or pending[1]:
        close(identity)
    return stages


def _groups(
    members: dict[tuple[str, int], list[tuple[Gate, bool]]], numbering: dict[tuple[str, int], list[int]]
) -> tuple[_Group, ...]:
    out = []
    for key, gates in members.items():
        places = numbering[key]
        slots = [list(range(gate.first, gate.first + key[1])) for gate, _ in gates]
        turned = [place for place, (_, reverse) in zip(places, gates, strict=True) if reverse]
        out.append(
            _Group(
                name=key[0],
                qubits=tuple(gate.qubits for gate, _ in gates),
                places=np.array(places, dtype=np.intp),
                slots=np.array(slots, dtype=np.intp).reshape(len(gates), key[1]),
                reversed_places=np.array(turned, dtype=np.intp),
            )
        )
    return tuple(out)

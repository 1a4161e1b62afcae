"""Plans for wide states: gates gathered into passes over the state vector, and passes cut into segments.

A pass takes gates as long as the qubits they act on find room in a block of `BLOCK_BITS` qubits that fits the cache. Gates on
other qubits wait for a later pass, and with them all that share a qubit with one that waits: so the order of gates that do not
commute is kept. A segment is what runs between two reports of progress: some passes, or a range of the blocks of a long one.

Everything here follows from the circuit alone. It decides where a run may be interrupted, and so it must not depend on how fast
anything goes, on threads, or on the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qrtx_ray.engines.wide_kernel import DIAGONAL, OP_FIELDS, sweep
from qrtx_ray.engines.wide_vectors import LANE_BITS, LANES

__all__ = ["BLOCK_BITS", "SEGMENT_S", "Pass", "Piece", "Shape", "pass_of", "passes_of", "pieces_of", "segments_of"]

Complex = npt.NDArray[np.complex128]
Float = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Wires = tuple[int, ...]

BLOCK_BITS = 15
"""Qubits of a block: 512 KiB, half of the second-level cache of the machine this was measured on."""
RUN_BITS = 7
"""The lowest qubits, always in a block: so it consists of runs of memory of at least 1 KiB."""
SEGMENT_S = 0.5
"""A segment takes about so long on one core, by the law below."""
MAX_PASS_GATES = 4096
"""A pass can be interrupted between two blocks, and a block shall not take longer than a fraction of a second."""
MAX_DIAGONAL_BITS = 8
"""Gates that only turn phases become one on up to so many qubits."""
MAX_SEEDS = 8
"""Gates with which a pass is begun for trial; fewer for states so small that planning would take longer than running."""
_SEEDS_PAY_FROM = 19

# Nanoseconds an amplitude, measured: a pass without gates, and a gate by its kind (`OP_FIELDS`) on all of the amplitudes.
_PASS_NS = 2.5
_KIND_NS = (0.95, 0.9, 0.6, 0.55, 0.85, 0.5, 1.75, 0.9)
_DIAGONAL_NS = 0.55


@dataclass(frozen=True, slots=True)
class Shape:
    """Which qubits a pass acts on, as indices into the state and the block.

    Args:
        places: Bit k of a block's index is qubit ``places[k]``.
        outer: The other qubits, ascending.
        transposed: Whether the lowest qubits of the state are not the lowest of the block.
    """

    places: Wires
    outer: Wires
    transposed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """A pass ready to run: arguments of `wide_kernel.sweep` behind the blocks, how many blocks, and what a block takes."""

    outer: Int64
    run_bits: int
    runs: Int64
    lanes: Int64
    ops: Int64
    offsets: Int64
    matrices: Float
    block_bits: int
    block_s: float

    @property
    def blocks(self) -> int:
        return 1 << len(self.outer)

    def run(self, state: Float, first: int, last: int) -> None:
        """Do the blocks from `first` to `last` (exclusive) on `state`, shape ``(2, 2**n)``."""
        sweep(
            state,
            first,
            last,
            self.outer,
            self.block_bits,
            self.run_bits,
            self.runs,
            self.lanes,
            self.ops,
            self.offsets,
            self.matrices,
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """Blocks `first` to `last` (exclusive) of pass number `number`."""

    number: int
    first: int
    last: int


@lru_cache(maxsize=8)  # the rows of a PUB, and a job that goes on
def passes_of(num_qubits: int, wires: tuple[Wires, ...]) -> tuple[tuple[Shape, tuple[int, ...]], ...]:
    """Passes for gates on these qubits: the shape of each, and the indices of its gates in order.

    Args:
        num_qubits: At least `BLOCK_BITS`.
        wires: One to three qubits for each gate.
    """
    front = _Front.of(num_qubits, wires)
    seeds = min(MAX_SEEDS, max(1, num_qubits - _SEEDS_PAY_FROM))
    passes = []
    while ready := front.ready():
        grown = [front.grown(seed) for seed in ready[:seeds]]
        best = max(grown, key=lambda other: len(other.taken))  # the first of equals
        passes.append((_shape(num_qubits, best.active), tuple(best.taken)))
        front = best.behind()
    return tuple(passes)


class _Front:
    """How far the gates of a circuit are taken: on each qubit a queue of gates, of which `heads` say the next.

    `active` are the qubits of the pass that is being filled, `taken` its gates.
    """

    def __init__(
        self,
        wires: Sequence[Wires],
        queues: list[list[int]],
        heads: list[int],
        active: frozenset[int] = frozenset(),
        taken: Sequence[int] = (),
    ) -> None:
        self._wires = wires
        self._queues = queues
        self._heads = heads
        self.active = active
        self.taken = list(taken)

    @classmethod
    def of(cls, num_qubits: int, wires: Sequence[Wires]) -> _Front:
        """Nothing is taken."""
        queues: list[list[int]] = [[] for _ in range(num_qubits)]
        for index, qubits in enumerate(wires):
            for qubit in qubits:
                queues[qubit].append(index)
        return cls(wires, queues, [0] * num_qubits)

    def behind(self) -> _Front:
        """The same with an empty pass to fill."""
        return _Front(self._wires, self._queues, self._heads)

    def ready(self) -> list[int]:
        """Gates that no gate waits before, in the circuit's order."""
        nexts = {self._next(qubit) for qubit in range(len(self._heads))}
        return sorted(index for index in nexts if index >= 0 and self._is_ready(index))

    def grown(self, seed: int) -> _Front:
        """The pass begun with gate `seed`, and filled: each time with what gives most gates for each new qubit.

        Of equals the last gate of the circuit is preferred: so a pass goes deep before it goes wide.
        """
        present = self._with(seed)
        while len(present.taken) < MAX_PASS_GATES:
            steps = [
                (index, present._with(index))  # noqa: SLF001 - one of its own
                for index in present.ready()
                if _fits(present.active.union(self._wires[index]))
            ]
            if not steps:
                break
            held, already = len(present.active), len(present.taken)
            _, present = max(
                steps, key=lambda step: ((len(step[1].taken) - already) / (len(step[1].active) - held), step[0])
            )
        return present

    def _with(self, index: int) -> _Front:
        """The pass with the qubits of a gate, and all gates that this lets in."""
        larger = _Front(self._wires, self._queues, list(self._heads), self.active.union(self._wires[index]), self.taken)
        looked_at = list(self._wires[index])
        while looked_at and len(larger.taken) < MAX_PASS_GATES:
            next_ = larger._next(looked_at.pop())
            if next_ >= 0 and larger.active.issuperset(self._wires[next_]) and larger._is_ready(next_):
                larger.taken.append(next_)
                for qubit in self._wires[next_]:
                    larger._heads[qubit] += 1
                looked_at += self._wires[next_]
        return larger

    def _next(self, qubit: int) -> int:
        queue, head = self._queues[qubit], self._heads[qubit]
        return queue[head] if head < len(queue) else -1

    def _is_ready(self, index: int) -> bool:
        return all(self._next(qubit) == index for qubit in self._wires[index])


def _fits(active: frozenset[int]) -> bool:
    """Whether a block has room for these qubits beside its runs and `LANE_BITS` qubits that no gate acts on."""
    high = sum(1 for qubit in active if qubit >= RUN_BITS)
    if high > BLOCK_BITS - RUN_BITS:
        return False
    lowest = sum(1 for qubit in active if qubit < LANE_BITS)
    return not lowest or len(active) - lowest <= BLOCK_BITS - 2 * LANE_BITS


@lru_cache(maxsize=4096)
def _shape(num_qubits: int, active: frozenset[int]) -> Shape:
    inside = set(range(RUN_BITS)) | active
    for qubit in range(num_qubits):
        if len(inside) == BLOCK_BITS:
            break
        inside.add(qubit)
    lowest = set(range(LANE_BITS))
    outer = tuple(qubit for qubit in range(num_qubits) if qubit not in inside)
    if active.isdisjoint(lowest):
        return Shape(tuple(sorted(inside)), outer, transposed=False)
    lanes = sorted(inside - active - lowest)[:LANE_BITS]
    return Shape((*lanes, *sorted(inside.difference(lanes))), outer, transposed=True)


def pass_of(shape: Shape, gates: Sequence[tuple[Wires, Complex]]) -> Pass:
    """The pass that applies `gates`: qubits of the state (bit 0 of a matrix index is the first) and a matrix each."""
    place_of = {qubit: place for place, qubit in enumerate(shape.places)}
    written = _Ops()
    for qubits, matrix in gates:
        written.gate(tuple([place_of[qubit] for qubit in qubits]), matrix)
    written.phases()
    run_bits, runs, lanes = _moves(shape)
    return Pass(
        outer=np.array(shape.outer, dtype=np.int64),
        run_bits=run_bits,
        runs=runs,
        lanes=lanes,
        ops=np.array(written.ops, dtype=np.int64).reshape(-1, OP_FIELDS),
        offsets=np.array(written.offsets, dtype=np.int64),
        matrices=np.concatenate(written.entries) if written.entries else np.zeros(0),
        block_bits=len(shape.places),
        block_s=1e-9 * (_PASS_NS + written.amplitude_ns) * (1 << len(shape.places)),
    )


class _Ops:
    """The gates of a pass as the kernel reads them.

    Gates that only turn phases wait for each other, and are one operation if that is faster than each alone.
    """

    def __init__(self) -> None:
        self.ops: list[list[int]] = []
        self.offsets: list[int] = []
        self.entries: list[Float] = []
        self.amplitude_ns = 0.0
        self._size = 0
        self._waiting: list[tuple[Wires, Complex, list[_Part]]] = []

    def gate(self, bits: Wires, matrix: Complex) -> None:
        """Append a gate on bits of the block."""
        parts = _parts(bits, matrix)
        if any(part.targets for part in parts):
            self.phases()
            self._write(parts)
            return
        if len({bit for held, _, _ in self._waiting for bit in held}.union(bits)) > MAX_DIAGONAL_BITS:
            self.phases()
        self._waiting.append((bits, matrix.diagonal(), parts))

    def phases(self) -> None:
        """Append what waits."""
        waiting, self._waiting = self._waiting, []
        alone = [part for _, _, parts in waiting for part in parts]
        if sum(part.amplitude_ns for part in alone) <= _DIAGONAL_NS:
            self._write(alone)
            return
        bits = tuple(sorted({bit for held, _, _ in waiting for bit in held}))
        index = np.arange(1 << len(bits))
        table = np.ones(len(index), dtype=np.complex128)
        for held, diagonal, _ in waiting:
            table = table * diagonal[sum((index >> bits.index(bit) & 1) << k for k, bit in enumerate(held))]
        self._append([DIAGONAL, len(bits), 0, 0, 0, 0], [*bits, 0], table.view(np.float64))
        self.amplitude_ns += _DIAGONAL_NS

    def _write(self, parts: Sequence[_Part]) -> None:
        for part in parts:
            bits = [*part.bits, *[0] * (3 - len(part.bits))]
            self._append([part.kind, len(part.bits), *bits, part.ones], _rows(part.targets), part.entries)
            self.amplitude_ns += part.amplitude_ns

    def _append(self, fields: list[int], offsets: Sequence[int], entries: Float) -> None:
        self.ops.append([*fields, len(self.offsets), self._size])
        self.offsets += offsets
        self.entries.append(entries)
        self._size += entries.size


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A part of a gate: `bits` (ascending) that say on which amplitudes it acts, a mask of those that are `ones` there, the
    `targets` among them that a matrix acts on, its entries as the kernel reads them, and what the part costs.
    """

    bits: Wires
    ones: int
    targets: Wires
    kind: int
    entries: Float
    amplitude_ns: float

    @classmethod
    def of(cls, held: Wires, ones: int, targets: Wires, matrix: Complex) -> _Part:
        """The part where the bits `held` are 1 as far as they are in `ones`."""
        imaginary = matrix.imag
        real = not imaginary.any()
        entries = matrix.real.ravel() if real else np.concatenate([matrix.real.ravel(), imaginary.ravel()])
        kind = 2 * len(targets) + real
        return cls(tuple(sorted(held + targets)), ones, targets, kind, entries, _KIND_NS[kind] / (1 << len(held)))


def _parts(bits: Wires, matrix: Complex) -> list[_Part]:
    """A gate as matrices on as few amplitudes as possible; what leaves its amplitudes alone is left out.

    A bit that the gate never changes tells two smaller gates apart: one where it is 0 and one where it is 1.
    """
    pending: list[tuple[Wires, int, Wires, Complex]] = [((), 0, bits, matrix)]
    done: list[_Part] = []
    while pending:
        held, ones, targets, part = pending.pop()
        flat = part.ravel()
        for k, bit in enumerate(targets):
            mixing, where_0, where_1 = _cuts(len(targets), k)
            if not flat[mixing].any():
                rest = targets[:k] + targets[k + 1 :]
                size = len(part) // 2
                pending.append(((*held, bit), ones | 1 << bit, rest, flat[where_1].reshape(size, size)))
                pending.append(((*held, bit), ones, rest, flat[where_0].reshape(size, size)))
                break
        else:
            if not (flat == _identity(len(part))).all():
                done.append(_Part.of(held, ones, targets, part))
    return done


@lru_cache(maxsize=16)
def _cuts(count: int, bit: int) -> tuple[Int64, Int64, Int64]:
    """Of the entries of a matrix on `count` bits: those that mix the values of a bit, those where it stays 0, where it stays 1."""
    row, column = np.divmod(np.arange(1 << 2 * count), 1 << count)
    row, column = row >> bit & 1, column >> bit & 1
    return np.flatnonzero(row != column), np.flatnonzero(row | column == 0), np.flatnonzero(row & column)


@lru_cache(maxsize=4)
def _identity(size: int) -> Complex:
    return np.eye(size, dtype=np.complex128).ravel()


@lru_cache(maxsize=4096)
def _rows(targets: Wires) -> list[int]:
    """Where the rows of a matrix on these bits stand."""
    indices: list[int] = _indices(targets).tolist()
    return indices


def _moves(shape: Shape) -> tuple[int, Int64, Int64]:
    """`run_bits`, `runs` and `lanes` of `wide_kernel.sweep`."""
    if shape.transposed:
        steps = _indices(shape.places[:LANE_BITS])
        lanes = np.stack([steps, np.arange(LANES, dtype=np.int64) * LANES])
        return 0, _indices(shape.places[2 * LANE_BITS :]), lanes
    run_bits = 0
    while run_bits < len(shape.places) and shape.places[run_bits] == run_bits:
        run_bits += 1
    return run_bits, _indices(shape.places[run_bits:]), np.zeros((0, LANES), dtype=np.int64)


def _indices(places: Wires) -> Int64:
    """The index with its bits at `places`, for every number of that many bits."""
    indices = np.zeros(1, dtype=np.int64)
    for place in places:
        indices = np.concatenate([indices, indices | (1 << place)])
    return indices


def pieces_of(passes: Sequence[Pass]) -> list[tuple[Piece, float]]:
    """Passes cut so that no piece takes much longer than `SEGMENT_S`, with the seconds of each."""
    pieces = []
    for number, pass_ in enumerate(passes):
        seconds = pass_.block_s * pass_.blocks
        parts = min(pass_.blocks, max(1, round(seconds / SEGMENT_S)))
        for part in range(parts):
            first, last = pass_.blocks * part // parts, pass_.blocks * (part + 1) // parts
            pieces.append((Piece(number, first, last), pass_.block_s * (last - first)))
    return pieces


def segments_of(pieces: Sequence[tuple[Piece, float]]) -> list[tuple[Piece, ...]]:
    """Pieces in order, gathered into segments of at most about `SEGMENT_S`."""
    segments: list[list[Piece]] = []
    spent = 0.0
    for piece, seconds in pieces:
        if segments and spent + seconds <= SEGMENT_S:
            segments[-1].append(piece)
            spent += seconds
        else:
            segments.append([piece])
            spent = seconds
    return [tuple(segment) for segment in segments]

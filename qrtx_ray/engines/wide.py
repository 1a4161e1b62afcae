"""Wide ideal circuits: one state vector that evolves in segments, and what is read from it.

A circuit on more qubits than the small kernel takes is planned into passes (`wide_plan.py`) and run segment by segment on the
state in a stage's bulk. Between two segments the state is all there is: a run that finds it in a checkpoint goes on with it, and
its results have the same bytes. For an estimator the plan goes on after the circuit: for each basis the qubits are turned
from where they stand into it, and it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.engines.fusion import plan_of
from qrtx_ray.engines.products import UnitarySource, block_matrices
from qrtx_ray.engines.sampling import Outcomes, sample
from qrtx_ray.engines.stages import CheckpointRefused, Stage
from qrtx_ray.engines.wide_kernel import CHUNK_BITS, chunk_weights, locate, marginal, parity
from qrtx_ray.engines.wide_plan import BLOCK_BITS, Pass, Piece, Wires, pass_of, passes_of, pieces_of, segments_of
from qrtx_ray.errors import ExecuteError

__all__ = ["Letters", "Step", "WidePlan", "draw_from", "evolve", "plan_wide", "read_distribution", "read_product"]

Complex = npt.NDArray[np.complex128]
Float = npt.NDArray[np.float64]
Letters = dict[int, str]
"""A measurement basis: X, Y or Z for each local qubit that is read."""
_Gates = list[tuple[Wires, Complex]]

_READ_NS = 1.5  # an amplitude, measured
_IDEAL = UnitarySource()
# What makes a letter's basis the computational one.
_TURNS: dict[str, Complex] = {
    "X": np.array([[1, 1], [1, -1]]) * np.complex128(0.5**0.5),
    "Y": np.array([[1, -1j], [1, 1j]]) * np.complex128(0.5**0.5),
    "Z": np.eye(2, dtype=np.complex128),
}


@dataclass(frozen=True, slots=True)
class Step:
    """Pieces of passes that are run without an interruption, what is read after them, and about how long all of it takes."""

    pieces: tuple[Piece, ...]
    reading: int | None
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class WidePlan:
    """A circuit on `num_qubits` as `steps` that refer to `passes`."""

    num_qubits: int
    passes: tuple[Pass, ...]
    steps: tuple[Step, ...]

    @property
    def state_bytes(self) -> int:
        """Bytes of the state: two numbers of eight bytes an amplitude."""
        return 16 << self.num_qubits


def plan_wide(program: CircuitProgram, values: Float, bases: Sequence[Letters]) -> WidePlan:
    """The plan for one parameter row.

    Args:
        program: Gates, delays and terminal measurements on at least `BLOCK_BITS` qubits.
        values: Slot values of the row, shape ``(num_slots,)``.
        bases: What is read, in this order; reading number i is of ``bases[i]``.

    Raises:
        ExecuteError: A gate is not a standard gate, or an operation, the values or the bases do not fit the program.
    """
    count = program.num_qubits
    _check(program, values, bases)
    passes: list[Pass] = []
    steps: list[Step] = []
    position: Letters = {}
    gates = _fused(program, values)
    for number, letters in enumerate(bases):
        gates += _turned(position, letters)
        position |= letters
        _extend(count, gates, number, passes, steps)
        gates = []
    return WidePlan(count, tuple(passes), tuple(steps))


def _check(program: CircuitProgram, values: Float, bases: Sequence[Letters]) -> None:
    count = program.num_qubits
    if count < BLOCK_BITS or len(values) < program.num_slots:
        msg = f"the circuit's {count} qubits or its {program.num_slots} parameters do not fit this engine"
        raise ExecuteError(msg, field="circuit")
    if any(not 0 <= qubit < count for letters in bases for qubit in letters):
        msg = f"an observable or measurement does not fit the circuit's {count} qubits"
        raise ExecuteError(msg, field="circuit")
    places = program.ops[:, 1:4]
    wanted = places[places >= 0]
    pairs = ((0, 1), (0, 2), (1, 2))
    doubled = any(((places[:, a] == places[:, b]) & (places[:, a] >= 0)).any() for a, b in pairs)
    if doubled or (wanted.size and wanted.max() >= count):
        msg = f"an operation does not fit the circuit's {count} qubits"
        raise ExecuteError(msg, field="circuit")


def _fused(program: CircuitProgram, values: Float) -> _Gates:
    """The circuit's blocks with their matrices."""
    plan = plan_of(program)
    matrices = block_matrices(plan, values.reshape(1, -1), _IDEAL)
    tables = {1: matrices.singles[0], 2: matrices.pairs[0]}
    return [
        (block.qubits, matrices.triples[index][0] if width == 3 else tables[width][index])
        for block, (width, index) in zip(plan.blocks, matrices.order, strict=True)
    ]


def _turned(position: Letters, letters: Letters) -> _Gates:
    """Gates that make `letters` the computational basis where the qubits stand in the bases of `position`."""
    return [
        ((qubit,), _TURNS[letter] @ _TURNS[position.get(qubit, "Z")].conj().T)
        for qubit, letter in sorted(letters.items())
        if letter != position.get(qubit, "Z")
    ]


def _extend(count: int, gates: _Gates, reading: int, passes: list[Pass], steps: list[Step]) -> None:
    """Append the passes of `gates`, and their steps; the last of them ends with a reading."""
    made = [
        pass_of(shape, [gates[index] for index in indices])
        for shape, indices in passes_of(count, tuple([qubits for qubits, _ in gates]))
    ]
    first = len(passes)
    passes += made
    segments = segments_of(pieces_of(made))
    read_s = 1e-9 * _READ_NS * 2**count
    for number, segment in enumerate(segments):
        pieces = tuple(Piece(first + piece.number, piece.first, piece.last) for piece in segment)
        seconds = sum(made[piece.number].block_s * (piece.last - piece.first) for piece in segment)
        last = number == len(segments) - 1
        steps.append(Step(pieces, reading if last else None, seconds + (read_s if last else 0.0)))
    if not segments:
        steps.append(Step((), reading, read_s))


def evolve(
    plan: WidePlan,
    stage: Stage,
    bulk: Callable[[Stage, int], memoryview],
    *,
    threads: int,
    read: Callable[[int, Float], None],
    on_step: Callable[[float], None],
) -> None:
    """Take the steps of `plan` that `stage` has not taken, and let go of the state.

    Args:
        bulk: Gives the stage memory for the state, see `Course.bulk`.
        threads: Threads among which the blocks of a pass are dealt; results do not depend on it.
        read: Gets the number of a reading and the state, ``(2, 2**n)``: real parts, imaginary parts. What it makes of them it
            keeps in arrays of a stage, for a reading that is done is not done again.
        on_step: Gets the fraction of the plan's time that is spent, after each step but the last. May raise.

    Raises:
        CheckpointRefused: `stage` goes on from one that has no state, or is cut otherwise.
    """
    stage.begin(len(plan.steps))
    if stage.done and stage.bulk is None and stage.done < len(plan.steps):
        raise CheckpointRefused("the kept progress is without the state it needs")
    if stage.done < len(plan.steps):
        state = np.frombuffer(bulk(stage, plan.state_bytes), np.float64).reshape(2, -1)
        with ThreadPoolExecutor(threads) as pool:
            _take(plan, stage, state, _Hands(pool, threads), read, on_step)
    stage.release()


@dataclass(frozen=True, slots=True)
class _Hands:
    """Threads, and how many."""

    pool: ThreadPoolExecutor
    count: int

    def run(self, pass_: Pass, piece: Piece, state: Float) -> None:
        """The blocks of `piece`, dealt in equal ranges."""
        if self.count == 1:
            pass_.run(state, piece.first, piece.last)
            return
        blocks = piece.last - piece.first
        bounds = [piece.first + blocks * part // self.count for part in range(self.count + 1)]
        for done in [self.pool.submit(pass_.run, state, first, last) for first, last in pairwise(bounds)]:
            done.result()


def _take(
    plan: WidePlan,
    stage: Stage,
    state: Float,
    hands: _Hands,
    read: Callable[[int, Float], None],
    on_step: Callable[[float], None],
) -> None:
    total_s = sum(step.seconds for step in plan.steps)
    spent_s = sum(step.seconds for step in plan.steps[: stage.done])
    if not stage.done:
        state.fill(0.0)
        state[0, 0] = 1.0
    while stage.done < len(plan.steps):
        step = plan.steps[stage.done]
        for piece in step.pieces:
            hands.run(plan.passes[piece.number], piece, state)
        if step.reading is not None:
            read(step.reading, state)
        stage.advance()
        spent_s += step.seconds
        if stage.done < len(plan.steps):
            on_step(spent_s / total_s)


def read_distribution(state: Float, qubits: Sequence[int]) -> Float:
    """Probabilities over `qubits`, shape ``(2**k,)``; bit i of an outcome is the i-th of them."""
    out = np.zeros(1 << len(qubits))
    marginal(state, np.array(qubits, dtype=np.int64), out)
    return out


def read_product(state: Float, letters: str, qubits: Sequence[int]) -> Float:
    """Probabilities that a product of Paulis and projectors is +1, -1 and 0, shape ``(3,)``; its basis is the state's.

    Args:
        letters: A letter for each qubit: X, Y and Z have the value 1 or -1, ``0 + r`` and ``1 - l`` keep one outcome.
    """
    bits = [(letter, 1 << qubit) for letter, qubit in zip(letters, qubits, strict=True)]
    out = np.zeros(3)
    parity(
        state,
        sum(bit for letter, bit in bits if letter in "XYZ"),
        sum(bit for letter, bit in bits if letter in "0+r1-l"),
        sum(bit for letter, bit in bits if letter in "1-l"),
        out,
    )
    return out


def draw_from(state: Float, qubits: Sequence[int], numbers: Float, tabulated: int) -> Outcomes:
    """An outcome for each uniform number; bit i of an outcome is the i-th of `qubits`.

    Args:
        tabulated: Over up to so many qubits the distribution is made and looked up, as for narrow circuits. Over more the
            numbers are looked up in the state itself, and no table of its size is made.
    """
    if len(qubits) <= tabulated:
        return sample(read_distribution(state, qubits), numbers)
    sums = np.empty(state.shape[1] >> CHUNK_BITS)
    chunk_weights(state, sums)
    found = np.empty(len(numbers), dtype=np.int64)
    locate(state, sums, np.ascontiguousarray(numbers), np.argsort(numbers, kind="stable"), found)
    outcomes = np.zeros(len(numbers), dtype=np.int64)
    for bit, qubit in enumerate(qubits):
        outcomes |= (found >> qubit & 1) << bit
    return outcomes

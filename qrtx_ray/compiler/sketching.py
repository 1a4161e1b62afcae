"""From a decoded circuit to its sketch: counts of what matters for placing it, in one walk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from qiskit.circuit import Barrier, ControlFlowOp, Delay, Measure, QuantumCircuit, Reset

from qrtx_ray.devices.program_builder import CLIFFORD_NAMES
from qrtx_ray.devices.sketch import Sketch

__all__ = ["sketch_of"]

# Native two-qubit gates that one gate becomes, where that is not 2.
_NATIVE = dict.fromkeys(("cx", "cz", "cy", "ch", "ecr"), 1.0) | {"swap": 3.0, "unitary": 3.0}
_DIAGONAL = frozenset({"id", "z", "s", "sdg", "t", "tdg", "rz", "p", "u1"})
_ONE_TURN = frozenset({"x", "y", "h", "sx", "sxdg", "u2"})
# A Toffoli gate in two-qubit gates, by the places of its qubits.
_THREE = {
    "ccx": ((1, 2), (0, 2), (1, 2), (0, 2), (0, 1), (0, 1)),
    "cswap": ((2, 1), (1, 2), (0, 2), (1, 2), (0, 2), (0, 1), (0, 1), (2, 1)),
}
_THREE["ccz"] = _THREE["ccx"]
_MAX_DEPTH = 16


def sketch_of(circuit: QuantumCircuit, reads: Iterable[int] = ()) -> tuple[Sketch, tuple[int, ...]]:
    """The sketch of `circuit`, and which of its qubits each qubit of the sketch is.

    Control flow counts all of its branches once.

    Args:
        circuit: As it was sent.
        reads: Qubits that are read at the end though the circuit does not say so (an estimator's).
    """
    walk = _Walk(circuit.num_qubits)
    walk.block(circuit, {qubit: place for place, qubit in enumerate(circuit.qubits)}, 0)
    return walk.sketch(reads)


class _Walk:
    """Counts of one walk, on the circuit's own qubits."""

    def __init__(self, width: int) -> None:
        self._pairs: list[list[Any]] = []
        self._last: list[list[Any] | None] = [None] * width  # the run of pairs a qubit is in
        self._turns = [0.0] * width
        self._run = [0] * width  # one-qubit gates since the last two-qubit gate: 0 none that turns, 1 one, 2 more
        self._reads = [0] * width
        self._depth = [0.0] * width
        self._used = [False] * width
        self._measured = [False] * width
        self._operations = self._measurements = 0
        self._clifford, self._dynamic = True, False
        self._control_flow: set[str] = set()

    def block(self, circuit: QuantumCircuit, index: Mapping[Any, int], depth: int) -> None:
        for instruction in circuit.data:
            name, qubits = instruction.name, instruction.qubits
            if not instruction.is_standard_gate():
                self._other(instruction, index, depth)
                continue
            self._clifford = self._clifford and name in CLIFFORD_NAMES
            if len(qubits) == 1:
                self._single(name, index[qubits[0]])
            elif len(qubits) == 2:
                self._pair(index[qubits[0]], index[qubits[1]], _NATIVE.get(name, 2.0))
            elif name in _THREE:
                places = [index[qubit] for qubit in qubits]
                for one, other in _THREE[name]:
                    self._pair(places[one], places[other], 1.0)
            elif qubits:
                self._inside(instruction, index, depth)

    def _single(self, name: str, place: int) -> None:
        self._operations += 1
        self._used[place] = True
        if self._measured[place]:
            self._dynamic = True
        if name not in _DIAGONAL:
            self._run[place] = min(2, self._run[place] + (1 if name in _ONE_TURN else 2))

    def _pair(self, a: int, b: int, gates: float) -> None:
        self._operations += 1
        if self._measured[a] or self._measured[b]:
            self._dynamic = True
        for place in (a, b):
            self._used[place] = True
            self._turns[place] += self._run[place]
            self._run[place] = 0
        self._depth[a] = self._depth[b] = max(self._depth[a], self._depth[b]) + gates
        run = self._last[a]
        if run is not None and run is self._last[b]:
            run[2] += gates
            return
        run = [a, b, gates]
        self._pairs.append(run)
        self._last[a] = self._last[b] = run

    def _other(self, instruction: Any, index: Mapping[Any, int], depth: int) -> None:
        operation = instruction.operation
        if isinstance(operation, (Barrier, Delay)):
            return
        places = [index[qubit] for qubit in instruction.qubits]
        if isinstance(operation, Measure):
            self._operations += 1
            self._measurements += 1
            self._dynamic = self._dynamic or self._measured[places[0]]
            self._reads[places[0]] += 1
            self._used[places[0]] = self._measured[places[0]] = True
        elif isinstance(operation, Reset):
            self._operations += 1
            self._dynamic = self._dynamic or self._used[places[0]]
            self._used[places[0]] = True
        elif isinstance(operation, ControlFlowOp):
            self._dynamic = True
            self._control_flow.add(instruction.name)
            for block in operation.blocks:
                self.block(block, dict(zip(block.qubits, places, strict=True)), depth)
        else:
            self._inside(instruction, index, depth)

    def _inside(self, instruction: Any, index: Mapping[Any, int], depth: int) -> None:
        """A gate on many qubits, or of the circuit's own."""
        places = [index[qubit] for qubit in instruction.qubits]
        name = instruction.name
        if name != "unitary" and depth < _MAX_DEPTH:
            definition = getattr(instruction.operation, "definition", None)
            if isinstance(definition, QuantumCircuit):
                self.block(definition, dict(zip(definition.qubits, places, strict=True)), depth + 1)
                return
        self._clifford = False
        if len(places) == 1:
            self._single(name, places[0])
        # A matrix on n qubits takes of the order of 4**n two-qubit gates; spread over neighbours in the list.
        for one, other in pairwise(places):
            self._pair(one, other, 3.0 if len(places) == 2 else 4.0 ** min(len(places), 12) / (2 * len(places)))

    def sketch(self, reads: Iterable[int]) -> tuple[Sketch, tuple[int, ...]]:
        """What was found, and the circuit's qubit of each of the sketch's."""
        for place in reads:
            self._used[place] = True
            self._reads[place] += 1
        used = tuple(place for place, yes in enumerate(self._used) if yes)
        local = {place: number for number, place in enumerate(used)}
        sketch = Sketch(
            qubits=len(used),
            pairs=tuple((local[a], local[b], gates) for a, b, gates in self._pairs),
            turns=tuple(self._turns[place] + self._run[place] for place in used),
            reads=tuple(self._reads[place] for place in used),
            depth=max(self._depth, default=0.0),
            operations=self._operations,
            measurements=self._measurements,
            clifford=self._clifford,
            dynamic=self._dynamic,
            control_flow=frozenset(self._control_flow),
        )
        return sketch, used

"""Aer's native circuits and controller, used directly.

`AerSimulator.run` walks a `QuantumCircuit` four times in Python (10 µs a gate), serialises its noise model on every call
and turns results into objects. Here circuits are assembled in Aer's own form, the noise is a plain dict on the qubits
that take part, and results are read as the controller gives them. This is the only module that touches these
semi-private names of qiskit-aer; `tests/engines/test_native.py` holds them to the public simulator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qrtx_ray.engines.fusion import Plan
from qrtx_ray.engines.products import BlockMatrices
from qrtx_ray.errors import ExecuteError

__all__ = ["NativeCircuit", "execute"]

Complex = npt.NDArray[np.complex128]

MIN_PARALLEL_QUBITS = 16
MIN_FUSION_QUBITS = 7

_controller: Any = None


def _modules() -> tuple[Any, Any]:
    # Imported on first use: loading Aer before a process forks makes the child hang.
    from qiskit_aer.backends import backend_utils, controller_wrappers

    return controller_wrappers, backend_utils


class NativeCircuit:
    """A circuit in Aer's form, on `num_qubits` local qubits and `num_clbits` classical bits.

    `raw` is the underlying object.
    """

    __slots__ = ("num_clbits", "num_qubits", "raw")

    def __init__(self, num_qubits: int, num_clbits: int = 0, raw: Any = None) -> None:
        self.num_qubits = num_qubits
        self.num_clbits = num_clbits
        if raw is None:
            raw = _modules()[0].AerCircuit()
            raw.num_qubits = num_qubits
            raw.num_memory = num_clbits
            raw.global_phase_angle = 0.0
        self.raw = raw

    def gate(self, name: str, qubits: Sequence[int], params: Sequence[float] = ()) -> None:
        """A named gate; named gates carry the noise of a noise model and keep a Clifford circuit recognisable."""
        self.raw.gate(name, qubits, params, (), -1, None, name)

    def unitary(self, qubits: Sequence[int], matrix: Complex) -> None:
        """An unnamed gate."""
        self.raw.unitary(qubits, _as_aer_reads(matrix), -1, None, "unitary")

    def blocks(self, plan: Plan, matrices: BlockMatrices, row: int, *, channels: bool) -> None:
        """The fused circuit of parameter row `row`; superoperators (in Aer's order) when `channels`."""
        raw = self.raw
        unitary, superop = raw.unitary, raw.superop
        singles = matrices.singles[row if len(matrices.singles) > 1 else 0]
        pairs = matrices.pairs[row if len(matrices.pairs) > 1 else 0]
        for block, (width, index) in zip(plan.blocks, matrices.order, strict=True):
            if width == 3:
                table = matrices.triples[index]
                unitary(block.qubits, _as_aer_reads(table[row if len(table) > 1 else 0]), -1, None, "unitary")
            elif channels:
                superop(block.qubits, (singles if width == 1 else pairs)[index], -1, None)
            else:
                unitary(block.qubits, (singles if width == 1 else pairs)[index], -1, None, "unitary")

    def measure(self, qubits: Sequence[int], clbits: Sequence[int]) -> None:
        """Read `qubits` into `clbits`."""
        self.raw.measure(qubits, clbits, ())

    def kraus(self, qubit: int, operators: Sequence[Complex]) -> None:
        """A channel on one qubit."""
        self.raw.kraus([qubit], operators, -1, None)

    def reset(self, qubit: int) -> None:
        """Put `qubit` into |0>."""
        self.raw.reset([qubit], -1)

    def save_probabilities(self, qubits: Sequence[int], label: str) -> None:
        """Keep the distribution over `qubits`; bit i of an outcome is ``qubits[i]``."""
        self.raw.save_state(qubits, "save_probabilities", "average", label)


def _as_aer_reads(matrix: Complex) -> Complex:
    # Aer takes the memory of a read-only array for column-major, and reads no strides.
    return np.array(matrix, order="C")


def execute(
    circuits: Sequence[NativeCircuit],
    *,
    method: str,
    shots: int = 1,
    seed: int = 0,
    noise: dict[str, Any] | None = None,
    threads: int = 1,
    memory: bool = False,
) -> list[dict[str, Any]]:
    """Run circuits in one call; entry i holds the saved data of ``circuits[i]``.

    Args:
        method: An Aer simulation method; never ``"automatic"``, whose choice may change with the company.
        shots: Shots of each circuit.
        seed: 0 ≤ seed < 2**63. Circuit i is seeded with ``seed + 2113 * i``, so circuits that sample go one a call.
        noise: Noise dict on local qubits, or None.
        threads: OpenMP threads for wide circuits; small ones get one, for on a busy machine threads that wait for each
            other cost many times what they save.
        memory: Keep every shot, as hexadecimal strings under ``"memory"``.

    Raises:
        ExecuteError: Aer refused.
    """
    global _controller  # noqa: PLW0603 - one controller per process, made after any fork
    wrappers, utils = _modules()
    if _controller is None:
        _controller = wrappers.aer_controller_execute()
    config = wrappers.AerConfig()
    config.library_dir = utils.LIBRARY_DIR
    config.n_qubits = max(circuit.num_qubits for circuit in circuits)
    config.memory_slots = max(circuit.num_clbits for circuit in circuits)
    config.method = method
    config.shots = shots
    config.seed_simulator = seed
    config.memory = memory
    if config.n_qubits < MIN_FUSION_QUBITS:
        # Neither can help a small circuit without idle qubits; looking for it takes 15 µs.
        config.fusion_enable = False
        config.enable_truncation = False
    doubled = 2 if method == "density_matrix" else 1
    config.max_parallel_threads = threads if config.n_qubits * doubled >= MIN_PARALLEL_QUBITS else 1
    for position, circuit in enumerate(circuits):
        circuit.raw.circ_id = position
    output = _controller.execute([circuit.raw for circuit in circuits], noise or {}, config)
    if not isinstance(output, dict) or not output.get("success", False):
        msg = f"the simulator refused the circuit (method {method}, {config.n_qubits} qubits)"
        raise ExecuteError(msg)
    return [dict(result["data"]) for result in output["results"]]

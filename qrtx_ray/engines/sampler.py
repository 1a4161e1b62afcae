"""Sampler PUBs: every shot of every parameter row as packed register values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.cost import Method, is_clifford, row_cost
from qrtx_ray.devices.executable import SamplerPub
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.engines.channels import flip_probabilities
from qrtx_ray.engines.distribution import Evolution, measured_distributions
from qrtx_ray.engines.noise import restricted_noise
from qrtx_ray.engines.sampling import confuse, pack_bits, pack_outcomes, sample, uniforms
from qrtx_ray.engines.shots import ShotRun, draw, native_program
from qrtx_ray.engines.stages import Stage

__all__ = ["PubRun", "rows_per_slice", "sample_pub"]

Float = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

SLICE_S = 0.5
MAX_SLICE_ROWS = 64


@dataclass(frozen=True, slots=True)
class PubRun:
    """What a PUB needs to know of its job.

    Args:
        seed: The job's seed.
        index: The PUB's place in the job.
        calibration: The noise, None for an ideal device.
        threads: OpenMP threads the simulator may use.
        progress: Called with the fraction of the PUB that is done, after each slice. May raise, to end the run there.
        stage: How far an earlier run of the PUB came, and where this one keeps what it has.
    """

    seed: int
    index: int
    calibration: Calibration | None
    threads: int
    progress: Callable[[float], None]
    stage: Stage = field(default_factory=Stage)

    @property
    def evolution(self) -> Evolution:
        return Evolution(self.calibration, self.threads)


def rows_per_slice(row_s: float) -> int:
    """Parameter rows to be run between two reports of progress."""
    return max(1, min(MAX_SLICE_ROWS, int(SLICE_S / max(row_s, 1e-9))))


def sample_pub(pub: SamplerPub, run: PubRun) -> tuple[list[Bytes], Method]:
    """All shots of a PUB.

    Returns:
        For each classical register an array ``(rows, shots, ceil(size / 8))``, and the method used.
    """
    noisy = run.calibration is not None
    bound = pub.row_programs
    program, values = (bound[-1], pub.values[:0]) if bound else (pub.program, pub.values)
    cost = row_cost(program, values, noisy=noisy, shots=pub.shots)
    total = len(bound) or len(pub.values)
    stage = run.stage
    registers = [((total, pub.shots, -(-register.size // 8)), np.uint8) for register in pub.program.registers]
    filled = stage.begin(total, *registers)
    sampled = not bound and cost.method in {Method.STATEVECTOR, Method.DENSITY_MATRIX}
    step = rows_per_slice(cost.seconds) if sampled else 1
    while stage.done < total:
        start = stage.done
        if sampled:
            rows = _sampled_rows(pub, start, pub.values[start : start + step], run)
        else:
            program, values = (bound[start], np.empty(0)) if bound else (pub.program, pub.values[start])
            rows = [_drawn_row(pub, program, values, start, run)]
        for row, parts in enumerate(rows, start):
            for array, part in zip(filled, parts, strict=True):
                array[row] = part
        stage.advance(len(rows))
        run.progress(stage.done / total)
    return filled, cost.method


def _sampled_rows(pub: SamplerPub, start: int, values: Float, run: PubRun) -> list[list[Bytes]]:
    program = pub.program
    measured = program.measurements
    clbits = [clbit for _, clbit in measured]
    flips = None
    if run.calibration is not None:
        flips = flip_probabilities(run.calibration, [program.active_qubits[qubit] for qubit, _ in measured])
    rows = []
    for offset, probabilities in enumerate(measured_distributions(program, values, run.evolution)):
        seen = probabilities if flips is None else confuse(probabilities, flips)
        numbers = uniforms(run.seed, run.index, start + offset, count=pub.shots)
        rows.append(pack_outcomes(sample(seen, numbers), clbits, program.registers))
    return rows


def _drawn_row(pub: SamplerPub, program: CircuitProgram, values: Float, row: int, run: PubRun) -> list[Bytes]:
    noise = None
    if run.calibration is not None:
        noise = restricted_noise(run.calibration, program.active_qubits, noise_names(program))
    table = values.reshape(1, -1)
    cost = row_cost(program, table, noisy=noise is not None, shots=pub.shots)
    clifford = cost.method is Method.STABILIZER and is_clifford(program, table)
    circuit = native_program(program, values, clifford=clifford, calibration=run.calibration)
    shot_run = ShotRun(run.seed, (run.index, row), pub.shots, cost, noise, run.threads)
    clbits = sorted({bit for register in program.registers for bit in register.bits})
    place = {clbit: position for position, clbit in enumerate(clbits)}

    def report(fraction: float) -> None:
        run.progress((row + fraction) / max(1, len(pub.values), len(pub.row_programs)))

    bits = draw(circuit, shot_run, clbits, report, run.stage.within())
    return [pack_bits([bits[place[bit]] for bit in register.bits], pub.shots) for register in program.registers]


def noise_names(program: CircuitProgram) -> frozenset[str] | None:
    """Operations whose noise a program can need; None (all) for one whose operations only its QPY knows."""
    return None if program.dynamic else frozenset(program.names)

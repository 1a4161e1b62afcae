"""Sampler PUBs: every shot of every parameter row as packed register values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.calibration import Calibration
from qrtx_ray.devices.cost import MAX_DISTRIBUTION_QUBITS, Method, is_clifford, is_wide, noisy_segments, row_cost
from qrtx_ray.devices.executable import SamplerPub
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.engines.channels import flip_probabilities
from qrtx_ray.engines.distribution import Evolution, measured_distributions
from qrtx_ray.engines.noise import restricted_noise
from qrtx_ray.engines.noisy import noisy_in_segments
from qrtx_ray.engines.sampling import Outcomes, confuse, pack_bits, pack_outcomes, sample, uniforms
from qrtx_ray.engines.shots import ShotRun, draw, native_program
from qrtx_ray.engines.stages import Stage, own_memory
from qrtx_ray.engines.wide import draw_from, evolve, plan_wide

__all__ = ["PubRun", "begin_rows", "pack_registers", "row_clbits", "rows_per_slice", "sample_pub"]

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
        bulk: Gives a stage memory for a large state, see `Course.bulk`.
    """

    seed: int
    index: int
    calibration: Calibration | None
    threads: int
    progress: Callable[[float], None]
    stage: Stage = field(default_factory=Stage)
    bulk: Callable[[Stage, int], memoryview] = own_memory

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
    filled = begin_rows(pub, stage)
    wide = cost.method is Method.STATEVECTOR and is_wide(program) and bool(program.measurements)
    long = cost.method is Method.DENSITY_MATRIX and noisy_segments(program) > 1 and bool(program.measurements)
    sampled = not bound and cost.method in {Method.STATEVECTOR, Method.DENSITY_MATRIX}
    step = rows_per_slice(cost.seconds) if sampled else 1
    while stage.done < total:
        start = stage.done
        if sampled and not wide and not long:
            rows = _sampled_rows(pub, start, pub.values[start : start + step], run)
        else:
            program, values = (bound[start], np.empty(0)) if bound else (pub.program, pub.values[start])
            way = _wide_row if wide else _long_row if long else _drawn_row
            rows = [way(pub, program, values, start, run)]
        for row, parts in enumerate(rows, start):
            for array, part in zip(filled, parts, strict=True):
                array[row] = part
        stage.advance(len(rows))
        run.progress(stage.done / total)
    return filled, cost.method


def begin_rows(pub: SamplerPub, stage: Stage) -> list[Bytes]:
    """What the rows of a PUB fill: for each classical register an array ``(rows, shots, ceil(size / 8))``.

    Raises:
        CheckpointRefused: `stage` goes on from a PUB of other arrays.
    """
    total = len(pub.row_programs) or len(pub.values)
    registers = [((total, pub.shots, -(-register.size // 8)), np.uint8) for register in pub.program.registers]
    return stage.begin(total, *registers)


def _sampled_rows(pub: SamplerPub, start: int, values: Float, run: PubRun) -> list[list[Bytes]]:
    table = measured_distributions(pub.program, values, run.evolution)
    return [_sampled(pub, pub.program, probabilities, row, run) for row, probabilities in enumerate(table, start)]


def _sampled(pub: SamplerPub, program: CircuitProgram, probabilities: Float, row: int, run: PubRun) -> list[Bytes]:
    """A row from the probabilities over its measurements, without readout errors."""
    if run.calibration is not None:
        physical = [program.active_qubits[qubit] for qubit, _ in program.measurements]
        probabilities = confuse(probabilities, flip_probabilities(run.calibration, physical))
    numbers = uniforms(run.seed, run.index, row, count=pub.shots)
    clbits = [clbit for _, clbit in program.measurements]
    return pack_outcomes(sample(probabilities, numbers), clbits, program.registers)


def _long_row(pub: SamplerPub, program: CircuitProgram, values: Float, row: int, run: PubRun) -> list[Bytes]:
    """A row whose density matrix evolves in segments; it is the bulk of the row's stage."""
    qubits = tuple([qubit for qubit, _ in program.measurements])

    def report(fraction: float) -> None:
        run.progress((row + fraction) / max(1, len(pub.values), len(pub.row_programs)))

    assert run.calibration is not None
    found = noisy_in_segments(
        program,
        values,
        (("Z" * len(qubits), qubits),),
        run.calibration,
        stage=run.stage.within(),
        bulk=run.bulk,
        on_step=report,
    )
    if found is None:
        return _sampled_rows(pub, row, values.reshape(1, -1), run)[0]
    return _sampled(pub, program, found[0], row, run)


def _wide_row(pub: SamplerPub, program: CircuitProgram, values: Float, row: int, run: PubRun) -> list[Bytes]:
    """A row whose state evolves in segments; the state is the bulk of the row's stage."""
    # Of several qubits read into one bit the last counts.
    source = {clbit: qubit for qubit, clbit in program.measurements}
    numbers = uniforms(run.seed, run.index, row, count=pub.shots)
    found: list[Outcomes] = []

    def read(_: int, state: Float) -> None:
        found.append(draw_from(state, tuple(source.values()), numbers, MAX_DISTRIBUTION_QUBITS))

    def report(fraction: float) -> None:
        run.progress((row + fraction) / max(1, len(pub.values), len(pub.row_programs)))

    plan = plan_wide(program, values, [dict.fromkeys(source.values(), "Z")])
    evolve(plan, run.stage.within(), run.bulk, threads=run.threads, read=read, on_step=report)
    (outcomes,) = found
    return pack_outcomes(outcomes, tuple(source), program.registers)


def _drawn_row(pub: SamplerPub, program: CircuitProgram, values: Float, row: int, run: PubRun) -> list[Bytes]:
    noise = None
    if run.calibration is not None:
        noise = restricted_noise(run.calibration, program.active_qubits, noise_names(program))
    table = values.reshape(1, -1)
    cost = row_cost(program, table, noisy=noise is not None, shots=pub.shots)
    clifford = cost.method is Method.STABILIZER and is_clifford(program, table)
    circuit = native_program(program, values, clifford=clifford, calibration=run.calibration)
    shot_run = ShotRun(run.seed, (run.index, row), pub.shots, cost, noise, run.threads)
    clbits = row_clbits(program)

    def report(fraction: float) -> None:
        run.progress((row + fraction) / max(1, len(pub.values), len(pub.row_programs)))

    bits = draw(circuit, shot_run, clbits, report, run.stage.within())
    return pack_registers(program, clbits, bits)


def row_clbits(program: CircuitProgram) -> list[int]:
    """The classical bits that are drawn for a row: those of its registers, in order."""
    return sorted({bit for register in program.registers for bit in register.bits})


def pack_registers(program: CircuitProgram, clbits: list[int], bits: Bytes) -> list[Bytes]:
    """Register values ``(shots, ceil(size / 8))`` of the drawn `bits`, shape ``(len(clbits), shots)``."""
    place = {clbit: position for position, clbit in enumerate(clbits)}
    shots = bits.shape[1]
    return [pack_bits([bits[place[bit]] for bit in register.bits], shots) for register in program.registers]


def noise_names(program: CircuitProgram) -> frozenset[str] | None:
    """Operations whose noise a program can need; None (all) for one whose operations only its QPY knows."""
    return None if program.dynamic else frozenset(program.names)

"""Estimator PUBs: expectation values and their standard errors, see `expectation.py` for what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qrtx_ray.devices.cost import MAX_BASIS_QUBITS, Method, RowCost, is_wide, noisy_segments, row_cost
from qrtx_ray.devices.executable import EstimatorPub
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.engines.channels import flip_probabilities
from qrtx_ray.engines.distribution import append_bases, basis_distributions
from qrtx_ray.engines.expectation import Basis, bases_of, tally
from qrtx_ray.engines.native import execute
from qrtx_ray.engines.noise import restricted_noise
from qrtx_ray.engines.noisy import noisy_in_segments
from qrtx_ray.engines.sampler import PubRun, noise_names, rows_per_slice
from qrtx_ray.engines.sampling import confuse, derived_seed, sample, uniforms
from qrtx_ray.engines.shots import AER_METHOD, ShotRun, append_basis, draw, native_program, slices_of
from qrtx_ray.engines.stages import Stage, Wanted
from qrtx_ray.engines.wide import evolve, plan_wide, read_distribution, read_product

__all__ = ["Estimate", "estimate_pub", "estimated_so_far"]

Float = npt.NDArray[np.float64]

EXACT_BRANCHES = 4096
"""Runs averaged for an "exact" value of a circuit whose state itself is random (mid-circuit measurement or reset)."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Values and standard errors of a PUB's elements, shape ``(size,)``; measurement bases per row; the method."""

    evs: Float
    stds: Float
    bases: int
    method: Method


def estimate_pub(pub: EstimatorPub, run: PubRun, *, mitigated: bool) -> Estimate:
    """All elements of a PUB.

    Args:
        mitigated: Whether readout errors are mitigated (and so left out).
    """
    total = len(pub.row_programs) or len(pub.values)
    bases, constants = bases_of(pub.observables, pub.elements[:, 1].tolist())
    programs = pub.row_programs or (pub.program,)
    cost = row_cost(programs[0], pub.values, noisy=run.calibration is not None, shots=pub.shots)
    stage = run.stage
    means, variances = stage.begin(total, *_sums(pub, total))
    reading = _Reading(pub, bases, run, cost, mitigated, means, variances)
    while stage.done < total:
        start = stage.done
        program = programs[start if pub.row_programs else 0]
        values = np.empty((1, 0)) if pub.row_programs else pub.values[start:]
        stage.advance(reading.read(program, values, start))
        run.progress(stage.done / total)
    return _estimate(pub, (means, variances), constants, max(1, len(bases)), cost.method)


def estimated_so_far(pub: EstimatorPub, run: PubRun) -> Estimate | None:
    """The elements whose rows are done, NaN for the others; None when there are none.

    Raises:
        CheckpointRefused: The stage of `run` is of a PUB that is cut otherwise.
    """
    total, stage = len(pub.row_programs) or len(pub.values), run.stage
    if not stage.done:
        return None
    bases, constants = bases_of(pub.observables, pub.elements[:, 1].tolist())
    program = pub.row_programs[0] if pub.row_programs else pub.program
    cost = row_cost(program, pub.values, noisy=run.calibration is not None, shots=pub.shots)
    sums = stage.begin(total, *_sums(pub, total))
    missing = np.arange(total)[:, None] >= stage.done
    means, variances = (np.where(missing, np.nan, sum_) for sum_ in sums)
    estimate = _estimate(pub, (means, variances), constants, max(1, len(bases)), cost.method)
    estimate.stds[pub.elements[:, 0] >= stage.done] = np.nan  # also where nothing is drawn, and none has an error
    return estimate


def _sums(pub: EstimatorPub, rows: int) -> tuple[Wanted, Wanted]:
    """The arrays a PUB fills: means and variances, each ``(rows, observables)``."""
    shape = (rows, len(pub.observables))
    return (shape, np.float64), (shape, np.float64)


def _estimate(pub: EstimatorPub, sums: tuple[Float, Float], constants: Float, bases: int, method: Method) -> Estimate:
    means, variances = sums
    rows, observables = pub.elements[:, 0], pub.elements[:, 1]
    stds = np.sqrt(variances[rows, observables] / pub.shots) if pub.shots else np.zeros(len(rows))
    return Estimate(means[rows, observables] + constants[observables], stds, bases, method)


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """How the rows of a PUB are read, and the sums over the bases of each row, shape ``(rows, observables)``."""

    pub: EstimatorPub
    bases: list[Basis]
    run: PubRun
    cost: RowCost
    mitigated: bool
    means: Float
    variances: Float

    def read(self, program: CircuitProgram, values: Float, start: int) -> int:
        """Read the rows from number `start`, whose slot values are the first of `values`: as many as make a slice.

        Returns:
            How many.
        """
        if self.cost.method is Method.STATEVECTOR and is_wide(program):
            self._read_wide(program, values[0], start)
            return 1
        if self.cost.method in {Method.STATEVECTOR, Method.DENSITY_MATRIX}:
            if program.dynamic or not program.terminal_measurements:
                values = values[:1]
                table = [self._branch_average(program, values[0], start)]
            else:
                found = self._long(program, values[0], start)
                values = values[: rows_per_slice(self.cost.seconds + 50e-6 * len(self.bases)) if found is None else 1]
                table = (
                    basis_distributions(program, values, self.bases, self.run.evolution) if found is None else [found]
                )
            for row, distributions in enumerate(table, start):
                for place, probabilities in enumerate(distributions):
                    self._count(row, place, self._observed(program, probabilities, (row, place)))
            return len(values)
        # A row of these can take long: its bases are steps of their own, and what is read of them is in the sums.
        stage = self.run.stage.within()
        stage.begin(len(self.bases))
        while stage.done < len(self.bases):
            place = stage.done
            if self.pub.shots:
                weights = self._drawn(program, values[0], (start, place), stage)
            else:
                weights = _stabilizer_weights(program, values[0], self.bases[place], self.run)
            self._count(start, place, weights)
            stage.advance()
            if stage.done < len(self.bases):
                self._report(start, stage.done)
        return 1

    def _long(self, program: CircuitProgram, values: Float, row: int) -> list[Float] | None:
        """The bases of a noisy row that evolves in segments; None where it does not."""
        noise = self.run.calibration
        if noise is None or not self.bases or noisy_segments(program) == 1:
            return None

        def report(fraction: float) -> None:
            self.run.progress((row + fraction) / len(self.means))

        read = tuple([("".join([basis.letters[q] for q in basis.qubits]), basis.qubits) for basis in self.bases])
        stage = self.run.stage.within()
        return noisy_in_segments(program, values, read, noise, stage=stage, bulk=self.run.bulk, on_step=report)

    def _read_wide(self, program: CircuitProgram, values: Float, row: int) -> None:
        """A row whose state evolves in segments. What has been read of it is in the sums."""

        def read(place: int, state: Float) -> None:
            basis = self.bases[place]
            if len(basis.qubits) <= MAX_BASIS_QUBITS:
                weights = self._observed(program, read_distribution(state, basis.qubits), (row, place))
                self._count(row, place, weights)
                return
            # A term on so many qubits stands alone, and has three values. A table of its outcomes could be as large as the state.
            ((observable, term),) = basis.terms
            weights = self._observed(program, read_product(state, term.paulis, term.qubits), (row, place))
            values = term.coefficient * np.array([1.0, -1.0, 0.0])
            mean = weights @ values
            self.means[row, observable] += mean
            self.variances[row, observable] += weights @ (values - mean) ** 2

        def report(fraction: float) -> None:
            self.run.progress((row + fraction) / len(self.means))

        plan = plan_wide(program, values, [basis.letters for basis in self.bases])
        evolve(plan, self.run.stage.within(), self.run.bulk, threads=self.run.threads, read=read, on_step=report)

    def _count(self, row: int, place: int, weights: Float) -> None:
        said = tally(self.bases[place], weights, self.means.shape[1])
        self.means[row] += said.mean
        self.variances[row] += said.variance

    def _report(self, row: int, bases_done: float) -> None:
        self.run.progress((row + bases_done / len(self.bases)) / len(self.means))

    def _observed(self, program: CircuitProgram, probabilities: Float, key: tuple[int, int]) -> Float:
        """Weights of the outcomes of a basis: probabilities, or frequencies when shots are asked for."""
        run, basis, shots = self.run, self.bases[key[1]], self.pub.shots
        if run.calibration is not None and not self.mitigated:
            physical = [program.active_qubits[qubit] for qubit in basis.qubits]
            probabilities = confuse(probabilities, flip_probabilities(run.calibration, physical))
        if not shots:
            return probabilities
        outcomes = sample(probabilities, uniforms(run.seed, run.index, *key, count=shots))
        return np.bincount(outcomes, minlength=len(probabilities)) / shots

    def _branch_average(self, program: CircuitProgram, values: Float, row: int) -> list[Float]:
        """Distributions of all bases for a circuit whose state itself may be random: the mean over many runs."""
        run = self.run
        circuit = native_program(program, values, calibration=run.calibration)
        append_bases(circuit, self.bases)
        noise = _noise(program, run, readout=True)  # of the mid-circuit measurements: nothing else is measured here
        shots = EXACT_BRANCHES if not program.terminal_measurements else 1
        slices = slices_of(self.cost.seconds * shots, shots)
        stage = run.stage.within()
        sums = stage.begin(slices, *(((1 << len(basis.qubits),), np.float64) for basis in self.bases))
        while stage.done < slices:
            part = stage.done
            branches = shots * (part + 1) // slices - shots * part // slices
            data = execute(
                [circuit],
                method=AER_METHOD[self.cost.method],
                shots=branches,
                seed=derived_seed(run.seed, run.index, row, part),
                noise=noise,
                threads=run.threads,
            )[0]
            for index, sum_ in enumerate(sums):
                np.add(sum_, np.asarray(data[f"p{index}"]) * (branches / shots), out=sum_)
            stage.advance()
            if stage.done < slices:
                run.progress((row + stage.done / slices) / len(self.means))
        return sums

    def _drawn(self, program: CircuitProgram, values: Float, key: tuple[int, int], stage: Stage) -> Float:
        run, basis, shots = self.run, self.bases[key[1]], self.pub.shots
        width = len(basis.qubits)
        clifford = self.cost.method is Method.STABILIZER
        circuit = native_program(program, values, clifford=clifford, extra_clbits=width, calibration=run.calibration)
        append_basis(circuit, basis.letters, named=clifford)
        first = circuit.num_clbits - width
        for offset, qubit in enumerate(basis.qubits):
            circuit.measure([qubit], [first + offset])
        # Mitigation concerns the final readout; for a circuit that also measures on the way both are left out.
        noise = _noise(program, run, readout=not self.mitigated)
        shot_run = ShotRun(run.seed, (run.index, *key), shots, self.cost, noise, run.threads)

        def report(fraction: float) -> None:
            self._report(key[0], key[1] + fraction)

        bits = draw(circuit, shot_run, range(first, first + width), report, stage.within())
        outcomes = (bits.astype(np.int64) << np.arange(width)[:, None]).sum(axis=0)
        return np.bincount(outcomes, minlength=1 << width) / shots


def _stabilizer_weights(program: CircuitProgram, values: Float, basis: Basis, run: PubRun) -> Float:
    """Exact distribution of a basis for a Clifford circuit."""
    circuit = native_program(program, values, clifford=True)
    append_basis(circuit, basis.letters, named=True)
    circuit.save_probabilities(basis.qubits, "p")
    data = execute([circuit], method="stabilizer", seed=0, threads=run.threads)[0]
    return np.asarray(data["p"])


def _noise(program: CircuitProgram, run: PubRun, *, readout: bool) -> dict[str, Any] | None:
    if run.calibration is None:
        return None
    return restricted_noise(run.calibration, program.active_qubits, noise_names(program), readout=readout)

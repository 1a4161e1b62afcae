"""What every engine must do, whatever simulates: run a subclass of these through a new engine.

Statistical checks use a chi-square test with the false-alarm rate `FALSE_ALARM` each; seeds are fixed, so a test that
passes once passes always.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp, Statevector

from qrtx_ray.devices.executable import EstimatorPub, ExecutableJob, PauliTerm, SamplerPub
from qrtx_ray.engines.protocol import Engine, JobRun, Wish

from .building import estimator_job, hardware_efficient, program_of, read, sampler_job, terms_of

FALSE_ALARM = 1e-6

H2 = SparsePauliOp.from_list(
    [("II", -1.0523732), ("IZ", 0.39793742), ("ZI", -0.39793742), ("ZZ", -0.0112801), ("XX", 0.18093119)]
)


def chi_square_passes(counts: np.ndarray, probabilities: np.ndarray, false_alarm: float = FALSE_ALARM) -> bool:
    """Pearson's test, outcomes expected fewer than 5 times pooled; Wilson-Hilferty approximation of the quantile."""
    shots = counts.sum()
    expected = probabilities * shots
    assert counts[expected < 1e-9].sum() == 0, "an impossible outcome was drawn"
    rare = expected < 5
    observed = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    keep = wanted > 0
    statistic = ((observed[keep] - wanted[keep]) ** 2 / wanted[keep]).sum()
    freedom = max(1, keep.sum() - 1)
    normal = math.sqrt(2) * _inverse_erfc(2 * false_alarm)
    quantile = freedom * (1 - 2 / (9 * freedom) + normal * math.sqrt(2 / (9 * freedom))) ** 3
    return statistic <= quantile


def _inverse_erfc(value: float) -> float:
    low, high = 0.0, 10.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(middle) > value else (low, middle)
    return low


def histogram(array, num_bits: int) -> np.ndarray:
    """Counts of every outcome of a `BitArray`."""
    counts = np.zeros(1 << num_bits)
    for outcome, count in array.get_int_counts().items():
        counts[outcome] = count
    return counts


class IdealEngineConformance:
    """An engine without noise. Subclasses give `engine` and the `device` to compile for."""

    device = "fake_manila@aer_ideal"

    @pytest.fixture(scope="class")
    def engine(self) -> Engine:
        raise AssertionError("a subclass gives the engine")

    def run_one(self, engine: Engine, job: ExecutableJob, seed: int = 1):
        (outcome,) = engine.run([JobRun(job, seed)])
        assert outcome.error is None, outcome.error
        return read(outcome.results)

    def test_samples_follow_the_state_vector(self, engine):
        circuit = hardware_efficient()
        result = self.run_one(engine, sampler_job(circuit, device=self.device, shots=20_000))
        exact = Statevector(circuit.remove_final_measurements(inplace=False)).probabilities()
        assert chi_square_passes(histogram(result[0].data.c, 5), exact)

    def test_a_job_alone_first_last_and_in_company_gives_the_same_bytes(self, engine):
        subject = JobRun(sampler_job(hardware_efficient(), device=self.device), 42)
        others = [JobRun(sampler_job(hardware_efficient(3, seed=i), device=self.device), i) for i in range(3)]
        alone = engine.run([subject])[0].results
        assert engine.run([subject, *others])[0].results == alone
        assert engine.run([*others, subject])[-1].results == alone
        assert engine.run([others[0], subject, others[1]])[1].results == alone

    def test_seeds_decide_the_samples(self, engine):
        job = sampler_job(hardware_efficient(), device=self.device)
        first, again, other = (engine.run([JobRun(job, seed)])[0].results for seed in (3, 3, 4))
        assert first == again
        assert read(first)[0].data.c.get_counts() != read(other)[0].data.c.get_counts()

    def test_a_failing_member_is_an_error_of_its_own(self, engine):
        good = JobRun(sampler_job(hardware_efficient(), device=self.device), 1)
        pub = sampler_job(hardware_efficient(), device=self.device).pubs[0]
        names = tuple("no_such_gate" if name == "sx" else name for name in pub.program.names)
        bad_pub = replace(pub, program=replace(pub.program, names=names))
        bad = ExecutableJob("sampler", self.device, "", (bad_pub,))
        outcomes = engine.run([good, JobRun(bad, 1), good])
        assert [outcome.error is None for outcome in outcomes] == [True, False, True]
        assert outcomes[0].results == outcomes[2].results == engine.run([good])[0].results
        assert outcomes[1].results == b""
        assert outcomes[1].error.category == "ExecuteError"

    def test_progress_never_goes_back_and_ends_at_one(self, engine):
        circuits = [hardware_efficient(3, seed=i) for i in range(4)]
        seen: list[tuple[int, float]] = []
        job = sampler_job(*circuits, device=self.device)
        engine.run([JobRun(job, 1), JobRun(job, 2)], lambda index, fraction: seen.append((index, fraction)))
        for index in (0, 1):
            fractions = [fraction for which, fraction in seen if which == index]
            assert fractions == sorted(fractions)
            assert fractions[-1] == 1.0

    def test_no_wish_changes_the_bytes_of_a_job_that_ends(self, engine):
        circuits = [hardware_efficient(3, seed=i) for i in range(4)]
        run, kept = JobRun(sampler_job(*circuits, device=self.device), 9), []
        whole = engine.run([run])[0].results
        (kept_on,) = engine.run([run], lambda *_: Wish.CHECKPOINT, lambda _, checkpoint: kept.append(checkpoint))
        assert kept_on.results == whole
        for checkpoint in kept:
            begun_from = replace(run, checkpoint=checkpoint.body)
            assert engine.run([begun_from])[0].results == whole
        (left,) = engine.run([run], lambda *_: Wish.PREEMPT)
        assert left.preempted or left.results == whole

    def test_a_concluded_job_gives_the_beginning_or_all_of_it(self, engine):
        job = sampler_job(*(hardware_efficient(3, seed=i) for i in range(4)), device=self.device)
        (outcome,) = engine.run([JobRun(job, 9)], lambda *_: Wish.CONCLUDE)
        whole, part = self.run_one(engine, job, 9), read(outcome.results)
        assert (len(part) < len(whole)) == outcome.partial
        for some, every in zip(part, whole, strict=False):
            assert np.array_equal(some.data.c.array, every.data.c.array)

    def test_parameter_rows_keep_their_order_and_shape(self, engine):
        circuit = QuantumCircuit(1, 1)
        circuit.rx(0.0, 0)
        circuit.measure(0, 0)
        program, _ = program_of(circuit)
        values = np.array([[0.0], [np.pi], [0.0], [np.pi], [np.pi], [0.0]])
        pub = SamplerPub(program, values, (2, 3), 10)
        result = self.run_one(engine, ExecutableJob("sampler", self.device, "", (pub,)))
        bits = result[0].data.c
        assert bits.shape == (2, 3)
        assert bits.array[..., 0, 0].tolist() == [[0, 1, 0], [1, 1, 0]]

    def test_exact_expectations_agree_with_the_reference_estimator(self, engine):
        circuit = QuantumCircuit(2)
        circuit.ry(0.3, 0)
        circuit.cx(0, 1)
        circuit.rx(1.1, 1)
        result = self.run_one(engine, estimator_job(circuit, terms_of(H2), device=self.device))
        wanted = StatevectorEstimator().run([(circuit, H2)]).result()[0].data.evs
        assert result[0].data.evs == pytest.approx([float(wanted)], abs=1e-10)
        assert result[0].data.stds == pytest.approx([0.0])

    def test_sampled_expectations_are_within_five_standard_errors_of_the_exact_one(self, engine):
        # Two-sided false-alarm rate 6e-7.
        circuit = QuantumCircuit(2)
        circuit.ry(0.3, 0)
        circuit.cx(0, 1)
        circuit.rx(1.1, 1)
        exact = Statevector(circuit).expectation_value(H2).real
        result = self.run_one(engine, estimator_job(circuit, terms_of(H2), device=self.device, shots=4096))
        value, error = float(result[0].data.evs[0]), float(result[0].data.stds[0])
        assert 0 < error < 0.02
        assert abs(value - exact) < 5 * error

    def test_standard_errors_describe_the_spread_over_seeds(self, engine):
        circuit = QuantumCircuit(2)
        circuit.ry(0.8, 0)
        circuit.cx(0, 1)
        job = estimator_job(circuit, terms_of(H2), device=self.device, shots=400)
        results = [self.run_one(engine, job, seed)[0].data for seed in range(60)]
        spread = np.std([float(data.evs[0]) for data in results], ddof=1)
        claimed = np.mean([float(data.stds[0]) for data in results])
        # The ratio of 60 samples has a relative standard deviation of 9 %; 0.5 and 1.6 are more than five of them away.
        assert 0.5 < spread / claimed < 1.6

    def test_projector_letters_keep_their_outcome(self, engine):
        circuit = QuantumCircuit(2)
        circuit.ry(0.7, 0)
        circuit.rx(0.4, 1)
        zero, one = math.cos(0.35) ** 2, math.sin(0.2) ** 2
        observables = (
            (PauliTerm((0, 1), "01", 1.0),),
            (PauliTerm((0,), "+", 2.0), PauliTerm((), "", 0.5)),
            (PauliTerm((1,), "r", 1.0), PauliTerm((1,), "l", 1.0)),
        )
        evs = self.run_one(engine, estimator_job(circuit, *observables, device=self.device))[0].data.evs
        plus = (1 + math.sin(0.7)) / 2
        assert evs == pytest.approx([zero * one, 2 * plus + 0.5, 1.0], abs=1e-12)

    def test_elements_choose_their_row_and_observable(self, engine):
        circuit = QuantumCircuit(1)
        circuit.rx(0.0, 0)
        program, _ = program_of(circuit)
        pub = EstimatorPub(
            program=program,
            values=np.array([[0.0], [np.pi]]),
            shape=(2, 2),
            elements=np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.int32),
            observables=((PauliTerm((0,), "Z", 1.0),), (PauliTerm((0,), "1", 3.0),)),
            precision=0.0,
            shots=0,
        )
        data = self.run_one(engine, ExecutableJob("estimator", self.device, "", (pub,)))[0].data
        assert data.evs == pytest.approx(np.array([[1.0, 0.0], [-1.0, 3.0]]), abs=1e-12)
        assert data.evs.shape == data.stds.shape == (2, 2)

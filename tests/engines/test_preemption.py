"""A run that makes way and goes on later gives the very bytes of a run that was left alone, wherever it was cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit

from qrtx_ray.devices.executable import EstimatorPub, ExecutableJob, PauliTerm, SamplerPub
from qrtx_ray.engines import estimator, sampler, shots
from qrtx_ray.engines.protocol import JobOutcome, JobRun, Wish
from qrtx_ray.engines.registry import engine_for

from .building import dynamic_job, estimator_job, hardware_efficient, program_of, qpy_program, sampler_job

IDEAL, NOISY = "fake_manila@aer_ideal", "fake_manila@aer"
ZZ, XX, Y = PauliTerm((0, 1), "ZZ", 0.5), PauliTerm((0, 2), "XX", -1.5), PauliTerm((1,), "Y", 2.0)


def cut_fine(patch: pytest.MonkeyPatch) -> None:
    """Cut small jobs into many slices, whatever the cost law says of them."""
    for module in (sampler, estimator):
        patch.setattr(module, "rows_per_slice", lambda _row_s: 3)
    for module in (shots, estimator):
        patch.setattr(module, "slices_of", lambda _seconds, shots: min(4, shots))
    patch.setattr(estimator, "EXACT_BRANCHES", 64)


@pytest.fixture(autouse=True)
def _fine(monkeypatch):
    cut_fine(monkeypatch)


def swept(circuit: QuantumCircuit, rows: int, device: str, shots: int) -> ExecutableJob:
    """A sampler job with parameter rows."""
    program, values = program_of(circuit)
    table = np.repeat(values, rows, axis=0) + np.linspace(0, 1, rows)[:, None]
    return ExecutableJob("sampler", device, "", (SamplerPub(program, table, (rows,), shots),))


def measured_midway() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure(0, 0)
    circuit.rx(0.4, 0)
    circuit.reset(2)
    circuit.cx(1, 2)
    circuit.measure([1, 2], [1, 2])
    return circuit


def conditional(angle: float = 0.7) -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.rx(angle, 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    return circuit


def bound_rows(device: str) -> ExecutableJob:
    """Every row its own program, as dynamic circuits with parameters have."""
    job = dynamic_job(conditional(), device=device, shots=30)
    programs = tuple(qpy_program(conditional(angle)) for angle in (0.1, 1.0, 2.0))
    pub = replace(job.pubs[0], row_programs=programs, values=np.empty((3, 0)), shape=(3,))
    return replace(job, pubs=(pub,))


def wide_clifford() -> ExecutableJob:
    circuit = QuantumCircuit(25, 25)
    circuit.h(0)
    for qubit in range(24):
        circuit.cx(qubit, qubit + 1)
    circuit.measure(range(25), range(25))
    return swept(circuit, 3, "fake_montreal@aer_ideal", 400)


def estimated(device: str, shots: int, *, rows: int = 1, circuit: QuantumCircuit | None = None) -> ExecutableJob:
    circuit = hardware_efficient(3, 2).remove_final_measurements(inplace=False) if circuit is None else circuit
    job = estimator_job(circuit, (ZZ, XX), (Y, PauliTerm((), "", 3.0)), (XX,), device=device, shots=shots)
    pub: EstimatorPub = job.pubs[0]
    elements = np.array([(row, index) for row in range(rows) for index in range(3)], dtype=np.int32)
    values = np.repeat(pub.values, rows, axis=0) + np.linspace(0, 1, rows)[:, None]
    return replace(job, pubs=(replace(pub, values=values, elements=elements, shape=(rows, 3)), pub))


def one_pub(job: ExecutableJob) -> ExecutableJob:
    return replace(job, pubs=job.pubs[:1])


def estimated_wide(shots: int) -> ExecutableJob:
    circuit = QuantumCircuit(25)
    circuit.h(0)
    for qubit in range(24):
        circuit.cx(qubit, qubit + 1)
    terms = tuple(
        PauliTerm(*term) for term in (((0, 24), "ZZ", 1.0), ((3,), "X", 0.5), ((3,), "Y", 0.5), ((0, 3), "XZ", 0.1))
    )
    return estimator_job(circuit, terms, device="fake_montreal@aer_ideal", shots=shots)


JOBS = {
    "sampler, ideal": lambda: swept(hardware_efficient(4, 2), 40, IDEAL, 20),
    "sampler, several PUBs": lambda: sampler_job(*(hardware_efficient(3, seed=n) for n in range(4)), shots=33),
    "sampler, noisy rows": lambda: swept(hardware_efficient(4, 2), 14, NOISY, 50),
    "sampler, trajectories": lambda: swept(measured_midway(), 3, NOISY, 60),
    "sampler, measured midway, ideal": lambda: swept(measured_midway(), 3, IDEAL, 200),
    "sampler, stabilizer": wide_clifford,
    "sampler, dynamic": lambda: dynamic_job(conditional(), device=IDEAL, shots=200),
    "sampler, dynamic and noisy": lambda: dynamic_job(conditional(), device=NOISY, shots=60),
    "sampler, a program for each row": lambda: bound_rows(NOISY),
    "estimator, exact": lambda: estimated(IDEAL, 0, rows=10),
    "estimator, noisy": lambda: estimated(NOISY, 0, rows=8),
    "estimator, drawn from distributions": lambda: estimated(NOISY, 100, rows=7),
    "estimator, drawn from trajectories": lambda: one_pub(estimated(NOISY, 21, rows=2, circuit=midway_state())),
    "estimator, mean over branches": lambda: one_pub(estimated(IDEAL, 0, rows=2, circuit=midway_state())),
    "estimator, stabilizer, exact": lambda: estimated_wide(0),
    "estimator, stabilizer, drawn": lambda: estimated_wide(500),
}


def midway_state() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 1)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure(0, 0)
    circuit.rx(0.4, 0)
    circuit.cx(1, 2)
    return circuit


class Asker:
    """Counts slices, and asks to make way after those with the numbers in `cuts`."""

    def __init__(self, cuts=()) -> None:
        self.cuts = set(cuts)
        self.seen: list[float] = []

    def __call__(self, _index: int, fraction: float) -> Wish | None:
        self.seen.append(fraction)
        return Wish.PREEMPT if len(self.seen) in self.cuts else None


def run_of(
    job: ExecutableJob, *, seed: int = 11, cuts=(), checkpoint: bytes = b"", **fields
) -> tuple[JobOutcome, Asker]:
    engine, asker = engine_for(job.device.partition("@")[2]), Asker(cuts)
    (outcome,) = engine.run([JobRun(job, seed, checkpoint=checkpoint, **fields)], asker)
    assert outcome.error is None, outcome.error
    return outcome, asker


@pytest.mark.parametrize("name", JOBS)
def test_cut_at_every_slice_the_result_is_the_same_to_the_byte(name):
    job = JOBS[name]()
    whole, alone = run_of(job)
    slices = len(alone.seen)
    assert alone.seen == sorted(alone.seen)
    assert alone.seen[-1] == 1.0
    assert slices >= 3
    for cut in range(1, slices):
        left, _ = run_of(job, cuts=[cut])
        if alone.seen[cut - 1] == 1.0:
            assert left.results == whole.results, "what is done does not make way"
            continue
        assert left.preempted
        assert not left.results
        assert left.progress == alone.seen[cut - 1]
        rest, again = run_of(job, checkpoint=left.checkpoint)
        assert rest.results == whole.results
        assert rest.qpu_s == whole.qpu_s
        assert again.seen[0] == left.progress, "the kept progress is told at once"
        assert again.seen[1:] == alone.seen[cut:], "no slice runs twice"


@pytest.mark.parametrize(
    "name",
    ["sampler, dynamic and noisy", "sampler, noisy rows", "sampler, several PUBs", "estimator, stabilizer, drawn"],
)
@settings(deadline=None, derandomize=True, max_examples=12)
@given(data=st.data())
def test_cut_again_and_again_the_result_is_the_same_to_the_byte(name, data):
    with pytest.MonkeyPatch.context() as patch:
        cut_fine(patch)
        job = JOBS[name]()
        whole, alone = run_of(job)
        checkpoint, turns = b"", 0
        while True:
            # After a checkpoint the first question is about the progress kept, and comes before any slice.
            cut = data.draw(st.integers(1, len(alone.seen)), label="slices") + bool(checkpoint)
            outcome, _ = run_of(job, cuts=[cut], checkpoint=checkpoint)
            if not outcome.preempted:
                break
            checkpoint, turns = outcome.checkpoint, turns + 1
        assert outcome.results == whole.results


def test_progress_is_not_lost_when_a_run_makes_way_before_its_first_slice():
    job = JOBS["sampler, dynamic"]()
    left, _ = run_of(job, cuts=[2])
    again, _ = run_of(job, cuts=[1, 2], checkpoint=left.checkpoint)
    assert again.preempted
    assert again.progress > left.progress


def test_a_run_goes_on_under_the_noise_it_began_with(monkeypatch):
    from qrtx_ray.devices.model import DeviceModel
    from qrtx_ray.engines import aer

    wanted = []

    class Models:
        @staticmethod
        def load(device, noise_id=""):
            wanted.append(noise_id)
            return DeviceModel.load(device)

    monkeypatch.setattr(aer, "DeviceModel", Models)
    job = JOBS["sampler, noisy rows"]()
    left, _ = run_of(job, cuts=[1], noise_id="of the morning")
    again, _ = run_of(job, cuts=[3], checkpoint=left.checkpoint, noise_id="of the noon")
    run_of(job, checkpoint=again.checkpoint, noise_id="of the evening")
    run_of(job, noise_id="of the evening")
    assert wanted.pop() == "of the evening"
    assert set(wanted) == {"of the morning"}


def test_what_cannot_be_kept_runs_on(monkeypatch):
    from qrtx_ray.engines import checkpoint

    monkeypatch.setattr(checkpoint, "MAX_RAW_BYTES", 100)
    job = JOBS["sampler, dynamic"]()
    outcome, asker = run_of(job, cuts=range(1, 100))
    assert not outcome.preempted
    assert outcome.results == run_of(job)[0].results
    assert len(asker.seen) > 3


def test_an_engine_nobody_asks_runs_to_its_end():
    job = JOBS["sampler, noisy rows"]()
    engine = engine_for("aer")
    (outcome,) = engine.run([JobRun(job, 11)])
    assert outcome.results == run_of(job)[0].results

"""Noisy circuits whose density matrix takes long: segment by segment they give the bits of one call, however interrupted."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.quantum_info import SparsePauliOp

from qrtx_ray.devices import cost
from qrtx_ray.devices.cost import Method, job_cost, noisy_segments, row_cost
from qrtx_ray.devices.model import DeviceModel
from qrtx_ray.engines.noisy import noisy_in_segments, noisy_table
from qrtx_ray.engines.protocol import JobRun, Wish
from qrtx_ray.engines.registry import engine_for
from qrtx_ray.engines.stages import Bulk, CheckpointRefused, Stage, own_memory

from .building import estimator_job, hardware_efficient, program_of, sampler_job, terms_of

DEVICE = "fake_montreal@aer"
CALIBRATION = DeviceModel.load(DEVICE).calibration
LINE = (0, 1, 2, 3, 5, 8, 11, 14)  # coupled on the device, each with the next


@pytest.fixture(autouse=True)
def finely_cut(monkeypatch):
    """Segments so short that the small states of a test have many."""
    monkeypatch.setattr(cost, "_NOISY_SEGMENT_S", 2e-3)


def circuit(qubits=8, layers=4):
    return hardware_efficient(qubits, layers)


def in_segments(program, values, bases, stage, on_step=lambda _: None):
    return noisy_in_segments(
        program,
        values,
        bases,
        CALIBRATION,
        stage=stage,
        bulk=lambda asked, size: own_memory(asked, size) if asked.bulk is None else asked.bulk.view,
        on_step=on_step,
    )


def test_only_circuits_that_take_long_are_cut(monkeypatch):
    assert noisy_segments(program_of(circuit())[0]) > 4
    monkeypatch.setattr(cost, "_NOISY_SEGMENT_S", 0.5)
    assert noisy_segments(program_of(circuit())[0]) == 1
    deep = program_of(hardware_efficient(12, 8))
    assert noisy_segments(deep[0]) > 4
    other = hardware_efficient(12, 8).remove_final_measurements(inplace=False)
    other.ccx(0, 1, 2)
    assert noisy_segments(program_of(other)[0]) == 1  # not for the kernel
    priced = row_cost(*deep, noisy=True, shots=100_000)
    assert (priced.method, priced.bulk_bytes) == (Method.DENSITY_MATRIX, 8 * 4**12)
    assert row_cost(*program_of(circuit()), noisy=True, shots=100_000).bulk_bytes == 0


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("every", [1, 2, 100])
def test_segments_give_the_bits_of_one_call(every):
    program, values = program_of(circuit(), LINE)
    bases = (("ZZZ", (0, 7, 3)), ("XYZ", (1, 2, 6)))
    (whole,) = noisy_table(program, values, bases, CALIBRATION)
    stage, rounds, steps = Stage(), 0, 0

    def stop(_):
        nonlocal steps
        steps += 1
        if steps % every == 0:
            raise Interrupted

    while True:
        try:
            found = in_segments(program, values[0], bases, stage, stop)
            break
        except Interrupted:
            rounds += 1
            old = stage.bulk.view
            arrays = [array.copy() for array in stage.arrays]
            stage = Stage(stage.done, stage.total, arrays, bulk=Bulk(memoryview(bytearray(old)), shared=True))
            np.frombuffer(old, np.uint8).fill(255)
    assert [part.tobytes() for part in found] == [part.tobytes() for part in whole]
    assert stage.bulk is None
    assert rounds == (noisy_segments(program) - 1) // every


def test_progress_without_its_state_is_refused():
    program, values = program_of(circuit(), LINE)
    stage = Stage()
    stage.begin(noisy_segments(program), ((8, 16), np.float64), ((8,), np.uint8))
    stage.advance()
    with pytest.raises(CheckpointRefused, match="without the state"):
        in_segments(program, values[0], (("Z", (0,)),), stage)


def jobs():
    ansatz = circuit().remove_final_measurements(inplace=False)
    observable = SparsePauliOp.from_sparse_list([("XX", [0, 7], 0.7), ("ZYX", [3, 2, 5], -0.4)], 8)
    return {
        "sampler": sampler_job(circuit(), circuit(layers=2), device=DEVICE, shots=500, active=LINE),
        "estimator": estimator_job(ansatz, terms_of(observable), device=DEVICE, shots=500, active=LINE),
    }


@pytest.mark.parametrize("name", ["sampler", "estimator"])
def test_a_noisy_job_that_makes_way_again_and_again_ends_with_the_same_bytes(name, monkeypatch):
    job = jobs()[name]
    assert job_cost(job, noisy=True).bulk_bytes == 8 * 4**8
    engine, area, body, rounds, bulk_bytes = engine_for("aer"), bytearray(2**20), b"", 0, 0
    view = memoryview(area)
    while True:
        slices = iter(range(100))
        (outcome,) = engine.run(
            [JobRun(job, 3, checkpoint=body, bulk_bytes=bulk_bytes, area=lambda size: view[:size])],
            lambda _index, _fraction, slices=slices: Wish.PREEMPT if next(slices) > 0 else None,
        )
        assert outcome.error is None
        assert outcome.anew == ""
        if not outcome.preempted:
            break
        rounds += 1
        body, bulk_bytes = outcome.checkpoint, outcome.bulk_bytes
    assert rounds > 3
    monkeypatch.setattr(cost, "_NOISY_SEGMENT_S", 1e3)
    (whole,) = engine.run([JobRun(job, 3)])
    assert outcome.results == whole.results

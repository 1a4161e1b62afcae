from __future__ import annotations

from dataclasses import fields

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.devices.executable import EstimatorPub, ExecutableJob, PauliTerm, SamplerPub
from qrtx_ray.devices.program import CircuitProgram
from qrtx_ray.devices.program_builder import build_program
from qrtx_ray.errors import DecodeError

from .circuits import small_circuits


def same(ours, theirs):
    if isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        np.testing.assert_array_equal(ours, theirs)
    elif isinstance(ours, (CircuitProgram, SamplerPub, EstimatorPub, ExecutableJob)):
        for entry in fields(ours):
            same(getattr(ours, entry.name), getattr(theirs, entry.name))
    elif isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    else:
        assert ours == theirs


def sampler_job(circuit):
    circuit.measure_all()
    program, values = build_program(circuit)
    pub = SamplerPub(program, values, (), 100, circuit_metadata={"name": "x", "n": 1})
    return ExecutableJob("sampler", "fake_manila@aer", "0123456789ab", (pub, pub), {"meas_type": "classified"})


@settings(deadline=None, derandomize=True, max_examples=40)
@given(small_circuits())
def test_a_sampler_job_is_what_its_bytes_say(circuit):
    job = sampler_job(circuit)
    again = ExecutableJob.from_bytes(job.to_bytes())
    same(job, again)
    assert again.pubs[0].program.structure == job.pubs[0].program.structure
    assert again.to_bytes() == job.to_bytes()


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    small_circuits(),
    st.lists(st.tuples(st.sampled_from("XYZ01+-rl"), st.floats(-9, 9)), min_size=1, max_size=4),
    st.floats(0, 1),
)
def test_an_estimator_job_is_what_its_bytes_say(circuit, terms, precision):
    program, values = build_program(circuit)
    observable = tuple(PauliTerm((0,), letter, weight) for letter, weight in terms)
    elements = np.array([[0, 0], [0, 0]], dtype=np.int32)
    pub = EstimatorPub(program, values, (2,), elements, (observable,), precision, 64, row_programs=(program,))
    job = ExecutableJob("estimator", "fake_manila@aer", "0123456789ab", (pub,))
    same(job, ExecutableJob.from_bytes(job.to_bytes()))


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_job_are_refused_and_nothing_else(data):
    with pytest.raises(DecodeError):
        ExecutableJob.from_bytes(data)


@pytest.mark.parametrize(
    "document", [None, 1, [], {}, {"v": 2}, {"v": 1}, {"v": 1, "program_id": "sampler", "pubs": 3}]
)
def test_other_documents_are_refused(document):
    with pytest.raises(DecodeError):
        ExecutableJob.from_bytes(msgpack.packb(document))

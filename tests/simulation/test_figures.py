"""Distributions, fairness and the laws of the simulated world."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.errors import NotFound, ValidationError
from qrtx_ray.model import Candidate
from qrtx_ray.model.noise import NoiseId
from qrtx_ray.simulation import Recipe, fleet, generate, mix_called
from qrtx_ray.simulation.arrivals import arrivals, bursty
from qrtx_ray.simulation.fairness import Shares, jain
from qrtx_ray.simulation.lines import DeviceLine, JobLine, LossLine
from qrtx_ray.simulation.nature import Nature, Walk, fidelity, qpu_seconds, wall_seconds
from qrtx_ray.simulation.sketch import ACCURACY, Sketch


@settings(deadline=None, derandomize=True, max_examples=100)
@given(values=st.lists(st.floats(0.0, 1e6), min_size=1, max_size=300), share=st.floats(0.01, 1.0))
def test_a_quantile_is_near_the_value_of_its_rank(values, share):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    assert sketch.quantile(share) == pytest.approx(exact, rel=ACCURACY * 1.01, abs=1e-6)
    assert sketch.mean == pytest.approx(sum(values) / len(values))
    assert sketch.most == max(values)
    curve = sketch.curve(10)
    assert curve == sorted(curve)
    assert curve[-1][1] == pytest.approx(1.0)
    assert len(curve) <= 11


def test_an_empty_distribution_says_nothing():
    assert (Sketch().mean, Sketch().quantile(0.5), Sketch().curve()) == (0.0, 0.0, [])


def test_the_index_of_fairness_is_that_of_jain():
    assert jain([2.0, 2.0, 2.0]) == pytest.approx(1.0)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain([]) == jain([0.0]) == 1.0


def test_what_is_due_follows_the_weights_of_those_who_wait():
    shares = Shares({"a": 3.0})
    for tenant in ("a", "b", "a", "b"):
        shares.arrive(tenant)
    for tenant in ("a", "a"):
        shares.begin(tenant, 4.0)
    # Both waited while 8 s were given away, in the proportion 3 to 1; then b waits alone.
    assert shares.due() == pytest.approx({"a": 6.0, "b": 2.0})
    assert shares.error() == pytest.approx(2.0 / 8.0)
    shares.begin("b", 2.0)
    assert shares.due() == pytest.approx({"a": 6.0, "b": 4.0})


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2), st.floats(0.1, 9.0)), max_size=60))
def test_as_much_is_due_as_was_given(steps):
    shares, waiting = Shares({"a": 2.0, "b": 0.5}), dict.fromkeys("abcd", 0)
    for tenant, action, seconds in steps:
        if action == 0 or not waiting[tenant]:
            shares.arrive(tenant)
            waiting[tenant] += 1
        else:
            shares.begin(tenant, seconds) if action == 1 else shares.leave(tenant)
            waiting[tenant] -= 1
    assert sum(shares.due().values()) == pytest.approx(sum(shares.got.values()), abs=1e-9)
    assert 0.0 <= shares.error() <= 1.0


# -- arrivals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["poisson", "diurnal"])
def test_the_long_run_has_the_rate_that_was_asked_for(pattern):
    moments = list(islice(arrivals(pattern, 2.0, Random(4)), 200_000))
    assert moments == sorted(moments)
    whole_days = moments[-1] - moments[-1] % 86_400.0
    assert sum(at < whole_days for at in moments) / whole_days == pytest.approx(2.0, rel=0.02)


def test_bursts_and_calm_together_have_the_rate_that_was_asked_for():
    # Over 1,600 bursts their lengths alone make the rate vary by 2 or 3 %.
    moments = list(islice(bursty(2.0, Random(4), calm_s=54.0, burst_s=6.0), 200_000))
    assert moments == sorted(moments)
    assert len(moments) / moments[-1] == pytest.approx(2.0, rel=0.1)


def test_bursts_vary_more_than_independent_arrivals():
    def dispersion(pattern):
        moments = list(islice(arrivals(pattern, 2.0, Random(4)), 50_000))
        counts = [0] * (int(moments[-1] // 60) + 1)
        for at in moments:
            counts[int(at // 60)] += 1
        mean = sum(counts) / len(counts)
        return sum((count - mean) ** 2 for count in counts) / len(counts) / mean

    assert dispersion("poisson") == pytest.approx(1.0, abs=0.3)
    assert dispersion("bursty") > 5.0


def test_a_night_has_fewer_arrivals_than_a_day():
    moments = list(islice(arrivals("diurnal", 1.0, Random(4)), 80_000))
    night = sum(at % 86_400.0 < 10_800.0 for at in moments)
    noon = sum(37_800.0 < at % 86_400.0 < 48_600.0 for at in moments)
    assert noon > 4 * night


def test_impossible_arrivals_are_refused():
    with pytest.raises(ValidationError, match="poisson, bursty, diurnal"):
        arrivals("monthly", 1.0, Random(0))
    with pytest.raises(ValidationError, match="the mean rate allows 10"):
        next(bursty(1.0, Random(0), burst=11.0))


# -- nature ----------------------------------------------------------------------------------------------------------

DEVICE = DeviceLine("d@aer", num_qubits=5)
JOB = JobLine(0.0, device="d@aer", qubits=3, depth=10, two_qubit_gates=6, shots=1000)


@pytest.mark.parametrize("worse", ["error_2q", "error_1q", "readout_error", "layer_s"])
def test_worse_devices_give_worse_results(worse):
    assert fidelity(JOB, replace(DEVICE, **{worse: 3 * getattr(DEVICE, worse)})) < fidelity(JOB, DEVICE) < 1.0


def test_the_law_of_time_is_that_of_the_documentation():
    assert qpu_seconds(JOB, DEVICE) == pytest.approx(2.0 + 1000 * (250e-6 + 10 * 400e-9))
    assert wall_seconds(JOB) < 0.1


def test_drift_is_a_function_of_its_name_alone():
    names = [NoiseId(1, 0.1, 0, step).text() for step in range(30)]
    walk, backwards = Walk(), Walk()
    forth = [walk.factor("d@aer", name) for name in names]
    back = [backwards.factor("d@aer", name) for name in reversed(names)]
    assert forth == back[::-1]
    assert forth[0] == 1.0
    assert walk.factor("d@aer", "") == 1.0
    assert walk.factor("e@aer", names[5]) != forth[5]
    assert walk.factor("d@aer", NoiseId(1, 0.1, 1, 0).text()) == 1.0


def test_drift_raises_the_fidelity_to_its_factor():
    nature, name = Nature({"d@aer": DEVICE}), NoiseId(1, 0.1, 0, 9).text()
    plain = nature.candidate(JOB, "d@aer").fidelity
    assert nature.true_fidelity(JOB, "d@aer", name) == pytest.approx(plain ** Walk().factor("d@aer", name))
    assert 0.0 < nature.probe("d@aer", name) < 1.0


def test_a_device_without_noise_promises_no_fidelity():
    ideal = replace(DEVICE, name="d@aer_ideal")
    assert Nature({ideal.name: ideal}).candidate(JOB, ideal.name).fidelity is None


def test_a_refusal_of_the_trace_stands():
    nature = Nature({"d@aer": DEVICE})
    refused = Candidate("d@aer", refusal="no such gate")
    assert nature.candidate(replace(JOB, candidates=(refused,)), "d@aer") == refused
    assert "5" in nature.candidate(replace(JOB, qubits=6), "d@aer").refusal


# -- fleets and jobs -------------------------------------------------------------------------------------------------


def test_packaged_devices_have_the_medians_of_their_calibration():
    sherbrooke, manila = fleet("fake_sherbrooke@aer, fake_manila@aer", seed=1, agents=3, drift=0.1)
    assert (sherbrooke.num_qubits, manila.num_qubits) == (127, 5)
    assert 0.001 < sherbrooke.error_2q < 0.02
    assert sherbrooke.agents == 3
    assert sherbrooke.drift == 0.1
    assert sherbrooke.calibration_id != manila.calibration_id


@pytest.mark.parametrize("text", ["synthetic:0", "synthetic:x", "synthetic:1000000", "manila"])
def test_fleets_that_cannot_be_are_refused(text):
    with pytest.raises(ValidationError):
        fleet(text, seed=1)
    with pytest.raises(NotFound):
        fleet("fake_nowhere@aer", seed=1)


@pytest.mark.parametrize("mix", ["mixed", "short", "long", "fixed", "free", "plain"])
def test_generated_jobs_fit_their_devices(mix):
    machines = {device.name: device for device in fleet("synthetic:6", seed=2)}
    jobs = list(generate(Recipe(jobs=300, mix=mix_called(mix)), tuple(machines.values())).entries())
    assert len(jobs) == 300
    for job in jobs:
        named = job.choices or (job.device,)
        assert all(machines[name].num_qubits >= job.qubits for name in named)
        assert 2 * job.two_qubit_gates <= job.qubits * job.depth
        assert job.deadline_at is None or job.deadline_at > job.at
    assert (jobs[0].device == "auto") == bool(jobs[0].choices)


def test_failures_come_as_often_as_was_asked_for_and_end_with_the_jobs():
    machines = fleet("synthetic:4", seed=2)
    entries = list(generate(Recipe(jobs=5_000, mtbf_s=500.0), machines).entries())
    losses = [entry for entry in entries if isinstance(entry, LossLine)]
    assert len(losses) == pytest.approx(4 * entries[-1].at / 500.0, rel=0.25)
    assert isinstance(entries[-1], JobLine)


@pytest.mark.parametrize("wrong", [{"jobs": 0}, {"load": 0.0}, {"rate": -1.0}, {"pattern": "monthly"}])
def test_recipes_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        generate(Recipe(**wrong), fleet("synthetic:1", seed=1))
    with pytest.raises(ValidationError, match="mixed, short"):
        mix_called("strange")

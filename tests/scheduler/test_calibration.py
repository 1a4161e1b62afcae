"""Drift, probes and calibrations: the rules as pure functions, and their way through the core."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.errors import ValidationError
from qrtx_ray.model import Candidate
from qrtx_ray.model.noise import NoiseId
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.calibration import (
    DeviceCalibration,
    DeviceNoise,
    Phase,
    calibration_wanted,
    noise_step,
    predicted_fidelity,
)
from qrtx_ray.scheduler.commands import Compile, MeasureProbe, RunGroup
from qrtx_ray.scheduler.policies import NoiseAwarePolicy
from tests.scheduler.driving import DEVICE, OTHER, Driver, done

NOISE = DeviceNoise(seed=3, rate=0.1, max_frequency_s=0.0, predictive=False)


# -- the rules ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [{"rate": -1.0}, {"seed": -1}, {"drift_interval_s": 0.0}, {"probe_interval_s": 0.0}, {"threshold": 1.1}]
)
def test_numbers_out_of_their_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        DeviceNoise(**wrong)


def test_a_step_is_a_whole_drift_interval():
    assert [noise_step(NOISE, 100.0, at) for at in (100.0, 699.9, 700.0, 1_300.0, 0.0)] == [0, 0, 1, 2, 0]


def test_the_trend_is_the_straight_line_through_the_probes():
    probes = [(0.0, 1.0), (10.0, 0.9), (20.0, 0.8)]
    assert predicted_fidelity(probes, 30.0) == pytest.approx(0.7)
    assert predicted_fidelity(probes[:2], 30.0) is None
    assert predicted_fidelity([(5.0, 0.9)] * 3, 30.0) is None


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.floats(-1e-3, 1e-3), st.floats(0.5, 1.0), st.lists(st.floats(0, 1e5), min_size=3, max_size=8, unique=True))
def test_the_trend_of_points_on_a_line_is_that_line(slope, base, times):
    if max(times) - min(times) < 1.0:
        return
    probes = [(at, base + slope * at) for at in times]
    assert predicted_fidelity(probes, 2e5) == pytest.approx(base + slope * 2e5, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize(
    ("fidelities", "predictive", "wanted"),
    [
        ([], True, False),
        ([0.86], True, False),
        ([0.84], True, True),
        ([0.84, 0.9], False, False),
        ([0.95, 0.92, 0.89], True, True),
        ([0.95, 0.92, 0.89], False, False),
        ([0.95, 0.95, 0.949], True, False),
    ],
)
def test_a_calibration_is_wanted_below_the_threshold_or_when_the_trend_leads_there(fidelities, predictive, wanted):
    noise = replace(NOISE, predictive=predictive, horizon_s=600.0)
    probes = [(300.0 * i, fidelity) for i, fidelity in enumerate(fidelities)]
    assert calibration_wanted(noise, probes, 300.0 * len(fidelities)) is wanted


def test_the_names_of_the_noise_follow_from_epoch_and_time():
    state = DeviceCalibration(NOISE, 1000.0)
    assert NoiseId.parse(state.published) == NoiseId(3, 0.1, 0, 0)
    assert NoiseId.parse(state.truth(2300.0)) == NoiseId(3, 0.1, 0, 2)
    state.renew(2300.0)
    assert NoiseId.parse(state.published) == NoiseId.parse(state.truth(2800.0)) == NoiseId(3, 0.1, 1, 0)


def test_what_is_kept_can_be_recalled():
    state = DeviceCalibration(NOISE, 1000.0)
    state.renew(5000.0)
    state.measured(0.9, 5300.0)
    again = DeviceCalibration(NOISE, 9000.0)
    again.recall(state.fact())
    assert (again.epoch, again.calibrated_at, again.probes) == (1, 5000.0, [(5300.0, 0.9)])


# -- in the core -------------------------------------------------------------------------------------------------


def drifting(**noise) -> Driver:
    driver = Driver(policy=NoiseAwarePolicy(), noise={DEVICE: replace(NOISE, **noise)})
    driver.join()
    driver.ready()
    return driver


def probe(driver, fidelity, noise_id=None) -> list:
    """Let time pass to the next probe, and answer it."""
    while True:
        wait = driver.core.next_wakeup(driver.now)
        asked = [c for c in driver.tick(wait) if isinstance(c, MeasureProbe)]
        if asked:
            break
    return driver.say(events.ProbeMeasured(DEVICE, noise_id or asked[0].noise_id, fidelity))


def status(driver, device=DEVICE) -> str:
    return driver.core.snapshot()["devices"][device]


def reading(driver):
    return driver.core.device_readings()[0]


def test_without_drift_nothing_ever_happens(driver):
    driver.join()
    driver.ready()
    assert driver.core.next_wakeup(driver.now) is None
    assert reading(driver).noise_id == ""


def test_a_drift_rate_of_nought_is_no_drift():
    driver = drifting(rate=0.0)
    assert (driver.core.next_wakeup(driver.now), driver.store.facts) == (None, {})


def test_probes_are_asked_for_in_their_interval_under_the_noise_of_the_hour():
    driver = drifting()
    driver.tick(299.0)
    assert driver.core.next_wakeup(driver.now) == 1.0
    (asked,) = driver.tick(1.0)
    assert (asked.agent, asked.device, NoiseId.parse(asked.noise_id).step) == ("a", DEVICE, 0)
    driver.say(events.ProbeMeasured(DEVICE, asked.noise_id, 0.95))
    assert reading(driver).probe_fidelity == 0.95
    driver.tick(299.0)
    (asked,) = driver.tick(1.0)
    assert NoiseId.parse(asked.noise_id).step == 1


def test_one_probe_is_under_way_at_most_and_one_that_never_comes_is_given_up():
    driver = drifting()
    assert driver.tick(300.0)
    assert driver.core.next_wakeup(driver.now) == 60.0
    assert not driver.tick(59.0)
    assert [type(c) for c in driver.tick(1.0)] == [MeasureProbe]


def test_a_busy_agent_is_not_disturbed_until_the_probe_is_long_overdue():
    driver = drifting()
    driver.queued(compile_as={"estimated_s": 1000.0})
    asked = [c for _ in range(40) for c in driver.tick(10.0) if isinstance(c, MeasureProbe)]
    assert asked == []
    asked = [c for _ in range(21) for c in driver.tick(10.0) if isinstance(c, MeasureProbe)]
    assert len(asked) == 1


def test_a_report_of_another_epoch_or_that_nobody_asked_for_changes_nothing():
    driver = drifting()
    driver.say(events.ProbeMeasured(DEVICE, reading(driver).noise_id, 0.1))
    probe(driver, 0.1, NoiseId(3, 0.1, 7, 0).text())
    driver.say(events.ProbeMeasured(OTHER, "", 0.1))
    assert (status(driver), driver.core.stale_reports, reading(driver).probe_fidelity) == ("online", 3, None)


def test_a_probe_that_could_not_be_run_is_tried_again_later():
    driver = drifting()
    probe(driver, None)
    assert (status(driver), driver.core.next_wakeup(driver.now)) == ("online", 300.0)


def test_below_the_threshold_the_device_is_calibrated_and_publishes_anew():
    driver = drifting()
    probe(driver, 0.84)
    assert status(driver) == "calibrating"
    job = driver.queued()
    assert (driver.state(job), driver.core.explain(job)["reason"]) == (
        "Queued",
        "the device is being calibrated for 60.000 s more",
    )
    commands = driver.tick(60.0)
    assert status(driver) == "online"
    assert NoiseId.parse(reading(driver).noise_id) == NoiseId(3, 0.1, 1, 0)
    assert reading(driver).calibrated_at == driver.now
    (run,) = [c for c in commands if isinstance(c, RunGroup)]
    assert NoiseId.parse(run.group.noise_id) == NoiseId(3, 0.1, 1, 0)


def test_what_runs_runs_out_first():
    driver = drifting()
    job = driver.queued(compile_as={"estimated_s": 1000.0}, execution_timeout_s=1e5)
    driver.started((job, 1))
    probe(driver, 0.5)
    assert status(driver) == "calibrating"
    waiting = driver.queued()
    assert driver.core.explain(waiting)["reason"] == "the device drains for a calibration"
    driver.tick(500.0)
    assert NoiseId.parse(reading(driver).noise_id).epoch == 0, "it has not begun"
    driver.reported(done(job))
    driver.ready()
    assert driver.state(waiting) == "Queued"
    driver.tick(60.0)
    assert driver.state(waiting) == "Allocating"


def test_what_was_given_up_here_but_may_still_run_there_counts_as_running():
    driver = drifting()
    driver.queued(execution_timeout_s=1.0, compile_as={"estimated_s": 0.5})
    job = next(iter(driver.store.records))
    driver.started((job, 1))
    driver.tick(20.0)
    assert driver.state(job) == "Timeout"
    probe(driver, 0.5)
    assert driver.core.explain(driver.queued())["reason"] == "the device drains for a calibration"
    driver.reported(done(job))
    assert driver.core.next_wakeup(driver.now) == 60.0


def test_a_device_is_not_calibrated_too_often():
    driver = drifting(max_frequency_s=3600.0)
    probe(driver, 0.5)
    assert status(driver) == "online"
    while driver.now < 1000.0 + 3600.0 - 300.0:
        probe(driver, 0.5)
        assert status(driver) == "online"
    probe(driver, 0.5)
    assert status(driver) == "calibrating"


def test_a_falling_trend_is_acted_on_before_the_threshold_is_reached():
    driver = drifting(predictive=True)
    for fidelity in (0.95, 0.92):
        probe(driver, fidelity)
        assert status(driver) == "online"
    probe(driver, 0.89)
    assert status(driver) == "calibrating"


def test_runs_see_the_drifted_noise_and_compilers_the_published_one():
    driver = drifting()
    driver.now += 1250.0
    job = driver.submit()
    (order,) = driver.compiler()
    assert NoiseId.parse(order.tasks[0].calibration_id) == NoiseId(3, 0.1, 0, 0)
    (run,) = [c for c in driver.compiled(order) if isinstance(c, RunGroup)]
    assert (run.group.members[0].job_id, NoiseId.parse(run.group.noise_id)) == (job, NoiseId(3, 0.1, 0, 2))


def test_epoch_and_probes_survive_a_restart():
    driver = drifting()
    probe(driver, 0.5)
    driver.tick(60.0)
    at = driver.now
    probe(driver, 0.9)
    driver.now += 1000.0
    driver.crash()
    (one, _) = driver.core.device_readings()
    assert (NoiseId.parse(one.noise_id).epoch, one.calibrated_at, one.probe_fidelity) == (1, at, 0.9)


def test_a_calibration_cut_short_by_a_restart_begins_again_with_the_next_probe():
    driver = drifting()
    probe(driver, 0.5)
    driver.crash()
    assert status(driver) != "calibrating"
    driver.join()
    driver.ready()
    probe(driver, 0.5)
    assert status(driver) == "calibrating"


def test_jobs_that_may_choose_leave_a_device_that_is_calibrated():
    driver = drifting()
    driver.join("b", devices=(OTHER,))
    driver.queued(compile_as={"estimated_s": 10.0}, execution_timeout_s=1e5)
    published = {"noise_id": reading(driver).noise_id}
    job = driver.placed(Candidate(DEVICE, fidelity=0.99), Candidate(OTHER, fidelity=0.2), compile_as=published)
    assert driver.record(job).device == DEVICE
    probe(driver, 0.5)
    assert (driver.record(job).device, driver.state(job)) == (OTHER, "Pending")


def test_after_a_calibration_jobs_with_a_floor_are_compiled_anew_and_others_run_as_they_are():
    driver = drifting()
    old = reading(driver).noise_id
    driver.queued(compile_as={"estimated_s": 1000.0})
    picky = driver.queued(fidelity_floor=0.5, compile_as={"fidelity": 0.9, "noise_id": old})
    plain = driver.queued(compile_as={"noise_id": old})
    probe(driver, 0.5)
    driver.say(events.AgentLost("a"))  # what ran there is gone, and so the device has drained
    commands = driver.tick(60.0)
    assert (driver.state(picky), driver.state(plain)) == ("Pending", "Queued")
    orders = [o for c in [*commands, *driver.compiler()] if isinstance(c, Compile) for o in c.tasks]
    assert [NoiseId.parse(o.calibration_id).epoch for o in orders if o.job_id == picky] == [1]


def test_a_fleet_is_not_probed_in_one_instant():
    noise = {name: replace(NOISE, seed=i) for i, name in enumerate((DEVICE, OTHER))}
    driver = Driver(noise=noise)
    driver.join(devices=(DEVICE, OTHER))
    first = driver.core.next_wakeup(driver.now)
    assert first == pytest.approx(150.0)
    assert [c.device for c in driver.tick(first)] == [DEVICE]
    assert [c.device for c in driver.tick(150.0) if isinstance(c, MeasureProbe)] == [DEVICE, OTHER]


def test_a_job_with_a_floor_that_was_compiled_while_its_device_was_calibrated_is_compiled_anew():
    driver = drifting()
    old = reading(driver).noise_id
    job = driver.submit(fidelity_floor=0.5)
    (order,) = driver.compiler()
    probe(driver, 0.5)
    driver.tick(60.0)
    assert reading(driver).noise_id != old
    driver.compiled(order, fidelity=0.9, noise_id=old)
    assert driver.state(job) == "Pending"
    (order,) = driver.compiler()
    driver.compiled(order, fidelity=0.4, noise_id=reading(driver).noise_id)
    assert (driver.state(job), driver.record(job).error.code) == ("Failed", "fidelity_floor_unmet")


def test_a_device_is_not_calibrated_while_work_of_before_a_restart_may_run_there():
    driver = drifting(probe_interval_s=5.0)
    job = driver.queued(compile_as={"estimated_s": 10.0})
    assert driver.record(job).agent == "a"
    driver.crash()
    driver.join("b")
    driver.ready("b")
    probe(driver, 0.1)
    calibration = driver.core._world.devices[DEVICE].calibration
    assert calibration.phase is Phase.DRAINING
    driver.join("a", running=((job, 1),))
    assert calibration.phase is Phase.DRAINING
    driver.reported(done(job))
    assert calibration.phase is Phase.CALIBRATING

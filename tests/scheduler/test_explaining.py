"""What people are told: why, who is ahead, when, and what would change it."""

from __future__ import annotations

import json

import pytest

from qrtx_ray.model import Candidate, Reservation
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.accuracy import Accuracy
from qrtx_ray.scheduler.policies import NoiseAwarePolicy
from qrtx_ray.scheduler.tenants import TenantPolicy
from tests.scheduler.driving import DEVICE, OTHER, Driver, done


def here(device=DEVICE, fidelity=0.9, **fields) -> Candidate:
    return Candidate(device, "c", fidelity, 2.5, 10.0, **fields)


def busy(driver, seconds=100.0, **fields):
    """The agent runs something for `seconds`."""
    job = driver.queued(compile_as={"estimated_s": seconds}, execution_timeout_s=1e6, **fields)
    driver.join()
    driver.ready()
    driver.started((job, 1))
    return job


def test_the_jobs_ahead_show_as_levels_and_numbers_only(driver):
    busy(driver)
    driver.queued(3, tenant="bob", priority=95)
    driver.queued(2, tenant="bob")
    told = driver.core.explain(driver.queued(priority=50))
    assert told["ahead"] == [{"level": "critical", "count": 3}, {"level": "normal", "count": 2}]
    assert told["position"] == 5, "the others' tenant has nothing running, so it is their turn"
    assert "job00" not in json.dumps(told | {"job_id": ""}), "nobody learns of others' jobs"


def test_the_start_is_estimated_from_what_is_ahead_and_who_works(driver):
    busy(driver, 100.0)
    driver.queued(3, compile_as={"estimated_s": 20.0})
    start = driver.core.explain(driver.queued(compile_as={"estimated_s": 1.0}))["estimated_start"]
    assert start["at"] == pytest.approx(driver.now + 160.0)
    assert start["low"] < start["at"] < start["high"]
    driver.now += 40.0
    driver.tick()
    again = driver.core.explain("job004")["estimated_start"]
    assert again["at"] == pytest.approx(start["at"])


def test_two_agents_halve_the_wait(driver):
    driver.join("b")
    driver.queued(compile_as={"estimated_s": 100.0})
    driver.ready("b")
    busy(driver, 100.0)
    driver.queued(4, compile_as={"estimated_s": 10.0})
    assert driver.core.explain(driver.queued())["estimated_start"]["at"] == pytest.approx(driver.now + 120.0)


def test_lines_of_other_devices_of_the_same_agents_are_worked_off_too(driver):
    driver.queued(2, device=OTHER, priority=95, compile_as={"estimated_s": 30.0})
    job = driver.queued()
    driver.join(devices=(DEVICE, OTHER))
    assert driver.core.explain(job)["estimated_start"]["at"] == pytest.approx(driver.now + 60.0)


def test_estimates_learn_from_what_runs_took(driver):
    driver.join()
    for _ in range(30):
        job = driver.queued(compile_as={"estimated_s": 0.005})
        driver.ready()
        driver.reported(done(job))  # takes 0.01 s
    busy(driver, 100.0)
    start = driver.core.explain(driver.queued())["estimated_start"]
    assert start["at"] - driver.now == pytest.approx(200.0, rel=0.05)
    wide = driver.core.explain(driver.queued(device=OTHER))["estimated_start"]
    assert wide is None, "nobody serves that device"
    assert (start["high"] - driver.now) / (start["at"] - driver.now) < 1.5


def test_a_started_job_tells_when_it_started(driver):
    job = busy(driver)
    assert driver.core.explain(job)["estimated_start"] == {"at": driver.now, "low": driver.now, "high": driver.now}


def test_calibrations_and_reservations_of_others_count(driver):
    busy(driver, 100.0)
    job = driver.queued(tenant="bob")
    before = driver.core.explain(job)["estimated_start"]["at"]
    driver.say(events.ReservationMade(Reservation("r", DEVICE, "alice", driver.now + 50, driver.now + 550)))
    assert driver.core.explain(job)["estimated_start"]["at"] == pytest.approx(before + 500.0)
    mine = driver.core.explain(driver.queued(reservation="r"))["estimated_start"]["at"]
    assert mine < before + 500.0


def test_candidates_show_their_scores_and_why_others_will_not_do():
    driver = Driver(policy=NoiseAwarePolicy())
    driver.join(devices=(DEVICE, OTHER))
    job = driver.placed(here(DEVICE, 0.9), here(OTHER, refusal="too few qubits"))
    (one, two) = driver.core.explain(job)["candidates"]
    assert (one["device"], one["chosen"], one["fidelity"], one["refusal"]) == (DEVICE, True, 0.9, "")
    assert one["score"] == pytest.approx(sum(one["contributions"].values()))
    assert (two["device"], two["chosen"], two["score"], two["refusal"]) == (OTHER, False, None, "too few qubits")
    driver.crash()
    assert [c["device"] for c in driver.core.explain(job)["candidates"]] == [DEVICE, OTHER]


def changes(driver, job) -> str:
    return "\n".join(driver.core.explain(job)["changes"])


def test_it_is_told_what_would_change_it():
    driver = Driver(tenants={"alice": TenantPolicy(max_running=1)}, policy=NoiseAwarePolicy())
    job = driver.queued()
    assert "an agent that serves the device joins" in changes(driver, job)
    driver.say(events.DevicePaused(DEVICE))
    assert "the operator resumes the device" in changes(driver, job)
    driver.say(events.DeviceResumed(DEVICE))
    busy(driver, priority=95)
    assert "quota `running`" in changes(driver, job)
    assert driver.core.explain(job)["reason"] == "its tenant has 1 job running, which is its quota `running`"
    driver.queued(3, tenant="bob")
    waiting = driver.queued(tenant="bob")
    told = changes(driver, waiting)
    assert "at level high about 4 jobs fewer would go before it" in told
    assert "one agent more" in told
    assert f"at {driver.now + 3600:.3f} s" in told


def test_a_faster_device_of_the_survey_is_named():
    driver = Driver(policy=NoiseAwarePolicy(waiting_weight=0.0))
    busy(driver)
    driver.join("b", devices=(OTHER,))
    job = driver.placed(here(DEVICE, 0.99), here(OTHER, 0.5))
    assert f"on {OTHER} it would start in about 0 s" in changes(driver, job)


def test_a_deadline_tells_by_when_it_must_start(driver):
    busy(driver)
    job = driver.queued(deadline_at=driver.now + 50.0, compile_as={"estimated_s": 10.0})
    assert f"unless it starts by {driver.now + 40:.3f} s" in changes(driver, job)


def test_nothing_changes_what_is_over(driver):
    job = busy(driver)
    driver.reported(done(job))
    told = driver.core.explain(job)
    assert (told["changes"], told["ahead"], told["reason"]) == ([], [], "it has ended: Completed")


# -- before a job exists -----------------------------------------------------------------------------------------


def test_an_estimate_has_all_of_every_device():
    driver = Driver(policy=NoiseAwarePolicy())
    driver.join(devices=(DEVICE,))
    told = driver.core.estimate("alice", 50, (here(DEVICE, 0.8), here(OTHER, 0.9)))
    assert (told["chosen"], told["policy"]) == (DEVICE, "noise_aware")
    one, two = told["devices"][DEVICE], told["devices"][OTHER]
    assert (one["qpu_s"], one["estimated_s"], one["fidelity"], one["chosen"]) == (2.5, 10.0, 0.8, True)
    assert (one["wait_s"], one["wait_low_s"], one["wait_high_s"]) == (0.0, 0.0, 0.0)
    assert one["provenance"]["calibration_id"] == "c"
    assert (two["wait_s"], two["refusal"], two["score"]) == (None, "it takes no work now", None)


def test_an_estimate_waits_behind_its_level_and_those_above(driver):
    busy(driver, 100.0)
    driver.queued(2, priority=95, compile_as={"estimated_s": 10.0})
    driver.queued(3, priority=50, compile_as={"estimated_s": 10.0})
    wait = {p: driver.core.estimate("bob", p, (here(),))["devices"][DEVICE]["wait_s"] for p in (95, 80, 50, 10)}
    assert wait == pytest.approx({95: 120.0, 80: 120.0, 50: 150.0, 10: 150.0})


def test_an_estimate_counts_what_waits_for_other_devices_of_the_same_agents(driver):
    driver.queued(5, device=OTHER, compile_as={"estimated_s": 10.0})
    driver.join(devices=(DEVICE, OTHER))
    assert driver.core.estimate("bob", 50, (here(),))["devices"][DEVICE]["wait_s"] == pytest.approx(50.0)


def test_an_estimate_says_what_would_be_refused(driver):
    driver.join()
    told = driver.core.estimate("bob", 50, (here(fidelity=0.5),), fidelity_floor=0.6)
    assert told["chosen"] is None
    assert told["devices"][DEVICE]["refusal"] == "the predicted fidelity is 0.5000; fidelity_floor demands 0.6000"


def test_asking_changes_nothing(driver):
    busy(driver)
    job = driver.queued()
    before = (driver.core.snapshot(), driver.core.next_wakeup(driver.now))
    driver.core.explain(job)
    driver.core.estimate("bob", 50, (here(), here("fake_nowhere@aer")))
    assert (driver.core.snapshot(), driver.core.next_wakeup(driver.now)) == before
    assert driver.core.handle(events.Ticked(), driver.now) == []


# -- how good estimates are --------------------------------------------------------------------------------------


def test_accuracy_begins_with_trust_within_a_factor_of_two_and_learns():
    accuracy = Accuracy()
    assert accuracy.ratio == 1.0
    low, high = accuracy.bar(1)
    assert (low, high) == pytest.approx((2**-1.28, 2**1.28))
    for _ in range(200):
        accuracy.observe(1.0, 3.0)
    assert accuracy.ratio == pytest.approx(3.0, rel=0.01)
    assert accuracy.bar(1)[1] < 1.2
    assert accuracy.bar(100)[1] < accuracy.bar(1)[1]


@pytest.mark.parametrize(("estimated", "measured"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_runs_of_no_length_teach_nothing(estimated, measured):
    accuracy = Accuracy()
    accuracy.observe(estimated, measured)
    assert accuracy.count == 0

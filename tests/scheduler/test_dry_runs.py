"""Estimates and floors: what ends with the compilation."""

from __future__ import annotations

from qrtx_ray.model import AUTO_DEVICE, Candidate, CompileReport
from qrtx_ray.scheduler import events
from tests.scheduler.driving import DEVICE, OTHER, profile


def report(driver, job, order, **fields):
    driver.say(events.JobsCompiled("c", "1", (CompileReport(job, order.attempt, **fields),)))


RESULT = {"result_sha256": "ab" * 32, "result_bytes": 10}


def test_a_dry_run_is_completed_with_its_estimate_and_charges_nothing(driver):
    job = driver.submit(dry_run=True)
    (order,) = driver.compiler()[0].tasks
    report(driver, job, order, profile=profile(), **RESULT)
    record = driver.record(job)
    assert (record.state.value, record.result_sha256, record.result_bytes) == ("Completed", "ab" * 32, 10)
    assert (record.qpu_s, record.progress, record.attempt, record.finished_at) == (0.0, 1.0, 0, driver.now)
    assert record.profile == profile()


def test_a_dry_run_of_several_devices_ends_with_the_survey_when_that_wrote_the_estimate(driver):
    job = driver.submit(dry_run=True, device=AUTO_DEVICE, choices=(DEVICE, OTHER))
    (order,) = driver.compiler()[0].tasks
    candidates = (Candidate(DEVICE, "c", 0.9), Candidate(OTHER, "c", 0.8))
    report(driver, job, order, candidates=candidates, **RESULT)
    assert (driver.state(job), driver.record(job).candidates) == ("Completed", candidates)


def test_a_dry_run_without_an_estimate_is_an_error(driver):
    job = driver.submit(dry_run=True)
    (order,) = driver.compiler()[0].tasks
    report(driver, job, order, profile=profile())
    assert driver.record(job).error.code == "compile_failed"


def test_a_predicted_fidelity_below_the_floor_fails_with_both_numbers(driver):
    job = driver.queued(compile_as={"fidelity": 0.7}, fidelity_floor=0.8)
    error = driver.record(job).error
    assert (error.code, error.field, error.limit) == ("fidelity_floor_unmet", "fidelity_floor", "0.8000")
    assert error.message == "the predicted fidelity is 0.7000; fidelity_floor demands 0.8000"


def test_a_fidelity_at_the_floor_and_a_device_without_noise_will_do(driver):
    assert driver.state(driver.queued(compile_as={"fidelity": 0.8}, fidelity_floor=0.8)) == "Queued"
    assert driver.state(driver.queued(compile_as={"fidelity": None}, fidelity_floor=1.0)) == "Queued"


def test_a_run_that_cannot_end_before_its_deadline_is_refused_after_compilation(driver):
    job = driver.queued(compile_as={"estimated_s": 100.0}, deadline_at=driver.now + 50)
    assert (driver.state(job), driver.record(job).error.code) == ("Failed", "deadline_unmeetable")

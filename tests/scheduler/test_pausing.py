"""Pause and resume, at every point of a job's way, and over restarts."""

from __future__ import annotations

import pytest

from qrtx_ray.errors import InvalidState, NotFound
from qrtx_ray.model import Candidate, CompileReport, Heartbeat, RunReport
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.calibration import DeviceNoise
from qrtx_ray.scheduler.commands import PreemptAttempt, RunGroup, StopAttempt
from qrtx_ray.scheduler.tenants import TenantPolicy
from tests.scheduler.driving import DEVICE, OTHER, Driver, broken, done, error, ref

GAVE_WAY = {"preempted": True, "progress": 0.5}


def gave_way(job, attempt=1, sequence=1, *, kept=True) -> RunReport:
    return RunReport(job, attempt, checkpoint=ref(job, attempt, sequence) if kept else None, **GAVE_WAY)


def is_paused(driver, job) -> bool:
    record = driver.record(job)
    wish = (record.pause_requested, record.paused_by, record.agent, record.started_at)
    return record.state.value == "Paused" and wish == (False, "alice", None, None) and record.paused_at is not None


def runs(commands) -> list[tuple[str, int]]:
    return [(m.job_id, m.attempt) for c in commands if isinstance(c, RunGroup) for m in c.group.members]


# -- where nobody holds the job ----------------------------------------------------------------------------------


def test_a_pending_job_is_paused_at_once_and_resumed_into_the_compilers_line(driver):
    job = driver.submit()
    assert driver.pause(job) == []
    assert is_paused(driver, job)
    driver.resume(job)
    record = driver.record(job)
    assert (record.state.value, record.paused_at, record.paused_by) == ("Pending", None, None)
    assert driver.reasons(job)[-2:] == ["paused by alice", "resumed by alice"]
    driver.pause(job)
    assert driver.compiler() == [], "nobody compiles what is paused"
    (order,) = driver.resume(job)
    driver.compiled(order)
    assert driver.state(job) == "Queued"


def test_a_queued_job_leaves_the_line_and_comes_back_into_its_place(driver):
    first, second = driver.queued(2)
    driver.pause(first)
    assert is_paused(driver, first)
    assert (driver.core.position(first), driver.core.position(second)) == (None, 0)
    driver.resume(first)
    assert (driver.state(first), driver.core.position(first)) == ("Queued", 0)


def test_a_resumed_job_is_given_to_an_agent_that_waits(driver):
    job = driver.paused(driver.queued())
    driver.join()
    assert driver.ready() == []
    assert runs(driver.resume(job)) == [(job, 1)]


def test_a_job_in_backoff_is_paused_and_waits_out_the_rest_afterwards():
    driver = Driver(retry_initial_s=100.0, retry_max_s=100.0)
    job = driver.executing()
    driver.reported(broken(job, retryable=True))
    driver.pause(job)
    assert is_paused(driver, job)
    driver.tick(40.0)
    driver.resume(job)
    assert (driver.state(job), driver.core.position(job)) == ("Queued", None)
    driver.tick(60.0)
    assert driver.core.position(job) == 0


def test_pausing_twice_and_resuming_twice_change_nothing(driver):
    job = driver.paused(driver.queued())
    before = driver.record(job)
    driver.pause(job)
    assert driver.record(job) == before
    driver.resume(job)
    before = driver.record(job)
    driver.resume(job)
    assert driver.record(job) == before


@pytest.mark.parametrize("event", [events.PauseRequested, events.ResumeRequested])
def test_what_has_ended_is_neither_paused_nor_resumed_and_what_is_anothers_does_not_exist(driver, event):
    job = driver.executing()
    text = driver.refused(event(job, "bob", "bob"), NotFound)
    assert driver.refused(event("nobody", "bob", "bob"), NotFound) == text.replace(job, "nobody")
    driver.reported(done(job))
    assert "Completed" in driver.refused(event(job, "alice", "alice"), InvalidState)


def test_what_is_being_cancelled_is_not_paused(driver):
    job = driver.executing()
    driver.cancel(job)
    assert "being cancelled" in driver.refused(events.PauseRequested(job, "alice", "alice"), InvalidState)


def test_a_paused_job_is_cancelled_at_once_and_keeps_its_checkpoints(driver):
    job = driver.executing()
    driver.pause(job)
    driver.reported(gave_way(job))
    driver.cancel(job)
    assert (driver.state(job), driver.record(job).checkpoints) == ("Cancelled", (ref(job),))
    assert driver.core.next_wakeup(driver.now) is None


# -- while a compiler has it -------------------------------------------------------------------------------------


def compiling(driver, **fields):
    job = driver.submit(**fields)
    (order,) = driver.compiler()
    return job, order


def test_a_pause_during_compilation_takes_effect_with_the_report(driver):
    job, order = compiling(driver)
    driver.pause(job)
    assert (driver.state(job), driver.record(job).pause_requested) == ("Compiling", True)
    driver.compiled(order)
    assert is_paused(driver, job)
    assert [c.to_state.value for c in driver.store.changes if c.job_id == job][-2:] == ["Queued", "Paused"]
    driver.resume(job)
    assert (driver.state(job), driver.core.position(job)) == ("Queued", 0)


def test_a_resume_before_the_report_takes_the_wish_back(driver):
    job, order = compiling(driver)
    driver.pause(job)
    driver.resume(job)
    driver.compiled(order)
    assert (driver.state(job), driver.record(job).paused_by) == ("Queued", None)


def test_a_job_that_loses_its_compiler_while_it_is_to_be_paused_is_paused(driver):
    job, _ = compiling(driver)
    driver.pause(job)
    driver.say(events.CompilerLost("c"))
    assert is_paused(driver, job)


def test_a_restart_during_compilation_pauses_it(driver):
    job, _ = compiling(driver)
    driver.pause(job)
    driver.crash()
    assert is_paused(driver, job)
    driver.resume(job)
    assert driver.state(job) == "Pending"


def test_a_job_that_cannot_be_compiled_fails_although_it_was_to_be_paused(driver):
    job, order = compiling(driver)
    driver.pause(job)
    driver.say(events.JobsCompiled("c", "1", (CompileReport(job, order.tasks[0].attempt, error=error("bad")),)))
    assert (driver.state(job), driver.record(job).pause_requested) == ("Failed", False)


def test_a_survey_that_comes_back_pauses_and_the_choice_counts_again_after_the_resume(driver):
    job = driver.submit(device="auto", choices=(DEVICE, OTHER))
    (survey,) = driver.compiler()
    driver.pause(job)
    driver.surveyed(survey, Candidate(DEVICE, fidelity=0.9, qpu_s=2.5, estimated_s=7.0))
    assert is_paused(driver, job)
    world = driver.core._world
    assert sum(world.devices[DEVICE].coming) == 0
    driver.resume(job)
    assert (driver.state(job), sum(world.devices[DEVICE].coming)) == ("Pending", 1)


# -- while an agent has it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["allocated", "executing"])
def test_an_agent_is_asked_and_its_report_pauses_the_job(driver, way):
    job = getattr(driver, way)()
    assert driver.pause(job) == [PreemptAttempt("a", "1", job, 1)]
    assert driver.record(job).pause_requested, "the wish is durable before the reply"
    driver.reported(gave_way(job))
    record = driver.record(job)
    assert is_paused(driver, job)
    assert (record.checkpoints, record.progress) == ((ref(job),), 0.5)
    assert (record.preemptions, record.retries, record.losses) == (0, 0, 0)
    driver.ready()
    assert driver.state(job) == "Paused", "nobody is given what is paused"
    assert runs(driver.resume(job)) == [(job, 2)]
    driver.reported(done(job, 2))
    assert (driver.state(job), driver.record(job).checkpoints) == ("Completed", ())


def test_a_heartbeat_repeats_a_question_that_may_have_been_lost(driver):
    job = driver.executing()
    driver.pause(job)
    beat = events.AgentHeard(Heartbeat("a", "1", ((job, 1),)))
    assert driver.say(beat) == [PreemptAttempt("a", "1", job, 1)]
    assert driver.pause(job) == [PreemptAttempt("a", "1", job, 1)]
    driver.resume(job)
    assert driver.say(beat) == []
    assert not driver.record(job).pause_requested


def test_a_resume_that_the_agent_did_not_hear_of_costs_an_attempt_and_nothing_else(driver):
    job = driver.executing()
    driver.pause(job)
    driver.resume(job)
    driver.reported(gave_way(job))
    record = driver.record(job)
    assert (record.state.value, record.preemptions, record.losses) == ("Queued", 0, 0)
    assert driver.core.snapshot()["preempted"] == 0


def test_a_result_that_is_faster_than_the_pause_completes_the_job(driver):
    job = driver.executing()
    driver.pause(job)
    driver.reported(done(job))
    assert (driver.state(job), driver.record(job).pause_requested) == ("Completed", False)


def test_a_lost_agent_pauses_the_job_with_what_was_kept(driver):
    job = driver.executing()
    driver.kept(ref(job))
    driver.pause(job)
    driver.say(events.AgentLost("a"))
    record = driver.record(job)
    assert is_paused(driver, job)
    assert (record.checkpoints, record.progress, record.losses) == ((ref(job),), 0.5, 1)
    assert driver.reasons(job)[-2:] == ["agent lost", "paused by alice"]


def test_a_retry_waits_until_the_resume(driver):
    job = driver.executing()
    driver.pause(job)
    driver.reported(broken(job, retryable=True))
    assert is_paused(driver, job)
    assert driver.record(job).retries == 1
    driver.tick(100.0)
    driver.resume(job)
    assert driver.core.position(job) == 0


def test_an_error_of_the_job_ends_it_although_it_was_to_be_paused(driver):
    job = driver.executing()
    driver.pause(job)
    driver.reported(broken(job))
    assert driver.state(job) == "Failed"


def test_a_run_that_does_not_give_way_is_still_bounded_in_time(driver):
    job = driver.executing(execution_timeout_s=20.0)
    driver.pause(job)
    driver.tick(31.0)
    assert driver.state(job) == "Timeout"


def test_a_cancel_after_the_pause_stops_and_cancels(driver):
    job = driver.executing()
    driver.pause(job)
    assert driver.cancel(job) == [StopAttempt("a", "1", job, 1)]
    driver.reported(gave_way(job))
    assert driver.state(job) == "Cancelled"


def test_pauses_are_no_losses_however_many():
    driver = Driver(max_losses=0)
    job = driver.executing()
    for attempt in range(1, 9):
        driver.pause(job)
        driver.reported(gave_way(job, attempt, attempt))
        driver.ready()
        driver.resume(job)
        driver.started((job, attempt + 1))
    assert (driver.state(job), driver.record(job).attempt) == ("Executing", 9)


# -- restarts ----------------------------------------------------------------------------------------------------


def test_a_paused_job_is_paused_after_a_restart_and_goes_on_with_its_checkpoints(driver):
    job = driver.executing()
    driver.pause(job)
    driver.reported(gave_way(job))
    driver.crash()
    assert is_paused(driver, job)
    driver.join()
    assert driver.ready() == []
    driver.resume(job)
    assert driver.record(job).checkpoints == (ref(job),)


@pytest.mark.parametrize("named", [True, False])
def test_a_pause_that_is_under_way_survives_a_restart(driver, named):
    job = driver.executing()
    driver.pause(job)
    driver.crash()
    if named:
        assert driver.join(running=((job, 1),)) == [PreemptAttempt("a", "1", job, 1)]
        driver.reported(gave_way(job))
    else:
        driver.tick(driver.settings.agent_grace_s)
    assert is_paused(driver, job)


def test_a_pause_while_the_agent_is_away_is_told_when_it_comes_back(driver):
    job = driver.executing()
    driver.crash()
    assert driver.pause(job) == []
    assert driver.join(running=((job, 1),)) == [PreemptAttempt("a", "1", job, 1)]


# -- time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["submit", "queued"])
def test_the_queue_timeout_counts_anew_from_the_resume(driver, way):
    job = getattr(driver, way)(queue_timeout_s=100.0)
    driver.tick(60.0)
    driver.pause(job)
    driver.tick(1_000.0)
    driver.resume(job)
    driver.crash()
    driver.tick(99.0)
    assert driver.state(job) in {"Queued", "Pending"}
    driver.tick(1.0)
    assert (driver.state(job), driver.record(job).error.code) == ("Timeout", "queue_timeout")


def test_aging_and_promotion_count_anew_from_the_resume():
    driver = Driver(queue_timeout_s=None)
    job = driver.queued(priority=10)
    driver.tick(90_000)
    assert driver.record(job).promoted_at is not None
    driver.pause(job)
    driver.tick(90_000)
    driver.resume(job)
    assert driver.record(job).promoted_at is None
    driver.tick(80_000)
    assert driver.record(job).promoted_at is None
    driver.tick(6_400)
    assert driver.record(job).promoted_at is not None


def test_a_pause_that_is_too_long_ends_the_job():
    driver = Driver(paused_timeout_s=500.0)
    job = driver.paused(driver.queued())
    driver.tick(499.0)
    assert driver.state(job) == "Paused"
    driver.tick(1.0)
    assert (driver.state(job), driver.record(job).error.code) == ("Timeout", "pause_timeout")
    assert "500" in driver.record(job).error.message


@pytest.mark.parametrize("asks", [True, False])
def test_a_deadline_holds_during_a_pause(driver, asks):
    job = driver.paused(driver.queued(deadline_at=driver.now + 50.0))
    if asks:
        driver.now += 50.0
        driver.resume(job)
    else:
        driver.tick(50.0)
    assert (driver.state(job), driver.record(job).error.code) == ("Failed", "deadline_unmeetable")


def test_what_is_kept_counts_for_the_deadline(driver):
    job = driver.executing(compile_as={"estimated_s": 100.0}, deadline_at=driver.now + 150.0)
    driver.pause(job)
    driver.reported(gave_way(job))
    driver.tick(99.0)
    driver.resume(job)
    assert driver.state(job) == "Queued", "half of it is done, so there is time enough"
    driver.tick(1.0)
    assert driver.state(job) == "Failed"


# -- tenants, and what people are told ---------------------------------------------------------------------------


def test_a_paused_job_counts_among_the_unfinished_ones_and_frees_its_place_among_the_running():
    driver = Driver(tenants={"alice": TenantPolicy(max_running=1, max_queued=2)})
    job, other = driver.queued(2)
    driver.join()
    driver.ready(capacity=1)
    driver.started((job, 1))
    driver.pause(job)
    driver.reported(gave_way(job))
    driver.submit()
    assert [answer.error.code for answer in driver.answers] == ["quota_queued"]
    assert runs(driver.ready()) == [(other, 1)]
    assert runs(driver.resume(job)) == []


def test_paused_jobs_keep_what_they_need_of_a_quota():
    driver = Driver(tenants={"alice": TenantPolicy(max_qpu_s=5.0)})
    job, order = compiling(driver)
    driver.pause(job)
    driver.compiled(order)
    driver.queued()
    driver.submit()
    assert [answer.error.code for answer in driver.answers] == ["quota_qpu_seconds"]


def test_people_are_told_who_paused_it_and_what_would_change_that(driver):
    job, held, early = driver.paused(driver.queued(deadline_at=driver.now + 900.0)), driver.executing(), driver.submit()
    driver.compiler()
    driver.pause(held)
    driver.pause(early)
    told = driver.core.explain(job)
    assert (told["reason"], told["public_state"], told["position"]) == ("paused by alice", "PAUSED", None)
    assert told["estimated_start"] is None
    assert told["changes"][0] == "it is resumed"
    assert "its deadline" in told["changes"][1]
    assert "paused for too long" in told["changes"][2]
    assert driver.core.explain(held)["reason"] == "waits until agent a has paused it, for alice"
    assert driver.core.explain(early)["reason"].endswith("then paused by alice")
    assert driver.core.snapshot()["jobs"]["Paused"] == [0, 0, 1, 0]


def test_for_a_device_that_was_calibrated_meanwhile_it_is_compiled_anew():
    driver = Driver(noise={DEVICE: DeviceNoise(seed=1, rate=0.5)})
    driver.join()
    driver.ready()
    calibration = driver.core._world.devices[DEVICE].calibration
    job = driver.submit(fidelity_floor=0.1)
    (order,) = driver.compiler()
    driver.pause(job)
    driver.compiled(order, noise_id=calibration.published, fidelity=0.9)
    driver.tick(10.0)
    calibration.renew(driver.now)
    driver.resume(job)
    assert (driver.state(job), driver.record(job).profile) == ("Pending", None)

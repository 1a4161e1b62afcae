"""Checkpoints of running jobs: what is valid, what the next attempt is given, and jobs restored from them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from qrtx_ray.errors import InvalidState, NotFound
from qrtx_ray.model import Candidate, RunReport
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import CheckpointAttempt, RunGroup
from tests.scheduler.driving import DEVICE, OTHER, Driver, broken, done, ref


def member(commands):
    ((found,),) = [c.group.members for c in commands if isinstance(c, RunGroup)]
    return found


def lose(driver, name="a"):
    driver.say(events.AgentLost(name))
    driver.join()
    return member(driver.ready())


def gave_way(job, attempt=1, **fields) -> RunReport:
    return RunReport(job, attempt, preempted=True, **fields)


# -- what is kept ------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_valid_when_it_is_written_and_the_history_tells_of_it(driver):
    job = driver.executing()
    driver.now += 5.0
    driver.kept(ref(job, progress=0.421))
    record = driver.record(job)
    assert (record.checkpoints, record.state.value) == ((ref(job, progress=0.421),), "Executing")
    assert driver.core.record(job).progress == 0.421
    change = driver.store.changes[-1]
    assert (change.from_state, change.to_state, change.attempt) == (record.state, record.state, 1)
    assert (change.reason, change.at) == ("checkpoint 1 at 42 %", driver.now)


def test_only_the_newest_are_kept_newest_first():
    driver = Driver(kept_checkpoints=2)
    job = driver.executing()
    for number in (1, 2, 3):
        driver.kept(ref(job, 1, number, number / 10))
    assert [one.sequence for one in driver.record(job).checkpoints] == [3, 2]


def test_the_next_attempt_is_given_them_after_a_loss_and_after_a_restart(driver):
    job = driver.executing()
    driver.kept(ref(job, 1, 1, 0.2), ref(job, 1, 2, 0.4))
    expected = (ref(job, 1, 2, 0.4), ref(job, 1, 1, 0.2))
    given = lose(driver)
    assert (given.attempt, given.checkpoints) == (2, expected)
    assert driver.record(job).losses == 1
    driver.crash()
    driver.tick(driver.settings.agent_grace_s)
    assert (driver.state(job), driver.record(job).progress) == ("Queued", 0.4)
    driver.join("b")
    assert member(driver.ready("b")).checkpoints == expected


@pytest.mark.parametrize("wrong", [{"attempt": 2}, {"job_id": "nobody"}, {"sequence": 1}, {"progress": math.nan}, {"progress": 1.5}])  # fmt: skip
def test_a_word_that_is_stale_or_makes_no_sense_changes_nothing(driver, wrong):
    job = driver.executing()
    driver.kept(ref(job, 1, 1, 0.1))
    before, stale = driver.record(job), driver.core.stale_reports
    driver.kept(replace(ref(job, 1, 2, 0.2), **wrong))
    assert (driver.record(job), driver.core.stale_reports) == (before, stale + 1)


@pytest.mark.parametrize("who", [{"name": "b"}, {"incarnation": "0"}])
def test_what_a_stranger_kept_is_not_valid(driver, who):
    job = driver.executing()
    driver.kept(ref(job), **who)
    assert driver.record(job).checkpoints == ()


def test_of_an_attempt_that_was_lost_nothing_more_becomes_valid(driver):
    job = driver.executing()
    assert lose(driver).attempt == 2
    driver.kept(ref(job, 1, 1))
    assert driver.record(job).checkpoints == ()


def test_a_checkpoint_implies_the_start(driver):
    job = driver.allocated()
    driver.kept(ref(job))
    assert (driver.state(job), driver.record(job).started_at) == ("Executing", driver.now)


def test_a_report_may_say_again_what_was_said_before(driver):
    job = driver.executing()
    driver.kept(ref(job))
    driver.reported(gave_way(job, checkpoint=ref(job), progress=0.5))
    assert driver.record(job).checkpoints == (ref(job),)
    assert driver.reasons(job).count("checkpoint 1 at 50 %") == 1


def test_refused_checkpoints_are_struck_out_and_the_one_before_is_used(driver):
    job = driver.executing()
    driver.kept(ref(job, 1, 1, 0.2), ref(job, 1, 2, 0.4))
    assert lose(driver).attempt == 2
    driver.reported(gave_way(job, 2, refused=(ref(job, 1, 2, 0.4),)))
    record = driver.record(job)
    assert (record.checkpoints, record.progress) == ((ref(job, 1, 1, 0.2),), 0.2)
    assert "refused checkpoint 2" in driver.reasons(job)


def test_where_all_are_refused_the_job_begins_anew(driver):
    job = driver.executing()
    driver.kept(ref(job))
    assert lose(driver).attempt == 2
    driver.reported(gave_way(job, 2, refused=(ref(job), ref("nobody"))))
    assert (driver.record(job).checkpoints, driver.record(job).progress) == ((), 0.0)


def test_a_new_one_takes_the_place_of_those_refused(driver):
    job = driver.executing()
    driver.kept(ref(job))
    assert lose(driver).attempt == 2
    driver.reported(gave_way(job, 2, refused=(ref(job),), checkpoint=ref(job, 2, 2, 0.3)))
    assert driver.record(job).checkpoints == (ref(job, 2, 2, 0.3),)


@pytest.mark.parametrize(
    ("end", "state", "left"),
    [
        (done, "Completed", 0),
        (broken, "Failed", 1),
        (lambda job: broken(job, code="execution_timeout"), "Timeout", 1),
        (lambda job: broken(job, retryable=True), "Queued", 0),
        (lambda job: broken(job, code="attempt_lost"), "Queued", 1),
    ],
)
def test_what_is_left_of_them_at_the_end_of_an_attempt(driver, end, state, left):
    job = driver.executing()
    driver.kept(ref(job))
    driver.reported(end(job))
    record = driver.record(job)
    assert (record.state.value, len(record.checkpoints)) == (state, left)
    assert state != "Queued" or record.progress == (0.5 if left else 0.0)


def test_a_job_that_gives_way_with_nothing_new_keeps_what_it_had(driver):
    job = driver.executing()
    driver.kept(ref(job))
    driver.reported(gave_way(job, progress=0.0))
    assert (driver.record(job).checkpoints, driver.record(job).progress) == ((ref(job),), 0.5)
    assert not driver.core._world.jobs[job].keeps_nothing


# -- how they are taken ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "expected"), [(None, 60.0), (0.0, 0.0), (7.5, 7.5)])
def test_an_agent_is_told_how_often_and_how_large(own, expected):
    driver = Driver()
    driver.queued(checkpoint_interval_s=own, compile_as={"bulk_bytes": 4096})
    driver.join()
    given = member(driver.ready())
    assert (given.checkpoint_every_s, given.bulk_bytes, given.checkpoints) == (expected, 4096, ())


def test_a_checkpoint_can_be_asked_for(driver):
    job = driver.executing()
    before = driver.record(job)
    assert driver.say(events.CheckpointRequested(job, "alice")) == [CheckpointAttempt("a", "1", job, 1)]
    assert driver.record(job) == before
    assert driver.say(events.CheckpointRequested(job, None)) == [CheckpointAttempt("a", "1", job, 1)]


def test_only_a_running_job_of_ones_own_can_be_checkpointed(driver):
    running, waiting = driver.executing(), driver.queued()
    driver.refused(events.CheckpointRequested(running, "bob"), NotFound)
    driver.refused(events.CheckpointRequested("nobody", "alice"), NotFound)
    assert "Queued" in driver.refused(events.CheckpointRequested(waiting, "alice"), InvalidState)
    driver.cancel(running)
    assert "being cancelled" in driver.refused(events.CheckpointRequested(running, "alice"), InvalidState)
    driver.reported(done(running))
    driver.refused(events.CheckpointRequested(running, "alice"), InvalidState)


def test_while_an_agent_is_away_no_checkpoint_can_be_asked_for(driver):
    job = driver.executing()
    driver.crash()
    text = driver.refused(events.CheckpointRequested(job, "alice"), InvalidState)
    assert "agent a" in text
    driver.join(running=((job, 1),))
    assert driver.say(events.CheckpointRequested(job, "alice")) == [CheckpointAttempt("a", "1", job, 1)]


# -- what they are good for --------------------------------------------------------------------------------------


def test_an_estimate_is_judged_by_the_part_that_was_run(driver):
    job = driver.executing(compile_as={"estimated_s": 10.0})
    driver.kept(ref(job, progress=0.5))
    assert lose(driver).attempt == 2
    world = driver.core._world
    assert world.jobs[job].progress_before == 0.5
    driver.crash()
    driver.join(running=((job, 2),))
    assert driver.core._world.jobs[job].progress_before == 0.5, "those of earlier attempts, as the record tells"


def test_a_restored_job_begins_with_the_checkpoints_of_another(driver):
    old = (ref("old", 4, 9, 0.75), ref("old", 3, 8, 0.5))
    job = driver.queued(restored_from="old", checkpoints=old, checkpoint_interval_s=5.0)
    record = driver.record(job)
    assert (record.restored_from, record.checkpoints, record.progress) == ("old", old, 0.75)
    driver.join()
    assert member(driver.ready()).checkpoints == old
    driver.started((job, 1))
    driver.kept(ref(job, 1, 9))
    assert driver.record(job).checkpoints == old, "its own are numbered on"
    driver.kept(ref(job, 1, 10, 0.8))
    assert driver.record(job).checkpoints == (ref(job, 1, 10, 0.8), old[0])


def test_a_restored_job_keeps_no_more_than_others():
    driver = Driver(kept_checkpoints=1)
    job = driver.submit(checkpoints=(ref("old", 1, 2), ref("old", 1, 1)))
    assert [one.sequence for one in driver.record(job).checkpoints] == [2]


def test_a_job_that_goes_to_another_device_leaves_them_behind_but_not_at_once(driver):
    driver.join("a", devices=(DEVICE,))
    driver.join("b", devices=(OTHER,))
    one, two = Candidate(DEVICE, "", 0.9, 2.5, 1.0), Candidate(OTHER, "", 0.8, 2.5, 1.0)
    job = driver.placed(one, two)
    first = driver.record(job).device
    name = "a" if first == DEVICE else "b"
    driver.ready(name)
    driver.started((job, 1), name=name)
    driver.kept(ref(job), name=name)
    driver.say(events.AgentLost(name))
    assert (driver.state(job), driver.record(job).checkpoints) == ("Queued", (ref(job),)), "its agent may come back"
    driver.tick(driver.settings.agent_grace_s)
    record = driver.record(job)
    assert (record.state.value, record.device != first) == ("Pending", True)
    assert (record.checkpoints, record.progress) == ((), 0.0)

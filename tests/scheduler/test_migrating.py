"""A running job goes on with another agent."""

from __future__ import annotations

import pytest

from qrtx_ray.errors import InvalidState, NotFound
from qrtx_ray.model import Heartbeat, RunReport
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import PreemptAttempt, RunGroup
from qrtx_ray.scheduler.outcomes import MOVE_GRACE_S
from tests.scheduler.driving import DEVICE, OTHER, Driver, broken, done, ref


def move(driver, job, agent=None, tenant="alice") -> list:
    return driver.say(events.MigrationRequested(job, tenant, "alice", agent))


def gave_way(job, attempt=1) -> RunReport:
    return RunReport(job, attempt, preempted=True, progress=0.5, checkpoint=ref(job, attempt, attempt))


def given(commands) -> list[tuple[str, str, int]]:
    return [(c.agent, m.job_id, m.attempt) for c in commands if isinstance(c, RunGroup) for m in c.group.members]


@pytest.fixture
def fleet() -> Driver:
    """Three agents; the first runs a job."""
    driver = Driver()
    driver.job = driver.executing(compile_as={"estimated_s": 100.0})
    driver.join("b")
    driver.join("c")
    return driver


def test_it_is_asked_back_and_goes_on_with_the_wanted_agent_only(fleet):
    job = fleet.job
    assert move(fleet, job, "b") == [PreemptAttempt("a", "1", job, 1)]
    fleet.ready("c")
    fleet.ready("a")
    assert given(fleet.reported(gave_way(job))) == []
    assert fleet.core.explain(job)["reason"].startswith("is kept for agent b for 30.000 s")
    assert given(fleet.ready("b")) == [("b", job, 2)]
    assert fleet.record(job).checkpoints == (ref(job),)
    assert (fleet.record(job).preemptions, fleet.record(job).losses) == (0, 0)
    assert "moved to b by alice" in fleet.reasons(job)
    fleet.reported(done(job, 2), name="b")
    assert fleet.state(job) == "Completed"


def test_without_a_wish_it_goes_to_anybody_but_the_former_one(fleet):
    job = fleet.job
    fleet.ready("a")
    move(fleet, job)
    assert given(fleet.reported(gave_way(job))) == []
    assert "another agent than a" in fleet.core.explain(job)["reason"]
    assert given(fleet.ready("c")) == [("c", job, 2)]


def test_an_agent_that_waits_already_gets_it_with_the_report(fleet):
    fleet.ready("b")
    fleet.ready("c")
    move(fleet, fleet.job, "c")
    assert given(fleet.reported(gave_way(fleet.job))) == [("c", fleet.job, 2)]


def test_others_get_their_work_meanwhile(fleet):
    job, other = fleet.job, fleet.queued(compile_as={"estimated_s": 1.0})
    move(fleet, job, "b")
    fleet.reported(gave_way(job))
    assert given(fleet.ready("c")) == [("c", other, 1)], "what is kept for another stands in nobody's way"
    assert given(fleet.ready("b")) == [("b", job, 2)]


@pytest.mark.parametrize("wanted", ["b", None])
def test_after_a_while_anybody_may_have_it(fleet, wanted):
    move(fleet, fleet.job, wanted)
    fleet.ready("a")
    fleet.reported(gave_way(fleet.job))
    assert given(fleet.tick(MOVE_GRACE_S - 0.001)) == []
    assert given(fleet.tick(0.001)) == [("a", fleet.job, 2)]


def test_the_question_is_repeated_until_the_agent_has_heard(fleet):
    move(fleet, fleet.job, "b")
    beat = events.AgentHeard(Heartbeat("a", "1", ((fleet.job, 1),)))
    assert fleet.say(beat) == [PreemptAttempt("a", "1", fleet.job, 1)]
    assert fleet.core.explain(fleet.job)["reason"] == "waits until agent a has given it back, to be moved"


@pytest.mark.parametrize("end", ["result", "lost", "retry", "cancel"])
def test_an_attempt_that_ends_otherwise_ends_as_always(fleet, end):
    job = fleet.job
    move(fleet, job, "b")
    if end == "result":
        fleet.reported(done(job))
        assert fleet.state(job) == "Completed"
    elif end == "lost":
        fleet.say(events.AgentLost("a"))
        assert given(fleet.ready("c")) == [("c", job, 2)], "nobody is waited for"
    elif end == "retry":
        fleet.reported(broken(job, retryable=True))
        fleet.ready("c")
        assert given(fleet.tick(1.0)) == [("c", job, 2)]
    else:
        fleet.cancel(job)
        fleet.reported(gave_way(job))
        assert fleet.state(job) == "Cancelled"


def test_a_pause_meanwhile_pauses_it_and_the_wish_is_forgotten(fleet):
    job = fleet.job
    move(fleet, job, "b")
    fleet.pause(job)
    fleet.reported(gave_way(job))
    assert fleet.state(job) == "Paused"
    fleet.resume(job)
    assert given(fleet.ready("c")) == [("c", job, 2)]


def test_after_a_restart_it_goes_on_with_anybody(fleet):
    job = fleet.job
    move(fleet, job, "b")
    fleet.reported(gave_way(job))
    fleet.crash()
    fleet.join("c")
    assert given(fleet.ready("c")) == [("c", job, 2)]


def test_it_can_be_moved_again(fleet):
    job = fleet.job
    for attempt, (here, there) in enumerate((("a", "b"), ("b", "c"), ("c", "a")), 1):
        move(fleet, job, there)
        fleet.reported(gave_way(job, attempt), name=here)
        assert given(fleet.ready(there)) == [(there, job, attempt + 1)]
        fleet.started((job, attempt + 1), name=there)
    assert fleet.record(job).preemptions == 0


def test_what_cannot_be_moved_is_refused_by_name(fleet):
    job, waiting = fleet.job, fleet.queued(device=OTHER)
    fleet.join("d", devices=(OTHER,))

    def refused(what, agent=None, kind=InvalidState):
        return fleet.refused(events.MigrationRequested(what, "alice", "alice", agent), kind)

    assert "Queued" in refused(waiting)
    refused("nobody", kind=NotFound)
    fleet.refused(events.MigrationRequested(job, "bob", "bob"), NotFound)
    assert "nobody does not serve" in refused(job, "nobody")
    assert f"d does not serve the device {DEVICE}" in refused(job, "d")
    assert "a has the job already" in refused(job, "a")
    fleet.say(events.AgentDrained("b"))
    assert "b is drained" in refused(job, "b")
    fleet.say(events.AgentDrained("c"))
    assert "no other agent" in refused(job)
    fleet.say(events.AgentResumed(None))
    fleet.say(events.DevicePaused(DEVICE))
    assert "takes no work" in refused(job)
    fleet.say(events.DeviceResumed(DEVICE))
    fleet.pause(job)
    assert "being paused" in refused(job)
    fleet.cancel(job)
    assert "being cancelled" in refused(job)
    fleet.reported(done(job))
    assert "Cancelled" in refused(job)

"""Every edge of the table is taken by the core, each by the event that is meant to take it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qrtx_ray.model import Candidate, CompileReport, RunReport, TaskState
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.states import TRANSITIONS, Trigger
from qrtx_ray.scheduler.world import World
from tests.scheduler.driving import DEVICE, OTHER, Driver, broken, done, profile, ref


def _found_in_store(driver, job, state, **fields):
    driver.store.records[job] = replace(driver.record(job), state=state, **fields)
    driver.crash()


def _compiling(driver, **fields):
    job = driver.submit(**fields)
    driver.compiler()
    return job


def _lose_agent(driver):
    driver.say(events.AgentLost("a"))


def _deadline(driver, job):
    return driver.tick(100) and job


def _here(device=DEVICE):
    return Candidate(device, fidelity=0.9, qpu_s=2.5, estimated_s=0.001)


def _surveyed(driver):
    return driver.placed(_here(DEVICE), _here(OTHER))


def _estimated(driver):
    job = driver.submit(dry_run=True)
    (order,) = driver.compiler()[0].tasks
    report = CompileReport(job, order.attempt, profile(), result_sha256="ab" * 32, result_bytes=10)
    driver.say(events.JobsCompiled("c", "1", (report,)))


def _replaced(driver):
    driver.join("a", devices=(DEVICE,))
    driver.join("b", devices=(OTHER,))
    driver.say(events.DevicePaused(driver.record(_surveyed(driver)).device))


def _made_way(driver, job):
    driver.reported(RunReport(job, 1, preempted=True, progress=0.5, checkpoint=ref(job)))


def _pauses(driver, job):
    driver.pause(job)
    _made_way(driver, job)


WAYS = {
    (TaskState.PENDING, Trigger.COMPILE_LEASED): _compiling,
    (TaskState.PENDING, Trigger.PAUSED): lambda d: d.pause(d.submit()),
    (TaskState.PENDING, Trigger.FAILED): lambda d: _deadline(d, d.submit(deadline_at=d.now + 50)),
    (TaskState.PENDING, Trigger.CANCELLED): lambda d: d.cancel(d.submit()),
    (TaskState.PENDING, Trigger.QUEUE_TIMED_OUT): lambda d: d.submit(queue_timeout_s=1.0) and d.tick(1),
    (TaskState.VALIDATING, Trigger.COMPILE_STARTED): _compiling,
    (TaskState.VALIDATING, Trigger.COMPILE_LOST): lambda d: _found_in_store(d, d.submit(), TaskState.VALIDATING),
    (TaskState.COMPILING, Trigger.COMPILED): lambda d: d.queued(),
    (TaskState.COMPILING, Trigger.SURVEYED): _surveyed,
    (TaskState.COMPILING, Trigger.ESTIMATED): _estimated,
    (TaskState.COMPILING, Trigger.COMPILE_LOST): lambda d: _compiling(d) and d.say(events.CompilerLost("c")),
    (TaskState.COMPILING, Trigger.FAILED): lambda d: d.queued(compile_as={"estimated_bytes": 1 << 60}),
    (TaskState.COMPILING, Trigger.CANCELLED): lambda d: d.cancel(_compiling(d)),
    (TaskState.COMPILING, Trigger.QUEUE_TIMED_OUT): lambda d: _compiling(d, queue_timeout_s=1.0) and d.tick(1),
    (TaskState.QUEUED, Trigger.DISPATCHED): lambda d: d.allocated(),
    (TaskState.QUEUED, Trigger.REPLACED): _replaced,
    (TaskState.QUEUED, Trigger.PAUSED): lambda d: d.pause(d.queued()),
    (TaskState.QUEUED, Trigger.FAILED): lambda d: _deadline(d, d.queued(deadline_at=d.now + 50)),
    (TaskState.QUEUED, Trigger.CANCELLED): lambda d: d.cancel(d.queued()),
    (TaskState.QUEUED, Trigger.QUEUE_TIMED_OUT): lambda d: d.queued(queue_timeout_s=1.0) and d.tick(1),
    (TaskState.ALLOCATING, Trigger.STARTED): lambda d: d.executing(),
    (TaskState.ALLOCATING, Trigger.ATTEMPT_LOST): lambda d: d.allocated() and _lose_agent(d),
    (TaskState.ALLOCATING, Trigger.PREEMPTED): lambda d: _made_way(d, d.allocated()),
    (TaskState.ALLOCATING, Trigger.PAUSED): lambda d: _pauses(d, d.allocated()),
    (TaskState.ALLOCATING, Trigger.FAILED): lambda d: d.allocated() and _lose_agent(d),
    (TaskState.ALLOCATING, Trigger.CANCELLED): lambda d: d.cancel(d.allocated()) and _lose_agent(d),
    (TaskState.EXECUTING, Trigger.RESULT_STORED): lambda d: d.reported(done(d.executing())),
    (TaskState.EXECUTING, Trigger.RETRIED): lambda d: d.reported(broken(d.executing(), retryable=True)),
    (TaskState.EXECUTING, Trigger.ATTEMPT_LOST): lambda d: d.executing() and _lose_agent(d),
    (TaskState.EXECUTING, Trigger.PREEMPTED): lambda d: _made_way(d, d.executing()),
    (TaskState.EXECUTING, Trigger.PAUSED): lambda d: _pauses(d, d.executing()),
    (TaskState.EXECUTING, Trigger.FAILED): lambda d: d.reported(broken(d.executing())),
    (TaskState.EXECUTING, Trigger.CANCELLED): lambda d: d.cancel(d.executing()) and _lose_agent(d),
    (TaskState.EXECUTING, Trigger.EXECUTION_TIMED_OUT): lambda d: d.executing() and d.tick(1e4),
    (TaskState.COMPLETING, Trigger.RESULT_ACCEPTED): lambda d: _found_in_store(
        d, d.executing(), TaskState.COMPLETING, result_sha256="ab"
    ),
    (TaskState.PAUSED, Trigger.RESUMED): lambda d: d.resume(d.paused(d.queued())),
    (TaskState.PAUSED, Trigger.RESUMED_UNCOMPILED): lambda d: d.resume(d.paused(d.submit())),
    (TaskState.PAUSED, Trigger.FAILED): lambda d: _deadline(d, d.paused(d.queued(deadline_at=d.now + 50))),
    (TaskState.PAUSED, Trigger.CANCELLED): lambda d: d.cancel(d.paused(d.queued())),
    (TaskState.PAUSED, Trigger.PAUSE_TIMED_OUT): lambda d: d.paused(d.queued()) and d.tick(1e9),
}


@pytest.mark.parametrize("edge", TRANSITIONS, ids=lambda edge: f"{edge[0].value} {edge[1].value}")
def test_the_core_takes_the_edge(edge, monkeypatch):
    taken = set()
    advance = World.advance

    def spy(world, job, triggers, reason, **changes):
        state = job.record.state
        for trigger in triggers:
            taken.add((state, trigger))
            state = TRANSITIONS[state, trigger]
        advance(world, job, triggers, reason, **changes)

    monkeypatch.setattr(World, "advance", spy)
    WAYS[edge](Driver(max_losses=0 if edge[1] is Trigger.FAILED else 3))
    assert edge in taken


def test_there_is_a_way_for_every_edge():
    assert WAYS.keys() == TRANSITIONS.keys()

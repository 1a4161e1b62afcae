"""The table of transitions: every edge, every non-edge, and the pictures drawn from it."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from qrtx_ray.errors import InternalError
from qrtx_ray.model import TERMINAL_STATES, JobRecord, PayloadFormat, Program, TaskState
from qrtx_ray.scheduler.events import JobsSubmitted, NewJob
from qrtx_ray.scheduler.states import (
    PUBLIC_STATES,
    TRANSITIONS,
    ExecutingStep,
    InvalidTransition,
    PublicState,
    RuntimeStatus,
    Trigger,
    executing_step,
    mermaid,
    next_state,
    runtime_status,
)
from tests.scheduler.driving import Driver, request

NON_EDGES = [pair for pair in product(TaskState, Trigger) if pair not in TRANSITIONS]


@pytest.mark.parametrize(("state", "trigger"), TRANSITIONS)
def test_every_edge_of_the_table_leads_where_it_says(state, trigger):
    assert next_state(state, trigger) is TRANSITIONS[state, trigger]


@pytest.mark.parametrize(("state", "trigger"), NON_EDGES)
def test_every_non_edge_is_refused(state, trigger):
    with pytest.raises(InvalidTransition, match=state.value):
        next_state(state, trigger)


@pytest.mark.parametrize(("state", "trigger"), NON_EDGES)
def test_a_refused_transition_changes_nothing(state, trigger):
    driver = Driver()
    driver.say(JobsSubmitted((NewJob("j", request(), 1),)))
    world = driver.core._world
    job = world.jobs["j"]
    world.advance(job, _way_to(state), "here")
    world.flush()
    before = (job.record, list(job.story), world.sequence, {s: list(n) for s, n in world.tally.items()})
    with pytest.raises(InvalidTransition) as caught:
        world.advance(job, [trigger], "there", name="changed")
    assert (job.record, list(job.story), world.sequence, world.tally) == before
    assert world.flush() == []
    assert caught.value.story == tuple(job.story)
    assert (caught.value.state, caught.value.trigger) == (state, trigger)


def _way_to(goal: TaskState) -> list[Trigger]:
    """A shortest way from Pending."""
    ways = {TaskState.PENDING: []}
    while goal not in ways:
        ways |= {
            target: [*ways[source], trigger]
            for (source, trigger), target in TRANSITIONS.items()
            if source in ways and target not in ways
        }
    return ways[goal]


def test_terminal_states_have_no_way_out():
    assert not [state for state, _ in TRANSITIONS if state in TERMINAL_STATES]


def test_every_state_can_be_reached_and_all_but_the_ends_be_left():
    sources = {state for state, _ in TRANSITIONS}
    targets = set(TRANSITIONS.values())
    assert targets == set(TaskState)
    assert set(TaskState) - sources == TERMINAL_STATES


def test_every_trigger_is_used():
    assert {trigger for _, trigger in TRANSITIONS} == set(Trigger)


def test_an_invalid_transition_is_an_internal_error_that_survives_pickling():
    problem = InvalidTransition(TaskState.COMPLETED, Trigger.STARTED)
    rebuild, arguments = problem.__reduce__()
    again = rebuild(*arguments)
    assert isinstance(again, InternalError)
    assert "Completed" in again.message
    assert "started" in again.message


def test_every_state_has_a_public_name_and_every_public_name_a_state():
    assert set(PUBLIC_STATES) == set(TaskState)
    assert set(PUBLIC_STATES.values()) == set(PublicState)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (TaskState.PENDING, "Queued"),
        (TaskState.VALIDATING, "Queued"),
        (TaskState.COMPILING, "Queued"),
        (TaskState.QUEUED, "Queued"),
        (TaskState.ALLOCATING, "Queued"),
        (TaskState.PAUSED, "Queued"),
        (TaskState.EXECUTING, "Running"),
        (TaskState.COMPLETING, "Running"),
        (TaskState.COMPLETED, "Completed"),
        (TaskState.CANCELLED, "Cancelled"),
        (TaskState.FAILED, "Failed"),
        (TaskState.TIMEOUT, "Failed"),
    ],
)
def test_the_runtime_api_knows_five_words(state, status):
    record = JobRecord("j", 1, "t", Program.SAMPLER, "d", PayloadFormat.NATIVE, 0.0, 1, state=state)
    assert runtime_status(record) is RuntimeStatus(status)


@pytest.mark.parametrize(
    ("progress", "step"),
    [(0.0, "QuantumInitializing"), (0.01, "QuantumRunning"), (0.99, "QuantumRunning"), (1.0, "PostProcessing")],
)
def test_progress_tells_the_step(progress, step):
    assert executing_step(progress) is ExecutingStep(step)


def test_the_diagram_in_the_documentation_is_the_table():
    text = (Path(__file__).parents[2] / "docs" / "states.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{mermaid()}\n```" in text


def test_the_documentation_speaks_of_every_state_and_step():
    text = (Path(__file__).parents[2] / "docs" / "states.md").read_text(encoding="utf-8")
    assert not [word.value for word in (*TaskState, *ExecutingStep, *PublicState) if word.value not in text]
    assert not [state for state in TaskState if f"\n| {state.value} |" not in text]

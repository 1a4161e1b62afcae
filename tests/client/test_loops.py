"""Hybrid loops: whatever kills the client, started again it ends with the same numbers and has sent nothing twice."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest

from qrtx_ray.client import AsyncQrtxClient, QrtxClient
from qrtx_ray.codec.results import EstimatorPubData, encode_estimator
from qrtx_ray.codec.state_document import encode_state
from qrtx_ray.errors import ErrorInfo, InvalidState, NotFound, QueueFull, StateChanged, ValidationError, WorkerDied
from qrtx_ray.model import JobRequest, TaskState
from qrtx_ray.testing import FakeGateway
from tests.api.conftest import ALICE, DEVICES, _app, _behind
from tests.client.inside import Inside

ITERATIONS = 3
URL = "http://qrtx.test"


class Killed(BaseException):
    """The client's process is gone."""


@dataclass
class Mortal(httpx.BaseTransport):
    """Carries requests, and kills the client at one of them: before it is sent, or before its answer arrives."""

    dies_at: int | None = None
    sent: bool = False
    inner: httpx.BaseTransport = field(default_factory=lambda: Inside(_app))
    calls: int = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        dies = self.dies_at is not None and self.calls > self.dies_at
        if dies and not self.sent:
            raise Killed
        answer = self.inner.handle_request(request)
        if dies:
            raise Killed
        return answer


def answer(request: JobRequest) -> bytes:
    """What a device might measure: a function of the angles, and of shot noise from the job's seed."""
    body = json.loads(request.payload)
    angles = np.array(body["circuits"][0]["parameters"])
    noise = np.random.default_rng(request.seed).normal(scale=0.01)
    value = np.asarray(np.cos(angles).sum() + noise)
    return encode_estimator([EstimatorPubData(value, value * 0, value * 0)], {})


_serial = itertools.count()


def body(angles: np.ndarray, *, alike: bool = True) -> dict[str, Any]:
    """A job; not `alike`: written in other bytes every time, as circuits are."""
    note = "" if alike else f"// {next(_serial)}\n"
    circuit = {"source": f"OPENQASM 3.0;\n{note}", "parameters": angles.tolist(), "observables": {"Z": 1.0}}
    return {"device": "fake_manila@aer", "program": "estimator", "circuits": [circuit]}


def live(client: QrtxClient, *, alike: bool = True) -> dict[str, Any]:
    """A client's life: simultaneous perturbation, two jobs at once and one alone in each iteration."""
    initial = {"theta": np.array([0.3, -0.2]), "rng": np.random.default_rng(7), "history": []}
    loop = client.hybrid_loop("spsa", initial, iterations=ITERATIONS, seed=5)
    for step in loop:
        theta, rng = step.state["theta"], step.state["rng"]
        kick = 0.1 * rng.choice([-1.0, 1.0], size=theta.shape)
        up, down = step.run([body(theta + kick, alike=alike), body(theta - kick, alike=alike)])
        theta = theta - 0.5 * (value(up) - value(down)) / (2 * kick)
        now = value(step.run(body(theta, alike=alike)))
        step.save(theta=theta, history=[*step.state["history"], now])
    assert loop.iteration == ITERATIONS
    return loop.state


def value(results: dict[str, Any]) -> float:
    return results["pubs"][0]["evs"]


def life(mortal: Mortal, *, alike: bool = True) -> bytes | None:
    """The final state, every bit of it; None when the client was killed."""
    with QrtxClient(URL, ALICE, transport=mortal) as client:
        try:
            return encode_state(live(client, alike=alike))
        except Killed:
            return None


@pytest.fixture
def gateway() -> FakeGateway:
    return fresh()


def fresh() -> FakeGateway:
    _behind.gateway = FakeGateway(DEVICES.values(), answer)
    return _behind.gateway


@pytest.fixture
def client(gateway: FakeGateway) -> Iterator[QrtxClient]:
    with QrtxClient(URL, ALICE, transport=Inside(_app)) as client:
        yield client


@pytest.mark.parametrize("alike", [True, False])
def test_a_client_killed_at_any_call_goes_on_with_identical_results_and_runs_nothing_twice(alike: bool) -> None:
    gateway = fresh()
    whole = Mortal()
    expected = life(whole, alike=alike)
    jobs = [(request.seed, request.idempotency_key.partition("/")[2]) for request in gateway.requests]
    assert len(jobs) == 3 * ITERATIONS
    assert len({seed for seed, _ in jobs}) == len(jobs)
    for dies_at, sent in itertools.product(range(whole.calls), (False, True)):
        gateway = fresh()
        assert life(Mortal(dies_at, sent), alike=alike) is None
        assert life(Mortal(), alike=alike) == expected, (dies_at, sent)
        again = [(request.seed, request.idempotency_key.partition("/")[2]) for request in gateway.requests]
        assert again == jobs, (dies_at, sent)


@pytest.mark.parametrize("lasting", range(5, 12))
def test_a_client_that_keeps_being_killed_still_gets_there(gateway: FakeGateway, lasting: int) -> None:
    expected = life(Mortal())
    fresh()
    lives = (life(Mortal(lasting, sent=number % 2 == 0)) for number in range(100))
    assert next(state for state in lives if state is not None) == expected
    assert len(_behind.gateway.requests) == 3 * ITERATIONS


def test_a_loop_that_has_ended_runs_nothing_and_shows_its_state(gateway: FakeGateway) -> None:
    expected = life(Mortal())
    mortal = Mortal()
    assert life(mortal) == expected
    assert mortal.calls == 1


def test_more_iterations_go_on_from_the_last(client: QrtxClient) -> None:
    for iterations in (2, 5):
        for step in client.hybrid_loop("count", {"n": 0}, iterations=iterations):
            assert step.iteration == step.state["n"]
            step.save(n=step.state["n"] + 1)
    assert client.hybrid_loop("count", {"n": 0}).state == {"n": 5}


def test_a_step_may_end_the_loop(client: QrtxClient) -> None:
    for _ in range(2):
        seen = []
        for step in client.hybrid_loop("until", {"n": 0}):
            seen.append(step.iteration)
            step.save(n=step.state["n"] + 1, done=step.iteration == 1)
    assert seen == []
    assert client.hybrid_loop("until", {}).iteration == 2


def test_what_is_changed_in_the_state_is_saved_and_what_is_not_saved_is_forgotten(client: QrtxClient) -> None:
    loop = client.hybrid_loop("rng", {"rng": np.random.default_rng(1), "kept": [1]}, iterations=1)
    for step in loop:
        step.state["rng"].random()
        break
    for step in loop:
        drawn = step.state["rng"].random()
        step.save()
    one = np.random.default_rng(1)
    assert drawn == one.random()
    assert loop.state["rng"].random() == one.random()
    assert loop.state["kept"] == [1]


def test_of_two_clients_with_one_loop_only_one_goes_on(client: QrtxClient) -> None:
    first, second = (iter(client.hybrid_loop("race", {"n": 0}, iterations=9)) for _ in range(2))
    one, other = next(first), next(second)
    one.save(n=1)
    with pytest.raises(StateChanged):
        other.save(n=2)
    next(first).save(n=3)
    assert client.hybrid_loop("race", {}).state == {"n": 3}


def test_an_iteration_must_be_saved_and_only_once(client: QrtxClient) -> None:
    loop = client.hybrid_loop("forgetful", {}, iterations=2)
    with pytest.raises(InvalidState, match=r"iteration 0 of the loop forgetful ended without save\(\)"):
        for _ in loop:
            pass
    step = next(iter(loop))
    step.save()
    for late in (step.save, lambda: step.run([])):
        with pytest.raises(InvalidState, match="is over"):
            late()


def test_a_deleted_loop_begins_anew(client: QrtxClient) -> None:
    loop = client.hybrid_loop("again", {"n": 0}, iterations=1)
    for step in loop:
        step.run(body(np.zeros(1)))
        step.save(n=1)
    loop.delete()
    loop.delete()
    with pytest.raises(NotFound):
        client.get_state("loop.again")
    for step in loop:
        step.run(body(np.ones(1)))  # no conflict with the job of the loop before
        step.save(n=2)
    assert loop.state == {"n": 2}


def test_a_job_that_failed_is_raised_and_tried_anew_by_the_next_life(client: QrtxClient, gateway: FakeGateway) -> None:
    gateway.answer = None
    step = next(iter(client.hybrid_loop("unlucky", {}, iterations=1)))

    def fail(request: JobRequest) -> bytes:
        record = max(gateway._records.values(), key=lambda one: one.number)
        gateway.fail(record.id, ErrorInfo("worker_died", "it died", "ExecuteError"))
        return b""

    gateway.answer = fail
    with pytest.raises(WorkerDied):
        step.run(body(np.zeros(1)))
    gateway.answer = answer
    again = next(iter(client.hybrid_loop("unlucky", {}, iterations=1)))
    assert again.run(body(np.zeros(1)))["pubs"]
    first, second = gateway.requests
    assert first.seed == second.seed
    assert second.idempotency_key == f"{first.idempotency_key}.1"
    third = next(iter(client.hybrid_loop("unlucky", {}, iterations=1)))
    assert third.run(body(np.zeros(1)))["pubs"]
    assert len(gateway.requests) == 2


def test_a_job_that_never_completes_is_given_up(
    client: QrtxClient, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qrtx_ray.client.loops.TRIES", 3)

    def fail(request: JobRequest) -> bytes:
        record = max(gateway._records.values(), key=lambda one: one.number)
        gateway.fail(record.id, ErrorInfo("worker_died", "it died", "ExecuteError"))
        return b""

    gateway.answer = fail
    for lives in range(6):
        step = next(iter(client.hybrid_loop("hopeless", {}, iterations=1)))
        with pytest.raises(WorkerDied if lives < 3 else InvalidState, match=r"it died|ended 3 times"):
            step.run(body(np.zeros(1), alike=lives % 2 == 0))
    assert len(gateway.requests) == 3


def test_a_cancelled_job_is_said_to_be_so(client: QrtxClient, gateway: FakeGateway) -> None:
    def cancel(request: JobRequest) -> bytes:
        record = max(gateway._records.values(), key=lambda one: one.number)
        asyncio.get_running_loop().call_soon(gateway.advance, record.id, TaskState.CANCELLED)
        return b""

    gateway.answer = cancel
    gateway.complete = lambda *_: None  # type: ignore[method-assign,assignment]
    step = next(iter(client.hybrid_loop("stopped", {}, iterations=1)))
    with pytest.raises(InvalidState, match="ended Cancelled"):
        step.run(body(np.zeros(1)))


def test_a_refused_job_raises_the_refusal(client: QrtxClient, gateway: FakeGateway) -> None:
    step = next(iter(client.hybrid_loop("full", {}, iterations=1)))
    gateway.refusal = QueueFull("no room")
    with pytest.raises(QueueFull):
        step.run([body(np.zeros(1))])


def test_seeds_tags_and_order_of_the_user_are_kept(client: QrtxClient, gateway: FakeGateway) -> None:
    step = next(iter(client.hybrid_loop("mine", {}, iterations=1)))
    own = {**body(np.zeros(1)), "seed": 3, "tags": ["a"]}
    results = step.run([own, *(body(np.full(1, n / 10)) for n in range(70))])
    assert (gateway.requests[0].seed, gateway.requests[0].tags[0]) == (3, "a")
    expected = [1.0, *np.cos(np.arange(70) / 10)]
    np.testing.assert_allclose([value(one) for one in results], expected, atol=0.1)
    assert step.run([]) == []


def test_wrong_loops_are_refused(client: QrtxClient) -> None:
    for name in ("", "a b", "x" * 49, "a/b"):
        with pytest.raises(ValidationError, match="name of a loop"):
            client.hybrid_loop(name, {})
    with pytest.raises(ValidationError, match="iterations"):
        client.hybrid_loop("a", {}, iterations=-1)
    with pytest.raises(ValidationError, match=r"state\.x is of the type object"):
        client.hybrid_loop("a", {"x": object()})
    step = next(iter(client.hybrid_loop("a", {}, iterations=1)))
    with pytest.raises(ValidationError, match="private"):
        step.run({**body(np.zeros(1)), "private": True})
    client.put_state("loop.b", {"other": 1})
    with pytest.raises(InvalidState, match="not that of a loop"):
        next(iter(client.hybrid_loop("b", {})))


async def test_the_asynchronous_loop_does_the_same(gateway: FakeGateway) -> None:
    async with AsyncQrtxClient(URL, ALICE, transport=httpx.ASGITransport(_app)) as client:
        loop = client.hybrid_loop("async", {"values": []}, iterations=2)
        with pytest.raises(InvalidState):
            _ = loop.state
        async for step in loop:
            results = await step.run([body(np.zeros(1)), body(np.ones(1))])
            await step.save(values=[*step.state["values"], *map(value, results)])
        assert (loop.iteration, len(loop.state["values"]), len(gateway.requests)) == (2, 4, 4)
        await loop.delete()
        with pytest.raises(NotFound):
            await client.get_state("loop.async")

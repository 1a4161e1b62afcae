"""Estimates, reservations and use, from a replica to the actors."""

from __future__ import annotations

import asyncio

import pytest
from ray.exceptions import RayTaskError

from qrtx_ray.actors.wire import DeviceState, SchedulerStatus
from qrtx_ray.api import estimates
from qrtx_ray.errors import DecodeError, DeviceUnavailable, InternalError, InvalidState, QueueFull
from qrtx_ray.model import Candidate, CompileReport, DeviceInfo, DeviceStatus, Reservation
from tests.actors.building import DEVICE, request
from tests.actors.ray_double import Cluster
from tests.api.test_ray_gateway import Bench

NOISE = "drift:7:0.1:2:0"
INFO = DeviceInfo(DEVICE, "fake_manila", "aer", 5)
CANDIDATES = (Candidate(DEVICE, "abc", 0.9, 2.0, 0.1),)
HELD = Reservation("r", DEVICE, "alice", 1.0, 2.0)


class Compiler:
    def __init__(self) -> None:
        self.tasks: list = []
        self.error: Exception | None = None
        self.report: dict = {"candidates": CANDIDATES}

    async def survey(self, task):
        self.tasks.append(task)
        if self.error is not None:
            raise RayTaskError("f", "", self.error).as_instanceof_cause()
        return CompileReport(task.job_id, task.attempt, **self.report)


class Planner:
    """The part of the scheduler that plans."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []
        self.troubles = 0

    async def devices(self):
        return [DeviceState(INFO, DeviceStatus.ONLINE, 0, 0, ("a",), 0.0, NOISE, 5.0, 0.97)]

    async def status(self):
        return SchedulerStatus(1, 1, 10.0)

    async def estimate(self, tenant, priority, candidates, wishes):
        self.asked.append((tenant, priority, candidates, wishes))
        return {"devices": {}, "chosen": None, "policy": "priority"}

    async def usage(self, tenant):
        return {"tenant": tenant}

    async def reservations(self):
        return [HELD]

    async def reserve(self, reservation, operator, again):
        self.asked.append(("reserve", operator, again))
        if not again:
            raise RayTaskError("f", "", InvalidState("it overlaps another")).as_instanceof_cause()
        return reservation

    async def release(self, name, tenant, again):
        self.asked.append(("release", name, tenant, again))


@pytest.fixture
def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    actors = Cluster()
    bench.compiler = Compiler()
    bench.compilers = actors.add("qrtx-compiler-0", bench.compiler)
    bench.planner = bench.handle.target = Planner()
    bench.actors = actors
    monkeypatch.setattr(estimates, "find_actor", actors.find)
    return bench


async def test_an_estimate_is_surveyed_under_the_published_noise_and_judged_by_the_scheduler(bench):
    wanted = request(priority=80, fidelity_floor=0.5, max_qpu_s=3.0, deadline_at=9.0, reservation="r", dry_run=True)
    assert (await bench.gateway.estimate(wanted))["policy"] == "priority"
    (task,) = bench.compiler.tasks
    assert (task.choices, task.payload, task.dry_run) == (((DEVICE, NOISE),), b"payload", False)
    wishes = {"fidelity_floor": 0.5, "max_qpu_s": 3.0, "deadline_at": 9.0, "reservation": "r", "session_id": None}
    assert bench.planner.asked == [("alice", 80, CANDIDATES, wishes)]


async def test_a_circuit_that_cannot_be_read_is_told_as_such(bench):
    bench.compiler.report = {"error": DecodeError("no circuit", field="circuits[0]").info()}
    with pytest.raises(DecodeError) as caught:
        await bench.gateway.estimate(request())
    assert caught.value.field == "circuits[0]"
    assert bench.planner.asked == []


@pytest.mark.parametrize(
    ("error", "raised"), [(QueueFull("64 estimates are under way"), QueueFull), (RuntimeError("?"), InternalError)]
)
async def test_what_the_compiler_refuses_is_refused(bench, error, raised):
    bench.compiler.error = error
    with pytest.raises(raised):
        await bench.gateway.estimate(request())


async def test_compilers_that_are_away_are_named_as_such(bench):
    bench.compilers.away = True
    with pytest.raises(DeviceUnavailable):
        await bench.gateway.estimate(request())
    bench.actors.handles.clear()
    with pytest.raises(DeviceUnavailable):
        await bench.gateway.estimate(request())


async def test_a_compiler_that_does_not_answer_is_not_waited_for_for_ever(bench):
    async def silent(task):
        await asyncio.Event().wait()

    bench.compiler.survey = silent
    bench.gateway._estimator._patience_s = 0.01
    with pytest.raises(DeviceUnavailable):
        await bench.gateway.estimate(request())


async def test_a_device_that_drifts_shows_its_published_calibration(bench):
    (view,) = await bench.gateway.devices()
    assert (view.noise_id, view.calibrated_at, view.probe_fidelity) == (NOISE, 5.0, 0.97)
    assert view.calibration_id not in {None, "3f114d4f1901"}


async def test_a_reservation_cut_short_is_repeated_and_says_so(bench):
    with pytest.raises(InvalidState):
        await bench.gateway.reserve(HELD, operator=False)
    bench.handle.away = True
    asking = asyncio.create_task(bench.gateway.reserve(HELD, operator=True))
    await asyncio.sleep(0.01)
    bench.handle.away = False
    assert await asking == HELD
    assert bench.planner.asked[-1] == ("reserve", True, True)
    await bench.gateway.release("r", None)
    assert bench.planner.asked[-1] == ("release", "r", None, False)


async def test_reservations_and_use_are_passed_on(bench):
    assert await bench.gateway.reservations() == [HELD]
    assert await bench.gateway.usage("alice") == {"tenant": "alice"}

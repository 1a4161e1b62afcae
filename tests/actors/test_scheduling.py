"""What the scheduler actor adds to the core's decisions: surveys, reservations, quotas, probes, preemption, and what of
it outlives the process.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace

import pytest

from qrtx_ray.actors.policies import policy_of
from qrtx_ray.actors.reservation_rules import check_reservation
from qrtx_ray.actors.settings import core_settings
from qrtx_ray.config import load_settings
from qrtx_ray.config.scheduling import Reservations
from qrtx_ray.errors import InvalidState, NotFound, PermissionDenied, QueueFull, ValidationError
from qrtx_ray.model import AgentInfo, Candidate, CompileReport, Reservation, RunReport, TaskState
from tests.actors.building import DEVICE, PROFILE, checkpoint, request, settings, until
from tests.actors.house import House, done

OTHER = "fake_lima@aer"
DEVICES = [{"name": DEVICE, "count": 1}, {"name": OTHER, "count": 1}]
HOUR = 3600.0


@pytest.fixture
async def open_house(tmp_path, cluster, monkeypatch):
    houses = []

    async def build(**overrides):
        house = House(settings(tmp_path, **{"devices": DEVICES, **overrides}), cluster)
        houses.append(house)
        monkeypatch.setattr(os, "_exit", house.exits.append)
        await house.scheduler.ping()
        return house

    yield build
    for house in houses:
        await house.close()


def held(name="r", device=DEVICE, tenant="alice", begins=0.0, ends=HOUR):
    now = time.time()
    return Reservation(name, device, tenant, now + begins, now + ends)


async def test_a_job_that_leaves_the_choice_is_surveyed_placed_and_compiled_for_its_device(open_house):
    house = await open_house(**{"scheduler.algorithm": "noise_aware"})
    await house.join()
    await house.scheduler.join_agent(AgentInfo("other", "1", (OTHER,)))
    [answer] = await house.scheduler.submit([replace(request(), device="auto", choices=(DEVICE, OTHER))])
    await house.scheduler.join_compiler("c", "1")
    [survey] = (await house.scheduler.lease_compile("c", "1", 1, [])).tasks
    assert (survey.device, survey.choices) == ("auto", ((DEVICE, ""), (OTHER, "")))
    candidates = (Candidate(DEVICE, "x", 0.6, 2.0, 0.1), Candidate(OTHER, "y", 0.9, 2.0, 0.1))
    report = CompileReport(survey.job_id, survey.attempt, candidates=candidates)
    [task] = (await house.scheduler.lease_compile("c", "1", 1, [report])).tasks
    assert (task.device, task.choices, task.payload) == (OTHER, (), b"payload")
    await house.scheduler.report_compiled("c", "1", [CompileReport(task.job_id, task.attempt, PROFILE, b"code")])
    await house.until_all([answer.id], lambda record: record.state is not TaskState.COMPILING)
    record = await house.record(answer.id)
    assert (record.device, record.candidates) == (OTHER, candidates)
    told = await house.scheduler.explain(answer.id)
    assert [one["device"] for one in told["candidates"] if one["chosen"]] == [OTHER]


async def test_a_dry_run_ends_with_the_estimate_and_takes_no_agent(open_house):
    house = await open_house()
    [job] = await house.submit(dry_run=True)
    await house.scheduler.join_compiler("c", "1")
    [task] = (await house.scheduler.lease_compile("c", "1", 1, [])).tasks
    assert task.dry_run
    report = CompileReport(job, task.attempt, PROFILE, result_sha256="ab" * 32, result_bytes=2)
    await house.scheduler.report_compiled("c", "1", [report])
    await house.until_all([job], lambda record: record.terminal)
    record = await house.record(job)
    assert (record.state, record.result_sha256, record.qpu_s) == (TaskState.COMPLETED, "ab" * 32, 0.0)


async def test_what_exceeds_a_quota_is_refused_with_its_code(open_house):
    house = await open_house(**{"scheduler.fair_share.tenants": {"alice": {"quotas": {"queued": 1}}}})
    await house.submit()
    [refused] = await house.scheduler.submit([request()])
    assert (refused.code, refused.retryable) == ("quota_queued", True)
    assert (await house.scheduler.usage("alice"))["quotas"]["queued"] == {"used": 1, "limit": 1}
    assert (await house.scheduler.usage("bob"))["quotas"]["queued"] == {"used": 0, "limit": None}
    [accepted] = await house.scheduler.submit([request("bob")])
    assert accepted.tenant == "bob"


async def test_what_a_tenant_used_outlives_the_scheduler(open_house):
    house = await open_house(**{"scheduler.fair_share.default.quotas.qpu_seconds": 5.0})
    [job] = await house.submit()
    await house.compile()
    await house.join()
    await house.lease()
    await house.report(done(job, qpu_s=4.5))
    await house.restart()
    usage = await house.scheduler.usage("alice")
    assert usage["quotas"]["qpu_seconds"]["used"] == pytest.approx(4.5)
    assert usage["decayed_qpu_s"] == pytest.approx(4.5, rel=1e-3)
    # what a job needs is known once it is compiled
    [late] = await house.submit()
    await house.compile(incarnation="2")
    record = await house.record(late)
    assert (record.state, record.error.code) == (TaskState.FAILED, "quota_qpu_seconds")


async def test_a_reservation_holds_the_device_and_outlives_the_scheduler(open_house):
    house = await open_house()
    await house.join()
    made = await house.scheduler.reserve(held(tenant="bob"), operator=True)
    [waiting] = await house.submit()
    await house.compile()
    await house.restart()
    assert await house.scheduler.reservations() == [made]
    await house.join(incarnation="2")
    [meant] = [(await house.scheduler.submit([request("bob", reservation="r")]))[0].id]
    await house.compile(incarnation="2")
    group = await house.lease(incarnation="2")
    assert [member.job_id for member in group.members] == [meant]
    assert "reserved" in (await house.scheduler.explain(waiting))["reason"]
    await house.scheduler.release("r", "bob")
    await house.report(done(meant), incarnation="2")
    group = await house.lease(incarnation="2")
    assert [member.job_id for member in group.members] == [waiting]


async def test_a_reservation_is_made_and_released_once_however_often_it_is_asked_for(open_house):
    house = await open_house()
    first = held()
    await house.scheduler.reserve(first, operator=False)
    with pytest.raises(InvalidState):
        await house.scheduler.reserve(held("other", begins=1.0), operator=False)
    with pytest.raises(InvalidState):
        await house.scheduler.reserve(first, operator=False)
    assert await house.scheduler.reserve(first, operator=False, again=True) == first
    with pytest.raises(NotFound):
        await house.scheduler.release("r", "bob")
    await house.scheduler.release("r", "alice")
    with pytest.raises(NotFound):
        await house.scheduler.release("r", None)
    await house.scheduler.release("r", None, again=True)
    assert await house.scheduler.reservations() == []


RULES = Reservations(max_duration=HOUR, max_ahead=10 * HOUR, max_total=3, max_per_tenant=1)


@pytest.mark.parametrize(
    ("wanted", "standing", "error", "field"),
    [
        (held(begins=0, ends=11 * HOUR), [], ValidationError, "ends_at"),
        (held(begins=0, ends=2 * HOUR), [], ValidationError, "ends_at"),
        (held(ends=100.0), [held("a")], QueueFull, None),
        (held(ends=100.0), [held(str(n), tenant="bob") for n in range(3)], QueueFull, None),
    ],
)
def test_tenants_keep_the_rules_of_reservations(wanted, standing, error, field):
    with pytest.raises(error) as caught:
        check_reservation(wanted, standing, RULES, time.time(), operator=False)
    assert caught.value.field == field
    assert caught.value.limit


def test_an_operator_keeps_only_the_rules_for_all():
    now = time.time()
    check_reservation(held(ends=9 * HOUR), [held("a")], RULES, now, operator=True)
    with pytest.raises(ValidationError):
        check_reservation(held(ends=11 * HOUR), [], RULES, now, operator=True)
    with pytest.raises(PermissionDenied):
        check_reservation(held(ends=1.0), [], RULES.model_copy(update={"max_duration": 0.0}), now, operator=False)


async def test_an_estimate_tells_of_the_line_as_it_is(open_house):
    house = await open_house()
    await house.join()
    told = await house.scheduler.estimate(
        "alice", 50, (Candidate(DEVICE, "x", 0.9, 2.0, 0.1),), {"fidelity_floor": 0.5}
    )
    assert told["chosen"] == DEVICE
    figures = told["devices"][DEVICE]
    assert (figures["qpu_s"], figures["fidelity"], figures["wait_s"]) == (2.0, 0.9, 0.0)
    refused = await house.scheduler.estimate("alice", 50, (Candidate(DEVICE, "x", 0.9),), {"fidelity_floor": 0.95})
    assert refused["devices"][DEVICE]["refusal"]


class Agent:
    """Remembers what the scheduler pushes to it."""

    def __init__(self, fidelity=0.5):
        self.asked = []
        self.probes = []
        self.fidelity = fidelity

    async def preempt_many(self, attempts):
        self.asked += attempts
        return attempts

    async def probe(self, device, noise_id, seed):
        self.probes.append((device, noise_id))
        return self.fidelity


async def test_urgent_work_makes_the_agent_give_way_once_for_all_members(open_house, cluster):
    house = await open_house()
    agent = Agent()
    cluster.add("agent", agent)
    long = replace(PROFILE, estimated_s=30.0)
    jobs = await house.submit(2, priority=10)
    await house.scheduler.join_compiler("c", "1")
    tasks = (await house.scheduler.lease_compile("c", "1", 10, [])).tasks
    await house.scheduler.report_compiled("c", "1", [CompileReport(t.job_id, t.attempt, long, b"x") for t in tasks])
    await house.join()
    group = await house.lease()
    attempts = [(member.job_id, member.attempt) for member in group.members]
    await house.scheduler.started("agent", "1", attempts)
    [urgent] = await house.submit(priority=95)
    await house.compile(incarnation="2")
    await until(lambda: agent.asked)
    assert agent.asked == attempts
    reports = [
        RunReport(*attempt, preempted=True, progress=0.5, checkpoint=checkpoint(*attempt)) for attempt in attempts
    ]
    group = await house.lease(reports=reports)
    assert [member.job_id for member in group.members] == [urgent]
    record = await house.record(attempts[0][0])
    kept = (checkpoint(*attempts[0]),)
    assert (record.state, record.preemptions, record.checkpoints) == (TaskState.QUEUED, 1, kept)
    assert record.retries == 0
    assert jobs[0] in {job_id for job_id, _ in attempts}
    await house.report(done(urgent))
    group = await house.lease()
    first = group.members[0]
    assert first.checkpoints == (checkpoint(first.job_id, 1),)


DRIFTING = {
    "devices": [{"name": DEVICE, "count": 1, "options": {"drift": {"rate": 0.1, "interval": "1ms", "seed": 5}}}],
    "resources.calibration.probe_interval": "10ms",
    "resources.calibration.max_frequency": "1ms",
    "resources.calibration.calibration_time": "10ms",
}


async def test_a_device_that_measures_badly_is_calibrated_and_that_outlives_the_scheduler(open_house, cluster):
    house = await open_house(**DRIFTING)
    agent = Agent(fidelity=0.5)
    cluster.add("agent", agent)
    await house.join()
    offer = asyncio.create_task(house.scheduler.lease("agent", "1", 1, []))
    await until(lambda: agent.probes)
    assert agent.probes[0][0] == DEVICE
    assert agent.probes[0][1].startswith("drift:5:0.1:0:")

    def published():
        return house.scheduler._core.device_readings()[0].noise_id

    await until(lambda: published() not in {"", "drift:5:0.1:0:0"})
    agent.fidelity = 1.0
    offer.cancel()
    before = published()
    await house.restart()
    assert int(published().split(":")[3]) >= int(before.split(":")[3]) >= 1


async def test_an_agent_that_cannot_measure_costs_nothing(open_house, cluster):
    house = await open_house(**DRIFTING)
    agent = Agent(fidelity=None)
    cluster.add("agent", agent)
    await house.join()
    offer = asyncio.create_task(house.scheduler.lease("agent", "1", 1, []))
    await until(lambda: len(agent.probes) > 1)
    assert house.scheduler._core.device_readings()[0].probe_fidelity is None
    offer.cancel()


def test_the_configuration_reaches_the_core(tmp_path):
    wanted = settings(
        tmp_path,
        **{
            "devices": DRIFTING["devices"] + [{"name": "fake_lima@aer_ideal", "options": {"drift": {"rate": 0.1}}}],
            "queues.low.weight": 2,
            "queues.high.preemption": False,
            "queues.normal.max_wait_time": None,
            "scheduler.aging": False,
            "scheduler.max_preemptions": 7,
            "retry_policy.budget": "5m",
            "resources.calibration.auto_calibrate": False,
            "scheduler.fair_share": {
                "half_life": "1h",
                "default": {"weight": 3, "quotas": {"running": 4}},
                "tenants": {"alice": {"quotas": {"qpu_seconds": 60, "period": "1d"}}},
            },
        },
    )
    core = core_settings(wanted)
    assert [level.weight for level in core.levels] == [10.0, 7.0, 5.0, 2.0]
    assert [level.preempts for level in core.levels] == [True, False, False, False]
    assert core.levels[2].max_wait_s is None
    assert (core.aging, core.half_life_s, core.retry_budget_s, core.preemption.max_per_job) == (False, 3600, 300, 7)
    assert (core.default_tenant.weight, core.default_tenant.max_running, core.default_tenant.max_qpu_s) == (
        3.0,
        4,
        None,
    )
    alice = core.tenants["alice"]
    assert (alice.weight, alice.max_running, alice.max_qpu_s, alice.period_s) == (3.0, 4, 60.0, 86_400.0)
    assert set(core.noise) == {DEVICE}, "a device without noise has none that drifts"
    noise = core.noise[DEVICE]
    assert (noise.seed, noise.rate, noise.threshold, noise.predictive) == (5, 0.1, 0.0, False)


@pytest.mark.parametrize("name", ["priority", "noise_aware", "multiplexing", "hybrid"])
@pytest.mark.parametrize("level", ["moderate", "strong"])
def test_every_policy_of_the_house_can_be_chosen(name, level):
    chosen = load_settings(env={}, overrides={"scheduler.algorithm": name, "multiplexing.isolation_level": level})
    assert policy_of(chosen).name == name


class Broken:
    name = "broken"

    def place(self, job, options, fleet):
        return []

    def choose_group(self, candidates, limits):
        return []


class Exploding:
    def __init__(self):
        raise RuntimeError("no")


class Entry:
    name, value = "mine", "package:Policy"

    def __init__(self, kind):
        self.kind = kind

    def load(self):
        return self.kind


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Broken, "breaks a rule"), (Exploding, "cannot be made: RuntimeError"), (None, "is not installed here")],
)
def test_a_policy_of_another_package_is_tried_before_anything_starts(monkeypatch, kind, words):
    monkeypatch.setattr("qrtx_ray.config.policies.entry_points", lambda **_: [Entry(kind)])
    chosen = load_settings(env={}, overrides={"scheduler.algorithm": "mine"})
    monkeypatch.setattr("qrtx_ray.actors.policies.entry_points", lambda **_: [Entry(kind)] if kind else [])
    with pytest.raises(ValidationError, match=words) as caught:
        policy_of(chosen)
    assert caught.value.field == "scheduler.algorithm"

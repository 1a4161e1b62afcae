"""The device actor as a plain class: groups in, reports out, none lost on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from qrtx_ray.actors import device as devices
from qrtx_ray.actors.device import DeviceActor
from qrtx_ray.actors.names import SCHEDULER, STATE_MANAGER
from qrtx_ray.actors.state_manager import StateManagerActor
from qrtx_ray.actors.wire import WorkLease
from qrtx_ray.errors import PersistError, WorkerDied
from qrtx_ray.store.circuit_fs import CircuitFS

from .building import DEVICE, ScriptedSandbox, group, honest, job_id, outcome, settings, until


class Scheduler:
    """Gives out `groups`, takes reports, and forgets its workers when told to."""

    def __init__(self) -> None:
        self.groups: asyncio.Queue = asyncio.Queue()
        self.known = False
        self.joins: list[tuple] = []
        self.reports: dict[str, list] = {}
        self.beats: list = []
        self.troubles = 0

    async def join_agent(self, info):
        self.known = True
        self.joins.append(info.running)
        return 1

    async def lease(self, agent, incarnation, capacity, reports):
        if not self.known:
            return WorkLease(1, known=False)
        self._take(reports)
        try:
            async with asyncio.timeout(0.05):
                return WorkLease(1, await self.groups.get())
        except TimeoutError:
            return WorkLease(1)

    async def report(self, agent, incarnation, reports):
        if self.known:
            self._take(reports)
        return self.known

    async def heartbeat(self, beat):
        self.beats.append(beat)
        return self.known

    async def started(self, agent, incarnation, members):
        return None

    def _take(self, reports):
        if reports and self.troubles:
            self.troubles -= 1
            raise PersistError("the journal refused the change; nothing was kept")
        for report in reports:
            self.reports.setdefault(report.job_id, []).append(report)


class Bench:
    def __init__(self, tmp_path, cluster, monkeypatch, behave=honest) -> None:
        monkeypatch.setattr(devices, "RESTART_PAUSE_S", 0.002)
        self.box = ScriptedSandbox(behave)
        monkeypatch.setattr(devices, "engine_sandbox", lambda *_: self.box)
        self.scheduler = Scheduler()
        self.handle = cluster.add(SCHEDULER, self.scheduler)
        wanted = settings(tmp_path, **{"resources.check_interval": 0.01})
        self.files = CircuitFS(wanted.paths.circuit_fs_url)
        self.state = StateManagerActor(wanted.to_dict())
        cluster.add(STATE_MANAGER, self.state)
        self.agent = DeviceActor("agent", (DEVICE,), wanted.to_dict(), 1024, 1)

    async def run(self, *numbers: int) -> None:
        self.scheduler.groups.put_nowait(group(*numbers))
        await until(lambda: all(job_id(n) in self.scheduler.reports for n in numbers))

    def error(self, number: int) -> str | None:
        [report] = self.scheduler.reports[job_id(number)]
        return report.error and report.error.code


@pytest.fixture
async def bench(tmp_path, cluster, monkeypatch):
    bench = Bench(tmp_path, cluster, monkeypatch)
    await until(lambda: bench.scheduler.joins)
    yield bench
    for task in bench.agent._background:
        task.cancel()


class Gate:
    """A child that works until it is let go."""

    def __init__(self, box: ScriptedSandbox) -> None:
        self.open = asyncio.Event()
        box._behave = self

    async def __call__(self, ids, emit):
        await self.open.wait()
        return await honest(ids, emit)


async def test_groups_run_and_their_results_are_durable_before_the_report(bench):
    await bench.run(1, 2)
    await bench.run(3)
    for number in (1, 2, 3):
        [report] = bench.scheduler.reports[job_id(number)]
        assert bench.files.read_results(job_id(number), report.sha256) is not None
    await until(lambda: not bench.agent._unacknowledged)
    assert (await bench.agent.status())["running"] == []


async def test_the_live_qubits_of_a_running_group_are_leased(bench, monkeypatch):
    monkeypatch.setattr("qrtx_ray.actors.device.KEEP_QUBITS_S", 0.0)
    gate = Gate(bench.box)
    bench.scheduler.groups.put_nowait(group(1, 2))
    await until(lambda: bench.box.calls)
    [lease] = await bench.state.live_qubits()
    assert lease["qubits"] == {"running": 4}
    gate.open.set()
    await until(lambda: bench.scheduler.reports)
    async with asyncio.timeout(2):
        while await bench.state.live_qubits():
            await asyncio.sleep(0.002)


async def test_one_group_runs_one_is_held_and_no_third_is_fetched(bench):
    gate = Gate(bench.box)
    for number in (1, 2, 3):
        bench.scheduler.groups.put_nowait(group(number))
    await until(lambda: bench.agent._held is not None)
    await asyncio.sleep(0.02)
    assert bench.scheduler.groups.qsize() == 1
    assert (await bench.agent.status())["prefetched"] == [job_id(2)]
    beat = bench.scheduler.beats[-1]
    assert set(beat.running) == {(job_id(1), 1), (job_id(2), 1)}
    gate.open.set()
    await until(lambda: len(bench.scheduler.reports) == 3)


async def test_a_report_the_scheduler_could_not_take_is_delivered_later_and_named_until_then(bench):
    bench.scheduler.troubles = 3
    await bench.run(1)
    assert bench.scheduler.troubles == 0
    assert bench.error(1) is None
    await until(lambda: not bench.agent._unacknowledged)


async def test_a_scheduler_that_forgot_the_agent_hears_of_everything_it_holds_in_one_join(bench):
    gate = Gate(bench.box)
    bench.scheduler.groups.put_nowait(group(1))
    bench.scheduler.groups.put_nowait(group(2))
    await until(lambda: bench.agent._held is not None)
    bench.scheduler.known = False
    gate.open.set()  # now reports, leases and heartbeats all find out at once
    await until(lambda: len(bench.scheduler.reports) == 2)
    assert len(bench.scheduler.joins) == 2
    assert {job for job, _ in bench.scheduler.joins[1]} >= {job_id(2)}


async def test_a_scheduler_that_dies_while_a_lease_is_parked_is_found_again(bench):
    bench.handle.crash()
    bench.scheduler.known = False
    await asyncio.sleep(0.01)
    bench.handle.away = False
    await bench.run(1)
    assert len(bench.scheduler.joins) == 2
    assert bench.scheduler.joins[1] == ()


async def test_what_ended_while_the_scheduler_was_away_is_named_and_then_reported(bench):
    gate = Gate(bench.box)
    bench.scheduler.groups.put_nowait(group(1))
    await until(lambda: bench.box.calls)
    bench.handle.crash()
    bench.scheduler.known = False
    gate.open.set()
    await until(lambda: bench.agent._run is None)
    bench.handle.away = False
    await until(lambda: job_id(1) in bench.scheduler.reports)
    assert (job_id(1), 1) in bench.scheduler.joins[1]
    assert bench.error(1) is None


async def test_stopping_a_running_attempt_ends_it_and_frees_the_child(bench):
    gate = Gate(bench.box)
    bench.scheduler.groups.put_nowait(group(1))
    await until(lambda: bench.box.calls)
    assert not await bench.agent.stop(job_id(1), 2)
    assert await bench.agent.stop(job_id(1), 1)
    await until(lambda: bench.scheduler.reports)
    assert bench.error(1) == "stopped"
    gate.open.set()
    await bench.run(2)


async def test_stopping_members_of_the_held_group_makes_room_when_none_is_left(bench):
    gate = Gate(bench.box)
    bench.scheduler.groups.put_nowait(group(1))
    bench.scheduler.groups.put_nowait(group(2, 3))
    await until(lambda: bench.agent._held is not None)
    assert await bench.agent.stop(job_id(2), 1)
    assert (await bench.agent.status())["prefetched"] == [job_id(3)]
    assert await bench.agent.stop(job_id(3), 1)
    assert not await bench.agent.stop(job_id(3), 1)
    bench.scheduler.groups.put_nowait(group(4))
    await until(lambda: bench.agent._held is not None and bench.agent._held.id == "group-4")
    gate.open.set()
    await until(lambda: len(bench.scheduler.reports) == 4)
    assert [bench.error(number) for number in (1, 2, 3, 4)] == [None, "stopped", "stopped", None]
    assert bench.box.calls == [[job_id(1)], [job_id(4)]]


async def test_the_whole_agent_makes_way_what_is_held_at_once_and_what_runs_after_its_slice(bench):
    async def behave(ids, emit):
        await until(lambda: bench.box.line._notes)
        left = {"preempted": True, "checkpoint": b"half", "progress": 0.5, "results": b""}
        return {"outcomes": [outcome(job, **left) for job in ids]}

    bench.box._behave = behave
    bench.scheduler.groups.put_nowait(group(1))
    bench.scheduler.groups.put_nowait(group(2, 3))
    await until(lambda: bench.agent._held is not None and bench.box.calls)
    assert not await bench.agent.preempt(job_id(1), 2), "another attempt"
    here = await bench.agent.preempt_many([(job_id(n), 1) for n in (1, 2, 4)])
    assert set(here) == {(job_id(1), 1), (job_id(2), 1)}
    await until(lambda: len(bench.scheduler.reports) == 2)
    assert (await bench.agent.status())["prefetched"] in ([job_id(3)], [])
    [ran], [held] = bench.scheduler.reports[job_id(1)], bench.scheduler.reports[job_id(2)]
    assert bench.files.read_checkpoint(job_id(1), ran.checkpoint_sha256) == b"half"
    assert (held.preempted, held.checkpoint_sha256) == (True, None)
    bench.box._behave = honest
    if job_id(3) not in bench.scheduler.reports:
        assert await bench.agent.preempt(job_id(3), 1)
    await until(lambda: job_id(3) in bench.scheduler.reports)
    await bench.run(5)
    await until(lambda: not bench.agent._unacknowledged)


async def test_what_stays_of_a_held_group_keeps_its_noise(bench):
    gate = Gate(bench.box)
    bench.scheduler.groups.put_nowait(group(1))
    bench.scheduler.groups.put_nowait(replace(group(2, 3, 4), noise_id="n"))
    await until(lambda: bench.agent._held is not None)
    assert await bench.agent.preempt(job_id(2), 1)
    assert await bench.agent.stop(job_id(3), 1)
    gate.open.set()
    await until(lambda: len(bench.scheduler.reports) == 4)
    assert bench.box.calls == [[job_id(1)], [job_id(4)]]
    assert bench.box.messages[1]["noise_id"] == "n"


async def test_a_probe_takes_its_turn_with_the_child(bench):
    said = {}

    async def behave(message, **_):
        said["message"] = message
        return {"fidelity": said["answer"]}

    bench.box.call = behave
    for answer, understood in ((0.5, 0.5), (1.5, None), ("good", None), (float("nan"), None), (None, None)):
        said["answer"] = answer
        assert await bench.agent.probe(DEVICE, "n", 7) == understood
    assert said["message"] == {"probe": {"device": DEVICE, "noise_id": "n", "seed": 7}}


async def test_a_probe_that_fails_is_no_figure_and_no_error(bench):
    async def broken(message, **_):
        raise WorkerDied("gone")

    bench.box.call = broken
    assert await bench.agent.probe(DEVICE, "", 1) is None


async def test_a_bug_of_ours_fails_the_group_and_not_the_agent(bench):
    async def broken(ids, emit):
        raise RuntimeError("a bug")

    bench.box._behave = broken
    await bench.run(1, 2)
    assert [bench.error(1), bench.error(2)] == ["internal", "internal"]
    bench.box._behave = honest
    await bench.run(3)


async def test_results_that_cannot_be_kept_for_a_reason_unforeseen_are_reported_all_the_same(bench, monkeypatch):
    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(bench.agent._files, "write_results", broken)
    await bench.run(1)
    assert bench.error(1) == "internal"


async def test_jobs_run_without_a_state_manager(bench, cluster):
    cluster.handles[STATE_MANAGER].away = True
    await bench.run(1)
    cluster.handles[STATE_MANAGER].away = False
    await bench.run(2)


async def test_a_draining_agent_finishes_what_it_has_and_takes_no_more(bench):
    gate = Gate(bench.box)
    bench.scheduler.groups.put_nowait(group(1))
    bench.scheduler.groups.put_nowait(group(2))
    await until(lambda: bench.agent._held is not None)
    assert not await bench.agent.drain(0.01)
    gate.open.set()
    assert await bench.agent.drain(5)
    bench.scheduler.groups.put_nowait(group(3))
    await asyncio.sleep(0.02)
    assert set(bench.scheduler.reports) == {job_id(1), job_id(2)}

"""The device actor as a plain class: groups in, reports out, none lost on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from qrtx_ray.actors import device as devices
from qrtx_ray.actors import faults, group_run
from qrtx_ray.actors.device import DeviceActor
from qrtx_ray.actors.names import SCHEDULER, STATE_MANAGER
from qrtx_ray.actors.state_manager import StateManagerActor
from qrtx_ray.actors.wire import WorkLease
from qrtx_ray.errors import PersistError, StoreFull, WorkerDied
from qrtx_ray.store.checkpoints import CheckpointStore
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
        self.kept: list = []
        self.withdrawn = 0
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

    async def checkpointed(self, agent, incarnation, kept):
        if not self.known:
            return None
        self.kept += kept
        return {one.job_id: (one.checkpoint,) for one in kept}

    async def withdraw(self, agent, incarnation):
        self.withdrawn += 1

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
        self.checkpoints = CheckpointStore(wanted.paths.circuit_fs_url, compression_level=3)
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
    assert bench.checkpoints.read(ran.checkpoint).body == b"half"
    assert (held.preempted, held.checkpoint) == (True, None)
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


async def test_results_wait_for_room_on_the_disk_and_while_many_wait_no_more_are_made(bench, monkeypatch):
    monkeypatch.setattr(devices, "MOST_KEPT", 2)
    monkeypatch.setattr(group_run, "WRITE_AGAIN_S", 0.002)
    write, room = CircuitFS.write_results, asyncio.Event()

    def refuse(*arguments):
        if not room.is_set():
            raise StoreFull("no space is left for files")
        return write(*arguments)

    monkeypatch.setattr(CircuitFS, "write_results", refuse)
    for number in (1, 2, 3, 4):
        bench.scheduler.groups.put_nowait(group(number))
    await until(lambda: len(bench.box.calls) == 2)
    await asyncio.sleep(0.05)
    assert len(bench.box.calls) == 2
    here = [(job_id(number), 1) for number in (1, 2, 3)]
    await until(lambda: set(bench.scheduler.beats[-1].running) == set(here))
    assert await bench.agent.stop(job_id(1), 1)
    assert not await bench.agent.stop(job_id(1), 2)
    await until(lambda: len(bench.box.calls) == 3 and job_id(1) in bench.scheduler.reports)
    assert bench.error(1) == "stopped"
    room.set()
    await until(lambda: all(job_id(number) in bench.scheduler.reports for number in (2, 3, 4)))
    assert [bench.error(number) for number in (2, 3, 4)] == [None] * 3


async def test_jobs_run_without_a_state_manager(bench, cluster):
    cluster.handles[STATE_MANAGER].away = True
    await bench.run(1)
    cluster.handles[STATE_MANAGER].away = False
    await bench.run(2)


def making_way(bench):
    """A child that goes on until it is told to make way, and a slice longer."""

    async def behave(ids, emit):
        await until(lambda: bench.box.notes("preempt"))
        left = {"preempted": True, "checkpoint": b"half", "progress": 0.5, "results": b""}
        return {"outcomes": [outcome(job, **left) for job in ids]}

    return behave


async def test_a_draining_agent_gives_back_what_it_holds_keeps_what_runs_and_takes_no_more(bench):
    bench.box._behave = making_way(bench)
    bench.scheduler.groups.put_nowait(group(1))
    bench.scheduler.groups.put_nowait(group(2))
    await until(lambda: bench.agent._held is not None and bench.box.calls)
    assert await bench.agent.drain(5) == []
    assert bench.scheduler.withdrawn == 1
    bench.scheduler.groups.put_nowait(group(3))
    await asyncio.sleep(0.02)
    assert set(bench.scheduler.reports) == {job_id(1), job_id(2)}
    [ran], [held] = bench.scheduler.reports[job_id(1)], bench.scheduler.reports[job_id(2)]
    assert (ran.preempted, bench.checkpoints.read(ran.checkpoint).body) == (True, b"half")
    assert (held.preempted, held.checkpoint) == (True, None)


async def test_what_is_nearly_done_ends_by_itself_before_a_draining_agent_asks_it_to_make_way(bench):
    gate = Gate(bench.box)
    bench.scheduler.groups.put_nowait(group(1))
    await until(lambda: bench.box.calls)
    drained = asyncio.create_task(bench.agent.drain(5, 5))
    await asyncio.sleep(0.05)
    assert bench.box.notes("preempt") == []
    gate.open.set()
    assert await drained == []
    assert bench.error(1) is None
    assert not bench.scheduler.reports[job_id(1)][0].preempted


async def test_a_draining_agent_says_what_it_could_not_bring_to_rest_in_time(bench):
    gate = Gate(bench.box)
    bench.scheduler.groups.put_nowait(group(1))
    await until(lambda: bench.box.calls)
    assert await bench.agent.drain(0.05) == [(job_id(1), 1)]
    gate.open.set()
    assert await bench.agent.drain(5) == []


async def test_an_agent_whose_scheduler_is_away_drains_as_far_as_it_can(bench):
    bench.box._behave = making_way(bench)
    bench.scheduler.groups.put_nowait(group(1))
    await until(lambda: bench.box.calls)
    bench.handle.crash()
    assert await bench.agent.drain(0.2) == [(job_id(1), 1)], "nobody has taken its report"
    bench.handle.away = False
    assert await bench.agent.drain(5) == []


async def test_a_checkpoint_on_the_way_is_a_file_before_the_scheduler_hears_of_it_also_when_it_forgot_the_agent(bench):
    gate = asyncio.Event()

    async def behave(ids, emit):
        bench.scheduler.known = False
        emit({"job_id": ids[0], "checkpoint": b"some", "progress": 0.25, "slices": 2})
        await gate.wait()
        return await honest(ids, emit)

    bench.box._behave = behave
    bench.scheduler.groups.put_nowait(group(1))
    await until(lambda: bench.scheduler.kept)
    [kept] = bench.scheduler.kept
    assert bench.checkpoints.read(kept.checkpoint).body == b"some"
    assert len(bench.scheduler.joins) == 2
    await until(lambda: bench.scheduler.beats[-1].progress == ((job_id(1), 1, 0.25, 2),))
    assert await bench.agent.checkpoint_many([(job_id(1), 1), (job_id(1), 2)]) == [(job_id(1), 1)]
    assert bench.box.notes("checkpoint") == [job_id(1)]
    gate.set()
    await until(lambda: bench.scheduler.reports)


async def test_concluding_ends_what_runs_with_its_part_and_what_is_held_without(bench):
    async def behave(ids, emit):
        await until(lambda: bench.box.notes("conclude"))
        return {"outcomes": [outcome(ids[0], partial=True, progress=0.5)]}

    bench.box._behave = behave
    bench.scheduler.groups.put_nowait(group(1))
    bench.scheduler.groups.put_nowait(group(2))
    await until(lambda: bench.agent._held is not None and bench.box.calls)
    attempts = [(job_id(n), 1) for n in (1, 2, 3)]
    assert set(await bench.agent.conclude_many(attempts)) == {(job_id(1), 1), (job_id(2), 1)}
    await until(lambda: len(bench.scheduler.reports) == 2)
    [part] = bench.scheduler.reports[job_id(1)]
    assert (part.partial, part.progress) == (True, 0.5)
    assert bench.error(2) == "stopped"
    assert await bench.agent.checkpoint_many(attempts) == []


async def test_the_points_at_which_a_test_may_kill_an_agent_are_passed_in_their_order(bench, monkeypatch):
    passed = []

    def note(point):
        assert point in faults.POINTS
        passed.append((point, job_id(1) in bench.scheduler.reports, len(bench.scheduler.kept)))

    monkeypatch.setattr("qrtx_ray.actors.kept_progress.reached", note)
    monkeypatch.setattr("qrtx_ray.actors.device.reached", note)

    async def behave(ids, emit):
        emit({"job_id": ids[0], "checkpoint": b"some", "progress": 0.25, "slices": 2})
        await until(lambda: bench.scheduler.kept)
        return await honest(ids, emit)

    bench.box._behave = behave
    await bench.run(1)
    assert passed == [("agent.checkpoint_written", False, 0), ("agent.before_report", False, 1)]
    assert {point for point, *_ in passed} == {point for point in faults.POINTS if point.startswith("agent.")}

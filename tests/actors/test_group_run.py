"""A group on its way through a child that is honest, dies, lies, hangs, is stopped, or makes way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from qrtx_ray.actors import group_run
from qrtx_ray.actors.group_run import GroupRun
from qrtx_ray.errors import ExecutionTimeout, StoreConflict, StoreFull, WorkerDied
from qrtx_ray.model import Group
from qrtx_ray.store.circuit_fs import CircuitFS

from .building import DEVICE, MemoryKeeper, ScriptedSandbox, all_reports, group, honest, job_id, member, outcome, until


@pytest.fixture
def files(tmp_path):
    return CircuitFS(str(tmp_path))


async def unheard(kept):
    """A scheduler that never answers."""
    await asyncio.Event().wait()


def run_of(behave, files, *numbers):
    box = ScriptedSandbox(behave)
    return GroupRun(group(*numbers), box, files, MemoryKeeper(), unheard), box


async def reports_of(run):
    await run.execute()
    return {report.job_id: report for report in await all_reports(run)}


async def test_a_whole_group_runs_in_one_call_and_its_results_are_on_disk(files):
    run, box = run_of(honest, files, 1, 2, 3)
    reports = await reports_of(run)
    assert box.calls == [[job_id(1), job_id(2), job_id(3)]]
    for number in (1, 2, 3):
        report = reports[job_id(number)]
        assert report.error is None
        assert (report.attempt, report.qpu_s, report.wall_s) == (1, 2.0, 0.1)
        assert files.read_results(job_id(number), report.sha256) == b"results of " + job_id(number).encode()


async def test_who_kills_the_child_is_found_and_nobody_else_suffers(files):
    async def behave(ids, emit):
        if job_id(2) in ids:
            raise WorkerDied("the process that ran it was killed by signal 11 (SIGSEGV)")
        return await honest(ids, emit)

    run, box = run_of(behave, files, 1, 2, 3)
    reports = await reports_of(run)
    assert box.calls == [[job_id(1), job_id(2), job_id(3)], [job_id(1)], [job_id(2)], [job_id(3)]]
    assert reports[job_id(2)].error.code == "worker_died"
    assert reports[job_id(1)].error is None
    assert reports[job_id(3)].error is None


async def test_a_child_killed_from_outside_costs_a_lone_job_nothing_but_time(files):
    deaths = [WorkerDied("the process that ran it was killed by signal 9 (SIGKILL)")]

    async def behave(ids, emit):
        if deaths:
            raise deaths.pop()
        return await honest(ids, emit)

    run, box = run_of(behave, files, 1)
    assert (await reports_of(run))[job_id(1)].error is None
    assert box.calls == [[job_id(1)], [job_id(1)]]


async def test_a_lone_job_that_kills_every_child_fails_after_the_second(files):
    async def behave(ids, emit):
        raise WorkerDied("the process that ran it was killed by signal 11 (SIGSEGV)")

    run, box = run_of(behave, files, 1)
    assert (await reports_of(run))[job_id(1)].error.code == "worker_died"
    assert len(box.calls) == 2


async def test_what_was_done_before_the_child_died_is_not_run_again(files):
    async def behave(ids, emit):
        if len(ids) > 1:
            emit({"job_id": ids[0], "outcome": {"results": b"early", "qpu_s": 1.0, "wall_s": 0.0}})
            raise WorkerDied("gone")
        return await honest(ids, emit)

    run, box = run_of(behave, files, 1, 2)
    reports = await reports_of(run)
    assert box.calls == [[job_id(1), job_id(2)], [job_id(2)]]
    assert files.read_results(job_id(1), reports[job_id(1)].sha256) == b"early"


async def test_a_group_that_takes_too_long_is_run_apart_so_that_only_the_slow_one_fails(files):
    async def behave(ids, emit):
        if job_id(1) in ids:
            raise ExecutionTimeout("the run took longer than 5 s and was stopped")
        return await honest(ids, emit)

    run, _ = run_of(behave, files, 1, 2)
    reports = await reports_of(run)
    assert reports[job_id(1)].error.code == "execution_timeout"
    assert reports[job_id(2)].error is None


async def test_stopping_a_running_member_ends_the_call_at_once_and_the_others_run_again(files):
    async def behave(ids, emit):
        if job_id(1) in ids:
            await asyncio.Event().wait()
        return await honest(ids, emit)

    run, box = run_of(behave, files, 1, 2)
    task = asyncio.create_task(reports_of(run))
    await until(lambda: box.calls)
    assert run.stop(job_id(1), 1)
    reports = await task
    assert box.cut_short == 1
    assert box.calls == [[job_id(1), job_id(2)], [job_id(2)]]
    assert reports[job_id(1)].error.code == "stopped"
    assert reports[job_id(2)].error is None


async def test_a_member_stopped_while_a_new_child_is_awaited_never_runs(files):
    """The call is under way but no child has got it: killing a child would change nothing."""
    started = []

    async def behave(ids, emit):
        await asyncio.Event().wait()  # the spare is not ready yet
        started.append(ids)

    run, box = run_of(behave, files, 1)
    task = asyncio.create_task(reports_of(run))
    await until(lambda: box.calls)
    assert run.stop(job_id(1), 1)
    reports = await asyncio.wait_for(task, 1)
    assert started == []
    assert [report.error.code for report in reports.values()] == ["stopped"]


async def test_stopping_two_members_one_after_the_other_leaves_the_rest(files):
    async def behave(ids, emit):
        if len(ids) > 1:
            await asyncio.Event().wait()
        return await honest(ids, emit)

    run, box = run_of(behave, files, 1, 2, 3)
    task = asyncio.create_task(reports_of(run))
    for number in (1, 2):
        await until(lambda number=number: len(box.calls) == number)
        assert run.stop(job_id(number), 1)
    reports = await task
    assert {job: report.error and report.error.code for job, report in reports.items()} == {
        job_id(1): "stopped",
        job_id(2): "stopped",
        job_id(3): None,
    }


async def test_a_stop_of_another_attempt_or_of_a_stranger_changes_nothing(files):
    run, _ = run_of(honest, files, 1)
    assert not run.stop(job_id(1), 2)
    assert not run.stop(job_id(9), 1)
    assert (await reports_of(run))[job_id(1)].error is None
    assert not run.stop(job_id(1), 1), "it has ended"


def leaving(checkpoint=b"half", progress=0.5, **fields):
    """An engine that makes way when it is told, as far as the notes go, and finishes what is left alone."""

    def behave_with(box):
        async def behave(ids, emit):
            await until(lambda: box.notes("preempt"))
            asked = box.notes("preempt")
            left = {"preempted": True, "checkpoint": checkpoint, "progress": progress, "results": b"", **fields}
            return {"outcomes": [outcome(job, **(left if job in asked else {})) for job in ids]}

        return behave

    return behave_with


def run_with(files, members, behave_with, keeper=None, announce=unheard):
    box = ScriptedSandbox(None)
    box._behave = behave_with(box)
    return GroupRun(
        Group("group", DEVICE, tuple(members), "noise"), box, files, keeper or MemoryKeeper(), announce
    ), box


async def test_a_running_member_makes_way_its_progress_is_kept_and_the_others_end_as_ever(files):
    keeper = MemoryKeeper()
    run, box = run_with(files, [member(1), member(2)], leaving(), keeper)
    task = asyncio.create_task(reports_of(run))
    await until(lambda: box.calls)
    for _ in range(2):
        assert run.preempt([(job_id(1), 1), (job_id(2), 7), (job_id(9), 1)]) == [(job_id(1), 1)]
    assert box.notes("preempt") == [job_id(1)], "once is enough"
    reports = await task
    assert box.calls == [[job_id(1), job_id(2)]], "nobody ran twice"
    left = reports[job_id(1)]
    assert (left.preempted, left.progress, left.error, left.sha256, left.qpu_s) == (True, 0.5, None, None, 0.0)
    assert (left.checkpoint.sequence, left.checkpoint.attempt, left.checkpoint.progress) == (1, 1, 0.5)
    assert keeper.bodies[left.checkpoint.sha256] == b"half"
    assert reports[job_id(2)].sha256 is not None
    assert not reports[job_id(2)].preempted


async def test_kept_progress_goes_to_the_child_of_a_later_attempt(files):
    keeper = MemoryKeeper()
    ref = keeper.put(job_id(1), 3, b"half")
    members = (member(2), replace(member(1, attempt=2), checkpoints=(ref,)), member(3))
    run, box = run_with(files, members, lambda _: honest, keeper)
    reports = await reports_of(run)
    assert box.calls == [[job_id(2)], [job_id(1)], [job_id(3)]], "one that goes on runs alone"
    assert [entry["checkpoint"] for message in box.messages for entry in message["members"]] == [b"", b"half", b""]
    assert {message["noise_id"] for message in box.messages} == {"noise"}
    assert reports[job_id(1)].sha256 is not None
    assert reports[job_id(1)].refused == ()


@pytest.mark.parametrize("lost", [1, 2])
async def test_of_several_checkpoints_the_newest_that_can_be_read_is_used_and_the_others_are_named(files, lost):
    keeper = MemoryKeeper()
    refs = tuple(keeper.put(job_id(1), number, f"{number}".encode()) for number in (3, 2, 1))
    for ref in refs[:lost]:
        del keeper.bodies[ref.sha256]
    run, box = run_with(files, [replace(member(1, 2), checkpoints=refs)], lambda _: honest, keeper)
    report = (await reports_of(run))[job_id(1)]
    assert box.messages[0]["members"][0]["checkpoint"] == f"{3 - lost}".encode()
    assert report.refused == refs[:lost]


async def test_kept_progress_that_is_not_there_means_to_begin_anew(files):
    ref = MemoryKeeper().put(job_id(1), 1, b"half")
    run, box = run_with(files, [replace(member(1, 2), checkpoints=(ref,))], lambda _: honest)
    report = (await reports_of(run))[job_id(1)]
    assert box.messages[0]["members"][0]["checkpoint"] == b""
    assert (report.error, report.refused) == (None, (ref,))


async def test_a_checkpoint_the_engine_has_no_use_for_is_named_and_the_result_counts(files):
    keeper = MemoryKeeper()
    refs = (keeper.put(job_id(1), 2, b"of another program"), keeper.put(job_id(1), 1, b"x"))

    async def behave(ids, emit):
        return {"outcomes": [outcome(ids[0], anew="the program is another one")]}

    run, _ = run_with(files, [replace(member(1, 2), checkpoints=refs)], lambda _: behave, keeper)
    report = (await reports_of(run))[job_id(1)]
    assert (report.error, report.refused) == (None, refs[:1])


async def test_a_child_that_dies_of_kept_progress_is_not_given_it_again(files):
    keeper = MemoryKeeper()
    refs = (keeper.put(job_id(1), 2, b"poison"), keeper.put(job_id(1), 1, b"older"))

    def behave_with(box):
        async def behave(ids, emit):
            if box.messages[-1]["members"][0]["checkpoint"] == b"poison":
                raise WorkerDied("the process that ran it was killed by signal 11 (SIGSEGV)")
            return await honest(ids, emit)

        return behave

    run, box = run_with(files, [replace(member(1, 2), checkpoints=refs)], behave_with, keeper)
    report = (await reports_of(run))[job_id(1)]
    assert report.error is None
    assert [message["members"][0]["checkpoint"] for message in box.messages] == [b"poison", b"older"]
    assert report.refused == (), "it may have been something else"


async def test_members_that_wait_in_the_group_go_back_at_once_with_what_they_came_with(files):
    gate, keeper = asyncio.Event(), MemoryKeeper()
    ref = keeper.put(job_id(2), 4, b"half")

    async def behave(ids, emit):
        await gate.wait()
        return await honest(ids, emit)

    members = (member(1), replace(member(2, 2), checkpoints=(ref,)), member(3))
    run, box = run_with(files, members, lambda _: behave, keeper)
    task = asyncio.create_task(reports_of(run))
    await until(lambda: box.calls)
    assert run.preempt([(job_id(2), 2), (job_id(3), 1)]) == [(job_id(2), 2), (job_id(3), 1)]
    assert run.preempt([(job_id(2), 2)]) == [], "it has gone"
    gate.set()
    reports = await task
    assert box.calls == [[job_id(1)]]
    second, third = reports[job_id(2)], reports[job_id(3)]
    assert (second.preempted, second.checkpoint, second.progress, second.refused) == (True, None, 0.4, ())
    assert (third.preempted, third.checkpoint, third.progress) == (True, None, 0.0)
    assert keeper.drafts == []


async def test_a_group_preempted_before_it_began_never_runs(files):
    run, box = run_of(honest, files, 1, 2)
    assert len(run.preempt(run.members())) == 2
    reports = await reports_of(run)
    assert box.calls == []
    assert all(report.preempted for report in reports.values())


async def test_one_that_is_to_make_way_does_not_run_again_when_the_child_dies(files):
    async def behave(ids, emit):
        await until(lambda: box.notes("preempt"))
        raise WorkerDied("gone")

    run, box = run_of(behave, files, 1)
    task = asyncio.create_task(reports_of(run))
    await until(lambda: box.calls)
    run.preempt([(job_id(1), 1)])
    report = (await task)[job_id(1)]
    assert len(box.calls) == 1
    assert (report.preempted, report.checkpoint, report.error) == (True, None, None)


async def test_one_that_ends_before_it_hears_has_its_results(files):
    gate = asyncio.Event()

    async def behave(ids, emit):
        await gate.wait()
        return await honest(ids, emit)

    run, box = run_of(behave, files, 1)
    task = asyncio.create_task(reports_of(run))
    await until(lambda: box.calls)
    assert run.preempt([(job_id(1), 1)])
    gate.set()
    report = (await task)[job_id(1)]
    assert not report.preempted
    assert files.read_results(job_id(1), report.sha256)


@pytest.mark.parametrize(
    "said",
    [
        {"preempted": True, "checkpoint": b"x", "progress": 0.5, "results": b""},
        {"preempted": True, "checkpoint": b"", "progress": 0.0, "results": b""},
        {"partial": True, "progress": 0.5},
        {"partial": "yes", "progress": 0.5},
    ],
)
async def test_a_child_that_makes_way_or_concludes_unasked_fails_its_job_instead_of_sending_it_round_for_ever(
    files, said
):
    async def behave(ids, emit):
        return {"outcomes": [outcome(ids[0], **said)]}

    run, _ = run_of(behave, files, 1)
    assert "cannot be read" in (await reports_of(run))[job_id(1)].error.message


async def test_progress_that_cannot_be_written_leaves_what_was_kept_before(files):
    keeper = MemoryKeeper()
    ref = keeper.put(job_id(1), 3, b"a third")
    keeper.broken = StoreFull("no space is left for files")
    run, box = run_with(files, [replace(member(1, 2), checkpoints=(ref,))], leaving(b"half"), keeper)
    task = asyncio.create_task(reports_of(run))
    await until(lambda: box.calls)
    run.preempt([(job_id(1), 2)])
    report = (await task)[job_id(1)]
    assert (report.preempted, report.error, report.checkpoint, report.progress) == (True, None, None, 0.3)
    assert report.refused == ()


async def test_a_member_stopped_while_it_makes_way_is_stopped(files):
    async def behave(ids, emit):
        await asyncio.Event().wait()

    run, box = run_of(behave, files, 1)
    task = asyncio.create_task(reports_of(run))
    await until(lambda: box.calls)
    run.preempt([(job_id(1), 1)])
    assert run.stop(job_id(1), 1)
    assert [report.error.code for report in (await task).values()] == ["stopped"]


async def test_a_member_the_engine_is_silent_about_fails_and_is_not_run_for_ever(files):
    async def behave(ids, emit):
        return {"outcomes": [outcome(ids[0])]}

    run, box = run_of(behave, files, 1, 2)
    reports = await reports_of(run)
    assert len(box.calls) == 1
    assert reports[job_id(2)].error.code == "execution_failed"
    assert "no outcome" in reports[job_id(2)].error.message


@pytest.mark.parametrize("reply", [{}, {"outcomes": 7}, {"outcomes": [7, None, [], {"job_id": []}]}, {"outcomes": {}}])
async def test_a_reply_that_makes_no_sense_is_silence(files, reply):
    async def behave(ids, emit):
        return reply

    run, _ = run_of(behave, files, 1)
    assert (await reports_of(run))[job_id(1)].error.code == "execution_failed"


async def test_answers_for_strangers_and_second_answers_do_not_count(files):
    async def behave(ids, emit):
        emit({"job_id": job_id(9), "outcome": {"results": b"not mine"}})
        emit({"job_id": None, "outcome": {"results": b"nobody's"}})
        emit({"job_id": ids[0], "outcome": outcome(job_id(2))})
        return {"outcomes": [outcome(ids[0], results=b"second"), outcome(job_id(9)), outcome(ids[1])]}

    run, _ = run_of(behave, files, 1, 2)
    reports = await reports_of(run)
    assert set(reports) == {job_id(1), job_id(2)}
    assert files.read_results(job_id(1), reports[job_id(1)].sha256) == b"results of " + job_id(2).encode()
    assert not files.exists(job_id(9))


@pytest.mark.parametrize(
    "lie",
    [
        {"qpu_s": -1.0},
        {"qpu_s": float("nan")},
        {"qpu_s": "2"},
        {"wall_s": float("inf")},
        {"wall_s": True},
        {"results": 10**12},
        {"results": "text"},
        {"results": b""},
        {"results": None},
        {"error": "an error that is none", "results": None},
    ],
)
async def test_figures_that_are_none_fail_their_job_and_nobody_else(files, lie):
    async def behave(ids, emit):
        return {"outcomes": [outcome(ids[0], **lie), outcome(ids[1])]}

    run, _ = run_of(behave, files, 1, 2)
    reports = await reports_of(run)
    assert "cannot be read" in reports[job_id(1)].error.message
    assert reports[job_id(2)].error is None


async def test_an_error_of_the_engine_is_passed_on_bounded(files):
    said = {"code": "c" * 1000, "message": "m" * 10**6, "category": "ExecuteError", "retryable": "yes", "field": 3}

    async def behave(ids, emit):
        return {"outcomes": [outcome(ids[0], error=said)]}

    run, _ = run_of(behave, files, 1)
    error = (await reports_of(run))[job_id(1)].error
    assert len(error.code) <= 64
    assert len(error.message) <= 2000
    assert (error.retryable, error.field) == (False, None)


class FullDisk:
    """Refuses results while it has no `room`, but those of the job that `fits`; `tried` counts."""

    def __init__(self, files, monkeypatch) -> None:
        self.room, self.tried, self._write = False, 0, files.write_results
        self.fits = ""
        monkeypatch.setattr(files, "write_results", self._try)
        monkeypatch.setattr(group_run, "WRITE_AGAIN_S", 0.002)

    def _try(self, *arguments):
        self.tried += 1
        if not self.room and arguments[0] != self.fits:
            raise StoreFull("no space is left for files; nothing of the call was kept")
        return self._write(*arguments)


async def test_results_that_cannot_be_written_are_kept_until_they_can(files, monkeypatch):
    disk = FullDisk(files, monkeypatch)
    run, box = run_of(honest, files, 1)
    task = asyncio.create_task(reports_of(run))
    await until(lambda: disk.tried > 3)
    disk.room = True
    report = (await task)[job_id(1)]
    assert report.error is None
    assert files.read_results(job_id(1), report.sha256) == b"results of " + job_id(1).encode()
    assert len(box.calls) == 1


async def test_results_that_cannot_be_written_are_given_up_when_nobody_wants_them(files, monkeypatch):
    disk = FullDisk(files, monkeypatch)
    run, _ = run_of(honest, files, 1)
    task = asyncio.create_task(reports_of(run))
    await until(lambda: disk.tried > 3)
    assert not run.stop(job_id(1), 2)
    assert run.stop(job_id(1), 1)
    assert (await task)[job_id(1)].error.code == "stopped"
    assert not run.stop(job_id(1), 1)


async def test_nobody_waits_for_the_results_of_another_that_cannot_be_written(files, monkeypatch):
    monkeypatch.setattr(group_run, "TOGETHER_S", 0.002)
    disk = FullDisk(files, monkeypatch)
    disk.fits = job_id(2)
    run, _ = run_of(honest, files, 1, 2, 3)
    await run.execute()
    told = []
    async for reports in run.keep():
        told += [report.job_id for report in reports]
        disk.room = told != []
    assert told[0] == job_id(2)
    assert sorted(told) == [job_id(1), job_id(2), job_id(3)]


async def test_results_whose_job_is_gone_are_an_error_at_once(files, monkeypatch):
    def gone(*_):
        raise StoreConflict("the job's folder was removed while its results were written")

    monkeypatch.setattr(files, "write_results", gone)
    run, _ = run_of(honest, files, 1)
    assert (await reports_of(run))[job_id(1)].error.code == "store_conflict"


async def test_progress_is_kept_within_bounds_and_only_for_members_at_work(files):
    seen = []

    async def behave(ids, emit):
        for fraction in (0.25, 7.5, -1.0, float("nan"), "half"):
            emit({"job_id": ids[0], "progress": fraction})
            seen.append(run.progress()[0][2:])
        emit({"job_id": job_id(9), "progress": 0.5})
        return await honest(ids, emit)

    run, _ = run_of(behave, files, 1)
    await reports_of(run)
    assert [fraction for fraction, _ in seen] == [0.25, 1.0, 0.0, 0.0, 0.0]
    assert [job for job, *_ in run.progress()] == [job_id(1)]


async def test_an_agent_that_ends_takes_its_call_with_it(files):
    async def behave(ids, emit):
        await asyncio.Event().wait()

    run, box = run_of(behave, files, 1)
    task = asyncio.create_task(run.execute())
    await until(lambda: box.calls)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert box.cut_short == 1

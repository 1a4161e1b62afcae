"""Checkpoints that are taken while a run goes on: kept beside it, told in order, used when its child dies, and bounded."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from qrtx_ray.actors import group_run
from qrtx_ray.actors.group_run import GroupRun
from qrtx_ray.errors import ExecutionTimeout, StoreFull, WorkerDied
from qrtx_ray.model import Group, Member
from qrtx_ray.sandbox.area import Area
from qrtx_ray.store.circuit_fs import CircuitFS
from tests.sandbox.conftest import descriptors

from .building import DEVICE, MemoryKeeper, ScriptedSandbox, all_reports, honest, job_id, member, outcome, until

STATE = 10_000  # bytes of the state that a checkpoint carries


class Scene:
    """One member, a child by script, and a scheduler that takes every checkpoint for valid.

    Attributes:
        told: The checkpoints it heard of.
    """

    def __init__(self, folder, *members: Member) -> None:
        self.files = CircuitFS(str(folder))
        self.keeper = MemoryKeeper()
        self.box = ScriptedSandbox(honest)
        self.told = []
        self.deaf = asyncio.Event()
        self.deaf.set()
        self.run = GroupRun(Group("g", DEVICE, members or (member(1),)), self.box, self.files, self.keeper, self.hear)

    async def hear(self, kept):
        await self.deaf.wait()
        self.told.append(kept)
        return tuple(one.checkpoint for one in reversed(self.told))[:2]

    def behave(self, script):
        """``script(ids, emit)`` is what the child does."""
        self.box._behave = script
        self.task = asyncio.create_task(self._whole())

    async def _whole(self):
        await self.run.execute()
        return {report.job_id: report for report in await all_reports(self.run)}

    async def taken(self) -> None:
        await until(lambda: self.box.notes("taken"))
        notes = self.box.line._notes
        for frame in [frame for frame in notes if b"taken" in frame]:
            notes.remove(frame)

    def given(self) -> list[bytes]:
        """What each child began with."""
        return [message["members"][0]["checkpoint"] for message in self.box.messages]


def handed(progress: float, **fields):
    body = f"at {progress}".encode()
    return {"job_id": job_id(1), "checkpoint": body, "progress": progress, "slices": int(progress * 10), **fields}


def wide(number: int = 1, **fields) -> Member:
    return replace(member(number), bulk_bytes=STATE, **fields)


async def test_a_checkpoint_is_kept_beside_the_run_then_told_and_older_files_go(tmp_path):
    scene = Scene(tmp_path)

    async def script(ids, emit):
        for progress in (0.25, 0.5, 0.75):
            emit(handed(progress))
            await scene.taken()
        return await honest(ids, emit)

    scene.behave(script)
    report = (await scene.task)[job_id(1)]
    await until(lambda: len(scene.told) == 3)
    assert report.sha256 is not None
    assert [draft.sequence for draft in scene.keeper.drafts] == [1, 2, 3]
    assert [one.checkpoint.progress for one in scene.told] == [0.25, 0.5, 0.75]
    assert {(one.job_id, one.attempt) for one in scene.told} == {(job_id(1), 1)}
    parents = [draft.parent_sha256 for draft in scene.keeper.drafts]
    assert parents == [None, *(one.checkpoint.sha256 for one in scene.told[:2])], "each names the one before"
    await until(lambda: len(scene.keeper.only) == 3)
    assert [ref.sequence for ref in scene.keeper.only[-1][1]] == [3, 2]
    assert scene.run.progress() == [(job_id(1), 1, 0.75, 7)]


async def test_the_numbers_go_on_from_those_of_earlier_attempts(tmp_path):
    keeper = MemoryKeeper()
    old = replace(keeper.put(job_id(1), 7, b"old"), job_id=job_id(5))  # restored from another job
    scene = Scene(tmp_path, replace(member(1, 3), checkpoints=(old,)))
    scene.keeper.bodies, scene.keeper.bulks = keeper.bodies, keeper.bulks

    async def script(ids, emit):
        emit(handed(0.9))
        await scene.taken()
        return await honest(ids, emit)

    scene.behave(script)
    await scene.task
    [draft] = scene.keeper.drafts
    assert (draft.sequence, draft.attempt, draft.parent_sha256, draft.restored_from) == (8, 3, old.sha256, job_id(5))


async def test_the_run_does_not_wait_for_the_disk_nor_for_the_scheduler(tmp_path):
    scene = Scene(tmp_path)
    scene.deaf.clear()
    scene.keeper.gate.clear()
    went_on = asyncio.Event()

    async def script(ids, emit):
        emit(handed(0.25))
        emit({"job_id": job_id(1), "progress": 0.3, "slices": 3})
        went_on.set()
        await scene.taken()
        emit(handed(0.5))
        await scene.taken()
        return await honest(ids, emit)

    scene.behave(script)
    await went_on.wait()
    assert scene.box.notes("taken") == []
    scene.keeper.gate.set()
    assert (await scene.task)[job_id(1)].sha256 is not None
    assert scene.told == []
    scene.deaf.set()
    await until(lambda: len(scene.told) == 2)
    assert [one.checkpoint.sequence for one in scene.told] == [1, 2], "in their order"


async def test_a_child_that_dies_goes_on_from_the_checkpoint_it_took_before(tmp_path):
    scene = Scene(tmp_path)
    scene.deaf.clear()  # also when the scheduler has not heard of it

    async def script(ids, emit):
        if len(scene.box.calls) == 1:
            emit(handed(0.5))
            await scene.taken()
            raise WorkerDied("the process that ran it was killed by signal 9 (SIGKILL)")
        return await honest(ids, emit)

    scene.behave(script)
    assert (await scene.task)[job_id(1)].error is None
    assert scene.given() == [b"", b"at 0.5"]


async def test_a_checkpoint_that_is_still_being_written_when_the_child_dies_is_waited_for(tmp_path):
    scene = Scene(tmp_path, wide())
    scene.keeper.gate.clear()

    async def script(ids, emit):
        if len(scene.box.calls) == 1:
            area_of(scene)[:STATE] = b"s" * STATE
            emit(handed(0.5, bulk_bytes=STATE))
            raise WorkerDied("gone")
        assert bytes(area_of(scene)[:STATE]) == b"s" * STATE, "the state is in the new child's memory"
        return await honest(ids, emit)

    scene.behave(script)
    await until(lambda: scene.box.calls)
    await asyncio.sleep(0.01)
    assert len(scene.box.calls) == 1
    scene.keeper.gate.set()
    assert (await scene.task)[job_id(1)].error is None
    assert scene.given() == [b"", b"at 0.5"]
    assert scene.box.messages[1]["members"][0]["bulk_bytes"] == STATE


async def test_children_that_die_after_ever_later_checkpoints_do_not_make_the_job_guilty_at_once_but_not_for_ever(
    tmp_path,
):
    scene = Scene(tmp_path)

    async def script(ids, emit):
        emit(handed(len(scene.box.calls) / 100))
        await scene.taken()
        raise WorkerDied("gone")

    scene.behave(script)
    assert (await scene.task)[job_id(1)].error.code == "worker_died"
    assert len(scene.box.calls) == group_run.MOST_DEATHS
    assert scene.given()[:3] == [b"", b"at 0.01", b"at 0.02"]


async def test_a_second_death_without_a_new_checkpoint_is_the_jobs_own(tmp_path):
    scene = Scene(tmp_path)

    async def script(ids, emit):
        if len(scene.box.calls) == 1:
            emit(handed(0.5))
            await scene.taken()
        raise WorkerDied("gone")

    scene.behave(script)
    assert (await scene.task)[job_id(1)].error.code == "worker_died"
    assert scene.given() == [b"", b"at 0.5"]


async def test_one_that_takes_too_long_fails_whatever_it_has_kept(tmp_path):
    scene = Scene(tmp_path)

    async def script(ids, emit):
        emit(handed(0.5))
        await scene.taken()
        raise ExecutionTimeout("the run took longer than 5 s and was stopped")

    scene.behave(script)
    assert (await scene.task)[job_id(1)].error.code == "execution_timeout"
    assert len(scene.box.calls) == 1


async def test_one_that_makes_way_just_after_a_checkpoint_hands_in_both_in_their_order(tmp_path):
    scene = Scene(tmp_path)
    scene.keeper.gate.clear()
    scene.deaf.clear()

    async def script(ids, emit):
        emit(handed(0.25))
        await until(lambda: scene.box.notes("preempt"))
        left = {"preempted": True, "checkpoint": b"more", "progress": 0.5, "results": b""}
        return {"outcomes": [outcome(ids[0], **left)]}

    scene.behave(script)
    await until(lambda: scene.box.calls)
    scene.run.preempt([(job_id(1), 1)])
    await asyncio.sleep(0.01)
    assert not scene.task.done()
    scene.keeper.gate.set()
    report = (await scene.task)[job_id(1)]
    assert (report.checkpoint.sequence, report.progress) == (2, 0.5)
    assert [draft.sequence for draft in scene.keeper.drafts] == [1, 2]


async def test_a_checkpoint_the_scheduler_has_not_heard_of_is_named_in_the_report_of_one_given_back(tmp_path):
    scene = Scene(tmp_path)
    scene.deaf.clear()

    async def script(ids, emit):
        emit(handed(0.5))
        await scene.taken()
        scene.run.preempt([(job_id(1), 1)])
        raise WorkerDied("gone")

    scene.behave(script)
    report = (await scene.task)[job_id(1)]
    assert (report.preempted, report.checkpoint.sequence, report.progress) == (True, 1, 0.5)


async def test_a_checkpoint_that_cannot_be_kept_costs_nothing_and_the_child_may_take_the_next(tmp_path):
    scene = Scene(tmp_path)

    async def script(ids, emit):
        scene.keeper.broken = StoreFull("no space is left")
        emit(handed(0.25))
        await scene.taken()
        scene.keeper.broken = None
        emit(handed(0.5))
        await scene.taken()
        return await honest(ids, emit)

    scene.behave(script)
    assert (await scene.task)[job_id(1)].error is None
    await until(lambda: scene.told)
    assert [one.checkpoint.progress for one in scene.told] == [0.5]


async def test_a_checkpoint_without_the_state_that_belongs_to_it_is_none(tmp_path, monkeypatch):
    scene = Scene(tmp_path, wide())

    async def script(ids, emit):
        monkeypatch.setattr(Area, "view", lambda *_: None)  # this process may map no more
        emit(handed(0.25, bulk_bytes=STATE))
        await scene.taken()
        monkeypatch.undo()
        emit(handed(0.5, bulk_bytes=STATE))
        await scene.taken()
        return await honest(ids, emit)

    scene.behave(script)
    assert (await scene.task)[job_id(1)].error is None
    assert [draft.progress for draft in scene.keeper.drafts] == [0.5]


async def test_word_that_the_scheduler_could_not_take_comes_with_that_of_the_next_checkpoint(tmp_path):
    scene = Scene(tmp_path)
    troubles = [StoreFull("the journal refused the change")]
    hear = scene.hear

    async def troubled(kept):
        if troubles:
            raise troubles.pop()
        return await hear(kept)

    scene.run = GroupRun(Group("g", DEVICE, (member(1),)), scene.box, scene.files, scene.keeper, troubled)

    async def script(ids, emit):
        for progress in (0.25, 0.5):
            emit(handed(progress))
            await scene.taken()
        await until(lambda: len(scene.told) == 2)
        return await honest(ids, emit)

    scene.behave(script)
    assert (await scene.task)[job_id(1)].error is None
    assert [one.checkpoint.sequence for one in scene.told] == [1, 2]


async def test_stopping_a_run_does_not_wait_for_its_checkpoint(tmp_path):
    scene = Scene(tmp_path, wide())
    scene.keeper.gate.clear()

    async def script(ids, emit):
        emit(handed(0.5, bulk_bytes=STATE))
        await asyncio.Event().wait()

    scene.behave(script)
    await until(lambda: scene.box.calls)
    await asyncio.sleep(0.01)
    assert scene.run.stop(job_id(1), 1)
    assert (await scene.task)[job_id(1)].error.code == "stopped"
    scene.keeper.gate.set()
    await until(lambda: scene.keeper.drafts)


async def test_what_the_scheduler_took_back_is_not_gone_on_from(tmp_path):
    scene = Scene(tmp_path)

    async def script(ids, emit):
        if len(scene.box.calls) == 1:
            for number in range(1, 8):
                emit(handed(number / 10))
                await scene.taken()
                await until(lambda number=number: len(scene.keeper.only) == number)
            scene.keeper.bodies.clear()  # damaged, all of them
            raise WorkerDied("gone")
        return await honest(ids, emit)

    scene.behave(script)
    report = (await scene.task)[job_id(1)]
    assert [ref.sequence for ref in report.refused] == [7, 6], "the files of the others are gone since long"


async def test_when_one_of_a_group_is_stopped_the_others_go_on_from_what_they_have(tmp_path):
    scene = Scene(tmp_path, member(1), member(2), member(3))

    async def script(ids, emit):
        if len(scene.box.calls) == 1:
            emit(handed(0.5))
            await scene.taken()
            scene.run.stop(job_id(2), 1)
            await asyncio.Event().wait()
        return await honest(ids, emit)

    scene.behave(script)
    reports = await scene.task
    assert [reports[job_id(number)].error is None for number in (1, 2, 3)] == [True, False, True]
    assert scene.box.calls[1:] == [[job_id(1)], [job_id(3)]]
    assert scene.given() == [b"", b"at 0.5", b""]


async def test_the_shared_memory_goes_also_when_a_bug_of_ours_ends_the_group(tmp_path):
    before = descriptors()
    scene = Scene(tmp_path, wide(), member(2))

    async def script(ids, emit):
        if ids == [job_id(2)]:
            raise RuntimeError("a bug")
        await until(lambda: scene.box.notes("preempt"))
        left = {"preempted": True, "checkpoint": b"x", "progress": 0.5, "results": b"", "bulk_bytes": STATE}
        return {"outcomes": [outcome(ids[0], **left)]}

    scene.behave(script)
    await until(lambda: scene.box.calls)
    scene.run.preempt([(job_id(1), 1)])
    with pytest.raises(RuntimeError):
        await scene.task
    await until(lambda: descriptors() == before)


async def test_one_that_is_asked_for_in_the_middle_of_a_flood_is_asked_for_once(tmp_path):
    scene = Scene(tmp_path)
    scene.keeper.gate.clear()

    async def script(ids, emit):
        emit(handed(0.25))
        scene.run.checkpoint([(job_id(1), 1)])
        for _ in range(1000):
            emit(handed(0.5))
        assert len(scene.box.line._notes) == 1
        scene.keeper.gate.set()
        await scene.taken()
        assert scene.box.notes("checkpoint") == [job_id(1)] * 2
        return await honest(ids, emit)

    scene.behave(script)
    assert (await scene.task)[job_id(1)].error is None


async def test_a_flood_of_checkpoints_is_kept_one_at_a_time_and_the_rest_dropped(tmp_path):
    scene = Scene(tmp_path)
    scene.keeper.gate.clear()

    async def script(ids, emit):
        for _ in range(1000):
            emit(handed(0.5))
        scene.keeper.gate.set()
        await scene.taken()
        return await honest(ids, emit)

    scene.behave(script)
    await scene.task
    assert len(scene.keeper.drafts) == 1


@pytest.mark.parametrize(
    "lie",
    [
        {"checkpoint": "text"},
        {"checkpoint": b""},
        {"progress": 2.0},
        {"progress": float("nan")},
        {"progress": "half"},
        {"bulk_bytes": -1},
        {"bulk_bytes": 1, "bulk_at": 2**40},
        {"bulk_bytes": 2**40},
        {"bulk_bytes": 2.0},
        {"bulk_bytes": STATE, "bulk_at": -1},
        {"about": "text"},
        {"about": {"kind": "something else"}},
        {"job_id": job_id(9)},
        {"job_id": None},
    ],
)
@pytest.mark.parametrize("bulk_bytes", [0, STATE])
async def test_a_checkpoint_that_cannot_be_is_not_kept_and_nothing_else_happens(tmp_path, lie, bulk_bytes):
    scene = Scene(tmp_path, replace(member(1), bulk_bytes=bulk_bytes))

    async def script(ids, emit):
        emit(handed(0.5) | lie)
        return await honest(ids, emit)

    scene.behave(script)
    assert (await scene.task)[job_id(1)].error is None
    assert scene.keeper.drafts == []


async def test_what_a_child_says_about_a_checkpoint_is_cut_to_plain_and_small(tmp_path):
    scene = Scene(tmp_path)
    about = {
        "kind": "segment",
        "engine": "aer",
        "seed": 5,
        "versions": {"qiskit": "2", "odd": 7, 3: "x"},
        "large": "x" * 5000,
        "deep": {"a": {"b": "c"}},
        "list": [1],
        7: "x",
        "k" * 100: 1,
    } | {f"more{n}": n for n in range(100)}

    async def script(ids, emit):
        emit(handed(0.5, about=about))
        await scene.taken()
        return await honest(ids, emit)

    scene.behave(script)
    await scene.task
    [draft] = scene.keeper.drafts
    assert draft.kind == "segment"
    assert {"engine": "aer", "seed": 5, "versions": {"qiskit": "2"}, "deep": {}}.items() <= draft.about.items()
    assert len(draft.about) <= 32
    assert not {"large", "list", 7} & draft.about.keys()


def area_of(scene: Scene) -> memoryview:
    """The shared memory as the child has it."""
    import mmap
    import os

    size = os.fstat(scene.box.area).st_size
    return memoryview(mmap.mmap(scene.box.area, size))


async def test_a_wide_member_runs_alone_with_memory_for_two_of_its_states(tmp_path):
    scene = Scene(tmp_path, member(1), wide(2), member(3))
    sizes = []

    async def script(ids, emit):
        sizes.append(0 if scene.box.area is None else len(area_of(scene)))
        return await honest(ids, emit)

    scene.behave(script)
    await scene.task
    assert scene.box.calls == [[job_id(1)], [job_id(2)], [job_id(3)]]
    assert sizes[0] == sizes[2] == 0
    assert 2 * STATE < sizes[1] <= 2 * STATE + 3 * 4096


async def test_a_state_in_shared_memory_is_kept_from_where_the_child_says_and_comes_back_at_the_beginning(tmp_path):
    scene = Scene(tmp_path, wide())
    at = 3 * 4096

    async def script(ids, emit):
        area_of(scene)[at : at + STATE] = b"a" * STATE
        emit(handed(0.25, bulk_bytes=STATE, bulk_at=at))
        await scene.taken()
        await until(lambda: scene.box.notes("preempt"))
        area_of(scene)[:STATE] = b"b" * STATE
        left = {"preempted": True, "checkpoint": b"x", "progress": 0.5, "results": b"", "bulk_bytes": STATE}
        return {"outcomes": [outcome(ids[0], **left)]}

    scene.behave(script)
    await until(lambda: scene.told)
    scene.run.preempt([(job_id(1), 1)])
    report = (await scene.task)[job_id(1)]
    assert scene.keeper.bulks[scene.told[0].checkpoint.sha256] == b"a" * STATE
    assert scene.keeper.bulks[report.checkpoint.sha256] == b"b" * STATE

    later = Scene(tmp_path, wide(attempt=2, checkpoints=(report.checkpoint,)))
    later.keeper = scene.keeper
    later.run = GroupRun(later.run._group, later.box, later.files, scene.keeper, later.hear)

    async def goes_on(ids, emit):
        assert bytes(area_of(later)[:STATE]) == b"b" * STATE
        return await honest(ids, emit)

    later.behave(goes_on)
    assert (await later.task)[job_id(1)].error is None
    assert later.box.messages[0]["members"][0]["bulk_bytes"] == STATE


async def test_a_state_that_has_no_room_is_as_good_as_none(tmp_path):
    scene = Scene(tmp_path)
    refs = (scene.keeper.put(job_id(1), 2, b"wide", b"s" * 100_000), scene.keeper.put(job_id(1), 1, b"plain"))
    for bulk_bytes in (0, STATE):
        wanted = replace(member(1, 2), checkpoints=refs, bulk_bytes=bulk_bytes)
        scene.run = GroupRun(Group("g", DEVICE, (wanted,)), scene.box, scene.files, scene.keeper, scene.hear)
        scene.behave(honest)
        assert (await scene.task)[job_id(1)].refused == refs[:1]
        assert scene.given()[-1] == b"plain"


async def test_no_memory_and_no_descriptor_is_left_however_a_wide_run_ends(tmp_path):
    ends = []

    async def completes(ids, emit):
        emit(handed(0.5, bulk_bytes=STATE))
        return await honest(ids, emit)

    async def dies(ids, emit):
        emit(handed(0.5, bulk_bytes=STATE))
        raise WorkerDied("gone")

    async def lies(ids, emit):
        return {"outcomes": [outcome(ids[0], preempted=True, checkpoint=b"x", bulk_bytes=2**50, progress=0.5)]}

    await asyncio.to_thread(lambda: None)
    before = descriptors()
    for script in (completes, dies, lies) * 3:
        scene = Scene(tmp_path, wide())
        scene.behave(script)
        ends.append((await scene.task)[job_id(1)])
    await until(lambda: descriptors() <= before)
    assert [report.error is None for report in ends[:3]] == [True, False, False]


async def test_without_shared_memory_a_wide_run_goes_on_all_the_same(tmp_path, monkeypatch):
    def none_left(size):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(group_run, "Area", none_left)
    scene = Scene(tmp_path, wide())
    scene.behave(honest)
    assert (await scene.task)[job_id(1)].error is None
    assert scene.box.area is None
    assert Area is not none_left


async def test_a_checkpoint_is_asked_for_once_and_again_when_it_came_at_a_bad_moment(tmp_path):
    scene = Scene(tmp_path, member(1), member(2))
    go = asyncio.Event()

    async def script(ids, emit):
        await until(lambda: scene.box.notes("checkpoint"))
        scene.keeper.gate.clear()
        emit(handed(0.1))  # that of the clock
        await asyncio.sleep(0)
        emit(handed(0.2))  # the one asked for comes while the first is written
        scene.keeper.gate.set()
        await go.wait()
        return await honest(ids, emit)

    scene.behave(script)
    await until(lambda: scene.box.calls)
    assert scene.run.checkpoint([(job_id(1), 1), (job_id(2), 9), (job_id(9), 1)]) == [(job_id(1), 1)]
    assert scene.run.checkpoint([(job_id(1), 1)]) == [(job_id(1), 1)]
    assert scene.box.notes("checkpoint") == [job_id(1)]
    go.set()
    await scene.task


async def test_what_is_concluded_hands_in_the_results_it_has(tmp_path):
    scene = Scene(tmp_path, member(1), member(2))

    async def script(ids, emit):
        await until(lambda: scene.box.notes("conclude"))
        return {"outcomes": [outcome(ids[0], partial=True, progress=0.4), outcome(ids[1])]}

    scene.behave(script)
    await until(lambda: scene.box.calls)
    for _ in range(2):
        assert scene.run.conclude([(job_id(1), 1), (job_id(2), 2)]) == [(job_id(1), 1)]
    assert scene.box.notes("conclude") == [job_id(1)]
    reports = await scene.task
    part, whole = reports[job_id(1)], reports[job_id(2)]
    assert (part.partial, part.progress, part.error) == (True, 0.4, None)
    assert scene.files.read_results(job_id(1), part.sha256)
    assert (whole.partial, whole.error) == (False, None)


async def test_a_conclusion_outlives_the_child_and_needs_no_second_request(tmp_path):
    scene = Scene(tmp_path)

    async def script(ids, emit):
        await until(lambda: scene.box.notes("conclude"))
        if len(scene.box.calls) == 1:
            raise WorkerDied("gone")
        return {"outcomes": [outcome(ids[0], partial=True, progress=0.4)]}

    scene.behave(script)
    await until(lambda: scene.box.calls)
    scene.run.conclude([(job_id(1), 1)])
    report = (await scene.task)[job_id(1)]
    assert (report.partial, len(scene.box.calls)) == (True, 2)


async def test_one_that_had_not_begun_when_it_was_concluded_is_stopped_or_gone(tmp_path):
    scene = Scene(tmp_path, wide(1), wide(2))

    async def script(ids, emit):
        await until(lambda: scene.box.notes("conclude"))
        left = {"preempted": True, "checkpoint": b"", "progress": 0.0, "results": b""}
        return {"outcomes": [outcome(ids[0], **left)]}

    scene.behave(script)
    await until(lambda: scene.box.calls)
    scene.run.conclude([(job_id(1), 1), (job_id(2), 1)])
    reports = await scene.task
    assert scene.box.calls == [[job_id(1)]]
    assert (reports[job_id(1)].preempted, reports[job_id(1)].checkpoint) == (True, None)
    assert reports[job_id(2)].error.code == "stopped"


@pytest.mark.parametrize(
    ("memory_bytes", "states"), [(None, 2), (2**40, 2), (2 * STATE + group_run.BESIDE_BYTES, 1), (STATE, 1)]
)
async def test_where_two_states_would_leave_the_child_too_little_there_is_room_for_one(tmp_path, memory_bytes, states):
    scene = Scene(tmp_path)
    target = Group("g", DEVICE, (wide(),))
    scene.run = GroupRun(target, scene.box, scene.files, scene.keeper, scene.hear, memory_bytes)
    sizes = []

    async def script(ids, emit):
        sizes.append(len(area_of(scene)))
        emit(handed(0.5, bulk_bytes=STATE, bulk_at=3 * 4096))
        return await honest(ids, emit)

    scene.behave(script)
    await scene.task
    assert states * STATE < sizes[0] <= states * (STATE + 4096) + 4096
    assert len(scene.keeper.drafts) == states - 1, "a copy has no room where there is room for one"

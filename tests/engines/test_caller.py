"""What the child hears and says while a member runs: wishes, checkpoints on time, and copies that wait to be taken."""

from __future__ import annotations

import pytest

from qrtx_ray.engines import caller, worker
from qrtx_ray.engines.caller import Line, MemberLine
from qrtx_ray.engines.protocol import Checkpoint, Wish
from qrtx_ray.engines.stages import PAGE
from qrtx_ray.engines.worker import RESERVE_BYTES, _run_members

from .segments import BYTES, JOB, Memory, Walk, walked

WHOLE = Walk().run([walked()])[0].results


class Parent:
    """A caller with a list of notes for each look, and memory; one that `takes` says so at the look after a checkpoint."""

    def __init__(self, *looks, memory: Memory | None = None, takes: bool = False) -> None:
        self.events: list[dict] = []
        self.copies: list[bytes] = []
        self.looks = list(looks)
        self.memory = memory
        self.takes = takes
        self._owed: list[dict] = []

    def __call__(self, event: dict) -> None:
        self.events.append(event)
        if "checkpoint" in event:
            at = event["bulk_at"]
            self.copies.append(b"" if self.memory is None else bytes(self.memory.data[at : at + event["bulk_bytes"]]))
            if self.takes:
                self._owed.append({"taken": [event["job_id"]]})

    def interrupts(self) -> list[dict]:
        owed, self._owed = self._owed, []
        return owed + (self.looks.pop(0) if self.looks else [])

    def area(self, nbytes: int) -> memoryview | None:
        return None if self.memory is None else self.memory(nbytes)

    @property
    def checkpoints(self) -> list[dict]:
        return [event for event in self.events if "checkpoint" in event]


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that stands unless it is moved; every look is made."""

    class Clock:
        now = 100.0
        step = 0.0

        def monotonic(self) -> float:
            self.now += self.step
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    clock = Clock()
    for module in (caller, worker):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(caller, "ASK_EVERY_S", 0.0)
    return clock


def line_of(*looks, member=(), **fields) -> tuple[MemberLine, Parent]:
    parent = Parent(*looks, **fields)
    return MemberLine({"job_id": "a", **dict(member)}, Line(parent)), parent


@pytest.mark.parametrize(
    ("looks", "wishes"),
    [
        ([[{"checkpoint": ["a"]}]], [Wish.CHECKPOINT, Wish.CHECKPOINT]),
        ([[{"preempt": ["b", "a"]}]], [Wish.PREEMPT, Wish.PREEMPT]),
        ([[{"conclude": ["a"]}], [{"preempt": ["a"]}]], [Wish.CONCLUDE, Wish.CONCLUDE]),
        ([[{"checkpoint": ["a"]}, {"preempt": ["a"]}], []], [Wish.PREEMPT, Wish.PREEMPT]),
        ([[{"preempt": ["a"]}], [{"checkpoint": ["a"]}], [{"conclude": ["a"]}]], [Wish.PREEMPT] * 2 + [Wish.CONCLUDE]),
        ([[{"preempt": ["b"]}], [{"taken": ["a"]}], [{"unheard": ["of"]}]], [None, None, None]),
    ],
)
def test_a_wish_stands_until_it_is_met_and_gives_way_to_a_stronger_one(looks, wishes):
    line, _ = line_of(*looks)
    assert [line.report(0.1) for _ in wishes] == wishes


def test_a_checkpoint_is_due_when_its_time_has_passed_and_again_that_long_after_it_was_taken(clock):
    line, parent = line_of(member={"checkpoint_every_s": 60.0}, takes=True)
    assert line.report(0.1) is None
    clock.now += 59.9
    assert line.report(0.2) is None
    clock.now += 0.2
    assert line.report(0.3) is Wish.CHECKPOINT
    clock.now += 5.0
    assert line.report(0.3) is Wish.CHECKPOINT, "it was not taken"
    line.keep(Checkpoint(b"c", 0.3, about={"kind": "slices"}))
    assert line.report(0.4) is None
    clock.now += 60.0
    assert line.report(0.5) is Wish.CHECKPOINT
    assert parent.checkpoints == [
        {
            "job_id": "a",
            "checkpoint": b"c",
            "progress": 0.3,
            "bulk_bytes": 0,
            "bulk_at": 0,
            "about": {"kind": "slices"},
        }
    ]


@pytest.mark.parametrize("every_s", [0, 0.0, None])
def test_without_an_interval_none_is_due(clock, every_s):
    line, _ = line_of(member={"checkpoint_every_s": every_s})
    clock.now += 1e9
    assert line.report(0.5) is None


def test_a_second_one_waits_for_the_word_that_the_first_is_durable(clock):
    line, parent = line_of([{"checkpoint": ["a"]}], member={"checkpoint_every_s": 1.0})
    assert line.report(0.1) is Wish.CHECKPOINT
    line.keep(Checkpoint(b"c", 0.1))
    clock.now += 10.0
    parent.looks = [[{"checkpoint": ["a"]}]]
    assert [line.report(0.2), line.report(0.3)] == [None, None]
    parent.looks = [[{"taken": ["b"]}], [{"taken": ["a"]}]]
    assert [line.report(0.4), line.report(0.5)] == [None, Wish.CHECKPOINT]


def test_making_way_waits_for_no_such_word():
    line, _ = line_of([{"checkpoint": ["a"]}], [{"preempt": ["a"]}])
    line.report(0.1)
    line.keep(Checkpoint(b"c", 0.1))
    assert line.report(0.2) is Wish.PREEMPT


def test_a_caller_that_cannot_interrupt_takes_at_once(clock):
    events = []
    line = MemberLine({"job_id": "a", "checkpoint_every_s": 1.0}, Line(events.append))
    for _ in range(3):
        clock.now += 1.0
        assert line.report(0.1) is Wish.CHECKPOINT
        line.keep(Checkpoint(b"c", 0.1))
    assert len([event for event in events if "checkpoint" in event]) == 3


def test_progress_counts_slices_and_is_said_no_oftener_than_is_of_use(clock):
    line, parent = line_of()
    for n in range(1, 31):
        clock.now += 0.03
        line.report(n / 30)
    said = [(event["slices"], event["progress"]) for event in parent.events]
    assert said == [(n, n / 30) for n in range(4, 31, 4)]


def test_what_is_said_before_the_first_slice_counts_for_none(clock):
    line, parent = line_of(member={"checkpoint": b"kept"})
    for fraction in (0.5, 0.6, 0.7):
        clock.now += 1.0
        line.report(fraction)
    assert [event["slices"] for event in parent.events] == [0, 1, 2]


def run_walk(parent: Parent, memory_bytes: int | None = None, **fields):
    member = {"job_id": "a", "seed": 5, "executable": JOB.to_bytes(), **fields}
    [outcome] = _run_members(Walk(), {"device": JOB.device, "members": [member]}, parent, memory_bytes)
    assert outcome["error"] is None
    return outcome


@pytest.mark.parametrize("size", [2 * BYTES + PAGE, BYTES + PAGE, BYTES])
def test_states_handed_out_on_the_way_are_whole_where_the_note_says_they_lie(clock, size):
    clock.step = 1.0
    parent = Parent(memory=Memory(size), takes=True)
    outcome = run_walk(parent, checkpoint_every_s=0.5)
    assert outcome["results"] == WHOLE
    assert [event["progress"] for event in parent.checkpoints] == [n / 8 for n in range(1, 8)]
    room = -(-BYTES // PAGE) * PAGE
    there = 0 if size < room + BYTES else room
    assert {(event["bulk_bytes"], event["bulk_at"]) for event in parent.checkpoints} == {(BYTES, there), (0, 0)}
    for event, copy in zip(parent.checkpoints, parent.copies, strict=True):
        memory = Memory(BYTES)
        memory.data[: len(copy)] = copy
        rest = run_walk(Parent(memory=memory), checkpoint=event["checkpoint"], bulk_bytes=event["bulk_bytes"])
        assert rest["results"] == WHOLE
        assert "anew" not in rest


def test_with_room_for_a_copy_the_run_goes_on_while_it_is_read():
    parent = Parent([], [{"checkpoint": ["a"]}], memory=Memory(2 * BYTES + PAGE))
    outcome = run_walk(parent)
    assert outcome["results"] == WHOLE
    [event] = parent.checkpoints
    at = event["bulk_at"]
    assert bytes(parent.memory.data[at : at + BYTES]) == parent.copies[0], "nobody wrote over it"
    assert bytes(parent.memory.data[:BYTES]) != parent.copies[0]


def test_without_room_the_run_stands_still_until_the_state_was_read(clock):
    parent = Parent([], [{"checkpoint": ["a"]}], *[[]] * 20, [{"taken": ["a"]}], memory=Memory(BYTES))
    began = clock.now
    assert run_walk(parent)["results"] == WHOLE
    assert clock.now - began == pytest.approx(21 * caller.TAKEN_EVERY_S)
    assert len(parent.looks) == 0


def test_a_wish_that_comes_while_it_stands_still_is_heard():
    parent = Parent([], [{"checkpoint": ["a"]}], [{"preempt": ["a"]}], [{"taken": ["a"]}], memory=Memory(BYTES))
    left = run_walk(parent)
    assert (left["preempted"], left["progress"], left["bulk_bytes"]) == (True, 0.25, BYTES)
    assert left["about"]["kind"] == "segment"


def test_a_member_that_makes_way_leaves_its_state_at_the_beginning_of_the_memory():
    parent = Parent([], [{"checkpoint": ["a"]}], [{"preempt": ["a"]}], memory=(memory := Memory(2 * BYTES + PAGE)))
    left = run_walk(parent)
    assert (left["progress"], left["bulk_bytes"]) == (0.25, BYTES)
    rest = run_walk(Parent(memory=memory), checkpoint=left["checkpoint"], bulk_bytes=BYTES)
    assert rest["results"] == WHOLE


@pytest.mark.parametrize(("spare", "copied"), [(0, False), (BYTES + PAGE, True), (BYTES // 2, False), (-BYTES, False)])
def test_a_copy_is_made_only_where_the_process_has_memory_for_it_beside_the_job(spare, copied):
    parent = Parent([], [{"checkpoint": ["a"]}], memory=Memory(2 * BYTES + PAGE), takes=True)
    outcome = run_walk(parent, memory_bytes=BYTES + RESERVE_BYTES + spare)
    assert outcome["results"] == WHOLE
    [event] = parent.checkpoints
    assert (event["bulk_bytes"], event["bulk_at"] > 0) == (BYTES, copied)

"""A state too large to pack lies in shared memory: it goes with its checkpoint, and a run goes on from both or from neither."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.engines import checkpoint
from qrtx_ray.engines.checkpoint import bulk_digest, seal
from qrtx_ray.engines.protocol import Checkpoint, JobRun, Wish
from qrtx_ray.engines.stages import PAGE, Bulk, CheckpointRefused, Course, Preempted, Stage, own_memory, with_room

from .segments import BYTES, JOB, Memory, Walk, answering, walked

ROOM = BYTES + 3 * PAGE + BYTES
WHOLE = Walk().run([walked()])[0].results


def left_at(slice_: int, memory: Memory | None):
    (outcome,) = Walk().run([walked(memory=memory)], answering(dict.fromkeys(range(slice_, 100), Wish.PREEMPT)))
    return outcome


def going_on(outcome, memory: Memory | None, **fields):
    run = walked(memory=memory, checkpoint=outcome.checkpoint, bulk_bytes=outcome.bulk_bytes, **fields)
    return Walk().run([run])[0]


@pytest.mark.parametrize("size", [ROOM, BYTES, BYTES + PAGE])
@pytest.mark.parametrize("slice_", range(1, 8))
def test_a_run_that_left_its_state_goes_on_to_the_same_bytes(slice_, size):
    left = left_at(slice_, memory := Memory(size))
    assert left.preempted
    assert left.progress == slice_ / 8
    assert left.about["kind"] == ("segment" if left.bulk_bytes else "slices")
    assert left.bulk_bytes == (0 if slice_ == 4 else BYTES), "between two rows there is no state"
    # Somebody else's memory: only the first bytes are carried over.
    other = Memory(size)
    other.data[: left.bulk_bytes] = memory.data[: left.bulk_bytes]
    rest = going_on(left, other)
    assert (rest.results, rest.anew) == (WHOLE, "")


def test_without_shared_memory_a_state_cannot_be_kept_and_the_run_makes_way_after_it():
    for memory in (None, Memory(BYTES - 1)):
        left = left_at(2, memory)
        assert (left.preempted, left.progress, left.bulk_bytes) == (True, 0.5, 0), (
            "after the row, when there is no state"
        )
        assert going_on(left, None).results == WHOLE


def test_checkpoints_on_the_way_change_nothing():
    memory, kept = Memory(ROOM), []

    def keep(_index, made: Checkpoint):
        kept.append((made, bytes(memory.data[: made.bulk_bytes])))

    (outcome,) = Walk().run([walked(memory=memory)], answering(dict.fromkeys(range(100), Wish.CHECKPOINT)), keep)
    assert outcome.results == WHOLE
    assert [made.progress for made, _ in kept] == [n / 8 for n in range(1, 8)]
    for made, bulk in kept:
        other = Memory(BYTES)
        other.data[: len(bulk)] = bulk
        run = walked(memory=other, checkpoint=made.body, bulk_bytes=made.bulk_bytes)
        assert Walk().run([run])[0].results == WHOLE


def test_nobody_to_keep_them_means_no_checkpoints():
    outcome = Walk().run([walked(memory=Memory(ROOM))], answering(dict.fromkeys(range(100), Wish.CHECKPOINT)))[0]
    assert outcome.results == WHOLE


@pytest.mark.parametrize("bit", [0, 3, 8 * BYTES - 1, 8 * (BYTES // 2)])
def test_a_bit_flipped_in_the_state_is_found_out(bit):
    left = left_at(2, memory := Memory(ROOM))
    memory.data[bit // 8] ^= 1 << bit % 8
    rest = going_on(left, memory)
    assert "the kept state is damaged" in rest.anew
    assert rest.results == WHOLE


def test_the_state_of_another_moment_is_found_out():
    earlier, later = left_at(1, first := Memory(ROOM)), left_at(2, Memory(ROOM))
    rest = going_on(later, first)
    assert "damaged" in rest.anew
    assert rest.results == going_on(earlier, left_memory(1)).results == WHOLE


def left_memory(slice_: int) -> Memory:
    left_at(slice_, memory := Memory(ROOM))
    return memory


@pytest.mark.parametrize(
    ("fields", "memory", "why"),
    [
        ({"bulk_bytes": 0}, Memory(ROOM), f"a state of {BYTES} bytes, and 0 are there"),
        ({"bulk_bytes": BYTES - 8}, Memory(ROOM), f"and {BYTES - 8} are there"),
        ({}, None, "no shared memory of its size"),
        ({}, Memory(BYTES - 1), "no shared memory of its size"),
    ],
)
def test_a_body_without_its_state_is_refused(fields, memory, why):
    left = left_at(2, Memory(ROOM))
    run = walked(memory=memory, checkpoint=left.checkpoint, **{"bulk_bytes": left.bulk_bytes} | fields)
    rest = Walk().run([run])[0]
    assert why in rest.anew
    assert rest.results == WHOLE


def test_a_state_that_no_body_speaks_of_is_refused():
    left = left_at(4, memory := Memory(ROOM))
    assert not left.bulk_bytes
    rest = Walk().run([walked(memory=memory, checkpoint=left.checkpoint, bulk_bytes=BYTES)])[0]
    assert f"a state of 0 bytes, and {BYTES} are there" in rest.anew


def test_a_state_of_another_size_is_refused_by_the_stage_that_wants_it():
    left = left_at(2, memory := Memory(ROOM))
    other = Walk(words=100)
    run = walked(memory=memory, checkpoint=left.checkpoint, bulk_bytes=left.bulk_bytes)
    with pytest.raises(CheckpointRefused, match="another size"):
        course_of(run).bulk(course_of_stage(run), 800)
    rest = other.run([run])[0]
    assert "another size" in rest.anew
    assert rest.results == other.run([walked()])[0].results


def course_of(run: JobRun) -> Course:
    return Course(lambda _: None, lambda *_: None, area=run.area)


def course_of_stage(run: JobRun) -> Stage:
    return checkpoint.unseal(run, engine="walk").stages[0].inner


def test_a_stage_that_goes_on_without_its_state_is_refused():
    course = Course(lambda _: None, lambda *_: None, stages=[Stage(1, 2)])
    with pytest.raises(CheckpointRefused, match="without its state"):
        course.bulk(course.stage(0), 8)


def test_one_stage_holds_the_shared_memory_and_gets_the_same_again():
    memory = Memory(ROOM)
    course = Course(lambda _: None, lambda *_: None, area=memory)
    first, second = course.stage(0).within(), course.stage(1)
    view = course.bulk(first, 100)
    view[:] = bytes(100)
    assert bytes(memory.data[:100]) == bytes(100)
    assert course.bulk(first, 100) is view
    course.bulk(second, 50)
    assert [first.bulk.shared, second.bulk.shared] == [True, False]
    course.stage(0).advance()
    second.release()
    course.bulk(second, 50)
    assert second.bulk.shared, "the row that had it is done"


def test_what_is_asked_for_the_first_time_may_hold_anything():
    course = Course(lambda _: None, lambda *_: None, area=Memory(ROOM))
    assert bytes(course.bulk(course.stage(0), 4)) == b"\xaa" * 4


def test_room_for_a_copy_is_mapped_at_once_where_there_is_any():
    asked = []

    def area(nbytes: int) -> memoryview | None:
        asked.append(nbytes)
        return memoryview(bytearray(nbytes)) if nbytes < 5000 else None

    assert with_room(area, 10).nbytes == 10
    assert with_room(area, PAGE + 1).nbytes == PAGE + 1
    assert with_room(area, 6000) is None
    assert asked == [PAGE + 10, 3 * PAGE + 1, PAGE + 1, 2 * PAGE + 6000, 6000]


def test_a_state_beyond_the_limit_is_not_kept(monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_BULK_BYTES", BYTES - 1)
    left = left_at(2, Memory(ROOM))
    assert not left.preempted
    assert left.results == WHOLE


def test_two_states_or_one_of_its_own_memory_are_not_sealed():
    run = JobRun(JOB, 1)
    view = memoryview(bytearray(8))
    lone = Stage(1, 2, bulk=Bulk(view, shared=True))
    assert seal([lone], 0.5, run, engine="e", noise_id="") is not None
    assert seal([lone, lone], 0.5, run, engine="e", noise_id="") is None
    own_memory(lone, 8)
    assert seal([lone], 0.5, run, engine="e", noise_id="") is None


def test_a_body_that_names_no_stage_for_the_state_is_refused():
    memory = Memory(64)
    run = JobRun(JOB, 1, area=memory)
    made = seal([Stage(1, 2, bulk=Bulk(memory(8), shared=True))], 0.5, run, engine="e", noise_id="")
    from .test_checkpoint import closed, opened

    header, [[done, total, arrays, inner, _]] = opened(made.body)
    kept = JobRun(JOB, 1, checkpoint=closed(header, [[done, total, arrays, inner, False]]), bulk_bytes=8, area=memory)
    with pytest.raises(CheckpointRefused, match="which of its stages"):
        checkpoint.unseal(kept, engine="e")


def test_no_wish_is_met_by_a_run_that_is_done():
    course = Course(lambda _: Wish.PREEMPT, lambda *_: Checkpoint(b"x", 1.0))
    course.report(1.0)
    with pytest.raises(Preempted, match="made way at 100%"):
        course.report(0.5)


def test_what_cannot_be_sealed_once_is_not_tried_again():
    tries = []
    course = Course(lambda _: Wish.PREEMPT, lambda *_: tries.append(1))
    course.report(0.1)
    course.report(0.2)
    assert len(tries) == 1


@settings(deadline=None, derandomize=True, max_examples=60)
@given(size=st.integers(0, 3 * 2**20), data=st.data())
def test_the_digest_finds_every_flipped_bit_and_exchanged_block(size, data):
    rng = np.random.default_rng(size)
    octets = rng.integers(0, 256, size, dtype=np.uint8)
    digest = bulk_digest(memoryview(octets))
    assert bulk_digest(memoryview(octets.copy())) == digest
    assert bulk_digest(memoryview(np.append(octets, np.uint8(0)))) != digest
    if size:
        place = data.draw(st.integers(0, size - 1))
        octets[place] ^= np.uint8(1 << data.draw(st.integers(0, 7)))
        assert bulk_digest(memoryview(octets)) != digest
    if size >= 2**21:
        swapped = np.concatenate([octets[2**20 : 2**21], octets[: 2**20], octets[2**21 :]])
        assert bulk_digest(memoryview(swapped)) != bulk_digest(memoryview(octets))

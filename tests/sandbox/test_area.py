"""Shared memory beside a call: both sides see it, nobody copies it, its size is fixed, and nothing of it is left over."""

from __future__ import annotations

import asyncio
import errno
import os
import signal

import pytest
import uvloop

from qrtx_ray.errors import ExecutionTimeout, InternalError, WorkerDied
from qrtx_ray.sandbox import Area, Interrupts, SandboxLimits

from .conftest import descriptors, sandbox_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
MIB = 2**20


async def ask(box, do: str, area: Area | None = None, deadline_s: float = 10.0, **message):
    passed = None if area is None else area.descriptor
    return await box.call({"do": do, **message}, deadline_s=deadline_s, area=passed)


@pytest.fixture
def area():
    made = Area(4 * MIB)
    yield made
    made.close()


async def test_what_the_child_writes_is_there_when_it_has_answered_and_the_other_way_round(box, area):
    ours = area.view()
    assert ours is not None
    ours[:5] = b"hello"
    reply = await ask(box, "fill", area, data=b"x" * MIB)
    assert (reply["size"], reply["before"][:5]) == (4 * MIB, b"hello")
    assert ours[:MIB] == b"x" * MIB
    assert ours[MIB] == 0


async def test_it_is_there_while_the_call_is_under_way(box, area):
    seen = []
    await box.call(
        {"do": "fill", "data": b"early"},
        deadline_s=10,
        area=area.descriptor,
        on_event=lambda _: seen.append(bytes(area.view(5))),
    )
    assert seen == [b"early"]


async def test_a_call_without_an_area_has_none_also_after_one_that_had(box, area):
    assert (await ask(box, "fill", data=b""))["size"] is None
    assert (await ask(box, "fill", area, data=b""))["size"] == 4 * MIB
    assert (await ask(box, "fill", data=b""))["size"] is None


@pytest.mark.parametrize(("nbytes", "size"), [(1, 1), (5000, 5000), (4 * MIB, 4 * MIB), (4 * MIB + 1, None), (0, None)])
async def test_it_is_mapped_as_far_as_it_is_asked_for_and_never_beyond_its_end(box, area, nbytes, size):
    assert (await ask(box, "fill", area, nbytes=nbytes, data=b""))["size"] == size


async def test_a_hundred_areas_leave_no_descriptor_on_either_side(box):
    first = (await ask(box, "fill", data=b"", nbytes=1), descriptors())[1]
    counts = set()
    for _ in range(100):
        area = Area(MIB)
        counts.add((await ask(box, "fill", area, data=b"1"))["descriptors"])
        area.close()
        area.close()
    assert len(counts) == 1
    assert descriptors() == first


async def test_one_that_the_handler_never_looked_at_is_given_back_as_well(box):
    before = (await ask(box, "let_go"))["descriptors"]
    for _ in range(5):
        area = Area(MIB)
        assert await ask(box, "echo", area, x=1) == {"do": "echo", "x": 1}
        area.close()
    assert (await ask(box, "let_go"))["descriptors"] == before


async def test_a_view_that_the_handler_keeps_is_no_danger_and_the_next_call_has_its_own(box, area):
    area.view()[:4] = b"old "
    await ask(box, "keep_view", area)
    other = Area(MIB)
    other.view()[:4] = b"new "
    reply = await ask(box, "look_at_kept", other)
    assert (reply["kept"], reply["now"]) == (b"old ", b"new ")
    other.close()
    assert not (await ask(box, "let_go"))["mapped"]


async def test_a_child_can_neither_resize_it_nor_write_files(box, area):
    reply = await ask(box, "resize", area)
    assert len(reply["refused"]) >= 3
    assert set(reply["refused"]) <= {errno.EPERM, errno.EFBIG}
    assert area.view().nbytes == 4 * MIB


async def test_memory_that_the_child_could_resize_is_not_passed_on(box):
    loose = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    os.ftruncate(loose, 4096)
    try:
        with pytest.raises(InternalError, match="no seals"):
            await box.call({"do": "echo"}, deadline_s=5, area=loose)
    finally:
        os.close(loose)
    assert await ask(box, "echo", x=1) == {"do": "echo", "x": 1}


async def test_what_a_child_left_there_outlives_it(box, area):
    with pytest.raises(WorkerDied):
        await box.call(
            {"do": "fill", "data": b"last words", "stay": True},
            deadline_s=10,
            area=area.descriptor,
            on_event=lambda _: os.kill(box.pid, signal.SIGKILL),
        )
    assert bytes(area.view(10)) == b"last words"
    with pytest.raises(ExecutionTimeout):
        await ask(box, "spin", area, deadline_s=0.05)


async def test_a_call_of_megabytes_with_an_area_and_notes_arrives_whole(box, area):
    for _ in range(3):
        line = Interrupts()
        line.send({"n": 1})
        message = {"do": "until_told", "notes": 1, "filling": os.urandom(6 * MIB)}
        assert await box.call(message, deadline_s=10, interrupts=line, area=area.descriptor) == {"notes": [{"n": 1}]}


async def test_more_than_the_child_may_map_is_none_and_no_error():
    async with sandbox_of(limits=SandboxLimits(memory_bytes=64 * MIB)) as small:
        area = Area(512 * MIB)
        assert (await ask(small, "fill", area, data=b""))["size"] is None
        assert (await ask(small, "fill", area, nbytes=MIB, data=b"x"))["size"] == MIB
        area.close()


async def test_uvloop_passes_it_as_well():
    async def work():
        area = Area(MIB)
        try:
            async with sandbox_of() as box:
                await ask(box, "fill", area, data=b"by uvloop")
                return bytes(area.view(9))
        finally:
            area.close()

    assert await asyncio.to_thread(lambda: uvloop.run(work())) == b"by uvloop"

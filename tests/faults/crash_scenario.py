"""``python -m tests.faults.crash_scenario FOLDER``: kill a scheduler at every point of a job's life, and look what is left.

For each point and each time it is passed, a forked process lives through the same story and dies there; another one opens the
journal, compares it with what the dead one had acknowledged, and finishes every job. Printed: how often each point fired.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from qrtx_ray.actors import faults
from qrtx_ray.errors import InvalidState
from qrtx_ray.model import KeptCheckpoint, RunReport, TaskState
from tests.actors.building import checkpoint, request, settings
from tests.actors.conftest import FINDERS
from tests.actors.house import House, done
from tests.actors.ray_double import Cluster

JOBS = 6
MOST = 60  # times that one point is passed in the story; it is far fewer


def house_in(folder: Path) -> House:
    cluster = Cluster()
    for module in FINDERS:
        importlib.import_module(f"qrtx_ray.actors.{module}").find_actor = cluster.find
    return House(settings(folder, **{"scheduler.agent_grace_s": 0.0}), cluster)


class Notes:
    """What a caller was told, on disk before anything else happens."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, what: str, job: str) -> None:
        os.write(self._file, f"{what} {job}\n".encode())


async def story(folder: Path) -> None:
    """Six jobs: one completes, one is cancelled while it waits, one while it runs, one is deleted after its end, one is paused on
    its way and goes on from a checkpoint, one is cancelled for what it has by then.
    """
    house, notes = house_in(folder), Notes(folder / "notes")
    jobs = []
    for number in range(JOBS):
        [answer] = await house.scheduler.submit([request(idempotency_key=f"key-{number}", digest="d")])
        jobs.append(answer.id)
        notes.write("accepted", answer.id)
    completed, waiting, running, deleted, paused, part = jobs
    await house.scheduler.cancel(waiting, "alice", "alice")
    notes.write("cancelled", waiting)
    await house.compile()
    await house.join()
    group = await house.lease()
    attempts = [(member.job_id, member.attempt) for member in group.members]
    await house.scheduler.started("agent", "1", attempts)
    await house.scheduler.cancel(running, "alice", "alice")
    notes.write("cancelled", running)
    await house.scheduler.pause(paused, "alice", "alice")
    notes.write("paused", paused)
    await house.scheduler.cancel(part, "alice", "alice", partial=True)
    notes.write("cancelled", part)
    left = RunReport(paused, 1, preempted=True, progress=0.5, checkpoint=checkpoint(paused))
    ends = {paused: left, part: done(part, partial=True, progress=0.25)}
    await house.report(*(ends.get(job) or done(job, attempt) for job, attempt in attempts))
    for job in (completed, deleted):
        notes.write("completed", job)
    notes.write("partial", part)
    notes.write("kept", f"{paused} 1")
    notes.write("deleting", deleted)
    await house.scheduler.delete(deleted, "alice")
    notes.write("deleted", deleted)
    notes.write("resuming", paused)
    await go_on(house, notes, paused)
    await house.close()


async def go_on(house: House, notes: Notes, job: str) -> None:
    """The paused job is resumed, keeps a checkpoint on its way, and completes."""
    await house.scheduler.resume(job, "alice", "alice")
    [member] = (await house.lease()).members
    assert member.checkpoints == (checkpoint(job),)
    await house.scheduler.started("agent", "1", [(job, 2)])
    await house.scheduler.checkpoint(job, "alice")
    await house.scheduler.checkpointed("agent", "1", [KeptCheckpoint(job, 2, checkpoint(job, 2, 2, 0.75))])
    notes.write("kept", f"{job} 2")
    await house.report(done(job, 2))
    notes.write("completed", job)


async def aftermath(folder: Path) -> None:
    """The next scheduler has everything that was acknowledged, and brings it to its end."""
    house = house_in(folder)
    await house.scheduler.ping()
    told = [line.split() for line in (folder / "notes").read_text("ascii").splitlines()] if _told(folder) else []
    facts = {what: {line[1] for line in told if line[0] == what} for what, *_ in told}
    for number in range(JOBS):  # the caller that got no answer asks again, and gets the job it had, or a new one
        [answer] = await house.scheduler.submit([request(idempotency_key=f"key-{number}", digest="d")], True)
        facts.setdefault("accepted", set()).add(answer.id)
    gone = facts.get("deleting", set())
    assert len(facts["accepted"] - gone) <= JOBS
    for job in facts.get("paused", set()) - facts.get("resuming", set()):
        record = await house.record(job)
        assert record.state is TaskState.PAUSED or record.pause_requested
    for job in facts.get("kept", set()) - facts.get("completed", set()):
        record = await house.record(job)
        newest = max(int(line[2]) for line in told if line[0] == "kept")
        assert record.state is TaskState.COMPLETED or record.checkpoints[0].sequence >= newest
    for job in sorted(facts["accepted"] - gone):
        with contextlib.suppress(InvalidState):  # it has ended; a pause nobody was told of may hold as well
            await house.scheduler.resume(job, "alice", "alice")
    await finish(house, sorted(facts["accepted"] - gone))
    for job in facts["accepted"] - gone:
        record = await house.record(job)
        assert record.terminal
        assert record.attempt <= 2 + (job in facts.get("paused", set()))
        ends = [change for change in await house.scheduler.history(job) if change.to_state is record.state]
        assert len(ends) == 1
    for job in facts.get("cancelled", set()):
        assert await house.state(job) is TaskState.CANCELLED
    for job in facts.get("partial", set()):
        record = await house.record(job)
        assert (record.partial, record.result_bytes, record.progress) == (True, 100, 0.25)
    for job in facts.get("completed", set()) - gone:
        assert await house.state(job) is TaskState.COMPLETED
    for job in facts.get("deleted", set()):
        assert await house.scheduler.get([job]) == [None]
    house.scheduler._core.check()
    await house.close()


async def finish(house: House, jobs: list[str]) -> None:
    await house.join(incarnation="2")
    await house.scheduler.join_compiler("c", "2")
    async with asyncio.timeout(20):
        while [job for job in jobs if not (await house.record(job)).terminal]:
            if [job for job in jobs if await house.state(job) is TaskState.PENDING]:
                await house.compile("c", "2")
            lease = asyncio.create_task(house.lease(incarnation="2"))
            finished, _ = await asyncio.wait({lease}, timeout=0.3)
            if finished:
                await house.report(*(done(m.job_id, m.attempt) for m in lease.result().members), incarnation="2")
            lease.cancel()


def _told(folder: Path) -> bool:
    return (folder / "notes").exists()


def in_child(work: Coroutine[Any, Any, None], fault: str = "", count: int = 0) -> int:
    """Run `work` in a forked process; its exit code, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            faults._POINT, faults._left = fault, count
            asyncio.run(work)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    work.close()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(root: Path) -> int:
    fired = dict.fromkeys(sorted(point for point in faults.POINTS if point.startswith("scheduler.")), 0)
    for point in fired:
        for count in range(1, MOST):
            folder = root / point / str(count)
            folder.mkdir(parents=True)
            code = in_child(story(folder), point, count)
            if code == 0:
                break
            if code != -signal.SIGKILL:
                return 1
            fired[point] += 1
            if in_child(aftermath(folder)) != 0:
                sys.stderr.write(f"after {point}:{count}\n")
                return 1
    sys.stdout.write(json.dumps(fired) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

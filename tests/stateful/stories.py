"""Short lives of jobs, written out: what is done in which order, with nothing left to luck.

A story is a list of steps. The scheduler may be killed at any point within a step; then a new one starts, and whoever got no
answer does the same again, as clients with an idempotency key, compilers and agents do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from qrtx_ray.errors import InvalidState, NotFound
from qrtx_ray.model import JobChange, JobRecord, TaskState
from qrtx_ray.scheduler import commands, events

from .agents import Agent
from .clients import DEVICE, OTHER, request
from .shell import Crash, Entry
from .workers import SERVES
from .world import World

__all__ = ["STORIES", "Step", "leases"]

Step = Callable[[World], None]
SLOW, QUICK = 3, 8  # seeds: 5 slices of a minute in all, and 2 slices of a millisecond


def submit(key: str, **fields: Any) -> Step:
    """A job that is found again under its key."""

    def step(world: World) -> None:
        asked = request(**{"seed": SLOW, "idempotency_key": key, "digest": key, **fields})

        def told(answers: list[Any]) -> None:
            world.oracles.accepted(answers[0], asked.tenant, key)

        world.shell.submit([(asked, 1)], told)

    return step


def known(world: World, key: str) -> JobRecord | None:
    return next((one for one in world.oracles.durable.values() if one.idempotency_key == key), None)


def job(world: World, key: str) -> JobRecord:
    found = known(world, key)
    assert found is not None, f"{key} is not there"
    return found


def ask(what: str, key: str, make: Callable[[JobRecord], Any]) -> Step:
    """A request about the job of `key`."""

    def step(world: World) -> None:
        if known(world, key) is not None:  # else it was deleted, and the answer lost
            control(world, what, job(world, key).id, make(job(world, key)))

    return step


def control(world: World, what: str, whom: str, event: Any) -> None:
    number = world.oracles.ask(what, whom)

    def told(refused: Any) -> None:
        if refused is None:
            world.oracles.answered(what, whom, number)
        else:
            assert isinstance(refused, InvalidState | NotFound), refused

    world.shell.request(event, told)


def operate(what: str, whom: str, event: Any) -> Step:
    return lambda world: control(world, what, whom, event)


def compiles(world: World) -> None:
    """The compiler takes what there is, and gives it back."""
    world.compile()
    while world.compiler.tasks or world.compiler.reports:
        world.compile()


def agent(world: World, name: str) -> Agent:
    found = world.agents.get(name)
    if found is None:
        world.born += 1
        found = world.agents[name] = Agent(world, name, f"{world.born}", SERVES[name], world.plan.capacity)
    if not found.known:
        world.join(found)
    return found


def leases(name: str) -> Step:
    return lambda world: world.lease(agent(world, name))


def works(name: str, steps: int) -> Step:
    """Says that it began, and does so many slices."""

    def step(world: World) -> None:
        here = agent(world, name)
        if here.groups:
            world.shell.started(name, here.incarnation, [run.attempt for run in here.groups[0] if not run.ended])
        for _ in range(steps):
            here.work()

    return step


def beats(name: str) -> Step:
    def step(world: World) -> None:
        here = agent(world, name)
        here.known = world.shell.heartbeat(here.beat())

    return step


def reports(name: str) -> Step:
    """Tells of checkpoints and ends."""

    def step(world: World) -> None:
        world.tell(agent(world, name))
        world.report(agent(world, name))

    return step


def dies(name: str) -> Step:
    def step(world: World) -> None:
        world.agents.pop(name, None)
        world.shell.lose_agent(name)

    return step


def passes(seconds: float) -> Step:
    def step(world: World) -> None:
        world.now += seconds
        world.tell_time()
        world.shell.tick()

    return step


def metadata(world: World) -> None:
    world.shell.record_metadata()


def stands(key: str, **fields: Any) -> Step:
    """What the job's record must say by now, if nobody was killed."""

    def step(world: World) -> None:
        if not world.crashes:
            record = job(world, key)
            found = {name: getattr(record, name) for name in fields}
            assert found == fields, f"{key}: {found}"

    return step


def pause(key: str) -> Step:
    return ask("pause", key, lambda one: events.PauseRequested(one.id, "alice", "alice"))


def resume(key: str) -> Step:
    return ask("resume", key, lambda one: events.ResumeRequested(one.id, "alice", "alice"))


def cancel(key: str, *, partial: bool = False) -> Step:
    what = "partial" if partial else "cancel"
    return ask(what, key, lambda one: events.CancelRequested(one.id, "alice", "alice", partial))


def checkpoint(key: str) -> Step:
    return ask("checkpoint", key, lambda one: events.CheckpointRequested(one.id, "alice"))


def migrate(key: str, to: str | None) -> Step:
    return ask("migrate", key, lambda one: events.MigrationRequested(one.id, "alice", "alice", to))


def delete(key: str) -> Step:
    return ask("delete", key, lambda one: events.DeletionRequested(one.id, "alice"))


def together(*steps: Step) -> Step:
    """What several clients ask at the same moment: it is handled before any of it is durable."""

    def step(world: World) -> None:
        world.shell.eager = False
        try:
            for one in steps:
                one(world)
        finally:
            world.shell.eager = True
        world.shell.flush()

    return step


def tag(key: str) -> Step:
    return ask("tag", key, lambda one: events.TagsChanged(one.id, "alice", ("late",)))


def restores(key: str, old: str) -> Step:
    """A new job from the checkpoints of an old one."""

    def step(world: World) -> None:
        before = job(world, old)
        fields = {"restored_from": before.id, "checkpoints": before.checkpoints, "seed": before.seed}
        submit(key, device=before.device, **fields)(world)

    return step


def harm(key: str) -> Step:
    """Its newest checkpoint is not what was written any more."""

    def step(world: World) -> None:
        for ref in job(world, key).checkpoints[:1]:
            world.files.damage(ref, lost=False)

    return step


def leased_long_ago(key: str) -> Step:
    """The journal was left by a release that wrote Validating down, and nobody holds the job."""

    def step(world: World) -> None:
        before = job(world, key)
        if before.version == 1:
            after = replace(before, state=TaskState.VALIDATING, version=before.version + 1)
            sequence = world.disk.last()[0] + 1
            change = JobChange(sequence, before.id, world.now, before.state, after.state, 0, "leased")
            persist = commands.Persist((after,), (change,))
            world.disk.commit([(persist, ())])
            world.committed([Entry(persist, (), (), None)])
            raise Crash

    return step


BEGUN = (compiles, leases("a"), works("a", 2))

STORIES: dict[str, tuple[Step, ...]] = {
    "from submit to deletion": (
        submit("one", seed=QUICK), submit("two", seed=QUICK, device=OTHER), submit("three", seed=SLOW), compiles,
        leases("a"), works("a", 3), reports("a"), leases("a"), works("a", 9), reports("a"), metadata, delete("one"),
        cancel("three"), reports("a"), metadata,
    ),
    "paused while it waits and while it runs": (
        submit("waits"), submit("runs"), pause("waits"), stands("waits", state=TaskState.PAUSED, attempt=0), *BEGUN,
        pause("runs"),
        beats("a"), works("a", 1), reports("a"), stands("runs", state=TaskState.PAUSED, progress=0.4), passes(5.0), resume("runs"),
        resume("waits"), compiles, leases("b"), works("b", 2), pause("waits"), resume("waits"), works("b", 9), reports("b"),
        metadata,
    ),
    "makes way for urgent work": (
        submit("low", priority=10), *BEGUN, beats("a"), submit("urgent", priority=95, seed=QUICK), compiles, passes(1.0),
        beats("a"), works("a", 2), reports("a"), stands("low", state=TaskState.QUEUED, preemptions=1, progress=0.4),
        leases("a"), works("a", 3), reports("a"), stands("urgent", state=TaskState.COMPLETED), leases("a"), works("a", 9),
        reports("a"), stands("low", state=TaskState.COMPLETED, attempt=2), metadata,
    ),
    "goes on from its checkpoint": (
        submit("long", checkpoint_interval_s=0.0), *BEGUN, checkpoint("long"), works("a", 2), reports("a"), dies("a"),
        leases("b"), stands("long", attempt=2, progress=0.4), works("b", 1), checkpoint("long"), works("b", 2), dies("b"),
        leases("a"), stands("long", attempt=3, progress=0.4), works("a", 1), checkpoint("long"), works("a", 1), reports("a"),
        works("a", 9), reports("a"), stands("long", state=TaskState.COMPLETED, attempt=3), metadata,
    ),
    "goes on though its checkpoint is damaged": (
        submit("long", checkpoint_interval_s=0.0), *BEGUN, checkpoint("long"), works("a", 1), reports("a"), harm("long"),
        pause("long"), works("a", 1), reports("a"), harm("long"), resume("long"), leases("a"), works("a", 2), pause("long"),
        works("a", 1), reports("a"), resume("long"), leases("b"), works("b", 9), reports("b"), metadata,
    ),
    "cancelled in three ways": (
        submit("waits"), submit("plain"), cancel("waits"), *BEGUN, cancel("plain"), works("a", 1), reports("a"),
        submit("partly"), *BEGUN, cancel("partly", partial=True), beats("a"), works("a", 1), reports("a"),
        stands("waits", state=TaskState.CANCELLED, attempt=0), stands("plain", state=TaskState.CANCELLED, result_sha256=None),
        stands("partly", state=TaskState.CANCELLED, partial=True, progress=0.4), metadata,
    ),
    "restored as a new job": (
        submit("old", checkpoint_interval_s=0.0), *BEGUN, checkpoint("old"), works("a", 2), reports("a"), cancel("old"),
        works("a", 1), reports("a"), metadata, restores("new", "old"), compiles, leases("a"), stands("new", progress=0.4), works("a", 9), reports("a"),
        stands("new", state=TaskState.COMPLETED), metadata,
    ),
    "migrated to another agent": (
        submit("moves"), *BEGUN, leases("b"), migrate("moves", "b"), beats("a"), works("a", 1), reports("a"), leases("b"),
        stands("moves", agent="b", attempt=2, preemptions=0), works("b", 9), reports("b"),
        stands("moves", state=TaskState.COMPLETED), metadata,
    ),
    "asked for many things at once": (
        together(submit("one"), submit("two", seed=QUICK), submit("one")), *BEGUN,
        together(pause("one"), checkpoint("one"), tag("one")),
        works("a", 9), together(reports("a"), resume("one"), cancel("two")), metadata,
        together(delete("two"), tag("two"), delete("two")), leases("b"), together(pause("one"), cancel("one"), resume("one")),
        works("b", 9), reports("b"), metadata,
    ),
    "left by an older release": (submit("one"), leased_long_ago("one"), compiles, leases("a"), works("a", 9), reports("a")),
    "drained and let work again": (
        submit("one"), *BEGUN, operate("drain", "a", events.AgentDrained("a")), beats("a"), works("a", 1), reports("a"),
        leases("a"), operate("close", DEVICE, events.DevicePaused(DEVICE, drain=True)), leases("b"),
        stands("one", state=TaskState.QUEUED, attempt=1, preemptions=0, progress=0.4),
        operate("open", DEVICE, events.DeviceResumed(DEVICE)), operate("undrain", "a", events.AgentResumed("a")),
        leases("a"), works("a", 9), reports("a"), metadata,
    ),
}  # fmt: skip

"""One seed, one run: the scheduler, its clients, compilers and agents, the network between them, and everything that fails.

A run takes random steps while faults happen, then the faults stop and everything must drain: each accepted job reaches one
end. All randomness comes from the seed, so a seed that fails fails again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from qrtx_ray.model import Group, JobRecord, PayloadFormat, Program, RunReport, TaskState
from qrtx_ray.scheduler import CoreSettings, events
from qrtx_ray.scheduler.core import _HANDLERS as KNOWN

from .agents import Agent, Run
from .clients import DEVICE, DEVICES, OTHER, Clients
from .compilers import Compiler
from .disk import Disk, StoreDisk
from .files import Files
from .oracles import Oracles, Violation
from .plan import Plan
from .shell import Crash, Shell
from .workers import Workers

__all__ = ["Failure", "Outcome", "World", "run"]

HOUR, DAY = 3_600.0, 86_400.0
ROUNDS = 400  # of a drain; far fewer do


class Failure(Exception):
    """A run that must not have gone so: the seed tells it again."""


@dataclass(slots=True)
class Outcome:
    """What a run took: transitions and counts."""

    seed: int
    edges: set[tuple[Any, Any]] = field(default_factory=set)
    steps: int = 0
    jobs: int = 0
    crashes: int = 0


class World(Workers):
    """Everything of one run.

    Args:
        seed: Of all that is random in it.
        plan: What goes wrong; by default the seed draws it.
        disk: What survives; by default the fast one.
    """

    def __init__(self, seed: int, plan: Plan | None = None, disk: Disk | StoreDisk | None = None) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.plan = plan or Plan.of(self.rng)
        self.now = 1_000.0
        self.offset = 0.0
        self.disk = disk or Disk()
        self.files = Files()
        self.oracles = Oracles(self.disk)
        settings = CoreSettings(
            max_losses=self.plan.max_losses,
            max_retries=1,
            terminal_memory=3,
            queue_timeout_s=20 * DAY,
            execution_timeout_s=120.0,
            retry_initial_s=0.5,
            paused_timeout_s=self.plan.paused_timeout_s,
        )
        self.shell = Shell(self.disk, self.files, settings, DEVICES, self, self)
        self.names = ("a", "b")[: self.plan.agents]
        self.ids: dict[str, None] = {}
        self.blank = JobRecord("", 0, "", Program.SAMPLER, "", PayloadFormat.NATIVE, 0.0, 0)
        self.network: list[Callable[[], None]] = []
        self.agents: dict[str, Agent] = {}
        self.compiler = Compiler("c", "0")
        self.clients = Clients(self)
        self.said: list[RunReport] = []
        self.faults = True
        self.born = 0
        self.crashes = 0
        self.stay_down = 0
        self.cut: set[str] = set()
        self.passed = 0  # points of the shell before the drain

    def chance(self, probability: float) -> bool:
        return self.faults and probability > 0.0 and self.rng.random() < probability

    # -- what the scheduler's process, its agents and its disk call ---------------------------------------------------

    def send(self, message: Callable[[], None]) -> None:
        """Carry a message: at once, late, twice, or never."""
        plan = self.plan
        if self.chance(plan.loss):
            return
        if self.chance(plan.late):
            self.network.append(message)
        else:
            message()
        if self.chance(plan.again):
            self.network.append(message)

    def order(self, command: Any) -> None:
        agent = self.agents.get(getattr(command, "agent", ""))
        if agent is not None and agent.name not in self.cut:
            self.send(lambda: agent.told(command))

    def committed(self, batch: Any) -> None:
        self.oracles.committed(batch)

    def handling(self, event: events.Event) -> None:
        self.oracles.handling(event)

    def handled(self, event: events.Event, persist: Any) -> None:
        self.oracles.handled(event, persist)

    def recovered(self) -> None:
        self.oracles.restarted(self.shell.core)

    def taken(self, agent: Agent, group: Group) -> None:
        self.oracles.taken(agent, group, self.agents.values())

    def began(self, run: Run) -> None:
        self.oracles.began(run, self.files.damaged)

    def acknowledged(self, agent: Agent, reports: list[RunReport]) -> None:
        del agent
        self.oracles.acknowledged(reports)

    # -- the scheduler's life ----------------------------------------------------------------------------------------

    def guarded(self, action: Callable[[], None]) -> None:
        """Do something during which the scheduler may die."""
        if self.chance(self.plan.crash):
            self.shell.fuse = self.rng.randrange(1, 12)
        try:
            action()
        except Crash:
            self.die()

    def die(self) -> None:
        self.crashes += 1
        self.shell.die()
        self.oracles.crashed(self.agents.values())
        if self.chance(self.plan.down):
            self.stay_down = self.rng.randrange(1, 10)
        else:
            self.start()

    def start(self) -> None:
        self.stay_down = 0
        if self.chance(self.plan.jumps):
            self.offset = self.rng.choice((0.0, HOUR, -HOUR, DAY, -DAY))
        while True:
            try:
                self.tell_time()
                self.shell.start(self.rng.randrange(1, 8) if self.chance(self.plan.crash) else 0)
                return
            except Crash:
                self.crashes += 1
                self.shell.die()
                self.oracles.crashed(self.agents.values())

    def tell_time(self) -> None:
        self.shell.now = self.now + self.offset

    # -- one step ----------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """The whole run. Raises whatever went wrong."""
        self.start()
        self._begin()
        steps = self._steps()
        for _ in range(self.plan.steps):
            self._advance_clock()
            if not self.shell.up:
                self.stay_down -= 1
                if self.stay_down <= 0:
                    self.start()
            self.shell.eager = not self.chance(self.plan.lazy)
            self.guarded(steps[int(self.rng.random() * len(steps))])
        self.drain()
        return Outcome(self.seed, self.oracles.edges, self.plan.steps, len(self.oracles.durable), self.crashes)

    def _begin(self) -> None:
        """Begin where it becomes interesting: with work in every hand."""
        self.faults = False
        self.shell.fuse = 0
        for _ in range(3):
            self.clients.submit()
        self.compile()
        while self.compiler.tasks:
            self.compile()
        for _ in self.names:
            self.agent_leases()
            self.agent_works()
        self.faults = True

    def _steps(self) -> list[Callable[[], None]]:
        ask, rng = self.clients, self.rng
        weighed: list[tuple[int, Callable[[], None]]] = [
            (7, ask.submit), (9, self.compile), (20, self.agent_leases), (20, self.agent_works),
            (8, self.agent_reports), (6, self.agent_beats), (8, self.deliver), (6, self.metadata), (5, self.tick),
            (3, self.flush), (3, ask.cancel), (2, ask.tag), (2, ask.delete), (2, ask.switch_device),
        ]  # fmt: skip
        if events.PauseRequested in KNOWN:
            weighed += [
                (7, ask.pause), (9, ask.resume), (8, ask.checkpoint), (4, ask.migrate), (2, ask.cancel_partial),
                (2, ask.restore), (2, ask.switch_agent), (9, self.checkpoints_are_told),
            ]  # fmt: skip
        plan = self.plan
        weighed += [
            (int(100 * plan.deaths), self.agent_dies), (int(60 * plan.deaths), self.compiler_dies),
            (int(100 * plan.cuts), self.agent_is_cut_off),
            (int(100 * plan.errors), self.run_fails), (int(100 * plan.lies), self.somebody_lies),
            (int(100 * plan.damage), self.damage), (1 if plan.crash else 0, self.crash),
        ]  # fmt: skip
        steps = []
        for weight, step in weighed:
            # Each seed leaves some things out, and does others more often.
            steps += [step] * (weight if weight > 9 else weight * rng.randrange(3))
        return steps

    def _advance_clock(self) -> None:
        drawn = self.rng.random()
        if drawn < 0.5:
            self.now += drawn
        elif drawn < 0.6:
            self.now += 40 * (drawn - 0.5)
        elif drawn > 1.0 - self.plan.rush:
            self.now += HOUR
        self.tell_time()

    def tick(self) -> None:
        if self.shell.up:
            self.shell.tick()

    def flush(self) -> None:
        if self.shell.up:
            self.shell.flush(self.rng.randrange(3))

    def deliver(self) -> None:
        """Messages of the network arrive, in any order."""
        for _ in range(min(3, len(self.network))):
            place = int(self.rng.random() * len(self.network))
            self.network[place], self.network[-1] = self.network[-1], self.network[place]
            self.network.pop()()

    def crash(self) -> None:
        if self.shell.up:
            raise Crash

    def metadata(self) -> None:
        if self.shell.up:
            self.shell.record_metadata()

    def damage(self) -> None:
        """A checkpoint that a live job counts on is not what was written any more."""
        kept = [ref for one in self.oracles.durable.values() if not one.terminal for ref in one.checkpoints]
        if kept:
            self.files.damage(self.rng.choice(kept), lost=self.rng.random() < 0.5)

    # -- the end -----------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """No more faults: everything comes to its end."""
        self.faults = False
        self.cut.clear()
        self.shell.fuse = 0
        self.shell.eager = True
        if not self.shell.up:
            self.start()
        self.shell.flush()
        while self.network:
            self.deliver()
        for device in (DEVICE, OTHER):
            self.oracles.ask("open", device)
            self.shell.request(events.DeviceResumed(device), lambda _: None)
        if events.AgentResumed in KNOWN:
            for name in self.names:
                self.oracles.ask("undrain", name)
            self.shell.request(events.AgentResumed(None), lambda _: None)
        self._until(self._settled)
        self._resume_all()
        self._until(self._all_over)
        self.oracles.ended(self.oracles.durable)
        self.oracles.nothing_lost()
        self.oracles.agree(self.shell.core)
        self.shell.core.check()

    def _settled(self) -> bool:
        return all(one.terminal or one.state is TaskState.PAUSED for one in self.oracles.durable.values())

    def _all_over(self) -> bool:
        return all(one.terminal and one.metadata_recorded for one in self.oracles.durable.values())

    def _resume_all(self) -> None:
        for record in list(self.oracles.durable.values()):
            if record.state is TaskState.PAUSED:
                if ("pause", record.id) not in self.oracles.asked:
                    raise Violation(f"{record.id} is paused and nobody asked for it")
                self.oracles.ask("resume", record.id)
                self.shell.request(events.ResumeRequested(record.id, None, "operator"), lambda _: None)

    def _until(self, over: Callable[[], bool]) -> None:
        for turn in range(ROUNDS):
            if over():
                return
            self.now += 1.0 if turn < 100 else 600.0
            self.tell_time()
            self._round()
        left = {one.id: one.state.value for one in self.oracles.durable.values() if not one.terminal}
        raise Violation(f"never came to an end: {left}")

    def _round(self) -> None:
        """Everybody does everything once."""
        self.shell.tick()
        self.compile()
        while self.compiler.tasks:
            self.compile()
        for name in self.names:
            while self.agents.get(name) is None:
                self._agent()
            agent = self.agents[name]
            if not agent.known:
                self._reaches(agent)
            agent.known = agent.known and self.shell.heartbeat(agent.beat())
            self.lease(agent)
            for _ in range(4):
                agent.work()
            self.tell(agent)
            self.report(agent)
        self.shell.record_metadata()

    def lease(self, agent: Agent) -> None:
        if agent.room() and self._reaches(agent):
            agent.call += 1
            agent.waiting, call = True, agent.call
            agent.known = self.shell.lease(
                agent.name, agent.incarnation, agent.capacity, lambda group: agent.take(call, group)
            )


def run(seed: int) -> Outcome:
    """One run.

    Raises:
        Failure: Something went wrong; the message begins with the seed.
    """
    world = World(seed)
    try:
        return world.run()
    except Exception as problem:
        raise Failure(f"seed {seed}: {type(problem).__name__}: {problem}") from problem

"""What compilers and agents do in one step, and how their calls reach the scheduler or do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model import CheckpointRef, KeptCheckpoint, RunReport
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.core import _HANDLERS as KNOWN

from .agents import Agent
from .clients import DEVICE, OTHER
from .compilers import Compiler
from .oracles import Oracles
from .plan import Plan
from .shell import Shell

__all__ = ["SERVES", "Workers"]

SERVES = {"a": (DEVICE, OTHER), "b": (DEVICE,)}
ERRORS = (
    ErrorInfo("execution_failed", "it was an error", "ExecuteError"),
    ErrorInfo("execution_failed", "it may go better", "ExecuteError", retryable=True),
    ErrorInfo("attempt_lost", "its child died", "SystemError", retryable=True),
    ErrorInfo("execution_timeout", "it ran too long", "ExecuteError"),
)


class Workers:
    """The part of a `World` in which work is done."""

    rng: Random
    plan: Plan
    now: float
    shell: Shell
    oracles: Oracles
    names: tuple[str, ...]
    cut: set[str]
    agents: dict[str, Agent]
    compiler: Compiler
    said: list[RunReport]
    born: int
    chance: Callable[[float], bool]
    send: Callable[[Callable[[], None]], None]

    # -- compilers ---------------------------------------------------------------------------------------------------

    def compile(self) -> None:
        """The compiler works, reports and asks for more."""
        compiler, shell = self.compiler, self.shell
        for _ in range(3):
            compiler.work()
        if not shell.up or self.chance(self.plan.loss):
            return
        if not compiler.known:
            shell.join_compiler(compiler.name, compiler.incarnation)
            compiler.known = True
        said, compiler.reports = compiler.reports, []
        again = self.chance(self.plan.again)

        def take(tasks: Any) -> None:
            self.send(lambda: compiler.take(tasks))

        if not shell.lease_compile(compiler.name, compiler.incarnation, 1 + self.rng.randrange(4), said, take):
            compiler.known = False
            compiler.reports = said
        elif again:
            compiler.reports = said

    def compiler_dies(self) -> None:
        self.born += 1
        self.compiler = Compiler("c", f"{self.born}")
        if self.shell.up and self.chance(0.5):
            self.shell.lose_compiler("c")

    # -- agents ------------------------------------------------------------------------------------------------------

    def _agent(self) -> Agent:
        """One of the agents; one that is gone comes back as a new process."""
        name = self.names[int(self.rng.random() * len(self.names))]
        agent = self.agents.get(name)
        if agent is None:
            self.born += 1
            agent = self.agents[name] = Agent(self, name, f"{self.born}", SERVES[name], self.plan.capacity)
        return agent

    def _reaches(self, agent: Agent) -> bool:
        """Whether a call of the agent gets through; it joins before anything else."""
        if agent.name in self.cut and self.rng.random() < 0.2:
            self.cut.discard(agent.name)
        if agent.name in self.cut or not self.shell.up or self.chance(self.plan.loss):
            return False
        if not agent.known:
            self.join(agent)
        return True

    def join(self, agent: Agent) -> None:
        agent.known = True
        agent.waiting = False
        self.shell.join_agent(agent.info(), lambda: None)

    def agent_leases(self) -> None:
        self._lease(self._agent())

    def _lease(self, agent: Agent) -> None:
        if not agent.room() or (agent.waiting and self.rng.random() < 0.7) or not self._reaches(agent):
            return
        agent.call += 1
        agent.waiting = True
        call = agent.call
        agent.known = self.shell.lease(
            agent.name, agent.incarnation, agent.capacity, lambda group: self.send(lambda: agent.take(call, group))
        )

    def agent_works(self) -> None:
        agent = self._agent()
        if agent.groups and self.rng.random() < 0.5 and self._reaches(agent):
            members = [run.attempt for run in agent.groups[0] if not run.ended]
            self.shell.started(agent.name, agent.incarnation, members)
        for _ in range(1 + (self.rng.random() < 0.5)):
            agent.work()

    def agent_reports(self) -> None:
        self.report(self._agent())

    def report(self, agent: Agent) -> None:
        said = list(agent.reports.values())
        if not said or not self._reaches(agent):
            return
        self.said += said
        agent.known = self.shell.report(
            agent.name, agent.incarnation, said, lambda: self.send(lambda: agent.settled(said))
        )

    def agent_beats(self) -> None:
        agent = self._agent()
        if self._reaches(agent):
            agent.known = self.shell.heartbeat(agent.beat())

    def checkpoints_are_told(self) -> None:
        self.tell(self._agent())

    def tell(self, agent: Agent) -> None:
        said = list(agent.kept)
        if not said or events.CheckpointsKept not in KNOWN or not self._reaches(agent):
            return

        def valid(found: dict[str, Any]) -> None:
            self.oracles.valid(said)
            self.send(lambda: agent.valid(found, said))

        agent.known = self.shell.checkpointed(agent.name, agent.incarnation, said, valid)

    def agent_dies(self) -> None:
        agent = self.agents.pop(self._agent().name)
        if self.shell.up and self.rng.random() < 0.5:
            self.shell.lose_agent(agent.name)

    def agent_is_cut_off(self) -> None:
        """It works on, unheard; the scheduler may take it to be gone."""
        name = self._agent().name
        self.cut.add(name)
        if self.shell.up and self.rng.random() < 0.6:
            self.shell.lose_agent(name)

    def run_fails(self) -> None:
        self._agent().fail(ERRORS[int(self.rng.random() * len(ERRORS))])

    def somebody_lies(self) -> None:
        """An old report or checkpoint comes again, for another attempt, or from somebody who never had it."""
        agent, rng = self._agent(), self.rng
        if not self._reaches(agent):
            return
        here = agent.here()
        if here and rng.random() < 0.6:
            job_id, attempt = rng.choice(here)
            report = RunReport(job_id, attempt, "never computed", 100, 2.5, 1.0)
        elif self.said:
            report = rng.choice(self.said)
        else:
            return
        report = replace(report, attempt=max(1, report.attempt + rng.randrange(-1, 2)))
        if (report.job_id, report.attempt) in here or self.oracles.holds(report.job_id, report.attempt, agent.name):
            return  # who holds the present attempt is believed
        if rng.random() < 0.6 or events.CheckpointsKept not in KNOWN:
            self.shell.report(agent.name, agent.incarnation, [report], lambda: None)
        else:
            ref = CheckpointRef(report.job_id, report.attempt, 9, "never taken", 100, 0.99, self.now)
            kept = KeptCheckpoint(report.job_id, report.attempt, ref)
            self.shell.checkpointed(agent.name, agent.incarnation, [kept], lambda _: None)

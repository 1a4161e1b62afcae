"""A small world around a core, driven by a seed: jobs come, compile, run, fail and are cancelled. Time is virtual."""

from __future__ import annotations

import random
from dataclasses import replace

from qrtx_ray.model import AgentInfo, CompileReport, DeviceInfo, Heartbeat
from qrtx_ray.scheduler import Core, CoreSettings, events
from qrtx_ray.scheduler.commands import Compile, Persist, RunGroup
from qrtx_ray.scheduler.tenants import TenantPolicy
from tests.scheduler.driving import broken, done, profile, request

__all__ = ["Stage", "mixed_day"]


class Stage:
    """Feeds a core and keeps every batch of commands; `run_s` is how long each attempt takes."""

    def __init__(self, devices=1, agents=1, **settings) -> None:
        self.names = [f"fake_d{number}@aer" for number in range(devices)]
        infos = [DeviceInfo(name, name[:-4], "aer", 5) for name in self.names]
        self.core = Core(CoreSettings(**settings), infos)
        self.now = 1_000.0
        self.said: list = []
        self.records: dict = {}
        self.working: dict[str, list] = {}  # agent → groups, the first one runs
        self.dispatched: dict[str, float] = {}
        self.profiles: dict = {}
        self.born = 0
        self.say(events.CompilerJoined("c", "1"))
        for number in range(agents):
            self.say(events.AgentJoined(AgentInfo(f"a{number}", "1", tuple(self.names))))
            self.offer(f"a{number}")

    def say(self, event) -> None:
        commands = self.core.handle(event, self.now)
        self.said.append(commands)
        for command in commands:
            if isinstance(command, Persist):
                for record in command.records:
                    self.records[record.id] = record
            elif isinstance(command, RunGroup):
                self.working.setdefault(command.agent, []).append(command.group)
                for member in command.group.members:
                    self.dispatched.setdefault(member.job_id, self.now)
            elif isinstance(command, Compile):
                reports = [CompileReport(o.job_id, o.attempt, self.profiles[o.job_id], b"x") for o in command.tasks]
                self.say(events.JobsCompiled("c", "1", tuple(reports)))

    def submit(self, tenant="t", priority=50, device=None, estimated_s=1.0, qpu_s=2.0, **fields) -> str:
        self.born += 1
        job = f"job{self.born:06}"
        self.profiles[job] = profile(estimated_s=estimated_s, qpu_s=qpu_s)
        asked = request(device or self.names[0], tenant, priority=priority, **fields)
        self.say(events.JobsSubmitted((events.NewJob(job, asked, self.born),)))
        self.say(events.CompilerReady("c", "1", 1))
        return job

    def offer(self, agent, capacity=1) -> None:
        self.say(events.AgentReady(agent, "1", capacity))

    def finish(self, agent, make=done) -> list[str]:
        """The agent ends the group it runs and offers to take another."""
        if not self.working.get(agent):
            return []
        group = self.working[agent].pop(0)
        attempts = tuple((member.job_id, member.attempt) for member in group.members)
        self.say(events.RunsStarted(agent, "1", attempts))
        reports = tuple(replace(make(*attempt), qpu_s=self.profiles[attempt[0]].qpu_s) for attempt in attempts)
        self.say(events.RunsReported(agent, "1", reports))
        return [job for job, _ in attempts]

    def tick(self) -> None:
        while self.core.next_wakeup(self.now) == 0.0:
            self.say(events.Ticked())


def mixed_day(seed: int, steps: int = 400) -> list:
    """All batches of commands of a lively day: the same for the same seed, wherever and whenever it runs."""
    draw = random.Random(seed)
    tenants = {"t1": TenantPolicy(3.0), "t2": TenantPolicy(max_running=2), "t3": TenantPolicy(max_queued=5)}
    stage = Stage(3, 4, tenants=tenants, half_life_s=500.0)
    for _ in range(steps):
        stage.now += draw.choice((0.0, 0.1, 5.0, 60.0))
        what = draw.random()
        if what < 0.45:
            tenant, level = f"t{draw.randrange(5)}", draw.choice((5, 50, 80, 95))
            device = draw.choice(stage.names)
            stage.submit(tenant, level, device, draw.choice((0.1, 1.0, 9.0)), draw.choice((0.5, 2.0, 9.0)))
        elif what < 0.8:
            agent = f"a{draw.randrange(4)}"
            kinds = (done, done, done, broken, lambda *attempt: broken(*attempt, retryable=True))
            stage.finish(agent, draw.choice(kinds))
            stage.offer(agent, draw.choice((1, 3)))
        elif what < 0.9 and stage.records:
            job = draw.choice(sorted(stage.records))
            if not stage.core.record(job).terminal:
                stage.say(events.CancelRequested(job, None, "operator"))
        elif what < 0.95:
            name = f"a{draw.randrange(4)}"
            held = tuple((m.job_id, m.attempt) for group in stage.working.get(name, []) for m in group.members)
            stage.say(
                events.AgentHeard(
                    Heartbeat(name, "1", held, tuple((*one, draw.random(), draw.randrange(9)) for one in held))
                )
            )
        else:
            device = draw.choice(stage.names)
            stage.say(draw.choice((events.DevicePaused, events.DeviceResumed))(device))
        stage.tick()
    return stage.said

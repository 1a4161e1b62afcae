"""A fake world of compilers and agents that are slow, lie, repeat themselves and die, around a core that crashes.

The oracles look from outside: at what was acknowledged, at what the store holds, at what the agents themselves run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qrtx_ray.errors import InvalidState, NotFound
from qrtx_ray.model import CheckpointRef, CompileReport, Heartbeat, JobRecord, Member, RunReport, TaskState
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import (
    CheckpointAttempt,
    Compile,
    ConcludeAttempt,
    PreemptAttempt,
    RunGroup,
    StopAttempt,
)
from qrtx_ray.scheduler.states import TRANSITIONS
from qrtx_ray.scheduler.tenants import TenantPolicy
from tests.scheduler.driving import DEVICE, OTHER, Driver, broken, done, error, profile, ref

NAMES = ("a", "b")
SERVES = {"a": (DEVICE, OTHER), "b": (DEVICE,)}
TENANTS = {
    "alice": TenantPolicy(max_running=3),
    "bob": TenantPolicy(weight=3.0, max_queued=6),
    "carol": TenantPolicy(max_qpu_s=20.0, period_s=500.0),
}
KEPT = 2
EDGES = {(source, target) for (source, _), target in TRANSITIONS.items()}
ENDS = ("success", "error", "retry", "timeout", "lost")


STEPS = (
    *("pause", "pause", "resume", "cancel", "conclude", "crash", "joins", "beats", "drain", "drain device", "dies"),
    *("keeps", "keeps again", "new", "old", "refuses", "result", "partial", "retry"),
)


BEGINNINGS = (
    ("conclude", "cancel", "partial"),
    ("conclude", "partial"),
    ("conclude", "result"),
    ("conclude", "crash", "joins", "partial"),
    ("pause", "crash", "joins", "new"),
    ("pause", "retry", "resume"),
    ("pause", "dies", "resume", "joins"),
    ("pause", "resume", "new"),
    ("pause", "cancel", "new"),
    ("keeps", "dies", "joins", "refuses", "joins"),
    ("keeps", "pause", "new", "crash", "resume"),
    ("drain", "new", "crash", "joins"),
    ("drain device", "crash", "joins", "new", "joins"),
)


class FakeAgent:
    """What an agent process knows: its groups, what it was given for them and asked of them; nothing of the core."""

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.groups: list[list[tuple[str, int]]] = []
        self.members: dict[tuple[str, int], Member] = {}
        self.wishes: dict[tuple[str, int], set[type]] = {}

    def running(self):
        return tuple(attempt for group in self.groups for attempt in group)

    def forget(self, attempt) -> None:
        self.wishes.pop(attempt, None)
        self.groups = [[a for a in group if a != attempt] for group in self.groups]
        self.groups = [group for group in self.groups if group]


class World(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.driver = Driver(
            max_losses=1000,
            max_retries=2,
            terminal_memory=1000,
            max_groups_per_agent=2,
            queue_timeout_s=5_000.0,
            tenants=TENANTS,
            half_life_s=100.0,
            kept_checkpoints=KEPT,
            paused_timeout_s=3_000.0,
        )
        self.begin_with_nothing()
        self.agents: dict[str, FakeAgent] = {}
        self.leases: list[Compile] = []
        self.said: list = []
        self.acked: set[str] = set()
        self.cancelled: set[str] = set()
        self.ended: dict[str, JobRecord] = {}
        self.followed = 0
        self.states: dict[str, TaskState] = {}
        self.born = 0
        # Begin where it becomes interesting: work in every hand.
        self.submit(6, 50, "alice", other=False, key=None)
        self.compiler_works()
        for name in NAMES:
            self.agent_offers(name, 2)

    def begin_with_nothing(self):
        self.stopped: set[str] = set()  # cancelled by somebody who wants no results
        self.paused: set[str] = set()  # acknowledged pauses that nobody has taken back
        self.durable: dict[str, list[CheckpointRef]] = {}  # what lies in files, whether the core knows it or not
        self.known: dict[str, set[CheckpointRef]] = {}  # of those, what agents said of a present attempt
        self.refused: dict[str, set[CheckpointRef]] = {}
        self.switched_off: set[str] = set()
        self.drained: set[str] = set()

    # -- the world performs commands -----------------------------------------------------------------------------

    def perform(self, commands):
        for command in commands:
            if isinstance(command, Compile):
                self.leases.append(command)
            elif isinstance(command, RunGroup):
                self.take(command)
            elif isinstance(command, (StopAttempt, PreemptAttempt, CheckpointAttempt, ConcludeAttempt)):
                self.wish(command)

    def wish(self, command):
        """An agent is asked something; whether it heard and what it makes of that is its own affair."""
        assert command.attempt >= 1
        attempt = (command.job_id, command.attempt)
        if isinstance(command, ConcludeAttempt):
            record = self.driver.record(command.job_id)
            assert record.keep_partial, "nobody wants what there is"
        agent = self.agents.get(command.agent)
        if agent is not None and agent.incarnation == command.incarnation and attempt in agent.running():
            agent.wishes.setdefault(attempt, set()).add(type(command))

    def take(self, command):
        members = [(m.job_id, m.attempt) for m in command.group.members]
        for member in command.group.members:
            record = self.driver.store.records[member.job_id]
            assert (record.attempt, record.state.value) == (member.attempt, "Allocating"), (
                "it runs before it is written"
            )
            assert member.job_id not in self.paused, "what is paused runs"
            assert member.checkpoints == record.checkpoints
            assert command.group.device == record.device not in self.switched_off, "a closed device was given work"
        agent = self.agents.get(command.agent)
        assert agent is not None, "work for an agent that never joined"
        assert not {command.agent, "*"} & self.drained, "a drained agent was given work"
        if agent.incarnation == command.incarnation:
            agent.groups.append(members)
            agent.members.update(((m.job_id, m.attempt), m) for m in command.group.members)

    def say(self, event):
        self.perform(self.driver.say(event))

    def pick(self, data, things):
        return things[data % len(things)]

    def live(self):
        return sorted(job for job, record in self.driver.store.records.items() if not record.terminal)

    # -- clients -------------------------------------------------------------------------------------------------

    @rule(
        count=st.integers(1, 4),
        priority=st.sampled_from([10, 50, 80, 95]),
        tenant=st.sampled_from(sorted(TENANTS)),
        other=st.booleans(),
        key=st.none() | st.sampled_from("kl"),
    )
    def submit(self, count, priority, tenant, other, key):
        device = OTHER if other else DEVICE
        self.driver.submit(count, priority=priority, device=device, tenant=tenant, idempotency_key=key)
        refused = {answer.job_id for answer in self.driver.answers}
        self.acked |= {f"job{i:03d}" for i in range(self.driver.counter - count, self.driver.counter)} - refused
        self.perform(self.driver.commands)

    @rule(which=st.integers(0, 99), stranger=st.booleans(), partial=st.booleans())
    def cancel(self, which, stranger, partial):
        held = [job for agent in self.agents.values() for job, _ in agent.running()]
        ids = sorted(self.acked) if which % 5 == 0 else held if which % 2 and held else self.live()
        if not ids:
            return
        self.cancel_job(self.pick(which, ids), stranger, partial)

    def cancel_job(self, job, stranger=False, partial=False):
        try:
            who = "mallory" if stranger else self.driver.record(job).tenant
            self.say(events.CancelRequested(job, who, "alice", partial))
        except NotFound:
            # After a crash the core knows unfinished jobs; the shell recalls others before it asks.
            assert stranger or not self.driver.core.knows_job(job)
        except InvalidState:
            assert self.driver.record(job).terminal
        else:
            assert not stranger
            self.cancelled.add(job)
            if not partial:
                self.stopped.add(job)

    @rule(which=st.integers(0, 99), stranger=st.booleans())
    def pause(self, which, stranger):
        job = self.aim(which)
        if job is not None:
            self.pause_job(job, stranger)

    def pause_job(self, job, stranger=False):
        before = self.driver.record(job)
        try:
            self.say(events.PauseRequested(job, "mallory" if stranger else before.tenant, "alice"))
        except NotFound:
            assert stranger or not self.driver.core.knows_job(job)
        except InvalidState:
            assert before.terminal or before.cancel_requested
        else:
            assert not stranger
            assert not before.cancel_requested
            record = self.driver.record(job)
            assert record.state.value == "Paused" or record.pause_requested, "acknowledged, and not written"
            self.paused.add(job)

    @rule(which=st.integers(0, 99), stranger=st.booleans())
    def resume(self, which, stranger):
        ids = sorted(self.paused) if which % 4 else self.live()
        if ids:
            self.resume_job(self.pick(which, ids), stranger)

    def resume_job(self, job, stranger=False):
        before = self.driver.record(job)
        self.paused.discard(job)  # from now on it may run, whether it was asked to or not
        try:
            self.say(events.ResumeRequested(job, "mallory" if stranger else before.tenant, "alice"))
        except NotFound:
            assert stranger or not self.driver.core.knows_job(job)
            self.paused |= {job} & self.held_back()
        except InvalidState:
            assert before.terminal
        else:
            record = self.driver.record(job)
            assert not record.pause_requested
            assert record.state.value != "Paused"

    @rule(which=st.integers(0, 99))
    def ask_for_a_checkpoint(self, which):
        job = self.aim(which)
        if job is None or not self.driver.core.knows_job(job):
            return
        before = self.driver.record(job)
        try:
            self.say(events.CheckpointRequested(job, None))
        except InvalidState:
            return
        assert before.state.value == "Executing"

    @rule(which=st.integers(0, 99), agent=st.none() | st.sampled_from((*NAMES, "nobody")))
    def move(self, which, agent):
        job = self.aim(which)
        if job is None or not self.driver.core.knows_job(job):
            return
        before = self.driver.record(job)
        try:
            self.say(events.MigrationRequested(job, None, "operator", agent))
        except InvalidState:
            return
        assert before.state.value in {"Allocating", "Executing"}
        assert agent not in {before.agent, "nobody"}
        assert before.device in SERVES[agent or {"a": "b", "b": "a"}[before.agent]]

    def aim(self, which):
        """A job of somebody's, one that an agent has more often than not."""
        held = [job for agent in self.agents.values() for job, _ in agent.running()]
        ids = sorted(self.acked) if which % 7 == 0 else held if which % 3 and held else self.live()
        return self.pick(which, ids) if ids else None

    def held_back(self):
        store = self.driver.store.records
        return {job for job, record in store.items() if record.state.value == "Paused" or record.pause_requested}

    @rule(which=st.integers(0, 99))
    def tag(self, which):
        if self.live():
            self.say(events.TagsChanged(self.pick(which, self.live()), None, (f"t{which}",)))

    # -- compilers -----------------------------------------------------------------------------------------------

    @rule(capacity=st.integers(0, 4), fresh=st.booleans())
    def compiler_offers(self, capacity, fresh):
        self.born += fresh
        self.say(events.CompilerJoined("c", f"{self.born}"))
        self.say(events.CompilerReady("c", f"{self.born}", capacity))

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0, 99), good=st.booleans(), again=st.booleans())
    def compiler_reports(self, which, good, again):
        lease = self.pick(which, self.leases)
        if not again:
            self.leases.remove(lease)
        ok, bad = {"profile": profile(), "executable": b"x"}, {"error": error("compile_failed")}
        reports = tuple(CompileReport(o.job_id, o.attempt, **(ok if good else bad)) for o in lease.tasks)
        self.say(events.JobsCompiled(lease.compiler, lease.incarnation, reports))

    @rule()
    def compiler_works(self):
        self.compiler_offers(4, fresh=False)
        while self.leases:
            self.compiler_reports(0, good=True, again=False)
            self.compiler_offers(4, fresh=False)

    @rule()
    def compiler_dies(self):
        self.say(events.CompilerLost("c"))

    # -- agents --------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), capacity=st.integers(1, 3))
    def agent_offers(self, name, capacity):
        agent = self.agents.get(name)
        if agent is None:
            self.born += 1
            agent = self.agents[name] = FakeAgent(f"{self.born}")
        if not self.driver.core.knows_agent(name, agent.incarnation):
            self.perform(self.driver.join(name, agent.incarnation, SERVES[name], agent.running()))
        self.perform(self.driver.ready(name, agent.incarnation, capacity))

    @rule(name=st.sampled_from(NAMES))
    def agent_starts(self, name):
        agent = self.agents.get(name)
        if agent and agent.groups:
            self.say(events.RunsStarted(name, agent.incarnation, tuple(agent.groups[0])))

    @rule(name=st.sampled_from(NAMES), end=st.sampled_from(ENDS), delivered=st.booleans())
    def agent_finishes(self, name, end, delivered):
        agent = self.agents.get(name)
        if not agent or not agent.running():
            return
        attempt = agent.running()[0]
        report = {
            "success": lambda: done(*attempt),
            "error": lambda: broken(*attempt),
            "retry": lambda: broken(*attempt, retryable=True),
            "timeout": lambda: broken(*attempt, code="execution_timeout"),
            "lost": lambda: broken(*attempt, code="attempt_lost"),
        }[end]()
        self.tell(name, agent, attempt, report, delivered)

    def tell(self, name, agent, attempt, report, delivered):
        event = events.RunsReported(name, agent.incarnation, (report,))
        self.said.append(event)
        if delivered and self.driver.core.knows_agent(name, agent.incarnation):
            agent.forget(attempt)
            self.say(event)

    @rule(name=st.sampled_from(NAMES), which=st.integers(0, 9), how=st.sampled_from(["new", "old", "none", "refuses"]),
          delivered=st.booleans(), progress=st.floats(0, 1))  # fmt: skip
    def agent_gives_way(self, name, which, how, delivered, progress):
        """It was asked to, or believes so."""
        agent = self.agents.get(name)
        if not agent or not agent.running():
            return
        asked = [one for one, wishes in agent.wishes.items() if PreemptAttempt in wishes]
        attempt = self.pick(which, asked or agent.running())
        self.give_way(name, agent, attempt, how, progress, delivered)

    def give_way(self, name, agent, attempt, how, progress, delivered=True):
        checkpoint, refused = None, ()
        if how == "new":
            checkpoint = self.write(agent, attempt, progress)
        elif how == "old" and self.durable.get(attempt[0]):
            checkpoint = self.durable[attempt[0]][-1]
        elif how == "refuses":
            refused = agent.members[attempt].checkpoints
        report = RunReport(*attempt, preempted=True, progress=progress, checkpoint=checkpoint, refused=refused)
        before, counts = self.driver.record(attempt[0]), delivered and self.is_heard(name, agent, attempt)
        if counts:
            self.refused.setdefault(attempt[0], set()).update(refused)
        self.tell(name, agent, attempt, report, delivered)
        if counts and not before.cancel_requested:
            after = self.driver.record(attempt[0])
            assert (after.retries, after.losses) == (before.retries, before.losses), "who gives way loses nothing"
            held_back = attempt[0] in self.paused
            assert (after.state.value == "Paused") == held_back
            assert after.preemptions == before.preemptions or not held_back
            if how == "new":
                assert after.checkpoints[0] == checkpoint
                assert after.progress == progress or after.state.value == "Allocating"

    @rule(name=st.sampled_from(NAMES), which=st.integers(0, 9), progress=st.floats(0, 1), delivered=st.booleans(),
          again=st.booleans())  # fmt: skip
    def agent_keeps_a_checkpoint(self, name, which, progress, delivered, again):
        agent = self.agents.get(name)
        if not agent or not agent.running():
            return
        attempt = self.pick(which, agent.running())
        self.keep(name, agent, attempt, progress, delivered, again)

    def keep(self, name, agent, attempt, progress, delivered=True, again=False):
        old = [one for one in self.durable.get(attempt[0], ()) if one.attempt == attempt[1]]
        kept = old[-1] if again and old else self.write(agent, attempt, progress)
        if not delivered:
            return
        before = self.driver.record(attempt[0])
        counts = self.is_heard(name, agent, attempt)
        self.perform(self.driver.kept(kept, name=name, incarnation=agent.incarnation))
        after = self.driver.record(attempt[0])
        assert before == after or counts, "a stranger's or a stale word changed the job"
        assert not counts or kept in after.checkpoints
        self.perform(self.driver.kept(kept, name=name, incarnation=agent.incarnation))
        assert self.driver.record(attempt[0]) == after, "said twice is said once"

    @rule(name=st.sampled_from(NAMES), which=st.integers(0, 9), delivered=st.booleans(), progress=st.floats(0, 1))
    def agent_concludes(self, name, which, delivered, progress):
        agent = self.agents.get(name)
        asked = [one for one, wishes in agent.wishes.items() if ConcludeAttempt in wishes] if agent else []
        if asked:
            attempt = self.pick(which, asked)
            report = replace(done(*attempt), partial=True, progress=progress)
            self.tell(name, agent, attempt, report, delivered)

    def write(self, agent, attempt, progress):
        """The agent makes a checkpoint durable; numbers go on from those it was given, and from those it took."""
        files = self.durable.setdefault(attempt[0], [])
        own = [one.sequence for one in files if one.attempt == attempt[1]]
        given = [one.sequence for one in agent.members[attempt].checkpoints]
        files.append(ref(*attempt, 1 + max((*own, *given), default=0), progress))
        return files[-1]

    def is_heard(self, name, agent, attempt):
        """Whether what the agent says of the attempt is of the present one, as the store has it."""
        record = self.driver.record(attempt[0])
        known = self.driver.core.knows_agent(name, agent.incarnation)
        on_agent = record.state.value in {"Allocating", "Executing"}
        job = self.driver.core._world.jobs.get(attempt[0])
        there = known and on_agent and job is not None and job.agent is not None  # else nobody has claimed it yet
        return there and (record.attempt, record.agent) == (attempt[1], name)

    @precondition(lambda self: self.said)
    @rule(which=st.integers(0, 99), attempt=st.integers(-1, 1))
    def an_old_report_comes_again(self, which, attempt):
        event = self.pick(which, self.said)
        (report,) = event.reports
        report = replace(report, attempt=report.attempt + attempt)
        agent = self.agents.get(event.agent)
        record = self.driver.store.records.get(report.job_id)
        if agent and agent.incarnation == event.incarnation and (report.job_id, report.attempt) in agent.running():
            return  # not stale: it is the first report of what runs now
        before = dict(self.driver.store.records)
        if self.driver.core.knows_agent(event.agent, event.incarnation):
            agent.forget((report.job_id, report.attempt))
        self.say(replace(event, reports=(report,)))
        after = self.driver.store.records.get(report.job_id)
        assert after == record, "a stale report changed its job"
        changed = [job for job, was in before.items() if self.driver.store.records[job] != was]
        assert all(self.driver.record(job).state.value == "Allocating" for job in changed)

    @rule(name=st.sampled_from(NAMES), progress=st.floats(0, 1), lies=st.booleans())
    def agent_beats(self, name, progress, lies):
        agent = self.agents.get(name)
        if agent is None:
            return
        running = agent.running()
        beat = Heartbeat(
            name, agent.incarnation, (*running, ("ghost", 1)) if lies else running,
            tuple((job, attempt, progress, round(9 * progress)) for job, attempt in running[:1]),
        )  # fmt: skip
        self.say(events.AgentHeard(beat))

    @rule(name=st.sampled_from(NAMES), noticed=st.booleans())
    def agent_dies(self, name, noticed):
        agent = self.agents.pop(name, None)
        if agent and noticed:
            self.say(events.AgentLost(name, agent.incarnation, "died"))
        elif agent:
            self.born += 1
            self.agents[name] = FakeAgent(f"{self.born}")
            self.perform(self.driver.join(name, f"{self.born}", SERVES[name]))

    # -- the story of one run ------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), beginning=st.sampled_from(BEGINNINGS), progress=st.floats(0, 1),
          rest=st.lists(st.sampled_from(STEPS), max_size=3))  # fmt: skip
    def a_run_is_interfered_with(self, name, beginning, rest, progress):
        """Several wishes and faults, one soon after the other, that all aim at the same run."""
        self.agent_is_drained_or_not(None, drained=False)
        self.device_is_switched(DEVICE, "on")
        if not self.agents.get(name) or not self.agents[name].running():
            self.submit(1, 50, "bob", other=False, key=None)
            self.compiler_works()
            self.agent_offers(name, 1)
        agent = self.agents.get(name)
        if agent is None or not agent.running():
            return
        job = agent.running()[0][0]
        for step in (*beginning, *rest):
            agent = self.agents.get(name)
            attempt = next((one for one in agent.running() if one[0] == job), None) if agent else None
            there = agent is not None and attempt is not None
            if there:
                self.say(events.RunsStarted(name, agent.incarnation, (attempt,)))
            if step in {"pause", "resume", "cancel"}:
                {"pause": self.pause_job, "resume": self.resume_job, "cancel": self.cancel_job}[step](job)
            elif step == "conclude":
                self.cancel_job(job, partial=True)
            elif step == "crash":
                self.core_crashes()
            elif step == "joins":
                self.agent_offers(name, 1)
            elif step == "beats":
                self.agent_beats(name, progress, lies=False)
            elif step == "drain":
                self.agent_is_drained_or_not(name, drained=True)
            elif step == "drain device":
                self.device_is_switched(DEVICE, "drained")
            elif step == "dies":
                self.agent_dies(name, noticed=True)
            elif there and step == "keeps":
                self.keep(name, agent, attempt, progress)
            elif there and step == "keeps again":
                self.keep(name, agent, attempt, progress, again=True)
            elif there and step in {"new", "old", "refuses"}:
                self.give_way(name, agent, attempt, step, progress)
            elif there and step in {"result", "partial", "retry"}:
                report = broken(*attempt, retryable=True) if step == "retry" else done(*attempt)
                if step == "partial":
                    report = replace(report, partial=True, progress=progress)
                self.tell(name, agent, attempt, report, delivered=True)

    @rule(end=st.sampled_from(["good", "bad", "dies", "crash"]), resumed=st.booleans())
    def a_job_is_paused_while_it_is_compiled(self, end, resumed):
        self.compiler_works()
        self.submit(1, 50, "bob", other=False, key=None)
        if not self.leases:
            self.compiler_offers(1, fresh=False)
        if not self.leases:
            return  # it was refused
        lease = self.leases[-1]
        job = lease.tasks[-1].job_id
        self.pause_job(job)
        if resumed:
            self.resume_job(job)
        if end in {"good", "bad"}:
            self.compiler_reports(len(self.leases) - 1, good=end == "good", again=False)
        else:
            (self.compiler_dies if end == "dies" else self.core_crashes)()
        state = self.driver.state(job)
        assert state == "Failed" if end == "bad" else (state == "Paused") != resumed

    # -- time, devices, crashes ----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 20.0, 400.0, -3_600.0]))
    def time_passes(self, seconds):
        self.perform(self.driver.tick(seconds))
        self.driver.now = max(self.driver.now, 1000.0)

    @rule(device=st.sampled_from([DEVICE, OTHER]), how=st.sampled_from(["on", "on", "off", "drained"]))
    def device_is_switched(self, device, how):
        self.switched_off.discard(device)
        if how == "on":
            self.say(events.DeviceResumed(device))
        else:
            self.switched_off.add(device)
            self.say(events.DevicePaused(device, drain=how == "drained"))

    @rule(name=st.sampled_from((*NAMES, None)), drained=st.booleans())
    def agent_is_drained_or_not(self, name, drained):
        before = set(self.drained)
        everybody = {reading.name for reading in self.driver.core.agent_readings() if reading.incarnation}
        if drained:
            self.drained = {"*"} if name is None else self.drained | {name}
        else:
            self.drained = set() if name is None else (everybody if "*" in self.drained else self.drained) - {name}
        try:
            self.say((events.AgentDrained if drained else events.AgentResumed)(name))
        except NotFound:
            assert name not in everybody | before
            self.drained = before

    @rule()
    def core_crashes(self):
        self.perform(self.driver.crash())

    @rule()
    def metadata_is_slow(self):
        self.driver.record_metadata = False

    # -- oracles -------------------------------------------------------------------------------------------------

    @invariant()
    def no_acknowledged_job_is_lost_and_no_end_is_changed(self):
        store = self.driver.store.records
        assert self.acked == store.keys()
        for job, record in store.items():
            if record.terminal:
                end = self.ended.setdefault(job, record)
                noted = {"version": end.version, "tags": end.tags, "metadata_recorded": end.metadata_recorded}
                assert replace(record, **noted) == end, "an end was changed"
            if record.state.value == "Completed":
                assert record.result_sha256 is not None
                assert job not in self.cancelled, "a cancelled job was completed"
                assert not record.partial
                assert record.checkpoints == ()
            elif record.result_sha256 is not None:
                assert record.state.value == "Cancelled"
                assert record.keep_partial
                assert job not in self.stopped, "whoever wanted no results got some"
            if job in self.cancelled:
                assert record.cancel_requested

    @invariant()
    def every_transition_is_legal(self):
        changes = self.driver.store.changes
        for change in changes[self.followed :]:
            assert self.states.get(change.job_id) is change.from_state
            note = change.from_state is change.to_state
            assert note or change.from_state is None or (change.from_state, change.to_state) in EDGES
            self.states[change.job_id] = change.to_state
        self.followed = len(changes)
        assert all(self.states[job] is record.state for job, record in self.driver.store.records.items())

    @invariant()
    def what_was_paused_stays_so_until_it_is_resumed(self):
        self.paused -= {job for job, record in self.driver.store.records.items() if record.terminal}
        self.paused -= self.cancelled
        assert self.paused <= self.held_back()

    @invariant()
    def no_checkpoint_is_valid_that_nobody_wrote_and_none_comes_back(self):
        for job, record in self.driver.store.records.items():
            kept = record.checkpoints
            assert set(kept) <= set(self.durable.get(job, ())), "nobody wrote that"
            assert not set(kept) & self.refused.get(job, set()), "it was refused"
            assert [one.sequence for one in kept] == sorted({one.sequence for one in kept}, reverse=True)
            assert len(kept) <= KEPT

    @invariant()
    def no_quota_is_exceeded(self):
        for tenant, policy in TENANTS.items():
            own = [record for record in self.driver.store.records.values() if record.tenant == tenant]
            running = [record for record in own if record.state.value in {"Allocating", "Executing"}]
            assert policy.max_running is None or len(running) <= policy.max_running
            assert policy.max_queued is None or sum(not record.terminal for record in own) <= policy.max_queued
            charged = Counter()
            for record in own:
                if record.qpu_s is not None:
                    charged[record.finished_at // policy.period_s] += record.qpu_s
            assert policy.max_qpu_s is None or max(charged.values(), default=0.0) <= policy.max_qpu_s

    @invariant()
    def no_agent_holds_more_than_it_offered(self):
        for name, agent in self.agents.items():
            assert len(agent.groups) <= 2, f"{name} was given too much"
            assert len(set(agent.running())) == len(agent.running()), "an attempt was given twice"
        everything = [attempt for agent in self.agents.values() for attempt in agent.running()]
        assert len(set(everything)) == len(everything), "an attempt runs in two places"

    @invariant()
    def whoever_is_to_end_an_attempt_was_asked_or_will_be(self):
        """As far as agents that are there know of it: a wish that was written has reached the one that it concerns."""
        for name, agent in self.agents.items():
            for attempt in agent.running():
                record = self.driver.record(attempt[0])
                if not self.is_heard(name, agent, attempt):
                    continue
                wanted = {
                    StopAttempt: record.cancel_requested and not record.keep_partial,
                    ConcludeAttempt: record.keep_partial,
                    PreemptAttempt: not record.cancel_requested
                    and (record.pause_requested or bool({name, "*"} & self.drained)),
                }
                for kind in (kind for kind, is_wanted in wanted.items() if is_wanted):
                    assert kind in agent.wishes.get(attempt, ()), f"{name} does not know of {kind} of {attempt}"

    @invariant()
    def what_was_lost_is_counted_and_nothing_else(self):
        lost = Counter(change.job_id for change in self.driver.store.changes if self.is_loss(change))
        for job, record in self.driver.store.records.items():
            assert record.losses == lost[job]

    def is_loss(self, change):
        sources = {TaskState.ALLOCATING, TaskState.EXECUTING}
        back = change.from_state in sources and change.to_state is TaskState.QUEUED
        return back and change.reason not in {"made way", "moved", "drained", "given back", "execution_failed"}

    @invariant()
    def every_running_attempt_is_known_to_the_store(self):
        for agent in self.agents.values():
            for job, attempt in agent.running():
                assert self.driver.record(job).attempt >= attempt

    def teardown(self):
        """When the faults stop, everything drains."""
        if not hasattr(self, "driver"):
            return
        self.driver.record_metadata = True
        self.perform(self.driver.crash())
        for device in (DEVICE, OTHER):
            self.device_is_switched(device, "on")
        self.agent_is_drained_or_not(None, drained=False)
        for job in sorted(self.held_back()):
            self.paused.discard(job)
            self.say(events.ResumeRequested(job, None, "operator"))
        for _ in range(200):
            if not self.live():
                break
            self.perform(self.driver.tick(20.0))
            self.compiler_offers(4, fresh=False)
            while self.leases:
                self.compiler_reports(0, good=True, again=False)
            for name in NAMES:
                self.agent_offers(name, 3)
                self.agent_beats(name, 0.5, lies=False)
                for _ in range(4):
                    self.agent_finishes(name, "success", delivered=True)
        assert not self.live(), [self.driver.core.explain(job) for job in self.live()]
        self.no_acknowledged_job_is_lost_and_no_end_is_changed()
        assert {job for job in self.cancelled if self.driver.record(job).state.value == "Completed"} == set()
        assert all(record.metadata_recorded for record in self.driver.store.records.values())
        assert self.driver.core.next_wakeup(self.driver.now) is None


TestWorld = World.TestCase
TestWorld.settings = settings(
    max_examples=80,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

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
from qrtx_ray.model import CompileReport, Heartbeat, TaskState
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import Compile, RunGroup, StopAttempt
from qrtx_ray.scheduler.states import TRANSITIONS
from qrtx_ray.scheduler.tenants import TenantPolicy
from tests.scheduler.driving import DEVICE, OTHER, Driver, broken, done, error, profile

NAMES = ("a", "b")
SERVES = {"a": (DEVICE, OTHER), "b": (DEVICE,)}
TENANTS = {
    "alice": TenantPolicy(max_running=3),
    "bob": TenantPolicy(weight=3.0, max_queued=6),
    "carol": TenantPolicy(max_qpu_s=20.0, period_s=500.0),
}
EDGES = {(source, target) for (source, _), target in TRANSITIONS.items()}
ENDS = ("success", "error", "retry", "timeout", "lost")


class FakeAgent:
    """What an agent process knows: its groups, nothing of the core."""

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.groups: list[list[tuple[str, int]]] = []

    def running(self):
        return tuple(attempt for group in self.groups for attempt in group)

    def forget(self, attempt) -> None:
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
        )
        self.agents: dict[str, FakeAgent] = {}
        self.leases: list[Compile] = []
        self.said: list = []
        self.acked: set[str] = set()
        self.cancelled: set[str] = set()
        self.ended: dict[str, str] = {}
        self.followed = 0
        self.states: dict[str, TaskState] = {}
        self.born = 0
        # Begin where it becomes interesting: work in every hand.
        self.submit(6, 50, "alice", other=False, key=None)
        self.compiler_works()
        for name in NAMES:
            self.agent_offers(name, 2)

    # -- the world performs commands -----------------------------------------------------------------------------

    def perform(self, commands):
        for command in commands:
            if isinstance(command, Compile):
                self.leases.append(command)
            elif isinstance(command, RunGroup):
                self.take(command)
            elif isinstance(command, StopAttempt):
                agent = self.agents.get(command.agent)
                assert agent is None or agent.incarnation != command.incarnation or command.attempt >= 1

    def take(self, command):
        members = [(m.job_id, m.attempt) for m in command.group.members]
        for job, attempt in members:
            record = self.driver.store.records[job]
            assert (record.attempt, record.state.value) == (attempt, "Allocating"), "it runs before it is written"
        agent = self.agents.get(command.agent)
        assert agent is not None, "work for an agent that never joined"
        if agent.incarnation == command.incarnation:
            agent.groups.append(members)

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

    @rule(which=st.integers(0, 99), stranger=st.booleans())
    def cancel(self, which, stranger):
        held = [job for agent in self.agents.values() for job, _ in agent.running()]
        ids = sorted(self.acked) if which % 5 == 0 else held if which % 2 and held else self.live()
        if not ids:
            return
        job = self.pick(which, ids)
        try:
            self.say(events.CancelRequested(job, "mallory" if stranger else self.driver.record(job).tenant, "alice"))
        except NotFound:
            # After a crash the core knows unfinished jobs; the shell recalls others before it asks.
            assert stranger or not self.driver.core.knows_job(job)
        except InvalidState:
            assert self.driver.record(job).terminal
        else:
            assert not stranger
            self.cancelled.add(job)

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
        event = events.RunsReported(name, agent.incarnation, (report,))
        self.said.append(event)
        if delivered and self.driver.core.knows_agent(name, agent.incarnation):
            agent.forget(attempt)
            self.say(event)

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
            tuple((job, attempt, progress) for job, attempt in running[:1]),
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

    # -- time, devices, crashes ----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 20.0, 400.0, -3_600.0]))
    def time_passes(self, seconds):
        self.perform(self.driver.tick(seconds))
        self.driver.now = max(self.driver.now, 1000.0)

    @rule(device=st.sampled_from([DEVICE, OTHER]), paused=st.booleans())
    def device_is_switched(self, device, paused):
        self.say((events.DevicePaused if paused else events.DeviceResumed)(device))

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
                assert self.ended.setdefault(job, record.state.value) == record.state.value
            if record.state.value == "Completed":
                assert record.result_sha256 is not None
                assert job not in self.cancelled, "a cancelled job was completed"
            if job in self.cancelled:
                assert record.cancel_requested

    @invariant()
    def every_transition_is_legal(self):
        changes = self.driver.store.changes
        for change in changes[self.followed :]:
            assert self.states.get(change.job_id) is change.from_state
            assert change.from_state is None or (change.from_state, change.to_state) in EDGES
            self.states[change.job_id] = change.to_state
        self.followed = len(changes)
        assert all(self.states[job] is record.state for job, record in self.driver.store.records.items())

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
            self.say(events.DeviceResumed(device))
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

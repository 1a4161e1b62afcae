"""The same fake world as in `test_machine`, with devices that drift, jobs that may choose, urgent work and reservations."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from qrtx_ray.errors import InvalidState, ValidationError
from qrtx_ray.model import AUTO_DEVICE, Candidate, CompileReport, Reservation, RunReport
from qrtx_ray.model.noise import NoiseId
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.calibration import DeviceNoise
from qrtx_ray.scheduler.commands import MeasureProbe, PreemptAttempt
from qrtx_ray.scheduler.policies import HybridPolicy
from qrtx_ray.scheduler.preemption import PreemptionLaw
from tests.scheduler.driving import DEVICE, OTHER, Driver, error, profile
from tests.scheduler.test_machine import NAMES, TENANTS, FakeAgent
from tests.scheduler.test_machine import World as PlainWorld

MOST = 2
NOISE = DeviceNoise(
    seed=1, rate=0.5, drift_interval_s=100.0, probe_interval_s=50.0, max_frequency_s=100.0, calibration_s=30.0
)


class World(PlainWorld):
    @initialize()
    def begin(self):
        self.driver = Driver(
            policy=HybridPolicy(),
            max_losses=1000,
            terminal_memory=1000,
            queue_timeout_s=5_000.0,
            prefetch_behind_s=1e9,
            noise={DEVICE: NOISE},
            preemption=PreemptionLaw(max_per_job=MOST),
            max_placements=2,
            tenants=TENANTS,
            placements_batch=2,
        )
        self.agents: dict[str, FakeAgent] = {}
        self.leases, self.said, self.probes, self.asked = [], [], [], []
        self.acked, self.cancelled, self.ended = set(), set(), {}
        self.born, self.followed, self.states = 0, 0, {}
        self.length = 50.0
        self.begin_with_nothing()
        self.unsure: set[tuple[str, int]] = (
            set()
        )  # attempts that were asked back not, or not only, for more urgent work
        self.submit(4, 10, other=False, key=None, tenant="alice")
        self.compiler_works()
        for name in NAMES:
            self.agent_offers(name, 2)

    # -- the world performs commands -----------------------------------------------------------------------------

    def perform(self, commands):
        super().perform(commands)
        for command in commands:
            if isinstance(command, PreemptAttempt):
                self.is_asked_to_make_way(command)
            elif isinstance(command, MeasureProbe):
                self.probes.append(command)
                assert command.agent in self.agents

    def take(self, command):
        super().take(command)
        group = command.group
        world = self.driver.core._world
        device = world.devices[group.device]
        assert not device.closed, "a closed device was given work"
        assert (NoiseId.parse(group.noise_id).rate > 0) == (group.device == DEVICE)
        for member in group.members:
            record = self.driver.record(member.job_id)
            assert record.device == group.device
            assert member.checkpoints == record.checkpoints
            assert device.window is None or device.window.admits(record), "somebody broke into a reservation"

    def is_asked_to_make_way(self, command):
        record = self.driver.record(command.job_id)
        assert record.attempt == command.attempt
        if self.is_wanted_back(record):
            self.unsure.add((command.job_id, command.attempt))
        else:
            assert record.promoted_at is None
            assert record.preemptions < MOST
            waiting = [r for r in self.driver.store.records.values() if r.state.value == "Queued"]
            assert any(r.level < record.level and r.level <= 1 for r in waiting), "nobody more urgent waits"
        if (
            command not in self.asked
        ):  # a core that crashed, or an agent that joined again, knows of no earlier question
            self.asked.append(command)

    @rule()
    def core_crashes(self):
        # What was asked for before is forgotten, and so is why.
        self.unsure |= {(command.job_id, command.attempt) for command in self.asked}
        self.perform(self.driver.crash())

    def is_wanted_back(self, record):
        """For another reason than more urgent work."""
        drained = record.device in self.switched_off or {record.agent, "*"} & self.drained
        moved = self.driver.store.changes and any(
            change.job_id == record.id and change.reason.startswith("moved to")
            for change in self.driver.store.changes
            if change.attempt == record.attempt
        )
        return record.pause_requested or drained or moved

    # -- clients and operators -----------------------------------------------------------------------------------

    @rule(priority=st.sampled_from([10, 50, 95]), floor=st.sampled_from([None, 0.5, 0.85]), dry=st.booleans())
    def submit_without_a_device(self, priority, floor, dry):
        choices = (DEVICE, OTHER)
        fields = {"fidelity_floor": floor, "dry_run": dry, "deadline_at": self.driver.now + 4_000.0}
        job = self.driver.submit(device=AUTO_DEVICE, choices=choices, priority=priority, **fields)
        self.acked.add(job)
        self.perform(self.driver.commands)

    @rule(length=st.sampled_from([0.001, 5.0, 50.0]))
    def jobs_become_longer_or_shorter(self, length):
        self.length = length

    @rule(
        begins=st.sampled_from([0.0, 10.0, 300.0]),
        device=st.sampled_from([DEVICE, OTHER]),
        lasts=st.sampled_from([5.0, 400.0]),
    )
    def reserve(self, begins, device, lasts):
        now = self.driver.now
        wanted = Reservation(f"r{device}", device, "alice", now + begins, now + begins + lasts)
        try:
            self.say(events.ReservationMade(wanted))
        except (InvalidState, ValidationError):
            return  # it overlaps another; or the clock was set back, and for the core, whose time is not, it is over
        job = self.driver.submit(device=device, reservation=wanted.name)
        self.acked.add(job)
        self.perform(self.driver.commands)

    @rule(which=st.integers(0, 9))
    def release(self, which):
        standing = self.driver.core.reservations()
        if standing:
            self.say(events.ReservationReleased(self.pick(which, standing).name, "alice"))

    # -- compilers and agents ------------------------------------------------------------------------------------

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0, 99), good=st.booleans(), again=st.booleans())
    def compiler_reports(self, which, good, again):
        lease = self.pick(which, self.leases)
        if not again:
            self.leases.remove(lease)
        reports = tuple(self._compiled(order, which, good) for order in lease.tasks)
        self.say(events.JobsCompiled(lease.compiler, lease.incarnation, reports))

    def _compiled(self, order, which, good) -> CompileReport:
        if not good:
            return CompileReport(order.job_id, order.attempt, error=error("compile_failed"))
        if order.choices:
            fidelity = (0.9, 0.6)
            found = [
                Candidate(name, noise, fidelity[(i + which) % 2], 2.5, self.length)
                for i, (name, noise) in enumerate(order.choices)
            ]
            return CompileReport(order.job_id, order.attempt, candidates=tuple(found))
        result = {"result_sha256": "ab" * 32, "result_bytes": 9} if self.driver.record(order.job_id).dry_run else {}
        made = profile(estimated_s=self.length, fidelity=0.9, noise_id=order.calibration_id)
        return CompileReport(order.job_id, order.attempt, made, b"x", **result)

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 99), kept=st.booleans(), progress=st.floats(0, 1))
    def agent_makes_way(self, which, kept, progress):
        command = self.pick(which, self.asked)
        self.asked.remove(command)
        agent, attempt = self.agents.get(command.agent), (command.job_id, command.attempt)
        known = self.driver.core.knows_agent(command.agent, command.incarnation)
        if agent is None or agent.incarnation != command.incarnation or attempt not in agent.running() or not known:
            return
        agent.forget(attempt)
        before = self.driver.record(command.job_id)
        checkpoint = self.write(agent, attempt, progress) if kept else None
        report = RunReport(*attempt, preempted=True, progress=progress, checkpoint=checkpoint)
        self.say(events.RunsReported(command.agent, agent.incarnation, (report,)))
        after = self.driver.record(command.job_id)
        if before.attempt == command.attempt and not before.terminal and not before.cancel_requested:
            counts = {0} if before.pause_requested else {0, 1} if attempt in self.unsure else {1}
            assert after.retries == before.retries
            assert after.preemptions - before.preemptions in counts
            assert after.checkpoints[:1] == ((checkpoint,) if kept else before.checkpoints[:1])

    @precondition(lambda self: self.probes)
    @rule(fidelity=st.sampled_from([None, 0.5, 0.95]), late=st.booleans())
    def probe_is_measured(self, fidelity, late):
        command = self.probes[0]
        if not late:
            self.probes.pop(0)
        self.say(events.ProbeMeasured(command.device, command.noise_id, fidelity))

    @rule(seconds=st.sampled_from([30.0, 60.0]))
    def alarms_go_off(self, seconds):
        self.perform(self.driver.tick(seconds))

    @rule()
    def a_device_gets_worse(self):
        self.probes.clear()
        for _ in range(4):
            self.perform(self.driver.tick(30.0))
            if self.probes:
                self.probe_is_measured(0.5, late=False)
                return

    @rule(level=st.sampled_from([80, 95]))
    def urgent_work_arrives(self, level):
        self.length = 50.0
        self.compiler_works()
        for name in NAMES:
            self.agent_offers(name, 2)
            self.agent_starts(name)
        self.submit(1, level, other=False, key=None, tenant="alice")
        self.compiler_works()

    @rule()
    def work_that_may_choose_waits(self):
        self.submit_without_a_device(50, None, dry=False)
        self.compiler_works()

    @rule(which=st.integers(0, 99))
    def somebody_asks(self, which):
        if self.live():
            told = self.driver.core.explain(self.pick(which, self.live()))
            start = told["estimated_start"]
            assert start is None or start["low"] <= start["at"] <= start["high"]
        candidates = (Candidate(DEVICE, "", 0.9, 2.5, 1.0), Candidate(OTHER, "", 0.8, 2.5, 1.0))
        assert self.driver.core.estimate("alice", 50, candidates)["devices"].keys() == {DEVICE, OTHER}

    # -- oracles -------------------------------------------------------------------------------------------------

    @invariant()
    def epochs_only_grow_and_are_kept(self):
        (reading, _) = self.driver.core.device_readings()
        epoch = NoiseId.parse(reading.noise_id).epoch if reading.noise_id else 0
        assert epoch >= getattr(self, "epoch", 0)
        self.epoch = epoch

    @invariant()
    def nobody_makes_way_too_often_and_what_was_estimated_never_ran(self):
        for record in self.driver.store.records.values():
            assert record.preemptions <= MOST
            assert not (record.dry_run and record.attempt)

    def teardown(self):
        if not hasattr(self, "driver"):
            return
        self.driver.record_metadata = True
        self.perform(self.driver.crash())
        for reservation in self.driver.core.reservations():
            self.say(events.ReservationReleased(reservation.name, None))
        for device in (DEVICE, OTHER):
            self.device_is_switched(device, "on")
        self.agent_is_drained_or_not(None, drained=False)
        for job in sorted(self.held_back()):
            self.paused.discard(job)
            self.say(events.ResumeRequested(job, None, "operator"))
        for _ in range(300):
            if not self.live():
                break
            self.perform(self.driver.tick(20.0))
            self.compiler_works()
            for name in NAMES:
                self.agent_offers(name, 3)
                self.agent_beats(name, 0.5, lies=False)
                for _ in range(4):
                    self.agent_finishes(name, "success", delivered=True)
        assert not self.live(), [self.driver.core.explain(job) for job in self.live()]
        self.no_acknowledged_job_is_lost_and_no_end_is_changed()


TestWorld = World.TestCase
TestWorld.settings = settings(
    max_examples=30,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def test_the_same_events_give_the_same_commands_byte_for_byte():
    """A recorded run of the fake world, told to a second core."""
    told, answers = [], []

    class Recording(Driver):
        def say(self, event):
            told.append((event, self.now))
            return super().say(event)

        def _perform(self, commands):
            answers.append(repr(commands))
            return super()._perform(commands)

    first = _play(Recording)
    second = Driver(policy=HybridPolicy(), noise={DEVICE: NOISE}, check=False)
    # Replayed through `handle` alone: what the first core answered led to the events that were recorded.
    assert [repr(second.core.handle(event, now)) for event, now in told] == answers
    assert first.core.snapshot() == second.core.snapshot()


def _play(kind) -> Driver:
    driver = kind(policy=HybridPolicy(), noise={DEVICE: NOISE})
    for name, device in (("a", DEVICE), ("b", OTHER)):
        driver.join(name, devices=(device,))
        driver.ready(name)
    candidates = (Candidate(DEVICE, "", 0.9, 2.5, 20.0), Candidate(OTHER, "", 0.85, 2.5, 20.0))
    for number in range(12):
        driver.placed(*candidates, tenant="abc"[number % 3], priority=(10, 50, 95)[number % 3])
        driver.tick(7.0)
        for name in ("a", "b"):
            agent = driver.core._world.agents[name]
            for job, attempt in list(agent.making_way):
                driver.reported(RunReport(job, attempt, preempted=True, progress=0.5), name=name)
            for job, attempt in list(agent.held)[: number % 2]:
                driver.reported(replace(RunReport(job, attempt, "ab" * 32, 9, 2.5, 20.0)), name=name)
            driver.ready(name)
    driver.say(events.DevicePaused(DEVICE))
    driver.tick(100.0)
    return driver

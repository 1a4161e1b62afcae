"""The line before a device against a model that looks at every job every time."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.errors import InternalError
from qrtx_ray.model import JobRecord, PayloadFormat, Program
from qrtx_ray.scheduler import lanes
from qrtx_ray.scheduler.job import Job
from qrtx_ray.scheduler.levels import DEFAULT_LEVELS, LevelPolicy, aged_weight
from qrtx_ray.scheduler.lines import DeviceLine
from qrtx_ray.scheduler.tenants import TenantPolicy, Tenants
from tests.scheduler.driving import profile

PRIORITIES = (95, 75, 50, 10)
POLICIES = {"a": TenantPolicy(1.0), "b": TenantPolicy(3.0), "c": TenantPolicy(1.0, max_running=2)}


class House:
    """Two lines, their tenants and what runs; knows every job by itself."""

    def __init__(self, policies=POLICIES, aging=True, levels=DEFAULT_LEVELS):
        self.tenants = Tenants(1_000.0, policies, TenantPolicy())
        self.jobs: dict[int, Job] = {}
        self.levels, self.aging = levels, aging
        self.lines = [DeviceLine(name, levels, self.tenants, self.jobs, aging=aging) for name in ("x", "y")]
        self.running: list[Job] = []
        self.now = 10_000.0

    def add(self, tenant="a", priority=50, waited=0.0, line=0, qpu_s=2.0, promoted=False) -> Job:
        number = len(self.jobs) + 1
        record = JobRecord(f"j{number}", number, tenant, Program.SAMPLER, "d", PayloadFormat.NATIVE, 0.0, 1)
        record = replace(
            record,
            priority=priority,
            profile=profile(qpu_s=qpu_s),
            promoted_at=self.now if promoted else None,
        )
        job = Job(record, self.tenants.account(tenant))
        job.since_us = round((self.now - waited) * 1e6)
        job.committed_us = job.estimated_us
        self.jobs[job.key] = job
        self.lines[line].add(job)
        job.line = self.lines[line]
        return job

    def move(self, job: Job, line: int | None = None) -> None:
        """Out of its line, or into one."""
        if line is None:
            job.line.discard(job)
            job.line = None
        else:
            job.line = self.lines[line]
            job.line.add(job)

    def go(self, job: Job) -> None:
        job.line.discard(job)
        job.line = None
        self.tenants.begin(job.account, job.estimated_us, self.now)
        self.running.append(job)

    def end(self, job: Job, qpu_s: float) -> list[str]:
        self.running.remove(job)
        self.tenants.charge(job.account, qpu_s, self.now)
        self.tenants.end(job.account, job.estimated_us, self.now)
        return self.tenants.thaw(1_000)

    def serve(self, line=0) -> Job | None:
        job = self.lines[line].head(self.now)
        if job is not None:
            self.go(job)
        return job

    # -- the same by looking at everything -----------------------------------------------------------------------

    def head(self, line) -> Job | None:
        here = [job for job in self.jobs.values() if job.line is line and not job.account.full]
        late = [job for job in here if job.record.promoted_at is not None]
        if late:
            return min(late, key=lambda job: (-job.level, job.since_us, job.key))
        firsts: dict[tuple[int, str], Job] = {}
        for job in sorted(here, key=lambda job: job.key):
            firsts.setdefault((job.level, job.record.tenant), job)
        best, weight = None, 0.0
        for level in range(4):
            heads = [job for (at, _), job in firsts.items() if at == level]
            if not heads:
                continue
            oldest = min(heads, key=lambda job: (job.since_us, job.key))
            aged = aged_weight(self.levels, level, self.now - oldest.since_us * 1e-6)
            if best is None:
                best, weight = min(heads, key=self.share), aged
            elif self.aging and aged > weight:
                best, weight = oldest, aged
        return best

    def share(self, job: Job):
        account = job.account
        return (self.tenants.share(account, account.running_us), account.turn)

    def check(self) -> None:
        for line in self.lines:
            line.check()
            assert line.head(self.now) is self.head(line)


ADD = st.tuples(
    st.just("add"),
    st.sampled_from("abcdef"),
    st.sampled_from(PRIORITIES),
    st.sampled_from([0.0, 60.0, 250.0, 800.0, 3_000.0, 70_000.0]),
    st.integers(0, 1),
    st.sampled_from([0.0, 1.0, 5.0]),
    st.sampled_from([False, False, False, True]),
)
STEP = st.one_of(
    ADD,
    ADD,
    st.tuples(st.just("serve"), st.integers(0, 1)),
    st.tuples(st.just("end"), st.integers(0, 99), st.sampled_from([0.0, 2.0, 50.0])),
    st.tuples(st.just("leave"), st.integers(0, 99)),
    st.tuples(st.just("return"), st.integers(0, 99), st.integers(0, 1)),
    st.tuples(st.just("time"), st.sampled_from([0.0, 1.0, 300.0, 2e5, 3e6])),
)


def run(house: House, step) -> None:
    what, *arguments = step
    if what == "add":
        tenant, priority, waited, line, qpu_s, promoted = arguments
        house.add(tenant, priority, waited, line, qpu_s, promoted)
    elif what == "serve":
        house.serve(arguments[0])
    elif what == "end" and house.running:
        house.end(house.running[arguments[0] % len(house.running)], arguments[1])
    elif what in {"leave", "return"}:
        found = [job for job in house.jobs.values() if (job.line is not None) == (what == "leave")]
        found = [job for job in found if job not in house.running]
        if found:
            house.move(found[arguments[0] % len(found)], *arguments[1:])
    elif what == "time":
        house.now += arguments[0]


@pytest.mark.parametrize("few", [32, 0])
@settings(deadline=None, derandomize=True, max_examples=150)
@given(steps=st.lists(STEP, max_size=60), aging=st.booleans())
def test_the_head_is_what_the_rule_says_whatever_happened_before(few, steps, aging):
    before, (lanes._FEW, lanes._WALK) = (lanes._FEW, lanes._WALK), (few, few)
    try:
        house = House(aging=aging)
        for step in steps:
            run(house, step)
            house.check()
    finally:
        lanes._FEW, lanes._WALK = before


@pytest.mark.parametrize("few", [32, 0])
@settings(deadline=None, derandomize=True, max_examples=150)
@given(steps=st.lists(STEP, max_size=60), aging=st.booleans())
def test_the_order_is_that_of_jobs_given_away_one_after_the_other(few, steps, aging):
    before, (lanes._FEW, lanes._WALK) = (lanes._FEW, lanes._WALK), (few, few)
    try:
        house = House(aging=aging)
        for step in steps:
            run(house, step)
        house.tenants.begin(house.tenants.account("z"), 0, house.now)  # the ledger's clock stands at now
        line = house.lines[0]
        order = list(line.in_order(house.now))
        assert list(islice(line.in_order(house.now), 2)) == order[:2]
        served = []
        while (job := house.serve()) is not None:
            served.append(job)
        assert [job.key for job in order] == [job.key for job in served]
    finally:
        lanes._FEW, lanes._WALK = before


def test_levels_come_first_and_inside_a_level_the_oldest():
    house = House()
    low, normal, later, urgent = [house.add(priority=p) for p in (10, 50, 50, 95)]
    assert [house.serve() for _ in range(4)] == [urgent, normal, later, low]
    assert house.lines[0].head(house.now) is None


def test_priority_counts_across_tenants_and_share_among_equals():
    house = House()
    house.tenants.charge(house.tenants.account("a"), 1_000.0, house.now)
    urgent, first, second = house.add("a", 95), house.add("a"), house.add("b")
    assert [house.serve() for _ in range(3)] == [urgent, second, first]


def test_an_aged_job_of_a_lower_level_passes_a_fresh_one_of_a_higher():
    house = House()
    low = house.add("a", 10, waited=0.7 * 86_400.0)  # aged to 1 + 9 × 0.7 = 7.3
    high = house.add("b", 75)
    assert house.serve() is low
    low = house.add("a", 10, waited=0.7 * 86_400.0)
    older = house.add("d", 75, waited=600.0)  # 7 + 3 × 600 / 900 = 9: nothing has aged past its level
    assert {house.serve(), house.serve()} == {high, older}
    assert house.serve() is low
    house.add("b", 95)
    aged = house.add("a", 10, waited=0.99 * 86_400.0)
    assert house.serve().record.priority == 95, "nothing ages past critical"
    assert house.serve() is aged


def test_where_aged_weights_are_equal_the_higher_level_goes():
    house = House()
    house.add("a", 50, waited=1_800.0)  # 5 + 5 × 0.5
    high = house.add("b", 75, waited=150.0)  # 7 + 3 / 6
    assert house.serve() is high


def test_without_aging_only_the_level_counts():
    house = House(aging=False)
    house.add("a", 10, waited=0.9 * 86_400.0)
    high = house.add("b", 75)
    assert house.serve() is high


def test_promoted_jobs_go_first_the_lowest_level_before_all():
    house = House()
    house.add(priority=95, waited=100.0)
    critical, low, older = [
        house.add(priority=p, waited=w, promoted=True) for p, w in ((95, 9e5), (10, 5.0), (10, 6.0))
    ]
    assert [house.serve() for _ in range(3)] == [older, low, critical]


def test_a_tenant_with_all_running_that_it_may_is_passed_over_until_one_ends():
    house = House()
    jobs = [house.add("c", 95) for _ in range(4)]
    other = house.add("a", 10)
    served = [house.serve() for _ in range(4)]
    assert served == [jobs[0], jobs[1], other, None]
    assert [job.record.tenant for job in house.lines[0].in_order(house.now)] == []
    assert house.end(jobs[0], 2.0) == ["x"], "this lets the line of x go on"
    assert house.serve() is jobs[2]
    assert house.serve() is None


def test_lines_where_a_tenant_was_passed_over_are_looked_at_in_steps_the_most_urgent_first():
    house = House({"c": TenantPolicy(max_running=1)})
    running = house.add("c", line=0)
    house.go(running)
    low, urgent = house.add("c", 10, line=0), house.add("c", 95, line=1)
    assert house.serve(0) is None
    assert house.serve(1) is None
    house.running.remove(running)
    house.tenants.end(running.account, running.estimated_us, house.now)
    assert house.tenants.thaw(1) == ["y"]
    assert house.lines[0].head(house.now) is None, "not looked at again yet"
    assert house.serve(1) is urgent
    assert house.tenants.thawing == {}, "the place is taken"
    house.end(urgent, 0.0)
    assert house.serve(0) is low


def test_a_group_is_offered_no_more_of_a_tenant_than_may_run():
    house = House()
    for _ in range(5):
        house.add("c")
    house.add("a")
    assert [job.record.tenant for job in house.lines[0].in_order(house.now)].count("c") == 2


def test_what_runs_counts_before_it_has_ended():
    house = House({})
    for _ in range(6):
        house.add("a", qpu_s=2.0)
    for _ in range(6):
        house.add("b", qpu_s=2.0)
    assert [house.serve().record.tenant for _ in range(6)] == ["a", "b"] * 3


def test_shares_follow_the_weights():
    house = House({"a": TenantPolicy(1.0), "b": TenantPolicy(3.0)})
    for _ in range(40):
        house.add("a")
        house.add("b")
    served = [job.record.tenant for job in islice(house.lines[0].in_order(house.now), 40)]
    assert served.count("b") == 30


def test_lines_can_be_compared():
    house = House()
    empty = house.lines[1].urgency(house.now)
    house.add(priority=50, line=0)
    normal = house.lines[0].urgency(house.now)
    assert normal < empty
    house.add(priority=75, line=1)
    high = house.lines[1].urgency(house.now)
    assert high < normal
    house.add(priority=10, waited=0.99 * 86_400.0, line=1)
    aged = house.lines[1].urgency(house.now)
    assert aged < high
    house.add(priority=95, line=0)
    critical = house.lines[0].urgency(house.now)
    assert critical < aged
    house.add(priority=10, promoted=True, line=1)
    assert house.lines[1].urgency(house.now) < critical


def test_for_one_tenant_the_place_in_line_is_exact():
    house = House({})
    jobs = [house.add("a", priority) for priority in (50, 95, 10, 50, 75)] + [house.add("a", 10, promoted=True)]
    line = house.lines[0]
    order = list(line.in_order(house.now))
    assert [line.ahead_of(job) for job in jobs] == [order.index(job) for job in jobs]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abd"), st.sampled_from([0.0, 4.0])), min_size=1, max_size=30))
def test_among_tenants_the_place_in_line_is_near_the_truth(steps):
    house = House({"b": TenantPolicy(3.0)})
    for tenant, used in steps:
        house.add(tenant)
        house.tenants.charge(house.tenants.account(tenant), used, house.now)
    line = house.lines[0]
    order = list(line.in_order(house.now))
    assert all(abs(line.ahead_of(job) - at) <= 4 for at, job in enumerate(order))


def test_the_place_in_line_is_estimated_from_a_sample_where_many_wait():
    house = House({})
    for number in range(1_000):
        house.add(f"t{number:04}")
        house.add(f"t{number:04}")
    line = house.lines[0]
    last = house.add("late")
    house.add("late")
    assert 0 <= line.ahead_of(last) <= 2_002
    assert line.ahead_of(house.add("t0000", promoted=True)) == 0


def test_a_job_is_not_taken_twice_and_not_found_where_it_is_not():
    house = House()
    job = house.add()
    with pytest.raises(ValueError, match="already"):
        house.lines[0].add(job)
    house.lines[0].discard(job)
    with pytest.raises(InternalError):
        house.lines[0].discard(job)
    house.add("b")
    with pytest.raises(InternalError):
        house.lines[0].discard(job)


def test_levels_without_a_longest_wait_do_not_age():
    levels = (*DEFAULT_LEVELS[:3], LevelPolicy(1.0, None))
    assert aged_weight(levels, 3, 1e9) == 1.0
    assert aged_weight(levels, 2, 1_800.0) == 7.5
    assert aged_weight(levels, 0, 1e9) == 10.0
    assert aged_weight(levels, 2, -5.0) == 5.0


def test_queues_that_come_and_go_leave_nothing_behind():
    house = House({})
    for _ in range(2_000):
        job = house.add("a")
        house.lines[0].discard(job)
        job.line = None
    assert len(house.lines[0]._lanes[2]._ages) < 100


def test_queues_that_come_and_go_while_their_tenant_may_not_run_leave_nothing_behind():
    house = House({"c": TenantPolicy(max_running=1)})
    house.go(house.add("c"))
    for _ in range(20):
        jobs = [house.add("c"), house.add("a")]
        house.lines[0].head(house.now)
        for job in jobs:
            house.move(job)
        house.check()
    assert not any(house.tenants.account("c").skipped)

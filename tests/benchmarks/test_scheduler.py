"""The benchmark of the scheduling core measures what it says."""

from __future__ import annotations

from benchmarks.scheduler import House, Size, SortingScheduler


def test_the_line_stays_as_long_as_it_was_filled_and_the_core_sound():
    house = House(Size(jobs=300, tenants=7, devices=3, rounds=0, seed=1))
    house.fill()
    waiting = sum(house.core.queue_length(name) for name in house.devices)
    assert waiting == 300 - sum(len(group.members) for groups in house.groups.values() for group in groups)
    for number in range(60):
        house.round(number)
        house.core.check()
    later = sum(house.core.queue_length(name) for name in house.devices)
    assert abs(later - waiting) <= 2 * 8 * len(house.devices)
    kinds = {"submit", "compile lease", "compile report", "lease", "start", "heartbeat", "report", "metadata", "cancel"}
    assert kinds <= house.micros.keys()


def test_two_runs_of_a_size_make_the_same_decisions():
    counts = []
    for _ in range(2):
        house = House(Size(jobs=100, tenants=3, devices=2, rounds=0, seed=5))
        house.fill()
        for number in range(20):
            house.round(number)
        counts.append({kind: len(times) for kind, times in house.micros.items()})
        assert len(house.wall_us) == sum(counts[-1].values()) > 100
    assert counts[0] == counts[1]


def test_the_naive_scheduler_takes_the_most_urgent_jobs_of_those_that_used_least():
    naive = SortingScheduler(50, 3, 1)
    left = sorted(naive.jobs, key=lambda job: (-job[0], naive.used[job[1]], job[2]))[8:]
    naive.decide()
    assert sorted(naive.jobs) == sorted(left)

"""Which jobs go where, and together with whom."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.model import DeviceInfo, JobRecord, PayloadFormat, Program
from qrtx_ray.scheduler import Core, dispatch, events
from qrtx_ray.scheduler.commands import RunGroup
from qrtx_ray.scheduler.dispatch import GroupLimits, choose_group, fair_seconds, fair_share
from qrtx_ray.scheduler.tenants import TenantPolicy
from tests.scheduler.driving import DEVICE, DEVICES, OTHER, Driver, done, profile


def records(*profiles, losses=0) -> list[JobRecord]:
    base = JobRecord("", 0, "t", Program.SAMPLER, "d", PayloadFormat.NATIVE, 0.0, 1, attempt=losses, losses=losses)
    return [replace(base, id=f"{i}", number=i, profile=p) for i, p in enumerate(profiles)]


def ids(members) -> list[str]:
    return [member.id for member in members]


def members(commands) -> list[str]:
    (command,) = [c for c in commands if isinstance(c, RunGroup)]
    return [member.job_id for member in command.group.members]


LIMITS = GroupLimits(jobs=4, seconds=1.0, bytes=1000)


def test_a_group_takes_jobs_in_order_up_to_the_count():
    assert ids(choose_group(records(*[profile(estimated_bytes=1)] * 6), LIMITS)) == list("0123")


def test_the_first_job_goes_however_large_and_then_goes_alone():
    large, small = profile(estimated_s=50.0), profile()
    assert ids(choose_group(records(large, small), LIMITS)) == ["0"]
    assert ids(choose_group(records(profile(estimated_bytes=9999), small), LIMITS)) == ["0"]


def test_a_group_ends_before_the_job_that_would_exceed_a_sum():
    small, large = profile(estimated_s=0.4, estimated_bytes=1), profile(estimated_s=0.7, estimated_bytes=1)
    assert ids(choose_group(records(small, small, large, small), LIMITS)) == ["0", "1"]
    assert ids(choose_group(records(*[profile(estimated_bytes=400)] * 3), LIMITS)) == ["0", "1"]


def test_keys_mix_unless_told_otherwise():
    one, two = profile(group_key="1", estimated_bytes=1), profile(group_key="2", estimated_bytes=1)
    assert ids(choose_group(records(one, two, one), LIMITS)) == ["0", "1", "2"]
    assert ids(choose_group(records(one, two, one), replace(LIMITS, across_keys=False))) == ["0", "2"]


def test_a_job_with_a_lost_attempt_behind_it_goes_alone():
    small = profile(estimated_bytes=1)
    tried, fresh = records(small, losses=1), records(small, small)
    assert ids(choose_group(tried + fresh[1:], LIMITS)) == ["0"]
    assert ids(choose_group([fresh[1], *tried], LIMITS)) == ["1"]


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 2000), st.sampled_from("ab"), st.booleans()), max_size=12),
    st.integers(1, 5),
    st.booleans(),
)
def test_a_group_keeps_every_bound_and_never_starves_the_first(jobs, count, across):
    line = [
        replace(records(profile(estimated_s=s, estimated_bytes=b, group_key=k), losses=int(tried))[0], id=str(i))
        for i, (s, b, k, tried) in enumerate(jobs)
    ]
    limits = GroupLimits(count, 1.0, 1000, across)
    group = choose_group(line, limits)
    assert ids(group[:1]) == ids(line[:1])
    assert ids(group) == [i for i in ids(line) if i in ids(group)]
    assert len(group) <= count
    if len(group) > 1:
        assert sum(r.profile.estimated_s for r in group) <= 1.0
        assert sum(r.profile.estimated_bytes for r in group) <= 1000
        assert not any(r.losses for r in group)
        assert across or len({r.profile.group_key for r in group}) == 1


@pytest.mark.parametrize(("waiting", "workers", "share"), [(100, 4, 25), (3, 4, 1), (5, 2, 3), (0, 2, 1), (7, 0, 7)])
def test_a_fair_share_is_a_part_rounded_up_and_at_least_one(waiting, workers, share):
    assert fair_share(waiting, workers) == share


@pytest.mark.parametrize(
    ("jobs", "workers", "seconds"), [(100, 4, 0.25), (3, 4, 0.02), (4, 2, 0.02), (0, 2, 0.02), (7, 0, 0.07)]
)
def test_a_fair_part_of_the_work_is_its_share_but_not_less_than_is_worth_a_call(jobs, workers, seconds):
    assert fair_seconds(jobs * 0.01, workers, 0.02) == pytest.approx(seconds)


def test_a_handful_of_tiny_jobs_is_not_divided(driver):
    jobs = driver.queued(8, {"estimated_s": 0.0005})
    driver.join("a")
    driver.join("b")
    assert members(driver.ready("a")) == jobs


def test_two_agents_share_the_line_of_one_device(driver):
    jobs = driver.queued(8, {"estimated_s": 0.01})
    driver.join("a")
    driver.join("b")
    assert members(driver.ready("a")) == jobs[:4]
    assert members(driver.ready("b")) == jobs[4:6]


def test_an_agent_gets_the_globally_first_job_of_its_devices(driver):
    driver.queued(device=DEVICE)
    urgent = driver.queued(device=OTHER, priority=95)
    driver.join(devices=(DEVICE, OTHER))
    assert members(driver.ready()) == [urgent]


def test_levels_go_first_and_inside_a_level_the_older_job(driver):
    low, first, second, high = (driver.queued(priority=p) for p in (0, 50, 60, 70))
    driver.join()
    assert members(driver.ready()) == [high, first, second, low]


def test_a_group_is_of_one_device_and_carries_what_the_agent_needs(driver):
    job = driver.queued(execution_timeout_s=12.0)
    driver.queued(device=OTHER)
    driver.join(devices=(DEVICE, OTHER))
    (command,) = driver.ready()
    (member,) = command.group.members
    assert (command.agent, command.incarnation, command.group.device) == ("a", "1", DEVICE)
    assert (member.job_id, member.attempt, member.seed, member.timeout_s, member.executable) == (job, 1, 7, 12.0, b"")
    record = driver.record(job)
    assert (record.state.value, record.attempt, record.agent, record.group) == ("Allocating", 1, "a", command.group.id)


def test_the_capacity_bounds_the_group_and_an_offer_is_used_once(driver):
    jobs = driver.queued(3)
    driver.join()
    assert members(driver.ready(capacity=2)) == jobs[:2]
    assert driver.tick() == []
    assert members(driver.ready(capacity=2)) == jobs[2:]


def test_an_agent_holds_at_most_two_groups(driver):
    jobs = driver.queued(3)
    driver.join()
    driver.ready(capacity=1)
    driver.ready(capacity=1)
    assert driver.ready(capacity=1) == []
    assert driver.state(jobs[2]) == "Queued"
    assert members(driver.reported(done(jobs[0]))) == [jobs[2]]


def test_a_job_that_arrives_finds_the_waiting_agent(driver):
    driver.join()
    driver.ready()
    job = driver.queued()
    assert members(driver.commands) == [job]


def test_a_withdrawn_offer_is_not_used(driver):
    driver.join()
    driver.ready()
    driver.ready(capacity=0)
    assert driver.state(driver.queued()) == "Queued"


def test_an_agent_gets_nothing_of_a_device_it_does_not_serve(driver):
    driver.queued(device=OTHER)
    driver.join(devices=(DEVICE, "unknown@aer"))
    assert driver.ready() == []


def test_a_paused_device_gives_no_work_until_it_is_resumed(driver):
    driver.say(events.DevicePaused(DEVICE))
    job = driver.queued()
    driver.join()
    assert driver.ready() == []
    assert members(driver.say(events.DeviceResumed(DEVICE))) == [job]
    driver.say(events.DevicePaused(DEVICE))
    driver.reported(done(job))
    assert driver.state(job) == "Completed"


def test_a_policy_can_be_put_in(driver):
    last_one = lambda candidates, limits: list(candidates)[-1:]  # noqa: E731
    driver.core = Core(driver.settings, DEVICES, last_one)
    driver.join()
    jobs = driver.queued(3)
    assert members(driver.ready()) == [jobs[-1]]


def test_groups_are_not_made_across_keys_when_the_settings_say_so():
    driver = Driver(group_across_keys=False)
    one = driver.queued(compile_as={"group_key": "1"})
    driver.queued(compile_as={"group_key": "2"})
    three = driver.queued(compile_as={"group_key": "1"})
    driver.join()
    assert members(driver.ready()) == [one, three]


def test_nothing_is_held_ready_behind_a_long_run_and_another_agent_takes_it(driver):
    long = driver.queued(compile_as={"estimated_s": 60.0})
    driver.join("a")
    assert members(driver.ready("a")) == [long]
    driver.ready("a")
    short = driver.queued()
    driver.join("b")
    assert members(driver.ready("b")) == [short]


def test_behind_a_short_run_the_next_group_is_held_ready(driver):
    driver.queued()
    driver.join("a")
    driver.ready("a")
    driver.ready("a")
    second = driver.queued()
    assert driver.state(second) == "Allocating"


FLEET = tuple(DeviceInfo(f"fake_d{i:03}@aer", f"fake_d{i:03}", "aer", 5) for i in range(100))
NAMES = tuple(info.name for info in FLEET)


def test_an_agent_of_many_devices_gets_the_most_urgent_level_of_all():
    driver = Driver(devices=FLEET)
    for name in NAMES:
        driver.queued(device=name, priority=10)
    normal = driver.queued(device=NAMES[97])
    urgent = driver.queued(device=NAMES[98], priority=95)
    driver.join(devices=NAMES)
    assert members(driver.ready(capacity=1)) == [urgent]
    driver.reported(done(urgent))
    assert members(driver.ready(capacity=1)) == [normal]


def test_an_agent_of_many_devices_comes_to_each_of_them():
    driver = Driver(devices=FLEET, check=False)
    for _ in range(2):
        for name in NAMES:
            driver.queued(device=name)
    driver.join(devices=NAMES)
    served = []
    for _ in range(100):
        (command,) = [c for c in driver.ready(capacity=1) if isinstance(c, RunGroup)]
        served.append(command.group.device)
        driver.reported(done(command.group.members[0].job_id))
    driver.core.check()
    assert sorted(served) == sorted(NAMES)


def test_what_changed_nothing_for_an_agent_does_not_look_at_it(monkeypatch):
    driver = Driver(devices=FLEET, check=False)
    for number, name in enumerate(NAMES):
        driver.join(f"a{number}", devices=(name,))
        driver.ready(f"a{number}")
    looked = []
    monkeypatch.setattr(dispatch, "has_room", lambda agent, settings: looked.append(agent.name) or True)
    driver.queued(device=NAMES[7])
    driver.tick()
    assert looked == ["a7"]


def test_the_agent_that_offered_first_is_served_first_whatever_it_is_called(driver):
    for name in ("b", "a"):
        driver.join(name)
        driver.ready(name)
    driver.queued()
    assert driver.record("job000").agent == "b"


def test_the_device_of_a_group_and_its_noise_go_with_it(driver):
    driver.queued()
    driver.join()
    (command,) = driver.ready()
    assert (command.group.device, command.group.noise_id) == (DEVICE, "")


def wide_pool(count=40, **settings):
    names = tuple(f"fake_d{number:02}@aer" for number in range(count))
    driver = Driver(devices=tuple(DeviceInfo(name, name[:-4], "aer", 5) for name in names), **settings)
    return driver, names


def test_an_agent_of_many_devices_finds_the_one_where_somebody_may_go():
    driver, names = wide_pool(tenants={"full": TenantPolicy(max_running=1)})
    for name in names[:39]:
        driver.queued(device=name, tenant="full")
    free = driver.queued(device=names[39], tenant="free")
    driver.join("a", devices=names)
    driver.join("b", devices=names)
    driver.ready("a", capacity=1)
    (run,) = [c for c in driver.ready("b", capacity=1) if isinstance(c, RunGroup)]
    assert run.group.members[0].job_id == free


def test_an_agent_that_waits_beside_many_devices_looks_only_where_something_changed(monkeypatch):
    driver, names = wide_pool(tenants={"full": TenantPolicy(max_running=1)}, check=False)
    for name in names[:39]:
        driver.queued(device=name, tenant="full")
    driver.join("a", devices=names)
    driver.join("b", devices=names)
    driver.ready("a", capacity=1)
    assert driver.ready("b", capacity=1) == []
    looks = []
    lease = dispatch._lease
    monkeypatch.setattr(dispatch, "_lease", lambda *of: looks.append(of[2].info.name) or lease(*of))
    driver.queued(device=names[39], tenant="free")
    assert looks == [names[39]]
    assert driver.core.snapshot()["agents"]["b"]["jobs"] == 1

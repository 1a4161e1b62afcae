"""Who makes way for urgent work: the price as a pure function, and the whole way of it through the core."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrtx_ray.model import Heartbeat, RunReport
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import PreemptAttempt, RunGroup
from qrtx_ray.scheduler.preemption import PreemptionLaw, Victim, cheapest, preemption_cost
from qrtx_ray.scheduler.tenants import TenantPolicy
from tests.scheduler.driving import DEVICE, OTHER, Driver, broken, done, ref

LAW = PreemptionLaw(lost_s=1.0, min_wait_s=2.0)
LONG = {"estimated_s": 100.0}


# -- the law -----------------------------------------------------------------------------------------------------


def test_the_price_is_what_a_stop_costs_over_what_remains():
    law = PreemptionLaw(lost_s=1.0, checkpoint_s=0.5, restart_s=0.5)
    assert preemption_cost(law, 20.0) == pytest.approx(0.1)
    assert preemption_cost(law, 0.0) == math.inf


@pytest.mark.parametrize(
    ("victims", "chosen"),
    [
        ([], None),
        ([Victim("a", 6.0, True)], None),
        ([Victim("a", 6.5, True)], "a"),
        ([Victim("a", 10.0, True), Victim("b", 20.0, True)], "b"),
        ([Victim("b", 20.0, True), Victim("a", 20.0, True)], "a"),
        ([Victim("a", 1e9, True), Victim("b", 3.0, False)], "b"),
        ([Victim("a", 2.0, False)], None),
    ],
)
def test_the_cheapest_is_chosen_if_it_is_worth_it(victims, chosen):
    found = cheapest(LAW, victims)
    assert (found.agent if found else None) == chosen


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.lists(st.tuples(st.floats(0, 1e4), st.booleans()), max_size=8))
def test_no_victim_costs_more_than_the_threshold_or_than_another(cases):
    victims = [Victim(f"{i}", left, begun) for i, (left, begun) in enumerate(cases)]
    found = cheapest(LAW, victims)
    if found is not None:
        assert not found.begun or preemption_cost(LAW, found.remaining_s) <= LAW.cost_threshold
        assert all(v.remaining_s <= found.remaining_s for v in victims if v.begun and found.begun)
        assert cheapest(LAW, victims[::-1]) == found


# -- in the core -------------------------------------------------------------------------------------------------


def preempted(commands) -> list[tuple[str, int]]:
    return [(c.job_id, c.attempt) for c in commands if isinstance(c, PreemptAttempt)]


def urgent(driver, priority=95, **fields) -> tuple[str, list]:
    job = driver.queued(priority=priority, **fields)
    return job, preempted(driver.commands)


def way(job, attempt=1, progress=0.25, *, kept=True):
    checkpoint = ref(job, attempt, attempt, progress) if kept else None
    return RunReport(job, attempt, preempted=True, progress=progress, checkpoint=checkpoint)


def test_long_work_makes_way_for_a_critical_job_and_goes_on_with_its_progress(driver):
    low = driver.executing(compile_as=LONG)
    critical, stopped = urgent(driver)
    assert stopped == [(low, 1)]
    driver.reported(way(low))
    record = driver.record(low)
    assert (record.state.value, record.preemptions, record.checkpoints) == ("Queued", 1, (ref(low, progress=0.25),))
    assert (record.progress, record.agent, record.retries) == (0.25, None, 0)
    (command,) = [c for c in driver.ready() if isinstance(c, RunGroup)]
    assert [m.job_id for m in command.group.members] == [critical]
    driver.reported(done(critical))
    (command,) = [c for c in driver.ready() if isinstance(c, RunGroup)]
    (member,) = command.group.members
    assert (member.job_id, member.attempt, member.checkpoints) == (low, 2, record.checkpoints)
    driver.reported(done(low, 2))
    assert driver.state(low) == "Completed"


def test_making_way_is_no_loss_and_no_retry():
    driver = Driver(max_losses=0, preemption=PreemptionLaw(max_per_job=5))
    low = driver.executing(compile_as=LONG)
    for attempt in (1, 2, 3):
        driver.now += 1
        urgent_job, stopped = urgent(driver)
        assert stopped == [(low, attempt)]
        driver.reported(way(low, attempt))
        driver.ready()
        driver.reported(done(urgent_job))
        driver.ready()
        driver.started((low, attempt + 1))
    assert (driver.record(low).preemptions, driver.record(low).retries) == (3, 0)
    driver.say(events.AgentLost("a"))
    assert driver.record(low).error.code == "attempt_lost", "a loss is still a loss"


def test_nobody_makes_way_more_often_than_allowed():
    driver = Driver(preemption=PreemptionLaw(max_per_job=1))
    low = driver.executing(compile_as=LONG)
    critical, _ = urgent(driver)
    driver.reported(way(low))
    driver.ready()
    driver.reported(done(critical))
    driver.ready()
    driver.started((low, 2))
    assert urgent(driver)[1] == []


@pytest.mark.parametrize(("mine", "theirs", "stops"), [(95, 95, False), (95, 70, True), (70, 70, False), (70, 50, True),
                                                       (70, 95, False), (50, 10, False), (95, 10, True)])  # fmt: skip
def test_only_lower_levels_make_way_and_only_for_levels_that_may_preempt(driver, mine, theirs, stops):
    running = driver.executing(compile_as=LONG, priority=theirs)
    assert urgent(driver, mine)[1] == ([(running, 1)] if stops else [])


def test_promoted_work_does_not_make_way(driver):
    low = driver.queued(compile_as=LONG, priority=10, queue_timeout_s=1e9)
    driver.tick(90_000)
    assert driver.record(low).promoted_at is not None
    driver.join()
    driver.ready()
    driver.started((low, 1))
    assert urgent(driver)[1] == []


def test_work_that_ends_soon_is_waited_for(driver):
    driver.executing(compile_as={"estimated_s": 0.7})
    assert urgent(driver)[1] == []


def test_work_that_should_have_ended_long_ago_is_not_waited_for_for_ever(driver):
    """An estimate that is wrong must not make urgent work wait, even where no heartbeat tells of it."""
    low = driver.executing(compile_as={"estimated_s": 0.7})
    assert urgent(driver)[1] == []
    stopped: list[tuple[str, int]] = []
    began = driver.now
    while not stopped and driver.now < began + 2.0:
        stopped = preempted(driver.tick(driver.core.next_wakeup(driver.now)))
    assert stopped == [(low, 1)]
    assert driver.now - began <= 1.5


def test_the_price_keeps_work_that_is_not_long_enough():
    driver = Driver(preemption=PreemptionLaw(restart_s=2.0))
    driver.executing(compile_as={"estimated_s": 10.0})
    assert urgent(driver)[1] == []


def test_work_that_keeps_nothing_is_not_stopped_twice(driver):
    low = driver.executing(compile_as=LONG)
    critical, _ = urgent(driver)
    driver.reported(way(low, kept=False))
    driver.ready()
    driver.reported(done(critical))
    driver.ready()
    driver.started((low, 2))
    driver.now += 1
    assert urgent(driver)[1] == []


def test_a_run_far_on_by_its_own_pace_is_left_alone(driver):
    low = driver.executing(compile_as=LONG)
    driver.now += 10
    driver.say(events.AgentHeard(Heartbeat("a", "1", ((low, 1),), ((low, 1, 0.9, 1),))))
    assert urgent(driver)[1] == []


def test_a_heartbeat_that_tells_of_a_long_way_yet_stops_what_was_thought_short(driver):
    low = driver.executing(compile_as={"estimated_s": 0.7})
    assert urgent(driver)[1] == []
    driver.now += 20
    commands = driver.say(events.AgentHeard(Heartbeat("a", "1", ((low, 1),), ((low, 1, 0.1, 1),))))
    assert preempted(commands) == [(low, 1)]
    again = driver.say(events.AgentHeard(Heartbeat("a", "1", ((low, 1),), ((low, 1, 0.2, 1),))))
    assert preempted(again) == [(low, 1)], "it still holds it: the first call may have been lost"
    driver.reported(way(low))
    assert preempted(driver.say(events.AgentHeard(Heartbeat("a", "1")))) == []


def test_a_device_is_not_looked_at_for_every_event_but_soon_again(driver):
    low = driver.executing(compile_as={"estimated_s": 0.7})
    assert urgent(driver)[1] == [], "it is expected to end soon"
    driver.now += 0.1
    running, progress = ((low, 1),), ((low, 1, 0.021, 1),)
    assert preempted(driver.say(events.AgentHeard(Heartbeat("a", "1", running, progress)))) == []
    assert driver.core.next_wakeup(driver.now) == pytest.approx(0.15)
    driver.now += 10.0
    assert preempted(driver.tick()) == [(low, 1)]


def test_urgent_work_that_may_not_run_itself_stops_nobody():
    driver = Driver(tenants={"bob": TenantPolicy(max_running=0)})
    driver.executing(compile_as=LONG)
    assert urgent(driver, tenant="bob")[1] == []


def test_an_idle_agent_makes_stopping_needless(driver):
    driver.executing(compile_as=LONG)
    driver.join("b")
    assert urgent(driver)[1] == []


def test_the_agent_with_the_most_work_left_makes_way_and_only_as_many_as_needed(driver):
    short, long = driver.queued(compile_as={"estimated_s": 20.0}), driver.queued(compile_as={"estimated_s": 50.0})
    for name, job in (("a", short), ("b", long)):
        driver.join(name)
        driver.ready(name)
        driver.started((job, 1), name=name)
    assert urgent(driver)[1] == [(long, 1)]
    assert urgent(driver)[1] == [], "one agent runs both of them"


def test_what_is_held_ready_behind_the_running_work_goes_back_too():
    driver = Driver(prefetch_behind_s=1e9)
    running, ready = driver.queued(compile_as=LONG), driver.queued(compile_as=LONG)
    driver.join()
    driver.ready()
    driver.ready()
    driver.started((running, 1))
    assert driver.state(ready) == "Allocating"
    assert urgent(driver)[1] == [(running, 1), (ready, 1)]
    driver.reported(way(running), way(ready, progress=0.0, kept=False))
    assert (driver.record(ready).preemptions, driver.record(ready).checkpoints) == (1, ())


def test_work_held_ready_goes_back_even_where_the_running_work_stays():
    driver = Driver(prefetch_behind_s=1e9)
    running, ready = driver.queued(priority=95, compile_as=LONG), driver.queued(compile_as=LONG)
    driver.join()
    driver.ready()
    driver.ready()
    driver.started((running, 1))
    assert urgent(driver)[1] == [(ready, 1)]


def test_it_goes_for_any_device_of_the_agent(driver):
    low = driver.queued(compile_as=LONG)
    driver.join(devices=(DEVICE, OTHER))
    driver.ready()
    driver.started((low, 1))
    assert urgent(driver, device=OTHER)[1] == [(low, 1)]


def test_a_cancelled_victim_is_cancelled(driver):
    low = driver.executing(compile_as=LONG)
    urgent(driver)
    driver.cancel(low)
    driver.reported(way(low))
    assert driver.state(low) == "Cancelled"


def test_a_victim_that_was_nearly_done_may_finish_instead(driver):
    low = driver.executing(compile_as=LONG)
    urgent(driver)
    driver.reported(done(low))
    assert driver.state(low) == "Completed"


def test_kept_progress_survives_a_restart_and_a_loss_but_not_a_retry(driver):
    low = driver.executing(compile_as=LONG)
    critical, _ = urgent(driver)
    driver.reported(way(low))
    driver.ready()
    driver.reported(done(critical))
    driver.crash()
    assert driver.record(low).checkpoints == (ref(low, progress=0.25),)
    driver.join()
    driver.ready()
    driver.say(events.AgentLost("a"))
    assert driver.record(low).checkpoints == (ref(low, progress=0.25),)
    driver.join()
    (command,) = [c for c in driver.ready() if isinstance(c, RunGroup)]
    assert command.group.members[0].checkpoints == (ref(low, progress=0.25),)
    driver.reported(broken(low, 3, retryable=True))
    assert (driver.state(low), driver.record(low).checkpoints) == ("Queued", ())


def test_an_attempt_that_goes_back_untouched_keeps_the_progress_it_was_given(driver):
    low = driver.executing(compile_as=LONG)
    critical, _ = urgent(driver)
    driver.reported(way(low, progress=0.25))
    driver.ready()
    driver.reported(done(critical))
    driver.ready()
    driver.reported(way(low, 2, progress=0.0, kept=False))
    record = driver.record(low)
    assert (record.progress, record.checkpoints) == (0.25, (ref(low, progress=0.25),))
    assert record.preemptions == 1, "nobody had asked for it the second time"


def test_preemption_can_be_switched_off():
    driver = Driver(preemption=PreemptionLaw(enabled=False))
    driver.executing(compile_as=LONG)
    assert urgent(driver)[1] == []


def test_a_preempted_job_shares_a_run_again(driver):
    low = driver.executing(compile_as=LONG)
    critical, _ = urgent(driver)
    driver.reported(way(low, kept=False))
    driver.ready()
    driver.reported(done(critical))
    assert driver.record(low).progress == 0.0, "nothing was kept"


def beat(driver, job) -> list:
    return driver.say(events.AgentHeard(Heartbeat("a", "1", ((job, driver.record(job).attempt),))))


@pytest.mark.parametrize(("priority", "yields"), [(75, False), (95, True)])
def test_work_that_aged_past_a_level_does_not_make_way_for_it(priority, yields):
    driver = Driver()
    driver.join()
    patient = driver.queued(priority=10, compile_as=LONG)
    driver.tick(23 * 3600.0)  # weighs 9.6 by now: more than high, less than critical
    if priority == 75:
        driver.queued(priority=priority, compile_as=LONG)
    driver.ready(capacity=1)
    assert driver.state(patient) == "Allocating"
    driver.started((patient, 1))
    driver.queued(priority=priority, compile_as=LONG)
    said = driver.commands
    driver.now += 1.0
    said += beat(driver, patient)
    assert bool(preempted(said)) is yields


def test_what_had_aged_is_known_after_a_restart():
    driver = Driver()
    driver.join()
    fresh = driver.queued(priority=10, compile_as=LONG)
    driver.ready(capacity=1)
    driver.started((fresh, 1))
    driver.crash()
    driver.join(running=((fresh, 1),))
    driver.queued(priority=75, compile_as=LONG)
    driver.now += 1.0
    assert preempted(beat(driver, fresh))


def test_kept_progress_counts_after_an_agent_was_lost():
    driver = Driver()
    job = driver.executing(compile_as=LONG)
    driver.reported(way(job, progress=0.5))
    driver.ready()
    driver.started((job, 2))
    driver.say(events.AgentLost("a"))
    record = driver.record(job)
    assert (record.checkpoints, record.progress, record.state.value) == ((ref(job),), 0.5, "Queued")


def test_when_one_does_not_stop_another_is_asked():
    driver = Driver()
    driver.join("a")
    driver.join("b")
    running = {}
    for name in ("a", "b"):
        job = driver.queued(priority=10, compile_as=LONG)
        driver.ready(name, capacity=1)
        driver.started((job, 1), name=name)
        running[job] = name
    driver.now += 1.0
    driver.queued(priority=95)
    ((first, _),) = preempted(driver.commands)
    said = driver.tick(1.9)
    assert preempted(said) == []
    ((second, _),) = preempted(driver.tick(0.1))
    assert {first, second} == set(running)
    assert preempted(driver.tick(10.0)) == []

"""Devices held for somebody for a while."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qrtx_ray.errors import InvalidState, NotFound, ValidationError
from qrtx_ray.model import AUTO_DEVICE, Reservation
from qrtx_ray.scheduler import events
from qrtx_ray.scheduler.commands import RunGroup
from tests.scheduler.driving import DEVICE, OTHER, Driver, done


def held(driver, name="r", begins=100.0, lasts=50.0, tenant="alice", device=DEVICE, session=None) -> Reservation:
    return Reservation(name, device, tenant, driver.now + begins, driver.now + begins + lasts, session)


def reserve(driver, **fields) -> Reservation:
    reservation = held(driver, **fields)
    driver.say(events.ReservationMade(reservation))
    return reservation


def run(commands) -> list[str]:
    return [m.job_id for c in commands if isinstance(c, RunGroup) for m in c.group.members]


def test_while_it_lasts_only_its_jobs_are_given_to_the_device(driver):
    driver.join()
    reserve(driver, begins=100.0)
    mine, others = driver.queued(reservation="r"), driver.queued(tenant="bob", priority=95)
    driver.tick(100.0)
    assert run(driver.ready()) == [mine]
    driver.reported(done(mine))
    assert run(driver.ready()) == []
    assert driver.core.device_readings()[0].reserved_until == driver.now + 50
    reason = driver.core.explain(others)["reason"]
    assert reason == f"the device is reserved until {driver.now + 50:.3f} s since the epoch"
    assert run(driver.tick(50.0)) == [others]


def test_it_begins_and_ends_by_itself(driver):
    driver.join()
    reserve(driver, begins=100.0, lasts=50.0)
    assert driver.core.next_wakeup(driver.now) == 100.0
    driver.tick(100.0)
    waiting = driver.queued(tenant="bob")
    assert run(driver.ready()) == []
    assert driver.core.next_wakeup(driver.now) == 50.0
    assert run(driver.tick(50.0)) == [waiting]
    assert (driver.core.reservations(), driver.store.facts) == ((), {})


def test_before_it_begins_its_jobs_may_run_as_all_others(driver):
    driver.join()
    reserve(driver)
    early = driver.queued(reservation="r")
    assert run(driver.ready()) == [early]


def test_nothing_is_started_that_would_run_into_it(driver):
    driver.join()
    reserve(driver, begins=100.0)
    long = driver.queued(compile_as={"estimated_s": 150.0})
    short = driver.queued(compile_as={"estimated_s": 50.0})
    own = driver.queued(reservation="r", compile_as={"estimated_s": 150.0})
    assert run(driver.ready()) == [short]
    driver.reported(replace(done(short), wall_s=50.0))
    assert run(driver.ready()) == [own]
    driver.reported(replace(done(own), wall_s=150.0))
    driver.ready()
    assert driver.state(long) == "Queued"
    driver.tick(100.0)
    assert run(driver.tick(50.0)) == [long]


def test_a_session_can_hold_a_device(driver):
    driver.join()
    reserve(driver, begins=0.0, session="s")
    stranger = driver.queued(tenant="bob", session_id="s")
    other = driver.queued(session_id="t")
    mine = driver.queued(session_id="s")
    assert run(driver.ready()) == [mine]
    assert {driver.state(job) for job in (stranger, other)} == {"Queued"}


def test_other_devices_are_not_touched(driver):
    driver.join(devices=(OTHER,))
    reserve(driver, begins=0.0)
    job = driver.queued(tenant="bob", device=OTHER)
    assert run(driver.ready()) == [job]


def test_it_can_be_given_back_before_its_end(driver):
    driver.join()
    reserve(driver, begins=0.0)
    job = driver.queued(tenant="bob")
    assert run(driver.ready()) == []
    assert run(driver.say(events.ReservationReleased("r", "alice"))) == [job]
    assert driver.core.next_wakeup(driver.now) is None
    assert driver.store.facts == {}


def test_a_job_of_it_that_is_left_when_it_ends_waits_on_with_all_others(driver):
    reserve(driver, begins=0.0)
    job = driver.queued(reservation="r")
    driver.tick(50.0)
    driver.join()
    assert run(driver.ready()) == [job]


@pytest.mark.parametrize("begins", [0.0, 100.0])
def test_it_survives_a_restart(driver, begins):
    made = reserve(driver, begins=begins)
    job = driver.queued(tenant="bob")
    driver.crash()
    assert driver.core.reservations() == (made,)
    driver.tick(begins)
    driver.join()
    assert run(driver.ready()) == []
    assert run(driver.tick(50.0)) == [job]


def test_one_that_ended_while_nobody_looked_is_forgotten(driver):
    reserve(driver)
    driver.now += 1e6
    driver.crash()
    assert (driver.core.reservations(), driver.store.facts) == ((), {})


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"reservation": "nothing"}, "not_found"),
        ({"reservation": "r", "tenant": "bob"}, "not_found"),
        ({"reservation": "r", "device": OTHER}, "validation_failed"),
        ({"reservation": "r", "device": AUTO_DEVICE, "choices": (OTHER,)}, "validation_failed"),
    ],
)
def test_a_job_must_name_a_reservation_of_its_tenant_and_device(driver, fields, code):
    reserve(driver)
    driver.submit(**fields)
    (answer,) = driver.answers
    assert (answer.error.code, answer.error.field) == (code, "reservation")


def test_one_may_follow_the_other_at_once(driver):
    reserve(driver, begins=0.0, lasts=50.0)
    driver.say(events.ReservationMade(held(driver, name="next", begins=50.0, lasts=50.0, tenant="bob")))
    driver.join()
    mine = driver.queued(reservation="r", queue_timeout_s=1e6)
    theirs = driver.queued(tenant="bob", reservation="next")
    driver.tick(50.0)
    assert run(driver.ready()) == [theirs]
    assert driver.state(mine) == "Queued"


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"device": "nowhere@aer"}, NotFound, "no device"),
        ({"lasts": 0.0}, ValidationError, "after begins_at"),
        ({"begins": -100.0, "lasts": 50.0}, ValidationError, "in the past"),
        ({"lasts": 2_500_000.0}, ValidationError, "max_reservation_s = 2419200 s"),
        ({"begins": 149.0}, InvalidState, "is reserved from 1100.000 to 1150.000 s"),
        ({"begins": 1000.0, "name": "r"}, InvalidState, "in use"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(driver, fields, kind, words):
    reserve(driver)
    assert words in driver.refused(events.ReservationMade(held(driver, **({"name": "new"} | fields))), kind)


def test_a_tenant_holds_so_many_at_most():
    driver = Driver(max_reservations=1)
    reserve(driver)
    driver.refused(events.ReservationMade(held(driver, name="new", begins=1000.0)), InvalidState)
    reserve(driver, name="new", begins=1000.0, tenant="bob")


def test_only_its_tenant_or_the_operator_gives_it_back(driver):
    reserve(driver)
    driver.refused(events.ReservationReleased("r", "bob"), NotFound)
    driver.refused(events.ReservationReleased("nothing", None), NotFound)
    driver.say(events.ReservationReleased("r", None))
    assert driver.core.reservations() == ()


def test_a_job_of_a_later_reservation_does_not_run_into_the_next_one_of_another(driver):
    driver.join()
    driver.say(events.ReservationMade(Reservation("next", DEVICE, "bob", driver.now + 10, driver.now + 20)))
    driver.say(events.ReservationMade(Reservation("own", DEVICE, "alice", driver.now + 100, driver.now + 200)))
    job = driver.queued(reservation="own", compile_as={"estimated_s": 60.0})
    driver.ready()
    assert driver.state(job) == "Queued"
    driver.tick(100.0)
    assert driver.state(job) == "Allocating"


def test_a_job_in_its_window_does_not_run_into_the_one_that_follows(driver):
    driver.join()
    driver.say(events.ReservationMade(Reservation("own", DEVICE, "alice", driver.now, driver.now + 30)))
    driver.say(events.ReservationMade(Reservation("next", DEVICE, "bob", driver.now + 30, driver.now + 60)))
    job = driver.queued(reservation="own", compile_as={"estimated_s": 60.0})
    driver.ready()
    assert driver.state(job) == "Queued"


def test_nobody_slips_in_between_the_beginning_of_a_window_and_the_tick_that_opens_it(driver):
    driver.join()
    driver.say(events.ReservationMade(Reservation("r", DEVICE, "bob", driver.now + 10, driver.now + 60)))
    job = driver.queued(compile_as={"estimated_s": 0.001})
    driver.now += 10.1
    driver.ready()
    assert driver.state(job) == "Queued"
    driver.tick(50.0)
    assert driver.state(job) == "Allocating"

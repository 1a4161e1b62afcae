"""Devices held for somebody for a while.

While a reservation is in force its device runs only the jobs it is for: they stand in a line of their own, and the
others wait. Before it begins, nothing is started that is expected to run into it; what runs at its beginning runs out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from qrtx_ray.errors import InvalidState, NotFound, ValidationError
from qrtx_ray.model import Reservation
from qrtx_ray.scheduler.events import ReservationMade, ReservationReleased
from qrtx_ray.scheduler.job import Job
from qrtx_ray.scheduler.workers import Device, Window, belongs
from qrtx_ray.scheduler.world import World

__all__ = ["ALARM", "FACT", "begin", "on_reservation_due", "on_reservation_made", "on_reservation_released"]

ALARM = "reservation"
FACT = "reservation/"  #: what the keys of the facts begin with


def begin(world: World, facts: Mapping[str, str]) -> None:
    """Take up the reservations of before; what has ended meanwhile is forgotten."""
    for key in sorted(facts):
        if not key.startswith(FACT):
            continue
        reservation = Reservation(**json.loads(facts[key]))
        if reservation.ends_at <= world.now:
            world.keep(key, None)
        else:
            _enter(world, world.device(reservation.device), reservation)


def on_reservation_made(world: World, event: ReservationMade) -> None:
    """Hold the device.

    Raises:
        NotFound: No such device.
        ValidationError: The window ends before it begins, lies in the past, or is too long.
        InvalidState: The name is in use, the window overlaps another one, or the tenant holds too many.
    """
    wanted = event.reservation
    device = world.devices.get(wanted.device)
    if device is None or not device.configured:
        raise NotFound(f"there is no device {wanted.device}", field="device")
    _check_window(world, wanted)
    if wanted.name in world.reservations:
        raise InvalidState(f"the name {wanted.name} is in use by another reservation", field="name")
    most = world.settings.max_reservations
    if sum(one.tenant == wanted.tenant for one in world.reservations.values()) >= most:
        raise InvalidState(f"the tenant holds {most} reservations; max_reservations is {most}", limit=f"{most}")
    for other in device.reservations.values():
        if wanted.begins_at < other.ends_at and other.begins_at < wanted.ends_at:
            text = f"the device is reserved from {other.begins_at:.3f} to {other.ends_at:.3f} s since the epoch"
            raise InvalidState(text, field="begins_at", limit=f"{other.ends_at:.3f} s since the epoch")
    world.keep(FACT + wanted.name, json.dumps(asdict(wanted)))
    _enter(world, device, wanted)


def on_reservation_released(world: World, event: ReservationReleased) -> None:
    """Give the device back before the time.

    Raises:
        NotFound: No such reservation, or another tenant's.
    """
    reservation = world.reservations.get(event.name)
    if reservation is None or event.tenant not in {None, reservation.tenant}:
        raise NotFound(f"there is no reservation {event.name}", field="name")
    _forget(world, reservation)


def on_reservation_due(world: World, name: str) -> None:
    """A reservation begins, or ends."""
    reservation = world.reservations[name]
    if reservation.ends_at <= world.now:
        _forget(world, reservation)
    else:
        _open(world, world.devices[reservation.device], reservation)


def _check_window(world: World, wanted: Reservation) -> None:
    if not wanted.begins_at < wanted.ends_at:
        raise ValidationError("ends_at must be after begins_at", field="ends_at")
    if not wanted.ends_at > world.now:
        raise ValidationError("ends_at is in the past", field="ends_at", limit=f"{world.now:.3f} s since the epoch")
    longest = world.settings.max_reservation_s
    if not wanted.ends_at - wanted.begins_at <= longest:
        text = f"the window is longer than max_reservation_s = {longest:.0f} s"
        raise ValidationError(text, field="ends_at", limit=f"{longest:g} s")


def _enter(world: World, device: Device, reservation: Reservation) -> None:
    world.reservations[reservation.name] = reservation
    device.reservations[reservation.name] = reservation
    if reservation.begins_at <= world.now:
        _open(world, device, reservation)
    else:
        world.alarms.arm(f"{ALARM}/{reservation.name}", reservation.begins_at)


def _open(world: World, device: Device, reservation: Reservation) -> None:
    if device.window is not None:
        _close(world, device)  # the one before ends in this very moment
    jobs = [job for job in _claimants(device, reservation) if belongs(job.record, reservation)]
    for job in jobs:
        world.leave_line(job)
    device.window = Window(reservation, world.new_line(reservation.device))
    for job in jobs:
        world.enqueue(job)
    world.settle_line(device)
    world.alarms.arm(f"{ALARM}/{reservation.name}", reservation.ends_at)


def _close(world: World, device: Device) -> None:
    window = device.window
    assert window is not None
    jobs = [job for job in _claimants(device, window.reservation) if job.line is window.line]
    for job in jobs:
        world.leave_line(job)
    device.window = None
    for job in jobs:
        world.enqueue(job)
    world.settle_line(device)


def _claimants(device: Device, reservation: Reservation) -> list[Job]:
    """The waiting jobs that name the reservation or its session, in the order of their numbers."""
    claims = [f"reservation/{reservation.name}"]
    if reservation.session_id is not None:
        claims.append(f"session/{reservation.session_id}")
    jobs = {job_id: job for claim in claims for job_id, job in device.claims.get(claim, {}).items()}
    return sorted(jobs.values(), key=lambda job: job.record.number)


def _forget(world: World, reservation: Reservation) -> None:
    device = world.devices[reservation.device]
    if device.window is not None and device.window.reservation is reservation:
        _close(world, device)
    del world.reservations[reservation.name]
    del device.reservations[reservation.name]
    world.alarms.arm(f"{ALARM}/{reservation.name}", None)
    world.keep(FACT + reservation.name, None)
    world.settle_line(device)

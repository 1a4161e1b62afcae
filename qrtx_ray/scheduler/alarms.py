"""What is due at a time and is no job's: probes, the ends of calibrations, reservations, jobs still to be placed anew.

The keys of `World.alarms` say what it is and whose: ``<kind>/<name>``.
"""

from __future__ import annotations

from collections.abc import Callable

from qrtx_ray.scheduler import calibrating, placing, preempting, reservations
from qrtx_ray.scheduler.world import World

__all__ = ["on_alarms"]

_KINDS: dict[str, Callable[[World, str], None]] = {
    calibrating.PROBE: calibrating.on_probe_due,
    calibrating.CALIBRATION: calibrating.on_calibration_done,
    reservations.ALARM: reservations.on_reservation_due,
    preempting.ALARM: preempting.on_look_due,
    placing.ALARM: placing.on_placement_due,
}
_BATCH = 32


def on_alarms(world: World) -> None:
    """Handle what is due, earliest first; a long list is spread over several ticks."""
    for _ in range(_BATCH):
        key = world.alarms.pop_due(world.now)
        if key is None:
            return
        kind, _, name = key.partition("/")
        _KINDS[kind](world, name)
        if kind == placing.ALARM:
            return  # one step of that is enough for one tick; what is left of it is due again at once

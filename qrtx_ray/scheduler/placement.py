"""Which device a job should go to that leaves the choice open: the candidates of its survey, seen in the present."""

from __future__ import annotations

from collections.abc import Sequence

from qrtx_ray.errors import ErrorInfo, NoSuitableDevice
from qrtx_ray.model import Candidate, JobRecord
from qrtx_ray.scheduler.admission import deadline_refusal
from qrtx_ray.scheduler.budgets import fidelity_refusal, qpu_refusal
from qrtx_ray.scheduler.policies.protocol import Fleet, Option, Scored
from qrtx_ray.scheduler.waiting import Glances, expected_wait, line_s, utilisation, work_ahead
from qrtx_ray.scheduler.workers import belongs
from qrtx_ray.scheduler.world import World

__all__ = ["options_of", "place", "refusal_of_all"]

_NAMED = 8  # devices named in a refusal


def options_of(world: World, record: JobRecord, candidates: Sequence[Candidate]) -> list[Option]:
    """The candidates as a policy sees them: with what each device is doing now."""
    glances: Glances = {}
    return [_option(world, record, candidate, glances) for candidate in candidates]


def place(world: World, record: JobRecord, candidates: Sequence[Candidate]) -> list[Scored]:
    """What the policy makes of them, best first, the refused ones last."""
    options = options_of(world, record, candidates)
    load = sum(option.utilisation for option in options) / len(options) if options else 0.0
    return world.policy.place(record, options, Fleet(world.now, load))


def refusal_of_all(world: World, record: JobRecord, candidates: Sequence[Candidate]) -> ErrorInfo:
    """Why none will do: the common reason where there is one, else each device with its own."""
    reasons = [_refusal(world, record, candidate) for candidate in candidates]
    codes = {reason.code for reason in reasons if reason is not None}
    if len(codes) == 1 and None not in reasons and codes != {NoSuitableDevice.code}:
        # The best that any of them offers tells most.
        best = max(candidates, key=lambda candidate: (candidate.fidelity or 0.0, -candidate.qpu_s, candidate.device))
        found = _refusal(world, record, best)
        assert found is not None
        return found
    texts = [f"{c.device}: {reason.message}" for c, reason in zip(candidates, reasons, strict=True) if reason]
    more = f"; and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    text = (
        f"no device can run the job ({'; '.join(texts[:_NAMED])}{more})" if texts else "the job has no device to go to"
    )
    return NoSuitableDevice(text, field="device").info()


def _refusal(world: World, record: JobRecord, candidate: Candidate) -> ErrorInfo | None:
    device = world.devices.get(candidate.device)
    if candidate.refusal:
        return NoSuitableDevice(candidate.refusal).info()
    if device is None or not device.configured:
        return NoSuitableDevice("it is not there").info()
    return (
        fidelity_refusal(record, candidate.fidelity)
        or qpu_refusal(record, candidate.qpu_s)
        or deadline_refusal(world, record.deadline_at, candidate.estimated_s)
    )


def _option(world: World, record: JobRecord, candidate: Candidate, glances: Glances) -> Option:
    device = world.devices.get(candidate.device)
    refusal = _refusal(world, record, candidate)
    if device is None:
        text = "" if refusal is None else refusal.message
        return Option(candidate.device, refusal=text, online=False)
    own = next((one for one in device.reservations.values() if belongs(record, one)), None)
    job = world.jobs.get(record.id)
    stands_here = job is not None and job.line is device.line_for(job.record)
    ahead = work_ahead(device, job) if job is not None and stands_here else None
    wait = expected_wait(world, device, record.level, ahead=ahead, own=own, glances=glances)
    state = device.calibration
    return Option(
        device=candidate.device,
        num_qubits=device.info.num_qubits,
        fidelity=candidate.fidelity,
        qpu_s=candidate.qpu_s,
        estimated_s=candidate.estimated_s,
        refusal="" if refusal is None else refusal.message,
        online=wait is not None,
        utilisation=utilisation(world, device, glances),
        wait_s=line_s(device, record.level) if wait is None else wait.expected_s,
        calibrating=device.calibrating,
        stale=state is not None and state.wanted(world.now),
    )

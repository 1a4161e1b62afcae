"""From the body of ``POST /jobs`` to a `JobRequest`: the envelope is checked, the circuits stay untouched bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qrtx_ray.api.directory import DeviceDirectory
from qrtx_ray.api.envelope import tags_of
from qrtx_ray.api.placement import deadline_of
from qrtx_ray.api.requests import integer, json_text, number, text
from qrtx_ray.api.settings import ApiSettings
from qrtx_ray.codec.amounts import check_interval, check_priority
from qrtx_ray.errors import NotFound, ValidationError
from qrtx_ray.model import JobRequest, PayloadFormat, Program

__all__ = ["Sender", "build_request"]

_PROGRAMS = {str(program): program for program in Program}
_MAX_COST_S = 10_800
_MAX_TIMEOUT_S = 30 * 86_400.0
_HINTS = frozenset({
    "priority", "seed", "queue_timeout_s", "execution_timeout_s", "name", "optimization_level", "deadline",
    "fidelity_floor", "reservation", "dry_run", "checkpoint_interval_s",
})  # fmt: skip
_SESSIONS = "sessions are not offered by this server yet; use job mode (mode=backend)"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a request, and with what: everything that comes from headers and the token."""

    tenant: str
    instance: str
    client: str
    idempotency_key: str | None
    digest: str


def build_request(
    document: dict[str, Any], sender: Sender, directory: DeviceDirectory, settings: ApiSettings
) -> JobRequest:
    """The job that `document` asks for.

    Raises:
        NotFound: Unknown program (the client turns a 404 into `RuntimeProgramNotFound`).
        ValidationError: Anything else in the envelope; the field is named.
    """
    program = _program(document.get("program_id"))
    if document.get("session_id") or document.get("start_session"):
        raise ValidationError(_SESSIONS, field="session_id")
    device = directory.find(text(document.get("backend"), "backend"))
    if device is None:
        raise ValidationError("there is no such backend", field="backend")
    params = document.get("params")
    if not isinstance(params, dict):
        raise ValidationError("params must be an object", field="params")
    _check_params(params, program, settings)
    hints = _hints(params)
    cost = document.get("cost")
    private = document.get("private", False)
    if not isinstance(private, bool):
        raise ValidationError("private must be true or false", field="private")
    calibration_id = document.get("calibration_id")
    return JobRequest(
        program=program,
        device=device.name,
        payload=json_text(params, "params", settings.json_depth),
        payload_format=PayloadFormat.RUNTIME,
        tenant=sender.tenant,
        instance=sender.instance,
        priority=hints.get("priority", 50),
        name=hints.get("name", ""),
        tags=tags_of(document.get("tags")),
        seed=hints.get("seed"),
        private=private,
        queue_timeout_s=hints.get("queue_timeout_s"),
        execution_timeout_s=hints.get("execution_timeout_s"),
        max_qpu_s=None if cost is None else number(cost, "cost", 1, _MAX_COST_S),
        calibration_id=None if calibration_id is None else text(calibration_id, "calibration_id", 64),
        idempotency_key=sender.idempotency_key,
        digest=sender.digest,
        client=sender.client,
        source="runtime",
        deadline_at=hints.get("deadline_at"),
        fidelity_floor=hints.get("fidelity_floor"),
        reservation=hints.get("reservation"),
        dry_run=hints.get("dry_run", False),
        checkpoint_interval_s=hints.get("checkpoint_interval_s"),
    )


def _program(name: Any) -> Program:
    program = _PROGRAMS.get(name) if isinstance(name, str) else None
    if program is None:
        known = ", ".join(_PROGRAMS)
        raise NotFound(f"there is no such program; this server has: {known}", field="program_id")
    return program


def _check_params(params: dict[str, Any], program: Program, settings: ApiSettings) -> None:
    version = params.get("version", 2)
    if isinstance(version, bool) or version != 2:
        raise ValidationError("params.version must be 2", field="params.version")
    pubs = params.get("pubs")
    if not isinstance(pubs, list) or not 0 < len(pubs) <= settings.max_pubs:
        limit = f"1..{settings.max_pubs}"
        raise ValidationError(f"params.pubs must be a list of {limit} PUBs", field="params.pubs", limit=limit)
    options = params.get("options")
    if options is not None and not isinstance(options, dict):
        raise ValidationError("params.options must be an object", field="params.options")
    _check_shots(params.get("shots"), "params.shots", settings)
    _check_shots((options or {}).get("default_shots"), "params.options.default_shots", settings)
    if program is Program.SAMPLER:
        for index, pub in enumerate(pubs):
            if isinstance(pub, list) and len(pub) > 2:
                _check_shots(pub[2], f"params.pubs[{index}].shots", settings)


def _check_shots(value: Any, field: str, settings: ApiSettings) -> None:
    # anything but a plain number (an encoded object, say) is left to the decoder
    if isinstance(value, int | float):
        integer(value, field, 1, settings.max_shots)


def _hints(params: dict[str, Any]) -> dict[str, Any]:
    """What the user told this server through ``options.experimental.qrtx``; a seed may also stand in
    ``options.seed_estimator`` or ``options.simulator.seed_simulator``. The first of the three that is there counts.
    """
    options = params.get("options") or {}
    found: dict[str, Any] = {}
    simulator = options.get("simulator")
    if isinstance(simulator, dict) and isinstance(simulator.get("seed_simulator"), int):
        found["seed"] = integer(simulator["seed_simulator"], "options.simulator.seed_simulator", 0, 2**64 - 1)
    if isinstance(options.get("seed_estimator"), int):
        found["seed"] = integer(options["seed_estimator"], "options.seed_estimator", 0, 2**64 - 1)
    experimental = options.get("experimental")
    given = experimental.get("qrtx") if isinstance(experimental, dict) else None
    if given is None:
        return found
    where = "options.experimental.qrtx"
    if not isinstance(given, dict) or given.keys() - _HINTS:
        known = ", ".join(sorted(_HINTS))
        raise ValidationError(f"{where} must be an object with no other keys than {known}", field=where)
    for name in ("queue_timeout_s", "execution_timeout_s"):
        if given.get(name) is not None:
            found[name] = number(given[name], f"{where}.{name}", 0.001, _MAX_TIMEOUT_S)
    if given.get("priority") is not None:
        found["priority"] = check_priority(given["priority"], field=f"{where}.priority")
    if given.get("seed") is not None:
        found["seed"] = integer(given["seed"], f"{where}.seed", 0, 2**64 - 1)
    if given.get("name") is not None:
        found["name"] = text(given["name"], f"{where}.name", 128)
    if given.get("checkpoint_interval_s") is not None:
        value = given["checkpoint_interval_s"]
        found["checkpoint_interval_s"] = check_interval(value, field=f"{where}.checkpoint_interval_s")
    _placing_hints(given, found, where)
    return found


def _placing_hints(given: dict[str, Any], found: dict[str, Any], where: str) -> None:
    if given.get("deadline") is not None:
        found["deadline_at"] = deadline_of(text(given["deadline"], f"{where}.deadline", 40), f"{where}.deadline")
    if given.get("fidelity_floor") is not None:
        found["fidelity_floor"] = number(given["fidelity_floor"], f"{where}.fidelity_floor", 1e-9, 1.0)
    if given.get("reservation") is not None:
        found["reservation"] = text(given["reservation"], f"{where}.reservation", 64)
    if given.get("dry_run") is not None:
        if not isinstance(given["dry_run"], bool):
            raise ValidationError(f"{where}.dry_run must be true or false", field=f"{where}.dry_run")
        found["dry_run"] = given["dry_run"]

"""How the Runtime API shows a job."""

from __future__ import annotations

from typing import Any

import orjson

from qrtx_ray.api.failures import ibm_code, solution_for
from qrtx_ray.api.responses import iso_time
from qrtx_ray.model import JobChange, JobRecord
from qrtx_ray.scheduler.states import RuntimeStatus, runtime_status

__all__ = ["job_document", "log_text", "metrics_document"]

_MAX_TIME = "execution_timeout"


def job_document(record: JobRecord, params: bytes | None = None) -> dict[str, Any]:
    """The job as ``GET /jobs/{id}`` answers it.

    Args:
        record: The job.
        params: Its parameters (JSON) if they are wanted; a private job shows none.
    """
    state = _state(record)
    document: dict[str, Any] = {
        "id": record.id,
        "backend": record.device,
        "state": state,
        "status": state["status"],
        "created": iso_time(record.created_at),
        "ended": iso_time(record.finished_at),
        "program": {"id": str(record.program)},
        "tags": record.tags,
        "session_id": record.session_id,
        "private": record.private,
        "user_id": record.tenant,
        "cost": record.max_qpu_s,
        "usage": {"quantum_seconds": record.qpu_s or 0.0, "seconds": record.qpu_s or 0.0},
        "estimated_running_time_seconds": record.profile.qpu_s if record.profile else None,
        "calibration_id": record.profile.calibration_id if record.profile else None,
    }
    if params is not None and not record.private:
        document["params"] = orjson.Fragment(params)
    return document


def metrics_document(record: JobRecord) -> dict[str, Any]:
    """Times and usage; keys beyond IBM's reach the user through ``job.metrics()``."""
    return {
        "timestamps": {
            "created": iso_time(record.created_at),
            "running": iso_time(record.started_at),
            "finished": iso_time(record.finished_at),
        },
        "usage": {
            "qpu_charge_time_seconds": record.qpu_s or 0.0,
            "quantum_seconds": record.qpu_s or 0.0,
            "seconds": record.qpu_s or 0.0,
            "status": "complete" if record.terminal else "pending",
        },
        "caller": record.client,
        "num_circuits": record.profile.circuits if record.profile else None,
        "qrtx": {
            "state": str(record.state),
            "progress": record.progress,
            "attempt": record.attempt,
            "seed": record.seed,
            "priority": record.priority,
        },
    }


def log_text(changes: list[JobChange]) -> str:
    """The way of the job, one line for each change."""
    return "".join(
        f"{iso_time(change.at)} {change.from_state or '-'} -> {change.to_state} "
        f"attempt={change.attempt}{' ' + change.reason if change.reason else ''}\n"
        for change in changes
    )


def _state(record: JobRecord) -> dict[str, Any]:
    status = runtime_status(record)
    error = record.error
    if error is None or not record.terminal:
        return {"status": str(status)}
    code = ibm_code(error.code)
    if error.code == _MAX_TIME:
        # the client raises RuntimeJobMaxTimeoutError for exactly this pair
        status = RuntimeStatus.CANCELLED
    return {"status": str(status), "reason": error.message, "reason_code": code, "reason_solution": solution_for(code)}

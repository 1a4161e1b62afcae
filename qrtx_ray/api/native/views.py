"""How the native API shows things."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from qrtx_ray.api.gateway import DeviceView
from qrtx_ray.api.responses import field_outside, iso_time, with_dates
from qrtx_ray.errors import ErrorInfo
from qrtx_ray.model import CheckpointRef, JobChange, JobRecord
from qrtx_ray.scheduler.states import PUBLIC_STATES

__all__ = ["change_view", "checkpoint_view", "device_view", "error_view", "explanation_view", "job_view", "usage_view"]


def job_view(record: JobRecord) -> dict[str, Any]:
    """A job, see `models.JobView`."""
    return {
        "id": record.id,
        "number": record.number,
        "state": record.state,
        "status": PUBLIC_STATES[record.state],
        "terminal": record.terminal,
        "version": record.version,
        "program": record.program,
        "device": record.device,
        "name": record.name,
        "tags": record.tags,
        "priority": record.priority,
        "level": record.level.name.lower(),
        "private": record.private,
        "seed": str(record.seed),
        "source": record.source,
        "instance": record.instance,
        "session_id": record.session_id,
        "created_at": iso_time(record.created_at),
        "queued_at": iso_time(record.queued_at),
        "started_at": iso_time(record.started_at),
        "finished_at": iso_time(record.finished_at),
        "progress": record.progress,
        "slices": record.slices,
        "attempt": record.attempt,
        "retries": record.retries,
        "queue_timeout_s": record.queue_timeout_s,
        "execution_timeout_s": record.execution_timeout_s,
        "max_qpu_s": record.max_qpu_s,
        "choices": record.choices,
        "candidates": record.candidates,
        "deadline": iso_time(record.deadline_at),
        "fidelity_floor": record.fidelity_floor,
        "reservation": record.reservation,
        "dry_run": record.dry_run,
        "promoted_at": iso_time(record.promoted_at),
        "preemptions": record.preemptions,
        "checkpoint_interval_s": record.checkpoint_interval_s,
        "checkpoints": [checkpoint_view(one) for one in record.checkpoints],
        "restored_from": record.restored_from,
        "pause_requested": record.pause_requested,
        "paused_at": iso_time(record.paused_at),
        "paused_by": record.paused_by,
        "cancel_requested": record.cancel_requested,
        "cancelled_by": record.cancelled_by,
        "keep_partial": record.keep_partial,
        "partial": record.partial,
        "qpu_s": record.qpu_s,
        "profile": asdict(record.profile) if record.profile else None,
        "result": _result(record),
        "error": error_view(record.error) if record.error else None,
    }


def error_view(error: ErrorInfo) -> dict[str, Any]:
    """What went wrong, see `models.ErrorView`."""
    return {
        "code": error.code,
        "message": with_dates(error.message),
        "field": field_outside(error.field),
        "limit": None if error.limit is None else with_dates(error.limit),
        "retryable": error.retryable,
    }


def checkpoint_view(ref: CheckpointRef) -> dict[str, Any]:
    """A checkpoint, see `models.CheckpointView`."""
    return {
        "sequence": ref.sequence,
        "attempt": ref.attempt,
        "progress": ref.progress,
        "at": iso_time(ref.at),
        "size_bytes": ref.size_bytes,
        "kind": ref.kind,
    }


def change_view(change: JobChange) -> dict[str, Any]:
    """A change of state, see `models.ChangeView`."""
    return {
        "sequence": change.sequence,
        "at": iso_time(change.at),
        "from_state": change.from_state,
        "to_state": change.to_state,
        "attempt": change.attempt,
        "reason": change.reason,
    }


def explanation_view(found: dict[str, Any]) -> dict[str, Any]:
    """Why a job is where it is, see `models.ExplanationView`; its times become ISO 8601."""
    start = found.get("estimated_start")
    return {
        **found,
        "reason": with_dates(found["reason"]),
        "changes": [with_dates(text) for text in found["changes"]],
        "promoted_at": iso_time(found.get("promoted_at")),
        "estimated_start": None if start is None else {name: iso_time(at) for name, at in start.items()},
    }


def usage_view(found: dict[str, Any]) -> dict[str, Any]:
    """What a tenant has used, see `models.UsageView`; its times become ISO 8601."""
    quotas = {
        name: {
            **quota,
            **({"period_ends_at": iso_time(quota["period_ends_at"])} if "period_ends_at" in quota else {}),
        }
        for name, quota in found["quotas"].items()
    }
    return {**found, "quotas": quotas}


def device_view(view: DeviceView) -> dict[str, Any]:
    """A device, see `models.DeviceDocument`."""
    return {
        "name": view.info.name,
        "metadata": view.info.metadata,
        "executor": view.info.executor,
        "num_qubits": view.info.num_qubits,
        "aliases": view.info.aliases,
        "status": view.status,
        "queue_length": view.queue_length,
        "running": view.running,
        "agents": view.agents,
        "calibration_id": view.calibration_id,
        "utilisation": round(view.utilisation, 6),
        "calibrated_at": iso_time(view.calibrated_at),
        "probe_fidelity": view.probe_fidelity,
    }


def _result(record: JobRecord) -> dict[str, Any] | None:
    if record.result_bytes is None:
        return None
    return {"sha256": record.result_sha256, "size_bytes": record.result_bytes}

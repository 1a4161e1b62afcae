"""`meta.json`: what is worth knowing of a finished job, for a reader who has only its folder."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from qrtx_ray.model import JobRecord

__all__ = ["metadata_document"]


def metadata_document(record: JobRecord) -> dict[str, Any]:
    """The document for `record`; times are ISO 8601 in UTC, durations in seconds."""
    return {
        "schema": "qrtx/job-metadata/1",
        "id": record.id,
        "name": record.name,
        "tenant": record.tenant,
        "program": str(record.program),
        "device": record.device,
        "state": str(record.state),
        "priority": record.priority,
        "tags": list(record.tags),
        "seed": record.seed,
        "attempts": record.attempt,
        "created": _iso(record.created_at),
        "queued": _iso(record.queued_at),
        "started": _iso(record.started_at),
        "finished": _iso(record.finished_at),
        "qpu_s": record.qpu_s,
        "profile": asdict(record.profile) if record.profile is not None else None,
        "results": {"sha256": record.result_sha256, "bytes": record.result_bytes} if record.result_sha256 else None,
        "candidates": [asdict(candidate) for candidate in record.candidates],
        "preemptions": record.preemptions,
        "checkpoints": [asdict(checkpoint) for checkpoint in record.checkpoints],
        "restored_from": record.restored_from,
        "partial": record.partial,
        "progress": record.progress,
        "error": record.error.to_dict() if record.error is not None else None,
    }


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()

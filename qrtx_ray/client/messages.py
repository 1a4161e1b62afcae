"""What both clients say and hear: bodies of requests, and answers as values. No I/O here."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qrtx_ray.codec.jobspec import read_jobspec
from qrtx_ray.codec.limits import Limits
from qrtx_ray.errors import ErrorInfo, InternalError, QrtxError, ValidationError

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["JobStatus", "Parameters", "document_of", "error_of", "file_body", "job_body", "raise_for"]

Parameters = Sequence[Sequence[float]] | Mapping[str, Sequence[float]]
NAME_LENGTH = 64
QASM2 = re.compile(r"^\s*OPENQASM\s+2", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job as the server describes it.

    Args:
        id: Identifier.
        state: Present state, e.g. ``Queued``.
        terminal: Whether it has ended.
        version: Grows with every change.
        progress: Fraction done ∈ [0, 1].
        waiting_s: Seconds from acceptance until it started to run (or ended without running); None while it waits.
        qpu_s: Seconds of QPU time charged, once it has run.
        error: Why it failed, if it did.
        view: The whole answer.
        slices: Slices done by the present execution.
        partial: Whether its results cover only `progress` of it: it was cancelled so.
    """

    id: str
    state: str
    device: str
    program: str
    terminal: bool
    version: int
    progress: float
    waiting_s: float | None
    qpu_s: float | None
    error: ErrorInfo | None
    view: Mapping[str, Any] = field(repr=False)
    slices: int = 0
    partial: bool = False

    @classmethod
    def from_view(cls, view: Mapping[str, Any]) -> JobStatus:
        error = view.get("error")
        return cls(
            id=view["id"],
            state=view["state"],
            device=view["device"],
            program=view["program"],
            terminal=view["terminal"],
            version=view["version"],
            progress=view["progress"],
            waiting_s=_seconds(view["created_at"], view["started_at"] or view["finished_at"]),
            qpu_s=view["qpu_s"],
            error=None if error is None else _error(error),
            view=view,
            slices=view.get("slices", 0),
            partial=view.get("partial", False),
        )


def job_body(
    circuits: QuantumCircuit | str | Sequence[QuantumCircuit | str],
    device: str,
    *,
    program: str | None = None,
    shots: int | None = None,
    parameters: Parameters | None = None,
    observables: Sequence[Mapping[str, float]] | None = None,
    precision: float | None = None,
    **envelope: Any,
) -> dict[str, Any]:
    """The body of a submission.

    Args:
        circuits: Circuits as `QuantumCircuit` or OpenQASM text; one or several.
        device: Device name or alias, or ``auto``.
        program: ``sampler`` or ``estimator``; by default estimator when there are observables.
        shots: Shots of every circuit.
        parameters: Parameter rows, the same for every circuit.
        observables: One mapping Pauli string → coefficient for each observable, the same for every circuit.
        precision: Target standard error of an estimator job.
        envelope: Further keys: name, seed, priority, tags, queue_timeout_s, execution_timeout_s, max_qpu_s, options,
            devices (with device ``auto``), deadline, fidelity_floor, reservation, dry_run, checkpoint_interval_s.
    """
    several = [circuits] if isinstance(circuits, str) or not isinstance(circuits, Sequence) else circuits
    common: dict[str, Any] = {"parameters": parameters, "observables": observables, "precision": precision}
    listed = [
        _circuit(circuit) | {key: value for key, value in common.items() if value is not None} for circuit in several
    ]
    body = {
        "device": device,
        "program": program or ("estimator" if observables is not None else "sampler"),
        "circuits": listed,
        "shots": shots,
        **envelope,
    }
    return {key: value for key, value in body.items() if value is not None}


def file_body(
    path: Path, *, device: str | None = None, shots: int | None = None, otherwise: str | None = None, **envelope: Any
) -> dict[str, Any]:
    """The body for a file: OpenQASM 2 or 3 (``.qasm``), QPY (``.qpy``), or a JobSpec (``.yaml``, ``.yml``).

    Args:
        otherwise: The device where neither `device` nor the file names one; None: that is refused.

    Raises:
        ValidationError: An unknown kind of file, a JobSpec with unknown fields, or no device.
    """
    if path.suffix in {".yaml", ".yml"}:
        spec = read_jobspec(path.read_bytes(), Limits(), reader=lambda name: (path.parent / name).read_bytes())
        given = {"device": device, "shots": shots, **envelope}
        return {**spec.body, **{key: value for key, value in given.items() if value is not None}}
    device = device or otherwise
    if device is None:
        raise ValidationError("a device is needed for a circuit file; auto leaves the choice open", field="device")
    if path.suffix == ".qpy":
        circuit = {"format": "qpy", "source": base64.b64encode(path.read_bytes()).decode()}
    elif path.suffix in {".qasm", ".qasm2", ".qasm3"}:
        circuit = _source(path.read_text("utf-8"))
    else:
        raise ValidationError(
            f"{path.suffix or path.name} is no file this runtime reads", field="file", limit=".qasm .qpy .yaml"
        )
    body = {"device": device, "circuits": [circuit], "shots": shots, "name": _job_name(path), **envelope}
    return {key: value for key, value in body.items() if value is not None}


def _job_name(path: Path) -> str:
    """A name that the server takes, whatever the file is called."""
    return re.sub(r"[^A-Za-z0-9._ -]", "_", path.stem)[:NAME_LENGTH]


def document_of(status: int, content: bytes) -> Any:
    """The JSON document of an answer; None where there is none.

    Raises:
        QrtxError: A successful answer is not JSON: this is no runtime.
    """
    if not content:
        return None
    try:
        return json.loads(content)
    except ValueError:
        if status < 400:
            raise QrtxError("the server's answer is not JSON") from None
        return None


def raise_for(status: int, document: Any) -> None:
    """Raise the error that an answer with `status` of 400 or more describes."""
    if status < 400:
        return
    error = document.get("error") if isinstance(document, Mapping) else None
    if not isinstance(error, Mapping) or "message" not in error:
        raise InternalError(f"the server answered {status} without saying why")
    raise error_of(error)


def _circuit(circuit: QuantumCircuit | str) -> dict[str, Any]:
    if isinstance(circuit, str):
        return _source(circuit)
    from qiskit import qpy

    buffer = io.BytesIO()
    qpy.dump(circuit, buffer)
    return {"format": "qpy", "source": base64.b64encode(buffer.getvalue()).decode()}


def _source(text: str) -> dict[str, Any]:
    return {"format": "qasm2" if QASM2.search(text) else "qasm3", "source": text}


def error_of(view: Mapping[str, Any]) -> QrtxError:
    """The error that a part of an answer describes, as the class of its code."""
    return QrtxError.from_info(_error(view))


def _error(view: Mapping[str, Any]) -> ErrorInfo:
    return ErrorInfo(
        code=str(view.get("code", "internal")),
        message=str(view["message"]),
        category=str(view.get("category", "RequestError")),
        retryable=bool(view.get("retryable", False)),
        field=view.get("field"),
        limit=view.get("limit"),
    )


def _seconds(start: str | None, end: str | None) -> float | None:
    if start is None or end is None:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()

"""The compiler's side of a sandbox child: frames of tasks in, frames of reports out.

The child is where a tenant's bytes are first looked into, so nothing that happens to one task may reach another, and
no text of a library may reach the user: such a text is made from the tenant's bytes, or from ours.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

from qrtx_ray.devices.catalogue import register_folder
from qrtx_ray.errors import CompileError, DecodeError, ErrorInfo, QrtxError, ResourceExhausted, ValidationError
from qrtx_ray.model.job import Candidate, CircuitProfile, PayloadFormat, Program

__all__ = ["create"]

Emit = Callable[[dict[str, Any]], None]
Handler = Callable[[dict[str, Any], Emit], dict[str, Any]]

_log = logging.getLogger(__name__)
_PROFILE_FIELDS = tuple(item.name for item in fields(CircuitProfile))
_CANDIDATE_FIELDS = tuple(item.name for item in fields(Candidate))


def create(config: dict[str, Any]) -> Handler:
    """A handler of compile messages; its caches live as long as the process.

    Args:
        config: ``limits`` (fields of `codec.limits.Limits` that differ from its defaults) and the fields of
            `pipeline.CompilerConfig`; ``custom_devices``, a folder of further device metadata. All may be missing.

    The handler takes ``{"tasks": [{"job_id", "program", "device", "payload", "payload_format", "seed", "client"}]}`` and
    returns ``{"reports": [...]}``, each with ``job_id``, ``profile`` (the fields of a
    `CircuitProfile`, or None), ``executable`` (bytes), ``artefacts`` (file name → text) and ``error`` (the fields of an
    `ErrorInfo`, or None). A task may also have ``noise_id``, the published noise to compile against; ``choices``, pairs
    of a device and its published noise: then the job is only surveyed, and its report has ``candidates``, each the fields
    of a `Candidate`; and ``dry_run``: then its report has, instead of an executable, ``results``, the document (bytes)
    that the client gets. It never raises for what a task contains. Of several tasks each report is emitted as soon as it
    stands, as ``{"report": …}``, and none returned: when a later task costs the process, the earlier ones are done.
    """
    # One child compiles one circuit at a time; threads of its libraries would only fight the other children for cores.
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    os.environ.setdefault("QISKIT_PARALLEL", "FALSE")
    if config.get("custom_devices"):
        register_folder(config["custom_devices"])
    _read_settings_once()
    from qrtx_ray.compiler.pipeline import Compiler

    compiler = Compiler.from_config(config)

    def handle(message: dict[str, Any], emit: Emit) -> dict[str, Any]:
        tasks = message["tasks"]
        if len(tasks) == 1:
            return {"reports": [_report(compiler, tasks[0])]}
        for task in tasks:
            emit({"report": _report(compiler, task)})
        return {"reports": []}

    return handle


def _read_settings_once() -> None:
    # Qiskit reads its settings file again for every circuit it loads, a tenth of the time of loading one.
    from qiskit import user_config

    if not hasattr(user_config.get_config, "cache_clear"):
        user_config.get_config = cache(user_config.get_config)


def _report(compiler: Any, task: dict[str, Any]) -> dict[str, Any]:
    report: dict[str, Any] = {
        "job_id": str(task.get("job_id", "")),
        "profile": None,
        "executable": b"",
        "artefacts": {},
        "candidates": [],
        "results": b"",
        "error": None,
    }
    work = _survey if task.get("choices") else _compile
    try:
        report |= work(compiler, task)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of a native library is no Exception
        report["error"] = _explain(error, report["job_id"]).to_dict()
        if not isinstance(error, QrtxError):
            compiler.forget_unfinished()
    return report


def _compile(compiler: Any, task: dict[str, Any]) -> dict[str, Any]:
    """The part of a report that a compiled job fills."""
    program = _known(Program, task["program"], "program")
    compiled = compiler.compile(
        program=program,
        device=str(task["device"]),
        payload=bytes(task["payload"]),
        payload_format=_known(PayloadFormat, task["payload_format"], "payload_format"),
        noise_id=str(task.get("noise_id", "")),
        job_id=str(task.get("job_id", "")),
        seed=int(task.get("seed", 0)),
        client=str(task.get("client", "")),
    )
    report = {
        "profile": {name: getattr(compiled.profile, name) for name in _PROFILE_FIELDS},
        "artefacts": compiled.artefacts,
    }
    if not task.get("dry_run"):
        return report | {"executable": compiled.executable}
    from qrtx_ray.compiler.estimates import compiled_estimate, estimate_document

    estimate = compiled_estimate(compiled.profile, str(task["device"]))
    return report | {"results": estimate_document(program, estimate)}


def _survey(compiler: Any, task: dict[str, Any]) -> dict[str, Any]:
    """The part of a report that a surveyed job fills."""
    program = _known(Program, task["program"], "program")
    candidates = compiler.survey(
        program=program,
        choices=[(str(device), str(noise_id)) for device, noise_id in task["choices"]],
        payload=bytes(task["payload"]),
        payload_format=_known(PayloadFormat, task["payload_format"], "payload_format"),
    )
    report: dict[str, Any] = {
        "candidates": [{name: getattr(found, name) for name in _CANDIDATE_FIELDS} for found in candidates]
    }
    if task.get("dry_run"):
        from qrtx_ray.compiler.estimates import estimate_document, surveyed_estimate

        report["results"] = estimate_document(program, surveyed_estimate(candidates))
    return report


def _known(kind: type[Any], value: Any, field: str) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        names = ", ".join(member.value for member in kind)
        raise ValidationError(f"{field} must be one of {names}", field=field, limit=names) from error


def _explain(error: BaseException, job_id: str) -> ErrorInfo:
    """What the user is told. The log has the type and the place, which are ours; never the text, which may be theirs."""
    if isinstance(error, QrtxError):
        return error.info()
    _log.warning("compiling %s failed with %s at %s", job_id, type(error).__name__, _place(error))
    if isinstance(error, MemoryError):
        return ResourceExhausted("compiling the circuit needs more memory than a compiler may use").info()
    if isinstance(error, RecursionError):
        return DecodeError("the circuit is nested too deeply to be read").info()
    return CompileError("the circuit could not be compiled: the compiler does not support what it contains").info()


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "nowhere" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"

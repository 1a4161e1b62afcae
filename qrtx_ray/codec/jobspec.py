"""JobSpec: the YAML job file (``kind: QuantumJob``) and the native body, each from the other.

::

    apiVersion: qrtx/v1            # or eigen.os/v1
    kind: QuantumJob
    metadata: {name: bell, labels: {team: research}}
    spec:
      target: fake_manila@aer
      priority: 60
      program: {path: bell.qasm}   # or source: |-, format: qasm3 | qasm2 | qpy
      metadata: {shots: "2048", seed: "7"}

Unknown fields are refused with the nearest known name; known ones that have no effect here are listed by
`JobSpec.without_effect`. A file named by ``program.path`` is read by the caller's function, on the caller's machine;
the server never opens a path that a request names.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import yaml

from qrtx_ray.codec.amounts import LEVELS
from qrtx_ray.codec.json_text import check_depth, nearest_name
from qrtx_ray.codec.limits import Limits
from qrtx_ray.errors import DecodeError, PayloadTooLarge, ValidationError

__all__ = ["JobSpec", "read_jobspec", "write_jobspec"]

_VERSIONS = ("qrtx/v1", "eigen.os/v1", "eigen.os/v0.1")
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,128}\Z")
_SUFFIXES = {".qasm": "qasm3", ".qasm3": "qasm3", ".qasm2": "qasm2", ".qpy": "qpy"}
_QASM2 = re.compile(r"\s*(?://[^\n]*\n\s*)*OPENQASM\s+2\b")
_TOP = ["apiVersion", "kind", "metadata", "spec", "runtime", "resources", "scheduling", "observability", "security",
        "artifacts"]  # fmt: skip
_METADATA = ["name", "labels", "annotations", "tags"]
_SPEC = ["target", "priority", "entrypoint", "program", "program_path", "compiler", "metadata", "dependencies",
         "workload", "circuits", "parameters", "observables", "shots", "seed", "precision", "options", "kind",
         "devices", "deadline", "fidelity_floor", "reservation", "dry_run", "max_qpu_s",
         "checkpoint_interval_s"]  # fmt: skip
_PROGRAM = ["path", "source", "format"]
_RUNTIME = ["mode", "retry", "timeout", "replay"]
_TIMEOUT = ["queue_seconds", "execution_seconds", "result_seconds"]
_PLACING = ("devices", "deadline", "fidelity_floor", "reservation", "dry_run", "max_qpu_s")
_KEEPING = ("checkpoint_interval_s",)
_PASSED_ON = ("circuits", "seed", "options", *_PLACING, *_KEEPING)
_WITHOUT_EFFECT = ("entrypoint", "compiler", "dependencies", "workload")

Reader = Callable[[str], bytes]
"""Gives the bytes of a file named in a JobSpec; may refuse."""


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases: nested aliases grow a kilobyte to gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            msg = "aliases are not accepted"
            raise yaml.YAMLError(msg)
        return super().compose_node(parent, index)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A JobSpec as a native body.

    Args:
        body: What `decode_native` reads, as plain data.
        without_effect: Dotted names of fields that were accepted without effect.
    """

    body: dict[str, Any]
    without_effect: tuple[str, ...] = ()


def read_jobspec(text: bytes | str, limits: Limits, *, reader: Reader | None = None) -> JobSpec:
    """The native body that a JobSpec asks for.

    Args:
        text: The YAML document.
        reader: Reads `program.path`; without it, only inline sources are accepted.

    Raises:
        PayloadTooLarge: Longer than `limits.jobspec_bytes`.
        DecodeError: Not YAML, with aliases, or too deeply nested.
        ValidationError: An unknown field, a wrong type, or a path without a reader.
    """
    document = _load(text, limits)
    _known(document, _TOP, "")
    if document.get("apiVersion") not in _VERSIONS:
        raise ValidationError(f"apiVersion must be one of {', '.join(_VERSIONS)}", field="apiVersion")
    if document.get("kind") != "QuantumJob":
        raise ValidationError("kind must be QuantumJob", field="kind")
    metadata = _section(document, "metadata", _METADATA, "metadata")
    spec = _section(document, "spec", _SPEC, "spec")
    body: dict[str, Any] = {"device": _text(spec, "target", "spec.target")}
    if "name" in metadata:
        body["name"] = _text(metadata, "name", "metadata.name")
        if not _NAME.match(body["name"]):
            raise ValidationError("metadata.name must be 1 to 128 of a-z A-Z 0-9 . _ -", field="metadata.name")
    if "tags" in metadata:
        body["tags"] = metadata["tags"]
    body |= {name: spec[name] for name in _PASSED_ON if name in spec}
    if isinstance(body.get("deadline"), date):  # YAML reads an unquoted time as one; a body has text
        body["deadline"] = body["deadline"].isoformat()
    ignored = [f"spec.{name}" for name in _WITHOUT_EFFECT if name in spec]
    body |= _numbers(spec, document, ignored)
    if "circuits" not in body:
        body["circuits"] = [_circuit(spec, limits, reader)]
    program = spec.get(
        "kind", "estimator" if any("observables" in item for item in _dicts(body["circuits"])) else "sampler"
    )
    body["program"] = program
    ignored += [name for name in ("resources", "observability", "security", "artifacts") if name in document]
    return JobSpec(body, tuple(ignored))


def write_jobspec(body: dict[str, Any]) -> str:
    """The JobSpec of a native body, as kept in ``input.job.yaml``; `read_jobspec` gives the body back."""
    metadata = {key: body[key] for key in ("name", "tags") if body.get(key)}
    spec: dict[str, Any] = {"target": body["device"], "kind": body.get("program", "sampler")}
    spec |= {
        key: body[key]
        for key in ("priority", "shots", "seed", *_PLACING, *_KEEPING, "options", "circuits")
        if body.get(key) is not None
    }
    document: dict[str, Any] = {"apiVersion": _VERSIONS[0], "kind": "QuantumJob", "metadata": metadata, "spec": spec}
    times = {"queue_seconds": body.get("queue_timeout_s"), "execution_seconds": body.get("execution_timeout_s")}
    times = {key: value for key, value in times.items() if value is not None}
    if times:
        document["runtime"] = {"timeout": times}
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes program texts as blocks and never an alias."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _represent_text)


def _load(text: bytes | str, limits: Limits) -> dict[str, Any]:
    if len(text) > limits.jobspec_bytes:
        raise PayloadTooLarge(
            f"the job file is longer than {limits.jobspec_bytes} bytes",
            field="jobspec",
            limit=f"{limits.jobspec_bytes} bytes",
        )
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, narrowed further
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError, UnicodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark is not None else ""
        raise DecodeError(f"the job file is not plain YAML{place}; aliases are not accepted", field="jobspec") from None
    if not isinstance(document, dict):
        raise ValidationError("the job file must be a mapping", field="jobspec")
    check_depth(document, limits.json_depth, field="jobspec")
    return document


def _known(section: dict[Any, Any], names: list[str], path: str) -> None:
    for name in section:
        if name not in names:
            shown = f"{path}.{str(name)[:64]}" if path else str(name)[:64]
            raise ValidationError(f"{shown} is not a JobSpec field{nearest_name(str(name), names)}", field=shown)


def _section(parent: dict[str, Any], key: str, names: list[str], path: str) -> dict[str, Any]:
    section = parent.get(key)
    if section is None:
        section = {}
    if not isinstance(section, dict):
        raise ValidationError(f"{path} must be a mapping", field=path)
    _known(section, names, path)
    return section


def _text(section: dict[str, Any], key: str, path: str) -> str:
    value = section.get(key)
    if not isinstance(value, str) or not value:
        raise ValidationError(f"{path} must be a text", field=path)
    return value


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _whole(value: Any, path: str) -> int:
    """An int, or the text of one: the published examples quote their numbers."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,20}", value):
        return int(value)
    if type(value) is not int:
        raise ValidationError(f"{path} must be a whole number", field=path)
    return value


def _numbers(spec: dict[str, Any], document: dict[str, Any], ignored: list[str]) -> dict[str, Any]:
    """Shots, seed, priority and timeouts, wherever a JobSpec may put them."""
    out: dict[str, Any] = {}
    free = spec.get("metadata") or {}
    if not isinstance(free, dict):
        raise ValidationError("spec.metadata must be a mapping", field="spec.metadata")
    for name in ("shots", "seed"):
        if name in spec:
            out[name] = _whole(spec[name], f"spec.{name}")
        elif name in free:
            out[name] = _whole(free[name], f"spec.metadata.{name}")
    ignored.extend(f"spec.metadata.{str(name)[:64]}" for name in free if name not in {"shots", "seed"})
    scheduling = _section(document, "scheduling", ["queue", "priority", "policy", "affinity"], "scheduling")
    ignored.extend(f"scheduling.{name}" for name in scheduling if name != "priority")
    for path, section in (("scheduling", scheduling), ("spec", spec)):
        if "priority" in section:
            given = section["priority"]
            out["priority"] = (
                LEVELS[given] if isinstance(given, str) and given in LEVELS else _whole(given, f"{path}.priority")
            )
    runtime = _section(document, "runtime", _RUNTIME, "runtime")
    ignored.extend(f"runtime.{name}" for name in runtime if name not in {"timeout", "replay"})
    timeout = _section(runtime, "timeout", _TIMEOUT, "runtime.timeout")
    for key, name in (("queue_seconds", "queue_timeout_s"), ("execution_seconds", "execution_timeout_s")):
        if key in timeout:
            out[name] = timeout[key]
    replay = _section(runtime, "replay", ["deterministic_seed"], "runtime.replay")
    if "deterministic_seed" in replay:
        out.setdefault("seed", _whole(replay["deterministic_seed"], "runtime.replay.deterministic_seed"))
    return out


def _circuit(spec: dict[str, Any], limits: Limits, reader: Reader | None) -> dict[str, Any]:
    program = (
        {"path": spec["program_path"]}
        if "program_path" in spec
        else _section(spec, "program", _PROGRAM, "spec.program")
    )
    source, form = program.get("source"), program.get("format")
    if source is None:
        path = _text(program, "path", "spec.program.path")
        source, guess = _read_file(path, limits, reader)
        form = form or guess
    if not isinstance(source, str):
        raise ValidationError("spec.program.source must be a text", field="spec.program.source")
    circuit: dict[str, Any] = {"format": form or ("qasm2" if _QASM2.match(source) else "qasm3"), "source": source}
    return circuit | {name: spec[name] for name in ("parameters", "observables", "precision") if name in spec}


def _read_file(path: str, limits: Limits, reader: Reader | None) -> tuple[str, str]:
    suffix = path[path.rfind(".") :].lower() if "." in path else ""
    if suffix not in _SUFFIXES or path.startswith(("/", "~")) or ".." in re.split(r"[\\/]", path) or "\\" in path:
        raise ValidationError(
            f"spec.program.path must be a relative path to a file ending in {', '.join(_SUFFIXES)}",
            field="spec.program.path",
        )
    if reader is None:
        raise ValidationError(
            "spec.program.path is read by the client only; send the text as spec.program.source",
            field="spec.program.path",
        )
    data = reader(path)
    if len(data) > limits.body_bytes:
        raise PayloadTooLarge(
            f"spec.program.path names a file of more than {limits.body_bytes} bytes", field="spec.program.path"
        )
    if suffix == ".qpy":
        return b64encode(data).decode(), "qpy"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise DecodeError("spec.program.path names a file that is not UTF-8 text", field="spec.program.path") from None
    return text, "qasm2" if _QASM2.match(text) else "qasm3"

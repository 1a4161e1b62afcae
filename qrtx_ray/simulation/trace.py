"""Traces: read from a file, made by a generator, written to a file. See `lines` for the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from pydantic import TypeAdapter
from pydantic import ValidationError as Mismatch

from qrtx_ray.errors import ValidationError
from qrtx_ray.simulation.lines import HEADER, LINE, AgentsLine, DeviceLine, Entry, Header, JobLine, Line, ReleaseLine

__all__ = ["Trace", "on_fleet", "read_trace", "write_trace"]

_MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Trace:
    """What happens to the runtime: its machines, and a stream of jobs and events that can be begun any number of times.

    Args:
        header: First line.
        devices / crews: The machines: devices, and agents that serve several of them.
        entries: Begins the stream anew: jobs and events, `at` never going back.
    """

    header: Header
    devices: tuple[DeviceLine, ...]
    entries: Callable[[], Iterator[Entry]]
    crews: tuple[AgentsLine, ...] = ()


def read_trace(path: Path) -> Trace:
    """The trace in the file `path`. Its machines are read now, its jobs whenever they are asked for: a trace may be far
    larger than the memory.

    Raises:
        ValidationError: Not a trace; the text names the line and the field. Lines after the machines are looked at when
            they are read.
    """
    with _opened(path) as file:
        header = _parsed(HEADER, file.readline(_MAX_LINE_BYTES), 1)
        devices, crews, first = [], [], 2
        for number, line in _lines(file, first):
            if isinstance(line, DeviceLine):
                devices.append(line)
            elif isinstance(line, AgentsLine):
                crews.append(line)
            else:
                first = number
                break
    known = {device.name for device in devices}
    strangers = sorted({name for crew in crews for name in crew.devices} - known)
    if strangers:
        raise ValidationError(f"agents serve {strangers[0]}, which no device line describes", field="agents.devices")
    if len(known) < len(devices):
        raise ValidationError("a device is described twice", field="device.name")
    return Trace(header, tuple(devices), lambda: _entries(path), tuple(crews))


def write_trace(trace: Trace, path: Path) -> int:
    """Write all of `trace` into `path`. Returns how many jobs and events there are."""
    count = 0
    with path.open("wb") as file:
        machines: Iterable[Line | Header] = [trace.header, *trace.devices, *trace.crews]
        for line in chain(machines, trace.entries()):
            file.write(orjson.dumps(_plain(line)) + b"\n")
            count += not isinstance(line, Header | DeviceLine | AgentsLine)
    return count


def on_fleet(trace: Trace, devices: Sequence[DeviceLine]) -> Trace:
    """The same jobs on other machines. A job that named a device which is not there any more may go to every device, and
    one that left the choice, to those of its choices that are left, or else to every device. What was to happen to a
    device that is not there does not.
    """
    names = frozenset(device.name for device in devices)

    def entries() -> Iterator[Entry]:
        for entry in trace.entries():
            if isinstance(entry, JobLine):
                yield _moved(entry, names)
            elif isinstance(entry, ReleaseLine) or entry.device in names:
                yield entry

    return Trace(trace.header, tuple(devices), entries)


def _moved(job: JobLine, names: frozenset[str]) -> JobLine:
    if job.device in names:
        return job
    return replace(job, device="auto", choices=tuple(name for name in job.choices if name in names))


def _plain(line: Any) -> dict[str, Any]:
    """The keys of a line that differ from their defaults, the kind always."""
    return {
        field.name: getattr(line, field.name)
        for field in fields(line)
        if field.name in {"kind", "trace", "version", "origin"} or getattr(line, field.name) != field.default
    }


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as problem:
        raise ValidationError(f"the trace {path} cannot be read: {problem.strerror}", field="trace") from None


def _entries(path: Path) -> Iterator[Entry]:
    latest, machines = 0.0, True
    with _opened(path) as file:
        file.readline(_MAX_LINE_BYTES)
        for number, line in _lines(file, 2):
            if isinstance(line, DeviceLine | AgentsLine):
                if not machines:
                    raise ValidationError(f"line {number}: machines come before jobs and events", field="kind")
                continue
            machines = False
            if line.at < latest:
                text = f"line {number}: at is {line.at:g} s, before {latest:g} s of a line above"
                raise ValidationError(text, field="at", limit=f"{latest:g} s")
            latest = line.at
            if isinstance(line, JobLine) and line.choices and line.device != "auto":
                raise ValidationError(f"line {number}: choices stand with the device auto only", field="choices")
            yield line


def _lines(file: BinaryIO, first: int) -> Iterator[tuple[int, Line]]:
    number = first
    while raw := file.readline(_MAX_LINE_BYTES):
        if not raw.isspace():
            yield number, _parsed(LINE, raw, number)
        number += 1


def _parsed(shape: TypeAdapter[Any], raw: bytes, number: int) -> Any:
    if len(raw) >= _MAX_LINE_BYTES:
        raise ValidationError(f"line {number} is longer than {_MAX_LINE_BYTES} bytes", limit=f"{_MAX_LINE_BYTES} bytes")
    try:
        return shape.validate_json(raw)
    except Mismatch as mismatch:
        fault = mismatch.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise ValidationError(f"line {number}: {where or 'the line'}: {fault['msg']}", field=where or None) from None

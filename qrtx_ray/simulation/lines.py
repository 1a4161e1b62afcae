"""The lines of a trace: what asked, what it asked for, and what happened to the machines.

A trace is a text file of JSON objects, one a line, in UTF-8. The first line is its `Header`; then come the machines
(`device`, `agents`), then jobs and events in the order of `at`. Times are seconds after the header's `origin`. A key that
is left out has the default given here; a key that is not listed here is an error, for it is likely a misspelt one. The
file of a production journal (``qrtx export-trace``) and the file of a generated day have the same form; all chance that
a simulation meets is in the trace, so that the same file gives the same run.

========================  ==============================================================================================
``trace`` (header)        ``{"trace": "qrtx", "version": 1, "origin": 1790000000.0, "source": "journal"}``
``device``                a machine and how it errs: `DeviceLine`
``agents``                processes that each serve several devices: `AgentsLine`
``job``                   a request and what it takes: `JobLine`
``pause``, ``resume``     an operator closes a device and opens it again: `SwitchLine`
``agents_lost``           all agents of a device die and come back: `LossLine`
``reservation``           somebody reserves a device: `ReservationLine`
``release``               and gives it back: `ReleaseLine`
========================  ==============================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, TypeAdapter

from qrtx_ray.model import Candidate

__all__ = [
    "HEADER",
    "LINE",
    "AgentsLine",
    "DeviceLine",
    "Entry",
    "Header",
    "JobLine",
    "Line",
    "LossLine",
    "ReleaseLine",
    "ReservationLine",
    "SwitchLine",
]

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Seconds = Annotated[float, Field(ge=0.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1, max_length=256)]


@dataclass(frozen=True, slots=True)
class Header:
    """The first line. `origin` is the moment (seconds since the epoch) that 0 stands for, `source` who made the trace."""

    __pydantic_config__ = _STRICT

    trace: Literal["qrtx"] = "qrtx"
    version: Literal[1] = 1
    origin: Seconds = 1_790_000_000.0
    source: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class DeviceLine:
    """A device. What a circuit is worth and takes on it is computed in `nature`, unless the job's line says it.

    Args:
        name: As jobs name it.
        num_qubits: Width; 0 when it is not known and not to be checked.
        agents: Processes that serve this device and no other.
        pace: What a run takes: ``qpu`` the seconds of QPU time (a real device, or one emulated at its pace), ``wall``
            the seconds that the engine is estimated to compute.
        error_2q / error_1q / readout_error: Error probabilities of a gate on two qubits, on one, and of a readout.
        t1_s / t2_s: Relaxation and dephasing times.
        layer_s / rep_delay_s / overhead_s: Seconds of one layer of a circuit, between two shots, and for each job.
        calibration_id: Name of the published calibration.
        drift: How fast the errors wander: the deviation of the logarithm of their factor after one drift interval.
    """

    __pydantic_config__ = _STRICT

    name: Name
    kind: Literal["device"] = "device"
    num_qubits: Count = 0
    agents: Count = 1
    pace: Literal["qpu", "wall"] = "wall"
    error_2q: Share = 0.01
    error_1q: Share = 0.0003
    readout_error: Share = 0.02
    t1_s: Annotated[float, Field(gt=0.0)] = 150e-6
    t2_s: Annotated[float, Field(gt=0.0)] = 100e-6
    layer_s: Seconds = 400e-9
    rep_delay_s: Seconds = 250e-6
    overhead_s: Seconds = 2.0
    calibration_id: str = ""
    drift: Seconds = 0.0


@dataclass(frozen=True, slots=True)
class AgentsLine:
    """`count` agents, each of which serves all of `devices`."""

    __pydantic_config__ = _STRICT

    devices: tuple[Name, ...]
    kind: Literal["agents"] = "agents"
    count: Annotated[int, Field(ge=1)] = 1


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job: who asked for what, and what running it takes.

    The keys from `program` to `dry_run` mean what they mean in `qrtx_ray.model.JobRequest`, those from `qubits` to
    `candidates` what they mean in `CircuitProfile` and `Candidate`; only times count from the origin. Figures that are
    missing are computed from the circuit's size and the device's line.

    Args:
        at: When it arrived.
        id: Its name; numbered when empty.
        candidates: What it is on each device, where the trace knows better than the law of `nature`.
        wall_s: What its run really took here; None: as estimated.
        slowdown: Real over estimated seconds of a run, where `wall_s` is not given.
        cancel_at: When its owner cancels it; None never.
        fails / fails_attempts: The error code with which a run ends, and how many runs end so.
        compile_fails: The error code with which its compilation ends.
        recorded: What became of it when it was recorded; free form, shown beside the simulated figures.
    """

    __pydantic_config__ = _STRICT

    at: Seconds
    kind: Literal["job"] = "job"
    id: str = ""
    tenant: str = "default"
    priority: Annotated[int, Field(ge=0, le=100)] = 50
    program: Literal["sampler", "estimator"] = "sampler"
    device: Name = "auto"
    choices: tuple[Name, ...] = ()
    session_id: str | None = None
    reservation: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    deadline_at: Seconds | None = None
    fidelity_floor: Share | None = None
    max_qpu_s: Seconds | None = None
    queue_timeout_s: Seconds | None = None
    execution_timeout_s: Seconds | None = None
    dry_run: bool = False
    qubits: Count = 1
    depth: Count = 1
    two_qubit_gates: Count = 0
    circuits: Count = 1
    shots: Count = 1024
    qpu_s: Seconds | None = None
    estimated_s: Seconds | None = None
    estimated_bytes: Count = 1 << 20
    group_key: str = ""
    fidelity: Share | None = None
    sensitivity: Share = 0.0
    structure: str = ""
    candidates: tuple[Candidate, ...] = ()
    wall_s: Seconds | None = None
    slowdown: Annotated[float, Field(gt=0.0)] = 1.0
    cancel_at: Seconds | None = None
    fails: str | None = None
    fails_attempts: Count = 1_000_000
    compile_fails: str | None = None
    recorded: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SwitchLine:
    """An operator pauses or resumes a device."""

    __pydantic_config__ = _STRICT

    kind: Literal["pause", "resume"]
    at: Seconds
    device: Name


@dataclass(frozen=True, slots=True)
class LossLine:
    """All agents of a device die, with what they run, and are back `for_s` seconds later."""

    __pydantic_config__ = _STRICT

    at: Seconds
    device: Name
    for_s: Annotated[float, Field(gt=0.0)]
    kind: Literal["agents_lost"] = "agents_lost"


@dataclass(frozen=True, slots=True)
class ReservationLine:
    """A reservation is made at `at` for the window from `begins_at` to `ends_at`."""

    __pydantic_config__ = _STRICT

    at: Seconds
    name: Name
    device: Name
    tenant: str
    begins_at: Seconds
    ends_at: Seconds
    session_id: str | None = None
    kind: Literal["reservation"] = "reservation"


@dataclass(frozen=True, slots=True)
class ReleaseLine:
    """A reservation is given back."""

    __pydantic_config__ = _STRICT

    at: Seconds
    name: Name
    kind: Literal["release"] = "release"


Entry = JobLine | SwitchLine | LossLine | ReservationLine | ReleaseLine
Line = DeviceLine | AgentsLine | Entry

HEADER: TypeAdapter[Header] = TypeAdapter(Header)
LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Discriminator("kind")])

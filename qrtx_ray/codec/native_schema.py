"""The request body of the native API, as a pydantic model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, WithJsonSchema

from qrtx_ray.codec.amounts import LEVELS, LONGEST_INTERVAL_S

__all__ = ["NativeCircuit", "NativeJob"]

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**64)]
Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=31_536_000)]
Interval = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=LONGEST_INTERVAL_S)]
Share = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=1)]
Priority = Annotated[
    StrictInt,
    BeforeValidator(lambda value: LEVELS.get(value, value) if isinstance(value, str) else value),
    Field(ge=0, le=100),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0, "maximum": 100}, {"enum": [*LEVELS]}], "default": 50}),
]
DeviceText = Annotated[str, Field(min_length=1, max_length=128)]
Tag = Annotated[str, Field(min_length=1, max_length=86)]
Observable = dict[str, Number]
Row = list[Number]

_STRICT = ConfigDict(extra="forbid", frozen=True)


class NativeCircuit(BaseModel):
    """One circuit with what to run it on.

    Attributes:
        source: OpenQASM text; base64 (optionally of zlib data) for ``qpy``.
        parameters: One row of values, several rows, or values by parameter name (one number or one per row); rows follow
            the circuit's parameters in Qiskit's order.
        shots: Of each row (sampler); None takes the job's.
        observables: Estimator: one ``{pauli: coefficient}`` object, or a list of them, each evaluated for every row.
        precision: Estimator: target standard error; None takes what the job's shots stand for.
    """

    model_config = _STRICT

    format: Literal["qasm3", "qasm2", "qpy"] = "qasm3"
    source: str
    parameters: list[Row] | Row | dict[str, Row | Number] | None = None
    shots: StrictInt | None = None
    observables: list[Observable] | Observable | None = None
    precision: Number | None = None


class NativeJob(BaseModel):
    """A job of the native API. Times are in seconds; `max_qpu_s` in seconds of QPU time.

    Attributes:
        device: Name or alias, or ``auto``: the scheduler chooses among `devices`.
        devices: With ``auto``: names or aliases to choose among; None: all devices with noise.
        deadline: ISO 8601 time at which the job must have ended (UTC unless it says otherwise).
        fidelity_floor: Least predicted fidelity the job is to run with.
        reservation: The reservation of a device that the job may use.
        dry_run: Compile and estimate only.
        checkpoint_interval_s: Seconds of run between two checkpoints, at least 1; 0: none; None: as configured.
    """

    model_config = _STRICT

    device: DeviceText
    devices: Annotated[list[DeviceText], Field(min_length=1, max_length=1024)] | None = None
    program: Literal["sampler", "estimator"] = "sampler"
    name: Annotated[str, Field(max_length=128, pattern=r"^[a-zA-Z0-9._ -]*$")] = ""
    circuits: Annotated[list[NativeCircuit], Field(min_length=1)]
    shots: StrictInt = 1024
    seed: Seed | None = None
    priority: Priority = 50
    tags: Annotated[list[Tag], Field(max_length=8)] = []
    queue_timeout_s: Seconds | None = None
    execution_timeout_s: Seconds | None = None
    max_qpu_s: Seconds | None = None
    deadline: Annotated[str, Field(max_length=40)] | None = None
    fidelity_floor: Share | None = None
    reservation: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    dry_run: StrictBool = False
    checkpoint_interval_s: Interval | None = None
    private: StrictBool = False
    session_id: Annotated[str, Field(max_length=64)] | None = None
    options: dict[str, Any] = {}

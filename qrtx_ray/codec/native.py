"""Jobs of the native API: the body checked against its schema, the circuits read, the PUBs made."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import ValidationError as SchemaError
from qiskit import QuantumCircuit
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qrtx_ray.codec.amounts import check_precision, check_shots, precision_of_shots
from qrtx_ray.codec.decoded import DecodedJob
from qrtx_ray.codec.inflate import InflationMeter, decode_base64
from qrtx_ray.codec.json_text import expect_object, read_json
from qrtx_ray.codec.limits import Limits
from qrtx_ray.codec.native_schema import NativeCircuit, NativeJob
from qrtx_ray.codec.options import check_options
from qrtx_ray.codec.pubs import PubBudget, estimator_pub, sampler_pub, values_for
from qrtx_ray.codec.qasm import load_qasm2, load_qasm3
from qrtx_ray.codec.qpy import load_circuit
from qrtx_ray.codec.runtime_json import Bindings
from qrtx_ray.codec.schema_faults import explain
from qrtx_ray.errors import ValidationError
from qrtx_ray.model import Program

__all__ = ["decode_native", "read_native"]

_ZLIB_FIRST_BYTE = 0x78


def read_native(payload: bytes, limits: Limits) -> NativeJob:
    """The body as its schema, circuits still unread.

    Raises:
        PayloadTooLarge / DecodeError: Too long, or not JSON.
        ValidationError: Not as the schema says; names the first offending field.
    """
    body = expect_object(read_json(payload, limits), field="body")
    try:
        job = NativeJob.model_validate(body)
    except SchemaError as error:
        raise explain(error, json_depth=limits.json_depth) from None
    if len(job.circuits) > limits.pubs:
        raise ValidationError(
            f"circuits must hold 1 to {limits.pubs} circuits", field="circuits", limit=f"1..{limits.pubs}"
        )
    check_shots(job.shots, limits, field="shots")
    return job


def decode_native(payload: bytes, program: Program, limits: Limits, *, num_qubits: int | None = None) -> DecodedJob:
    """Decode a body of the native API.

    Args:
        payload: JSON text of the body.
        program: Which program it is for (what the envelope said).
        num_qubits: Width of the device, or None.

    Raises:
        PayloadTooLarge / DecodeError / ValidationError: As for `decode_runtime`; fields are named ``circuits[0].shots``.
    """
    job = read_native(payload, limits)
    options = check_options(job.options, program, limits)
    plain = options.to_plain()
    meter, budget = InflationMeter(limits), PubBudget(limits)
    pubs: tuple[SamplerPub, ...] | tuple[EstimatorPub, ...]
    fields = [f"circuits[{number}]" for number in range(len(job.circuits))]
    circuits = [_read(item, meter, field, num_qubits) for item, field in zip(job.circuits, fields, strict=True)]
    parts = list(zip(job.circuits, circuits, fields, strict=True))
    if program is Program.SAMPLER:
        pubs = tuple(_sampler(item, circuit, job, budget, field) for item, circuit, field in parts)
    else:
        pubs = tuple(_estimator(item, circuit, job, budget, field) for item, circuit, field in parts)
    formats = tuple(item.format for item in job.circuits)
    seed = job.seed if job.seed is not None else options.seed
    return DecodedJob(program, pubs, plain, seed, formats, tuple(budget.shots))


def _read(item: NativeCircuit, meter: InflationMeter, field: str, num_qubits: int | None) -> QuantumCircuit:
    field = f"{field}.source"
    if item.format == "qasm3":
        return load_qasm3(item.source, meter.limits, field=field, device_qubits=num_qubits)
    if item.format == "qasm2":
        return load_qasm2(item.source, meter.limits, field=field, device_qubits=num_qubits)
    data = decode_base64(item.source, field=field)
    if data[:1] == bytes((_ZLIB_FIRST_BYTE,)):
        data = meter.inflate(data, field=field)
    else:
        meter.take(len(data), field=field)
    return load_circuit(data, meter.limits, field=field, device_qubits=num_qubits)


def _sampler(item: NativeCircuit, circuit: QuantumCircuit, job: NativeJob, budget: PubBudget, field: str) -> SamplerPub:
    for name in ("observables", "precision"):
        if getattr(item, name) is not None:
            raise ValidationError(f"{field}.{name} has no meaning for a sampler", field=f"{field}.{name}")
    shots = job.shots if item.shots is None else check_shots(item.shots, budget.limits, field=f"{field}.shots")
    values = values_for(circuit, _rows(item, field), field=f"{field}.parameters")
    return sampler_pub(circuit, values, shots, budget, field=field)


def _estimator(
    item: NativeCircuit, circuit: QuantumCircuit, job: NativeJob, budget: PubBudget, field: str
) -> EstimatorPub:
    if item.observables is None:
        raise ValidationError(f"{field}.observables must be given for an estimator", field=f"{field}.observables")
    if item.precision is not None and item.shots is not None:
        raise ValidationError(f"{field} may have shots or precision, not both", field=f"{field}.precision")
    if item.precision is not None:
        precision = check_precision(item.precision, budget.limits, field=f"{field}.precision")
    else:
        shots = job.shots if item.shots is None else check_shots(item.shots, budget.limits, field=f"{field}.shots")
        precision = precision_of_shots(shots)
    values = values_for(circuit, _rows(item, field), field=f"{field}.parameters")
    if values is not None and values.shape and isinstance(item.observables, list):
        # Every observable for every row: rows become an axis of their own before the observables'.
        values = values.reshape((*values.shape, 1))
    return estimator_pub(circuit, item.observables, values, precision, budget, field=field)


def _rows(item: NativeCircuit, field: str) -> Any:
    given = item.parameters
    if given is None:
        return None
    try:
        if isinstance(given, dict):
            named: Bindings = {(name,): np.asarray(row, dtype=float)[..., None] for name, row in given.items()}
            return named
        return np.asarray(given, dtype=float)
    except ValueError:
        raise ValidationError(
            f"{field}.parameters must have rows of equal length", field=f"{field}.parameters"
        ) from None

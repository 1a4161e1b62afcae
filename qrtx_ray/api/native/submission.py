"""From a native body to a `JobRequest`. The schema checks the envelope; circuits stay text, decoded elsewhere."""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import dataclass
from typing import Any

import orjson
import pydantic
from starlette.requests import Request

from qrtx_ray.api.auth import principal_of
from qrtx_ray.api.directory import DeviceDirectory
from qrtx_ray.api.envelope import client_name, digest_of, idempotency_key, tags_of
from qrtx_ray.api.failures import UnsupportedMediaType
from qrtx_ray.api.placement import deadline_of, device_and_choices
from qrtx_ray.api.requests import Query, content_type, integer, json_text, read_body, text
from qrtx_ray.api.settings import ApiSettings
from qrtx_ray.codec.amounts import check_interval
from qrtx_ray.codec.jobspec import read_jobspec
from qrtx_ray.codec.limits import Limits
from qrtx_ray.codec.native_schema import NativeJob
from qrtx_ray.codec.schema_faults import explain
from qrtx_ray.errors import DecodeError, QrtxError, ValidationError
from qrtx_ray.model import JobRequest, PayloadFormat, Program

__all__ = [
    "MEDIA_TYPES",
    "NativeSender",
    "build_native",
    "build_one_of_many",
    "native_body",
    "read_native_body",
    "sender_of",
]

#: What a POST may carry.
MEDIA_TYPES = ("application/json", "application/yaml", "text/x-openqasm", "application/octet-stream")

_QASM_VERSION = re.compile(r"^\s*OPENQASM\s+(\d)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class NativeSender:
    """Who sent a request, and with what."""

    tenant: str
    client: str
    instance: str
    idempotency_key: str | None


def sender_of(request: Request) -> NativeSender:
    """Who sent `request`, by its token and headers."""
    return NativeSender(
        principal_of(request).tenant,
        client_name(request),
        text(request.headers.get("service-crn", ""), "Service-CRN"),
        idempotency_key(request),
    )


async def read_native_body(request: Request, settings: ApiSettings) -> bytes:
    """The JSON body of the job, see `native_body`; what takes long to convert is converted in a thread."""
    raw = await read_body(request, settings.body_timeout_s)
    if content_type(request) == "application/json":
        return raw
    return await asyncio.to_thread(native_body, request, raw, settings)


def native_body(request: Request, body: bytes, settings: ApiSettings) -> bytes:
    """The JSON body of the job: as it came, or made from a job file, or from a bare circuit and the query.

    ``application/yaml`` is a JobSpec with its program inline; ``text/x-openqasm`` is OpenQASM 2 or 3,
    ``application/octet-stream`` is QPY, and these take ``?device=&shots=&seed=``.

    Raises:
        UnsupportedMediaType: Sent as something else.
        ValidationError: A query field is wrong, or the program is not UTF-8.
    """
    kind = content_type(request)
    if kind == "application/json":
        return body
    if kind == "application/yaml":
        return _from_jobspec(body, settings)
    if kind == "text/x-openqasm":
        try:
            source = body.decode()
        except UnicodeDecodeError:
            raise DecodeError("the OpenQASM program is not UTF-8", field="body") from None
        version = _QASM_VERSION.search(source[:4096])
        circuit = {"format": "qasm3" if version and version[1] == "3" else "qasm2", "source": source}
    elif kind == "application/octet-stream":
        circuit = {"format": "qpy", "source": base64.b64encode(body).decode()}
    else:
        raise UnsupportedMediaType(f"the body must be one of {', '.join(MEDIA_TYPES)}", field="Content-Type")
    query = Query(request)
    job: dict[str, Any] = {"device": query.get("device") or "", "circuits": [circuit]}
    for name, high in (("shots", 2**31), ("seed", 2**63)):
        if query.get(name) is not None:
            job[name] = query.integer(name, 0, 0, high)
    return orjson.dumps(job)


def _from_jobspec(text: bytes, settings: ApiSettings) -> bytes:
    try:
        return orjson.dumps(read_jobspec(text, Limits(jobspec_bytes=settings.jobspec_bytes)).body)
    except orjson.JSONEncodeError:
        raise DecodeError("the job file holds values that JSON has not", field="jobspec") from None


def build_native(body: bytes, sender: NativeSender, directory: DeviceDirectory, settings: ApiSettings) -> JobRequest:
    """The job that a JSON body asks for. Parsed and checked in one pass; `body` itself becomes the payload.

    Raises:
        DecodeError: Not JSON.
        ValidationError: Not a job; the first offending field is named.
    """
    try:
        job = NativeJob.model_validate_json(body)
    except pydantic.ValidationError as failure:
        raise explain(failure, json_depth=settings.json_depth) from None
    device, choices = device_and_choices(job.device, job.devices, directory)
    if job.session_id is not None:
        raise ValidationError("sessions are not offered by this server yet; leave session_id out", field="session_id")
    _check_counts(job, settings)
    return JobRequest(
        program=Program(job.program),
        device=device,
        payload=body,
        payload_format=PayloadFormat.NATIVE,
        tenant=sender.tenant,
        instance=sender.instance,
        priority=job.priority,
        name=job.name,
        tags=tags_of(job.tags),
        seed=job.seed,
        private=job.private,
        queue_timeout_s=job.queue_timeout_s,
        execution_timeout_s=job.execution_timeout_s,
        max_qpu_s=job.max_qpu_s,
        idempotency_key=sender.idempotency_key,
        digest=digest_of(body),
        client=sender.client,
        source="native",
        choices=choices,
        deadline_at=deadline_of(job.deadline),
        fidelity_floor=job.fidelity_floor,
        reservation=job.reservation,
        dry_run=job.dry_run,
        checkpoint_interval_s=job.checkpoint_interval_s,
    )


def build_one_of_many(
    item: Any, index: int, sender: NativeSender, directory: DeviceDirectory, settings: ApiSettings
) -> JobRequest | QrtxError:
    """As `build_native` for item `index` of several; a refusal is returned, so that it concerns this item only.

    A key of the request becomes a key of each item: ``<key>#<index>``.
    """
    key = None if sender.idempotency_key is None else f"{sender.idempotency_key}#{index}"
    own = NativeSender(sender.tenant, sender.client, sender.instance, key)
    try:
        return build_native(json_text(item, f"jobs[{index}]", settings.json_depth), own, directory, settings)
    except QrtxError as error:
        return error


def _check_counts(job: NativeJob, settings: ApiSettings) -> None:
    most = settings.max_pubs
    if len(job.circuits) > most:
        raise ValidationError(f"a job has at most {most} circuits", field="circuits", limit=str(most))
    integer(job.shots, "shots", 1, settings.max_shots)
    if job.checkpoint_interval_s is not None:
        check_interval(job.checkpoint_interval_s, field="checkpoint_interval_s")
    for index, circuit in enumerate(job.circuits):
        if circuit.shots is not None:
            integer(circuit.shots, f"circuits[{index}].shots", 1, settings.max_shots)

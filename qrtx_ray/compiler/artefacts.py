"""The texts kept beside a job for people and tools: what was sent, and what it became.

They are written for every job, so they must cost less than compiling it does. What is longer than anybody reads is
replaced by a short text of the same format that says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from qrtx_ray.codec.aqo import aqo_text
from qrtx_ray.codec.qasm_text import qasm3_text
from qrtx_ray.devices.executable import EstimatorPub, ExecutableJob, SamplerPub
from qrtx_ray.model.job import PayloadFormat, Program

__all__ = ["MAX_ARTEFACT_BYTES", "Envelope", "artefacts_of", "input_of"]

MAX_ARTEFACT_BYTES = 1 << 20

# Bytes an operation takes in the longer of the two texts; decides what is worth writing at all.
_BYTES_OF_OPERATION = 48


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is known of a job besides its payload."""

    job_id: str
    program: Program
    device: str
    payload_format: PayloadFormat
    seed: int
    client: str


def artefacts_of(envelope: Envelope, payload: bytes, job: ExecutableJob) -> dict[str, str]:
    """File name → text, each at most `MAX_ARTEFACT_BYTES` long.

    ``compiled.aqo.json`` is one document, or a JSON list of them where the job has several PUBs; ``compiled.qasm`` is
    their texts one after the other. Where a PUB has one row of parameter values its numbers are written, else the
    slots' names. ``input.job.yaml`` is JSON, which is YAML too.
    """
    aqo, qasm = [], []
    room = MAX_ARTEFACT_BYTES
    pubs: tuple[SamplerPub | EstimatorPub, ...] = job.pubs
    for index, pub in enumerate(pubs):
        size = _BYTES_OF_OPERATION * len(pub.program.ops) + len(pub.program.qpy)
        if size > room:
            left_out = (
                f"PUB {index} and those after it are left out: the text would be longer than {MAX_ARTEFACT_BYTES} bytes"
            )
            aqo.append(_json({"truncated": left_out, "structure": pub.program.structure}))
            qasm.append(f"// {left_out}; structure {pub.program.structure}\n")
            break
        row = pub.values[0] if len(pub.values) == 1 else None
        aqo.append(aqo_text(pub.program, row, metadata={"pub": index, "calibration_id": job.calibration_id}))
        qasm.append(
            f"// PUB {index}\n{qasm3_text(pub.program, row)}" if len(job.pubs) > 1 else qasm3_text(pub.program, row)
        )
        room -= max(size, len(aqo[-1]), len(qasm[-1]))
    return {
        **input_of(envelope, payload),
        "compiled.aqo.json": aqo[0] if len(job.pubs) == 1 else f"[{','.join(aqo)}]",
        "compiled.qasm": "\n".join(qasm),
    }


def input_of(envelope: Envelope, payload: bytes) -> dict[str, str]:
    """``input.job.yaml`` alone: the envelope, with the payload or, where that is long, its hash."""
    spec: dict[str, Any] = {
        "program": envelope.program.value,
        "device": envelope.device,
        "seed": envelope.seed,
        "client": envelope.client,
        "payload_format": envelope.payload_format.value,
    }
    # The payload has been parsed as JSON before it came here, so it stands in the document as it is.
    if len(payload) + 4096 <= MAX_ARTEFACT_BYTES:
        spec["params"] = orjson.Fragment(payload)
    else:
        spec["truncated"] = f"the payload has {len(payload)} bytes; it is kept with the job's record"
        spec["params_sha256"] = sha256(payload).hexdigest()
    document = {"apiVersion": "qrtx/v1", "kind": "QuantumJob", "metadata": {"name": envelope.job_id}, "spec": spec}
    return {"input.job.yaml": _json(document)}


def _json(document: dict[str, Any]) -> str:
    return orjson.dumps(document).decode()

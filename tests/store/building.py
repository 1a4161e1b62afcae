"""Jobs, changes and transactions for the tests of the stores."""

from __future__ import annotations

import dataclasses
from typing import Any

from qrtx_ray.model import JobChange, JobRecord, PayloadFormat, Program, TaskState, new_id
from qrtx_ray.store.protocol import Transaction


def job_id(number: int) -> str:
    return new_id(1.7e9 + number, number.to_bytes(7, "big"))


def job(serial: int, **fields: Any) -> JobRecord:
    plain = JobRecord(
        id=job_id(serial),
        number=serial,
        tenant="alice",
        program=Program.SAMPLER,
        device="fake_manila@aer",
        payload_format=PayloadFormat.NATIVE,
        created_at=1000.0 + serial,
        seed=serial,
    )
    return dataclasses.replace(plain, **fields)


def after(record: JobRecord, **fields: Any) -> JobRecord:
    return dataclasses.replace(record, version=record.version + 1, **fields)


def change(sequence: int, number: int, to_state: TaskState = TaskState.PENDING) -> JobChange:
    return JobChange(sequence, job_id(number), 1000.5, None, to_state, 0, "because")


def inserting(*numbers: int) -> Transaction:
    return Transaction(
        records=tuple(job(number) for number in numbers),
        changes=tuple(change(number, number) for number in numbers),
        payloads=tuple((job_id(number), "request", b"body %d" % number) for number in numbers),
    )

"""A gateway in memory: what the HTTP front needs of a runtime, without one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from qrtx_ray.api.gateway import AgentView, DeviceView, NamedState
from qrtx_ray.errors import InvalidState, NotFound, StateChanged
from qrtx_ray.model import AUTO_DEVICE, DeviceInfo, DeviceStatus, JobId, JobRecord, JobRequest, Reservation, TaskState
from qrtx_ray.testing.jobs import FakeJobs

__all__ = ["FakeGateway"]


class FakeGateway(FakeJobs):
    """A `qrtx_ray.api.gateway.Gateway` in memory.

    Jobs stay Queued until the test moves them with `start`, `move`, `keep_checkpoint`,
    `make_way`, `conclude`, `advance`, `complete`, `fail`; or they complete by
    themselves, one turn of the event loop after submission, with what `answer` returns.

    Args:
        devices: What exists.
        answer: Makes the result document of a job, or None: the test completes jobs itself.
        wall: Reads the wall clock.

    Attributes:
        requests: Everything that was submitted, in order.
        refusal: When set, `submit` and `estimate` raise it, and `reserve` unless an operator asks.
        checkpoints_wanted: Jobs for which `checkpoint` was called, in order; the test answers with `keep_checkpoint`.
        explanation: Further keys of what `explain` answers.
        answer: As given; may be changed.
        held: The agents; the test may change them.
        loop: The event loop that the last `submit` ran on, for tests that live in another thread.
    """

    def __init__(
        self,
        devices: Iterable[DeviceInfo],
        answer: Callable[[JobRequest], bytes] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(answer, wall)
        self._devices = [DeviceView(info, agents=1, calibration_id="0123456789ab") for info in devices]
        self.held = [AgentView("agent-0", tuple(view.info.name for view in self._devices))]
        self._states: dict[tuple[str, str], tuple[bytes, float]] = {}
        self._reservations: dict[str, Reservation] = {}
        self.explanation: dict[str, Any] = {}

    async def migrate(self, job_id: JobId, tenant: str, by: str, agent: str | None) -> JobRecord:
        record = await self._unfinished(job_id, tenant)
        if record.state is not TaskState.EXECUTING:
            raise InvalidState(f"only a running job is moved; this one is {record.state}")
        free = [one.name for one in self.held if not one.drained and one.name != record.agent]
        if agent is not None and agent not in free:
            raise InvalidState(f"{agent} cannot take the job", field="agent")
        if not free:
            raise InvalidState("no other agent serves the device", field="agent")
        return self.advance(job_id, TaskState.QUEUED, f"moved by {by}", agent=None)

    async def devices(self) -> list[DeviceView]:
        waiting = [record for record in self._records.values() if not record.terminal]
        return [
            replace(view, queue_length=sum(record.device == view.info.name for record in waiting))
            for view in self._devices
        ]

    async def pause_device(self, name: str, *, drain: bool) -> None:
        self._set_status(name, DeviceStatus.PAUSED)
        if drain:
            self.set_view(name, running=0)

    async def resume_device(self, name: str) -> None:
        self._set_status(name, DeviceStatus.ONLINE)

    async def agents(self) -> list[AgentView]:
        return sorted(self.held, key=lambda one: one.name)

    async def drain_agent(self, name: str) -> None:
        self._set_drained(name, drained=True)

    async def resume_agent(self, name: str) -> None:
        self._set_drained(name, drained=False)

    async def usage_qpu_s(self, tenant: str, since: float) -> float:
        mine = (record for record in self._records.values() if record.tenant == tenant)
        return sum(record.qpu_s or 0.0 for record in mine if (record.finished_at or 0.0) >= since)

    async def explain(self, job_id: JobId, tenant: str) -> dict[str, Any]:
        record = await self.get(job_id, tenant)
        line = [one for one in self._records.values() if one.device == record.device and not one.started_at]
        ahead = [one for one in line if not one.terminal and (one.level, one.number) < (record.level, record.number)]
        waits = record.state is TaskState.QUEUED
        return {
            "job_id": job_id,
            "state": record.state.value,
            "reason": f"{len(ahead)} job{'s are' if len(ahead) != 1 else ' is'} ahead of it"
            if waits
            else f"{'it has ended: ' if record.terminal else 'it is '}{record.state.value}",
            "position": len(ahead) if waits else None,
            "ahead": [],
            "candidates": [],
            "estimated_start": None,
            "changes": [],
            **self.explanation,
        }

    async def estimate(self, request: JobRequest) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        names = request.choices if request.device == AUTO_DEVICE else (request.device,)
        figures = {
            "qpu_s": 2.0,
            "estimated_s": 0.01,
            "wait_s": 0.0,
            "wait_low_s": 0.0,
            "wait_high_s": 1.0,
            "fidelity": 0.9,
            "refusal": "",
            "score": 0.9,
            "contributions": {"fidelity": 0.9},
            "provenance": {"calibration_id": "0123456789ab", "method": "fake"},
        }
        devices = {name: {**figures, "chosen": name == names[0]} for name in names}
        return {"devices": devices, "chosen": names[0], "policy": "fake"}

    async def usage(self, tenant: str) -> dict[str, Any]:
        queued = sum(record.tenant == tenant and not record.terminal for record in self._records.values())
        used = await self.usage_qpu_s(tenant, 0.0)
        period = {"period_s": 86_400.0, "period_ends_at": (self._wall() // 86_400 + 1) * 86_400}
        quotas = {"queued": {"used": queued, "limit": None}, "qpu_seconds": {"used": used, "limit": None, **period}}
        return {"tenant": tenant, "weight": 1.0, "half_life_s": 604_800.0, "decayed_qpu_s": used, "quotas": quotas}

    async def reservations(self) -> list[Reservation]:
        standing = [one for one in self._reservations.values() if one.ends_at > self._wall()]
        return sorted(standing, key=lambda one: (one.begins_at, one.name))

    async def reserve(self, reservation: Reservation, *, operator: bool) -> Reservation:
        if self.refusal is not None and not operator:
            raise self.refusal
        for other in await self.reservations():
            apart = other.ends_at <= reservation.begins_at or reservation.ends_at <= other.begins_at
            if other.device == reservation.device and not apart:
                raise InvalidState("the device is reserved for a part of that time")
        self._reservations[reservation.name] = reservation
        return reservation

    async def release(self, name: str, tenant: str | None) -> None:
        found = self._reservations.get(name)
        if found is None or tenant not in {None, found.tenant}:
            raise NotFound("there is no such reservation", field="name")
        del self._reservations[name]

    async def put_state(self, tenant: str, name: str, document: bytes, expected: str | None) -> str:
        found = self._states.get((tenant, name))
        if found is None or found[0] != document:
            self._expect(tenant, name, expected)
            self._states[tenant, name] = (document, self._wall())
        return _etag(document)

    async def get_state(self, tenant: str, name: str) -> tuple[bytes, str]:
        found = self._states.get((tenant, name))
        if found is None:
            raise NotFound("there is no such state", field="name")
        return found[0], _etag(found[0])

    async def delete_state(self, tenant: str, name: str, expected: str | None) -> None:
        await self.get_state(tenant, name)
        self._expect(tenant, name, expected)
        del self._states[tenant, name]

    async def states(self, tenant: str) -> list[NamedState]:
        mine = sorted((name, kept) for (owner, name), kept in self._states.items() if owner == tenant)
        return [NamedState(name, _etag(document), len(document), at) for name, (document, at) in mine]

    async def health(self) -> dict[str, Any]:
        return {"ready": self.refusal is None, "jobs": len(self._records)}

    def set_view(self, name: str, **fields: Any) -> None:
        """Change what `devices` says of the device `name`."""
        self._devices = [replace(view, **fields) if view.info.name == name else view for view in self._devices]

    def _set_status(self, name: str, status: DeviceStatus) -> None:
        if name not in {view.info.name for view in self._devices}:
            raise NotFound("there is no such device", field="device")
        self.set_view(name, status=status)

    def _set_drained(self, name: str, *, drained: bool) -> None:
        if name not in {one.name for one in self.held}:
            raise NotFound("there is no such agent", field="name")
        self.held = [replace(one, drained=drained) if one.name == name else one for one in self.held]

    def _expect(self, tenant: str, name: str, expected: str | None) -> None:
        found = self._states.get((tenant, name))
        if expected is not None and expected != ("" if found is None else _etag(found[0])):
            raise StateChanged("the state is not the one that was expected", field="name")


def _etag(document: bytes) -> str:
    return hashlib.sha256(document).hexdigest()

"""Reservations of devices."""

from __future__ import annotations

import os
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qrtx_ray.api.auth import principal_of
from qrtx_ray.api.context import Api
from qrtx_ray.api.native.models import NewReservation, ReservationListView, ReservationView
from qrtx_ray.api.placement import deadline_of
from qrtx_ray.api.requests import json_object, read_body, text
from qrtx_ray.api.responses import empty, iso_time, json_response
from qrtx_ray.api.routing import OperationRouter, add_operation, new_router, schema_reference
from qrtx_ray.api.tokens import Principal
from qrtx_ray.errors import PermissionDenied, ValidationError
from qrtx_ray.model import Reservation, is_job_id, new_id

__all__ = ["Reservations"]

_KEYS = frozenset(NewReservation.model_fields)


class Reservations:
    """Everything under ``/v1/reservations``."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def router(self) -> OperationRouter:
        router = new_router("reservations")
        add_operation(router, "GET", "/reservations", self.list, "All reservations", model=ReservationListView)
        add_operation(
            router,
            "POST",
            "/reservations",
            self.reserve,
            "Reserve a device",
            model=ReservationView,
            status=201,
            extra={
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": schema_reference(NewReservation)}},
                }
            },
        )
        add_operation(router, "DELETE", "/reservations/{name}", self.release, "Give a reservation back", status=204)
        return router

    async def list(self, request: Request) -> Response:
        """Present ones and those to come, by their beginning. Of other tenants' only device and time are shown."""
        principal = principal_of(request)
        now = self._api.clock.wall()
        found = await self._api.gateway.reservations()
        return json_response({"reservations": [_view(one, principal, now) for one in found]})

    async def reserve(self, request: Request) -> Response:
        """From `begins_at` (left out: now) to `ends_at`, only jobs that name the reservation are given to the device. A
        tenant reserves for itself, within `scheduler.reservations`; an operator for any tenant.
        """
        principal = principal_of(request)
        raw = await read_body(request, self._api.settings.body_timeout_s)
        body = json_object(request, raw, self._api.settings.json_depth)
        if unknown := sorted(body.keys() - _KEYS):
            known = ", ".join(sorted(_KEYS))
            raise ValidationError(f"a reservation has no other fields than {known}", field=unknown[0][:64])
        now = self._api.clock.wall()
        device, tenant = self._device(body), self._tenant(body, principal)
        begins_at, ends_at = max(now, _time(body, "begins_at", now)), _time(body, "ends_at", None)
        if ends_at <= begins_at:
            raise ValidationError("ends_at must be later than begins_at and than now", field="ends_at")
        reservation = Reservation(new_id(now, os.urandom(7)), device, tenant, begins_at, ends_at)
        made = await self._api.gateway.reserve(reservation, operator=principal.operator)
        return json_response(_view(made, principal, now), 201, {"Location": f"/v1/reservations/{made.name}"})

    async def release(self, request: Request) -> Response:
        """204. An operator may release every one, a tenant its own."""
        principal = principal_of(request)
        name = str(request.path_params["name"])
        if not is_job_id(name):
            name = ""  # it has not the form of one, so there is none
        await self._api.gateway.release(name, None if principal.operator else principal.tenant)
        return empty()

    def _device(self, body: dict[str, Any]) -> str:
        if "device" not in body:
            raise ValidationError("device must be given", field="device")
        info = self._api.directory.find(text(body["device"], "device"))
        if info is None:
            raise ValidationError("there is no such device; GET /v1/devices names all there are", field="device")
        return info.name

    def _tenant(self, body: dict[str, Any], principal: Principal) -> str:
        if body.get("tenant") is None:
            return principal.tenant
        tenant = text(body["tenant"], "tenant", 64)
        if tenant != principal.tenant and not principal.operator:
            raise PermissionDenied("only an operator reserves for another tenant", field="tenant")
        if tenant not in {entry.tenant for entry in self._api.settings.tokens}:
            raise ValidationError("there is no such tenant; nobody could use the device", field="tenant")
        return tenant


def _time(body: dict[str, Any], field: str, default: float | None) -> float:
    value = body.get(field)
    if value is None:
        if default is None:
            raise ValidationError(f"{field} must be given", field=field)
        return default
    at = deadline_of(text(value, field, 40), field)
    assert at is not None
    return at


def _view(reservation: Reservation, principal: Principal, now: float) -> dict[str, Any]:
    """A reservation, see `models.ReservationView`."""
    mine = principal.operator or reservation.tenant == principal.tenant
    return {
        "name": reservation.name if mine else None,
        "device": reservation.device,
        "tenant": reservation.tenant if mine else None,
        "begins_at": iso_time(reservation.begins_at),
        "ends_at": iso_time(reservation.ends_at),
        "active": reservation.begins_at <= now < reservation.ends_at,
    }

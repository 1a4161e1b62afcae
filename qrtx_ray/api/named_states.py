"""Named states of tenants, kept by the state manager: calls to it, patient while it is being restarted."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.exceptions import RayActorError, RayTaskError

from qrtx_ray.actors.names import STATE_MANAGER, find_actor
from qrtx_ray.api.gateway import NamedState
from qrtx_ray.errors import InternalError, NotFound, PersistError, QrtxError

__all__ = ["NamedStates"]

PATIENCE_S = 20.0
RETRY_PAUSE_S = 0.05


class NamedStates:
    """The part of a gateway that concerns named states; methods and errors as in `api.gateway.Gateway`."""

    def __init__(self) -> None:
        self._handle: Any = None

    async def put(self, tenant: str, name: str, document: bytes, expected: str | None) -> str:
        etag: str = await self._call("put_named_state", tenant, name, document, expected)
        return etag

    async def get(self, tenant: str, name: str) -> tuple[bytes, str]:
        found: tuple[bytes, str] = await self._call("get_named_state", tenant, name)
        return found

    async def delete(self, tenant: str, name: str, expected: str | None) -> None:
        await self._call("delete_named_state", tenant, name, expected, gone_when_repeated=True)

    async def list(self, tenant: str) -> list[NamedState]:
        found = await self._call("named_states", tenant)
        return [NamedState(one["name"], one["etag"], one["size_bytes"], one["at"]) for one in found]

    async def _call(self, method: str, *arguments: Any, gone_when_repeated: bool = False) -> Any:
        """Call the manager, again while it is away. All calls are such that repeating them changes nothing, but that what a
        call cut short has deleted is not there the second time.
        """
        again = False
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        return await self._once(method, *arguments)
                    except NotFound:
                        if again and gone_when_repeated:
                            return None
                        raise
                    except RayActorError:
                        self._handle = None
                        again = True
                        await asyncio.sleep(RETRY_PAUSE_S)
        except TimeoutError:
            raise PersistError(f"the state manager has not answered for {PATIENCE_S:g} s; try again") from None

    async def _once(self, method: str, *arguments: Any) -> Any:
        if self._handle is None:
            self._handle = await asyncio.to_thread(find_actor, STATE_MANAGER)
        if self._handle is None:
            raise RayActorError
        try:
            return await getattr(self._handle, method).remote(*arguments)
        except RayTaskError as error:
            if isinstance(error.cause, QrtxError):
                raise QrtxError.from_info(error.cause.info()) from None
            raise InternalError("the state manager could not answer") from error

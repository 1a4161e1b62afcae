"""What a job would be, asked of the running runtime: a survey by a compiler, judged by the scheduler. No job is made."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ray.exceptions import RayActorError, RayTaskError

from qrtx_ray.actors.names import compiler_name, find_actor
from qrtx_ray.errors import DeviceUnavailable, InternalError, QrtxError
from qrtx_ray.model import AUTO_DEVICE, Candidate, CompileReport, CompileTask, JobRequest, new_id

__all__ = ["Estimator"]

_AWAY = "the compilers do not answer at the moment; try again"


class Estimator:
    """Asks a compiler what the circuits of a request would be on each device.

    Args:
        compilers: How many compilers there are.
        patience_s: How long one may take.
    """

    def __init__(self, compilers: int, patience_s: float) -> None:
        self._names = [compiler_name(index) for index in range(compilers)]
        self._patience_s = patience_s

    async def survey(self, request: JobRequest, noise: Mapping[str, str]) -> tuple[Candidate, ...]:
        """A candidate for each device the request may go to.

        Args:
            request: As it would be submitted.
            noise: The published noise of each device.

        Raises:
            DecodeError / ValidationError / CompileError: The circuits cannot be read.
            QueueFull: Too many questions are under way.
            DeviceUnavailable: The compilers are away.
        """
        names = request.choices if request.device == AUTO_DEVICE else (request.device,)
        task = CompileTask(
            job_id=new_id(time.time(), os.urandom(7)),
            attempt=1,
            program=request.program,
            device=request.device,
            payload=request.payload,
            payload_format=request.payload_format,
            seed=request.seed or 0,
            tenant=request.tenant,
            name=request.name,
            client=request.client,
            choices=tuple((name, noise.get(name, "")) for name in names),
        )
        report = await self._ask(lambda compiler: compiler.survey.remote(task))
        if report.error is not None:
            raise QrtxError.from_info(report.error)
        return report.candidates

    async def _ask(self, question: Callable[[Any], Awaitable[CompileReport]]) -> CompileReport:
        name = random.choice(self._names)  # noqa: S311 - it spreads questions, nothing rests on it
        try:
            async with asyncio.timeout(self._patience_s):
                compiler = await asyncio.to_thread(find_actor, name)
                if compiler is None:
                    raise DeviceUnavailable(_AWAY)
                return await question(compiler)
        except (TimeoutError, RayActorError):
            raise DeviceUnavailable(_AWAY) from None
        except RayTaskError as error:
            if isinstance(error.cause, QrtxError):
                raise QrtxError.from_info(error.cause.info()) from None
            raise InternalError("the compiler could not answer") from error

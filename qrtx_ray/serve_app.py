"""The HTTP front as one Ray Serve deployment.

``serve run qrtx_ray.serve_app:app`` serves with the configuration of the environment (`QRTX_*`); a Serve config file names
``qrtx_ray.serve_app:build`` with ``args``. Replicas are stateless: they authenticate, bound and shape requests, and talk to
the scheduler actor; the first one to start brings the whole runtime up.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve
from ray.serve import Application

from qrtx_ray.actors.link import SchedulerLink
from qrtx_ray.actors.logs import log_as_configured
from qrtx_ray.actors.settings import served_devices
from qrtx_ray.actors.supervisor import ensure_runtime
from qrtx_ray.api.app import create_app
from qrtx_ray.api.ray_gateway import RayGateway
from qrtx_ray.api.settings import ApiSettings, Instance, TokenEntry
from qrtx_ray.api.tokens import hash_token, load_or_create_secret, load_or_create_token
from qrtx_ray.config import Settings, load_settings

__all__ = ["Arguments", "Front", "api_settings", "app", "build"]

OWNER = "owner"


class Arguments(BaseModel):
    """Arguments of a Serve config file.

    Args:
        config: Path of a qrtx YAML file.
        profile: ``default`` or ``optimized``.
    """

    config: str | None = None
    profile: str | None = None


def api_settings(settings: Settings) -> ApiSettings:
    """What the front needs of the configuration; creates the embedded token and the signing secret where there are none."""
    auth, paths = settings.auth, settings.paths
    tokens = [TokenEntry(token.sha256, token.name, instances=token.instances) for token in auth.tokens]
    if auth.embedded or paths.token_file.exists():
        tokens.append(TokenEntry(hash_token(load_or_create_token(paths.token_file)), OWNER, operator=True))
    named = {name: None for token in auth.tokens for name in token.instances}
    instances = tuple(
        Instance(f"crn:v1:bluemix:public:quantum-computing:us-east:a/qrtx:{name}::", name)
        for name in ("default", *named)
    )
    return ApiSettings(
        tokens=tuple(tokens),
        jwt_secret=load_or_create_secret(paths.token_file.with_name("signing_secret")),
        jwt_life_s=int(auth.iam_token_ttl),
        instances=instances,
        body_bytes=settings.limits.body_bytes,
        state_bytes=settings.limits.state_bytes,
        json_depth=settings.limits.json_depth,
        max_pubs=settings.limits.pubs,
        max_shots=settings.limits.shots,
        long_poll_max_s=settings.performance.long_poll_max,
    )


@serve.deployment(
    name="front",
    num_replicas=1,
    max_ongoing_requests=1000,
    graceful_shutdown_timeout_s=5,
    health_check_period_s=1,  # 10 by default: as long would nobody answer after the only replica died
)
@serve.ingress()
class Front:
    """A replica of the front.

    Args:
        settings: `Settings.to_dict()`, or None for the configuration of the environment. A runtime that is already there
            keeps its own.
    """

    async def __init__(self, settings: dict[str, Any] | None = None) -> None:  # type: ignore[misc]
        wanted = load_settings() if settings is None else Settings.from_dict(settings)
        ensure_runtime(wanted)
        live = Settings.from_dict(await SchedulerLink().call("settings"))
        log_as_configured(live)
        self._gateway = RayGateway(live)
        self._gateway.start()
        devices = {device.name: device for device in served_devices(live)}
        self._app = create_app(self._gateway, api_settings(live), devices)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return self._app


def build(arguments: Settings | Arguments | dict[str, Any]) -> Application:
    """The application for a configuration: from a Serve config file (`Arguments`), or given as settings."""
    if isinstance(arguments, Settings):
        settings = arguments
    else:
        chosen = arguments if isinstance(arguments, Arguments) else Arguments.model_validate(arguments)
        settings = load_settings(chosen.config, chosen.profile)
    performance = settings.performance
    deployment = Front.options(  # type: ignore[attr-defined]
        num_replicas=performance.replicas,
        max_ongoing_requests=performance.max_ongoing_requests,
        logging_config={"enable_access_log": False},
    )
    application: Application = deployment.bind(settings.to_dict())
    return application


app: Application = Front.bind()  # type: ignore[attr-defined]

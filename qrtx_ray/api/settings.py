"""The numbers and names the HTTP front is built with."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["DEFAULT_INSTANCE", "ApiSettings", "Instance", "TokenEntry"]


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """An API token that is accepted, known by its hash only.

    Args:
        sha256: Lower-case hex digest of the token's UTF-8 bytes.
        tenant: Whom its bearer is.
        operator: Whether the bearer may also see what concerns the whole service.
        instances: Names of the instances the tenant is shown; empty: all.
    """

    sha256: str
    tenant: str
    operator: bool = False
    instances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """A service instance as the official client lists and names it."""

    crn: str
    name: str
    plan: str = "open"


DEFAULT_INSTANCE = Instance("crn:v1:bluemix:public:quantum-computing:us-east:a/qrtx:default::", "default")


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Everything the front can be told.

    Args:
        tokens: Accepted API tokens.
        jwt_secret: Signs the access tokens of the identity service; at least 32 bytes.
        jwt_life_s: How long such a token is valid.
        instances: What the resource search lists.
        body_bytes: Longest request body.
        state_bytes: Longest document of a named state.
        jobspec_bytes: Longest YAML job file (its parser is slow).
        json_depth: Nesting of JSON, named in refusals (deeper is refused here when plainly visible, else by the compiler).
        body_timeout_s: Longest time a body may take to arrive.
        token_bytes: Longest credential that is looked at.
        max_pubs: PUBs in one job.
        max_shots: Shots of one PUB, refused here when plainly visible (the compiler checks again).
        max_jobs_per_request: Jobs in one native POST.
        long_poll_max_s: How long a status read of the Runtime API is held while the job has not ended.
        wait_max_s: Bound of ``?wait=`` of the native API.
        sse_heartbeat_s: Silence after which an event stream sends a comment.
        page_limit: Jobs on one page of a list.
        inline_bytes: Result documents up to this size are converted on the event loop, larger ones in a thread.
        usage_limit_s: QPU seconds a tenant may use in 28 days as reported to clients, or None.
        retry_after_s: What 429, 503 and 507 answers suggest.
        open_paths: Further paths that need no token, e.g. ``/metrics``.
    """

    tokens: tuple[TokenEntry, ...]
    jwt_secret: bytes = field(repr=False)
    jwt_life_s: int = 3600
    instances: tuple[Instance, ...] = (DEFAULT_INSTANCE,)
    body_bytes: int = 4 * 2**20
    state_bytes: int = 16 * 2**20
    jobspec_bytes: int = 128 * 2**10
    json_depth: int = 64
    body_timeout_s: float = 30.0
    token_bytes: int = 4096
    max_pubs: int = 300
    max_shots: int = 100_000
    max_jobs_per_request: int = 1000
    long_poll_max_s: float = 2.0
    wait_max_s: float = 60.0
    sse_heartbeat_s: float = 15.0
    page_limit: int = 200
    inline_bytes: int = 64 * 2**10
    usage_limit_s: float | None = None
    retry_after_s: int = 1
    open_paths: frozenset[str] = frozenset()

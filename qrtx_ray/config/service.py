"""Sections of the service around the jobs: HTTP, storage, identity, logs, throughput and limits."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, field_validator

from qrtx_ray.config.journal_url import journal_url_problem
from qrtx_ray.config.section import Section, key
from qrtx_ray.config.units import Count, Duration, PositiveCount, PositiveDuration, Size, SizeOrNone

__all__ = ["Auth", "LimitsSection", "Monitoring", "Performance", "Server", "Storage", "Token"]

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


def _switch(value: Any) -> Any:
    # YAML 1.1 reads a bare on/off as a boolean.
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class Monitoring(Section):
    """What the operator sees."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = key("INFO", "Least severe message that is logged.")

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value


class Performance(Section):
    """Throughput of the HTTP front."""

    batch_size: PositiveCount = key(64, "Submissions that a replica hands to the scheduler in one call.", unit="jobs")
    status_cache_entries: PositiveCount = key(100_000, "Job states that a replica keeps in memory.", unit="jobs")
    long_poll_max: Duration = key(
        2.0, "How long a status request may be held until the job has ended.", unit="s", le=30.0
    )
    replicas: PositiveCount = key(1, "Replicas of the HTTP front.", unit="actors")
    max_ongoing_requests: PositiveCount = key(
        1000, "Requests a replica serves at once, held ones included.", unit="requests"
    )
    haproxy: Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)] = key(
        "auto", "Whether Ray Serve's HAProxy takes the connections; auto: where it is installed."
    )


class LimitsSection(Section):
    """What one request may ask for. Checked before or while it is decoded, never after."""

    body_bytes: Size = key(4 * 2**20, "Size of a request body.", unit="bytes")
    object_bytes: Size = key(16 * 2**20, "One compressed object of a request, inflated.", unit="bytes")
    inflated_bytes: Size = key(32 * 2**20, "All compressed objects of a request, inflated.", unit="bytes")
    json_depth: PositiveCount = key(64, "Nesting of JSON.", unit="levels", le=500)
    pubs: PositiveCount = key(300, "Circuits with their parameters (PUBs) in a job.", unit="PUBs")
    instructions: PositiveCount = key(100_000, "Instructions of a circuit after full expansion.", unit="instructions")
    shots: PositiveCount = key(100_000, "Shots of one PUB and parameter row.", unit="shots")
    result_bytes: Size = key(2**30, "Memory of all samples: Σ shots × (bytes of the registers + 100).", unit="bytes")
    sweep_points: PositiveCount = key(10_000, "Parameter rows of a job.", unit="rows")
    qasm3_bytes: Size = key(256 * 2**10, "OpenQASM 3 source; it is read at about 12 kB a second.", unit="bytes")
    state_bytes: Size = key(
        16 * 2**20, "A named state, such as that of a client's loop, as sent.", unit="bytes", le=16 * 2**20
    )
    allow_while_loops: bool = key(False, "Whether circuits may hold while loops, which only the deadline ends.")
    allow_exact_precision: bool = key(False, "Whether an estimator may ask for precision 0, the exact value.")


class Storage(Section):
    """Where everything durable lives."""

    path: str | None = key(None, "Root folder; null: $XDG_DATA_HOME/qrtx, or ~/.local/share/qrtx.")
    journal_url: str | None = key(
        None,
        "The journal of jobs: sqlite:///<absolute path>, postgresql://<user>@<host>/<database> or memory:; "
        "null: sqlite:///<storage.path>/journal.db.",
    )
    circuit_fs_url: str | None = key(None, "Folder or fsspec URL of the job files (circuit_fs); null: <storage.path>.")
    min_free_bytes: SizeOrNone = key(
        256 * 2**20, "Free space below which no more jobs are accepted; 0: the space is not looked at.", unit="bytes"
    )
    job_retention: PositiveDuration | None = key(
        None, "How long jobs are kept after their end, with all that belongs to them; null: for ever.", unit="s"
    )

    @field_validator("journal_url")
    @classmethod
    def _known_store(cls, value: str | None) -> str | None:
        problem = None if value is None else journal_url_problem(value)
        if problem is not None:
            raise ValueError(problem)
        return value


class Token(Section):
    """A tenant and the hash of its token; the token itself never stands in a file of ours."""

    name: str = key(..., "The tenant.")
    sha256: str = key(..., "SHA-256 of the token, 64 hexadecimal digits.")
    instances: tuple[str, ...] = key((), "Instance names the tenant may use; empty: the one all tenants have.")

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _TENANT.match(value):
            msg = "a tenant's name is 1 to 64 letters, digits, '.', '_' or '-'"
            raise ValueError(msg)
        return value

    @field_validator("sha256")
    @classmethod
    def _hash(cls, value: str) -> str:
        if not _SHA256.match(value):
            msg = "64 lower-case hexadecimal digits are wanted (printf %s TOKEN | sha256sum)"
            raise ValueError(msg)
        return value


class Auth(Section):
    """Who may use the service."""

    token_file: str | None = key(None, "File with the service's own token; null: <storage.path>/token.")
    tokens: tuple[Token, ...] = key((), "Further tenants with the hashes of their tokens.")
    embedded: bool = key(True, "Create token_file (mode 0600) with a fresh token when it does not exist.")
    iam_token_ttl: PositiveDuration = key(3600.0, "Life of an access token given for an API key.", unit="s")


class Server(Section):
    """Where the service listens."""

    host: str = key("127.0.0.1", "Address of the HTTP front.")
    port: Count = key(8000, "Port of the HTTP front.", le=65535)
    dashboard_port: Count = key(8265, "Port of Ray's dashboard.", le=65535)
    root: str = key("", "Path before every route, e.g. /quantum; empty: none.")
    drain_time: Duration = key(
        30.0,
        "Longest wait at shutdown for runs to end their slice and keep their progress; 0: none, they go on from what they have.",
        unit="s",
    )

    @field_validator("root")
    @classmethod
    def _plain_path(cls, value: str) -> str:
        if value and not re.match(r"(/[A-Za-z0-9._~-]+)+\Z", value):
            msg = "a path such as /quantum is wanted: a leading slash, none at the end"
            raise ValueError(msg)
        return value

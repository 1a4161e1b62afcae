"""The parts of a job request that both APIs share, checked in one place."""

from __future__ import annotations

import hashlib
from typing import Any

from starlette.requests import Request

from qrtx_ray.api.requests import text
from qrtx_ray.errors import ValidationError

__all__ = ["client_name", "digest_of", "idempotency_key", "tags_of"]

_MAX_TAGS = 8
_MAX_TAG_CHARS = 86
_MAX_KEY_CHARS = 128
_MAX_CLIENT_CHARS = 200


def digest_of(body: bytes) -> str:
    """What identifies a body: hex SHA-256."""
    return hashlib.sha256(body).hexdigest()


def idempotency_key(request: Request) -> str | None:
    """The header ``Idempotency-Key``, or None.

    Raises:
        ValidationError: Empty, unprintable or longer than 128 characters.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not key:
        raise ValidationError("Idempotency-Key must not be empty", field="Idempotency-Key")
    return text(key, "Idempotency-Key", _MAX_KEY_CHARS)


def client_name(request: Request) -> str:
    """What the client says it is, shortened and without what would disturb a log."""
    headers = request.headers
    name = headers.get("x-qx-client-application") or headers.get("user-agent", "")
    return name[:_MAX_CLIENT_CHARS] if name.isprintable() else ""


def tags_of(value: Any) -> tuple[str, ...]:
    """`value` as tags: at most 8 different printable strings of 1..86 characters; None is none.

    Raises:
        ValidationError: It is something else.
    """
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _MAX_TAGS:
        limit = f"{_MAX_TAGS} tags"
        raise ValidationError(f"tags must be a list of at most {limit}", field="tags", limit=limit)
    tags = tuple(text(tag, f"tags[{index}]", _MAX_TAG_CHARS) for index, tag in enumerate(value))
    if "" in tags:
        raise ValidationError("a tag must not be empty", field="tags")
    return tuple(dict.fromkeys(tags))

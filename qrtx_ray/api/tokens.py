"""Tokens on disk and on the wire: made here, kept as files only their owner reads, compared as hashes.

Two kinds are accepted. An *API token* is a random string known by its SHA-256. An *access token* is a JWT that the
identity service issues for an API token, because the official client insists on one.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from qrtx_ray.api.settings import TokenEntry
from qrtx_ray.errors import PersistError

__all__ = ["AccessTokens", "Principal", "TokenBook", "hash_token", "load_or_create_secret", "load_or_create_token"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. The tenant comes from the token and from nowhere else.

    `instances` names the instances the tenant is shown; empty: all.
    """

    tenant: str
    operator: bool = False
    instances: tuple[str, ...] = ()


def hash_token(token: str) -> str:
    """The form in which a token is kept: hex SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class TokenBook:
    """The accepted API tokens."""

    def __init__(self, entries: Iterable[TokenEntry]) -> None:
        self._entries = [
            (entry.sha256.encode(), Principal(entry.tenant, entry.operator, entry.instances)) for entry in entries
        ]

    def find(self, token: str) -> Principal | None:
        """Whose token this is. Takes the same time whether and where it is found."""
        digest = hash_token(token).encode()
        found: Principal | None = None
        for known, principal in self._entries:
            if hmac.compare_digest(known, digest):
                found = principal
        return found


class AccessTokens:
    """Issues and checks the JWTs of the identity service (HS256; claims ``sub`` = tenant, ``iat``, ``exp``).

    Raises:
        ValueError: The secret is shorter than 32 bytes.
    """

    _ISSUER = "qrtx"
    _REMEMBERED = 1024

    def __init__(self, secret: bytes, life_s: int) -> None:
        if len(secret) < 32:
            msg = "the secret that signs access tokens needs at least 32 bytes"
            raise ValueError(msg)
        self._key = hmac.digest(secret, b"access tokens", "sha256")
        self.life_s = life_s
        self._seen: dict[bytes, tuple[Principal, float]] = {}

    def issue(self, principal: Principal, now: float) -> str:
        """A token for `principal`, valid from `now` (epoch seconds) for `life_s`."""
        claims = {
            "sub": principal.tenant,
            "iss": self._ISSUER,
            "iat": int(now),
            "exp": int(now) + self.life_s,
            "operator": principal.operator,
            "instances": list(principal.instances),
        }
        return jwt.encode(claims, self._key, algorithm="HS256")

    def find(self, token: str) -> Principal | None:
        """Whose token this is, or None when it is not ours, damaged or expired.

        Checked tokens are remembered by hash until they expire: a check costs 40 µs, and a poll comes with each one.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._seen.get(digest)
        if known is not None:
            return known[0] if known[1] > time.time() else None
        claims = self._decode(token)
        if claims is None:
            return None
        principal = Principal(claims["sub"], claims["operator"] is True, tuple(claims["instances"]))
        if len(self._seen) >= self._REMEMBERED:
            self._seen.clear()
        self._seen[digest] = (principal, float(claims["exp"]))
        return principal

    def _decode(self, token: str) -> dict[str, Any] | None:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                issuer=self._ISSUER,
                options={"require": ["exp", "iat", "sub", "operator", "instances"]},
            )
        except (jwt.PyJWTError, ValueError):  # ValueError: text that cannot be encoded
            return None
        return claims


def load_or_create_token(path: Path) -> str:
    """The API token kept in `path`, made now if there is none. File 0600, folder 0700.

    Raises:
        PersistError: It cannot be read or written, is empty, or others may read it.
    """
    return _load_or_create(path, secrets.token_urlsafe(32))


def load_or_create_secret(path: Path) -> bytes:
    """The 32 random bytes kept (as hex) in `path`, made now if there are none. File 0600, folder 0700.

    Raises:
        PersistError: As for `load_or_create_token`, or it is not hex.
    """
    try:
        return bytes.fromhex(_load_or_create(path, secrets.token_hex(32)))
    except ValueError:
        raise PersistError(f"{path} does not hold a secret in hex") from None


def _load_or_create(path: Path, fresh: str) -> str:
    try:
        with contextlib.suppress(FileExistsError):
            _create(path, fresh)
        mode = path.stat().st_mode & 0o777
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PersistError(f"cannot keep a secret in {path}: {type(error).__name__}") from error
    if mode & 0o077:
        raise PersistError(f"{path} can be read by others (mode {mode:o}); make it 600")
    if not text:
        raise PersistError(f"{path} is empty; remove it to have a new one made")
    return text


def _create(path: Path, text: str) -> None:
    """Make the file with its content in one step: a link to a finished file, so that nobody reads half of it."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink()

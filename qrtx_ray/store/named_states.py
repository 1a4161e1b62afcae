"""Small documents that a tenant keeps under names of its own, such as where an optimiser stands.

::

    <url>/named_states/t-<tenant>/s-<name>:   magic "QRTXNAME" | header length u32 | SHA-256 of header | header (JSON) | zstd frame

What is there is told by an etag, the SHA-256 of the document, and a writer may say which one it expects to replace.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
import threading
from dataclasses import asdict, dataclass

import orjson
import zstandard

from qrtx_ray.errors import InvalidState, NotFound, PayloadTooLarge, PersistError, StateChanged
from qrtx_ray.store.files import OpenFile, open_files
from qrtx_ray.store.state_container import DEFAULT_LEVEL

__all__ = ["MAX_DOCUMENT_BYTES", "MAX_NAMES", "NamedState", "NamedStates"]

MAX_DOCUMENT_BYTES = 16 * 2**20
MAX_NAMES = 1000

_WORD = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAGIC = b"QRTXNAME"
_PREFIX = struct.Struct("<8sI32s")
_MAX_HEADER = 1024
_WORKERS_TURN = 64


@dataclass(frozen=True, slots=True)
class NamedState:
    """What is known of one: its etag (hex), its size in bytes, and when it was written, seconds since the epoch."""

    name: str
    etag: str
    size_bytes: int
    at: float


class NamedStates:
    """The documents of all tenants below `url`. Synchronous; any thread. One process at a time may write.

    Args:
        url: As for `CircuitFS`.
        compression_level: Zstandard level of what is written from now on.

    Raises (any method):
        NotFound: A tenant or a name that cannot be one, or nothing is there.
        PersistError: The file system refused, or a file is damaged.
    """

    def __init__(self, url: str, *, compression_level: int = DEFAULT_LEVEL) -> None:
        self._files = open_files(url, "named_states")
        self._level = compression_level
        # A tenant's writers take turns: between looking and writing nobody else may write.
        self._turns = [threading.Lock() for _ in range(_WORKERS_TURN)]

    def put(self, tenant: str, name: str, document: bytes, expected: str | None, now: float) -> str:
        """Keep `document` durably; its etag. What is there already in the same bytes is left as it is.

        Args:
            expected: The etag that must be there, "" for nothing, None for whatever is.

        Raises:
            StateChanged: Something else is there.
            InvalidState: The tenant has as many names as it may.
            PayloadTooLarge: More than `MAX_DOCUMENT_BYTES`.
        """
        path = _path(tenant, name)
        if len(document) > MAX_DOCUMENT_BYTES:
            raise PayloadTooLarge("the state is too large", field="state", limit=f"{MAX_DOCUMENT_BYTES} bytes")
        etag = hashlib.sha256(document).hexdigest()
        with self._turn(tenant):
            present = self._present(path)
            if present is not None and present.etag == etag:
                return etag
            _check(present, expected)
            if present is None and len(self._files.names(_folder(tenant))) >= MAX_NAMES:
                raise InvalidState(
                    "there are as many named states as there may be; delete one",
                    field="name",
                    limit=f"{MAX_NAMES} states",
                )
            header = orjson.dumps(asdict(NamedState(name, etag, len(document), now)))
            prefix = _PREFIX.pack(_MAGIC, len(header), hashlib.sha256(header).digest())
            packed = zstandard.ZstdCompressor(level=self._level).compress(document)
            self._files.replace(path, b"".join([prefix, header, packed]), durable=True)
        return etag

    def get(self, tenant: str, name: str) -> tuple[bytes, str]:
        """The document and its etag."""
        data = self._files.read(_path(tenant, name))
        if data is None:
            raise NotFound("no such state", field="name")
        state, start = _parsed(data)
        try:
            if zstandard.frame_content_size(data[start:]) != state.size_bytes or state.size_bytes > MAX_DOCUMENT_BYTES:
                raise PersistError("the state is damaged: its lengths contradict each other")
            document = zstandard.ZstdDecompressor().decompress(data[start:])
        except (zstandard.ZstdError, MemoryError) as error:
            raise PersistError("the state is damaged or truncated") from error
        if not hmac.compare_digest(hashlib.sha256(document).hexdigest(), state.etag):
            raise PersistError("the state does not match its checksum")
        return document, state.etag

    def delete(self, tenant: str, name: str, expected: str | None) -> None:
        """Forget a document; `expected` as for `put`.

        Raises:
            StateChanged: Something else is there.
        """
        path = _path(tenant, name)
        with self._turn(tenant):
            present = self._present(path)
            if present is None:
                raise NotFound("no such state", field="name")
            _check(present, expected)
            self._files.remove(path)

    def list(self, tenant: str) -> list[NamedState]:
        """What the tenant keeps, by name. A file that cannot be read is left out."""
        found = []
        for entry in self._files.names(_folder(tenant)):
            try:
                state = self._find(f"{_folder(tenant)}/{entry}")
            except PersistError:
                continue
            if state is not None:
                found.append(state)
        return sorted(found, key=lambda state: state.name)

    def _turn(self, tenant: str) -> threading.Lock:
        return self._turns[hash(tenant) % len(self._turns)]

    def _present(self, path: str) -> NamedState | None:
        """What a writer finds. A damaged file is something that nobody expects, and that may be replaced."""
        try:
            return self._find(path)
        except PersistError:
            return NamedState("", "damaged", 0, 0.0) if self._files.exists(path) else None

    def _find(self, path: str) -> NamedState | None:
        with self._files.open(path) as file:
            return None if file is None else _parsed(_front(file))[0]


def _front(file: OpenFile) -> bytes:
    front = bytearray(min(_PREFIX.size + _MAX_HEADER, file.size_bytes))
    return bytes(front[: file.read_into(memoryview(front))])


def _parsed(data: bytes) -> tuple[NamedState, int]:
    """What the file says of itself, and where the document begins."""
    try:
        magic, length, digest = _PREFIX.unpack_from(data)
        end = _PREFIX.size + length
        header = data[_PREFIX.size : end]
        if magic != _MAGIC or hashlib.sha256(header).digest() != digest:
            raise PersistError("the state's file is damaged")
        return NamedState(**orjson.loads(header)), end
    except (struct.error, ValueError, TypeError) as error:
        raise PersistError("the state's file is damaged") from error


def _check(present: NamedState | None, expected: str | None) -> None:
    there = "" if present is None else present.etag
    if expected is not None and not hmac.compare_digest(there.encode(), expected.encode()):
        raise StateChanged("the state is not the one that was expected", field="name")


def _folder(tenant: str) -> str:
    if _WORD.fullmatch(tenant) is None:
        raise NotFound("no such tenant", field="tenant")
    return f"t-{tenant}"


def _path(tenant: str, name: str) -> str:
    if _WORD.fullmatch(name) is None:
        raise NotFound("no such state", field="name")
    return f"{_folder(tenant)}/s-{name}"

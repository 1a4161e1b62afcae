"""Where a runtime is: from arguments, the environment, or the file that a runtime on this machine leaves.

Looked up in this order: arguments; ``QRTX_URL`` and ``QRTX_TOKEN`` (or ``QRTX_TOKEN_FILE``); the connection file below the
storage folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from qrtx_ray.config import load_settings
from qrtx_ray.errors import AuthenticationError, DeviceUnavailable, ValidationError

__all__ = ["Connection", "find_connection", "forget_connection", "write_connection"]

FILE = "connection.json"


@dataclass(frozen=True, slots=True)
class Connection:
    """A runtime's address.

    Args:
        url: Base URL of the HTTP front.
        token: API token; never part of the connection file, which only says where it is kept.
        dashboard_url: Ray's dashboard, or None.
        pid: Process that keeps the runtime up, 0 when unknown.
        storage: Its storage folder, when on this machine.
    """

    url: str
    token: str = field(repr=False)
    dashboard_url: str | None = None
    pid: int = 0
    storage: str = ""

    def runtime_environment(self, instance: str = "default") -> dict[str, str]:
        """The variables that point the official Qiskit Runtime client here."""
        return {
            "QISKIT_IBM_CHANNEL": "ibm_quantum_platform",
            "QISKIT_IBM_TOKEN": self.token,
            "QISKIT_IBM_INSTANCE": instance,
            # The client leaves a URL with this word in it as it is; any other loses its port.
            "QISKIT_IBM_URL": f"{self.url}/experimental/api/v1",
            "IAM_URL": self.url,
            "GLOBAL_SEARCH_URL": self.url,
            "GLOBAL_CATALOG_URL": f"{self.url}/catalog",
        }


def write_connection(connection: Connection) -> None:
    """Leave the address below the runtime's storage folder, readable by its owner only."""
    path = Path(connection.storage) / FILE
    document = {name: value for name, value in asdict(connection).items() if name != "token"}
    draft = path.with_suffix(".tmp")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(document, indent=1), "utf-8")
    draft.replace(path)


def forget_connection(storage: Path) -> None:
    """Remove the file: the runtime is going down."""
    (storage / FILE).unlink(missing_ok=True)


def find_connection(
    url: str | None = None, token: str | None = None, environment: Mapping[str, str] | None = None
) -> Connection:
    """The runtime to talk to.

    Raises:
        DeviceUnavailable: No runtime is known.
        ValidationError: The URL is none.
        AuthenticationError: A URL is known but no token.
    """
    env = os.environ if environment is None else environment
    url = url or env.get("QRTX_URL")
    token = token or env.get("QRTX_TOKEN") or _token_of(env.get("QRTX_TOKEN_FILE"))
    if url and not url.startswith(("http://", "https://")):
        raise ValidationError(f"the runtime's URL must begin with http:// or https://, not {url[:40]!r}", field="url")
    if url and token:
        return Connection(url.rstrip("/"), token)
    paths = load_settings(env=env).paths
    if url:
        token = token or _token_of(str(paths.token_file))
        if token is None:
            raise AuthenticationError("no token: set QRTX_TOKEN or QRTX_TOKEN_FILE")
        return Connection(url.rstrip("/"), token)
    try:
        document = json.loads((paths.storage / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        raise DeviceUnavailable(
            f"no runtime is known here: start one with 'qrtx up', or set QRTX_URL (looked in {paths.storage})"
        ) from None
    token = token or _token_of(str(paths.token_file))
    if token is None:
        raise AuthenticationError(f"the token file {paths.token_file} cannot be read")
    return Connection(document["url"], token, document["dashboard_url"], document["pid"], document["storage"])


def _token_of(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text("utf-8").strip() or None
    except OSError:
        return None

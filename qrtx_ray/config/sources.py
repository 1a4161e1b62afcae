"""Where settings come from: the profile, the YAML file, `QRTX_*` variables; each value keeps the name of its source."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from qrtx_ray.errors import ValidationError

__all__ = ["PROFILES", "SHORT_VARIABLES", "Layers", "read_environment", "read_file", "read_profile"]

PROFILES = ("default", "optimized")

SHORT_VARIABLES = {
    "QRTX_STORAGE_PATH": "storage.path",
    "QRTX_LOG_LEVEL": "monitoring.log_level",
    "QRTX_MAX_QUEUE_SIZE": "scheduler.max_queue_size",
    "QRTX_ENABLE_MULTIPLEXING": "multiplexing.enabled",
    "QRTX_ISOLATION_LEVEL": "multiplexing.isolation_level",
    "QRTX_HOST": "server.host",
    "QRTX_PORT": "server.port",
    "QRTX_TOKEN_FILE": "auth.token_file",
}
"""Documented short variables and the keys they set."""

_READ_ELSEWHERE = frozenset({"QRTX_CONFIG", "QRTX_PROFILE", "QRTX_URL", "QRTX_TOKEN", "QRTX_INSTANCE"})
_Path = tuple[str | int, ...]


@dataclass(slots=True)
class Layers:
    """Settings as written, later layers over earlier ones, with the source of every value.

    Mappings are merged key by key; anything else, lists included, is replaced as a whole.
    """

    data: dict[str, Any] = field(default_factory=dict)
    _origins: dict[_Path, str] = field(default_factory=dict)

    def add(self, layer: Mapping[Any, Any], origin: str) -> None:
        """Lay `layer` over what is there; `origin` is what an error message calls it."""
        self._merge(self.data, layer, (), origin)

    def set(self, dotted: str, value: Any, origin: str) -> None:
        """Set one key, e.g. ``"server.port"``."""
        nested: Any = value
        for part in reversed(dotted.split(".")):
            nested = {part: nested}
        self.add(nested, origin)

    def origin(self, path: _Path) -> str:
        """The source of the value at `path`, or of the nearest value that holds it."""
        for length in range(len(path), -1, -1):
            if found := self._origins.get(path[:length]):
                return found
        # An error of a whole section: any source that wrote into it is a better hint than none.
        inside = (origin for key, origin in self._origins.items() if key[: len(path)] == path)
        return next(inside, "the defaults")

    def _merge(self, target: dict[str, Any], layer: Mapping[Any, Any], path: _Path, origin: str) -> None:
        for key, value in layer.items():
            here = (*path, str(key))
            if isinstance(value, Mapping):
                current = target.get(str(key))
                target[str(key)] = current = dict(current) if isinstance(current, dict) else {}
                self._merge(current, value, here, origin)
            else:
                target[str(key)] = value
                self._origins[here] = origin


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice (YAML would keep the last one without a word)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for name, _ in node.value:
            if name.value in seen and name.tag != "tag:yaml.org,2002:merge":
                problem = f"the key {name.value!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=name.start_mark)
            seen.add(str(name.value))
        return super().construct_mapping(node, deep)


def read_file(path: str | Path) -> dict[str, Any]:
    """The settings of a YAML file, without the optional top-level ``qrtx:``.

    Raises:
        ValidationError: The file cannot be read, is not YAML, or is not a mapping.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        msg = f"the configuration file {path} cannot be read: {reason}"
        raise ValidationError(msg, field="QRTX_CONFIG") from error
    return _parse(text, str(path))


def read_profile(name: str) -> dict[str, Any]:
    """The settings of a shipped profile.

    Raises:
        ValidationError: There is no such profile.
    """
    if name not in PROFILES:
        msg = f"there is no profile {name!r}{_hint(name, PROFILES)}; profiles are {', '.join(PROFILES)}"
        raise ValidationError(msg, field="QRTX_PROFILE")
    text = resources.files("qrtx_ray.config").joinpath("profiles", f"{name}.yaml").read_text(encoding="utf-8")
    return _parse(text, f"profile {name}")


def read_environment(env: Mapping[str, str], layers: Layers, sections: Mapping[str, Any]) -> None:
    """Lay the ``QRTX_*`` variables of `env` over `layers`; nested names win over short ones; empty ones are unset.

    Args:
        env: The environment.
        layers: Where to lay them.
        sections: The names of the top-level keys.

    Raises:
        ValidationError: A name that is nested or nearly a documented one, but is none. Other ``QRTX_`` names are
            left alone: the environment is shared with other programs.
    """
    names = sorted(name for name, value in env.items() if name.startswith("QRTX_") and value.strip())
    for name in names:
        # Kubernetes sets QRTX_PORT=tcp://… for a service that is called qrtx.
        if name in SHORT_VARIABLES and "://" not in (env[name] if name == "QRTX_PORT" else ""):
            layers.set(SHORT_VARIABLES[name], _value(name, env[name]), f"variable {name}")
    for name in names:
        parts = name.removeprefix("QRTX_").lower().split("__")
        if name in SHORT_VARIABLES or name in _READ_ELSEWHERE:
            continue
        if parts[0] in sections:
            layers.set(".".join(parts), _value(name, env[name]), f"variable {name}")
        elif len(parts) > 1:
            msg = f"unknown variable {name}: there is no section {parts[0]}{_hint(parts[0], sections)}"
            raise ValidationError(msg, field=name)
        elif near := difflib.get_close_matches(name, [*SHORT_VARIABLES, *_READ_ELSEWHERE], n=1, cutoff=0.85):
            msg = f"unknown variable {name}; did you mean {near[0]}?"
            raise ValidationError(msg, field=name)


def _value(name: str, text: str) -> Any:
    # Plain text is left to the key's own type; only lists, mappings and null need YAML.
    if text.strip()[0] not in "[{" and text.strip() != "null":
        return text.strip()
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        msg = f"{name}: the value starts like a list or a mapping but is not YAML"
        raise ValidationError(msg, field=name) from error


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        data = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        msg = f"{origin}{where}: not valid YAML: {getattr(error, 'problem', None) or 'unreadable'}"
        raise ValidationError(msg, field="QRTX_CONFIG") from error
    if data is None:
        return {}
    if isinstance(data, dict) and data.keys() == {"qrtx"}:
        data = data["qrtx"] or {}
    if not isinstance(data, dict):
        msg = f"{origin}: a mapping of sections is wanted, not {type(data).__name__}"
        raise ValidationError(msg, field="QRTX_CONFIG")
    return data


def _hint(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""

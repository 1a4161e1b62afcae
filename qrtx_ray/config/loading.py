"""`load_settings`: profile, file, variables and overrides, laid over each other and validated as one."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pydantic

from qrtx_ray.config.paths import absolute, default_storage
from qrtx_ray.config.section import Section
from qrtx_ray.config.settings import Settings
from qrtx_ray.config.sources import Layers, read_environment, read_file, read_profile
from qrtx_ray.errors import ValidationError

__all__ = ["load_settings"]


def load_settings(
    path: str | Path | None = None,
    profile: str | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings in force; a later source wins: profile, YAML file, `QRTX_*` variables, `overrides`.

    Args:
        path: YAML file; None: the variable ``QRTX_CONFIG``, or no file.
        profile: ``default`` or ``optimized``; None: the variable ``QRTX_PROFILE``, or ``default``.
        env: The environment; None: that of the process.
        overrides: Nested mappings or dotted keys (``{"server.port": 9000}``), e.g. options of a command line.

    Returns:
        Frozen settings whose paths are absolute, so that they mean the same in every process of this machine.

    Raises:
        ValidationError: Unknown keys or bad values; the text names each key, what is wrong, and where it was written.
    """
    env = os.environ if env is None else env
    profile = profile or env.get("QRTX_PROFILE") or "default"
    path = path or env.get("QRTX_CONFIG") or None
    layers = Layers()
    layers.add(read_profile(profile), f"profile {profile}")
    if path is not None:
        layers.add(read_file(path), str(path))
    read_environment(env, layers, Settings.model_fields)
    for key, value in (overrides or {}).items():
        layers.set(key, value, "given as an option")
    try:
        settings = Settings.model_validate(layers.data)
    except pydantic.ValidationError as error:
        problems = [(_place(problem), problem) for problem in error.errors(include_url=False)]
        text = "\n".join(_explain(loc, problem, layers) for loc, problem in problems)
        raise ValidationError(text, field=_dotted(problems[0][0])) from None
    return _with_absolute_paths(settings, env)


def _with_absolute_paths(settings: Settings, env: Mapping[str, str]) -> Settings:
    root = absolute(settings.storage.path) if settings.storage.path else default_storage(env)
    storage = settings.storage.model_copy(update={"path": str(root)})
    placed = settings.model_copy(update={"storage": storage})
    paths = placed.paths
    states = {"level2_storage_path": str(paths.quantum_states), "level3_metadata_path": str(paths.state_metadata)}
    urls = {"journal_url": paths.journal_url, "circuit_fs_url": paths.circuit_fs_url}
    return placed.model_copy(
        update={
            "storage": storage.model_copy(update=urls),
            "auth": settings.auth.model_copy(update={"token_file": str(paths.token_file)}),
            "quantum_state": settings.quantum_state.model_copy(update=states),
            "custom_devices": str(paths.custom_devices) if paths.custom_devices else None,
        }
    )


def _place(problem: Any) -> tuple[int | str, ...]:
    # A rule between sections is raised at the root and names the key it is about.
    return problem["loc"] or tuple(problem.get("ctx", {}).get("key", "").split("."))


def _explain(loc: tuple[int | str, ...], problem: Any, layers: Layers) -> str:
    """One line: the dotted key, what is wrong with its value, and the source."""
    dotted, origin = _dotted(loc), layers.origin(loc)
    if problem["type"] == "extra_forbidden":
        known = list(_section_at(loc[:-1]).model_fields)
        near = difflib.get_close_matches(str(loc[-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {dotted}; {hint} ({origin})"
    text = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{dotted}: {text} ({origin})"
    text = text.replace("Input should be", "it should be")
    # What stands under auth may be a secret pasted into the wrong place.
    shown = "" if loc[0] == "auth" or problem["type"] == "missing" else f", not {_short(problem['input'])}"
    return f"{dotted}: {text}{shown} ({origin})"


def _dotted(loc: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _section_at(loc: tuple[int | str, ...]) -> type[Section]:
    """The section at `loc`; numbers of lists and names of mappings lead to the section of their entries."""
    section: type[Section] = Settings
    for part in loc:
        if isinstance(part, str) and part in section.model_fields:
            section = _section_of(section.model_fields[part].annotation) or section
    return section


def _section_of(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _section_of(argument))), None)

"""The options tree of the official client's samplers and estimators, as a table, and what has an effect here.

Every option the client can send is known by name and type, so that a misspelt one is refused with a hint instead of
being dropped in silence. Those that are accepted but change nothing in this runtime are reported by dotted name under
``ignored``, which travels into the metadata of the results.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from qrtx_ray.codec.amounts import check_precision, check_priority, check_seed, check_shots, precision_of_shots
from qrtx_ray.codec.json_text import expect_object, nearest_name
from qrtx_ray.codec.limits import Limits
from qrtx_ray.codec.runtime_json import plain
from qrtx_ray.errors import ValidationError
from qrtx_ray.model import Program

__all__ = ["DEFAULT_PRECISION", "DEFAULT_SHOTS", "CheckedOptions", "check_options"]

DEFAULT_SHOTS = 4096
DEFAULT_PRECISION = 0.015625

Check = Callable[[Any], str]
"""Returns "" for a good value, else what it must be."""


def _flag(value: Any) -> str:
    return "" if type(value) is bool else "true or false"


def _count(value: Any) -> str:
    return "" if type(value) is int and 0 <= value < 1 << 53 else "a whole number of at least 0"


def _count_or_auto(value: Any) -> str:
    return (
        "" if value == "auto" or (type(value) is int and 1 <= value < 1 << 53) else "a whole number above 0 or 'auto'"
    )


def _number(value: Any) -> str:
    return "" if type(value) in {int, float} and math.isfinite(value) else "a finite number"


def _number_or_auto(value: Any) -> str:
    return "" if value == "auto" else _number(value) and "a finite number or 'auto'"


def _number_or_null(value: Any) -> str:
    return "" if value is None else _number(value) and "a finite number or null"


def _count_or_null(value: Any) -> str:
    return "" if value is None else _count(value) and "a whole number or null"


def _seed_or_null(value: Any) -> str:
    return (
        ""
        if value is None or (type(value) is int and 0 <= value < 1 << 64)
        else "a whole number of at least 0, or null"
    )


def _numbers(value: Any) -> str:
    return "" if type(value) is list and not any(_number(item) for item in value) else "a list of finite numbers"


def _counts(value: Any) -> str:
    return "" if type(value) is list and not any(_count(item) for item in value) else "a list of whole numbers"


def _names(value: Any) -> str:
    return "" if type(value) is list and all(type(item) is str for item in value) else "a list of names"


def _name_or_names(value: Any) -> str:
    return "" if type(value) is str else _names(value) and "a name or a list of names"


def _edges(value: Any) -> str:
    if value is None or (type(value) is list and all(type(edge) is list and not _counts(edge) for edge in value)):
        return ""
    return "a list of pairs of qubits"


def _anything(_value: Any) -> str:
    return ""


def _one_of(*choices: str) -> Check:
    return lambda value: "" if value in choices else "one of " + ", ".join(choices)


_DECOUPLING = {
    "enable": _flag,
    "sequence_type": _one_of("XX", "XpXm", "XY4"),
    "extra_slack_distribution": _one_of("middle", "edges"),
    "scheduling_method": _one_of("alap", "asap"),
    "skip_reset_qubits": _flag,
}
_TWIRLING = {
    "enable_gates": _flag,
    "enable_measure": _flag,
    "num_randomizations": _count_or_auto,
    "shots_per_randomization": _count_or_auto,
    "strategy": _one_of("active", "active-accum", "active-circuit", "all"),
}
_SIMULATOR = {"noise_model": _anything, "seed_simulator": _seed_or_null, "coupling_map": _edges, "basis_gates": _names}
_RESILIENCE: dict[str, Any] = {
    "measure_mitigation": _flag,
    "measure_noise_learning": {"num_randomizations": _count, "shots_per_randomization": _count_or_auto},
    "zne_mitigation": _flag,
    "zne": {
        "amplifier": _one_of("gate_folding", "gate_folding_front", "gate_folding_back", "pea"),
        "noise_factors": _numbers,
        "extrapolator": _name_or_names,
        "extrapolated_noise_factors": _numbers,
    },
    "pec_mitigation": _flag,
    "pec": {"max_overhead": _number_or_null, "noise_gain": _number_or_auto},
    "layer_noise_learning": {
        "max_layers_to_learn": _count_or_null,
        "shots_per_randomization": _count,
        "num_randomizations": _count,
        "layer_pair_depths": _counts,
    },
    "layer_noise_model": _anything,
}
_COMMON: dict[str, Any] = {
    "default_shots": _count_or_null,
    "dynamical_decoupling": _DECOUPLING,
    "twirling": _TWIRLING,
    "simulator": _SIMULATOR,
    "experimental": _anything,
}
_TREES: dict[Program, dict[str, Any]] = {
    Program.SAMPLER: _COMMON
    | {
        "execution": {
            "init_qubits": _flag,
            "rep_delay": _number,
            "meas_type": _one_of("classified", "kerneled", "avg_kerneled"),
        }
    },
    Program.ESTIMATOR: _COMMON
    | {
        "default_precision": _number,
        "seed_estimator": _seed_or_null,
        "resilience": _RESILIENCE,
        "execution": {"init_qubits": _flag, "rep_delay": _number},
    },
}
# These act, or ask for what happens anyway, so they are not reported as ignored.
_EFFECTIVE = frozenset({
    "default_shots", "default_precision", "seed_estimator", "simulator.seed_simulator", "execution.meas_type",
    "resilience.measure_mitigation",
})  # fmt: skip
_IDLE_VALUES: dict[str, Any] = {
    "execution.init_qubits": True,
    "dynamical_decoupling.enable": False,
    "twirling.enable_gates": False,
    "twirling.enable_measure": False,
    "simulator.noise_model": None,
    "resilience.zne_mitigation": False,
    "resilience.pec_mitigation": False,
}


class CheckedOptions:
    """Options after checking.

    Attributes:
        ignored: Dotted names of options accepted without effect, sorted.
        hints: ``experimental.qrtx``, with `priority` and `seed` checked.
        seed: The seed asked for, or None.
        shots / precision: The defaults for PUBs that name none (sampler / estimator).
        measure_mitigation: Whether readout errors are to be mitigated, or None when nothing was said.
    """

    __slots__ = ("hints", "ignored", "measure_mitigation", "precision", "seed", "shots")

    def __init__(self, tree: dict[str, Any], ignored: list[str], program: Program, limits: Limits) -> None:
        self.ignored = sorted(ignored)
        self.hints = _hints(tree.get("experimental"))
        simulator = tree.get("simulator") or {}
        resilience = tree.get("resilience") or {}
        self.measure_mitigation: bool | None = resilience.get("measure_mitigation")
        seeds = (self.hints.get("seed"), tree.get("seed_estimator"), simulator.get("seed_simulator"))
        self.seed: int | None = next((seed for seed in seeds if seed is not None), None)
        self.shots = _default_shots(tree, limits) if program is Program.SAMPLER else 0
        self.precision = _default_precision(tree, limits) if program is Program.ESTIMATOR else 0.0

    def to_plain(self) -> dict[str, Any]:
        """What a DecodedJob carries as `options`."""
        out: dict[str, Any] = {"meas_type": "classified", "ignored": self.ignored}
        if self.hints:
            out["hints"] = self.hints
        if self.measure_mitigation is not None:
            out["resilience"] = {"measure_mitigation": self.measure_mitigation}
        return out


def check_options(value: Any, program: Program, limits: Limits) -> CheckedOptions:
    """Check an options tree of the official client.

    Raises:
        ValidationError: An unknown name, a wrong type, a number out of bounds, or raw (kerneled) measurement results.
    """
    tree = expect_object({} if value is None else value, field="options")
    _bound_entries(tree, limits)
    ignored: list[str] = []
    _walk(tree, _TREES[program], "", ignored)
    if tree.get("execution", {}).get("meas_type", "classified") != "classified":
        raise ValidationError(
            "options.execution.meas_type must be 'classified'; emulated devices have no raw measurement signals",
            field="options.execution.meas_type",
        )
    return CheckedOptions(tree, ignored, program, limits)


def _walk(tree: dict[str, Any], known: dict[str, Any], prefix: str, ignored: list[str]) -> None:
    for name, value in tree.items():
        path = f"{prefix}{name[:64]}"
        check = known.get(name)
        if check is None:
            raise ValidationError(
                f"options.{path} is not an option{nearest_name(name, list(known))}", field=f"options.{path}"
            )
        if isinstance(check, dict):
            _walk(expect_object(value, field=f"options.{path}"), check, f"{path}.", ignored)
            continue
        if check is not _anything:
            wanted = check(plain(value, field=f"options.{path}"))
            if wanted:
                raise ValidationError(f"options.{path} must be {wanted}", field=f"options.{path}")
        if name == "experimental":
            ignored.extend(f"experimental.{key[:64]}" for key in expect_object(value, field=path) if key != "qrtx")
        elif path not in _EFFECTIVE and not (path in _IDLE_VALUES and value == _IDLE_VALUES[path]):
            ignored.append(path)


def _bound_entries(tree: dict[str, Any], limits: Limits) -> None:
    # A noise model is large and never looked into, so it is not counted.
    simulator = tree.get("simulator")
    rest = {**tree, "simulator": None}
    layer: list[Any] = [rest, {**simulator, "noise_model": None} if type(simulator) is dict else None]
    count = 0
    while layer:
        below: list[Any] = []
        for item in layer:
            if type(item) is dict:
                below.extend(item.values())
            elif type(item) is list:
                below.extend(item)
        count += len(below)
        if count > limits.options_entries:
            raise ValidationError(
                f"options has more than {limits.options_entries} entries",
                field="options",
                limit=f"{limits.options_entries} entries",
            )
        layer = below


def _hints(experimental: Any) -> dict[str, Any]:
    if experimental is None or "qrtx" not in experimental:
        return {}
    hints = expect_object(experimental["qrtx"], field="options.experimental.qrtx")
    if "priority" in hints:
        check_priority(hints["priority"], field="options.experimental.qrtx.priority")
    if "seed" in hints:
        check_seed(hints["seed"], field="options.experimental.qrtx.seed")
    return dict(hints)


def _default_shots(tree: dict[str, Any], limits: Limits) -> int:
    if tree.get("default_shots") is not None:
        return check_shots(tree["default_shots"], limits, field="options.default_shots")
    twirling = tree.get("twirling", {})
    parts = (twirling.get("num_randomizations"), twirling.get("shots_per_randomization"))
    if type(parts[0]) is int and type(parts[1]) is int:
        return check_shots(parts[0] * parts[1], limits, field="options.twirling (randomizations × shots of each)")
    return DEFAULT_SHOTS


def _default_precision(tree: dict[str, Any], limits: Limits) -> float:
    if tree.get("default_shots"):
        return precision_of_shots(check_shots(tree["default_shots"], limits, field="options.default_shots"))
    if "default_precision" in tree:
        return check_precision(tree["default_precision"], limits, field="options.default_precision")
    return DEFAULT_PRECISION

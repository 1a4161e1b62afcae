"""The `params` of a Qiskit Runtime job of program ``sampler`` or ``estimator``, decoded."""

from __future__ import annotations

from typing import Any

from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qrtx_ray.codec.amounts import check_integer, check_precision, check_shots
from qrtx_ray.codec.decoded import DecodedJob
from qrtx_ray.codec.inflate import InflationMeter
from qrtx_ray.codec.json_text import expect_object, nearest_name, read_json
from qrtx_ray.codec.limits import Limits
from qrtx_ray.codec.options import CheckedOptions, check_options
from qrtx_ray.codec.pubs import PubBudget, estimator_pub, sampler_pub, values_for
from qrtx_ray.codec.runtime_json import decode_bindings, decode_circuit, decode_numbers, strip_observables, type_of
from qrtx_ray.errors import ValidationError
from qrtx_ray.model import Program

__all__ = ["decode_runtime"]

_KNOWN = ["pubs", "options", "version", "support_qiskit", "resilience_level"]


def decode_runtime(payload: bytes, program: Program, limits: Limits, *, num_qubits: int | None = None) -> DecodedJob:
    """Decode the `params` object as the official client encodes it.

    Args:
        payload: JSON text of the params object.
        program: Which program it is for.
        num_qubits: Width of the device, or None.

    Raises:
        PayloadTooLarge: More bytes, inflated or not, than accepted.
        DecodeError: Damaged data.
        ValidationError: Anything else wrong; the message names the field, e.g. ``pubs[0].shots``.
    """
    params = expect_object(read_json(payload, limits, field="params"), field="params")
    for name in params:
        if name not in _KNOWN:
            raise ValidationError(f"params.{name[:64]} is not known{nearest_name(name, _KNOWN)}", field="params")
    if params.get("version", 2) != 2:
        raise ValidationError("params.version must be 2: only version 2 of the primitives is served", field="version")
    options = check_options(params.get("options"), program, limits)
    plain = options.to_plain()
    if params.get("resilience_level") is not None:
        level = check_integer(params["resilience_level"], 0, 2, field="resilience_level")
        plain["resilience_level"] = level
        if level > (1 if program is Program.ESTIMATOR else 0):  # level 1 mitigates readout; level 2 asks for more
            plain["ignored"] = sorted([*plain["ignored"], "resilience_level"])
    pubs = _pub_list(params.get("pubs"), limits)
    reader = _PubReader(options, InflationMeter(limits), PubBudget(limits), num_qubits)
    decoded: tuple[SamplerPub, ...] | tuple[EstimatorPub, ...]
    if program is Program.SAMPLER:
        decoded = tuple(reader.sampler(pub, f"pubs[{number}]") for number, pub in enumerate(pubs))
    else:
        decoded = tuple(reader.estimator(pub, f"pubs[{number}]") for number, pub in enumerate(pubs))
    return DecodedJob(program, decoded, plain, options.seed, ("qpy",) * len(decoded), tuple(reader.budget.shots))


def _pub_list(value: Any, limits: Limits) -> list[Any]:
    if type(value) is not list or not 1 <= len(value) <= limits.pubs:
        raise ValidationError(
            f"pubs must be a list of 1 to {limits.pubs} PUBs", field="pubs", limit=f"1..{limits.pubs} PUBs"
        )
    return value


class _PubReader:
    """Decodes the PUBs of one job against shared budgets."""

    def __init__(
        self, options: CheckedOptions, meter: InflationMeter, budget: PubBudget, num_qubits: int | None
    ) -> None:
        self.options = options
        self.meter = meter
        self.budget = budget
        self.num_qubits = num_qubits

    def sampler(self, pub: Any, field: str) -> SamplerPub:
        parts = _parts(pub, 1, 3, "[circuit, parameter values, shots]", field)
        circuit = decode_circuit(parts[0], self.meter, field=f"{field}.circuit", device_qubits=self.num_qubits)
        values = values_for(
            circuit, self.values(parts[1], f"{field}.parameter_values"), field=f"{field}.parameter_values"
        )
        shots = self.options.shots
        if parts[2] is not None:
            shots = check_shots(parts[2], self.meter.limits, field=f"{field}.shots")
        return sampler_pub(circuit, values, shots, self.budget, field=field)

    def estimator(self, pub: Any, field: str) -> EstimatorPub:
        parts = _parts(pub, 2, 4, "[circuit, observables, parameter values, precision]", field)
        circuit = decode_circuit(parts[0], self.meter, field=f"{field}.circuit", device_qubits=self.num_qubits)
        values = values_for(
            circuit, self.values(parts[2], f"{field}.parameter_values"), field=f"{field}.parameter_values"
        )
        precision = self.options.precision
        if parts[3] is not None:
            precision = check_precision(parts[3], self.meter.limits, field=f"{field}.precision")
        observables = strip_observables(parts[1])
        return estimator_pub(circuit, observables, values, precision, self.budget, field=field)

    def values(self, value: Any, field: str) -> Any:
        if value is None:
            return None
        if type(value) is dict and type_of(value) != "ndarray":
            return decode_bindings(value, self.meter, field=field)
        return decode_numbers(value, self.meter, field=field)


def _parts(pub: Any, low: int, high: int, form: str, field: str) -> list[Any]:
    if type(pub) is not list or not low <= len(pub) <= high:
        raise ValidationError(f"{field} must be a list {form}", field=field)
    return pub + [None] * (high - len(pub))

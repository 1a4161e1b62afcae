"""From checked parts to Qiskit's PUBs, with messages that name the PUB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from qiskit import QuantumCircuit
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qrtx_ray.codec.amounts import shots_of_precision
from qrtx_ray.codec.limits import Limits
from qrtx_ray.codec.runtime_json import Bindings
from qrtx_ray.errors import ValidationError

__all__ = ["PubBudget", "estimator_pub", "sampler_pub", "values_for"]

_PAULIS = frozenset("IXYZ+-rl01")
_BYTES_PER_SHOT = 100  # measured: what a simulator keeps for each shot besides the bits
_MAX_NDIM = 16


@dataclass(slots=True)
class PubBudget:
    """Running totals over the PUBs of one job.

    Args:
        limits: Bounds `sweep_points`, `result_bytes` and `observable_terms`.
    """

    limits: Limits
    points: int = 0
    bytes: int = 0
    terms: int = 0
    shots: list[int] = field(default_factory=list)

    def add_run(self, rows: int, elements: int, shots: int, num_bits: int, *, field: str) -> None:
        """Count a PUB of `rows` parameter rows, each run `shots` times, giving `elements` results.

        Raises:
            ValidationError: The job as a whole is too large.
        """
        self.points += max(rows, elements)
        self.bytes += rows * shots * (_BYTES_PER_SHOT + (num_bits + 7) // 8)
        self.shots.append(shots)
        limits = self.limits
        if self.points > limits.sweep_points:
            raise ValidationError(
                f"{field} brings the job to {self.points} parameter rows, at most {limits.sweep_points} are accepted",
                field=field,
                limit=f"{limits.sweep_points} sweep points",
            )
        if self.bytes > limits.result_bytes:
            raise ValidationError(
                f"{field} brings the job's shots to {self.bytes} bytes of memory, at most {limits.result_bytes} are "
                f"accepted; ask for fewer shots or rows",
                field=field,
                limit=f"{limits.result_bytes} bytes",
            )

    def add_terms(self, count: int, *, field: str) -> None:
        """Count weighted Paulis.

        Raises:
            ValidationError: More than `limits.observable_terms` in the job.
        """
        self.terms += count
        if self.terms > self.limits.observable_terms:
            raise ValidationError(
                f"{field} brings the job to more than {self.limits.observable_terms} observable terms",
                field=field,
                limit=f"{self.limits.observable_terms} terms",
            )


def values_for(
    circuit: QuantumCircuit, values: npt.NDArray[np.float64] | Bindings | None, *, field: str
) -> BindingsArray | None:
    """Parameter values in the form of Qiskit, after checking that they fit the circuit.

    Args:
        values: An array whose last axis follows the circuit's (sorted) parameters, or values by name.

    Raises:
        ValidationError: Too few, too many, or unknown parameters.
    """
    expected = circuit.num_parameters
    if values is None or (isinstance(values, np.ndarray) and values.size == 0 and expected == 0 and values.ndim <= 1):
        values = {}
    if isinstance(values, np.ndarray):
        given = values.shape[-1] if values.ndim else 1
        # One parameter may come without an axis of its own.
        single = expected == 1 and given != 1
        if given != expected and not single:
            raise _count_error(given, expected, field)
        if values.ndim > _MAX_NDIM or (expected and 0 in values.shape):
            raise ValidationError(f"{field} has an empty or too deeply nested shape", field=field)
        if expected == 0:
            return BindingsArray(shape=values.shape[:-1])
        shape = values.shape if single or values.ndim == 0 else values.shape[:-1]
        names = tuple(parameter.name for parameter in circuit.parameters)
        return BindingsArray({names: values.reshape((*shape, expected))}, shape=shape)
    return _named(circuit, values, field)


def _named(circuit: QuantumCircuit, values: Bindings, field: str) -> BindingsArray | None:
    names = [name for key in values for name in key]
    known = {parameter.name for parameter in circuit.parameters}
    for name in names:
        if name not in known:
            raise ValidationError(f"{field} has no parameter named '{name[:64]}' in its circuit", field=field)
    if len(names) != len(known):
        raise _count_error(len(names), len(known), field)
    if not values:
        return None
    shapes = {array.shape[:-1] for array in values.values()}
    if len(shapes) != 1 or 0 in next(iter(shapes)):
        raise ValidationError(f"{field} must give every parameter equally many values, and at least one", field=field)
    return BindingsArray(dict(values), shape=shapes.pop())


def _count_error(given: int, expected: int, field: str) -> ValidationError:
    return ValidationError(
        f"{field} has {given} parameter values, the circuit has {expected} parameters",
        field=field,
        limit=f"{expected} values",
    )


def sampler_pub(
    circuit: QuantumCircuit, values: BindingsArray | None, shots: int, budget: PubBudget, *, field: str
) -> SamplerPub:
    """A sampler PUB.

    Raises:
        ValidationError: A circuit without measurements or classical bits, or a job too large.
    """
    if not circuit.cregs or "measure" not in circuit.count_ops():
        nested = any(getattr(item.operation, "blocks", ()) for item in circuit.data if item.is_control_flow())
        if not circuit.cregs or not nested:
            raise ValidationError(
                f"{field}.circuit measures nothing into a classical register, so there is nothing to sample; "
                f"add measurements (e.g. circuit.measure_all())",
                field=f"{field}.circuit",
            )
    values = BindingsArray() if values is None else values
    budget.add_run(values.size, values.size, shots, circuit.num_clbits, field=field)
    return SamplerPub(circuit, values, shots, validate=False)


def estimator_pub(
    circuit: QuantumCircuit,
    observables: Any,
    values: BindingsArray | None,
    precision: float,
    budget: PubBudget,
    *,
    field: str,
) -> EstimatorPub:
    """An estimator PUB; `observables` is a ``{pauli: coefficient}`` object, or (nested) lists of them.

    Raises:
        ValidationError: Observables that do not fit the circuit or the parameter values, or a job too large.
    """
    array = _observables(observables, circuit.num_qubits, budget, field=f"{field}.observables")
    values = BindingsArray() if values is None else values
    try:
        shape = np.broadcast_shapes(array.shape, values.shape)
    except ValueError:
        raise ValidationError(
            f"{field}.observables of shape {array.shape} do not broadcast with parameter values of shape {values.shape}",
            field=f"{field}.observables",
        ) from None
    elements = int(np.prod(shape, dtype=object))
    budget.add_run(values.size, elements, shots_of_precision(precision), circuit.num_qubits, field=field)
    return EstimatorPub(circuit, array, values, precision, validate=False)


def _observables(value: Any, num_qubits: int, budget: PubBudget, *, field: str) -> ObservablesArray:
    _check_terms(value, num_qubits, budget, field)
    try:
        array = ObservablesArray(value, num_qubits=num_qubits)
    except (TypeError, ValueError):
        raise ValidationError(
            f"{field} must be a regular array of non-empty real sums of Paulis on {num_qubits} qubits", field=field
        ) from None
    if array.size == 0:
        raise ValidationError(f"{field} must hold at least one observable", field=field)
    return array


def _check_terms(value: Any, num_qubits: int, budget: PubBudget, field: str) -> None:
    layer: Sequence[Any] = [value]
    for _ in range(_MAX_NDIM):
        below: list[Any] = []
        for item in layer:
            if type(item) is dict:
                _check_sum(item, num_qubits, field)
                budget.add_terms(len(item), field=field)
            elif type(item) is list:
                below.extend(item)
            else:
                raise ValidationError(f"{field} must be objects of Pauli string to coefficient", field=field)
        if not below:
            return
        layer = below
    raise ValidationError(f"{field} is nested deeper than {_MAX_NDIM} levels", field=field, limit=f"{_MAX_NDIM} levels")


def _check_sum(item: dict[str, Any], num_qubits: int, field: str) -> None:
    for label, coefficient in item.items():
        if len(label) != num_qubits or not _PAULIS.issuperset(label):
            raise ValidationError(
                f"{field} needs Pauli strings of {num_qubits} letters out of {''.join(sorted(_PAULIS))}, one for each "
                f"qubit of the circuit; '{label[:32]}' has {len(label)}",
                field=field,
                limit=f"{num_qubits} letters",
            )
        if type(coefficient) is not float and type(coefficient) is not int:
            raise ValidationError(f"{field} must have real numbers as coefficients", field=field)
    if not item:
        raise ValidationError(f"{field} has an empty observable", field=field)

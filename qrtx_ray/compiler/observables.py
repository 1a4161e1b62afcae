"""Estimator PUBs: parameters broadcast against observables, and everything computed twice taken out.

An estimator PUB has an array of parameter sets and an array of observables; its result has one value for each element
of their broadcast shape. Engines want the distinct parameter rows, the distinct observables, and which of them each
element combines, because a state is worth preparing once however many observables are read from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
import numpy.typing as npt
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import SparseObservable

from qrtx_ray.devices.executable import PauliTerm
from qrtx_ray.errors import PayloadTooLarge, ValidationError

__all__ = ["Elements", "broadcast_elements", "localise", "map_qubits", "qubits_of"]

Observable = tuple[PauliTerm, ...]
Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Elements:
    """A broadcast estimator PUB.

    Args:
        shape: Broadcast shape of parameters and observables.
        rows: Distinct parameter rows in order of first use, shape ``(rows, parameters)``.
        observables: Distinct observables in order of first use, on the circuit's own qubits.
        indices: ``(row, observable)`` of each element in C order, int32, shape ``(size, 2)``.
    """

    shape: tuple[int, ...]
    rows: Float64
    observables: tuple[Observable, ...]
    indices: Int32


def broadcast_elements(values: Float64, observables: ObservablesArray, *, max_elements: int, field: str) -> Elements:
    """Broadcast parameter values of shape ``(*parameter shape, parameters)`` against `observables`.

    Raises:
        PayloadTooLarge: More than `max_elements` elements.
        ValidationError: No element at all.
    """
    parameter_shape, observable_shape = values.shape[:-1], observables.shape
    shape = np.broadcast_shapes(parameter_shape, observable_shape)
    size = prod(shape)
    if size > max_elements:
        raise PayloadTooLarge(
            f"{field} asks for {size} values (parameters {parameter_shape} × observables {observable_shape}), "
            f"limit {max_elements}",
            field=field,
            limit=str(max_elements),
        )
    if size == 0:
        raise ValidationError(f"{field} asks for no value: its shape is {shape}", field=field)
    rows, row_of = _distinct_rows(values.reshape(prod(parameter_shape), values.shape[-1]))
    terms, observable_of = _distinct_observables(observables.sparse_observables_array().ravel())
    indices = np.empty((size, 2), dtype=np.int32)
    indices[:, 0] = np.broadcast_to(row_of.reshape(parameter_shape), shape).ravel()
    indices[:, 1] = np.broadcast_to(observable_of.reshape(observable_shape), shape).ravel()
    return Elements(shape, rows, terms, indices)


def map_qubits(observables: Sequence[Observable], layout: Sequence[int]) -> tuple[Observable, ...]:
    """`observables` with qubit i renamed to ``layout[i]``."""
    return tuple(
        tuple(PauliTerm(tuple(layout[q] for q in term.qubits), term.paulis, term.coefficient) for term in observable)
        for observable in observables
    )


def localise(observables: Sequence[Observable], active_qubits: Sequence[int]) -> tuple[Observable, ...]:
    """`observables` on physical qubits, said in positions of `active_qubits` (which must hold them all)."""
    local = {physical: index for index, physical in enumerate(active_qubits)}
    return tuple(
        tuple(_ordered([local[q] for q in term.qubits], term.paulis, term.coefficient) for term in observable)
        for observable in observables
    )


def qubits_of(observables: Iterable[Observable]) -> frozenset[int]:
    """Qubits that any of `observables` acts on."""
    return frozenset(q for observable in observables for term in observable for q in term.qubits)


def _distinct_rows(rows: Float64) -> tuple[Float64, Int32]:
    if len(rows) == 1:
        return rows, np.zeros(1, dtype=np.int32)
    first: dict[bytes, int] = {}
    chosen: list[int] = []
    index = np.empty(len(rows), dtype=np.int32)
    for position, row in enumerate(np.ascontiguousarray(rows)):
        key = row.tobytes()
        known = first.setdefault(key, len(chosen))
        if known == len(chosen):
            chosen.append(position)
        index[position] = known
    return rows[chosen], index


def _distinct_observables(array: npt.NDArray[np.object_]) -> tuple[tuple[Observable, ...], Int32]:
    first: dict[Observable, int] = {}
    index = np.empty(len(array), dtype=np.int32)
    for position, observable in enumerate(array):
        index[position] = first.setdefault(_terms(observable), len(first))
    return tuple(first), index


def _terms(observable: SparseObservable) -> Observable:
    terms = [
        _ordered(list(qubits), paulis, float(coefficient.real))
        for paulis, qubits, coefficient in observable.to_sparse_list()
    ]
    return tuple(sorted(terms, key=lambda term: (term.qubits, term.paulis)))


def _ordered(qubits: list[int], paulis: str, coefficient: float) -> PauliTerm:
    if all(a < b for a, b in pairwise(qubits)):
        return PauliTerm(tuple(qubits), paulis, coefficient)
    pairs = sorted(zip(qubits, paulis, strict=True))
    return PauliTerm(tuple(q for q, _ in pairs), "".join(p for _, p in pairs), coefficient)

"""Slot tables: the numbers of a circuit's gates for every parameter row at once.

A gate's number is a constant, a parameter or an expression of parameters. Expressions are affine in nearly every
circuit people send, so those are evaluated for all rows by one matrix product; only the rest is bound row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from qiskit.circuit import Parameter, ParameterExpression

from qrtx_ray.errors import ValidationError

__all__ = ["check_rows", "slot_table"]

Float64 = npt.NDArray[np.float64]


def check_rows(parameters: Sequence[Parameter], parameter_values: Float64 | None) -> Float64:
    """`parameter_values` as a float64 table of shape ``(rows, len(parameters))``; one empty row for None.

    Raises:
        ValidationError: Wrong number of columns, values for no rows, or a number that is not finite.
    """
    if parameter_values is None:
        if parameters:
            msg = f"the circuit has {len(parameters)} parameters and no values for them"
            raise ValidationError(msg, field="parameter_values")
        return np.empty((1, 0))
    rows = np.asarray(parameter_values, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(parameters) or not len(rows):
        msg = f"parameter values must have {len(parameters)} columns and at least one row, they have shape {rows.shape}"
        raise ValidationError(msg, field="parameter_values", limit=f"{len(parameters)} columns")
    if not np.isfinite(rows).all():
        msg = "parameter values must be finite numbers"
        raise ValidationError(msg, field="parameter_values", limit="finite")
    return rows


def slot_table(numbers: Sequence[Any], parameters: Sequence[Parameter], rows: Float64) -> Float64:
    """The values of `numbers` for each row.

    Args:
        numbers: Floats and parameter expressions, one for each slot.
        parameters: The parameters in the order of the columns of `rows`.
        rows: Parameter values, shape ``(num_rows, len(parameters))``.

    Returns:
        Shape ``(num_rows, len(numbers))``, C order.

    Raises:
        ValidationError: A number is not finite or not real, or an expression has a parameter without a value.
    """
    try:
        table = _constants(numbers, len(rows)) if not parameters else _mixed(numbers, parameters, rows)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError, KeyError) as error:
        msg = "a gate angle cannot be computed from the parameter values: it must be a finite real number"
        raise ValidationError(msg, field="parameter_values", limit="finite") from error
    if not np.isfinite(table).all():
        msg = "gate angles must be finite numbers"
        raise ValidationError(msg, field="parameter_values", limit="finite")
    return table


def _constants(numbers: Sequence[Any], num_rows: int) -> Float64:
    line = np.array([number if type(number) is float else float(number) for number in numbers], dtype=np.float64)
    return np.tile(line, (num_rows, 1))


def _mixed(numbers: Sequence[Any], parameters: Sequence[Parameter], rows: Float64) -> Float64:
    column_of = {parameter: column for column, parameter in enumerate(parameters)}
    table = np.empty((len(rows), len(numbers)))
    for slot, number in enumerate(numbers):
        if isinstance(number, Parameter):
            table[:, slot] = rows[:, column_of[number]]
        elif isinstance(number, ParameterExpression):
            table[:, slot] = _expression(number, column_of, rows)
        else:
            table[:, slot] = float(number)
    return table


def _expression(expression: ParameterExpression, column_of: dict[Parameter, int], rows: Float64) -> Float64:
    parameters = list(expression.parameters)
    if not parameters:
        return np.full(len(rows), float(expression.numeric()))
    columns = rows[:, [column_of[parameter] for parameter in parameters]]
    if len(rows) > 1:
        gradient = [expression.gradient(parameter) for parameter in parameters]
        if all(isinstance(slope, (int, float)) for slope in gradient):
            offset = float(expression.bind(dict.fromkeys(parameters, 0.0)).numeric())
            return np.asarray(columns @ np.array(gradient, dtype=np.float64) + offset)
    return np.array(
        [float(expression.bind(dict(zip(parameters, row, strict=True))).numeric()) for row in columns.tolist()]
    )

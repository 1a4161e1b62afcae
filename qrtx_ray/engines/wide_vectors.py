"""Vector instructions for the wide kernel: a small matrix on eight groups of amplitudes at once, and a transposition.

Numba turns a loop into vector instructions only where it can show that what is written is not read later on; in a state vector
that is changed in place it cannot. So the few innermost operations are written in LLVM's own language, on vectors of `LANES`
numbers, which every processor's code generator cuts into what it has. Products and sums are never contracted and stand in a fixed
order: the results are the same on every processor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["LANES", "LANE_BITS", "copied_vector", "matrix_on", "transposed_tile"]

LANE_BITS = 3
LANES = 1 << LANE_BITS

_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_INDEX = ir.IntType(64)
_NOTHING = ir.Constant(_VECTOR, ir.Undefined)
_ALIGNED_TO = 8  # only that of a number: an area of memory that is handed in may begin anywhere


def matrix_on(dim: int, *, real: bool) -> Callable[..., None]:
    """An intrinsic ``(re, im, base, offsets, first_offset, matrix, first_entry)`` that applies a matrix with `dim` rows.

    Row k of the eight vectors it acts on begins at ``base + offsets[first_offset + k]`` and goes over `LANES` amplitudes. The
    matrix stands row by row from ``matrix[first_entry]``, all real parts, then (unless `real`) all imaginary parts.
    """

    def apply(typing: Any, re: Any, im: Any, base: Any, offsets: Any, at: Any, matrix: Any, entry: Any) -> Any:  # noqa: ARG001
        signature = types.void(re, im, base, offsets, at, matrix, entry)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            data = [_data(context, builder, signature.args[k], values[k]) for k in (0, 1, 3, 5)]
            offset_data = builder.gep(data[2], [values[4]])
            entries = builder.gep(data[3], [values[6]])
            places = [builder.add(values[2], builder.load(builder.gep(offset_data, [_INDEX(k)]))) for k in range(dim)]
            real_at = [_vector_at(builder, data[0], place) for place in places]
            imag_at = [_vector_at(builder, data[1], place) for place in places]
            inputs = [(_load(builder, x), _load(builder, y)) for x, y in zip(real_at, imag_at, strict=True)]
            outputs = [_row(builder, entries, row, inputs, real=real) for row in range(dim)]
            for (x, y), real_place, imag_place in zip(outputs, real_at, imag_at, strict=True):
                _store(builder, x, real_place)
                _store(builder, y, imag_place)
            return context.get_dummy_value()

        return signature, generate

    return cast("Callable[..., None]", intrinsic(apply))


def _row(builder: Any, entries: Any, row: int, inputs: list[tuple[Any, Any]], *, real: bool) -> tuple[Any, Any]:
    """One row of the product, in the order of its terms."""
    dim = len(inputs)
    total: tuple[Any, Any] | None = None
    for column, (x, y) in enumerate(inputs):
        factor = _spread(builder, entries, row * dim + column)
        both = builder.fmul(factor, x), builder.fmul(factor, y)
        total = both if total is None else (builder.fadd(total[0], both[0]), builder.fadd(total[1], both[1]))
        if not real:
            factor = _spread(builder, entries, dim * dim + row * dim + column)
            total = (
                builder.fsub(total[0], builder.fmul(factor, y)),
                builder.fadd(total[1], builder.fmul(factor, x)),
            )
    assert total is not None
    return total


def _copied_vector(typing: Any, source: Any, read_at: Any, target: Any, write_at: Any) -> Any:  # noqa: ARG001
    """Copy `LANES` numbers."""
    signature = types.void(source, read_at, target, write_at)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        out, into = (_data(context, builder, signature.args[k], values[k]) for k in (0, 2))
        _store(builder, _load(builder, _vector_at(builder, out, values[1])), _vector_at(builder, into, values[3]))
        return context.get_dummy_value()

    return signature, generate


def _transposed_tile(
    typing: Any,  # noqa: ARG001
    source: Any,
    read_at: Any,
    read_rows: Any,
    target: Any,
    write_at: Any,
    write_rows: Any,
) -> Any:
    """Copy a square of numbers: number j of row i becomes number i of row j. Row i begins ``rows[i]`` behind `at`."""
    signature = types.void(source, read_at, read_rows, target, write_at, write_rows)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        out, reads, into, writes = (_data(context, builder, signature.args[k], values[k]) for k in (0, 2, 3, 5))

        def place(begin: Any, starts: Any, row: int) -> Any:
            return builder.add(begin, builder.load(builder.gep(starts, [_INDEX(row)])))

        rows = [_load(builder, _vector_at(builder, out, place(values[1], reads, k))) for k in range(LANES)]
        for bit in (1, 2, 4):
            low = [j ^ bit | LANES if j & bit else j for j in range(LANES)]
            high = [j | LANES if j & bit else j | bit for j in range(LANES)]
            for k in range(LANES):
                if not k & bit:
                    a, b = rows[k], rows[k | bit]
                    rows[k], rows[k | bit] = _picked(builder, a, b, low), _picked(builder, a, b, high)
        for k in range(LANES):
            _store(builder, rows[k], _vector_at(builder, into, place(values[4], writes, k)))
        return context.get_dummy_value()

    return signature, generate


# Numba's decorator tells type checkers a signature that calls from compiled code do not have.
copied_vector: Callable[..., None] = cast("Callable[..., None]", intrinsic(_copied_vector))
transposed_tile: Callable[..., None] = cast("Callable[..., None]", intrinsic(_transposed_tile))


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.make_array(kind)(context, builder, value).data


def _vector_at(builder: Any, data: Any, place: Any) -> Any:
    return builder.bitcast(builder.gep(data, [place]), _VECTOR.as_pointer())


def _load(builder: Any, place: Any) -> Any:
    loaded = builder.load(place)
    loaded.align = _ALIGNED_TO
    return loaded


def _store(builder: Any, value: Any, place: Any) -> None:
    builder.store(value, place).align = _ALIGNED_TO


def _spread(builder: Any, entries: Any, number: int) -> Any:
    one = builder.insert_element(_NOTHING, builder.load(builder.gep(entries, [_INDEX(number)])), ir.IntType(32)(0))
    return _picked(builder, one, _NOTHING, [0] * LANES)


def _picked(builder: Any, a: Any, b: Any, numbers: list[int]) -> Any:
    """The vector of the numbered elements of `a`, and of `b` behind it."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), LANES), numbers))

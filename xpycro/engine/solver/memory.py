"""One thread's memory as the compiled kernel sees it: a table of pieces, viewed without counting references.

May import numpy, numba and llvmlite. An array that is handed to a compiled function is nine numbers, and sixty of them
in every call were most of what there was to compile; besides, each view of a counted array costs two locked
instructions. So whatever the kernel's functions share lies in pieces, of which a table holds address and shape. A
function gets the table's address and views what it needs; who made the table keeps the arrays alive.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
from llvmlite import ir
from numba import float64, int64, types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic as _intrinsic
from numba.extending import lower_builtin, models, register_model

intrinsic: Any = _intrinsic  # what it makes is called in compiled code only, without the typing context

# The pieces; `tables` says what is in them.
(
    # what is fitted
    SHAPES, FIRST, ROW_FIRST, ROW_OF, UNITS, OWNER, LINEAR, KIND, TIED, LOWER, UPPER,
    # where it starts
    BACKGROUND, RECIPE, VALUE, PEAK_OF, TEMPLATES, TEMPLATE_GRAM, PLACE, WIDTH, BASELINE, CANDIDATES,
    # a slice of pixels, and what comes out
    X, Y, WEIGHTS, STARTS, PARAMETERS, VARIANCES, COVARIANCE, STATISTICS, STATUS, ITERATIONS,
    # numbers about the problem and the pixel at work
    COUNTS, SCALARS,
    # as long as the channels
    XS, DATA, W, RESIDUAL, OTHER_RESIDUAL, SCALED, SPARE, ROWS, OTHER_ROWS,
    # as long as the parameters
    P, TRIAL, ORIGIN, BEGUN, BEST, BEST_BEGUN, PROJECTED, FREE, PLACE_OF, COEFFICIENTS, TAKEN,
    SLOPE_ROW, SLOPE_PLACE, SLOPE_FACTOR,
    # small algebra: the projected coefficients; a step
    GRAM, PROJECT_LOW, PROJECT_SCALE, RHS, SOLUTION, PROJECT_SUBSET, ACTIVE,
    NORMAL, LOW, SCALE, GRAM_LOW, GRAM_SCALE, CROSS, MIXED, GRADIENT, STEP, COLUMN, HELD, SUBSET, KEPT, INVERSE,
    # the search for peaks
    CORRELATION, CHOSEN, OTHERS, OFFERS, WORTH, SCORES,
    N_PIECES,
) = range(84)  # fmt: skip

# Of COUNTS ...
(
    QUADRATURES, LOSS, MAX_ITERATIONS, ABSOLUTE, ROBUST, N_PEAKS, SIGN, GROUP, TESTABLE, WEIGHTED,
    N_PROJECTED, N_FREE, N_COEFFICIENTS, N_FITTED, N_NONLINEAR,
    PIXEL, N, M, FIRST_SIGN, N_KEPT, N_SUBSET, N_SLOPES, CURRENT_ROWS, STEPS, CODE,
    N_COUNTS,
) = range(26)  # fmt: skip
# ... and of SCALARS
TOLERANCE, LOSS_SCALE, ROBUST_SCALE, POWER, VARIATION, COST, N_SCALARS = range(7)


class Table:
    """Addresses and shapes of the pieces: (piece, 3); arrays are kept alive here."""

    def __init__(self, pieces: Mapping[int, np.ndarray], base: Table | None = None) -> None:
        self.entries: np.ndarray = np.zeros((N_PIECES, 3), dtype=np.int64) if base is None else base.entries.copy()
        self.kept: list[Any] = [base]
        for piece, array in pieces.items():
            if not array.flags.c_contiguous or array.dtype not in (np.float64, np.int64):
                raise TypeError(f"piece {piece} must be contiguous float64 or int64, not {array.dtype}")
            self.kept.append(array)
            self.entries[piece] = array.ctypes.data, array.shape[0], array.shape[1] if array.ndim > 1 else 1

    @property
    def address(self) -> int:
        return int(self.entries.ctypes.data)


def _entry(builder: Any, table: Any, piece: Any, column: int) -> Any:
    """A number of the table."""
    word = ir.IntType(64)
    start = builder.inttoptr(table, ir.PointerType(word))
    index = builder.add(builder.mul(piece, ir.Constant(word, 3)), ir.Constant(word, column))
    return builder.load(builder.gep(start, [index]))


def _pointer(dtype: Any) -> Any:
    """Make the view of a piece as a plain pointer."""
    kind = types.CPointer(dtype)

    def typed(typingctx, table, piece):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            table, piece = arguments
            return builder.inttoptr(_entry(builder, table, piece, 0), context.get_value_type(kind))

        return kind(types.int64, types.int64), codegen

    return typed


def _number(column: int) -> Any:
    """Make the look at an entry of the table."""

    def typed(typingctx, table, piece):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            table, piece = arguments
            return _entry(builder, table, piece, column)

        return types.int64(types.int64, types.int64), codegen

    return typed


numbers, integers = intrinsic(_pointer(float64)), intrinsic(_pointer(int64))  # a piece, flat
address_of, length, columns = (intrinsic(_number(k)) for k in range(3))  # where it begins, its rows, its columns


@intrinsic
def row(typingctx, table, piece, index):  # type: ignore[no-untyped-def]
    """A row of a piece."""
    kind = types.CPointer(float64)

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        table, piece, index = arguments
        start = builder.inttoptr(_entry(builder, table, piece, 0), context.get_value_type(kind))
        return builder.gep(start, [builder.mul(index, _entry(builder, table, piece, 2))])

    return kind(types.int64, types.int64, types.int64), codegen


class Matrix(types.Type):  # type: ignore[misc]
    """Float64 by row and column, from a pointer and the number of columns: no bounds, no negative indices."""

    def __init__(self) -> None:
        super().__init__(name="Matrix")


_MATRIX = Matrix()


@register_model(Matrix)
class _MatrixModel(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager, kind):  # type: ignore[no-untyped-def]
        super().__init__(manager, kind, [("data", types.CPointer(float64)), ("columns", types.int64)])


def _place(context: Any, builder: Any, matrix: Any, index: Any) -> Any:
    view = cgutils.create_struct_proxy(_MATRIX)(context, builder, value=matrix)
    i, j = cgutils.unpack_tuple(builder, index, 2)
    return builder.gep(view.data, [builder.add(builder.mul(i, view.columns), j)])


@infer_global(operator.getitem)
class _Get(AbstractTemplate):  # type: ignore[misc]
    def generic(self, arguments, keywords):  # type: ignore[no-untyped-def]
        if isinstance(arguments[0], Matrix):
            return float64(_MATRIX, types.UniTuple(types.int64, 2))
        return None


@infer_global(operator.setitem)
class _Set(AbstractTemplate):  # type: ignore[misc]
    def generic(self, arguments, keywords):  # type: ignore[no-untyped-def]
        if isinstance(arguments[0], Matrix):
            return types.void(_MATRIX, types.UniTuple(types.int64, 2), float64)
        return None


@lower_builtin(operator.getitem, Matrix, types.UniTuple)
def _get(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
    return builder.load(_place(context, builder, *arguments))


@lower_builtin(operator.setitem, Matrix, types.UniTuple, types.Float)
def _set(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
    builder.store(arguments[2], _place(context, builder, *arguments[:2]))


def _matrix(context: Any, builder: Any, address: Any, width: Any) -> Any:
    made = cgutils.create_struct_proxy(_MATRIX)(context, builder)
    made.data = builder.inttoptr(address, context.get_value_type(types.CPointer(float64)))
    made.columns = width
    return made._getvalue()


@intrinsic
def matrix(typingctx, table, piece):  # type: ignore[no-untyped-def]
    """A piece by row and column."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        table, piece = arguments
        address, width = (_entry(builder, table, piece, column) for column in (0, 2))
        return _matrix(context, builder, address, width)

    return _MATRIX(types.int64, types.int64), codegen


@intrinsic
def square(typingctx, table, piece, index):  # type: ignore[no-untyped-def]
    """One of the square matrices that are stacked in a piece."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        table, piece, index = arguments
        address, size = (_entry(builder, table, piece, column) for column in (0, 2))
        offset = builder.mul(builder.mul(index, builder.mul(size, size)), ir.Constant(ir.IntType(64), 8))
        return _matrix(context, builder, builder.add(address, offset), size)

    return _MATRIX(types.int64, types.int64, types.int64), codegen

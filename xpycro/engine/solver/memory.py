"""One thread's memory as the compiled kernel sees it: a table of pieces, viewed without counting references.

May import numpy, llvmlite and this folder's expressions. Whatever the kernel's functions share lies in pieces, of
which a table holds address and shape: a function gets the table's address and views what it needs, and who made the
table keeps the arrays alive. The views are Python functions, and what is compiled in their place stands beside them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
from llvmlite import ir

from xpycro.engine.solver.expressions import INTEGER, INTEGERS, KINDS, MATRIX, REALS, WORD, Value, emitter

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


def _shape(table: int, piece: int) -> tuple[int, int, int]:
    """Address, rows and columns."""
    first, rows, columns = (ctypes.c_int64 * 3).from_address(int(table + 24 * piece))
    return first, rows, columns


def _view(address: int, count: int, kind: Any = ctypes.c_double) -> np.ndarray:
    return np.ctypeslib.as_array((kind * count).from_address(int(address))) if count else np.zeros(0)


def numbers(table: int, piece: int) -> np.ndarray:
    """A piece of reals, flat."""
    address, rows, columns = _shape(table, piece)
    return _view(address, rows * columns)


def integers(table: int, piece: int) -> np.ndarray:
    """A piece of integers, flat."""
    address, rows, columns = _shape(table, piece)
    return _view(address, rows * columns, ctypes.c_int64)


def address_of(table: int, piece: int) -> int:
    """Where a piece begins."""
    return _shape(table, piece)[0]


def length(table: int, piece: int) -> int:
    """How many rows a piece has."""
    return _shape(table, piece)[1]


def columns(table: int, piece: int) -> int:
    """How many numbers a row of a piece has."""
    return _shape(table, piece)[2]


def row(table: int, piece: int, index: int) -> np.ndarray:
    """A row of a piece."""
    address, _, columns = _shape(table, piece)
    return _view(address + 8 * index * columns, columns)


def matrix(table: int, piece: int) -> np.ndarray:
    """A piece by row and column."""
    address, rows, columns = _shape(table, piece)
    return _view(address, rows * columns).reshape(rows, columns)


def square(table: int, piece: int, index: int) -> np.ndarray:
    """One of the square matrices that are stacked in a piece."""
    address, _, size = _shape(table, piece)
    return _view(address + 8 * index * size * size, size * size).reshape(size, size)


def _entry(body: Any, table: Value, piece: Value, column: int) -> Any:
    """A number of the table."""
    build = body.builder
    index = build.add(build.mul(piece.ir, ir.Constant(WORD, 3)), ir.Constant(WORD, column))
    return build.load(build.gep(build.inttoptr(table.ir, KINDS[INTEGERS]), [index]))


for _function, _kind in ((numbers, REALS), (integers, INTEGERS)):

    @emitter(_function)
    def _pointer(body: Any, table: Value, piece: Value, kind: str = _kind) -> Value:
        return Value(kind, body.builder.inttoptr(_entry(body, table, piece, 0), KINDS[kind]))


for _column, _looked in enumerate((address_of, length, columns)):

    @emitter(_looked)
    def _number(body: Any, table: Value, piece: Value, column: int = _column) -> Value:
        return Value(INTEGER, _entry(body, table, piece, column))


@emitter(row)
def _row(body: Any, table: Value, piece: Value, index: Value) -> Value:
    start = body.builder.inttoptr(_entry(body, table, piece, 0), KINDS[REALS])
    return Value(REALS, body.builder.gep(start, [body.builder.mul(index.ir, _entry(body, table, piece, 2))]))


def _made(body: Any, start: Any, width: Any) -> Value:
    made = body.builder.insert_value(ir.Constant(KINDS[MATRIX], ir.Undefined), start, 0)
    return Value(MATRIX, body.builder.insert_value(made, width, 1))


@emitter(matrix)
def _matrix(body: Any, table: Value, piece: Value) -> Value:
    start = body.builder.inttoptr(_entry(body, table, piece, 0), KINDS[REALS])
    return _made(body, start, _entry(body, table, piece, 2))


@emitter(square)
def _square(body: Any, table: Value, piece: Value, index: Value) -> Value:
    build, size = body.builder, _entry(body, table, piece, 2)
    start = build.inttoptr(_entry(body, table, piece, 0), KINDS[REALS])
    return _made(body, build.gep(start, [build.mul(index.ir, build.mul(size, size))]), size)

"""Small dense algebra for one pixel: sums over channels, scaled Cholesky, solves, inverse.

Compiled; may import numpy and native only.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver import memory as at
from xpycro.engine.solver.native import native, wide

__all__ = ["copy", "dot", "factor", "invert", "scale_by", "solve", "subtract"]


@native("float(floats, floats, int)", sums=True)
def dot(a, b, m):  # type: ignore[no-untyped-def]
    wide()
    total = 0.0
    for i in range(m):
        total += a[i] * b[i]
    return total


@native("void(floats, float, floats, int)", sums=True)
def subtract(a, c, b, m):  # type: ignore[no-untyped-def]
    """a -= c b."""
    wide()
    for i in range(m):
        a[i] -= c * b[i]


@native("void(floats, floats, int)", sums=True)
def copy(a, b, m):  # type: ignore[no-untyped-def]
    """b = a."""
    wide()
    for i in range(m):
        b[i] = a[i]


@native("void(floats, floats, int)", sums=True)
def scale_by(a, b, m):  # type: ignore[no-untyped-def]
    """a *= b."""
    wide()
    for i in range(m):
        a[i] *= b[i]


@native("float(int, int, int, int, float)")
def factor(table, matrix, vector, n, damping):  # type: ignore[no-untyped-def]
    """Cholesky in place of the matrix scaled to unit diagonal, plus `damping` on it; the smallest pivot.

    The diagonal holds reciprocals, for divisions are slow. That of a pivot lost in rounding is zero: its unknown
    becomes zero instead of noise.
    """
    low, scale = at.matrix(table, matrix), at.numbers(table, vector)
    smallest = 1.0
    for a in range(n):
        scale[a] = 1.0 / np.sqrt(low[a, a]) if low[a, a] > 0.0 else 0.0
    for a in range(n):
        for b in range(a):
            value = low[a, b] * scale[a] * scale[b]
            for k in range(b):
                value -= low[a, k] * low[b, k]
            low[a, b] = value * low[b, b]
        value = 1.0 + damping if scale[a] > 0.0 else 0.0
        for k in range(a):
            value -= low[a, k] * low[a, k]
        smallest = min(smallest, value)
        low[a, a] = 1.0 / np.sqrt(value) if value > 1e-15 else 0.0
    return smallest


@native("void(int, int, int, int, int)")
def solve(table, matrix, vector, n, side):  # type: ignore[no-untyped-def]
    """Solve with the factor, in place of the right side."""
    low, scale, b = at.matrix(table, matrix), at.numbers(table, vector), at.numbers(table, side)
    for a in range(n):
        value = b[a] * scale[a]
        for k in range(a):
            value -= low[a, k] * b[k]
        b[a] = value * low[a, a]
    for a in range(n - 1, -1, -1):
        value = b[a]
        for k in range(a + 1, n):
            value -= low[k, a] * b[k]
        b[a] = value * low[a, a]
    for a in range(n):
        b[a] *= scale[a]


@native("void(int, int, int, int, int)")
def invert(table, matrix, vector, n, inverse):  # type: ignore[no-untyped-def]
    """The inverse of the factored matrix; takes COLUMN."""
    made, column = at.matrix(table, inverse), at.numbers(table, at.COLUMN)
    for c in range(n):
        for a in range(n):
            column[a] = 1.0 if a == c else 0.0
        solve(table, matrix, vector, n, at.COLUMN)
        for a in range(n):
            made[a, c] = column[a]

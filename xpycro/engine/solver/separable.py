"""What makes fitting separable: rows of basis functions, the best coefficients for them, what is left.

Compiled; may import this folder's native, dense and memory. Pieces may be longer than what is used of them.
"""

from __future__ import annotations

from xpycro.engine.solver import memory as at
from xpycro.engine.solver.dense import copy, dot, factor, scale_by, solve, subtract
from xpycro.engine.solver.native import call_shape, native

__all__ = ["evaluate", "project", "residual_of"]


@native("void(int, int, int)")
def evaluate(table, parameters, rows):  # type: ignore[no-untyped-def]
    """Rows of all components at the parameters, times the square root of the weights."""
    counts, shapes = at.integers(table, at.COUNTS), at.integers(table, at.SHAPES)
    first, row_first = at.integers(table, at.FIRST), at.integers(table, at.ROW_FIRST)
    x, p, begin = at.address_of(table, at.XS), at.address_of(table, parameters), at.address_of(table, rows)
    stride = at.columns(table, rows)
    for k in range(at.length(table, at.SHAPES)):
        call_shape(  # type: ignore[call-arg]
            shapes[k], x, counts[at.N], p + 8 * first[k], begin + 8 * stride * row_first[k], stride
        )
    if counts[at.WEIGHTED] != 0:
        w = at.numbers(table, at.W)
        for k in range(at.length(table, rows)):
            scale_by(at.row(table, rows, k), w, counts[at.M])


@native("void(int, int, int, int)")
def residual_of(table, parameters, rows, residual):  # type: ignore[no-untyped-def]
    """residual = y - f at given coefficients."""
    row_of, units, linear = at.integers(table, at.ROW_OF), at.integers(table, at.UNITS), at.integers(table, at.LINEAR)
    p, y, r = at.numbers(table, parameters), at.numbers(table, at.DATA), at.numbers(table, residual)
    m = at.integers(table, at.COUNTS)[at.M]
    copy(y, r, m)
    for k in range(at.length(table, at.UNITS)):
        subtract(r, 1.0, at.row(table, rows, units[k]), m)
    for j in range(at.length(table, parameters)):
        if linear[j] != 0 and p[j] != 0.0:
            subtract(r, p[j], at.row(table, rows, row_of[j]), m)


@native("void(int, int, int, int, int, int)")
def project(table, parameters, rows, which, count, residual):  # type: ignore[no-untyped-def]
    """Best coefficients of the chosen linear parameters within their bounds; the residual with them.

    `which` is the piece that lists them; those held at a bound are marked active.
    """
    row_of, lower, upper = at.integers(table, at.ROW_OF), at.numbers(table, at.LOWER), at.numbers(table, at.UPPER)
    chosen, active, subset = (
        at.integers(table, which),
        at.integers(table, at.ACTIVE),
        at.integers(table, at.PROJECT_SUBSET),
    )
    gram, low = at.matrix(table, at.GRAM), at.matrix(table, at.PROJECT_LOW)
    rhs, solution = at.numbers(table, at.RHS), at.numbers(table, at.SOLUTION)
    p, r = at.numbers(table, parameters), at.numbers(table, residual)
    m = at.integers(table, at.COUNTS)[at.M]
    for k in range(count):
        p[chosen[k]] = 0.0
        active[k] = 0
    residual_of(table, parameters, rows, residual)  # what the others leave
    for a in range(count):
        own = at.row(table, rows, row_of[chosen[a]])
        rhs[a] = dot(own, r, m)
        for b in range(a + 1):
            gram[a, b] = gram[b, a] = dot(own, at.row(table, rows, row_of[chosen[b]]), m)
    for _ in range(3 * count + 1):
        free = 0
        for k in range(count):
            if active[k] == 0:
                subset[free] = k
                free += 1
        for a in range(free):
            ka = subset[a]
            solution[a] = rhs[ka]
            for k in range(count):
                if active[k] != 0:
                    solution[a] -= gram[ka, k] * p[chosen[k]]
            for b in range(a + 1):
                low[a, b] = gram[ka, subset[b]]
        factor(table, at.PROJECT_LOW, at.PROJECT_SCALE, free, 0.0)
        solve(table, at.PROJECT_LOW, at.PROJECT_SCALE, free, at.SOLUTION)
        worst, violated = 0.0, -1
        for a in range(free):
            j = chosen[subset[a]]
            p[j] = solution[a]
            excess = max(lower[j] - p[j], p[j] - upper[j])
            if excess > worst:
                worst, violated = excess, subset[a]
        if violated >= 0:
            j = chosen[violated]
            active[violated] = -1 if p[j] < lower[j] else 1
            p[j] = lower[j] if p[j] < lower[j] else upper[j]
            continue
        # a bound holds only while the gradient pushes against it
        released = False
        for k in range(count):
            if active[k] != 0 and not released:
                gradient = rhs[k]
                for b in range(count):
                    gradient -= gram[k, b] * p[chosen[b]]
                if gradient * active[k] < -1e-12 * abs(rhs[k]):
                    active[k] = 0
                    released = True
        if not released:
            break
    for k in range(count):
        subtract(r, p[chosen[k]], at.row(table, rows, row_of[chosen[k]]), m)

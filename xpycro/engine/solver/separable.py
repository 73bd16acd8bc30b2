"""What makes fitting separable: rows of basis functions, the best coefficients for them, what is left.

Compiled; may import numba, numpy and this folder's jit and dense.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.dense import dot, factor, solve
from xpycro.engine.solver.jit import call_shape, kernel

__all__ = ["evaluate", "project", "residual_of"]


@kernel
def evaluate(addresses, first, row_first, x, n, p, rows, weight, weighted):  # type: ignore[no-untyped-def]
    """Rows of all components at the parameters, times the square root of the weights."""
    m = rows.shape[1]
    for k in range(addresses.size):
        call_shape(  # type: ignore[call-arg]
            addresses[k], x.ctypes.data, n, p.ctypes.data + 8 * first[k], rows.ctypes.data + 8 * m * row_first[k]
        )
    if weighted:
        for r in range(rows.shape[0]):
            for i in range(m):
                rows[r, i] *= weight[i]


@kernel
def residual_of(rows, y, p, linear, row_of, units, residual):  # type: ignore[no-untyped-def]
    """residual = y - f at given coefficients."""
    m = y.size
    for i in range(m):
        residual[i] = y[i]
    for j in range(p.size):
        if linear[j] and p[j] != 0.0:
            c, row = p[j], row_of[j]
            for i in range(m):
                residual[i] -= c * rows[row, i]
    for u in range(units.size):
        row = units[u]
        for i in range(m):
            residual[i] -= rows[row, i]


@kernel
def project(rows, y, p, linear, row_of, units, chosen, count, lower, upper, work, residual):  # type: ignore[no-untyped-def]
    """Best coefficients of the chosen linear parameters within their bounds; the residual with them.

    `work` is (gram, factor, scale, rhs, solution, subset, active); the chosen ones held at a bound are marked active.
    """
    gram, low, scale, rhs, solution, subset, active = work
    m = y.size
    for k in range(count):
        p[chosen[k]] = 0.0
        active[k] = 0
    residual_of(rows, y, p, linear, row_of, units, residual)  # what the others leave
    for a in range(count):
        ra = row_of[chosen[a]]
        rhs[a] = dot(rows[ra], residual, m)
        for b in range(a + 1):
            gram[a, b] = gram[b, a] = dot(rows[ra], rows[row_of[chosen[b]]], m)
    for _ in range(3 * count + 1):
        free = np.int64(0)
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
        factor(low, scale, free, 0.0)
        solve(low, scale, free, solution)
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
            if active[k] != 0:
                gradient = rhs[k]
                for b in range(count):
                    gradient -= gram[k, b] * p[chosen[b]]
                if gradient * active[k] < -1e-12 * (abs(rhs[k]) + 1e-300):
                    active[k] = 0
                    released = True
                    break
        if not released:
            break
    for k in range(count):
        c, row = p[chosen[k]], row_of[chosen[k]]
        for i in range(m):
            residual[i] -= c * rows[row, i]

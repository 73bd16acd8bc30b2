"""What makes fitting separable: rows of basis functions, the best coefficients for them, what is left.

Compiled; may import numba, numpy and this folder's jit and dense. Arrays may be longer than what is used of them: `m`
numbers, of which `n` channels.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.dense import dot, factor, solve
from xpycro.engine.solver.jit import call_shape, helper

__all__ = ["evaluate", "project", "residual_of"]


@helper
def evaluate(model, x, n, p, rows, weight, m, weighted):  # type: ignore[no-untyped-def]
    """Rows of all components at the parameters, times the square root of the weights."""
    addresses, first, row_first = model[0], model[1], model[2]
    stride = rows.shape[1]
    for k in range(addresses.size):
        call_shape(  # type: ignore[call-arg]
            addresses[k],
            x.ctypes.data,
            n,
            p.ctypes.data + 8 * first[k],
            rows.ctypes.data + 8 * stride * row_first[k],
            stride,
        )
    if weighted:
        for r in range(rows.shape[0]):
            for i in range(m):
                rows[r, i] *= weight[i]


@helper
def residual_of(model, rows, y, m, p, residual):  # type: ignore[no-untyped-def]
    """residual = y - f at given coefficients."""
    row_of, units, linear = model[3], model[4], model[6]
    for i in range(m):
        residual[i] = y[i]
    for j in range(p.size + units.size):
        if j < p.size:
            c, row = (p[j] if linear[j] else 0.0), row_of[j]
        else:
            c, row = 1.0, units[j - p.size]
        if c != 0.0:
            for i in range(m):
                residual[i] -= c * rows[row, i]


@helper
def project(model, rows, y, m, p, chosen, count, work, residual):  # type: ignore[no-untyped-def]
    """Best coefficients of the chosen linear parameters within their bounds; the residual with them.

    `work` is (gram, factor, scale, rhs, solution, subset, active); the chosen ones held at a bound are marked active.
    """
    row_of, lower, upper = model[3], model[9], model[10]
    gram, low, scale, rhs, solution, subset, active = work
    for k in range(count):
        p[chosen[k]] = 0.0
        active[k] = 0
    residual_of(model, rows, y, m, p, residual)  # what the others leave
    for a in range(count):
        ra = rows[row_of[chosen[a]]]
        rhs[a] = dot(ra, residual, m)
        for b in range(a + 1):
            gram[a, b] = gram[b, a] = dot(ra, rows[row_of[chosen[b]]], m)
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
        c, row = p[chosen[k]], row_of[chosen[k]]
        for i in range(m):
            residual[i] -= c * rows[row, i]

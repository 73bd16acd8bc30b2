"""Levenberg-Marquardt for one pixel: from a start to a minimum, with variable projection, bounds and ties.

Compiled; may import numba, numpy and this folder's compiled modules.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.dense import dot, factor, solve
from xpycro.engine.solver.jit import helper
from xpycro.engine.solver.losses import cost_of, reweight
from xpycro.engine.solver.problem import Kind, Loss, Status
from xpycro.engine.solver.separable import evaluate, project, residual_of

__all__ = ["descend", "follow"]

FREE, TIED, LINEAR = int(Kind.FREE), int(Kind.TIED), int(Loss.LINEAR)
MAX_ITERATIONS, CONVERGED, SMALL_STEP = map(int, (Status.MAX_ITERATIONS, Status.COST, Status.STEP))
NOT_FINITE, SINGULAR = int(Status.NOT_FINITE), int(Status.SINGULAR)


@helper
def follow(model, p):  # type: ignore[no-untyped-def]
    """Tied parameters take the value that they follow."""
    kind, tied = model[7], model[8]
    for j in range(p.size):
        if kind[j] == TIED:
            p[j] = p[tied[j]]


@helper
def _jacobian(model, rows, m, p, place, out, count):  # type: ignore[no-untyped-def]
    """Derivatives by the free parameters (those that are not projected), ties added up."""
    row_of, owner, linear, kind, tied = model[3], model[5], model[6], model[7], model[8]
    for tie in range(2):
        for j in range(p.size):
            k = -1
            if tie == 0 and kind[j] == FREE:
                k = place[j]
            elif tie == 1 and kind[j] == TIED and kind[tied[j]] == FREE:
                k = place[tied[j]]
            if k < 0:
                continue
            c = 1.0
            if not linear[j] and owner[j] >= 0:
                c = p[owner[j]]
            row = row_of[j]
            if tie == 0:
                for i in range(m):
                    out[k, i] = c * rows[row, i]
            else:
                for i in range(m):
                    out[k, i] += c * rows[row, i]


@helper
def _reduced(matrix, subset, n, low):  # type: ignore[no-untyped-def]
    for a in range(n):
        for b in range(a + 1):
            low[a, b] = matrix[subset[a], subset[b]]


@helper
def _point(model, x, n, y, m, w, weighted, p, rows, residual, projected, n_projected, work, options, scale):  # type: ignore[no-untyped-def]
    """Rows, coefficients and residual at the nonlinear parameters of `p`; the cost."""
    follow(model, p)
    evaluate(model, x, n, p, rows, w, m, weighted)
    if n_projected > 0:
        project(model, rows, y, m, p, projected, n_projected, work, residual)
    else:
        residual_of(model, rows, y, m, p, residual)
    return cost_of(residual, y, m, options[0], options[1], scale)


@helper
def descend(model, x, n, y, m, w, weighted, power, p, lists, memory, algebra, work, options, limits):  # type: ignore[no-untyped-def]
    """Move `p` to the nearest minimum; (cost, status, iterations).

    What the uncertainties need stays behind in `algebra`: the normal matrix of the free parameters that are not held,
    the factor of the projected ones' Gram matrix, and what joins them; and the residual in the first of `memory`.
    """
    projected, free, place, counts = lists
    n_projected, n_free = counts[0], counts[1]
    first_residual, residual, trial_residual, scaled, rows, trial_rows, jacobian, trial = memory
    normal, low, scale, gram_factor, gram_scale, cross, mixed, gradient, step, column, held, subset, kept = algebra
    gram, active = work[0], work[6]
    lower, upper = model[9], model[10]
    quadratures, loss = options
    tolerance, robust_scale, max_iterations = limits
    cost = _point(
        model, x, n, y, m, w, weighted, p, rows, residual, projected, n_projected, work, options, robust_scale
    )
    if not np.isfinite(cost):
        return cost, NOT_FINITE, 0
    damping, growth = 1e-3, 2.0
    code = MAX_ITERATIONS
    iteration = 0
    exact = 1e-30 * power + 1e-300
    while True:
        # coefficients held at a bound count as constants
        n_kept = np.int64(0)
        for k in range(n_projected):
            if active[k] == 0:
                kept[n_kept] = k
                n_kept += 1
        _reduced(gram, kept, n_kept, gram_factor)
        gram_pivot = factor(gram_factor, gram_scale, n_kept, 0.0)
        _jacobian(model, rows, m, p, place, jacobian, n_free)
        if loss == LINEAR:
            target = residual
        else:
            reweight(residual, scaled, jacobian, n_free, y, m, quadratures, loss, robust_scale)
            target = scaled
        n_subset = np.int64(0)
        for a in range(n_free):
            gradient[a] = dot(jacobian[a], target, m)
            for k in range(n_kept):
                cross[k, a] = column[k] = dot(rows[model[3][projected[kept[k]]]], jacobian[a], m)
            # Kaufman: what the projected columns can explain is taken off (Schur complement)
            solve(gram_factor, gram_scale, n_kept, column)
            for k in range(n_kept):
                mixed[k, a] = column[k]
            for b in range(a + 1):
                value = whole = dot(jacobian[a], jacobian[b], m)
                for k in range(n_kept):
                    value -= mixed[k, a] * cross[k, b]
                normal[a, b] = normal[b, a] = value
                if a == b:
                    j = free[a]
                    held[a] = 0
                    if (p[j] <= lower[j] and gradient[a] <= 0.0) or (p[j] >= upper[j] and gradient[a] >= 0.0):
                        held[a] = 1
                    elif value <= 1e-13 * whole or whole == 0.0:
                        held[a] = 2  # no effect that the others do not have
                    else:
                        subset[n_subset] = a
                        n_subset += 1
        # how much the undamped step still promises, relative to the cost: the test that damping cannot fool
        for a in range(n_subset):
            column[a] = gradient[subset[a]]
        _reduced(normal, subset, n_subset, low)
        pivot = factor(low, scale, n_subset, 0.0)
        solve(low, scale, n_subset, column)
        promise = longest = 0.0
        for a in range(n_subset):
            promise += 0.5 * column[a] * gradient[subset[a]]
            longest = max(longest, column[a] * column[a] * normal[subset[a], subset[a]])
        if promise <= tolerance * cost or cost <= exact:
            code = CONVERGED
            break
        if loss == LINEAR and longest <= 1e-22 * power:
            code = SMALL_STEP
            break
        if iteration == max_iterations:
            break
        iteration += 1
        accepted = False
        while damping < 1e14:
            for a in range(n_subset):
                column[a] = gradient[subset[a]]
            _reduced(normal, subset, n_subset, low)
            factor(low, scale, n_subset, damping)
            solve(low, scale, n_subset, column)
            for j in range(p.size):
                trial[j] = p[j]
            predicted = 0.0
            for a in range(n_subset):
                j = free[subset[a]]
                trial[j] = min(max(p[j] + column[a], lower[j]), upper[j])
                if lower[j] == 0.0 and not model[6][j]:
                    trial[j] = max(trial[j], 0.1 * p[j])  # at zero width a shape has no slope to leave it by
                step[a] = trial[j] - p[j]
                predicted += step[a] * gradient[subset[a]]
                for b in range(a + 1):
                    value = step[a] * normal[subset[a], subset[b]] * step[b]
                    predicted -= value if b < a else 0.5 * value
            trial_cost = _point(
                model, x, n, y, m, w, weighted, trial, trial_rows, trial_residual, projected, n_projected, work,
                options, robust_scale,
            )  # fmt: skip
            ratio = (cost - trial_cost) / predicted if predicted > 0.0 else 0.0
            if trial_cost < cost and ratio > 1e-4:
                accepted = True
                rows, trial_rows = trial_rows, rows
                residual, trial_residual = trial_residual, residual
                for j in range(p.size):
                    p[j] = trial[j]
                cost = trial_cost
                damping = max(damping * max(0.05, 1.0 - (2.0 * ratio - 1.0) ** 3), 1e-12)
                growth = 2.0
                break
            # below what the cost can show; not before the steps are short, for bounds may have cut the long ones
            if predicted <= 1e-14 * cost and damping > 1e3:
                break
            damping *= growth
            growth *= 2.0
        if not accepted:
            # nothing better within rounding: as good as converged where little was promised
            code = SMALL_STEP if promise <= 1e-6 * cost else NOT_FINITE
            _reduced(normal, subset, n_subset, low)
            pivot = factor(low, scale, n_subset, 0.0)
            break
    for i in range(m):
        first_residual[i] = residual[i]
        if loss != LINEAR:
            scaled[i] = target[i]
    for a in range(n_free):
        if held[a] == 2:
            code = SINGULAR
    if (n_subset > 0 and pivot < 1e-14) or (n_kept > 0 and gram_pivot < 1e-14):
        code = SINGULAR
    counts[2], counts[3] = n_kept, n_subset
    return cost, code, iteration

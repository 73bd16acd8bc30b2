"""Levenberg-Marquardt for one pixel: from a start to a minimum, with variable projection, bounds and ties.

Compiled; may import numpy and this folder's compiled modules.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver import memory as at
from xpycro.engine.solver.dense import copy, dot, factor, solve
from xpycro.engine.solver.losses import cost_of, reweight
from xpycro.engine.solver.native import native
from xpycro.engine.solver.problem import Kind, Loss, Status
from xpycro.engine.solver.separable import evaluate, project, residual_of

__all__ = ["descend", "follow"]

FREE, TIED, LINEAR = int(Kind.FREE), int(Kind.TIED), int(Loss.LINEAR)
MAX_ITERATIONS, CONVERGED, SMALL_STEP = map(int, (Status.MAX_ITERATIONS, Status.COST, Status.STEP))
NOT_FINITE, SINGULAR = int(Status.NOT_FINITE), int(Status.SINGULAR)
VANISHED = 1e-6  # of its start


@native("void(int, int)")
def follow(table, parameters):  # type: ignore[no-untyped-def]
    """Tied parameters take the value that they follow."""
    kind, tied, p = at.integers(table, at.KIND), at.integers(table, at.TIED), at.numbers(table, parameters)
    for j in range(at.length(table, at.P)):
        if kind[j] == TIED:
            p[j] = p[tied[j]]


@native("float(int, int, int, int)")
def _point(table, parameters, rows, residual):  # type: ignore[no-untyped-def]
    """Rows, coefficients and residual at the nonlinear parameters; the cost."""
    counts = at.integers(table, at.COUNTS)
    follow(table, parameters)
    evaluate(table, parameters, rows)
    if counts[at.N_PROJECTED] > 0:
        project(table, parameters, rows, at.PROJECTED, counts[at.N_PROJECTED], residual)
    else:
        residual_of(table, parameters, rows, residual)
    return cost_of(table, residual)


@native("void(int)")
def _find_slopes(table):  # type: ignore[no-untyped-def]
    """Which rows, times what, are the derivatives by which free parameter; ties add up."""
    row_of, owner, linear = at.integers(table, at.ROW_OF), at.integers(table, at.OWNER), at.integers(table, at.LINEAR)
    kind, tied, place = at.integers(table, at.KIND), at.integers(table, at.TIED), at.integers(table, at.PLACE_OF)
    p, factors = at.numbers(table, at.P), at.numbers(table, at.SLOPE_FACTOR)
    rows, places = at.integers(table, at.SLOPE_ROW), at.integers(table, at.SLOPE_PLACE)
    count = 0
    for j in range(at.length(table, at.P)):
        source = tied[j] if kind[j] == TIED else j
        if kind[source] != FREE:
            continue
        rows[count], places[count] = row_of[j], place[source]
        factors[count] = p[owner[j]] if linear[j] == 0 and owner[j] >= 0 else 1.0
        count += 1
    at.integers(table, at.COUNTS)[at.N_SLOPES] = count


@native("void(int, int, int)")
def _normal_equations(table, rows, target):  # type: ignore[no-untyped-def]
    """Normal matrix and gradient of the free parameters, and what joins them to the projected ones.

    Kaufman: what the projected columns can explain is taken off (Schur complement). Marks parameters that are held:
    1 at a bound, 2 where they have no effect that the others do not have.
    """
    counts, row_of = at.integers(table, at.COUNTS), at.integers(table, at.ROW_OF)
    projected, kept = at.integers(table, at.PROJECTED), at.integers(table, at.KEPT)
    slope_row, slope_place = at.integers(table, at.SLOPE_ROW), at.integers(table, at.SLOPE_PLACE)
    factors, gradient, column = (
        at.numbers(table, at.SLOPE_FACTOR), at.numbers(table, at.GRADIENT), at.numbers(table, at.COLUMN),
    )  # fmt: skip
    normal, cross, mixed = at.matrix(table, at.NORMAL), at.matrix(table, at.CROSS), at.matrix(table, at.MIXED)
    residual, m = at.numbers(table, target), counts[at.M]
    n_kept, n_free = counts[at.N_KEPT], counts[at.N_FREE]
    for a in range(n_free):
        gradient[a] = 0.0
        for b in range(n_free):
            normal[a, b] = 0.0
        for k in range(n_kept):
            cross[k, a] = 0.0
    for d in range(counts[at.N_SLOPES]):
        own, a, factor_a = at.row(table, rows, slope_row[d]), slope_place[d], factors[d]
        gradient[a] += factor_a * dot(own, residual, m)
        for k in range(n_kept):
            cross[k, a] += factor_a * dot(own, at.row(table, rows, row_of[projected[kept[k]]]), m)
        for e in range(d + 1):
            value = factor_a * factors[e] * dot(own, at.row(table, rows, slope_row[e]), m)
            b = slope_place[e]
            normal[a, b] += value
            if d != e:
                normal[b, a] += value
    p, lower, upper = at.numbers(table, at.P), at.numbers(table, at.LOWER), at.numbers(table, at.UPPER)
    begun, linear = at.numbers(table, at.BEGUN), at.integers(table, at.LINEAR)
    free, held, subset = at.integers(table, at.FREE), at.integers(table, at.HELD), at.integers(table, at.SUBSET)
    n_subset = 0
    for a in range(n_free):
        whole = normal[a, a]
        for k in range(n_kept):
            column[k] = cross[k, a]
        solve(table, at.GRAM_LOW, at.GRAM_SCALE, n_kept, at.COLUMN)
        for k in range(n_kept):
            mixed[k, a] = column[k]
        for b in range(a + 1):
            for k in range(n_kept):
                normal[a, b] -= mixed[k, a] * cross[k, b]
            normal[b, a] = normal[a, b]
        j = free[a]
        held[a] = 0
        # a width on its way to zero never arrives (see `_try_step`): as good as there, it counts as there
        low = VANISHED * begun[j] if lower[j] == 0.0 and linear[j] == 0 else lower[j]
        if (p[j] <= low and gradient[a] <= 0.0) or (p[j] >= upper[j] and gradient[a] >= 0.0):
            held[a] = 1
        elif normal[a, a] <= 1e-13 * whole or whole == 0.0:
            held[a] = 2
        else:
            subset[n_subset] = a
            n_subset += 1
    counts[at.N_SUBSET] = n_subset


@native("float(int, float)")
def _solve_step(table, damping):  # type: ignore[no-untyped-def]
    """The step (in COLUMN) of those that are not held; the smallest pivot."""
    n = at.integers(table, at.COUNTS)[at.N_SUBSET]
    subset, gradient, column = (
        at.integers(table, at.SUBSET), at.numbers(table, at.GRADIENT), at.numbers(table, at.COLUMN),
    )  # fmt: skip
    normal, low = at.matrix(table, at.NORMAL), at.matrix(table, at.LOW)
    for a in range(n):
        column[a] = gradient[subset[a]]
        for b in range(a + 1):
            low[a, b] = normal[subset[a], subset[b]]
    pivot = factor(table, at.LOW, at.SCALE, n, damping)
    solve(table, at.LOW, at.SCALE, n, at.COLUMN)
    return pivot


@native("float(int)")
def _factor_gram(table):  # type: ignore[no-untyped-def]
    """The factor of the projected ones' Gram matrix; coefficients held at a bound count as constants."""
    counts, active, kept = at.integers(table, at.COUNTS), at.integers(table, at.ACTIVE), at.integers(table, at.KEPT)
    gram, low = at.matrix(table, at.GRAM), at.matrix(table, at.GRAM_LOW)
    n_kept = 0
    for k in range(counts[at.N_PROJECTED]):
        if active[k] == 0:
            kept[n_kept] = k
            n_kept += 1
    for a in range(n_kept):
        for b in range(a + 1):
            low[a, b] = gram[kept[a], kept[b]]
    counts[at.N_KEPT] = n_kept
    return factor(table, at.GRAM_LOW, at.GRAM_SCALE, n_kept, 0.0)


@native("float(int)")
def _try_step(table):  # type: ignore[no-untyped-def]
    """Parameters after the step, within bounds; how much it promises."""
    counts, subset, free = at.integers(table, at.COUNTS), at.integers(table, at.SUBSET), at.integers(table, at.FREE)
    p, trial, step, column = (
        at.numbers(table, at.P), at.numbers(table, at.TRIAL), at.numbers(table, at.STEP), at.numbers(table, at.COLUMN),
    )  # fmt: skip
    lower, upper, linear = at.numbers(table, at.LOWER), at.numbers(table, at.UPPER), at.integers(table, at.LINEAR)
    normal, gradient = at.matrix(table, at.NORMAL), at.numbers(table, at.GRADIENT)
    for j in range(at.length(table, at.P)):
        trial[j] = p[j]
    predicted = 0.0
    for a in range(counts[at.N_SUBSET]):
        j = free[subset[a]]
        trial[j] = min(max(p[j] + column[a], lower[j]), upper[j])
        if lower[j] == 0.0 and linear[j] == 0:
            trial[j] = max(trial[j], 0.3 * p[j])  # at zero width a shape has no slope to leave it by
        step[a] = trial[j] - p[j]
        predicted += step[a] * gradient[subset[a]]
        for b in range(a + 1):
            value = step[a] * normal[subset[a], subset[b]] * step[b]
            predicted -= value if b < a else 0.5 * value
    return predicted


@native("int(int)")
def descend(table):  # type: ignore[no-untyped-def]
    """Move the parameters, from what they have BEGUN with, to the nearest minimum; the status.

    What the uncertainties need stays behind: the normal matrix of the free parameters that are not held and its factor,
    the factor of the projected ones' Gram matrix, what joins them; the residual, the cost and the number of steps.
    """
    counts, scalars = at.integers(table, at.COUNTS), at.numbers(table, at.SCALARS)
    p, trial = at.numbers(table, at.P), at.numbers(table, at.TRIAL)
    gradient, normal, column = (
        at.numbers(table, at.GRADIENT), at.matrix(table, at.NORMAL), at.numbers(table, at.COLUMN),
    )  # fmt: skip
    subset, held = at.integers(table, at.SUBSET), at.integers(table, at.HELD)
    m, power, tolerance = counts[at.M], scalars[at.POWER], scalars[at.TOLERANCE]
    rows, trial_rows, residual, trial_residual = at.ROWS, at.OTHER_ROWS, at.RESIDUAL, at.OTHER_RESIDUAL
    plain = counts[at.LOSS] == LINEAR
    cost = _point(table, at.P, rows, residual)
    counts[at.STEPS] = 0
    scalars[at.COST] = cost
    if not np.isfinite(cost):
        return NOT_FINITE
    # where several shapes share the data, a bold first step jumps into another valley even from a good start
    damping = 1e-3 if counts[at.N_FREE] <= 3 else 1.0
    growth, gram_pivot, pivot = 2.0, 1.0, 1.0
    code, iteration = MAX_ITERATIONS, 0
    exact = 1e-30 * power + 1e-300
    while True:
        gram_pivot = _factor_gram(table)
        _find_slopes(table)
        target = residual
        if not plain:
            reweight(table, rows, residual)
            target = at.SCALED
        _normal_equations(table, rows, target)
        n_subset = counts[at.N_SUBSET]
        # how much the undamped step still promises, relative to the cost: the test that damping cannot fool
        pivot = _solve_step(table, 0.0)
        promise = longest = 0.0
        for a in range(n_subset):
            promise += 0.5 * column[a] * gradient[subset[a]]
            longest = max(longest, column[a] * column[a] * normal[subset[a], subset[a]])
        if promise <= tolerance * cost or cost <= exact:
            code = CONVERGED
            break
        if plain and longest <= 1e-22 * power:
            code = SMALL_STEP
            break
        if iteration == counts[at.MAX_ITERATIONS]:
            break
        iteration += 1
        accepted = False
        while damping < 1e14:
            _solve_step(table, damping)
            predicted = _try_step(table)
            trial_cost = _point(table, at.TRIAL, trial_rows, trial_residual)
            ratio = (cost - trial_cost) / predicted if predicted > 0.0 else 0.0
            if trial_cost < cost and ratio > 1e-4:
                accepted = True
                rows, trial_rows = trial_rows, rows
                residual, trial_residual = trial_residual, residual
                for j in range(at.length(table, at.P)):
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
            pivot = _solve_step(table, 0.0)
            break
    if residual != at.RESIDUAL:
        copy(at.numbers(table, residual), at.numbers(table, at.RESIDUAL), m)
    for a in range(counts[at.N_FREE]):
        if held[a] == 2:
            code = SINGULAR
    if (n_subset > 0 and pivot < 1e-14) or (counts[at.N_KEPT] > 0 and gram_pivot < 1e-14):
        code = SINGULAR
    counts[at.STEPS], counts[at.CURRENT_ROWS] = iteration, rows
    scalars[at.COST] = cost
    return code

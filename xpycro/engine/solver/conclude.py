"""What comes out of a pixel's fit: statistics, whether there is a peak at all, uncertainties.

Compiled; may import numpy and this folder's compiled modules.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver import memory as at
from xpycro.engine.solver.dense import dot, invert, solve
from xpycro.engine.solver.losses import robust_variance
from xpycro.engine.solver.native import native
from xpycro.engine.solver.problem import Kind, Loss, Status
from xpycro.engine.solver.separable import project

__all__ = ["conclude"]

# frozen when compiled
FIXED, PROJECTED, FREE, TIED = int(Kind.FIXED), int(Kind.PROJECTED), int(Kind.FREE), int(Kind.TIED)
LINEAR, POISSON = int(Loss.LINEAR), int(Loss.POISSON)
CONVERGED, SMALL_STEP, NO_SIGNAL = int(Status.COST), int(Status.STEP), int(Status.NO_SIGNAL)


@native("float(int)")
def _background_cost(table):  # type: ignore[no-untyped-def]
    """What the background alone costs, to tell a peak from noise."""
    counts, linear, background = (
        at.integers(table, at.COUNTS), at.integers(table, at.LINEAR), at.integers(table, at.BACKGROUND),
    )  # fmt: skip
    projected, taken = at.integers(table, at.PROJECTED), at.integers(table, at.TAKEN)
    p, trial, residual = at.numbers(table, at.P), at.numbers(table, at.TRIAL), at.numbers(table, at.OTHER_RESIDUAL)
    for j in range(at.length(table, at.P)):
        trial[j] = p[j] if background[j] != 0 or linear[j] == 0 else 0.0
    count = 0
    for k in range(counts[at.N_PROJECTED]):
        if background[projected[k]] != 0:
            taken[count] = projected[k]
            count += 1
    project(table, at.TRIAL, counts[at.CURRENT_ROWS], at.TAKEN, count, at.OTHER_RESIDUAL)
    return 0.5 * dot(residual, residual, counts[at.M])


@native("void(int, float, int)")
def _errors_of_free(table, variance, keep_all):  # type: ignore[no-untyped-def]
    """Those of the parameters that the descent moved."""
    counts = at.integers(table, at.COUNTS)
    variances = at.row(table, at.VARIANCES, counts[at.PIXEL])
    covariance, n = at.square(table, at.COVARIANCE, counts[at.PIXEL]), counts[at.N_SUBSET]
    free, subset, inverse = at.integers(table, at.FREE), at.integers(table, at.SUBSET), at.matrix(table, at.INVERSE)
    invert(table, at.LOW, at.SCALE, n, at.INVERSE)
    for a in range(n):
        ja = free[subset[a]]
        variances[ja] = variance * inverse[a, a]
        if keep_all != 0:
            for b in range(n):
                covariance[ja, free[subset[b]]] = variance * inverse[a, b]


@native("void(int, float, int)")
def _errors_of_projected(table, variance, keep_all):  # type: ignore[no-untyped-def]
    """Those of the coefficients that variable projection eliminated."""
    counts, projected, kept = (
        at.integers(table, at.COUNTS),
        at.integers(table, at.PROJECTED),
        at.integers(table, at.KEPT),
    )
    free, subset, inverse = at.integers(table, at.FREE), at.integers(table, at.SUBSET), at.matrix(table, at.INVERSE)
    mixed, step, column = at.matrix(table, at.MIXED), at.numbers(table, at.STEP), at.numbers(table, at.COLUMN)
    variances = at.row(table, at.VARIANCES, counts[at.PIXEL])
    covariance = at.square(table, at.COVARIANCE, counts[at.PIXEL])
    n_kept, n_subset = counts[at.N_KEPT], counts[at.N_SUBSET]
    for k in range(n_kept):
        jk = projected[kept[k]]
        for i in range(n_kept):
            column[i] = 1.0 if i == k else 0.0
        solve(table, at.GRAM_LOW, at.GRAM_SCALE, n_kept, at.COLUMN)
        for a in range(n_subset):  # - mixed . inverse
            step[a] = 0.0
            for b in range(n_subset):
                step[a] -= mixed[k, subset[b]] * inverse[b, a]
            if keep_all != 0:
                covariance[jk, free[subset[a]]] = variance * step[a]
                covariance[free[subset[a]], jk] = variance * step[a]
        for i in range(n_kept):
            value = column[i]
            for a in range(n_subset):
                value -= step[a] * mixed[i, subset[a]]
            if keep_all != 0:
                covariance[jk, projected[kept[i]]] = variance * value
            if i == k:
                variances[jk] = variance * value


@native("void(int, float, int)")
def _uncertainties(table, variance, keep_all):  # type: ignore[no-untyped-def]
    """Variances (and the covariance) of all parameters from the two factors that the descent left."""
    kind, tied = at.integers(table, at.KIND), at.integers(table, at.TIED)
    pixel, count = at.integers(table, at.COUNTS)[at.PIXEL], at.length(table, at.KIND)
    variances, covariance = at.row(table, at.VARIANCES, pixel), at.square(table, at.COVARIANCE, pixel)
    for j in range(count):
        # NaN until it is found below, or for good where it is at its bound
        variances[j] = np.nan if kind[j] == PROJECTED or kind[j] == FREE else 0.0
        if keep_all != 0:
            for k in range(count):
                # what is held by the caller has no covariance with the others
                held = kind[j] == FIXED or kind[k] == FIXED or (kind[j] == TIED and kind[k] == TIED)
                covariance[j, k] = 0.0 if held else np.nan
    _errors_of_free(table, variance, keep_all)
    _errors_of_projected(table, variance, keep_all)
    for j in range(count):
        if kind[j] == TIED:
            variances[j] = variances[tied[j]]
            if keep_all != 0:
                for k in range(count):
                    covariance[j, k] = covariance[tied[j], k]
    if keep_all != 0:
        for j in range(count):
            if kind[j] == TIED:
                for k in range(count):
                    covariance[k, j] = covariance[k, tied[j]]


@native("int(int)")
def conclude(table):  # type: ignore[no-untyped-def]
    """Write what came out for the pixel; its status."""
    counts, scalars = at.integers(table, at.COUNTS), at.numbers(table, at.SCALARS)
    residual, w = at.numbers(table, at.RESIDUAL), at.numbers(table, at.W)
    statistics, p = at.row(table, at.STATISTICS, counts[at.PIXEL]), at.numbers(table, at.P)
    m, code, cost, n_fitted = counts[at.M], counts[at.CODE], scalars[at.COST], counts[at.N_FITTED]
    squares = dot(residual, residual, m)
    total = squares
    if counts[at.WEIGHTED] != 0:
        total = 0.0
        for i in range(m):
            total += (residual[i] / w[i]) ** 2
    statistics[0], statistics[1] = cost, total
    if scalars[at.VARIATION] > 0.0:
        statistics[2] = 1.0 - squares / scalars[at.VARIATION]
    if code != CONVERGED and code != SMALL_STEP:
        return code
    # a peak that noise alone would give at one of the m places says nothing about its parameters
    if counts[at.TESTABLE] != 0:
        noise = 2.0 * cost / max(m - n_fitted, 1)
        if 2.0 * (_background_cost(table) - cost) < noise * (2.0 * np.log(m) + 2.0 * n_fitted + 6.0):
            return NO_SIGNAL
    parameters = at.row(table, at.PARAMETERS, counts[at.PIXEL])
    for j in range(at.length(table, at.P)):
        parameters[j] = p[j]
    variance = 1.0
    if counts[at.LOSS] != POISSON and counts[at.LOSS] != LINEAR:
        variance = robust_variance(table)
    elif counts[at.LOSS] == LINEAR and counts[at.ABSOLUTE] == 0:
        variance = squares / (m - n_fitted) if m > n_fitted else np.nan
    keep_all = at.length(table, at.COVARIANCE)
    _uncertainties(table, variance, keep_all)
    return code

"""The general kernel: one pixel after another, from the channels that can be used to parameters and uncertainties.

May import numba, numpy and this folder's compiled modules; it knows no model, only addresses of compiled shapes. A
model is ``f = sum_j c_j phi_j(alpha)``: a shape fills one row for each parameter, the basis function ``phi_j`` for a
linear one and the derivative of the basis function that it shapes (its *owner*) for a nonlinear one. Memory comes
from outside, for what numba allocates and slices itself costs most of the time to compile.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.dense import dot, invert, solve
from xpycro.engine.solver.descent import descend, follow
from xpycro.engine.solver.jit import helper, kernel
from xpycro.engine.solver.losses import cost_of, difference_noise, is_white
from xpycro.engine.solver.problem import Kind, Loss, Status
from xpycro.engine.solver.separable import evaluate, project
from xpycro.engine.solver.start import another_start, choose_candidate, estimate_peaks, peaks_to_parameters

__all__ = ["fit_pixels"]

# numba freezes these at compile time
FIXED, PROJECTED, FREE, TIED = int(Kind.FIXED), int(Kind.PROJECTED), int(Kind.FREE), int(Kind.TIED)
LINEAR, POISSON = int(Loss.LINEAR), int(Loss.POISSON)
CONVERGED, SMALL_STEP, SINGULAR = int(Status.COST), int(Status.STEP), int(Status.SINGULAR)
NO_DATA, TOO_FEW, CONSTANT, NO_SIGNAL = map(int, (Status.NO_DATA, Status.TOO_FEW, Status.CONSTANT, Status.NO_SIGNAL))


@helper
def _gather(x, y, source, weighted, quadratures, xs, data, w):  # type: ignore[no-untyped-def]
    """Copy the channels that can be used, without gaps; their number."""
    n = y.size // quadratures
    used = np.int64(0)
    for i in range(n):
        good = np.isfinite(y[i]) and np.isfinite(y[y.size - n + i])
        if good and weighted:
            good = source[i] > 0.0 and np.isfinite(source[i])
        if good:
            for d in range(x.shape[0]):
                xs[d * n + used] = x[d, i]
            for q in range(quadratures):
                data[q * n + used] = y[q * n + i]
                if weighted:
                    w[q * n + used] = source[q * n + i]
            used += 1
    if used < n:
        for d in range(1, x.shape[0]):
            for i in range(used):
                xs[d * used + i] = xs[d * n + i]
        for q in range(1, quadratures):
            for i in range(used):
                data[q * used + i] = data[q * n + i]
                w[q * used + i] = w[q * n + i]
    return used


@helper
def _variation(data, w, used, quadratures):  # type: ignore[no-untyped-def]
    """Weighted sum of squares about the mean, zero exactly where all are equal; the largest value."""
    total, largest = 0.0, data[0]
    constant = True
    for q in range(quadratures):
        mean = weights = 0.0
        for i in range(q * used, (q + 1) * used):
            mean += w[i] * w[i] * data[i]
            weights += w[i] * w[i]
            largest = max(largest, data[i])
            constant = constant and data[i] == data[q * used]
        mean /= weights
        for i in range(q * used, (q + 1) * used):
            total += (w[i] * (data[i] - mean)) ** 2
    return (0.0 if constant else total), largest


@helper
def _background_cost(model, guess, rows, y, m, p, trial, lists, chosen, work, residual, options, scale):  # type: ignore[no-untyped-def]
    """What the background alone costs, to tell a peak from noise."""
    linear, background = model[6], guess[0]
    projected, counts = lists[0], lists[3]
    for j in range(p.size):
        trial[j] = p[j] if background[j] or not linear[j] else 0.0
    count = np.int64(0)
    for k in range(counts[0]):
        if background[projected[k]]:
            chosen[count] = projected[k]
            count += 1
    project(model, rows, y, m, trial, chosen, count, work, residual)
    return cost_of(residual, y, m, options[0], options[1], scale)


@helper
def _uncertainties(model, lists, algebra, work, inverse, variance, variances, covariance, keep_all):  # type: ignore[no-untyped-def]
    """Variances (and the covariance) of all parameters from the two factors that the descent left."""
    kind, tied = model[7], model[8]
    projected, free, counts = lists[0], lists[1], lists[3]
    n_kept, n_subset = counts[2], counts[3]
    _, low, scale, gram_factor, gram_scale, _, mixed, _, step, column, _, subset, kept = algebra
    count = kind.size
    for j in range(count):
        held = kind[j] == PROJECTED or kind[j] == FREE  # until it is found below, it is at its bound
        variances[j] = np.nan if held else 0.0
        if keep_all:
            for k in range(count):
                other = kind[k] == PROJECTED or kind[k] == FREE
                covariance[j, k] = np.nan if held or other else 0.0
    if keep_all:  # what is held by the caller has no covariance with the others
        for j in range(count):
            for k in range(count):
                if kind[j] == FIXED or kind[k] == FIXED:
                    covariance[j, k] = 0.0
    invert(low, scale, n_subset, inverse)
    for a in range(n_subset):
        ja = free[subset[a]]
        variances[ja] = variance * inverse[a, a]
        if keep_all:
            for b in range(n_subset):
                covariance[ja, free[subset[b]]] = variance * inverse[a, b]
    for k in range(n_kept):
        jk = projected[kept[k]]
        for i in range(n_kept):
            column[i] = 1.0 if i == k else 0.0
        solve(gram_factor, gram_scale, n_kept, column)
        for a in range(n_subset):  # - mixed . inverse
            step[a] = 0.0
            for b in range(n_subset):
                step[a] -= mixed[k, subset[b]] * inverse[b, a]
            if keep_all:
                covariance[jk, free[subset[a]]] = variance * step[a]
                covariance[free[subset[a]], jk] = variance * step[a]
        for i in range(n_kept):
            value = column[i]
            for a in range(n_subset):
                value -= step[a] * mixed[i, subset[a]]
            if keep_all:
                covariance[jk, projected[kept[i]]] = variance * value
            if i == k:
                variances[jk] = variance * value
    for j in range(count):
        if kind[j] == TIED:
            variances[j] = variances[tied[j]]
            if keep_all:
                for k in range(count):
                    covariance[j, k] = covariance[tied[j], k]
    if keep_all:
        for j in range(count):
            if kind[j] == TIED:
                for k in range(count):
                    covariance[k, j] = covariance[k, tied[j]]


@helper
def into_bounds(model, p):  # type: ignore[no-untyped-def]
    kind, lower, upper = model[7], model[9], model[10]
    for j in range(p.size):
        if np.isnan(p[j]):
            p[j] = 0.0
        elif kind[j] == FREE:
            p[j] = min(max(p[j], lower[j]), upper[j])
    follow(model, p)


@helper
def _sort_out(model, lists, coefficients):  # type: ignore[no-untyped-def]
    """Lists of the projected, the free and all fitted linear parameters; how many each, and how many nonlinear."""
    linear, kind = model[6], model[7]
    projected, free, place, counts = lists
    n_projected = n_free = n_coefficients = n_nonlinear = np.int64(0)
    for j in range(kind.size):
        place[j] = -1
        if kind[j] == PROJECTED:
            projected[n_projected] = j
            n_projected += 1
        elif kind[j] == FREE:
            place[j] = n_free
            free[n_free] = j
            n_free += 1
            n_nonlinear += not linear[j]
        if linear[j] and (kind[j] == PROJECTED or kind[j] == FREE):
            coefficients[n_coefficients] = j
            n_coefficients += 1
    counts[0], counts[1] = n_projected, n_free
    return n_coefficients, n_nonlinear


@kernel
def fit_pixels(  # type: ignore[no-untyped-def]
    model, guess, x, y, weight, start, options, limits, absolute, room, outputs
):
    """Fit every row of `y`; `xpycro.engine.solver.tables` says what the tuples hold."""
    lists, memory, algebra, work, vectors, inverse, chosen, other, taken, coefficients = room
    xs, data, w, p, trial, origin, best, correlation = vectors
    parameters, variances, covariance, statistics, status, iterations = outputs
    residual, spare, trial_residual, scaled, rows = memory[0], memory[1], memory[2], memory[3], memory[4]
    linear, kind = model[6], model[7]
    quadratures, loss = options
    tolerance, loss_scale, max_iterations = limits
    n_peaks, templates = guess[4], guess[6]
    weighted, keep_all = weight.shape[1] > 0, covariance.shape[0] > 0
    n_coefficients, n_nonlinear = _sort_out(model, lists, coefficients)
    n_fitted = lists[3][0] + lists[3][1]
    testable = False  # whether there is more than background
    for j in range(kind.size):
        testable = testable or (linear[j] and not guess[0][j])
    testable = testable and n_nonlinear > 0 and lists[3][0] > 0
    n_channels = y.shape[1] // quadratures
    last = 0
    for i in range(w.size):
        w[i] = 1.0
    for pixel in range(y.shape[0]):
        raw = y[pixel]
        source = weight[pixel if weight.shape[0] > 1 else 0]
        used = _gather(x, raw, source, weighted, quadratures, xs, data, w)
        m = quadratures * used
        statistics[pixel, 3] = m
        if used == 0:
            status[pixel] = NO_DATA
            continue
        if m < n_fitted:
            status[pixel] = TOO_FEW
            continue
        variation, largest = _variation(data, w, used, quadratures)
        if variation == 0.0 and n_nonlinear > 0:
            status[pixel] = CONSTANT
            continue
        robust_scale = loss_scale
        if loss == POISSON:
            robust_scale = 1e-6 * max(largest, 1e-300)
        elif loss != LINEAR and not weighted:
            robust_scale = max(difference_noise(data, used, spare), 1e-12 * np.sqrt(variation / m) + 1e-300)
        if weighted:
            for i in range(m):
                data[i] *= w[i]
        power = dot(data, data, m)

        # ------------------------------------------------------------------- start
        missing = wanting = False
        for j in range(p.size):
            origin[j] = start[pixel if start.shape[0] > 1 else 0, j]
            if np.isnan(origin[j]):
                missing = missing or not linear[j]
                wanting = wanting or (linear[j] and kind[j] == FREE)
        peaks = missing and n_peaks > 0 and templates.shape[0] > 0
        sign = 0
        if peaks:
            sign = estimate_peaks(guess, raw, n_channels, spare, trial_residual, correlation, chosen, other, work)
        nothing = cost = np.inf
        code, white = NO_SIGNAL, False
        count, latest = 0, 0
        limit = (tolerance, robust_scale, max_iterations)
        for attempt in range(12):
            # more than one only where peaks are left over in the residual
            if attempt > 0:
                if white or not peaks or not another_start(guess, correlation, attempt - 1, sign, chosen, work):
                    break
            for j in range(p.size):
                p[j] = origin[j]
            if peaks:
                peaks_to_parameters(guess, chosen, origin, p)
            if missing:
                choose_candidate(
                    model, guess, xs, used, data, m, w, weighted, p, trial, rows, work, residual, coefficients,
                    n_coefficients,
                )  # fmt: skip
            into_bounds(model, p)
            if wanting or (attempt == 0 and testable):
                evaluate(model, xs, used, p, rows, w, m, weighted)
                if wanting:  # coefficients that are not projected start at their best
                    project(model, rows, data, m, p, coefficients, n_coefficients, work, residual)
                    follow(model, p)
                else:
                    nothing = _background_cost(
                        model, guess, rows, data, m, p, trial, lists, taken, work, residual, options, robust_scale
                    )
            found, how, steps = descend(
                model, xs, used, data, m, w, weighted, power, p, lists, memory, algebra, work, options, limit
            )
            count += steps
            good = how == CONVERGED or how == SMALL_STEP
            had = code == CONVERGED or code == SMALL_STEP
            if attempt == 0 or (good and (not had or found < cost)):
                cost, code, latest = found, how, attempt
                white = good and is_white(residual, m, quadratures, power)
                for j in range(p.size):
                    best[j] = p[j]
            last = attempt
        if latest != last:  # back to the best, for all that lies in memory
            for j in range(p.size):
                p[j] = best[j]
            cost, code, _ = descend(
                model, xs, used, data, m, w, weighted, power, p, lists, memory, algebra, work, options, limit
            )

        # ------------------------------------------------------------------- what comes out
        squares = dot(residual, residual, m)
        total = squares
        if weighted:
            total = 0.0
            for i in range(m):
                total += (residual[i] / w[i]) ** 2
        statistics[pixel, 0] = cost
        statistics[pixel, 1] = total
        if variation > 0.0:
            statistics[pixel, 2] = 1.0 - squares / variation
        iterations[pixel] = count
        # a peak that noise alone would give at one of the m places says nothing about its parameters
        if code == CONVERGED or code == SMALL_STEP:
            noise = 2.0 * cost / max(m - n_fitted, 1)
            if 2.0 * (nothing - cost) < noise * (2.0 * np.log(m) + 2.0 * n_fitted + 6.0):
                code = NO_SIGNAL
        status[pixel] = code
        if code != CONVERGED and code != SMALL_STEP:
            continue
        for j in range(p.size):
            parameters[pixel, j] = p[j]
        variance = 1.0
        if loss != POISSON and not absolute:
            if loss != LINEAR:
                squares = dot(scaled, scaled, m)
            variance = squares / (m - n_fitted) if m > n_fitted else np.nan
        _uncertainties(
            model, lists, algebra, work, inverse, variance, variances[pixel], covariance[pixel if keep_all else 0],
            keep_all,
        )  # fmt: skip

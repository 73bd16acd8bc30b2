"""The compiled Levenberg-Marquardt kernel: one pixel after another, variable projection, bounds, ties, losses.

May import numba, numpy and this folder's jit and dense; it knows no model, only addresses of compiled shapes. A model
is ``f = sum_j c_j phi_j(alpha)``: a shape fills one row for each parameter, the basis function ``phi_j`` for a linear
one and the derivative of the basis function that it shapes (its *owner*) for a nonlinear one.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.dense import dot, factor, invert, solve
from xpycro.engine.solver.jit import kernel
from xpycro.engine.solver.problem import Kind, Loss, Status
from xpycro.engine.solver.separable import evaluate, project, residual_of
from xpycro.engine.solver.start import estimate

__all__ = ["fit_pixels"]

# numba freezes these at compile time
FIXED, PROJECTED, FREE, TIED = int(Kind.FIXED), int(Kind.PROJECTED), int(Kind.FREE), int(Kind.TIED)
LINEAR, SOFT_L1, HUBER, CAUCHY, POISSON = map(int, (Loss.LINEAR, Loss.SOFT_L1, Loss.HUBER, Loss.CAUCHY, Loss.POISSON))
MAX_ITERATIONS, CONVERGED, SMALL_STEP = map(int, (Status.MAX_ITERATIONS, Status.COST, Status.STEP))
NO_DATA, TOO_FEW, CONSTANT, NOT_FINITE, SINGULAR, NO_SIGNAL = map(
    int, (Status.NO_DATA, Status.TOO_FEW, Status.CONSTANT, Status.NOT_FINITE, Status.SINGULAR, Status.NO_SIGNAL)
)


@kernel
def cost_of(residual, y, quadratures, loss, scale):  # type: ignore[no-untyped-def]
    """Half the sum of the loss; infinite or NaN where the model is."""
    m = residual.size
    if loss == LINEAR:
        return 0.5 * dot(residual, residual, m)
    total = 0.0
    if loss == POISSON:
        floor = scale  # below it the deviance goes on as a parabola, so that a trial below zero has a cost
        for i in range(m):
            counts = y[i]
            model = counts - residual[i]
            if model >= floor:
                total += model - counts
                if counts > 0.0:
                    total += counts * np.log(counts / model)
            else:
                kept = max(counts, floor)
                step = model - floor
                total += floor - counts + (1.0 - kept / floor) * step + 0.5 * kept / (floor * floor) * step * step
                if counts > 0.0:
                    total += counts * np.log(counts / floor)
        return total
    n = m // quadratures
    for i in range(n):
        z = residual[i] * residual[i]
        if quadratures == 2:
            z += residual[n + i] * residual[n + i]
        z /= scale * scale
        if loss == SOFT_L1:
            total += 2.0 * (np.sqrt(1.0 + z) - 1.0)
        elif loss == HUBER:
            total += z if z <= 1.0 else 2.0 * np.sqrt(z) - 1.0
        else:
            total += np.log1p(z)
    return 0.5 * scale * scale * total


@kernel
def _reweight(residual, scaled, jacobian, count, y, quadratures, loss, scale):  # type: ignore[no-untyped-def]
    """Residual and Jacobian whose plain least-squares step is the step of the loss (Triggs; Fisher scoring)."""
    m = residual.size
    if loss == POISSON:
        for i in range(m):
            model = y[i] - residual[i]
            if model >= scale:
                w = 1.0 / np.sqrt(model)
                scaled[i] = residual[i] * w
            else:
                kept = max(y[i], scale)
                w = np.sqrt(kept) / scale
                scaled[i] = -((1.0 - kept / scale) + kept / (scale * scale) * (model - scale)) / w
            for k in range(count):
                jacobian[k, i] *= w
        return
    n = m // quadratures
    for i in range(n):
        z = residual[i] * residual[i]
        if quadratures == 2:
            z += residual[n + i] * residual[n + i]
        magnitude = np.sqrt(z)
        z /= scale * scale
        if loss == SOFT_L1:
            first, second = 1.0 / np.sqrt(1.0 + z), -0.5 / (1.0 + z) ** 1.5
        elif loss == HUBER:
            first, second = (1.0, 0.0) if z <= 1.0 else (1.0 / np.sqrt(z), -0.5 / z**1.5)
        else:
            first, second = 1.0 / (1.0 + z), -1.0 / (1.0 + z) ** 2
        along = np.sqrt(max(first + 2.0 * second * z, 1e-3 * first))
        across = np.sqrt(first)
        if quadratures == 1:
            scaled[i] = residual[i] * first / along
            for k in range(count):
                jacobian[k, i] *= along
            continue
        # the loss bends along the residual only: turn the two quadratures into along and across
        c = residual[i] / magnitude if magnitude > 0.0 else 1.0
        s = residual[n + i] / magnitude if magnitude > 0.0 else 0.0
        scaled[i], scaled[n + i] = magnitude * first / along, 0.0
        for k in range(count):
            re, im = jacobian[k, i], jacobian[k, n + i]
            jacobian[k, i] = (c * re + s * im) * along
            jacobian[k, n + i] = (c * im - s * re) * across


@kernel
def _jacobian(rows, p, linear, row_of, owner, kind, tied, place, out, count):  # type: ignore[no-untyped-def]
    """Derivatives by the free parameters (those that are not projected), ties added up."""
    m = rows.shape[1]
    for k in range(count):
        for i in range(m):
            out[k, i] = 0.0
    for j in range(p.size):
        k = -1
        if kind[j] == FREE:
            k = place[j]
        elif kind[j] == TIED and kind[tied[j]] == FREE:
            k = place[tied[j]]
        if k < 0:
            continue
        c = 1.0
        if not linear[j] and owner[j] >= 0:
            c = p[owner[j]]
        row = row_of[j]
        for i in range(m):
            out[k, i] += c * rows[row, i]


@kernel
def _difference_noise(y, n, spare):  # type: ignore[no-untyped-def]
    """Standard deviation of white noise from second differences, which a smooth signal hardly touches."""
    if n < 3:
        return 0.0
    for i in range(1, n - 1):
        spare[i - 1] = abs(y[i - 1] - 2.0 * y[i] + y[i + 1])
    # the median by halving an interval: sorting would take longer to compile than all the rest
    low, high = 0.0, np.max(spare[: n - 2])
    for _ in range(40):
        middle = 0.5 * (low + high)
        below = 0
        for i in range(n - 2):
            below += spare[i] <= middle
        if 2 * below >= n - 2:
            high = middle
        else:
            low = middle
    return 1.4826 * high / np.sqrt(6.0)


@kernel
def fit_pixels(  # type: ignore[no-untyped-def]
    model, guess, x, y, weight, start, options, parameters, variances, covariance, statistics, status, iterations
):
    """Fit every row of `y`; see `xpycro.engine.solver.solve` for what the tuples hold."""
    addresses, first, row_first, n_rows, row_of, units, owner, linear, kind, tied, lower, upper = model
    background = guess[0]
    ndim, quadratures, loss, loss_scale, absolute, max_iterations, tolerance = options
    n_pixels, n_parameters = y.shape[0], kind.size
    n_channels = y.shape[1] // quadratures
    weighted = weight.shape[1] > 0

    projected = np.empty(n_parameters, np.int64)
    free = np.empty(n_parameters, np.int64)
    coefficients = np.empty(n_parameters, np.int64)  # the linear ones that are not fixed or tied, whatever the mode
    place = np.full(n_parameters, -1, np.int64)
    # typed, or numba would compile everything that takes a counter once more for the literal 0
    n_projected = n_free = n_coefficients = n_nonlinear = np.int64(0)
    for j in range(n_parameters):
        if kind[j] == PROJECTED:
            projected[n_projected] = j
            n_projected += 1
        elif kind[j] == FREE:
            place[j] = n_free
            free[n_free] = j
            n_free += 1
        if linear[j] and (kind[j] == PROJECTED or kind[j] == FREE):
            coefficients[n_coefficients] = j
            n_coefficients += 1
        elif kind[j] == FREE:
            n_nonlinear += 1
    n_fitted = n_projected + n_free

    full = y.shape[1]
    row_memory = np.empty(n_rows * full)
    trial_memory = np.empty(n_rows * full)
    jacobian_memory = np.empty(max(n_free, 1) * full)
    x_memory = np.empty(ndim * n_channels)
    y_memory, w_memory = np.empty(full), np.ones(full)
    residual_memory, trial_residual_memory, scaled_memory = np.empty(full), np.empty(full), np.empty(full)
    size = n_parameters + 1
    work = (
        np.zeros((size, size)), np.zeros((size, size)), np.zeros(size), np.zeros(size), np.zeros(size),
        np.zeros(size, np.int64), np.zeros(size, np.int64),
    )  # fmt: skip
    gram, active = work[0], work[6]
    gram_factor, gram_scale = np.zeros((size, size)), np.zeros(size)
    cross, mixed = np.zeros((size, size)), np.zeros((size, size))
    normal, low, scale = np.zeros((size, size)), np.zeros((size, size)), np.zeros(size)
    inverse = np.zeros((size, size))
    gradient, step, column = np.zeros(size), np.zeros(size), np.zeros(size)
    held = np.zeros(size, np.int64)
    subset, column_index = np.zeros(size, np.int64), np.zeros(size, np.int64)
    kept = np.zeros(size, np.int64)
    p, trial = np.empty(n_parameters), np.empty(n_parameters)

    for pixel in range(n_pixels):
        parameters[pixel] = np.nan
        variances[pixel] = np.nan
        if covariance.shape[0] > 0:
            covariance[pixel] = np.nan
        statistics[pixel] = np.nan
        iterations[pixel] = 0

        # ------------------------------------------------------------------- the channels that can be used
        source = weight[pixel if weight.shape[0] > 1 else 0]
        used = np.int64(0)
        for i in range(n_channels):
            good = np.isfinite(y[pixel, i]) and (quadratures == 1 or np.isfinite(y[pixel, n_channels + i]))
            if good and weighted:
                good = source[i] > 0.0 and np.isfinite(source[i])
            if good:
                for d in range(ndim):
                    x_memory[d * n_channels + used] = x[d, i]
                for q in range(quadratures):
                    y_memory[q * n_channels + used] = y[pixel, q * n_channels + i]
                    if weighted:
                        w_memory[q * n_channels + used] = source[q * n_channels + i]
                used += 1
        m = quadratures * used
        statistics[pixel, 3] = m
        if used == 0:
            status[pixel] = NO_DATA
            continue
        if m < n_fitted:
            status[pixel] = TOO_FEW
            continue
        for d in range(1, ndim):
            for i in range(used):
                x_memory[d * used + i] = x_memory[d * n_channels + i]
        if quadratures == 2 and used < n_channels:
            for i in range(used):
                y_memory[used + i] = y_memory[n_channels + i]
                w_memory[used + i] = w_memory[n_channels + i]
        xs, data, w = x_memory[: ndim * used], y_memory[:m], w_memory[:m]
        residual, trial_residual, scaled = residual_memory[:m], trial_residual_memory[:m], scaled_memory[:m]
        constant = True
        for q in range(quadratures):
            for i in range(used):
                if data[q * used + i] != data[q * used]:
                    constant = False
                    break
        if constant and n_nonlinear > 0:
            status[pixel] = CONSTANT
            continue

        # ------------------------------------------------------------------- total variation, noise scale, start
        for j in range(n_parameters):
            p[j] = start[pixel if start.shape[0] > 1 else 0, j]
        robust_scale = loss_scale
        if loss == POISSON:
            robust_scale = 1e-6 * max(np.max(data), 1e-300)
        elif loss != LINEAR and not weighted:
            robust_scale = _difference_noise(data, used, scaled)
            if robust_scale == 0.0:
                robust_scale = 1e-12 * np.max(np.abs(data)) + 1e-300
        total = weighted_total = 0.0
        for q in range(quadratures):
            mean = weights = 0.0
            for i in range(q * used, (q + 1) * used):
                mean += w[i] * w[i] * data[i]
                weights += w[i] * w[i]
            mean /= weights
            for i in range(q * used, (q + 1) * used):
                weighted_total += (w[i] * (data[i] - mean)) ** 2

        rows = row_memory[: n_rows * m].reshape(n_rows, m)
        trial_rows = trial_memory[: n_rows * m].reshape(n_rows, m)
        jacobian = jacobian_memory[: max(n_free, 1) * m].reshape(max(n_free, 1), m)
        if weighted:
            for i in range(m):
                data[i] *= w[i]
        power = dot(data, data, m)
        estimate(
            model, guess, xs, y[pixel], data, w, weighted, p, trial, rows, work, residual, quadratures, coefficients,
            n_coefficients,
        )  # fmt: skip
        for j in range(n_parameters):
            if kind[j] == TIED:
                p[j] = p[tied[j]]
            elif kind[j] == FREE:
                p[j] = min(max(p[j], lower[j]), upper[j])

        # ------------------------------------------------------------------- first point
        evaluate(addresses, first, row_first, xs, used, p, rows, w, weighted)
        if n_projected > 0:
            project(rows, data, p, linear, row_of, units, projected, n_projected, lower, upper, work, residual)
        else:
            wanting = False
            for k in range(n_coefficients):
                wanting = wanting or np.isnan(p[coefficients[k]])
            if wanting:
                project(
                    rows, data, p, linear, row_of, units, coefficients, n_coefficients, lower, upper, work, residual
                )
                for j in range(n_parameters):
                    if kind[j] == TIED:
                        p[j] = p[tied[j]]
            residual_of(rows, data, p, linear, row_of, units, residual)
        cost = cost_of(residual, data, quadratures, loss, robust_scale)
        nothing = np.inf  # what the background alone costs
        if n_nonlinear > 0 and n_projected > 0:
            trial[:] = p
            for j in range(n_parameters):
                if linear[j] and not background[j]:
                    trial[j] = 0.0
            n_background = np.int64(0)
            for k in range(n_projected):
                if background[projected[k]]:
                    column_index[n_background] = projected[k]
                    n_background += 1
            project(rows, data, trial, linear, row_of, units, column_index, n_background, lower, upper, work,
                    trial_residual)  # fmt: skip
            nothing = cost_of(trial_residual, data, quadratures, loss, robust_scale)
            project(rows, data, p, linear, row_of, units, projected, n_projected, lower, upper, work, residual)
        if not np.isfinite(cost):
            status[pixel] = NOT_FINITE
            continue

        # ------------------------------------------------------------------- Levenberg-Marquardt
        damping, growth = 1e-3, 2.0
        code = MAX_ITERATIONS
        exact = 1e-30 * power + 1e-300
        n_kept = n_subset = np.int64(0)
        for iteration in range(max_iterations + 1):
            iterations[pixel] = iteration
            # columns held at a bound count as constants
            n_kept = np.int64(0)
            for k in range(n_projected):
                if active[k] == 0:
                    kept[n_kept] = k
                    n_kept += 1
            for a in range(n_kept):
                for b in range(a + 1):
                    gram_factor[a, b] = gram[kept[a], kept[b]]
            gram_pivot = factor(gram_factor, gram_scale, n_kept, 0.0)
            _jacobian(rows, p, linear, row_of, owner, kind, tied, place, jacobian, n_free)
            if loss == LINEAR:
                scaled[:] = residual
            else:
                _reweight(residual, scaled, jacobian, n_free, data, quadratures, loss, robust_scale)
            for a in range(n_free):
                gradient[a] = dot(jacobian[a], scaled, m)
                for b in range(a + 1):
                    normal[a, b] = normal[b, a] = dot(jacobian[a], jacobian[b], m)
                step[a] = normal[a, a]  # before the projection, to tell what is left from rounding
                for k in range(n_kept):
                    cross[k, a] = dot(rows[row_of[projected[kept[k]]]], jacobian[a], m)
            # Kaufman: what the projected columns can explain is taken off (Schur complement)
            for a in range(n_free):
                for k in range(n_kept):
                    column[k] = cross[k, a]
                solve(gram_factor, gram_scale, n_kept, column)
                for k in range(n_kept):
                    mixed[k, a] = column[k]
            for a in range(n_free):
                for b in range(a + 1):
                    taken = 0.0
                    for k in range(n_kept):
                        taken += mixed[k, a] * cross[k, b]
                    normal[a, b] -= taken
                    normal[b, a] = normal[a, b]
            n_subset = np.int64(0)
            for a in range(n_free):
                j = free[a]
                held[a] = 0
                if (p[j] <= lower[j] and gradient[a] <= 0.0) or (p[j] >= upper[j] and gradient[a] >= 0.0):
                    held[a] = 1
                elif normal[a, a] <= 1e-13 * step[a] or step[a] == 0.0:
                    held[a] = 2  # no effect that the others do not have
                else:
                    subset[n_subset] = a
                    n_subset += 1
            # how much the undamped step still promises, relative to the cost: the test that cannot be fooled by damping
            for a in range(n_subset):
                column[a] = gradient[subset[a]]
                for b in range(a + 1):
                    low[a, b] = normal[subset[a], subset[b]]
            factor(low, scale, n_subset, 0.0)
            solve(low, scale, n_subset, column)
            promise = longest = 0.0
            for a in range(n_subset):
                promise += 0.5 * column[a] * gradient[subset[a]]
                longest = max(longest, abs(column[a]) * np.sqrt(normal[subset[a], subset[a]]))
            if promise <= tolerance * cost or cost <= exact:
                code = CONVERGED
                break
            if loss == LINEAR and longest * longest <= 1e-22 * power:
                code = SMALL_STEP
                break
            if iteration == max_iterations:
                break
            accepted = False
            while damping < 1e14:
                for a in range(n_subset):
                    column[a] = gradient[subset[a]]
                    for b in range(a + 1):
                        low[a, b] = normal[subset[a], subset[b]]
                factor(low, scale, n_subset, damping)
                solve(low, scale, n_subset, column)
                trial[:] = p
                for a in range(n_subset):
                    j = free[subset[a]]
                    trial[j] = min(max(p[j] + column[a], lower[j]), upper[j])
                    step[a] = trial[j] - p[j]
                for j in range(n_parameters):
                    if kind[j] == TIED:
                        trial[j] = trial[tied[j]]
                predicted = 0.0
                for a in range(n_subset):
                    predicted += step[a] * gradient[subset[a]]
                    for b in range(n_subset):
                        predicted -= 0.5 * step[a] * normal[subset[a], subset[b]] * step[b]
                evaluate(addresses, first, row_first, xs, used, trial, trial_rows, w, weighted)
                if n_projected > 0:
                    project(trial_rows, data, trial, linear, row_of, units, projected, n_projected, lower, upper, work,
                            trial_residual)  # fmt: skip
                else:
                    residual_of(trial_rows, data, trial, linear, row_of, units, trial_residual)
                trial_cost = cost_of(trial_residual, data, quadratures, loss, robust_scale)
                ratio = (cost - trial_cost) / predicted if predicted > 0.0 else 0.0
                if trial_cost < cost and ratio > 1e-4:
                    accepted = True
                    rows, trial_rows = trial_rows, rows
                    residual, trial_residual = trial_residual, residual
                    p[:] = trial
                    cost = trial_cost
                    damping *= max(0.05, 1.0 - (2.0 * ratio - 1.0) ** 3)
                    damping = max(damping, 1e-12)
                    growth = 2.0
                    break
                if predicted <= 1e-14 * cost and damping > 1e3:  # below what the cost can show
                    break
                damping *= growth
                growth *= 2.0
            if not accepted:
                # nothing better within rounding: as good as converged where little was promised
                if n_projected > 0:  # the failed trials overwrote the projection's state
                    project(rows, data, p, linear, row_of, units, projected, n_projected, lower, upper, work, residual)
                code = SMALL_STEP if promise <= 1e-6 * cost else NOT_FINITE
                break

        # ------------------------------------------------------------------- what comes out
        chi2 = dot(residual, residual, m) if loss != POISSON else 0.0
        if weighted:
            for i in range(m):
                total += (residual[i] / w[i]) ** 2
        else:
            total = dot(residual, residual, m)
        statistics[pixel, 0] = cost
        statistics[pixel, 1] = total
        statistics[pixel, 2] = 1.0 - dot(residual, residual, m) / weighted_total if weighted_total > 0.0 else np.nan
        for a in range(n_free):
            if held[a] == 2:
                code = SINGULAR
        # a peak that noise alone would give at one of the m places says nothing about its parameters
        if code == CONVERGED or code == SMALL_STEP:
            noise = 2.0 * cost / max(m - n_fitted, 1)
            if 2.0 * (nothing - cost) < noise * (2.0 * np.log(m) + 2.0 * n_fitted + 6.0):
                code = NO_SIGNAL
        status[pixel] = code
        if code != CONVERGED and code != SMALL_STEP:
            continue
        # covariance of the projected and the free ones from the two factors
        for a in range(n_subset):
            for b in range(a + 1):
                low[a, b] = normal[subset[a], subset[b]]
        pivot = factor(low, scale, n_subset, 0.0)
        if (n_subset > 0 and pivot < 1e-14) or (n_kept > 0 and gram_pivot < 1e-14):
            status[pixel] = SINGULAR
            continue
        parameters[pixel] = p
        invert(low, scale, n_subset, inverse)
        if loss == POISSON or absolute:
            variance = 1.0
        elif loss == LINEAR:
            variance = chi2 / (m - n_fitted) if m > n_fitted else np.nan
        else:
            variance = dot(scaled, scaled, m) / (m - n_fitted) if m > n_fitted else np.nan
        for j in range(n_parameters):
            if kind[j] == FIXED:
                variances[pixel, j] = 0.0
        keep_all = covariance.shape[0] > 0
        if keep_all:
            covariance[pixel] = 0.0
            for a in range(n_free):
                if held[a] != 0:
                    covariance[pixel, free[a], :] = np.nan
                    covariance[pixel, :, free[a]] = np.nan
            for k in range(n_projected):
                if active[k] != 0:
                    covariance[pixel, projected[k], :] = np.nan
                    covariance[pixel, :, projected[k]] = np.nan
        for a in range(n_subset):
            ja = free[subset[a]]
            variances[pixel, ja] = variance * inverse[a, a]
            if keep_all:
                for b in range(n_subset):
                    covariance[pixel, ja, free[subset[b]]] = variance * inverse[a, b]
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
                    covariance[pixel, jk, free[subset[a]]] = variance * step[a]
                    covariance[pixel, free[subset[a]], jk] = variance * step[a]
            for i in range(n_kept):
                value = column[i]
                for a in range(n_subset):
                    value -= step[a] * mixed[i, subset[a]]
                if keep_all:
                    covariance[pixel, jk, projected[kept[i]]] = variance * value
                if i == k:
                    variances[pixel, jk] = variance * value
        for j in range(n_parameters):
            if kind[j] == TIED:
                variances[pixel, j] = variances[pixel, tied[j]]
                if keep_all:
                    covariance[pixel, j, :] = covariance[pixel, tied[j], :]
        if keep_all:
            for j in range(n_parameters):
                if kind[j] == TIED:
                    covariance[pixel, :, j] = covariance[pixel, :, tied[j]]

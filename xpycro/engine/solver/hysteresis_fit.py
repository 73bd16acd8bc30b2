"""The fit of switching loops, pixel after pixel: starts, covariance, profiles of the switching biases.

Compiled; may import numba, numpy and the solver's hysteresis, jit and problem.

Reference for profiles: Venzon and Moolgavkar, Appl. Stat. 37, 87 (1988).
"""

from __future__ import annotations

import numpy as np
from numba import carray

from xpycro.engine.solver.hysteresis import (
    BEST,
    DIRECT_FALLING,
    DIRECT_RISING,
    FOUND,
    LINE,
    LONG,
    LOWER,
    MATRIX,
    N_ALL,
    N_SHAPE,
    NEAR,
    OUT,
    PHI,
    ROWS,
    SCALE,
    SHORT,
    STEP,
    UPPER,
    P,
    V,
    Y,
    descend,
    factor,
    half_way,
    project,
    shapes,
    solve,
)
from xpycro.engine.solver.jit import apart, helper, kernel
from xpycro.engine.solver.problem import Status

__all__ = ["fit_loops"]

# numba freezes these at compile time
MAX_ITERATIONS, CONVERGED, SMALL_STEP, NO_DATA, TOO_FEW, CONSTANT, NO_SIGNAL = map(
    int,
    (Status.MAX_ITERATIONS, Status.COST, Status.STEP, Status.NO_DATA, Status.TOO_FEW, Status.CONSTANT,
     Status.NO_SIGNAL),
)  # fmt: skip


@helper
def _derivative(j, n, split):  # type: ignore[no-untyped-def]
    """Of a parameter of the publication: its long piece, where it is not zero, whether times the height."""
    if j == 0:
        return LINE, 0, n, False
    if j == 1:
        return PHI, 0, n, False
    if j == 4:
        return V, 0, n, False
    piece = ROWS if j < 4 else ROWS + 1 + (j - 5) % 2
    falling = j == 2 or j == 5 or j == 6
    return piece, 0 if falling else split, split if falling else n, True


@apart("void(CPointer(float64), int64, int64, int64, int64, float64, float64, CPointer(float64))", sums=True)
def _covariance(memory, m, split, n, which, height, variance, target):  # type: ignore[no-untyped-def]
    """Of all nine parameters, in the publication's order, as if there were no bounds; `which` holds switching biases.

    One that rests on its bound so makes no other one surer. What nothing depends on gets a huge error, not none.
    """
    w = carray(memory, LONG * m + SHORT)
    s, covariance = w[LONG * m :], carray(target, (N_ALL, N_ALL))
    matrix, unit = s[MATRIX : MATRIX + 81].reshape((N_ALL, N_ALL)), s[STEP:]
    shapes(memory, m, split, n, which, DIRECT_FALLING | DIRECT_RISING)
    for a in range(N_ALL):
        piece_a, begin_a, end_a, times_a = _derivative(a, n, split)
        for b in range(a + 1):
            piece_b, begin_b, end_b, times_b = _derivative(b, n, split)
            begin, count = max(begin_a, begin_b), min(end_a, end_b) - max(begin_a, begin_b)
            first, second = w[piece_a * m + begin :], w[piece_b * m + begin :]
            value = 0.0
            for i in range(count):
                value += first[i] * second[i]
            value *= height if times_a else 1.0
            matrix[a, b] = value * (height if times_b else 1.0)
        matrix[a, a] = max(matrix[a, a], 1e-300)
    factor(matrix, s[SCALE:], N_ALL, 1e-13, 1e-13)
    # the first direction of the line is not the level but one of unit length
    level = w[LINE * m]
    for a in range(N_ALL):
        for b in range(N_ALL):
            unit[b] = 1.0 if a == b else 0.0
        solve(matrix, s[SCALE:], N_ALL, unit)
        for b in range(N_ALL):
            covariance[a, b] = variance * unit[b] * (level if a == 0 else 1.0) * (level if b == 0 else 1.0)


@apart("float64(CPointer(float64), int64, int64, int64, int64, float64, float64, float64, CPointer(float64))")
def _profile(memory, m, split, n, branch, direction, cost, variance, covariance_):  # type: ignore[no-untyped-def]
    """How far the switching bias of a branch can go until all others cannot keep the cost within `variance` / 2.

    From the minimum in BEST; NaN where a lower one turned up on the way, which is then in FOUND.
    """
    s = carray(memory, LONG * m + SHORT)[LONG * m :]
    covariance = carray(covariance_, (N_ALL, N_ALL))
    best, found, near, lower, upper = s[BEST:], s[FOUND:], s[NEAR:], s[LOWER:], s[UPPER:]
    own, other = 3 * branch, 3 - 3 * branch
    at = best[own] - half_way(best[own + 1], best[own + 2])[0]
    at_other = best[other] - half_way(best[other + 1], best[other + 2])[0]
    j = 2 + branch
    error = np.sqrt(covariance[j, j])
    first = min(error, 0.5 * upper[own + 1])
    for k in range(N_SHAPE):  # where the others go along, to first order
        near[k] = best[k]
    inside, z_inside, outside, z_outside, distance = 0.0, 0.0, np.inf, np.inf, first
    for attempt in range(10):
        if attempt == 0:
            share = direction * distance / covariance[j, j]
            for k in range(2):
                found[own + 1 + k] = best[own + 1 + k] + share * covariance[5 + 2 * branch + k, j]
                found[other + 1 + k] = best[other + 1 + k] + share * covariance[7 - 2 * branch + k, j]
                for e in (own, other):
                    found[e + 1 + k] = min(max(found[e + 1 + k], lower[e + 1 + k]), upper[e + 1 + k])
            moved = at_other + share * covariance[3 - branch, j]
            found[other] = moved + half_way(found[other + 1], found[other + 2])[0]
        else:
            for k in range(N_SHAPE):
                found[k] = near[k]
        found[own] = at + direction * distance
        descend(memory, m, split, n, FOUND, 1 << branch, own, 0.1, 0.0, 1e-2 * variance, 40)
        reached = s[OUT + 4]
        if reached < cost - 1e-3 * variance:
            found[own] += half_way(found[own + 1], found[own + 2])[0]
            return np.nan
        z = np.sqrt(max(2.0 * (reached - cost) / variance, 0.0))
        if z < 1.0:
            inside, z_inside = distance, z
            for k in range(N_SHAPE):
                near[k] = found[k]
        else:
            outside, z_outside = distance, z
        if abs(z - 1.0) < 0.1 or outside - inside < 0.02 * outside or inside > 1e3 * first:
            break
        if outside == np.inf:
            distance *= min(max(1.1 / max(z, 1e-3), 1.2), 2.5)
        else:
            share = (1.0 - z_inside) / (z_outside - z_inside)
            distance = inside + min(max(share, 0.1), 0.9) * (outside - inside)
    # the root of the rise is nearly straight, so that a tenth is near enough to read it off
    if outside < np.inf:
        return inside + (1.0 - z_inside) / (z_outside - z_inside) * (outside - inside)
    return inside / max(z_inside, 0.5)


@kernel
def fit_loops(  # type: ignore[no-untyped-def]
    v_axis, order, split_axis, y_all, starts, lower, upper, tolerance, limit, profiles, parameters, covariance, sides,
    statistics, status, iterations,
):  # fmt: skip
    """Fit every row of `y_all`; NaN points are left out.

    Parameters
    ----------
    v_axis, order : ndarray
        Bias of the points, falling branch first, each branch ascending; where each of them lies in a row of `y_all`.
    split_axis : int
        How many belong to the falling branch.
    starts : ndarray, shape (pixel, start, 6)
        Half-way bias and both widths, falling and rising; the first that is NaN ends them.
    lower, upper : ndarray, shape (6,)
    tolerance : float
        Of the cost, relative.
    limit : int
        Steps of one descent.
    profiles : bool
        Whether `sides` are wanted.
    parameters, covariance : ndarray, shape (pixel, 9) and (pixel, 9, 9)
        In the publication's order, a0 ... a4, b0 ... b3.
    sides : ndarray, shape (pixel, 4)
        How far V- may go down and up, and V+, by their profiles.
    statistics : ndarray, shape (pixel, 4)
        Cost, r2, number of points, sum of squares left by a line.
    """
    m = v_axis.size
    w = np.zeros(LONG * m + SHORT)
    s, memory = w[LONG * m :], w.ctypes
    v, y, level, line = w[V * m :], w[Y * m :], w[LINE * m :], w[(LINE + 1) * m :]
    p, best, found, out = s[P:], s[BEST:], s[FOUND:], s[OUT:]
    s[LOWER : LOWER + N_SHAPE], s[UPPER : UPPER + N_SHAPE] = lower, upper
    for pixel in range(y_all.shape[0]):
        parameters[pixel], covariance[pixel], sides[pixel], statistics[pixel] = np.nan, np.nan, np.nan, np.nan
        iterations[pixel] = n = split = 0
        for i in range(m):
            value = y_all[pixel, order[i]]
            if np.isfinite(value):
                v[n], y[n] = v_axis[i], value
                n += 1
                if i < split_axis:
                    split += 1
        statistics[pixel, 2] = n
        if n < N_ALL:
            status[pixel] = NO_DATA if n == 0 else TOO_FEW
            continue
        v_mean = y_mean = variation = spread = along = squares = 0.0
        different = False
        for i in range(n):
            v_mean += v[i] / n
            y_mean += y[i] / n
            different = different or y[i] != y[0]
        for i in range(n):
            variation += (y[i] - y_mean) ** 2
            spread += (v[i] - v_mean) ** 2
        spread = np.sqrt(spread)
        for i in range(n):
            level[i] = 1.0 / np.sqrt(n)
            line[i] = (v[i] - v_mean) / spread if spread > 0.0 else 0.0
            along += line[i] * (y[i] - y_mean)
        for i in range(n):
            y[i] -= y_mean + along * line[i]
            squares += y[i] * y[i]
        out[6] = statistics[pixel, 3] = squares
        if not different:
            status[pixel] = CONSTANT
            continue
        cost, code = np.inf, MAX_ITERATIONS
        for k in range(starts.shape[1]):
            if np.isnan(starts[pixel, k, 0]):
                break
            for j in range(N_SHAPE):
                p[j] = min(max(starts[pixel, k, j], lower[j]), upper[j])
            how = descend(memory, m, split, n, P, 0, -1, 1.0, tolerance, 0.0, limit)
            iterations[pixel] += int(out[5])
            good = how == CONVERGED or how == SMALL_STEP
            had = code == CONVERGED or code == SMALL_STEP
            if k == 0 or (good and (not had or out[4] < cost)) or (not had and out[4] < cost):
                cost, code = out[4], how
                for j in range(N_SHAPE):
                    best[j] = p[j]
        sure = code == CONVERGED or code == SMALL_STEP
        # a loop that noise alone would give says nothing about its parameters
        noise = 2.0 * cost / max(n - N_ALL, 1)
        if sure and squares - 2.0 * cost < noise * (2.0 * np.log(n) + 2.0 * N_ALL + 6.0):
            code, sure = NO_SIGNAL, False
        for _ in range(4 if sure else 0):
            better = False
            shapes(memory, m, split, n, BEST, 0)
            cost = project(memory, m, n)
            height = out[0]
            variance = 2.0 * cost / (n - N_ALL) if n > N_ALL else np.nan
            result = parameters[pixel]
            result[1] = height
            result[4] = (along - height * out[3]) / spread
            result[0] = y_mean - height * out[2] / np.sqrt(n) - result[4] * v_mean
            for j in range(N_SHAPE):
                p[j] = best[j]
            for branch in range(2):
                own = 3 * branch
                p[own] -= half_way(p[own + 1], p[own + 2])[0]
                result[2 + branch] = p[own]
                result[5 + 2 * branch], result[6 + 2 * branch] = p[own + 1], p[own + 2]
            _covariance(memory, m, split, n, P, height, variance, covariance[pixel].ctypes)
            for side in range(4 if profiles and variance > 0.0 else 0):
                sides[pixel, side] = _profile(
                    memory, m, split, n, side // 2, 2.0 * (side % 2) - 1.0, cost, variance, covariance[pixel].ctypes
                )
                if np.isnan(sides[pixel, side]):
                    better = True
                    break
            if not better:
                break
            for j in range(N_SHAPE):
                p[j] = found[j]
            how = descend(memory, m, split, n, P, 0, -1, 1e-2, tolerance, 0.0, limit)
            iterations[pixel] += int(out[5])
            if not (how == CONVERGED or how == SMALL_STEP) or not out[4] < cost:
                break
            for j in range(N_SHAPE):
                best[j] = p[j]
        status[pixel] = code
        statistics[pixel, 0] = cost
        if variation > 0.0:
            statistics[pixel, 1] = 1.0 - 2.0 * cost / variation

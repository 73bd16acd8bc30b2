"""The general kernel: one pixel after another, from the channels that can be used to parameters and uncertainties.

May import numpy and this folder's compiled modules; it knows no model, only addresses of compiled shapes. A model is
``f = sum_j c_j phi_j(alpha)``: a shape fills one row for each parameter, the basis function ``phi_j`` for a linear one
and the derivative of the basis function that it shapes (its *owner*) for a nonlinear one. Its functions are Python of
the few statements that `plain` knows, and are compiled together (`native`).
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver import memory as at
from xpycro.engine.solver.conclude import conclude
from xpycro.engine.solver.dense import copy, dot
from xpycro.engine.solver.descent import descend
from xpycro.engine.solver.losses import difference_noise, is_white
from xpycro.engine.solver.native import native, wide
from xpycro.engine.solver.problem import Kind, Loss, Status
from xpycro.engine.solver.rearrange import crowded, rearrange
from xpycro.engine.solver.start import begin, choose, choose_both_signs, offer

__all__ = ["fit_pixels"]

# frozen when compiled
PROJECTED, FREE = int(Kind.PROJECTED), int(Kind.FREE)
LINEAR, POISSON = int(Loss.LINEAR), int(Loss.POISSON)
MAX_ITERATIONS, CONVERGED, SMALL_STEP = map(int, (Status.MAX_ITERATIONS, Status.COST, Status.STEP))
NO_DATA, TOO_FEW, CONSTANT = map(int, (Status.NO_DATA, Status.TOO_FEW, Status.CONSTANT))
GO = -1
# of several peaks: starts tried from the data, from a minimum (twice as many while the residual is not white), in all
MOST_OFFERS, MOST_MOVES, MOST_ATTEMPTS = 10, 10, 40
AGREED, BEYOND = 3, 2  # how often a minimum has to be found, and how many starts beyond it to fail


@native("int(floats, floats, int, int)", sums=True)
def _complete(y, w, m, weighted):  # type: ignore[no-untyped-def]
    """Whether all channels can be used, told without a branch; what overflows is looked at one by one."""
    wide()
    total, useless = 0.0, 0
    for i in range(m):
        total += y[i] * y[i]
    if weighted != 0:
        for i in range(m):
            total += w[i] * w[i]
            useless += not w[i] > 0.0
    return 1 if useless == 0 and np.isfinite(total) else 0


@native("void(int)")
def _gather(table):  # type: ignore[no-untyped-def]
    """Copy the channels that can be used, without gaps."""
    counts, x, xs = at.integers(table, at.COUNTS), at.matrix(table, at.X), at.numbers(table, at.XS)
    y, data, w = at.row(table, at.Y, counts[at.PIXEL]), at.numbers(table, at.DATA), at.numbers(table, at.W)
    source = at.row(table, at.WEIGHTS, counts[at.PIXEL] if at.length(table, at.WEIGHTS) > 1 else 0)
    weighted, quadratures = counts[at.WEIGHTED] != 0, counts[at.QUADRATURES]
    m = at.columns(table, at.Y)
    n, used = m // quadratures, 0
    if _complete(y, source, m, counts[at.WEIGHTED]) != 0:
        copy(y, data, m)
        copy(at.numbers(table, at.X), xs, at.length(table, at.X) * n)
        if weighted:
            copy(source, w, m)
        counts[at.N], counts[at.M] = n, m
        return
    for i in range(n):
        good = np.isfinite(y[i]) and np.isfinite(y[(quadratures - 1) * n + i])
        if good and weighted:
            good = source[i] > 0.0 and np.isfinite(source[i])
        if good:
            for d in range(at.length(table, at.X)):
                xs[d * n + used] = x[d, i]
            for q in range(quadratures):
                data[q * n + used] = y[q * n + i]
                if weighted:
                    w[q * n + used] = source[q * n + i]
            used += 1
    if used < n:
        for d in range(1, at.length(table, at.X)):
            for i in range(used):
                xs[d * used + i] = xs[d * n + i]
        for q in range(1, quadratures):
            for i in range(used):
                data[q * used + i] = data[q * n + i]
                w[q * used + i] = w[q * n + i]
    counts[at.N], counts[at.M] = used, quadratures * used


@native("float(floats, floats, int, int)", sums=True)
def _variation(data, w, used, quadratures):  # type: ignore[no-untyped-def]
    """Weighted sum of squares about the mean, zero exactly where all are equal."""
    wide()
    total = 0.0
    different = 0
    for q in range(quadratures):
        mean = weights = 0.0
        for i in range(q * used, (q + 1) * used):
            mean += w[i] * w[i] * data[i]
            weights += w[i] * w[i]
            different += data[i] != data[q * used]
        mean /= weights
        for i in range(q * used, (q + 1) * used):
            total += (w[i] * (data[i] - mean)) ** 2
    return total if different > 0 else 0.0


@native("int(int)")
def _prepare(table):  # type: ignore[no-untyped-def]
    """Data, weights and what is known of them before any fit; a status where there is nothing to fit."""
    counts, scalars = at.integers(table, at.COUNTS), at.numbers(table, at.SCALARS)
    data, w = at.numbers(table, at.DATA), at.numbers(table, at.W)
    _gather(table)
    used, m, loss = counts[at.N], counts[at.M], counts[at.LOSS]
    at.matrix(table, at.STATISTICS)[counts[at.PIXEL], 3] = m
    if used == 0:
        return NO_DATA
    if m < counts[at.N_FITTED]:
        return TOO_FEW
    variation = _variation(data, w, used, counts[at.QUADRATURES])
    scalars[at.VARIATION] = variation
    if variation == 0.0 and counts[at.N_NONLINEAR] > 0:
        return CONSTANT
    scalars[at.ROBUST_SCALE] = scalars[at.LOSS_SCALE]
    if loss == POISSON:
        largest = 1e-300
        for i in range(m):
            largest = max(largest, data[i])
        scalars[at.ROBUST_SCALE] = 1e-6 * largest
    elif loss != LINEAR and counts[at.WEIGHTED] == 0:
        noise = difference_noise(data, used, at.numbers(table, at.SPARE))
        scalars[at.ROBUST_SCALE] = max(noise, 1e-12 * np.sqrt(variation / m) + 1e-300)
    if counts[at.WEIGHTED] != 0:
        for i in range(m):
            data[i] *= w[i]
    scalars[at.POWER] = dot(data, data, m)
    return GO


@native("void(int)")
def _sort_out(table):  # type: ignore[no-untyped-def]
    """Lists of the projected, the free and all fitted linear parameters; how many each, and how many nonlinear."""
    counts, linear, kind = at.integers(table, at.COUNTS), at.integers(table, at.LINEAR), at.integers(table, at.KIND)
    projected, free, place = (
        at.integers(table, at.PROJECTED), at.integers(table, at.FREE), at.integers(table, at.PLACE_OF),
    )  # fmt: skip
    coefficients, background = at.integers(table, at.COEFFICIENTS), at.integers(table, at.BACKGROUND)
    n_projected = n_free = n_coefficients = n_nonlinear = 0
    more = False  # whether there is more than background
    for j in range(at.length(table, at.KIND)):
        place[j] = -1
        more = more or (linear[j] != 0 and background[j] == 0)
        if kind[j] == PROJECTED:
            projected[n_projected] = j
            n_projected += 1
        elif kind[j] == FREE:
            place[j] = n_free
            free[n_free] = j
            n_free += 1
            n_nonlinear += linear[j] == 0
        if linear[j] != 0 and (kind[j] == PROJECTED or kind[j] == FREE):
            coefficients[n_coefficients] = j
            n_coefficients += 1
    counts[at.N_PROJECTED], counts[at.N_FREE], counts[at.N_FITTED] = n_projected, n_free, n_projected + n_free
    counts[at.N_COEFFICIENTS], counts[at.N_NONLINEAR] = n_coefficients, n_nonlinear
    counts[at.TESTABLE] = more and n_nonlinear > 0 and n_projected > 0


@native("int(int)")
def _minimum(table):  # type: ignore[no-untyped-def]
    """Descend from one start, and from others while peaks seem to be left over in the residual; the status.

    Several peaks may lie wrong without a trace in the residual: the lowest minimum has to be found from several
    starts, and the most promising ways beyond it have to lead back or higher; more of both where peaks are crowded.
    """
    counts, scalars = at.integers(table, at.COUNTS), at.numbers(table, at.SCALARS)
    p, best, origin = at.numbers(table, at.P), at.numbers(table, at.BEST), at.numbers(table, at.ORIGIN)
    begun, best_begun = at.numbers(table, at.BEGUN), at.numbers(table, at.BEST_BEGUN)
    linear, residual, n = at.integers(table, at.LINEAR), at.numbers(table, at.RESIDUAL), at.length(table, at.P)
    given = at.row(table, at.STARTS, counts[at.PIXEL] if at.length(table, at.STARTS) > 1 else 0)
    peaks = False
    for j in range(n):
        origin[j] = given[j]
        peaks = peaks or (np.isnan(given[j]) and linear[j] == 0)
    peaks = peaks and at.length(table, at.TEMPLATES) > 0
    several = counts[at.N_PEAKS] > 1
    if peaks:
        offer(table)
    cost, code, count, agreed, moves, beyond, near = np.inf, MAX_ITERATIONS, 0, 0, 0, 0, 0
    here = white = both = rated = False
    for attempt in range(MOST_ATTEMPTS):
        found = agreed >= AGREED + 2 * near
        if attempt > 0 and (not peaks or (white and (not several or (found and beyond >= BEYOND + 3 * near)))):
            break
        most_moves = MOST_MOVES if white else 2 * MOST_MOVES
        if peaks and several and not white and attempt % 2 == 1 and choose(table, -1) != 0:
            begin(table)
        elif not peaks or (not found and attempt < MOST_OFFERS and choose(table, 1) != 0):
            begin(table)
        elif several and moves < most_moves and rearrange(table, 0 if rated else 1) != 0:
            moves, beyond, rated = moves + 1, beyond + 1, True
        elif several and not white and choose(table, -1) != 0:
            begin(table)
        elif several and not both and not white and counts[at.SIGN] == 0:
            both = True
            choose_both_signs(table)
            begin(table)
        else:
            break
        copy(p, begun, n)
        how = descend(table)
        count += counts[at.STEPS]
        good, had, here = how == CONVERGED or how == SMALL_STEP, code == CONVERGED or code == SMALL_STEP, False
        if good and had and abs(scalars[at.COST] - cost) <= 1e-6 * cost:
            agreed += 1
        elif good and (not had or scalars[at.COST] < cost):
            agreed, beyond, rated = 1, 0, False
        # one that converged is worth more than one that did not, but for the end of a much shallower valley
        enough = 1.1 * cost if good and not had else cost
        if attempt == 0 or (scalars[at.COST] < enough and (good or not had)):
            cost, code, here = scalars[at.COST], how, True
            white = good and is_white(residual, counts[at.M], counts[at.QUADRATURES], scalars[at.POWER]) != 0
            copy(p, best, n)
            copy(begun, best_begun, n)
            near = crowded(table) if several else 0
    if not here:  # back to the best, for all that lies in memory
        copy(best, p, n)
        copy(best_begun, begun, n)
        if descend(table) != code:  # it was at the edge of what numbers can tell: the same way once more
            copy(best_begun, p, n)
            code = descend(table)
    counts[at.STEPS] = count
    return code


@native("void(int)")
def fit_pixels(table):  # type: ignore[no-untyped-def]
    """Fit every row of a slice; `tables` says what the pieces hold."""
    counts = at.integers(table, at.COUNTS)
    status, iterations = at.integers(table, at.STATUS), at.integers(table, at.ITERATIONS)
    _sort_out(table)
    for pixel in range(at.length(table, at.STATUS)):
        counts[at.PIXEL] = pixel
        status[pixel] = _prepare(table)
        if status[pixel] == GO:
            counts[at.CODE] = _minimum(table)
            iterations[pixel] = counts[at.STEPS]
            status[pixel] = conclude(table)

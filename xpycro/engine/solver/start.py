"""Where a fit starts: matched filters find peaks, a grid of candidates the rest; coefficients need no start.

Compiled; may import numba, numpy and this folder's compiled modules.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.dense import dot
from xpycro.engine.solver.jit import kernel
from xpycro.engine.solver.problem import Recipe
from xpycro.engine.solver.separable import evaluate, project

__all__ = ["estimate"]

VALUE, CENTER, WIDTH = int(Recipe.VALUE), int(Recipe.CENTER), int(Recipe.WIDTH)


@kernel
def _filled(y, out):  # type: ignore[no-untyped-def]
    """Channels that cannot be used take the value of a neighbour: this is only for the start."""
    n = out.size
    last = np.nan
    for i in range(n):
        if np.isfinite(y[i]):
            last = y[i]
        out[i] = last
    for i in range(n - 1, -1, -1):
        if np.isfinite(out[i]):
            last = out[i]
        else:
            out[i] = last


@kernel
def _median3(y, out):  # type: ignore[no-untyped-def]
    n = y.size
    out[0], out[n - 1] = y[0], y[n - 1]
    for i in range(1, n - 1):
        a, b, c = y[i - 1], y[i], y[i + 1]
        out[i] = max(min(a, b), min(max(a, b), c))


@kernel
def find_peaks(y, sign, templates, place, width, baseline, robust, centers, widths):  # type: ignore[no-untyped-def]
    """Matching pursuit: the template that explains most is taken off, as often as there are peaks."""
    n = y.size
    z = np.empty(n)
    _filled(y, z)
    if robust:
        copy = z.copy()
        _median3(copy, z)
    for b in range(baseline.shape[0]):
        c = dot(baseline[b], z, n)
        for i in range(n):
            z[i] -= c * baseline[b, i]
    for k in range(centers.size):
        best, chosen = 0.0, 0
        for t in range(templates.shape[0]):
            value = dot(templates[t], z, n)
            size = abs(value) if sign == 0 else value * sign
            if size > best:
                best, chosen = size, t
        c = dot(templates[chosen], z, n)
        for i in range(n):
            z[i] -= c * templates[chosen, i]
        centers[k], widths[k] = place[chosen], width[chosen]
    # in the order of the axis, so that a name means the same peak in every pixel
    for k in range(1, centers.size):
        for i in range(k, 0, -1):
            if centers[i - 1] > centers[i]:
                centers[i - 1], centers[i] = centers[i], centers[i - 1]
                widths[i - 1], widths[i] = widths[i], widths[i - 1]


@kernel
def estimate(  # type: ignore[no-untyped-def]
    model, guess, x, raw, data, w, weighted, p, trial, rows, work, residual, quadratures, coefficients, n_coefficients
):
    """Fill the nonlinear parameters of `p` that are NaN."""
    addresses, first, row_first, row_of, units = model[0], model[1], model[2], model[4], model[5]
    linear, lower, upper = model[7], model[10], model[11]
    _, recipe, value, peak_of, n_peaks, sign, templates, place, width, baseline, robust, candidates = guess
    missing = False
    for j in range(p.size):
        missing = missing or (not linear[j] and np.isnan(p[j]))
    if not missing:
        return
    n = raw.size // quadratures
    if n_peaks > 0 and templates.shape[0] > 0:
        centers, widths = np.empty(n_peaks), np.empty(n_peaks)
        find_peaks(raw[:n], sign, templates, place, width, baseline, robust, centers, widths)
        for j in range(p.size):
            if np.isnan(p[j]) and peak_of[j] >= 0:
                if recipe[j] == CENTER:
                    p[j] = centers[peak_of[j]] + value[j] * widths[peak_of[j]]
                elif recipe[j] == WIDTH:
                    p[j] = value[j] * widths[peak_of[j]]
    if candidates.shape[0] > 0:
        best, chosen = np.inf, 0
        used = data.size // quadratures
        for c in range(candidates.shape[0]):
            for j in range(p.size):
                trial[j] = candidates[c, j] if np.isnan(p[j]) and not linear[j] else p[j]
                if np.isnan(trial[j]):
                    trial[j] = value[j] if not linear[j] else 0.0
            evaluate(addresses, first, row_first, x, used, trial, rows, w, weighted)
            project(
                rows, data, trial, linear, row_of, units, coefficients, n_coefficients, lower, upper, work, residual
            )
            cost = dot(residual, residual, data.size)
            if cost < best:
                best, chosen = cost, c
        for j in range(p.size):
            if np.isnan(p[j]) and not linear[j]:
                p[j] = candidates[chosen, j]
    for j in range(p.size):
        if np.isnan(p[j]) and not linear[j]:
            p[j] = value[j]

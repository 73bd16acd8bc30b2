"""Where a fit starts: matched filters find peaks, a grid of candidates the rest; coefficients need no start.

Compiled; may import numba, numpy and this folder's compiled modules.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.dense import dot
from xpycro.engine.solver.jit import helper
from xpycro.engine.solver.problem import Recipe
from xpycro.engine.solver.separable import evaluate, project

__all__ = ["choose_candidate", "estimate_peaks"]

CENTER, WIDTH = int(Recipe.CENTER), int(Recipe.WIDTH)


@helper
def _filled(y, n, robust, out, spare):  # type: ignore[no-untyped-def]
    """Channels that cannot be used take the value of a neighbour: this is only for the start."""
    last = np.nan
    for i in range(n):
        if np.isfinite(y[i]):
            last = y[i]
        spare[i] = last
    for i in range(n - 1, -1, -1):
        if np.isfinite(spare[i]):
            last = spare[i]
        else:
            spare[i] = last
    for i in range(n):
        out[i] = spare[i]
        if robust and 0 < i < n - 1:  # the median of three takes single outliers off
            a, b, c = spare[i - 1], spare[i], spare[i + 1]
            out[i] = max(min(a, b), min(max(a, b), c))


@helper
def estimate_peaks(guess, y, n, p, z, spare, centers, widths):  # type: ignore[no-untyped-def]
    """Fill centres and widths that are NaN: the template that explains most is taken off, once for each peak."""
    _, recipe, value, peak_of, n_peaks, sign, templates, place, width, baseline, robust, _ = guess
    _filled(y, n, robust, z, spare)
    for b in range(baseline.shape[0]):
        c = dot(baseline[b], z, n)
        for i in range(n):
            z[i] -= c * baseline[b, i]
    for k in range(n_peaks):
        best, chosen, height = 0.0, 0, 0.0
        for t in range(templates.shape[0]):
            c = dot(templates[t], z, n)
            size = abs(c) if sign == 0 else c * sign
            if size > best:
                best, chosen, height = size, t, c
        for i in range(n):
            z[i] -= height * templates[chosen, i]
        # kept in the order of the axis, so that a name means the same peak in every pixel
        at = k
        while at > 0 and centers[at - 1] > place[chosen]:
            centers[at], widths[at] = centers[at - 1], widths[at - 1]
            at -= 1
        centers[at], widths[at] = place[chosen], width[chosen]
    for j in range(p.size):
        if np.isnan(p[j]) and peak_of[j] >= 0:
            if recipe[j] == CENTER:
                p[j] = centers[peak_of[j]] + value[j] * widths[peak_of[j]]
            elif recipe[j] == WIDTH:
                p[j] = value[j] * widths[peak_of[j]]


@helper
def choose_candidate(  # type: ignore[no-untyped-def]
    model, guess, x, n, y, m, w, weighted, p, trial, rows, work, residual, coefficients, n_coefficients
):
    """Fill nonlinear parameters that are still NaN from the candidate that fits best."""
    linear = model[6]
    value, candidates = guess[2], guess[11]
    best, chosen = np.inf, -1
    for c in range(candidates.shape[0]):
        for j in range(p.size):
            trial[j] = p[j]
            if linear[j]:
                trial[j] = 0.0 if np.isnan(p[j]) else p[j]
            elif np.isnan(p[j]):
                trial[j] = value[j] if np.isnan(candidates[c, j]) else candidates[c, j]
        evaluate(model, x, n, trial, rows, w, m, weighted)
        project(model, rows, y, m, trial, coefficients, n_coefficients, work, residual)
        cost = dot(residual, residual, m)
        if cost < best:
            best, chosen = cost, c
    for j in range(p.size):
        if np.isnan(p[j]) and not linear[j]:
            p[j] = value[j]
            if chosen >= 0 and not np.isnan(candidates[chosen, j]):
                p[j] = candidates[chosen, j]

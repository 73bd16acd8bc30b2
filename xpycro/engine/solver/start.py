"""Where a fit starts: matched filters find peaks, a grid of candidates the rest; coefficients need no start.

Compiled; may import numba, numpy and this folder's compiled modules.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver.dense import dot, factor, invert, solve
from xpycro.engine.solver.jit import helper
from xpycro.engine.solver.problem import Recipe
from xpycro.engine.solver.separable import evaluate, project

__all__ = ["another_start", "choose_candidate", "estimate_peaks", "peaks_to_parameters"]

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
def _best_beside(correlation, gram, others, n, sign, work, fallback):  # type: ignore[no-untyped-def]
    """The template that adds most to the others."""
    inverse, low, scale, a = work[0], work[1], work[2], work[4]
    for i in range(n):
        for j in range(i + 1):
            low[i, j] = gram[others[i], others[j]]
    factor(low, scale, n, 1e-6)
    invert(low, scale, n, inverse)
    for i in range(n):
        a[i] = 0.0
        for j in range(n):
            a[i] += inverse[i, j] * correlation[others[j]]
    best, selected = -1.0, fallback
    for t in range(gram.shape[0]):
        value, left = correlation[t], 1.0
        for i in range(n):
            g = gram[t, others[i]]
            value -= g * a[i]
            for j in range(n):
                left -= g * inverse[i, j] * gram[t, others[j]]
        if left > 0.05 and value * sign >= 0.0 and value * value > best * left:
            best, selected = value * value / left, t
    return selected


@helper
def _explained(correlation, gram, count, sign, chosen, work):  # type: ignore[no-untyped-def]
    """What the chosen ones explain together, those of the wrong sign left out."""
    low, scale, a = work[1], work[2], work[4]
    for i in range(count):
        a[i] = correlation[chosen[i]]
        for j in range(i + 1):
            low[i, j] = gram[chosen[i], chosen[j]]
    factor(low, scale, count, 1e-6)
    solve(low, scale, count, a)
    total = 0.0
    for i in range(count):
        if a[i] * sign >= 0.0:
            total += a[i] * correlation[chosen[i]]
    return total


@helper
def _maxima(correlation, width, begin, end, sign, count, found):  # type: ignore[no-untyped-def]
    """The largest local maxima among templates of one width; how many."""
    n = np.int64(0)
    for t in range(begin, end):
        value = sign * correlation[t]
        if value <= 0.0 or (t > begin and sign * correlation[t - 1] > value):
            continue
        if t + 1 < end and sign * correlation[t + 1] >= value:
            continue
        at = n if n < count else count - 1
        if n == count and sign * correlation[found[at]] >= value:
            continue
        while at > 0 and sign * correlation[found[at - 1]] < value:
            found[at] = found[at - 1]
            at -= 1
        found[at] = t
        n = min(n + 1, count)
    return n


@helper
def _initial(correlation, gram, width, count, sign, which, found, work):  # type: ignore[no-untyped-def]
    """Local maxima at width number `which`, completed by what adds most; beyond the last width nothing but the latter.

    What they explain together, or -1 where there is no such width.
    """
    n_templates = gram.shape[0]
    begin = end = np.int64(0)
    for _ in range(which + 1):
        begin = end
        while end < n_templates and width[end] == width[begin]:
            end += 1
        if begin == end and which > 0 and _ < which:
            return -1.0
    n = np.int64(0)
    if begin < end and count > 1 and sign != 0:
        n = _maxima(correlation, width, begin, end, sign, count, found)
    for k in range(n, count):
        found[k] = _best_beside(correlation, gram, found, k, sign, work, np.int64(0))
    return _explained(correlation, gram, count, sign, found, work)


@helper
def _select(correlation, gram, width, count, sign, chosen, work):  # type: ignore[no-untyped-def]
    """The templates that explain most together, and how much.

    Local maxima at each width, and the greedy choice, are completed and compared; then each in turn is chosen anew
    given the others, until none changes. All of it happens among the templates' correlations. The greedy choice alone
    would take one wide peak for three and never leave that valley.
    """
    others, found = work[5], work[6]
    best = -1.0
    for which in range(20):
        total = _initial(correlation, gram, width, count, sign, which, found, work)
        if total > best:
            best = total
            for k in range(count):
                chosen[k] = found[k]
        if total < 0.0 or count == 1 or sign == 0:
            break
    for _ in range(4 if count > 1 else 0):
        changed = False
        for k in range(count):
            n = np.int64(0)
            for i in range(count):
                if i != k:
                    others[n] = chosen[i]
                    n += 1
            selected = _best_beside(correlation, gram, others, n, sign, work, chosen[k])
            changed = changed or selected != chosen[k]
            chosen[k] = selected
        if not changed:
            break
    return _explained(correlation, gram, count, sign, chosen, work)


@helper
def peaks_to_parameters(guess, chosen, p, out):  # type: ignore[no-untyped-def]
    """Centres and widths of the chosen templates where `p` is NaN."""
    recipe, value, peak_of, n_peaks, place, width = guess[1], guess[2], guess[3], guess[4], guess[7], guess[8]
    # in the order of the axis, so that a name means the same peak in every pixel
    for k in range(1, n_peaks):
        for i in range(k, 0, -1):
            if place[chosen[i - 1]] > place[chosen[i]]:
                chosen[i - 1], chosen[i] = chosen[i], chosen[i - 1]
    for j in range(p.size):
        out[j] = p[j]
        if np.isnan(p[j]) and peak_of[j] >= 0:
            if recipe[j] == CENTER:
                out[j] = place[chosen[peak_of[j]]] + value[j] * width[chosen[peak_of[j]]]
            elif recipe[j] == WIDTH:
                out[j] = value[j] * width[chosen[peak_of[j]]]


@helper
def estimate_peaks(guess, y, n, z, spare, correlation, chosen, other, work):  # type: ignore[no-untyped-def]
    """Choose a template for each peak by matched filters; the sign of the peaks."""
    n_peaks, sign, templates, baseline, robust, gram = guess[4], guess[5], guess[6], guess[9], guess[10], guess[12]
    _filled(y, n, robust, z, spare)
    for b in range(baseline.shape[0]):
        c = dot(baseline[b], z, n)
        for i in range(n):
            z[i] -= c * baseline[b, i]
    for t in range(templates.shape[0]):
        correlation[t] = dot(templates[t], z, n)
    for k in range(n_peaks):
        chosen[k] = other[k] = 0
    # peaks of one sign: a wide peak with dips in it would explain as much as two
    first = sign if sign != 0 else 1
    explained = _select(correlation, gram, guess[8], n_peaks, first, chosen, work)
    if sign == 0 and _select(correlation, gram, guess[8], n_peaks, -first, other, work) > explained:
        first = -1
        for k in range(n_peaks):
            chosen[k] = other[k]
    return first


@helper
def another_start(guess, correlation, attempt, first, chosen, work):  # type: ignore[no-untyped-def]
    """Further templates: the other sign, both signs, then the unrefined ones of each width; False at the end."""
    n_peaks, sign, gram, width = guess[4], guess[5], guess[12], guess[8]
    if attempt < 2:
        if sign == 0 and (attempt == 0 or n_peaks > 1):
            _select(correlation, gram, width, n_peaks, -first if attempt == 0 else 0, chosen, work)
        return True
    return n_peaks > 1 and _initial(correlation, gram, width, n_peaks, first, attempt - 2, chosen, work) >= 0.0


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

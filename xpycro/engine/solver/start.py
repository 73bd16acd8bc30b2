"""Where a fit starts: matched filters find peaks, a grid of candidates the rest; coefficients need no start.

Compiled; may import numpy and this folder's compiled modules.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver import memory as at
from xpycro.engine.solver.dense import dot, factor, invert, solve, subtract
from xpycro.engine.solver.descent import follow
from xpycro.engine.solver.jit import apart
from xpycro.engine.solver.losses import cost_of
from xpycro.engine.solver.problem import Kind, Recipe
from xpycro.engine.solver.separable import evaluate, project

__all__ = ["begin", "search"]

CENTER, WIDTH = int(Recipe.CENTER), int(Recipe.WIDTH)
FREE = int(Kind.FREE)


@apart("void(CPointer(float64), int64, int64, CPointer(float64), CPointer(float64))")
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
        if robust != 0 and 0 < i < n - 1:  # the median of three takes single outliers off
            a, b, c = spare[i - 1], spare[i], spare[i + 1]
            out[i] = max(min(a, b), min(max(a, b), c))


@apart("void(int64)")
def _correlate(table):  # type: ignore[no-untyped-def]
    """What each template explains of the pixel, once what a smooth background can explain is off."""
    counts = at.integers(table, at.COUNTS)
    z, correlation = at.numbers(table, at.OTHER_RESIDUAL), at.numbers(table, at.CORRELATION)
    n, bins = at.columns(table, at.Y) // counts[at.QUADRATURES], at.columns(table, at.TEMPLATES)
    raw = at.row(table, at.Y, counts[at.PIXEL])
    _filled(raw, n, counts[at.ROBUST], z, at.numbers(table, at.SPARE))
    group = counts[at.GROUP]
    if group > 1:
        for k in range(bins):
            total, end = 0.0, min((k + 1) * group, n)
            for i in range(k * group, end):
                total += z[i]
            z[k] = total / (end - k * group)
    for b in range(at.length(table, at.BASELINE)):
        own = at.row(table, at.BASELINE, b)
        subtract(z, dot(own, z, bins), own, bins)
    for t in range(at.length(table, at.TEMPLATES)):
        correlation[t] = dot(at.row(table, at.TEMPLATES, t), z, bins)


@apart("int64(int64, int64, int64, int64, int64)")
def _best_beside(table, which, n, sign, fallback):  # type: ignore[no-untyped-def]
    """The template that adds most to the first `n` of a list."""
    correlation, gram, others = (
        at.numbers(table, at.CORRELATION), at.matrix(table, at.TEMPLATE_GRAM), at.integers(table, which),
    )  # fmt: skip
    inverse, low, a = at.matrix(table, at.INVERSE), at.matrix(table, at.LOW), at.numbers(table, at.STEP)
    for i in range(n):
        for j in range(i + 1):
            low[i, j] = gram[others[i], others[j]]
    factor(table, at.LOW, at.SCALE, n, 1e-6)
    invert(table, at.LOW, at.SCALE, n, at.INVERSE)
    for i in range(n):
        a[i] = 0.0
        for j in range(n):
            a[i] += inverse[i, j] * correlation[others[j]]
    best, selected = -1.0, fallback
    for t in range(at.length(table, at.TEMPLATE_GRAM)):
        value, left = correlation[t], 1.0
        for i in range(n):
            g = gram[t, others[i]]
            value -= g * a[i]
            for j in range(n):
                left -= g * inverse[i, j] * gram[t, others[j]]
        if left > 0.05 and value * sign >= 0.0 and value * value > best * left:
            best, selected = value * value / left, t
    return selected


@apart("float64(int64, int64, int64, int64)")
def _explained(table, which, count, sign):  # type: ignore[no-untyped-def]
    """What the chosen ones explain together, those of the wrong sign left out."""
    correlation, gram, chosen = (
        at.numbers(table, at.CORRELATION), at.matrix(table, at.TEMPLATE_GRAM), at.integers(table, which),
    )  # fmt: skip
    low, a = at.matrix(table, at.LOW), at.numbers(table, at.STEP)
    for i in range(count):
        a[i] = correlation[chosen[i]]
        for j in range(i + 1):
            low[i, j] = gram[chosen[i], chosen[j]]
    factor(table, at.LOW, at.SCALE, count, 1e-6)
    solve(table, at.LOW, at.SCALE, count, at.STEP)
    total = 0.0
    for i in range(count):
        if a[i] * sign >= 0.0:
            total += a[i] * correlation[chosen[i]]
    return total


@apart("int64(int64, int64, int64, int64, int64)")
def _maxima(table, begin, end, sign, count):  # type: ignore[no-untyped-def]
    """The largest local maxima among templates of one width (in FOUND); how many."""
    correlation, found = at.numbers(table, at.CORRELATION), at.integers(table, at.FOUND)
    n = 0
    for t in range(begin, end):
        value = sign * correlation[t]
        if value <= 0.0 or (t > begin and sign * correlation[t - 1] > value):
            continue
        if t + 1 < end and sign * correlation[t + 1] >= value:
            continue
        place = n if n < count else count - 1
        if n == count and sign * correlation[found[place]] >= value:
            continue
        while place > 0 and sign * correlation[found[place - 1]] < value:
            found[place] = found[place - 1]
            place -= 1
        found[place] = t
        n = min(n + 1, count)
    return n


@apart("float64(int64, int64, int64)")
def _initial(table, sign, number):  # type: ignore[no-untyped-def]
    """Local maxima at a width (in FOUND), completed by what adds most; beyond the last width nothing but the latter.

    What they explain together, or -1 where there is no such width.
    """
    count, width, found = (
        at.integers(table, at.COUNTS)[at.N_PEAKS], at.numbers(table, at.WIDTH), at.integers(table, at.FOUND),
    )  # fmt: skip
    n_templates = at.length(table, at.TEMPLATES)
    begin = end = 0
    for k in range(number + 1):
        begin = end
        while end < n_templates and width[end] == width[begin]:
            end += 1
        if begin == end and k < number:
            return -1.0
    n = 0
    if begin < end and count > 1 and sign != 0:
        n = _maxima(table, begin, end, sign, count)
    for k in range(n, count):
        found[k] = _best_beside(table, at.FOUND, k, sign, 0)
    return _explained(table, at.FOUND, count, sign)


@apart("float64(int64, int64, int64)")
def _select(table, sign, which):  # type: ignore[no-untyped-def]
    """The templates that explain most together (in the piece `which`), and how much.

    Local maxima at each width, and the greedy choice, are completed and compared; then each in turn is chosen anew
    given the others, until none changes. All of it happens among the templates' correlations. The greedy choice alone
    would take one wide peak for three and never leave that valley.
    """
    count, chosen = at.integers(table, at.COUNTS)[at.N_PEAKS], at.integers(table, which)
    others, found = at.integers(table, at.OTHERS), at.integers(table, at.FOUND)
    best = -1.0
    for number in range(20):
        total = _initial(table, sign, number)
        if total > best:
            best = total
            for k in range(count):
                chosen[k] = found[k]
        if total < 0.0 or count == 1 or sign == 0:
            break
    for _ in range(4 if count > 1 else 0):
        changed = False
        for k in range(count):
            n = 0
            for i in range(count):
                if i != k:
                    others[n] = chosen[i]
                    n += 1
            selected = _best_beside(table, at.OTHERS, n, sign, chosen[k])
            changed = changed or selected != chosen[k]
            chosen[k] = selected
        if not changed:
            break
    return _explained(table, which, count, sign)


@apart("int64(int64)")
def search(table):  # type: ignore[no-untyped-def]
    """Choose a template for each peak (in CHOSEN) for this attempt: 1; -1 where it adds none, 0 at the end.

    First those that explain most; then the other sign, both signs, and the unrefined ones of each width.
    """
    counts = at.integers(table, at.COUNTS)
    chosen, other, found = at.integers(table, at.CHOSEN), at.integers(table, at.OTHER), at.integers(table, at.FOUND)
    n_peaks, sign, attempt = counts[at.N_PEAKS], counts[at.SIGN], counts[at.ATTEMPT]
    if attempt == 0:
        _correlate(table)
        for k in range(n_peaks):
            chosen[k] = other[k] = 0
        # peaks of one sign: a wide peak with dips in it would explain as much as two
        first = sign if sign != 0 else 1
        explained = _select(table, first, at.CHOSEN)
        if sign == 0 and _select(table, -first, at.OTHER) > explained:
            first = -1
            for k in range(n_peaks):
                chosen[k] = other[k]
        counts[at.FIRST_SIGN] = first
        return 1
    if attempt <= 2:
        if sign != 0 or (attempt == 2 and n_peaks == 1):
            return -1
        _select(table, -counts[at.FIRST_SIGN] if attempt == 1 else 0, at.CHOSEN)
        return 1
    if n_peaks == 1 or _initial(table, counts[at.FIRST_SIGN], attempt - 3) < 0.0:
        return 0
    for k in range(n_peaks):
        chosen[k] = found[k]
    return 1


@apart("void(int64)")
def _peaks_to_parameters(table):  # type: ignore[no-untyped-def]
    """Centres and widths of the chosen templates where the parameters are NaN."""
    recipe, value, peak_of = at.integers(table, at.RECIPE), at.numbers(table, at.VALUE), at.integers(table, at.PEAK_OF)
    place, width, chosen = at.numbers(table, at.PLACE), at.numbers(table, at.WIDTH), at.integers(table, at.CHOSEN)
    p = at.numbers(table, at.P)
    # in the order of the axis, so that a name means the same peak in every pixel
    for k in range(1, at.integers(table, at.COUNTS)[at.N_PEAKS]):
        for i in range(k, 0, -1):
            if place[chosen[i - 1]] > place[chosen[i]]:
                chosen[i - 1], chosen[i] = chosen[i], chosen[i - 1]
    for j in range(at.length(table, at.P)):
        if np.isnan(p[j]) and peak_of[j] >= 0:
            own = chosen[peak_of[j]]
            if recipe[j] == CENTER:
                p[j] = place[own] + value[j] * width[own]
            elif recipe[j] == WIDTH:
                p[j] = value[j] * width[own]


@apart("void(int64)")
def _choose_candidate(table):  # type: ignore[no-untyped-def]
    """Fill nonlinear parameters that are still NaN from the candidate that fits best."""
    counts, linear, value = at.integers(table, at.COUNTS), at.integers(table, at.LINEAR), at.numbers(table, at.VALUE)
    candidates, p, trial = at.matrix(table, at.CANDIDATES), at.numbers(table, at.P), at.numbers(table, at.TRIAL)
    best, chosen = np.inf, -1
    for c in range(at.length(table, at.CANDIDATES)):
        for j in range(at.length(table, at.P)):
            trial[j] = p[j]
            if linear[j] != 0:
                trial[j] = 0.0 if np.isnan(p[j]) else p[j]
            elif np.isnan(p[j]):
                trial[j] = value[j] if np.isnan(candidates[c, j]) else candidates[c, j]
        evaluate(table, at.TRIAL, at.ROWS)
        project(table, at.TRIAL, at.ROWS, at.COEFFICIENTS, counts[at.N_COEFFICIENTS], at.RESIDUAL)
        cost = cost_of(table, at.RESIDUAL)
        if cost < best:
            best, chosen = cost, c
    for j in range(at.length(table, at.P)):
        if np.isnan(p[j]) and linear[j] == 0:
            p[j] = value[j]
            if chosen >= 0 and not np.isnan(candidates[chosen, j]):
                p[j] = candidates[chosen, j]


@apart("void(int64)")
def begin(table):  # type: ignore[no-untyped-def]
    """Put a start for this attempt into the parameters."""
    counts, linear, kind = at.integers(table, at.COUNTS), at.integers(table, at.LINEAR), at.integers(table, at.KIND)
    origin, p = at.numbers(table, at.ORIGIN), at.numbers(table, at.P)
    lower, upper = at.numbers(table, at.LOWER), at.numbers(table, at.UPPER)
    missing = wanting = False
    for j in range(at.length(table, at.P)):
        p[j] = origin[j]
        if np.isnan(p[j]):
            missing = missing or linear[j] == 0
            wanting = wanting or (linear[j] != 0 and kind[j] == FREE)
    if missing:
        if at.length(table, at.TEMPLATES) > 0:
            _peaks_to_parameters(table)
        _choose_candidate(table)
    for j in range(at.length(table, at.P)):
        if np.isnan(p[j]):
            p[j] = 0.0
        elif kind[j] == FREE:
            p[j] = min(max(p[j], lower[j]), upper[j])
    follow(table, at.P)
    if wanting:  # coefficients that are not projected start at their best
        evaluate(table, at.P, at.ROWS)
        project(table, at.P, at.ROWS, at.COEFFICIENTS, counts[at.N_COEFFICIENTS], at.RESIDUAL)
        follow(table, at.P)

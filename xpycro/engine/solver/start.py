"""Where a fit starts: matched filters find peaks, a grid of candidates the rest; coefficients need no start.

Compiled; may import numpy and this folder's compiled modules.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver import memory as at
from xpycro.engine.solver.dense import dot, factor, invert, solve, subtract
from xpycro.engine.solver.descent import follow
from xpycro.engine.solver.losses import cost_of
from xpycro.engine.solver.native import native
from xpycro.engine.solver.problem import Kind, Recipe
from xpycro.engine.solver.separable import evaluate, project

__all__ = ["begin", "choose", "choose_both_signs", "most_left", "offer"]

CENTER, WIDTH = int(Recipe.CENTER), int(Recipe.WIDTH)
FREE = int(Kind.FREE)
DOUBTFUL = 6.0  # what peaks of one sign leave unexplained, in parts of what those of the other do


@native("void(floats, int, int, floats, floats)")
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


@native("float(int)")
def _match(table):  # type: ignore[no-untyped-def]
    """What each template explains of the channels in OTHER_RESIDUAL, once what a smooth background can explain is off;
    how much there is to explain.
    """
    counts = at.integers(table, at.COUNTS)
    z, correlation = at.numbers(table, at.OTHER_RESIDUAL), at.numbers(table, at.CORRELATION)
    n, bins, group = (
        at.columns(table, at.Y) // counts[at.QUADRATURES],
        at.columns(table, at.TEMPLATES),
        counts[at.GROUP],
    )
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
    return dot(z, z, bins)


@native("float(int)")
def _match_data(table):  # type: ignore[no-untyped-def]
    """`_match` for the data."""
    counts = at.integers(table, at.COUNTS)
    n, raw = at.columns(table, at.Y) // counts[at.QUADRATURES], at.row(table, at.Y, counts[at.PIXEL])
    _filled(raw, n, counts[at.ROBUST], at.numbers(table, at.OTHER_RESIDUAL), at.numbers(table, at.SPARE))
    return _match(table)


@native("int(int)")
def most_left(table):  # type: ignore[no-untyped-def]
    """The template that explains most of the residual, with the sign that most peaks have."""
    counts, correlation = at.integers(table, at.COUNTS), at.numbers(table, at.CORRELATION)
    source = at.row(table, at.WEIGHTS, counts[at.PIXEL] if at.length(table, at.WEIGHTS) > 1 else 0)
    y, z, residual = (
        at.row(table, at.Y, counts[at.PIXEL]), at.numbers(table, at.OTHER_RESIDUAL), at.numbers(table, at.RESIDUAL),
    )  # fmt: skip
    used, n, half = 0, at.columns(table, at.Y) // counts[at.QUADRATURES], (counts[at.QUADRATURES] - 1)
    for i in range(n):
        z[i] = 0.0
        good = np.isfinite(y[i]) and np.isfinite(y[half * n + i])
        if good and counts[at.WEIGHTED] != 0:
            good = source[i] > 0.0 and np.isfinite(source[i])
        if good:
            z[i] = residual[used] / source[i] if counts[at.WEIGHTED] != 0 else residual[used]
            used += 1
    _match(table)
    best, selected = -np.inf, 0
    for t in range(at.length(table, at.TEMPLATES)):
        if correlation[t] * counts[at.FIRST_SIGN] > best:
            best, selected = correlation[t] * counts[at.FIRST_SIGN], t
    return selected


@native("int(int, int, int, int, int, int, int)")
def _best_beside(table, which, n, begin, end, sign, fallback):  # type: ignore[no-untyped-def]
    """The template, of those from `begin` to `end`, that adds most to the first `n` of a list."""
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
    for t in range(begin, end):
        value, left = correlation[t], 1.0
        for i in range(n):
            g = gram[t, others[i]]
            value -= g * a[i]
            for j in range(n):
                left -= g * inverse[i, j] * gram[t, others[j]]
        if left > 0.05 and value * sign >= 0.0 and value * value > best * left:
            best, selected = value * value / left, t
    return selected


@native("float(int, int)")
def _explained(table, sign):  # type: ignore[no-untyped-def]
    """What the chosen ones explain together, those of the wrong sign left out."""
    correlation, gram, chosen = (
        at.numbers(table, at.CORRELATION), at.matrix(table, at.TEMPLATE_GRAM), at.integers(table, at.CHOSEN),
    )  # fmt: skip
    low, a, count = at.matrix(table, at.LOW), at.numbers(table, at.STEP), at.integers(table, at.COUNTS)[at.N_PEAKS]
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


@native("float(int, int, int, int, int)")
def _arrange(table, known, begin, end, sign):  # type: ignore[no-untyped-def]
    """Complete the first `known` ones (in CHOSEN) by what adds most, then choose each anew given the others, until none
    changes; how much they explain together.
    """
    count, chosen, others = (
        at.integers(table, at.COUNTS)[at.N_PEAKS], at.integers(table, at.CHOSEN), at.integers(table, at.OTHERS),
    )  # fmt: skip
    for k in range(known, count):
        chosen[k] = _best_beside(table, at.CHOSEN, k, begin, end, sign, begin)
    for _ in range(4 if count > 1 else 0):
        changed = False
        for k in range(count):
            n = 0
            for i in range(count):
                if i != k:
                    others[n] = chosen[i]
                    n += 1
            selected = _best_beside(table, at.OTHERS, n, begin, end, sign, chosen[k])
            changed = changed or selected != chosen[k]
            chosen[k] = selected
        if not changed:
            break
    return _explained(table, sign)


@native("float(int, int, int, int, int, int)")
def _offer(table, row, known, begin, end, sign):  # type: ignore[no-untyped-def]
    """Put an arrangement among the offers; what it explains."""
    offers, chosen = at.integers(table, at.OFFERS), at.integers(table, at.CHOSEN)
    explained = _arrange(table, known, begin, end, sign)
    for k in range(at.integers(table, at.COUNTS)[at.N_PEAKS]):
        offers[row * at.columns(table, at.OFFERS) + k] = chosen[k]
    at.numbers(table, at.WORTH)[row] = explained
    return explained


@native("void(int, int, int, int, int)")
def _offer_maxima(table, row, begin, end, sign):  # type: ignore[no-untyped-def]
    """Put the largest local maxima among templates of one width among the offers, completed by what adds most."""
    correlation, chosen = at.numbers(table, at.CORRELATION), at.integers(table, at.CHOSEN)
    offers, count = at.integers(table, at.OFFERS), at.integers(table, at.COUNTS)[at.N_PEAKS]
    for k in range(count):
        largest, selected = 0.0, -1
        for t in range(begin, end):
            value, new = sign * correlation[t], True
            if value <= largest or (t > begin and sign * correlation[t - 1] > value):
                continue
            if t + 1 < end and sign * correlation[t + 1] > value:
                continue
            for i in range(k):
                new = new and chosen[i] != t
            if new:
                largest, selected = value, t
        chosen[k] = selected if selected >= 0 else _best_beside(table, at.CHOSEN, k, begin, end, sign, begin)
    for k in range(count):
        offers[row * at.columns(table, at.OFFERS) + k] = chosen[k]
    at.numbers(table, at.WORTH)[row] = -_explained(table, sign)


@native("void(int)")
def offer(table):  # type: ignore[no-untyped-def]
    """Arrangements of peaks to start from (in OFFERS), and what each explains (in WORTH), negative where doubtful.

    For either sign that bounds allow: the places that explain most where all peaks are of one width, for each width,
    and the best of these once more among all widths. Chosen freely from the beginning, one wide peak would stand for
    three, and a wide one with a dip in it for two. Doubtful are the other sign where it explains much less, and the
    largest local maxima: where a high peak is not quite as wide as a template, what is left of it explains more than a
    low peak does. All of it happens among the templates' correlations.
    """
    counts, width, worth = at.integers(table, at.COUNTS), at.numbers(table, at.WIDTH), at.numbers(table, at.WORTH)
    offers, chosen, size = at.integers(table, at.OFFERS), at.integers(table, at.CHOSEN), at.columns(table, at.OFFERS)
    count, n_templates, power = counts[at.N_PEAKS], at.length(table, at.TEMPLATES), _match_data(table)
    most, row = -1.0, 0
    for k in range(at.length(table, at.WORTH)):
        worth[k] = 0.0
    for sign in (1, -1):
        if sign * counts[at.SIGN] < 0:
            continue
        best, end = -1, 0
        while count > 1 and end < n_templates:
            begin = end
            while end < n_templates and width[end] == width[begin]:
                end += 1
            if _offer(table, row, 0, begin, end, sign) > (worth[best] if best >= 0 else -1.0):
                best = row
            _offer_maxima(table, row + 1, begin, end, sign)
            row += 2
        for k in range(count if best >= 0 else 0):
            chosen[k] = offers[best * size + k]
        if _offer(table, row, count if best >= 0 else 0, 0, n_templates, sign) > most:
            most, counts[at.FIRST_SIGN] = worth[row], sign
        row += 1
    half = row // 2
    for k in range(row if counts[at.SIGN] == 0 and count > 1 else 0):
        if power - worth[half - 1 if k < half else row - 1] > DOUBTFUL * (power - most):
            worth[k] = -abs(worth[k])


@native("int(int, int)")
def choose(table, sure):  # type: ignore[no-untyped-def]
    """Take the offer that explains most (into CHOSEN) off the list, of the doubtful ones where `sure` is -1; 0 at its
    end.
    """
    chosen, offers, worth = at.integers(table, at.CHOSEN), at.integers(table, at.OFFERS), at.numbers(table, at.WORTH)
    best, selected = 0.0, -1
    for k in range(at.length(table, at.WORTH)):
        if worth[k] * sure > best:
            best, selected = worth[k] * sure, k
    if selected < 0:
        return 0
    for k in range(at.integers(table, at.COUNTS)[at.N_PEAKS]):
        chosen[k] = offers[selected * at.columns(table, at.OFFERS) + k]
    for k in range(at.length(table, at.WORTH)):
        if worth[k] * sure == best:  # the same once more
            worth[k] = 0.0
    return 1


@native("void(int)")
def choose_both_signs(table):  # type: ignore[no-untyped-def]
    """Choose freely (into CHOSEN), peaks and dips together."""
    _match_data(table)
    _arrange(table, 0, 0, at.length(table, at.TEMPLATES), 0)


@native("float(int, int, float)")
def _astray(table, peak, place):  # type: ignore[no-untyped-def]
    """How far a place lies from where a peak has to be: within its bounds, or where its start is given."""
    recipe, peak_of, origin = (
        at.integers(table, at.RECIPE), at.integers(table, at.PEAK_OF), at.numbers(table, at.ORIGIN),
    )  # fmt: skip
    lower, upper, far = at.numbers(table, at.LOWER), at.numbers(table, at.UPPER), 0.0
    for j in range(at.length(table, at.P)):
        if recipe[j] == CENTER and peak_of[j] == peak:
            if np.isnan(origin[j]):
                far += max(lower[j] - place, 0.0) + max(place - upper[j], 0.0)
            else:
                far += abs(origin[j] - place)
    return far


@native("void(int)")
def _peaks_to_parameters(table):  # type: ignore[no-untyped-def]
    """Centres and widths of the chosen templates where the parameters are NaN."""
    recipe, value, peak_of = at.integers(table, at.RECIPE), at.numbers(table, at.VALUE), at.integers(table, at.PEAK_OF)
    place, width, chosen = at.numbers(table, at.PLACE), at.numbers(table, at.WIDTH), at.integers(table, at.CHOSEN)
    p = at.numbers(table, at.P)
    # in the order of the axis, so that a name means the same peak in every pixel, but for those that have their place
    count = at.integers(table, at.COUNTS)[at.N_PEAKS]
    for k in range(1, count):
        for i in range(k, 0, -1):
            if place[chosen[i - 1]] > place[chosen[i]]:
                chosen[i - 1], chosen[i] = chosen[i], chosen[i - 1]
    for k in range(count):
        for i in range(k):
            kept = _astray(table, i, place[chosen[i]]) + _astray(table, k, place[chosen[k]])
            if _astray(table, i, place[chosen[k]]) + _astray(table, k, place[chosen[i]]) < kept:
                chosen[i], chosen[k] = chosen[k], chosen[i]
    for j in range(at.length(table, at.P)):
        if np.isnan(p[j]) and peak_of[j] >= 0:
            own = chosen[peak_of[j]]
            if recipe[j] == CENTER:
                p[j] = place[own] + value[j] * width[own]
            elif recipe[j] == WIDTH:
                p[j] = value[j] * width[own]


@native("void(int)")
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


@native("void(int)")
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

"""From a minimum of several peaks to starts beyond it: one peak is taken away and another split, or all are as wide.

Compiled; may import numpy and this folder's compiled modules.
"""

from __future__ import annotations

import numpy as np

from xpycro.engine.solver import memory as at
from xpycro.engine.solver.dense import copy
from xpycro.engine.solver.descent import follow
from xpycro.engine.solver.losses import cost_of
from xpycro.engine.solver.native import native
from xpycro.engine.solver.problem import Kind, Recipe
from xpycro.engine.solver.separable import evaluate, project
from xpycro.engine.solver.start import most_left

__all__ = ["crowded", "rearrange"]

CENTER, WIDTH, FREE = int(Recipe.CENTER), int(Recipe.WIDTH), int(Kind.FREE)
HALF, NARROWER = 0.42, 0.8  # how far apart the two halves are, and how wide, in parts of the peak's full width
NONE = -2  # no peak, not the background (-1) either


@native("float(int, int)")
def _width_of(table, peak):  # type: ignore[no-untyped-def]
    """Full width at half maximum of a peak of the best minimum; the geometric mean of all for none."""
    recipe, value, peak_of = at.integers(table, at.RECIPE), at.numbers(table, at.VALUE), at.integers(table, at.PEAK_OF)
    best, total, n = at.numbers(table, at.BEST), 0.0, 0
    for j in range(at.length(table, at.P)):
        if recipe[j] == WIDTH and best[j] > 0.0 and (peak_of[j] == peak or peak < 0):
            total += np.log(best[j] / value[j])
            n += 1
    return np.exp(total / n) if n > 0 else 0.0


@native("int(int)")
def crowded(table):  # type: ignore[no-untyped-def]
    """Whether two peaks of the best minimum are nearer to each other than they are wide."""
    recipe, peak_of = at.integers(table, at.RECIPE), at.integers(table, at.PEAK_OF)
    best, n = at.numbers(table, at.BEST), at.length(table, at.P)
    for i in range(n):
        for j in range(i):
            if recipe[i] == CENTER and recipe[j] == CENTER:
                width = _width_of(table, peak_of[i]) + _width_of(table, peak_of[j])
                if abs(best[i] - best[j]) < 0.5 * width:
                    return 1
    return 0


@native("void(int, int, int)")
def _moved(table, away, split):  # type: ignore[no-untyped-def]
    """The best parameters with a peak taken away and one split (in P), or all as wide where it is the same."""
    recipe, value, peak_of = at.integers(table, at.RECIPE), at.numbers(table, at.VALUE), at.integers(table, at.PEAK_OF)
    kind, origin = at.integers(table, at.KIND), at.numbers(table, at.ORIGIN)
    best, p = at.numbers(table, at.BEST), at.numbers(table, at.P)
    center, width = 0.0, _width_of(table, -1 if away == split else split)
    copy(best, p, at.length(table, at.P))
    for j in range(at.length(table, at.P)):
        if recipe[j] == CENTER and peak_of[j] == split:
            center = best[j]
    for j in range(at.length(table, at.P)):
        if kind[j] != FREE or not np.isnan(origin[j]):
            continue
        concerned = peak_of[j] == away or peak_of[j] == split
        if away == split:
            if recipe[j] == WIDTH:
                p[j] = value[j] * width
        elif concerned and recipe[j] == WIDTH:
            p[j] = NARROWER * value[j] * width
        elif concerned and recipe[j] == CENTER:
            p[j] = center + (HALF if peak_of[j] == split else -HALF) * width


@native("void(int, int, int)")
def _placed(table, peak, away):  # type: ignore[no-untyped-def]
    """The best parameters with a peak put where most is left (in P); by all without the one that is `away`."""
    counts, recipe, value = (
        at.integers(table, at.COUNTS), at.integers(table, at.RECIPE), at.numbers(table, at.VALUE),
    )  # fmt: skip
    peak_of, kind, origin = at.integers(table, at.PEAK_OF), at.integers(table, at.KIND), at.numbers(table, at.ORIGIN)
    p, coefficients, taken = at.numbers(table, at.P), at.integers(table, at.COEFFICIENTS), at.integers(table, at.TAKEN)
    linear, place, width = at.integers(table, at.LINEAR), at.numbers(table, at.PLACE), at.numbers(table, at.WIDTH)
    copy(at.numbers(table, at.BEST), p, at.length(table, at.P))
    n = 0
    for k in range(counts[at.N_COEFFICIENTS]):
        if peak_of[coefficients[k]] != away:
            taken[n] = coefficients[k]
            n += 1
    for j in range(at.length(table, at.P)):
        if linear[j] != 0 and peak_of[j] == away:
            p[j] = 0.0
    evaluate(table, at.P, at.ROWS)
    project(table, at.P, at.ROWS, at.TAKEN, n, at.RESIDUAL)
    found = most_left(table)
    for j in range(at.length(table, at.P)):
        if peak_of[j] == peak and kind[j] == FREE and np.isnan(origin[j]):
            if recipe[j] == CENTER:
                p[j] = place[found] + value[j] * width[found]
            elif recipe[j] == WIDTH:
                p[j] = value[j] * width[found]


@native("float(int, int)")
def _tried(table, which):  # type: ignore[no-untyped-def]
    """One of the starts (in P), with the best coefficients; what it costs."""
    counts, p = at.integers(table, at.COUNTS), at.numbers(table, at.P)
    lower, upper, kind = at.numbers(table, at.LOWER), at.numbers(table, at.UPPER), at.integers(table, at.KIND)
    count = counts[at.N_PEAKS]
    if which < count:
        _placed(table, which, which)
    elif which < 2 * count:  # what is wrong with its neighbours may hide a peak that only all together leave over
        _placed(table, which - count, NONE)
    else:
        _moved(table, which // count - 2, which % count)
    for j in range(at.length(table, at.P)):
        if kind[j] == FREE:
            p[j] = min(max(p[j], lower[j]), upper[j])
    follow(table, at.P)
    evaluate(table, at.P, at.ROWS)
    project(table, at.P, at.ROWS, at.COEFFICIENTS, counts[at.N_COEFFICIENTS], at.RESIDUAL)
    follow(table, at.P)
    return cost_of(table, at.RESIDUAL)


@native("int(int, int)")
def rearrange(table, anew):  # type: ignore[no-untyped-def]
    """Put the next start beyond the best minimum into the parameters, that of lowest cost first; 0 where none is left.

    `anew`: the best minimum is another one than at the last call.
    """
    scores, count = at.numbers(table, at.SCORES), at.integers(table, at.COUNTS)[at.N_PEAKS]
    lowest, selected = np.inf, -1
    for k in range(count * (count + 2)):
        if anew != 0:
            # to make all as wide is one move only
            again = k > 2 * count and k // count - 2 == k % count
            scores[k] = np.inf if again else _tried(table, k)
        if scores[k] < lowest:
            lowest, selected = scores[k], k
    if selected < 0:
        return 0
    scores[selected] = np.inf
    _tried(table, selected)
    return 1

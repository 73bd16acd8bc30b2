"""What is done to one block of loops: two starts, the compiled fit, the summary. Runs on workers, so all pickles.

May import numpy, the solver, and analysis.loops; scikit-learn inside functions.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from xpycro.analysis.loops._axis import is_rising
from xpycro.analysis.loops.model import inverse, jacobian
from xpycro.engine.solver import Component, Problem, Recipe, Solution, Status, solve

__all__ = ["MAX_CLUSTERS", "NONLINEAR", "cluster_starts", "fit_block"]

MAX_CLUSTERS = 16
NONLINEAR = 6  # two half-way biases and four widths: what a start has to say, for the rest is linear
TOLERANCE = 1e-8  # of the cost: every parameter within about a thousandth of its standard error
# The solver's order is intercept, slope | height, half-way biases (falling, rising), four widths; a result's is that of
# PARAMETERS, a0 ... a4, b0 ... b3.
_SHAPES = "xpycro.engine.solver.shapes."


@lru_cache(maxsize=64)
def _problem(row: bytes) -> tuple[Problem, np.ndarray]:
    """The problem for one bias sweep, and the solver's axis: bias and branch."""
    bias = np.frombuffer(row)
    low, high = float(bias.min()), float(bias.max())
    steps = np.diff(np.unique(bias))
    # narrower than a third of a step a corner passes between two points unseen; wider than a quarter of the sweep its
    # loop never saturates and cannot be told from a slope
    widths = (float(np.median(steps)) / 3, 0.25 * (high - low))
    value = (Recipe.VALUE, 0.0)
    line = Component(f"{_SHAPES}curves:linear", (True, True), (-1, -1), (value, value), background=True)
    loop = Component(
        f"{_SHAPES}hysteresis:switching_loop", (True,) + (False,) * NONLINEAR, (-1,) + (0,) * NONLINEAR, (value,) * 7
    )
    inf = np.inf
    problem = Problem(
        components=(line, loop), lower=(-inf, -inf, -inf, low, low, *[widths[0]] * 4),
        upper=(inf, inf, inf, high, high, *[widths[1]] * 4), fixed=(False,) * 9, tied=(-1,) * 9, ndim=2,
        tolerance=TOLERANCE, max_iterations=200,
    )  # fmt: skip
    return problem, np.stack([bias, is_rising(bias).astype(np.float64)])


def _hull_starts(bias: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Half-way biases where the line through the centroid leaves the convex hull; corners a tenth of the sweep wide."""
    from xpycro.engine.solver.shapes.hysteresis import hull_extents

    extents = np.empty((len(y), 5))
    hull_extents(np.ascontiguousarray(bias), np.ascontiguousarray(y, dtype=np.float64), extents)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(y)
        centred = np.where(good, bias - (np.where(good, bias, 0).sum(-1) / np.maximum(good.sum(-1), 1))[:, None], 0)
        rise = (centred * np.where(good, y, 0)).sum(-1)
        # run counterclockwise while it rises, or clockwise while it falls: then the falling branch switches on the left
        lagging = (extents[:, 4] * rise >= 0)[:, None]
    left, right = np.nan_to_num(extents[:, 2:3], posinf=0, neginf=0), np.nan_to_num(extents[:, 3:4], posinf=0, neginf=0)
    start = np.full((len(y), 9), np.nan)
    start[:, 3:5] = np.where(lagging, np.hstack([left, right]), np.hstack([right, left]))
    start[:, 5:] = 0.1 * np.ptp(bias)
    return start


def _features(y: np.ndarray) -> np.ndarray:
    """Loops without their level and size, which the fit finds by itself; gaps at the level."""
    with np.errstate(invalid="ignore", divide="ignore"):
        good = np.isfinite(y)
        count = np.maximum(good.sum(-1), 1)[:, None]
        centred = np.where(good, y - np.where(good, y, 0).sum(-1)[:, None] / count, 0)
        return centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-300)


def cluster_starts(y: np.ndarray, bias: np.ndarray, *, rows: np.ndarray) -> np.ndarray:
    """From a sample of loops, (row, cluster, start and centre): fits of the means of clusters, for each bias sweep.

    Clusters that there are not, or whose mean could not be fitted, are NaN.
    """
    from sklearn.cluster import KMeans

    n = rows.shape[1]
    table = np.full((len(rows), MAX_CLUSTERS, NONLINEAR + n), np.nan)
    y, which = y.reshape(-1, n), _rows_of(bias, rows, y.shape)
    for number, row in enumerate(rows):
        part = y[(which == number) & (np.isfinite(y).sum(-1) >= 10)]
        if len(part) < 8:
            continue
        features = _features(part)
        count = min(int(np.clip(np.sqrt(len(part)), 2, MAX_CLUSTERS)), len(np.unique(features, axis=0)))
        labels = KMeans(count, n_init=1, random_state=0).fit_predict(features)
        found = [k for k in range(count) if (labels == k).any()]
        size = np.linalg.norm(part - part.mean(-1, keepdims=True), axis=-1, keepdims=True)
        scaled = np.where(np.isfinite(part), part / np.where(size > 0, size, 1), np.nan)
        means = np.stack([np.nanmean(scaled[labels == k], axis=0) for k in found])
        problem, axis = _problem(row.tobytes())
        fitted = solve(problem, axis, means, start=_hull_starts(row, means)).parameters
        table[number, : len(found), :NONLINEAR] = fitted[:, 3:]
        table[number, : len(found), NONLINEAR:] = np.stack([features[labels == k].mean(axis=0) for k in found])
    return table


def _rows_of(bias: np.ndarray, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which bias sweep each loop of an array of this shape had."""
    bias = np.asarray(bias)
    matches = (bias[..., None, :] == rows).all(-1).argmax(-1)
    return np.broadcast_to(matches, shape[:-1]).reshape(-1)


def fit_block(y: np.ndarray, bias: np.ndarray, table: np.ndarray, *, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Parameters, errors, summary and covariance of a block of loops."""
    lead, n = y.shape[:-1], y.shape[-1]
    flat, which = np.asarray(y, dtype=np.float64).reshape(-1, n), _rows_of(bias, rows, y.shape)
    outputs: list[np.ndarray] = []
    for number, row in enumerate(rows):
        members = np.flatnonzero(which == number)
        if not members.size and len(rows) > 1:
            continue
        part = flat if members.size == len(flat) else flat[members]
        made = _summary(_best_of_two(row, part, table.reshape(len(rows), MAX_CLUSTERS, -1)[number]), row, part)
        if members.size == len(flat):
            outputs = made
            break
        if not outputs:
            outputs = [np.empty((len(flat), *a.shape[1:]), a.dtype) for a in made]
        for target, values in zip(outputs, made, strict=True):
            target[members] = values
    return tuple(a.reshape((*lead, *a.shape[1:])) for a in outputs)


def _best_of_two(row: np.ndarray, y: np.ndarray, table: np.ndarray) -> Solution:
    """Fitted from the pixel's own hull, and from the fit of the mean that it resembles most; the lower cost wins."""
    problem, axis = _problem(row.tobytes())
    best = solve(problem, axis, y, start=_hull_starts(row, y))
    table = table[np.isfinite(table).all(-1)]
    if not len(table):
        return best
    nearest = (_features(y) @ table[:, NONLINEAR:].T - 0.5 * (table[:, NONLINEAR:] ** 2).sum(-1)).argmax(-1)
    start = np.full((len(y), 9), np.nan)
    start[:, 3:] = table[nearest, :NONLINEAR]
    other = solve(problem, axis, y, start=start)
    good, had = (np.isin(s.status, _CONVERGED) for s in (other, best))
    better = good & (~had | (other.cost < best.cost))
    for name in ("parameters", "cost", "sum_of_squares", "r2", "n_points", "status"):
        getattr(best, name)[better] = getattr(other, name)[better]
    best.iterations[...] += other.iterations
    return best


_CONVERGED = [int(s) for s in Status if s.converged]


def _line_squares(bias: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What a straight line leaves of each loop, as a sum of squares."""
    good = np.isfinite(y)
    count = np.maximum(good.sum(-1), 1)[:, None]
    x = np.where(good, bias, 0.0)
    x = np.where(good, x - x.sum(-1, keepdims=True) / count, 0.0)
    v = np.where(good, y, 0.0)
    v = np.where(good, v - v.sum(-1, keepdims=True) / count, 0.0)
    xx, xy = (x * x).sum(-1), (x * v).sum(-1)
    return (v * v).sum(-1) - np.divide(xy * xy, xx, out=np.zeros_like(xx), where=xx > 0)


def _aicc(squares: np.ndarray, n: np.ndarray, k: int) -> np.ndarray:
    """The corrected Akaike criterion of a fit of k parameters, the noise among them."""
    with np.errstate(all="ignore"):
        room = n - k - 1
        return np.where(room > 0, n * np.log(squares / n) + 2 * k + 2 * k * (k + 1) / room, np.nan)


def _covariance(row: np.ndarray, y: np.ndarray, parameters: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Of all nine parameters, as if there were no bounds: one that rests on its bound makes no other one surer."""
    covariance = np.full((len(y), 9, 9), np.nan)
    good = np.flatnonzero(np.isfinite(parameters).all(-1))
    for part in np.array_split(good, max(1, good.size // 512)):
        derivatives = jacobian(row, is_rising(row), parameters[part])
        derivatives = np.where(np.isfinite(y[part])[..., None], derivatives, 0)
        normal = derivatives.swapaxes(-1, -2) @ derivatives
        scale = np.sqrt(np.einsum("pjj->pj", normal))
        scale = np.where(scale > 0, scale, np.inf)
        normal = normal / scale[:, :, None] / scale[:, None, :]
        np.einsum("pjj->pj", normal)[...] = 1 + 1e-13  # what nothing depends on gets a huge error, not none
        scale = np.where(np.isfinite(scale), scale, 1e-150)
        inverted = np.linalg.inv(normal) / scale[:, :, None] / scale[:, None, :]
        covariance[part] = variance[part, None, None] * inverted
    return covariance


def _summary(solution: Solution, row: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    n, squares = solution.n_points, solution.sum_of_squares
    converged = np.isin(solution.status, _CONVERGED)
    level, slope, height, falling, rising, *b = solution.parameters.T
    parameters = [level, height, falling - inverse(0.5, 0, b[0], b[1]), rising - inverse(0.5, 0, b[2], b[3]), slope, *b]
    with np.errstate(all="ignore"):
        rms = np.sqrt(squares / n)
        covariance = _covariance(row, y, np.stack(parameters, axis=-1), np.where(n > 9, squares / (n - 9), np.nan))
        errors = np.sqrt(np.einsum("pjj->pj", covariance)).T
    return [
        *parameters, *errors, rms, solution.r2, _aicc(squares, n, 10), _aicc(_line_squares(row, y), n, 3), converged,
        solution.status, solution.iterations, covariance,
    ]  # fmt: skip

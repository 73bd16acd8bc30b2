"""What is done to one block of loops: two starts, the compiled fit, the summary. Runs on workers, so all pickles.

May import numpy, the solver, and analysis.loops; scikit-learn and scipy inside functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from xpycro.analysis.loops._axis import is_rising
from xpycro.analysis.loops.model import inverse
from xpycro.engine.solver import Status

__all__ = ["MAX_CLUSTERS", "NONLINEAR", "cluster_starts", "fit_block"]

MAX_CLUSTERS = 16
NONLINEAR = 6  # half-way bias and two widths of the falling and of the rising branch: the rest is linear
TOLERANCE = 1e-7  # of the cost: every parameter within about a hundredth of its standard error
_SLICE = 128  # loops at once: some milliseconds


@dataclass(frozen=True)
class Sweep:
    """A bias sweep as the solver wants it: falling branch first, each branch ascending."""

    bias: np.ndarray
    order: np.ndarray  # where each point lies in a measured row
    split: int  # points of the falling branch
    lower: np.ndarray  # of the nonlinear parameters
    upper: np.ndarray


@lru_cache(maxsize=64)
def _sweep(row: bytes) -> Sweep:
    bias = np.frombuffer(row)
    rising, low, high = is_rising(bias), float(bias.min()), float(bias.max())
    # narrower than a third of a step a corner passes between two points unseen; wider than a quarter of the sweep its
    # loop never saturates and cannot be told from a slope
    narrow, wide = float(np.median(np.diff(np.unique(bias)))) / 3, 0.25 * (high - low)
    order = np.lexsort((bias, rising))
    return Sweep(
        np.ascontiguousarray(bias[order]), order, int((~rising).sum()), np.array([low, narrow, narrow] * 2),
        np.array([high, wide, wide] * 2),
    )  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """What the solver gives back, loops first; `xpycro.engine.solver.hysteresis_fit.fit_loops` says what."""

    parameters: np.ndarray
    covariance: np.ndarray
    sides: np.ndarray
    statistics: np.ndarray
    status: np.ndarray
    iterations: np.ndarray

    @classmethod
    def empty(cls, n: int) -> Fitted:
        return cls(
            np.empty((n, 9)), np.empty((n, 9, 9)), np.empty((n, 4)), np.empty((n, 4)), np.empty(n, np.uint8),
            np.empty(n, np.int32),
        )  # fmt: skip


def _solve(row: np.ndarray, y: np.ndarray, starts: np.ndarray, *, profiles: bool = True) -> Fitted:
    """Each loop from each of its starts (loop, start, nonlinear parameter)."""
    from xpycro.engine.solver.hysteresis_fit import fit_loops
    from xpycro.engine.solver.parallel import each_slice

    sweep, made = _sweep(row.tobytes()), Fitted.empty(len(y))

    def work(part: slice) -> None:
        fit_loops(
            sweep.bias, sweep.order, sweep.split, np.ascontiguousarray(y[part], dtype=np.float64),
            np.ascontiguousarray(starts[part]), sweep.lower, sweep.upper, TOLERANCE, 200, profiles,
            made.parameters[part], made.covariance[part], made.sides[part], made.statistics[part], made.status[part],
            made.iterations[part],
        )  # fmt: skip

    each_slice(work, len(y), _SLICE)
    return made


def _hull_starts(bias: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Half-way biases where the line through the centroid leaves the convex hull; corners a tenth of the sweep wide."""
    from xpycro.engine.solver.hull import hull_extents

    extents = np.empty((len(y), 5))
    hull_extents(np.ascontiguousarray(bias), np.ascontiguousarray(y, dtype=np.float64), extents)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(y)
        centred = np.where(good, bias - (np.where(good, bias, 0).sum(-1) / np.maximum(good.sum(-1), 1))[:, None], 0)
        rise = (centred * np.where(good, y, 0)).sum(-1)
        # run counterclockwise while it rises, or clockwise while it falls: then the falling branch switches on the left
        lagging = (extents[:, 4] * rise >= 0)[:, None]
    left, right = np.nan_to_num(extents[:, 2:3], posinf=0, neginf=0), np.nan_to_num(extents[:, 3:4], posinf=0, neginf=0)
    start = np.full((len(y), NONLINEAR), 0.1 * np.ptp(bias))
    start[:, [0, 3]] = np.where(lagging, np.hstack([left, right]), np.hstack([right, left]))
    return start


def _features(y: np.ndarray) -> np.ndarray:
    """Loops without their level and size, which the fit finds by itself; gaps at the level."""
    with np.errstate(invalid="ignore", divide="ignore"):
        good = np.isfinite(y)
        count = np.maximum(good.sum(-1), 1)[:, None]
        centred = np.where(good, y - np.where(good, y, 0).sum(-1)[:, None] / count, 0)
        return centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-300)


def _mean(loops: np.ndarray) -> np.ndarray:
    """The mean loop of the finite values; NaN at a step that no loop has."""
    good = np.isfinite(loops)
    count = good.sum(axis=0)
    return np.where(count > 0, np.where(good, loops, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


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
        means = np.stack([_mean(scaled[labels == k]) for k in found])
        fitted = _solve(row, means, _hull_starts(row, means)[:, None], profiles=False).parameters
        table[number, : len(found), :NONLINEAR] = _nonlinear(fitted)
        table[number, : len(found), NONLINEAR:] = np.stack([features[labels == k].mean(axis=0) for k in found])
    return table


def _nonlinear(parameters: np.ndarray) -> np.ndarray:
    """The solver's parameters, of which the biases are those half-way up."""
    _, _, negative, positive, _, b0, b1, b2, b3 = parameters.T
    return np.stack([inverse(0.5, negative, b0, b1), b0, b1, inverse(0.5, positive, b2, b3), b2, b3], axis=-1)


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
        starts = _both_starts(row, part, table.reshape(len(rows), MAX_CLUSTERS, -1)[number])
        made = _summary(_solve(row, part, starts))
        if members.size == len(flat):
            outputs = made
            break
        if not outputs:
            outputs = [np.empty((len(flat), *a.shape[1:]), a.dtype) for a in made]
        for target, values in zip(outputs, made, strict=True):
            target[members] = values
    return tuple(a.reshape((*lead, *a.shape[1:])) for a in outputs)


def _both_starts(row: np.ndarray, y: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The loop's own hull, and the fit of the mean that it resembles most."""
    starts = np.full((len(y), 2, NONLINEAR), np.nan)
    starts[:, 0] = _hull_starts(row, y)
    table = table[np.isfinite(table).all(-1)]
    if len(table):
        nearest = (_features(y) @ table[:, NONLINEAR:].T - 0.5 * (table[:, NONLINEAR:] ** 2).sum(-1)).argmax(-1)
        starts[:, 1] = table[nearest, :NONLINEAR]
    return starts


_CONVERGED = [int(s) for s in Status if s.converged]


def _aicc(squares: np.ndarray, n: np.ndarray, k: int) -> np.ndarray:
    """The corrected Akaike criterion of a fit of k parameters, the noise among them."""
    with np.errstate(all="ignore"):
        room = n - k - 1
        return np.where(room > 0, n * np.log(squares / n) + 2 * k + 2 * k * (k + 1) / room, np.nan)


def _profile_errors(sides: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Of V- and V+, from how far each may go down and up before the cost has risen by half the noise's variance.

    The root of the mean square deviation from the fitted value of a density made of two halves of Gaussians as wide as
    the two sides: their mean where they are alike, the longer one where a width at its bound lets it go one way only.
    Student's factor stands for the noise being estimated from the same few points.
    """
    from scipy.special import ndtr, stdtrit

    down, up = sides[:, [0, 2]], sides[:, [1, 3]]
    with np.errstate(invalid="ignore"):
        student = stdtrit(np.maximum(n - 9, 1), ndtr(1.0))
        return np.sqrt(down**2 - down * up + up**2) * student[:, None]


def _summary(fitted: Fitted) -> list[np.ndarray]:
    cost, r2, n, line = fitted.statistics.T
    squares, covariance = 2 * cost, fitted.covariance
    with np.errstate(all="ignore"):
        errors = np.sqrt(np.einsum("pjj->pj", covariance))
        errors[:, 2:4] = _profile_errors(fitted.sides, n)
        return [
            *fitted.parameters.T, *errors.T, np.sqrt(squares / n), r2, _aicc(squares, n, 10), _aicc(line, n, 3),
            np.isin(fitted.status, _CONVERGED), fitted.status, fitted.iterations, covariance,
        ]  # fmt: skip

"""From a problem to the pieces that the compiled kernel works on.

May import numpy and this folder's modules (the compiled ones inside functions).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from xpycro.engine.solver.problem import Loss, Problem, Solution

__all__ = ["fit_slice", "tables"]

_BINS = 256  # the search for peaks needs no more channels
_WIDTHS = 6  # at most, that peaks are searched with


@lru_cache(maxsize=64)
def tables(problem: Problem, x: bytes, shape: tuple[int, int]) -> Any:
    """The problem as a table of pieces; its addresses hold in this process only."""
    from xpycro.engine.solver import memory as at
    from xpycro.engine.solver.jit import address

    axis = np.frombuffer(x).reshape(shape).copy()
    first, row_first, row_of, units, owner, background, peak_of = [], [], [], [], [], [], []
    recipe: list[int] = []
    values: list[float] = []
    n_rows = n_parameters = n_peaks = 0
    below = not all(component.background for component in problem.components)  # whether there is anything upon it
    for component in problem.components:
        first.append(n_parameters)
        row_first.append(n_rows)
        for j, is_linear in enumerate(component.linear):
            row_of.append(n_rows + j)
            owner.append(-1 if is_linear or component.owner[j] < 0 else n_parameters + component.owner[j])
            background.append(component.background and (below or all(component.linear)))
            peak_of.append(n_peaks if component.is_peak else -1)
            recipe.append(int(component.start[j][0]))
            values.append(component.start[j][1])
        n_peaks += component.is_peak
        n_parameters += len(component.linear)
        n_rows += len(component.linear) + component.unit
        if component.unit:
            units.append(n_rows - 1)
    searches = n_peaks > 0 and problem.ndim == 1
    templates, place, width, baseline = _templates(axis[0], problem) if searches else _no_templates()
    candidates = np.array(problem.candidates, dtype=np.float64).reshape(-1, n_parameters)
    integer: dict[int, Any] = {
        at.SHAPES: [address(c.shape) for c in problem.components], at.FIRST: first, at.ROW_FIRST: row_first,
        at.ROW_OF: row_of, at.UNITS: units, at.OWNER: owner, at.LINEAR: problem.linear, at.KIND: problem.kinds(),
        at.TIED: problem.tied, at.BACKGROUND: background, at.RECIPE: recipe, at.PEAK_OF: peak_of,
    }  # fmt: skip
    real: dict[int, Any] = {
        at.LOWER: problem.lower, at.UPPER: problem.upper, at.VALUE: values, at.TEMPLATES: templates,
        at.TEMPLATE_GRAM: templates @ templates.T, at.PLACE: place, at.WIDTH: width, at.BASELINE: baseline,
        at.CANDIDATES: candidates, at.X: axis,
    }  # fmt: skip
    pieces: dict[int, Any] = {piece: np.array(values, dtype=np.int64) for piece, values in integer.items()}
    pieces |= {piece: np.array(values, dtype=np.float64) for piece, values in real.items()}
    return at.Table(pieces)


def _room(problem: Problem, table: Any) -> dict[int, Any]:
    """Memory for one thread: lists, long arrays, small algebra."""
    from xpycro.engine.solver import memory as at

    count, n_channels = len(problem.linear), int(table.entries[at.X, 2])
    size, length = count + 1, n_channels * problem.quadratures
    n_rows = count + sum(c.unit for c in problem.components)
    lists = (
        at.PROJECTED, at.FREE, at.PLACE_OF, at.COEFFICIENTS, at.TAKEN, at.SLOPE_ROW, at.SLOPE_PLACE, at.PROJECT_SUBSET,
        at.ACTIVE, at.HELD, at.SUBSET, at.KEPT, at.CHOSEN, at.OTHERS,
    )  # fmt: skip
    vectors = (
        at.SLOPE_FACTOR, at.PROJECT_SCALE, at.RHS, at.SOLUTION, at.SCALE, at.GRAM_SCALE, at.GRADIENT, at.STEP,
        at.COLUMN,
    )  # fmt: skip
    matrices = (
        at.GRAM, at.PROJECT_LOW, at.NORMAL, at.LOW, at.GRAM_LOW, at.CROSS, at.MIXED, at.INVERSE,
    )  # fmt: skip
    long = (at.DATA, at.RESIDUAL, at.OTHER_RESIDUAL, at.SCALED, at.SPARE)
    pieces: dict[int, Any] = {piece: np.zeros(size, dtype=np.int64) for piece in lists}
    pieces |= {piece: np.zeros(size) for piece in vectors}
    pieces |= {piece: np.zeros((size, size)) for piece in matrices}
    pieces |= {piece: np.zeros(length) for piece in long}
    pieces |= {piece: np.zeros((n_rows, length)) for piece in (at.ROWS, at.OTHER_ROWS)}
    pieces |= {piece: np.zeros(count) for piece in (at.P, at.TRIAL, at.ORIGIN, at.BEGUN, at.BEST, at.BEST_BEGUN)}
    counts = np.zeros(at.N_COUNTS, dtype=np.int64)
    counts[at.QUADRATURES], counts[at.LOSS], counts[at.MAX_ITERATIONS] = (
        problem.quadratures, problem.loss, problem.max_iterations,
    )  # fmt: skip
    counts[at.ABSOLUTE], counts[at.ROBUST] = problem.absolute_sigma, problem.loss != Loss.LINEAR
    counts[at.N_PEAKS], counts[at.SIGN] = sum(c.is_peak for c in problem.components), _sign(problem)
    counts[at.GROUP] = _group(n_channels)
    scalars = np.zeros(at.N_SCALARS)
    scalars[at.TOLERANCE], scalars[at.LOSS_SCALE] = problem.tolerance, 1.0
    pieces |= {at.COUNTS: counts, at.SCALARS: scalars, at.W: np.ones(length)}
    pieces |= {at.XS: np.zeros(problem.ndim * n_channels), at.CORRELATION: np.zeros(int(table.entries[at.PLACE, 1]))}
    n_offers = 2 * (2 * _WIDTHS + 1)  # of each sign, for each width two and one for all of them
    pieces |= {at.OFFERS: np.zeros((n_offers, size), dtype=np.int64), at.WORTH: np.zeros(n_offers)}
    pieces[at.SCORES] = np.zeros(size * (size + 1))
    return pieces


def fit_slice(
    problem: Problem, table: Any, y: np.ndarray, weight: np.ndarray, start: np.ndarray, solution: Solution,
    statistics: np.ndarray, part: slice,
) -> None:  # fmt: skip
    """Fit some pixels and write what came out."""
    from xpycro.engine.solver import memory as at
    from xpycro.engine.solver.kernel import fit_pixels
    from xpycro.engine.solver.native import call

    pieces = _room(problem, table)
    pieces[at.COUNTS][at.WEIGHTED] = weight.shape[1] > 0
    status, iterations = np.zeros(len(y), dtype=np.int64), np.zeros(len(y), dtype=np.int64)
    covariance = solution.covariance[part] if problem.covariance else solution.covariance
    pieces |= {
        at.Y: y, at.WEIGHTS: weight, at.STARTS: start, at.PARAMETERS: solution.parameters[part],
        at.VARIANCES: solution.errors[part], at.COVARIANCE: covariance.reshape(-1, covariance.shape[2]),
        at.STATISTICS: statistics[part], at.STATUS: status, at.ITERATIONS: iterations,
    }  # fmt: skip
    call(fit_pixels, at.Table(pieces, base=table))
    solution.status[part], solution.iterations[part] = status, iterations


def _sign(problem: Problem) -> int:
    """+1 or -1 where bounds allow the peaks one sign only."""
    signs = set()
    begin = 0
    for component in problem.components:
        if component.is_peak:
            low, high = problem.lower[begin], problem.upper[begin]
            signs.add(1 if low >= 0 else -1 if high <= 0 else 0)
        begin += len(component.linear)
    return signs.pop() if len(signs) == 1 else 0


def _group(n: int) -> int:
    """How many channels are averaged before peaks are searched for."""
    return max(1, n // _BINS)


def _no_templates() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros((0, 0)), np.zeros(0), np.zeros(0), np.zeros((0, 0))


def _templates(axis: np.ndarray, problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Matched filters at all places and some widths, free of what a polynomial background can explain.

    Long axes are averaged in groups of channels first.
    """
    low, span = float(axis.min()), float(np.ptp(axis)) or 1.0
    group = _group(axis.size)
    edges = np.arange(0, axis.size, group)
    axis = np.add.reduceat(axis, edges) / np.diff([*edges, axis.size])
    n = axis.size
    u = (axis - low) / span
    background = [flag for c in problem.components if not c.is_peak for flag in c.linear]
    degree = len(background) if all(background) else 4  # a curved one is near enough a cubic, for a start
    n_peaks = sum(c.is_peak for c in problem.components)
    baseline = np.zeros((0, n))
    if 0 < degree < n:
        baseline = np.linalg.qr(np.vander(2 * u - 1, min(degree, 4), increasing=True))[0].T
    places: list[np.ndarray] = []
    widths: list[np.ndarray] = []
    ratio = 2.0 if n_peaks == 1 else 1.5
    for fraction in (0.4 if n_peaks == 1 else 0.3) * ratio ** -np.arange(5.0 if n_peaks == 1 else _WIDTHS):
        if fraction * n < 1.5:
            continue
        count = int(np.ceil(1 / (0.6 * fraction))) + 1
        places.append(np.linspace(0, 1, count))
        widths.append(np.full(count, fraction))
    place, width = np.concatenate(places or [np.array([0.5])]), np.concatenate(widths or [np.array([0.5])])
    templates = np.exp(-4 * np.log(2) * ((u - place[:, None]) / width[:, None]) ** 2)
    size = np.linalg.norm(templates, axis=1)
    templates -= (templates @ baseline.T) @ baseline
    left = np.linalg.norm(templates, axis=1)
    good = left > 0.1 * size  # the rest is background in disguise
    if not good.any():
        good[:] = left > 0
    templates = templates[good] / left[good, None]
    return (
        np.ascontiguousarray(templates), low + span * place[good], span * width[good],
        np.ascontiguousarray(baseline),
    )  # fmt: skip

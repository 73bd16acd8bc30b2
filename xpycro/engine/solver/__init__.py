"""Batched least squares over pixels: plain arrays in and out, the last axis is the fitted one.

May import numpy and, inside functions, numba, scipy and this folder's compiled modules; no xarray, no model classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from xpycro.engine.solver.problem import Component, Kind, Loss, Problem, Recipe, Solution, Status

__all__ = [
    "Component",
    "Kind",
    "Loss",
    "Problem",
    "Recipe",
    "Solution",
    "Status",
    "solve",
    "solve_harmonic",
    "solve_python",
]

_SLICE_WORK = 65536  # numbers in a slice of pixels: some milliseconds


def solve(
    problem: Problem,
    x: np.ndarray,
    y: np.ndarray,
    *,
    sigma: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> Solution:
    """Fit every row of `y`.

    Parameters
    ----------
    problem : Problem
    x : ndarray, shape (channel,) or (ndim, channel)
    y : ndarray, shape (pixel, channel)
        Real or complex; NaN channels are left out.
    sigma : ndarray, shape (channel,), (1, channel) or (pixel, channel), optional
        Standard deviation of `y`, of each quadrature where complex. Zero, NaN and infinity leave a channel out.
    start : ndarray, shape (parameter,) or (pixel, parameter), optional
        Values of fixed parameters, starts of the others; NaN is estimated.

    Returns
    -------
    Solution
    """
    x = np.atleast_2d(np.ascontiguousarray(x, dtype=np.float64))
    data = quadratures(y, problem.quadratures)
    n_pixels, n_parameters = data.shape[0], len(problem.linear)
    weight, begin = _weights(sigma, problem.quadratures), _starts(start, n_parameters)
    solution = Solution.empty(n_pixels, n_parameters, problem.covariance)
    if n_pixels == 0:
        return solution

    from xpycro.engine.solver.kernel import fit_pixels
    from xpycro.engine.solver.parallel import each_slice

    model, guess, options = _tables(problem, x.tobytes(), x.shape)
    statistics = np.empty((n_pixels, 4))

    def work(part: slice) -> None:
        fit_pixels(
            model,
            guess,
            x,
            data[part],
            weight[part] if weight.shape[0] > 1 else weight,
            begin[part] if begin.shape[0] > 1 else begin,
            options,
            solution.parameters[part],
            solution.errors[part],
            solution.covariance[part] if problem.covariance else solution.covariance,
            statistics[part],
            solution.status[part],
            solution.iterations[part],
        )

    each_slice(work, n_pixels, _slice_size(data))
    return _finished(solution, statistics)


def solve_harmonic(
    problem: Problem,
    x: np.ndarray,
    y: np.ndarray,
    *,
    sigma: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> Solution:
    """Fit the simple harmonic oscillator without bounds to every complex row of `y`; arguments as of `solve`.

    The parameters are amplitude, resonance frequency (in the unit of `x`), quality factor and phase.
    """
    data = quadratures(y, 2)
    weight, begin = _weights(sigma, 1), _starts(start, 4)
    solution = Solution.empty(len(data), 4, problem.covariance)
    if len(data) == 0:
        return solution

    from xpycro.engine.solver.parallel import each_slice
    from xpycro.engine.solver.sho import fit_sho

    axis = np.ascontiguousarray(np.ravel(x), dtype=np.float64)
    statistics = np.empty((len(data), 4))

    def work(part: slice) -> None:
        fit_sho(
            axis,
            data[part],
            weight[part] if weight.shape[0] > 1 else weight,
            begin[part] if begin.shape[0] > 1 else begin,
            problem.absolute_sigma,
            problem.max_iterations,
            problem.tolerance,
            solution.parameters[part],
            solution.errors[part],
            solution.covariance[part] if problem.covariance else solution.covariance,
            statistics[part],
            solution.status[part],
            solution.iterations[part],
        )

    each_slice(work, len(data), _slice_size(data))
    return _finished(solution, statistics)


def solve_python(
    function: Callable[..., Any],
    problem: Problem,
    x: np.ndarray,
    y: np.ndarray,
    *,
    sigma: np.ndarray | None = None,
    start: np.ndarray,
) -> Solution:
    """Fit a Python function ``f(x, *parameters)`` to every row of `y`; arguments as of `solve`, the start complete."""
    from xpycro.engine.solver.batched import solve_function

    return solve_function(function, problem, np.asarray(x, dtype=np.float64), y, sigma=sigma, start=start)


def _weights(sigma: np.ndarray | None, repeat: int) -> np.ndarray:
    if sigma is None:
        return np.zeros((1, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = 1.0 / np.atleast_2d(np.asarray(sigma, dtype=np.float64))
    return np.ascontiguousarray(np.tile(weight, (1, repeat)))


def _starts(start: np.ndarray | None, count: int) -> np.ndarray:
    if start is None:
        return np.full((1, count), np.nan)
    return np.ascontiguousarray(np.atleast_2d(np.asarray(start, dtype=np.float64)))


def _slice_size(data: np.ndarray) -> int:
    return max(1, min(1024, _SLICE_WORK // max(1, data.shape[1])))


def _finished(solution: Solution, statistics: np.ndarray) -> Solution:
    with np.errstate(invalid="ignore"):
        np.sqrt(solution.errors, out=solution.errors)
    for k, target in enumerate((solution.cost, solution.sum_of_squares, solution.r2, solution.n_points)):
        target[...] = statistics[:, k]
    return solution


def quadratures(y: np.ndarray, count: int) -> np.ndarray:
    """Float64 rows; of complex ones the real parts followed by the imaginary parts."""
    if count == 1:
        return np.ascontiguousarray(y, dtype=np.float64)
    n = y.shape[-1]
    out = np.empty((*y.shape[:-1], 2 * n))
    out[..., :n] = y.real
    out[..., n:] = y.imag
    return out


@lru_cache(maxsize=64)
def _tables(problem: Problem, x: bytes, shape: tuple[int, int]) -> tuple[Any, Any, Any]:
    """The problem as the tuples of arrays that the kernel takes; addresses hold in this process only."""
    from xpycro.engine.solver.jit import address

    axis = np.frombuffer(x).reshape(shape)
    kinds = problem.kinds()
    first, row_first, row_of, units, owner, background, peak_of = [], [], [], [], [], [], []
    recipe: list[int] = []
    starts: list[float] = []
    n_rows = n_parameters = n_peaks = 0
    for component in problem.components:
        first.append(n_parameters)
        row_first.append(n_rows)
        for j, is_linear in enumerate(component.linear):
            row_of.append(n_rows + j)
            owner.append(-1 if is_linear or component.owner[j] < 0 else n_parameters + component.owner[j])
            background.append(component.background)
            peak_of.append(n_peaks if component.is_peak else -1)
            recipe.append(int(component.start[j][0]))
            starts.append(component.start[j][1])
        n_peaks += component.is_peak
        n_parameters += len(component.linear)
        n_rows += len(component.linear) + component.unit
        if component.unit:
            units.append(n_rows - 1)

    def integers(values: Sequence[int]) -> np.ndarray:
        return np.array(values, dtype=np.int64)

    linear = np.array(problem.linear, dtype=np.bool_)
    lower, upper = np.array(problem.lower), np.array(problem.upper)
    model = (
        integers([address(c.shape) for c in problem.components]), integers(first), integers(row_first), n_rows,
        integers(row_of), integers(units), integers(owner), linear, kinds, integers(problem.tied), lower, upper,
    )  # fmt: skip
    templates, place, width, baseline = _templates(axis, problem) if n_peaks and problem.ndim == 1 else _no_templates()
    candidates = np.array(problem.candidates, dtype=np.float64).reshape(-1, n_parameters)
    guess = (
        np.array(background, dtype=np.bool_), integers(recipe), np.array(starts, dtype=np.float64), integers(peak_of),
        n_peaks, _sign(problem), templates, place, width, baseline, problem.loss != Loss.LINEAR, candidates,
    )  # fmt: skip
    options = (
        problem.ndim, problem.quadratures, int(problem.loss), 1.0, problem.absolute_sigma, problem.max_iterations,
        problem.tolerance,
    )  # fmt: skip
    return model, guess, options


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


def _no_templates() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros((0, 0)), np.zeros(0), np.zeros(0), np.zeros((0, 0))


def _templates(x: np.ndarray, problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Matched filters at all places and five widths, free of what a polynomial background can explain."""
    axis = x[0]
    n, span = axis.size, float(np.ptp(axis)) or 1.0
    u = (axis - axis.min()) / span
    degree = sum(len(c.linear) for c in problem.components if c.background)
    baseline = np.zeros((0, n))
    if 0 < degree < n:
        baseline = np.linalg.qr(np.vander(2 * u - 1, min(degree, 4), increasing=True))[0].T
    places: list[np.ndarray] = []
    widths: list[np.ndarray] = []
    for fraction in (1 / 2.5, 1 / 5, 1 / 10, 1 / 20, 1 / 40):
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
        np.ascontiguousarray(templates), axis.min() + span * place[good], span * width[good],
        np.ascontiguousarray(baseline),
    )  # fmt: skip

"""Batched least squares over pixels: plain arrays in and out, the last axis is the fitted one.

May import numpy and, inside functions, numba, scipy and this folder's compiled modules; no xarray, no model classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from xpycro.engine.solver.linear import design, is_linear, solve_linear
from xpycro.engine.solver.order import in_order
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

_SLICE_WORK = 65536  # numbers in a slice of pixels: they stay in the cache


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
    n_pixels, n_parameters = y.shape[0], len(problem.linear)
    weight, begin = _weights(sigma, problem.quadratures), _starts(start, n_parameters)
    if n_pixels == 0:
        return Solution.empty(0, n_parameters, problem.covariance)
    if is_linear(problem):
        rows = design(problem, x)
        if np.isfinite(rows).all():
            return _within_bounds(
                problem, x, y, weight, begin, _rooted(solve_linear(problem, x, y, weight, begin, rows))
            )
    return in_order(problem, begin, _solve_iterating(problem, x, y, weight, begin))


def _within_bounds(
    problem: Problem, x: np.ndarray, y: np.ndarray, weight: np.ndarray, begin: np.ndarray, solution: Solution
) -> Solution:
    """Where the free minimum lies outside the bounds, fit again: elsewhere it is the minimum within them, too."""
    held = np.array(problem.fixed) | (np.array(problem.tied) >= 0)
    lower, upper = np.where(held, -np.inf, problem.lower), np.where(held, np.inf, problem.upper)
    outside = np.flatnonzero(((solution.parameters < lower) | (solution.parameters > upper)).any(axis=1))
    if outside.size:
        again = _solve_iterating(
            problem, x, y[outside], weight[outside] if len(weight) > 1 else weight,
            begin[outside] if len(begin) > 1 else begin,
        )  # fmt: skip
        for field in fields(solution):
            target = getattr(solution, field.name)
            if len(target):
                target[outside] = getattr(again, field.name)
    return solution


def _solve_iterating(problem: Problem, x: np.ndarray, y: np.ndarray, weight: np.ndarray, begin: np.ndarray) -> Solution:
    """The compiled kernel over slices of pixels."""
    from xpycro.engine.solver.parallel import each_slice
    from xpycro.engine.solver.tables import fit_slice, tables

    n_pixels = len(y)
    solution = Solution.empty(n_pixels, len(problem.linear), problem.covariance)
    table = tables(problem, x.tobytes(), x.shape)
    statistics = np.full((n_pixels, 4), np.nan)

    def work(part: slice) -> None:
        values = quadratures(y[part], problem.quadratures)
        fit_slice(
            problem, table, values, weight[part] if len(weight) > 1 else weight,
            begin[part] if len(begin) > 1 else begin, solution, statistics, part,
        )  # fmt: skip

    each_slice(work, n_pixels, _slice_size(y))
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
    weight, begin = _weights(sigma, 1), _starts(start, 4)
    solution = Solution.empty(len(y), 4, problem.covariance)
    if len(y) == 0:
        return solution

    from xpycro.engine.solver.parallel import each_slice, n_threads
    from xpycro.engine.solver.sho import COUNT, ROWS, fit_sho

    axis = np.ascontiguousarray(np.ravel(x), dtype=np.float64)
    reference = float(np.mean(axis))
    axis = axis / reference
    statistics = np.empty((len(y), 4))

    def work(part: slice) -> None:
        values = np.ascontiguousarray(y[part], dtype=np.complex64 if y.dtype.char == "F" else np.complex128)
        fit_sho(
            values.ctypes.data,
            values.dtype.char == "F",
            axis,
            axis * axis,
            reference,
            weight[part] if weight.shape[0] > 1 else weight,
            begin[part] if begin.shape[0] > 1 else begin,
            problem.absolute_sigma,
            problem.max_iterations,
            problem.tolerance,
            np.empty((3, axis.size, COUNT)),
            np.empty((ROWS, COUNT)),
            solution.parameters[part],
            solution.errors[part],
            solution.covariance[part] if problem.covariance else solution.covariance,
            statistics[part],
            solution.status[part],
            solution.iterations[part],
        )

    # a slice costs Python's time: longer ones, as long as there are some for each thread
    size = max(2 * _slice_size(y), min(8 * _slice_size(y), len(y) // (4 * n_threads())))
    each_slice(work, len(y), COUNT * -(-size // COUNT))
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
    from xpycro.engine.solver.user import solve_compiled

    axis, begin = np.asarray(x, dtype=np.float64), _starts(start, len(problem.fixed))
    found = solve_compiled(function, problem, axis, y, sigma=sigma, start=begin) if len(y) else None
    if found is not None:
        return found
    if problem.loss == Loss.POISSON:
        raise ValueError(
            "loss='poisson' needs a function that numba can compile; write it with NumPy's plain functions"
        )

    from xpycro.engine.solver.batched import solve_function

    return solve_function(function, problem, axis, y, sigma=sigma, start=begin)


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


def _slice_size(y: np.ndarray) -> int:
    numbers = y.shape[1] * (2 if y.dtype.kind == "c" else 1)
    return max(1, min(1024, _SLICE_WORK // max(1, numbers)))


def _rooted(solution: Solution) -> Solution:
    """Variances turned into standard errors."""
    with np.errstate(invalid="ignore"):
        np.sqrt(solution.errors, out=solution.errors)
    return solution


def _finished(solution: Solution, statistics: np.ndarray) -> Solution:
    for k, target in enumerate((solution.cost, solution.sum_of_squares, solution.r2, solution.n_points)):
        target[...] = statistics[:, k]
    return _rooted(solution)


def quadratures(y: np.ndarray, count: int) -> np.ndarray:
    """Float64 rows; real parts, then imaginary parts of complex ones. Made slice by slice, in the cache."""
    if count == 1:
        return np.ascontiguousarray(y, dtype=np.float64)
    n = y.shape[-1]
    out = np.empty((*y.shape[:-1], 2 * n))
    out[..., :n] = y.real
    out[..., n:] = y.imag
    return out

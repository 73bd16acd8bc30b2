"""Levenberg-Marquardt for a block of pixels at once in NumPy: for Python functions that numba cannot compile.

May import numpy and this folder's plain modules. The function best broadcasts: ``f(x[channel], *p[pixel, 1])``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpycro.engine.solver.calling import call
from xpycro.engine.solver.problem import LEAST, Loss, Problem, Solution, Status
from xpycro.engine.solver.steps import STEP, floors

__all__ = ["solve_function"]

_BLOCK = 256  # pixels at once: their Jacobians stay in the cache


def solve_function(
    function: Callable[..., Any],
    problem: Problem,
    x: np.ndarray,
    y: np.ndarray,
    *,
    sigma: np.ndarray | None = None,
    start: np.ndarray,
) -> Solution:
    """Fit every row of `y` by a Python function with a numeric Jacobian (central differences).

    Parameters and result as `xpycro.engine.solver.solve`; `start` must be complete.
    """
    n_pixels, n_parameters = y.shape[0], len(problem.fixed)
    solution = Solution.empty(n_pixels, n_parameters, problem.covariance)
    smallest = floors(function, problem, x, y, np.atleast_2d(start))
    smallest, start = (np.broadcast_to(a, (n_pixels, n_parameters)) for a in (smallest, np.atleast_2d(start)))
    weight = None if sigma is None else 1.0 / np.broadcast_to(np.atleast_2d(sigma), y.shape)
    for begin in range(0, n_pixels, _BLOCK):
        part = slice(begin, begin + _BLOCK)
        with np.errstate(all="ignore"):  # a step too far may overflow; it is not taken
            block = _Block(function, problem, x, y[part], None if weight is None else weight[part], smallest[part])
            _solve_block(block, start[part], solution, part)
    return solution


def _split(values: np.ndarray, problem: Problem) -> np.ndarray:
    return np.concatenate([values.real, values.imag], axis=-1) if problem.quadratures == 2 else np.asarray(values.real)


class _Block:
    """Data, weights and mask of some pixels, and the function on them."""

    def __init__(
        self, function: Callable[..., Any], problem: Problem, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None,
        smallest: np.ndarray,
    ) -> None:  # fmt: skip
        self.function, self.problem, self.x = function, problem, x
        good = np.isfinite(y)
        if weight is not None:
            good &= np.isfinite(weight) & (weight > 0)
        self.good = np.tile(good, (1, problem.quadratures))
        self.y = np.where(self.good, _split(np.where(good, y, 0), problem), 0.0)
        w = np.ones(y.shape) if weight is None else np.where(good, weight, 0.0)
        self.w = np.where(self.good, np.tile(w, (1, problem.quadratures)), 0.0)
        self.free = [j for j, f in enumerate(problem.fixed) if not f and problem.tied[j] < 0]
        self.scale = np.ones(len(y))
        if weight is None and problem.loss != Loss.LINEAR:
            self.scale = _difference_noise(self.y[:, : y.shape[1]], good)
        self.smallest = smallest

    def model(self, p: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Values at parameters (pixel, parameter)."""
        with np.errstate(all="ignore"):
            values = call(self.function, self.x, *(p[:, j, None] for j in range(p.shape[1])))
        if np.iscomplexobj(values) and self.problem.quadratures == 1:
            raise ValueError("the function returns complex values for real data; fit complex data, or return the part")
        if not np.iscomplexobj(values) and self.problem.quadratures == 2:
            raise ValueError("the function returns real values for complex data; fit their .real, .imag or abs()")
        values = np.broadcast_to(values, (len(p), self.x.shape[-1]))
        return _split(values, self.problem)

    def complete(self, p: np.ndarray) -> np.ndarray:
        """Tied parameters follow."""
        for j, t in enumerate(self.problem.tied):
            if t >= 0:
                p[:, j] = p[:, t]
        return p

    def residual(self, p: np.ndarray, rows: np.ndarray) -> np.ndarray:
        values = self.model(p, rows)
        with np.errstate(all="ignore"):
            return np.where(self.good[rows], (self.y[rows] - values) * self.w[rows], 0.0)

    def cost(self, residual: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return 0.5 * np.sum(_rho(self._squared(residual, rows), self.problem.loss)[0], axis=-1) * self._unit(rows)

    def _unit(self, rows: np.ndarray) -> np.ndarray:
        return self.scale[rows] ** 2

    def _squared(self, residual: np.ndarray, rows: np.ndarray) -> np.ndarray:
        z = residual**2
        if self.problem.quadratures == 2:
            n = z.shape[-1] // 2
            z = z[:, :n] + z[:, n:]
        return z / self._unit(rows)[:, None]

    def jacobian(self, p: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Weighted derivatives (pixel, free, channel)."""
        out = np.empty((len(p), len(self.free), self.y.shape[1]))
        for k, j in enumerate(self.free):
            h = STEP * np.maximum(np.abs(p[:, j]), self.smallest[rows, j])
            high, low = p.copy(), p.copy()
            high[:, j] += h
            low[:, j] -= h
            difference = self.model(self.complete(high), rows) - self.model(self.complete(low), rows)
            out[:, k] = np.where(self.good[rows], difference / (2 * h[:, None]) * self.w[rows], 0.0)
        return out

    def reweighted(self, residual: np.ndarray, jacobian: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Iteratively reweighted: residual and Jacobian times the square root of the loss' slope."""
        if self.problem.loss == Loss.LINEAR:
            return residual, jacobian
        root = np.sqrt(_rho(self._squared(residual, rows), self.problem.loss)[1])
        root = np.tile(root, (1, self.problem.quadratures))
        return residual * root, jacobian * root[:, None, :]

    def curvature(self, p: np.ndarray, residual: np.ndarray, fitted: int) -> tuple[np.ndarray, np.ndarray]:
        """Normal matrix of a robust loss, and what turns its inverse into a covariance; see `losses.robust_variance`.

        The loss bends along the residual only; across one of two quadratures it has its slope.
        """
        rows = np.arange(len(p))
        jacobian, z = self.jacobian(p, rows), self._squared(residual, rows)
        _, slope, change = _rho(z, self.problem.loss)
        bent = slope + 2 * change * z
        kept = np.maximum(bent, LEAST * slope)
        n = z.shape[-1]
        good, m = self.good[:, :n], self.good.sum(axis=-1)

        def total(values: np.ndarray) -> np.ndarray:
            return np.sum(np.where(good, values, 0.0), axis=-1)

        curvature, held = total(bent), total(kept)
        if self.problem.quadratures == 2:
            length = np.sqrt(residual[:, :n] ** 2 + residual[:, n:] ** 2)
            c, s = (np.where(length > 0, q / np.where(length > 0, length, 1.0), d)[:, None]
                    for q, d in ((residual[:, :n], 1.0), (residual[:, n:], 0.0)))  # fmt: skip
            re, im = jacobian[:, :, :n], jacobian[:, :, n:]
            jacobian = np.concatenate([c * re + s * im, c * im - s * re], axis=-1)
            kept = np.concatenate([kept, slope], axis=-1)
            curvature, held = curvature + total(slope), held + total(slope)
        normal = (jacobian * kept[:, None]) @ jacobian.transpose(0, 2, 1)
        squares = total(slope**2 * z) * self._unit(rows)
        sound = (m > fitted) & (curvature > 0)
        with np.errstate(all="ignore"):
            variance = squares / (m - fitted) * held * m / curvature**2
        return normal, np.where(sound, variance, np.nan)


def _rho(z: np.ndarray, loss: Loss) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loss of squared scaled residuals, its slope and how that changes."""
    if loss == Loss.SOFT_L1:
        return 2 * (np.sqrt(1 + z) - 1), 1 / np.sqrt(1 + z), -0.5 / (1 + z) ** 1.5
    if loss == Loss.HUBER:
        root = np.sqrt(np.maximum(z, 1.0))
        return np.where(z <= 1, z, 2 * root - 1), 1 / root, np.where(z <= 1, 0.0, -0.5 / root**3)
    if loss == Loss.CAUCHY:
        return np.log1p(z), 1 / (1 + z), -1 / (1 + z) ** 2
    return z, np.ones_like(z), np.zeros_like(z)


def _solve_block(block: _Block, start: np.ndarray, solution: Solution, part: slice) -> None:
    problem, y = block.problem, block.y
    free, n_free = block.free, len(block.free)
    lower, upper = np.array(problem.lower), np.array(problem.upper)
    p = block.complete(np.clip(start, lower, upper))
    everything = np.arange(len(y))
    points = block.good.sum(axis=-1)
    code = np.full(len(y), int(Status.MAX_ITERATIONS), np.uint8)
    code[points < max(n_free, 1)] = Status.TOO_FEW
    code[points == 0] = Status.NO_DATA
    residual = block.residual(p, everything)
    cost = block.cost(residual, everything)
    bad = ~np.isfinite(cost) & (code == Status.MAX_ITERATIONS)
    code[bad] = Status.NOT_FINITE
    count = np.zeros(len(y), np.int32)
    # as in `descent`: a bold first step of many parameters jumps into another valley even from a good start
    damping, growth = np.full(len(y), 1e-3 if n_free <= 3 else 1.0), np.full(len(y), 2.0)
    power = np.sum((block.y * block.w) ** 2, axis=-1)
    normal, gradient = np.zeros((len(y), n_free, n_free)), np.zeros((len(y), n_free))
    active = np.flatnonzero(code == Status.MAX_ITERATIONS)
    fresh = active
    for iteration in range(problem.max_iterations + 1):
        if fresh.size:
            r, jacobian = block.reweighted(residual[fresh], block.jacobian(p[fresh], fresh), fresh)
            normal[fresh] = jacobian @ jacobian.transpose(0, 2, 1)
            gradient[fresh] = np.einsum("pkm,pm->pk", jacobian, r)
        if active.size == 0:
            break
        h, g, size = _scaled(normal[active], gradient[active], p[active][:, free], lower[free], upper[free])
        promise = 0.5 * np.einsum("pk,pk->p", g, _solved(h, g, 0.0))
        done = (promise <= problem.tolerance * cost[active]) | (cost[active] <= 1e-30 * power[active])
        stuck = ~done & (damping[active] > 1e12)
        code[active[done]] = Status.COST
        code[active[stuck]] = np.where(promise[stuck] <= 1e-6 * cost[active][stuck], Status.STEP, Status.NOT_FINITE)
        going = ~(done | stuck)
        active, h, g, size = active[going], h[going], g[going], size[going]
        if active.size == 0 or iteration == problem.max_iterations:
            break
        count[active] = iteration + 1
        step = _solved(h, g, damping[active]) * size
        trial = p[active]
        trial[:, free] = np.clip(trial[:, free] + step, lower[free], upper[free])
        trial = block.complete(trial)
        taken = np.where(size > 0, (trial[:, free] - p[active][:, free]) / np.where(size > 0, size, 1.0), 0.0)
        predicted = np.einsum("pk,pk->p", taken, g) - 0.5 * np.einsum("pk,pkl,pl->p", taken, h, taken)
        r = block.residual(trial, active)
        trial_cost = block.cost(r, active)
        with np.errstate(all="ignore"):
            ratio = (cost[active] - trial_cost) / predicted
        better = (trial_cost < cost[active]) & (ratio > 1e-4)
        fresh = active[better]
        p[fresh], residual[fresh], cost[fresh] = trial[better], r[better], trial_cost[better]
        damping[fresh] = np.maximum(damping[fresh] * np.maximum(0.05, 1 - (2 * ratio[better] - 1) ** 3), 1e-12)
        growth[fresh] = 2.0
        worse = active[~better]
        damping[worse] *= growth[worse]
        growth[worse] *= 2.0
    _finish(block, problem, p, residual, cost, points, code, count, normal, solution, part)


def _scaled(
    normal: np.ndarray, gradient: np.ndarray, p: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit-diagonal normal matrix and gradient; a parameter held at its bound is decoupled."""
    held = ((p <= lower) & (gradient <= 0)) | ((p >= upper) & (gradient >= 0))
    diagonal = np.einsum("pkk->pk", normal)
    with np.errstate(all="ignore"):
        size = np.where((diagonal > 0) & ~held, 1 / np.sqrt(diagonal), 0.0)
    h = normal * size[:, :, None] * size[:, None, :]
    index = np.arange(p.shape[1])
    h[:, index, index] = 1.0
    return np.where(np.isfinite(h), h, 0.0), np.nan_to_num(gradient * size), size


def _solved(h: np.ndarray, g: np.ndarray, damping: Any) -> np.ndarray:
    index = np.arange(g.shape[1])
    damped = h.copy()
    damped[:, index, index] += np.broadcast_to(np.asarray(damping), (len(g),))[:, None] + 1e-14
    return np.linalg.solve(damped, g[..., None])[..., 0]


def _finish(
    block: _Block, problem: Problem, p: np.ndarray, residual: np.ndarray, cost: np.ndarray, points: np.ndarray,
    code: np.ndarray, count: np.ndarray, normal: np.ndarray, solution: Solution, part: slice,
) -> None:  # fmt: skip
    free = block.free
    everything = np.arange(len(p))
    variance = np.ones(len(p))
    if problem.loss != Loss.LINEAR:
        normal, variance = block.curvature(p, residual, len(free))
    elif not problem.absolute_sigma:
        with np.errstate(all="ignore"):
            variance = np.where(points > len(free), np.sum(residual**2, axis=-1) / (points - len(free)), np.nan)
    with np.errstate(all="ignore"):
        size = 1 / np.sqrt(np.einsum("pkk->pk", normal))
        correlation = normal * size[:, :, None] * size[:, None, :]
        usable = np.isfinite(correlation).all(axis=(1, 2)) & np.isin(code, (Status.COST, Status.STEP))
        if free:
            usable[usable] &= np.linalg.cond(correlation[usable]) < 1e14
        code[np.isin(code, (Status.COST, Status.STEP)) & ~usable] = Status.SINGULAR
        inverse = np.full(normal.shape, np.nan)
        inverse[usable] = np.linalg.inv(correlation[usable])
        inverse *= size[:, :, None] * size[:, None, :] * variance[:, None, None]
        plain = np.where(block.w > 0, residual / np.where(block.w > 0, block.w, 1.0), 0.0)
        mean = np.zeros_like(block.y)
        for half in np.split(np.arange(block.y.shape[1]), problem.quadratures):
            w2 = block.w[:, half] ** 2
            mean[:, half] = (np.sum(w2 * block.y[:, half], axis=-1) / np.sum(w2, axis=-1))[:, None]
        spread = np.sum((block.w * (block.y - mean)) ** 2, axis=-1)
        solution.r2[part] = 1 - np.sum(residual**2, axis=-1) / spread
    covariance = np.zeros((len(p), p.shape[1], p.shape[1]))
    chosen = np.array(free, dtype=np.intp)
    covariance[np.ix_(everything, chosen, chosen)] = inverse
    for j, t in enumerate(problem.tied):
        if t >= 0:
            covariance[:, j, :] = covariance[:, t, :]
    for j, t in enumerate(problem.tied):
        if t >= 0:
            covariance[:, :, j] = covariance[:, :, t]
    covariance[~usable] = np.nan
    solution.parameters[part] = np.where(usable[:, None], p, np.nan)
    with np.errstate(invalid="ignore"):
        solution.errors[part] = np.sqrt(np.einsum("pkk->pk", covariance))
    if problem.covariance:
        solution.covariance[part] = covariance
    solution.cost[part], solution.sum_of_squares[part] = cost, np.sum(plain**2, axis=-1)
    solution.n_points[part], solution.status[part], solution.iterations[part] = points, code, count


def _difference_noise(y: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Noise of each row from second differences of what is good in it; see `losses.difference_noise`."""
    found = np.zeros(len(y))
    for row, (values, known) in enumerate(zip(y, good, strict=True)):
        second = np.abs(np.diff(values[known], 2))
        if second.size:
            middle = (second.size - 1) // 2
            found[row] = 1.4826 * np.partition(second, middle)[middle] / np.sqrt(6.0)
    return np.maximum(found, 1e-300)

"""Models that are linear in all their parameters: no iterations, one factor for all pixels that share their weights.

May import numpy, engine.blas and this folder's plain modules; the compiled shapes inside functions.
"""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass

import numpy as np

from xpycro.engine.blas import single_threaded_blas
from xpycro.engine.solver.problem import Kind, Loss, Problem, Solution, Status

__all__ = ["design", "is_linear", "solve_linear"]

_SLICE_WORK = 131072  # numbers in a slice of pixels: they and two copies stay in the cache
_WORTH_A_FACTOR = 8  # pixels that share their channels: from here on a factor of their own is cheaper
_WELL_CONDITIONED = 1e6  # up to here normal equations, refined once, are as good as an orthogonal factor


def is_linear(problem: Problem) -> bool:
    """Whether plain linear algebra minimises the problem (but for bounds)."""
    plain = all(problem.linear) and not any(c.unit for c in problem.components)
    return plain and problem.loss == Loss.LINEAR and problem.n_fitted > 0


def design(problem: Problem, x: np.ndarray) -> np.ndarray:
    """The basis function of each parameter (parameter, channel), from the compiled shapes."""
    from xpycro.engine.solver.jit import address

    count, stride = len(problem.linear), x.shape[1] * problem.quadratures
    rows, unused = np.zeros((count, stride)), np.zeros(count)
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    call = ctypes.CFUNCTYPE(None, pointer, integer, pointer, pointer, integer)
    begin = 0
    for component in problem.components:
        part = rows[begin:]
        call(address(component.shape))(x.ctypes.data, x.shape[1], unused.ctypes.data, part.ctypes.data, stride)
        begin += len(component.linear)
    return rows


@dataclass(frozen=True)
class _Basis:
    """Orthonormal columns that span the weighted design, and the way back to the parameters."""

    forward: np.ndarray  # (channel, k): data to coefficients of the columns
    backward: np.ndarray  # (k, channel): coefficients to the model, without weights
    to_parameters: np.ndarray  # (k, k)
    singular: bool

    @classmethod
    def of(cls, rows: np.ndarray, weight: np.ndarray) -> _Basis:
        weighted = rows * weight
        with np.errstate(all="ignore"):
            size = np.linalg.norm(weighted, axis=1)
            scale = np.where(size > 0, 1 / size, 0.0)
        q, r = np.linalg.qr((weighted * scale[:, None]).T)
        spread = np.linalg.svd(r, compute_uv=False)
        singular = bool(spread[-1] <= max(rows.shape) * np.finfo(float).eps * spread[0])
        inverse = np.zeros_like(r) if singular else np.linalg.inv(r)
        with np.errstate(all="ignore"):
            backward = np.where(weight > 0, q.T / weight, 0.0)
        return cls(q * weight[:, None], backward, scale[:, None] * inverse, singular)


class _Linear:
    """One problem on one axis: the design of what is fitted, and where results go."""

    def __init__(self, problem: Problem, rows: np.ndarray, used: np.ndarray, solution: Solution) -> None:
        kinds = problem.kinds()
        self.problem, self.solution, self.used = problem, solution, used
        self.fitted = np.flatnonzero((kinds != Kind.FIXED) & (kinds != Kind.TIED))
        self.fixed = np.flatnonzero(kinds == Kind.FIXED)
        self.tied = np.array(problem.tied)
        rows = rows[:, used]
        own = rows.copy()
        for j, t in enumerate(self.tied):
            if t >= 0:
                own[t] += rows[j]
        self.rows, self.fixed_rows = own[self.fitted], rows[self.fixed]
        self.bases: dict[bytes, _Basis] = {}
        self.local = threading.local()

    def scratch(self, shape: tuple[int, ...]) -> np.ndarray:
        """Memory of this thread, used again and again: fresh pages would cost a third of the time."""
        room = getattr(self.local, "room", None)
        if room is None or room.size < shape[0] * shape[1]:
            room = self.local.room = np.empty(shape[0] * shape[1])
        return np.asarray(room[: shape[0] * shape[1]].reshape(shape))

    def basis(self, weight: np.ndarray) -> _Basis:
        return _Basis.of(self.rows, weight)

    def remembered(self, weight: np.ndarray) -> _Basis:
        """A basis that further slices will want too."""
        key = weight.tobytes()
        if key not in self.bases:
            if len(self.bases) > 64:
                self.bases.clear()
            self.bases[key] = self.basis(weight)
        return self.bases[key]

    # ---------------------------------------------------------------------------------------------------- solving

    def shared(
        self, y: np.ndarray, weight: np.ndarray, start: np.ndarray, index: np.ndarray, *, remember: bool = False,
        untested: bool = False,
    ) -> bool:  # fmt: skip
        """Pixels that share their weights (zero: not used; `y` is zero there).

        False, and nothing done, where `untested` values turn out not to be finite: the coefficients show it.
        """
        basis = self.remembered(weight) if remember else self.basis(weight)
        target = y - start[:, self.fixed] @ self.fixed_rows if self.fixed.size else y
        with np.errstate(all="ignore"):  # what is infinite or overflows is found by its coefficients
            coefficients = target @ basis.forward
        if untested and not np.isfinite(coefficients).all():
            return False
        fitted = np.matmul(coefficients, basis.backward, out=self.scratch(y.shape))
        inverse = basis.to_parameters @ basis.to_parameters.T
        squares = self._statistics(y, target, fitted, weight[None], index)
        points = np.full(len(y), np.count_nonzero(weight))
        singular = np.full(len(y), basis.singular)
        self._store(coefficients @ basis.to_parameters.T, inverse[None], squares, points, singular, start, index)
        return True

    def apart(self, y: np.ndarray, weight: np.ndarray, start: np.ndarray, index: np.ndarray) -> None:
        """Pixels each with its own weights: normal equations in a basis where they are nearly diagonal."""
        k = self.fitted.size
        basis = self.remembered(np.ones(y.shape[1]))
        target = y - start[:, self.fixed] @ self.fixed_rows if self.fixed.size else y
        squared = weight * weight
        a, b = np.triu_indices(k)
        normal = np.empty((len(y), k, k))
        normal[:, a, b] = normal[:, b, a] = squared @ (basis.forward[:, a] * basis.forward[:, b])
        with np.errstate(all="ignore"):
            scale = 1 / np.sqrt(np.einsum("pkk->pk", normal))
            normal *= scale[:, :, None] * scale[:, None, :]
        regular = np.isfinite(normal).all(axis=(1, 2))
        normal[~regular] = np.eye(k)
        scale[~regular] = 0.0
        # the trifle keeps an exactly singular one from spoiling the batch; such a one is recognised below
        inverse = np.linalg.inv(normal + 1e-14 * np.eye(k))
        condition = np.linalg.norm(normal, axis=(1, 2)) * np.linalg.norm(inverse, axis=(1, 2))
        inverse *= scale[:, :, None] * scale[:, None, :]
        coefficients, residual = np.zeros((len(y), k)), target
        for _ in range(2):  # the second is the refinement
            gradient = (squared * residual) @ basis.forward
            coefficients += np.einsum("pkl,pl->pk", inverse, gradient)
            residual = target - coefficients @ basis.backward
        squares = self._statistics(y, residual, np.zeros_like(residual), weight, index)
        way = basis.to_parameters
        points, singular = np.count_nonzero(weight, axis=1), np.full(len(y), basis.singular)
        self._store(coefficients @ way.T, way @ inverse @ way.T, squares, points, singular, start, index)
        for i in np.flatnonzero((condition > _WELL_CONDITIONED) | ~regular | basis.singular):
            self.shared(y[i : i + 1], weight[i], start[i : i + 1], index[i : i + 1])

    def _statistics(
        self, y: np.ndarray, target: np.ndarray, fitted: np.ndarray, weight: np.ndarray, index: np.ndarray
    ) -> np.ndarray:
        """Write what the residual says; the weighted sum of its squares."""
        from xpycro.engine.solver.squares import row_squares

        solution, sums = self.solution, np.empty((len(y), 3))
        row_squares(y, target, fitted, weight * weight, self.problem.quadratures, sums)
        squares, solution.sum_of_squares[index], variation = sums.T
        solution.cost[index] = 0.5 * squares
        with np.errstate(all="ignore"):
            solution.r2[index] = np.where(variation > 0, 1 - squares / variation, np.nan)
        return squares

    def _store(
        self, values: np.ndarray, inverse: np.ndarray, squares: np.ndarray, points: np.ndarray, singular: np.ndarray,
        start: np.ndarray, index: np.ndarray,
    ) -> None:  # fmt: skip
        solution, count = self.solution, self.fitted.size
        status = np.full(len(values), int(Status.COST), dtype=np.uint8)
        status[~np.isfinite(squares)] = Status.NOT_FINITE
        status[singular] = Status.SINGULAR
        good = status == Status.COST
        variance = np.ones(len(values))
        if not self.problem.absolute_sigma:
            with np.errstate(all="ignore"):
                variance = np.where((points > count) & np.isfinite(squares), squares / (points - count), np.nan)
        p = np.array(start)
        p[:, self.fitted] = values
        ties = np.flatnonzero(self.tied >= 0)
        p[:, ties] = p[:, self.tied[ties]]
        source = np.full(p.shape[1], -1)  # of each parameter, the fitted one that decides its error
        source[self.fitted] = np.arange(count)
        source[ties] = source[self.tied[ties]]
        moving = np.flatnonzero(source >= 0)
        errors = np.zeros(p.shape)
        diagonal = np.einsum("pkk->pk", inverse)
        errors[:, moving] = variance[:, None] * diagonal[:, source[moving]]
        solution.status[index], solution.n_points[index] = status, points
        if not good.all():
            p[~good] = errors[~good] = np.nan
        solution.parameters[index], solution.errors[index] = p, errors
        if self.problem.covariance:
            covariance = np.zeros((len(p), p.shape[1], p.shape[1]))
            part = variance[:, None, None] * inverse[:, source[moving, None], source[None, moving]]
            covariance[:, moving[:, None], moving] = part
            covariance[~good] = np.nan
            solution.covariance[index] = covariance

    # ------------------------------------------------------------------------------------------------ sorting out

    def slice(self, y: np.ndarray, weight: np.ndarray, start: np.ndarray, index: np.ndarray) -> None:
        """Some pixels: those that share their channels together, the others each with its own weights.

        `y` holds quadratures of the used channels; `weight` is one row for all, or one for each pixel.
        """
        broken = ~np.isfinite(start[:, self.fixed]).all(axis=1)
        if (
            weight.ndim == 1
            and weight.size >= self.fitted.size
            and not broken.any()
            and self.shared(y, weight, start, index, remember=True, untested=True)
        ):
            return
        good = np.isfinite(y) & np.isfinite(weight) & (weight > 0)
        if self.problem.quadratures == 2:
            half = y.shape[1] // 2
            good = np.tile(good[:, :half] & good[:, half:], (1, 2))
        points = np.count_nonzero(good, axis=1)
        self.solution.n_points[index] = points
        status = np.zeros(len(y), dtype=np.uint8)
        status[broken] = Status.NOT_FINITE
        status[points < self.fitted.size] = Status.TOO_FEW
        status[points == 0] = Status.NO_DATA
        self.solution.status[index] = status
        y = np.where(good, y, 0.0)
        weight = np.where(good, weight, 0.0)
        todo = np.flatnonzero(status == 0)
        if not todo.size:
            return
        _, first, member, size = np.unique(
            weight[todo].view(np.dtype((np.void, weight.shape[1] * 8))).ravel(),
            return_index=True, return_inverse=True, return_counts=True,
        )  # fmt: skip
        for group in np.flatnonzero(size >= _WORTH_A_FACTOR):
            chosen = todo[member == group]
            self.shared(y[chosen], weight[todo[first[group]]], start[chosen], index[chosen], remember=True)
        rest = todo[size[member] < _WORTH_A_FACTOR]
        if rest.size:
            self.apart(y[rest], weight[rest], start[rest], index[rest])


def solve_linear(
    problem: Problem, x: np.ndarray, y: np.ndarray, weight: np.ndarray, start: np.ndarray, rows: np.ndarray
) -> Solution:
    """Fit every row of `y` without regard to bounds.

    Parameters
    ----------
    problem : Problem
        `is_linear`.
    x, y : ndarray
        As of `xpycro.engine.solver.solve`.
    weight : ndarray, shape (0 or 1 or pixel, channel * quadratures)
        Reciprocal standard deviations; none of width zero.
    start : ndarray, shape (1 or pixel, parameter)
        Where values of fixed parameters are.
    rows : ndarray
        Of `design`.
    """
    from xpycro.engine.solver import quadratures
    from xpycro.engine.solver.parallel import each_slice

    solution = Solution.empty(len(y), rows.shape[0], problem.covariance)
    if weight.shape[1] == 0:
        weight = np.ones((1, rows.shape[1]))
    shared = weight.shape[0] == 1
    used = np.isfinite(weight[0]) & (weight[0] > 0) if shared else np.ones(rows.shape[1], dtype=bool)
    one = weight[0, used]
    everything = bool(used.all())
    begin = np.broadcast_to(start, (len(y), rows.shape[0]))
    task = _Linear(problem, rows, used, solution)

    def work(part: slice) -> None:
        values = quadratures(y[part], problem.quadratures)
        values = values if everything else np.ascontiguousarray(values[:, used])
        task.slice(values, one if shared else weight[part], begin[part], np.arange(part.start, part.stop))

    with single_threaded_blas():
        each_slice(work, len(y), max(1, _SLICE_WORK // max(1, rows.shape[1])))
    return solution

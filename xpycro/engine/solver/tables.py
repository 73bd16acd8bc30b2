"""From a problem to the tuples of plain arrays that the compiled kernel takes.

May import numpy and this folder's modules (the compiled ones inside functions).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from xpycro.engine.solver.problem import Kind, Loss, Problem

__all__ = ["room", "tables"]


@lru_cache(maxsize=64)
def tables(problem: Problem, x: bytes, shape: tuple[int, int]) -> tuple[Any, Any, int]:
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
        integers([address(c.shape) for c in problem.components]), integers(first), integers(row_first),
        integers(row_of), integers(units), integers(owner), linear, kinds, integers(problem.tied), lower, upper,
    )  # fmt: skip
    templates, place, width, baseline = _templates(axis, problem) if n_peaks and problem.ndim == 1 else _no_templates()
    candidates = np.array(problem.candidates, dtype=np.float64).reshape(-1, n_parameters)
    guess = (
        np.array(background, dtype=np.bool_), integers(recipe), np.array(starts, dtype=np.float64), integers(peak_of),
        n_peaks, _sign(problem), templates, place, width, baseline, problem.loss != Loss.LINEAR, candidates,
        templates @ templates.T,
    )  # fmt: skip
    return model, guess, n_rows


def room(problem: Problem, n_rows: int, n_channels: int, n_templates: int) -> tuple[Any, ...]:
    """Memory for one thread's kernel: lists, long arrays, small algebra, vectors."""
    count, length = len(problem.linear), n_channels * problem.quadratures
    size = count + 1
    n_free = max(1, int((problem.kinds() == Kind.FREE).sum()))

    def integers() -> np.ndarray:
        return np.zeros(size, dtype=np.int64)

    def matrix() -> np.ndarray:
        return np.zeros((size, size))

    def long(*rows: int) -> np.ndarray:
        return np.zeros((*rows, length))

    lists = (integers(), integers(), integers(), np.zeros(4, dtype=np.int64))  # projected, free, place, counts
    trial = np.zeros(count)
    # residual, two to swap, scaled, rows, rows to swap, Jacobian
    memory = (long(), long(), long(), long(), long(n_rows), long(n_rows), long(n_free), trial)
    algebra = (
        matrix(), matrix(), np.zeros(size), matrix(), np.zeros(size), matrix(), matrix(), np.zeros(size),
        np.zeros(size), np.zeros(size), integers(), integers(), integers(),
    )  # fmt: skip
    work = (matrix(), matrix(), np.zeros(size), np.zeros(size), np.zeros(size), integers(), integers())
    n_templates = n_templates + 1
    vectors = (
        np.zeros(problem.ndim * n_channels), long(), long(), np.zeros(count), np.zeros(count),
        np.zeros(count), np.zeros(count), np.zeros(n_templates),
    )  # fmt: skip
    return lists, memory, algebra, work, vectors, matrix(), integers(), integers(), integers(), integers()


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
    """Matched filters at all places and some widths, free of what a polynomial background can explain."""
    axis = x[0]
    n, span = axis.size, float(np.ptp(axis)) or 1.0
    u = (axis - axis.min()) / span
    background = [flag for c in problem.components if not c.is_peak for flag in c.linear]
    degree = len(background) if all(background) else 4  # a curved one is near enough a cubic, for a start
    n_peaks = sum(c.is_peak for c in problem.components)
    baseline = np.zeros((0, n))
    if 0 < degree < n:
        baseline = np.linalg.qr(np.vander(2 * u - 1, min(degree, 4), increasing=True))[0].T
    places: list[np.ndarray] = []
    widths: list[np.ndarray] = []
    ratio = 2.0 if n_peaks == 1 else 1.6
    for fraction in (0.4 if n_peaks == 1 else 0.3) * ratio ** -np.arange(5.0 if n_peaks == 1 else 6.0):
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

"""How far to step for numeric derivatives by parameters that start at zero, or pass through it.

May import numpy and this folder's plain modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpycro.engine.solver.calling import call
from xpycro.engine.solver.problem import Problem

__all__ = ["STEP", "floors"]

STEP = 6e-6  # of a parameter, or of its floor: the cube root of rounding, for central differences
_TRIED = 10.0 ** np.arange(-30, 31, 2)  # from far below any unit to far above
_ROWS = 256  # pixels at once


def floors(
    function: Callable[..., Any], problem: Problem, x: np.ndarray, y: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Below what size each parameter counts as zero, (1 or pixel, parameter); one pixel knows nothing of the others.

    A thousandth of its start; where that is zero, of the change that alters the model by a tenth of the pixel's data;
    where none does, of the width of its bounds.
    """
    size = np.abs(start)
    unknown = [
        j for j, held in enumerate(problem.fixed) if not held and problem.tied[j] < 0 and (size[:, j] == 0).any()
    ]
    if not unknown:
        return 1e-3 * size
    size = np.repeat(size, len(y) // len(size), axis=0)
    for begin in range(0, len(y), _ROWS):
        part = slice(begin, begin + _ROWS)
        given = start if len(start) == 1 else start[part]
        with np.errstate(all="ignore"):
            height = np.sqrt(np.mean(np.abs(np.where(np.isfinite(y[part]), y[part], 0)) ** 2, axis=-1))
            for j in unknown:
                column = size[part, j]
                column[...] = np.where(column == 0, _telling(function, problem, x, given, j, height), column)
    for j, followed in enumerate(problem.tied):
        if followed >= 0:
            size[:, j] = size[:, followed]
    return 1e-3 * size


def _telling(
    function: Callable[..., Any], problem: Problem, x: np.ndarray, start: np.ndarray, j: int, height: np.ndarray
) -> np.ndarray:
    """The smallest change of parameter `j` that shows in data of some height."""

    def model(tried: float) -> np.ndarray:
        p = start.copy()
        p[:, j] += tried
        for k, followed in enumerate(problem.tied):
            if followed >= 0:
                p[:, k] = p[:, followed]
        return call(function, x, *(p[:, k, None] for k in range(p.shape[1])))

    found, middle = np.zeros(len(height)), model(0.0)
    for tried in _TRIED:
        change = np.sqrt(np.mean(np.abs(model(tried) - middle) ** 2, axis=-1))
        found[(found == 0) & (height > 0) & (change >= 0.1 * height) & np.isfinite(change)] = tried
    width = problem.upper[j] - problem.lower[j]
    found[found == 0] = width if np.isfinite(width) else 1.0
    return found

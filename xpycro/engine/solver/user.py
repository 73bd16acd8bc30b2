"""A user's Python function as a compiled shape, where numba can compile it.

May import numpy, numba (inside functions) and this folder's modules.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from xpycro.engine.solver import solve
from xpycro.engine.solver.calling import call
from xpycro.engine.solver.problem import Component, Problem, Recipe, Solution
from xpycro.engine.solver.steps import STEP, floors

__all__ = ["solve_compiled"]

_LOCK = threading.Lock()  # two threads would compile the same function twice


def solve_compiled(
    function: Callable[..., Any],
    problem: Problem,
    x: np.ndarray,
    y: np.ndarray,
    *,
    sigma: np.ndarray | None,
    start: np.ndarray,
) -> Solution | None:
    """Fit ``f(x, *parameters)`` with a numeric Jacobian by the compiled kernel; None where NumPy has to evaluate it.

    Arguments as of `solve_python`. The kernel sees twice as many parameters: each one's floor (`steps`) is fixed.
    """
    count, start = start.shape[1], start.copy()
    for j, followed in enumerate(problem.tied):
        if followed >= 0:
            start[:, j] = start[:, followed]
    try:
        with np.errstate(all="ignore"):
            expected = np.broadcast_to(call(function, x, *start[0]), x.shape)
            smallest = floors(function, problem, x, y, start)
    except Exception:  # whatever a user's function raises on numbers, the NumPy path will report it
        return None
    try:
        with _LOCK:
            shape = _shape(getattr(function, "py_func", function), count, problem.quadratures)
    except TypeError:  # not hashable
        return None
    if shape is None or not _agrees(shape, expected, x, start[0], problem.quadratures):
        return None
    doubled = replace(
        problem,
        components=(
            Component(
                shape=shape,
                linear=(False,) * 2 * count,
                owner=(-1,) * 2 * count,
                start=((Recipe.VALUE, 0.0),) * 2 * count,
                unit=True,
            ),
        ),
        lower=(*problem.lower, *(-np.inf,) * count),
        upper=(*problem.upper, *(np.inf,) * count),
        fixed=(*problem.fixed, *(True,) * count),
        tied=(*problem.tied, *(-1,) * count),
    )
    begin = np.concatenate([np.broadcast_to(start, smallest.shape), smallest], axis=1)
    found = solve(doubled, x, y, sigma=sigma, start=begin)
    return replace(
        found, parameters=found.parameters[:, :count], errors=found.errors[:, :count],
        covariance=found.covariance[:, :count, :count],
    )  # fmt: skip


def _agrees(
    shape: Callable[..., None], expected: np.ndarray, x: np.ndarray, start: np.ndarray, quadratures: int
) -> bool:
    """Whether the compiled function gives what the Python function gives at a start."""
    if np.iscomplexobj(expected) != (quadratures == 2):
        return False
    parts = np.concatenate([expected.real, expected.imag]) if quadratures == 2 else expected
    return np.allclose(_values(shape, x, start, quadratures), parts, rtol=1e-9, atol=0.0, equal_nan=True)


def _values(shape: Callable[..., None], x: np.ndarray, start: np.ndarray, quadratures: int) -> np.ndarray:
    """What a compiled shape gives."""
    import ctypes

    from xpycro.engine.solver.jit import compiled

    axis, p = np.ascontiguousarray(x, dtype=np.float64), np.concatenate([start, np.abs(start)])
    rows = np.zeros((p.size + 1, axis.size * quadratures))
    pointers = [a.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for a in (axis, p, rows)]
    compiled(shape, False).ctypes(pointers[0], axis.size, pointers[1], pointers[2], rows.shape[1])
    return rows[-1]


@lru_cache(maxsize=32)
def _shape(function: Callable[..., Any], count: int, quadratures: int) -> Callable[..., None] | None:
    """The function with its derivatives as a shape; of the parameters the second half are floors."""
    from numba import carray, njit
    from numba.core.errors import NumbaError, UnsupportedBytecodeError
    from numba.np.unsafe.ndarray import to_fixed_tuple

    from xpycro.engine.solver.jit import OPTIONS, compiled, reproducible

    def wrap(function: Callable[..., Any]) -> Any:
        return reproducible(njit(nogil=True, **OPTIONS)(function))

    composed = getattr(function, "compiled", None)  # what is no function itself may know of which ones it is made
    scalar = wrap(function) if composed is None else composed(wrap)
    if scalar is None:
        return None
    if quadratures == 1:

        @wrap
        def fill(x, n, p, row, factor, add):  # type: ignore[no-untyped-def]
            arguments: Any = to_fixed_tuple(p, count)  # type: ignore[call-arg]
            for i in range(n):
                row[i] = add * row[i] + factor * scalar(x[i], *arguments)
    else:

        @wrap
        def fill(x, n, p, row, factor, add):  # type: ignore[no-untyped-def]
            arguments: Any = to_fixed_tuple(p, count)  # type: ignore[call-arg]
            for i in range(n):
                value = scalar(x[i], *arguments)
                row[i] = add * row[i] + factor * value.real
                row[n + i] = add * row[n + i] + factor * value.imag

    def shape(x_, n, p_, rows_, stride):  # type: ignore[no-untyped-def]
        x, rows, given = carray(x_, n), carray(rows_, (2 * count + 1, stride)), carray(p_, 2 * count)
        p = given.copy()
        for j in range(count):
            h = STEP * max(abs(p[j]), p[count + j])
            p[j] = given[j] + h
            fill(x, n, p, rows[j], 0.5 / h, 0.0)
            p[j] = given[j] - h
            fill(x, n, p, rows[j], -0.5 / h, 1.0)
            p[j] = given[j]
        for i in range(stride):
            rows[2 * count, i] = 0.0
        fill(x, n, p, rows[2 * count], 1.0, 0.0)

    try:
        compiled(shape, False)
    except (NumbaError, UnsupportedBytecodeError):
        return None
    return shape

"""A user's Python function as a compiled shape, where numba can compile it.

May import numpy, numba (inside functions) and this folder's modules.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from xpycro.engine.solver.batched import TRIED_SIZES
from xpycro.engine.solver.calling import call
from xpycro.engine.solver.problem import Component, Recipe

__all__ = ["component_of_function"]


def component_of_function(
    function: Callable[..., Any], x: np.ndarray, start: np.ndarray, quadratures: int, height: float
) -> Component | None:
    """The component of ``f(x, *parameters)`` with a numeric Jacobian, or None where NumPy has to evaluate it.

    `height` is the size of the data. The compiled function must give what the Python function gives at the start, or it
    is not used.
    """
    count = start.size
    with np.errstate(all="ignore"):
        try:
            expected = np.broadcast_to(call(function, x, *start), x.shape)
            floors = tuple(_floor(function, x, start, j, expected, height) for j in range(count))
        except Exception:  # whatever a user's function raises on numbers, the NumPy path will report it
            return None
    try:
        shape = _shape(function, count, quadratures, floors)
    except TypeError:  # not hashable
        return None
    if shape is None:
        return None
    values = _rows(shape, x, start, count, quadratures)[-1]
    parts = np.concatenate([expected.real, expected.imag]) if quadratures == 2 else expected
    if np.iscomplexobj(parts) or not np.allclose(values, parts, rtol=1e-9, atol=0.0, equal_nan=True):
        return None
    return Component(
        shape=shape,
        linear=(False,) * count,
        owner=(-1,) * count,
        start=((Recipe.VALUE, 0.0),) * count,
        unit=True,
    )


def _floor(
    function: Callable[..., Any], x: np.ndarray, start: np.ndarray, j: int, middle: np.ndarray, height: float
) -> float:
    """Below what size a parameter counts as zero for the steps of its differences; in powers of 1e6, as code has it.

    From the start; where that is zero, from the change that alters the model by a tenth of the data.
    """
    size = abs(float(start[j]))
    if size == 0.0:
        size = 1.0
        for tried in TRIED_SIZES:
            trial = start.copy()
            trial[j] = tried
            change = np.sqrt(np.mean(np.abs(call(function, x, *trial) - middle) ** 2))
            if height > 0.0 and np.isfinite(change) and change >= 0.1 * height:
                size = float(tried)
                break
    return float(1e-3 * 10.0 ** (6 * np.round(np.log10(size) / 6)))


def _rows(shape: Callable[..., None], x: np.ndarray, start: np.ndarray, count: int, quadratures: int) -> np.ndarray:
    import ctypes

    from xpycro.engine.solver.jit import compiled

    axis, p = np.ascontiguousarray(x, dtype=np.float64), np.ascontiguousarray(start, dtype=np.float64)
    rows = np.zeros((count + 1, axis.size * quadratures))
    pointers = [a.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for a in (axis, p, rows)]
    compiled(shape, False).ctypes(pointers[0], axis.size, pointers[1], pointers[2], rows.shape[1])
    return rows


@lru_cache(maxsize=32)
def _shape(
    function: Callable[..., Any], count: int, quadratures: int, floors: tuple[float, ...]
) -> Callable[..., None] | None:
    from numba import carray, njit
    from numba.core.errors import NumbaError, UnsupportedBytecodeError
    from numba.np.unsafe.ndarray import to_fixed_tuple

    from xpycro.engine.solver.jit import OPTIONS, compiled

    wrap = njit(nogil=True, error_model="numpy")
    composed = getattr(function, "compiled", None)  # what is no function itself may know of which ones it is made
    scalar = wrap(function) if composed is None else composed(wrap)
    if scalar is None:
        return None
    if quadratures == 1:

        @njit(**OPTIONS)
        def fill(x, n, p, row, factor, add):  # type: ignore[no-untyped-def]
            arguments: Any = to_fixed_tuple(p, count)  # type: ignore[call-arg]
            for i in range(n):
                row[i] = add * row[i] + factor * scalar(x[i], *arguments)
    else:

        @njit(**OPTIONS)
        def fill(x, n, p, row, factor, add):  # type: ignore[no-untyped-def]
            arguments: Any = to_fixed_tuple(p, count)  # type: ignore[call-arg]
            for i in range(n):
                value = scalar(x[i], *arguments)
                row[i] = add * row[i] + factor * value.real
                row[n + i] = add * row[n + i] + factor * value.imag

    def shape(x_, n, p_, rows_, stride):  # type: ignore[no-untyped-def]
        x, rows, given = carray(x_, n), carray(rows_, (count + 1, stride)), carray(p_, count)
        p = given.copy()
        for j in range(count):
            h = 6e-6 * max(abs(p[j]), floors[j])
            p[j] = given[j] + h
            fill(x, n, p, rows[j], 0.5 / h, 0.0)
            p[j] = given[j] - h
            fill(x, n, p, rows[j], -0.5 / h, 1.0)
            p[j] = given[j]
        for i in range(stride):
            rows[count, i] = 0.0
        fill(x, n, p, rows[count], 1.0, 0.0)

    try:
        compiled(shape, False)
    except (NumbaError, UnsupportedBytecodeError):
        return None
    return shape

"""Calling a user's function for many pixels: at once where it broadcasts, one by one where it takes numbers only.

May import numpy only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["call"]


def call(function: Callable[..., Any], x: np.ndarray, *parameters: Any) -> np.ndarray:
    """``f(x, *parameters)``, parameters of shape (..., 1); one pixel, then one channel at a time where it must be.

    The last axis of `x` is that of channels; axes before it are coordinates of one channel.

    Raises
    ------
    ValueError
        If it returns anything but one value for each x; what it raises itself on plain numbers, as it is.
    """
    shape = np.broadcast_shapes(x.shape[-1:], *map(np.shape, parameters))
    try:
        at_once = np.asarray(function(x, *parameters))
        if _fits(at_once, shape) or at_once.shape == x.shape:
            return at_once
    except (TypeError, ValueError):  # a condition, max() or math.exp() of an array: numbers may do
        pass
    columns = [np.broadcast_to(p, (*shape[:-1], np.shape(p)[-1] if np.ndim(p) else 1)) for p in parameters]
    if any(column.shape[-1] != 1 for column in columns):
        return np.asarray(np.vectorize(function)(x, *parameters))
    numbers = zip(*(column.ravel().tolist() for column in columns), strict=True) if columns else [()]
    rows = [_row(function, x, given) for given in numbers]
    return np.stack(rows).reshape(*shape[:-1], x.shape[-1]) if rows else np.zeros(shape)


def _row(function: Callable[..., Any], x: np.ndarray, numbers: tuple[float, ...]) -> np.ndarray:
    """The values of one pixel."""
    try:
        values = np.asarray(function(x, *numbers))
    except (TypeError, ValueError):
        values = np.array([function(place, *numbers) for place in x.T])
    if not _fits(values, x.shape[-1:]):
        raise ValueError(
            f"a function to fit must return one value for each x: for x of shape {x.shape} and {len(numbers)} numbers "
            f"it returned shape {values.shape}"
        )
    return np.broadcast_to(values, x.shape[-1:])


def _fits(values: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether these are numbers that broadcast to `shape`."""
    try:
        return values.dtype.kind in "biufc" and np.broadcast_shapes(values.shape, shape) == shape
    except ValueError:
        return False

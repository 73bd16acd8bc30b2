"""Records measured one after the other at stated places: the grid they form, in whatever order it was scanned.

May import numpy and the raw arrays; knows no format.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from xpycro.io.rawarray import RawArray, StackedArray

__all__ = ["Raster", "gather", "raster"]

_SAME = 0.02  # an axis that moves by less than this part of the other's step stands still


@dataclass(frozen=True)
class Raster:
    """A grid of places.

    Attributes
    ----------
    y, x : ndarray
        The lines and columns, ascending, in the units given.
    place : ndarray of int, shape (ny, nx)
        Which record was taken there; -1 where none was.
    """

    y: np.ndarray
    x: np.ndarray
    place: np.ndarray


def _widest(values: np.ndarray) -> float:
    return float(np.diff(np.sort(values)).max(initial=0.0))


def _levels(values: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of an axis, and which of them each is; what differs by less than half a step is one."""
    order = np.argsort(values, kind="stable")
    rising = values[order]
    number = np.concatenate([[0], np.cumsum(np.diff(rising) > max(0.5 * _widest(values), least))])
    centres = np.bincount(number, rising) / np.bincount(number)
    which = np.empty(values.size, np.intp)
    which[order] = number
    return centres, which


def raster(y: np.ndarray, x: np.ndarray, *, partial: bool = False) -> Raster | None:
    """The grid that places form, or None where they form none.

    Lines may run to and fro (snake), columns may be the fast axis, stages may jitter by a part of a step.

    Parameters
    ----------
    y, x : ndarray, shape (n,)
        In order of acquisition.
    partial : bool, optional
        Take a grid of which more than half is there too: a scan that was stopped, or lost some records.

    Examples
    --------
    >>> snake = raster(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0]))
    >>> snake.place.tolist()
    [[0, 1], [3, 2]]
    >>> raster(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0])) is None
    True
    """
    y, x = np.asarray(y, float).ravel(), np.asarray(x, float).ravel()
    if y.size != x.size or not y.size or not (np.isfinite(y).all() and np.isfinite(x).all()):
        return None
    least = _SAME * max(_widest(y), _widest(x))
    (rows, row), (columns, column) = _levels(y, least), _levels(x, least)
    cells = rows.size * columns.size
    if cells != y.size and not (partial and y.size < cells < 2 * y.size):
        return None
    place = np.full((rows.size, columns.size), -1, np.intp)
    place[row, column] = np.arange(y.size)
    return Raster(rows, columns, place) if int((place >= 0).sum()) == y.size else None


def gather(records: RawArray, place: np.ndarray) -> RawArray | StackedArray | None:
    """Records laid out as a grid without being read; None where their order follows no line of it.

    Parameters
    ----------
    records : RawArray
        The records along its first axis.
    place : ndarray of int, shape (ny, nx)

    Returns
    -------
    RawArray, StackedArray or None
        Shape (ny, nx, ...).
    """
    steps = [np.diff(place, axis=axis) for axis in (0, 1)]
    if all(step.size == 0 or (step == step.flat[0]).all() for step in steps):
        down, along = (int(step.flat[0]) if step.size else 0 for step in steps)
        return _view(records, int(place[0, 0]), place.shape, (down, along))
    for axis in (1, 0):  # every line (or column) runs evenly, to or fro
        lines = place if axis == 1 else place.T
        step = np.diff(lines, axis=1)
        if (step == step[:, :1]).all():
            parts = tuple(
                _view(records, int(line[0]), (line.size,), (int(line[1] - line[0]) if line.size > 1 else 0,))
                for line in lines
            )
            return StackedArray(parts, 1 - axis)
    return None


def _view(records: RawArray, first: int, shape: tuple[int, ...], steps: tuple[int, ...]) -> RawArray:
    """Every so many records from one of them on."""
    stride = records.strides[0]
    return replace(
        records,
        offset=records.offset + first * stride,
        shape=(*shape, *records.shape[1:]),
        strides=(*(step * stride for step in steps), *records.strides[1:]),
    )

"""Planes larger than the screen: what is seen of them is read anew, and only its chunks.

May import numpy, xarray, the floors below and viz; HoloViews only inside functions.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.viz import planes, style
from xpycro.viz.costs import amount, touched
from xpycro.viz.linking import callback, cursors, linked
from xpycro.viz.live import attempt

__all__ = ["Pen", "Planes", "Seen", "Window", "below", "part"]

PREVIEW = 40_000  # pixels of the picture that lies below what was read of a part
_KEPT = 8  # planes whose picture is remembered

Window = tuple[float, float, float, float]  # left, right, bottom, top, in the units of the axes


@dataclass(frozen=True, eq=False)
class Seen:
    """What of a plane is drawn.

    Attributes
    ----------
    values : ndarray
        As read.
    x, y : Axis
    note : str
        What was done to it, to stand behind the title.
    problem : str
        Why it could not be read.
    """

    values: np.ndarray
    x: style.Axis
    y: style.Axis
    note: str = ""
    problem: str = ""


Pen = Callable[[Seen], Any]  # draws it


def part(
    da: xr.DataArray, at: Mapping[str, int | slice], dims: tuple[str, str], axes: Sequence[style.Axis], window: Window,
    steps: Sequence[int], size: int,
) -> Seen | str:  # fmt: skip
    """A window of a plane at the resolution of the screen, or the words for why the whole is shown.

    Parameters
    ----------
    da : DataArray
    at : mapping of str to int or slice
        Which plane of it; over a slice the mean is taken.
    dims : (str, str)
        Of the plane, (slow, fast).
    axes : (x, y)
        Of all its pixels.
    window : (left, right, bottom, top)
    steps : (int, int)
        Of how many pixels the whole shows one; no words where the window would show as few.
    size : int
        Screen pixels of the longer side.
    """
    x, y = axes
    index = {dims[0]: _within(y, *window[2:]), dims[1]: _within(x, *window[:2])}
    cut = da.isel({**at, **index})
    over = [dim for dim, chosen in at.items() if isinstance(chosen, slice)]
    most = min(4 * math.prod(style.frame(x, y, size)), planes.MAX_PIXELS)  # two to a pixel, either way
    blocks = planes.blocks(cut, dims, most)
    if all(cut.sizes[d] == da.sizes[d] or n >= whole for d, n, whole in zip(dims, blocks, steps, strict=True)):
        return ""
    cost = touched(da, {**at, **index})
    if chunked.is_lazy(da) and cost > planes.COSTLY:
        return f"this part would read {amount(cost)}: zoom in further"
    if over:
        cut = chunked.lazily(cut).mean(over, keep_attrs=True)
    small, note = planes.thin(cut, dims, most)
    values, problem = _read(small, dims)
    across, up = (
        _every(a, index[d], n, small.sizes[d]) for a, d, n in ((x, dims[1], blocks[1]), (y, dims[0], blocks[0]))
    )
    return Seen(values, across, up, note, problem)


def _read(da: xr.DataArray, dims: tuple[str, str]) -> tuple[np.ndarray, str]:
    """The values over `dims` first, turned once read: a file reads its own order best; and why there are none."""
    shape = [da.sizes[d] for d in (*dims, *(d for d in da.dims if d not in dims))]
    return attempt(lambda: da.copy(data=style.read(da)).transpose(*dims, ...).values, shape)


def _within(ax: style.Axis, low: float, high: float) -> slice:
    """The samples between two places, and one more at either end."""
    first, last = sorted((ax.nearest(low), ax.nearest(high)))
    return slice(max(first - 1, 0), last + 2)


def _every(ax: style.Axis, span: slice, n: int, count: int) -> style.Axis:
    """The axis of `count` pixels that stand for `n` samples each of a span, in the units of the whole."""
    if ax.values.size == 1:
        return ax
    step = float(ax.values[1] - ax.values[0])
    return replace(ax, values=ax.values[span][::n][:count] + (n - 1) / 2 * step, width=n * abs(step))


def below(values: np.ndarray | None, axes: Sequence[style.Axis], pen: Pen) -> Any:
    """What lies below a window until what surrounds it has been read: the whole in fewer pixels, or nothing.

    It always has the extent of the whole, by which HoloViews tells whether the axes are still right.
    """
    values = np.full((1, 1), np.nan) if values is None else values
    n = max(1, math.ceil(math.sqrt(math.prod(values.shape[:2]) / PREVIEW)))
    values = values[min(n, values.shape[0]) // 2 :: n, min(n, values.shape[1]) // 2 :: n]
    y, x = (_over(a, count) for a, count in zip(axes[::-1], values.shape[:2], strict=True))
    drawn = pen(Seen(values, x, y))
    bar: dict[str, Any] = {"colorbar": False} if type(drawn).__name__ == "Image" else {}
    return drawn.opts(backend="bokeh", tools=[], **bar)


def _over(ax: style.Axis, count: int) -> style.Axis:
    """The extent of an axis in `count` samples."""
    first, last = ax.edges[[0, -1]]
    step = (last - first) / count
    return replace(ax, values=first + (np.arange(count) + 0.5) * step, width=abs(step))


class Planes:
    """Planes of one grid, drawn whole from means of blocks, or the window that is seen; the last few are kept.

    Parameters
    ----------
    da : DataArray
    dims : (str, str)
        Of a plane, (slow, fast).
    size : int
        Screen pixels of the longer side.
    most : int
        Pixels of a whole plane.
    """

    def __init__(self, da: xr.DataArray, dims: tuple[str, str], size: int, most: int) -> None:
        self.da, self.dims, self.size, self.most = da, dims, size, most
        self.axes = style.plane_axes(da, dims[1], dims[0])
        self.steps = planes.blocks(da, dims, most)
        self._kept: OrderedDict[Hashable, tuple[Seen, dict[str, Any]]] = OrderedDict()

    def whole(self, at: Mapping[str, int]) -> Seen:
        """A plane from means of blocks; read once."""
        key = tuple(at.items())
        if key not in self._kept:
            small, note = planes.thin(self.da.isel(at), self.dims, self.most)
            values, problem = _read(small, self.dims)
            x, y = (
                _every(a, slice(None), n, small.sizes[d])
                for a, n, d in zip(self.axes, self.steps[::-1], self.dims[::-1], strict=True)
            )
            seen = Seen(values, x, y, note, problem)
            if problem:  # what failed is tried again
                return seen
            self._kept[key] = seen, {}
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return self._kept[key][0]

    def draw(self, at: Mapping[str, int], pen: Pen, title: str, window: Window | None) -> Any:
        """A plane below, and over it the window at the resolution of the screen, or the whole."""
        seen = "" if window is None else part(self.da, at, self.dims, self.axes, window, self.steps, self.size)
        words = seen if isinstance(seen, str) else ""
        if isinstance(seen, str):
            seen = self.whole(at)
        known, made = self._kept.get(tuple(at.items()), (None, {}))
        under = made.get("below") or below(None if known is None else known.values, self.axes, pen)
        over = (made.get("whole") if seen is known else None) or pen(seen)
        if known is not None:  # what is drawn once more is not sent to the page again
            made |= {"below": under} | ({"whole": over} if seen is known else {})
        text = seen.problem or title + seen.note + (f"\n{words}" if words else "")
        return style.dress(style.backend().Overlay([under, over]), title=text)

    def panel(self, draw: Callable[..., Any], kdims: Sequence[Any] = ()) -> Any:
        """The picture that `draw` makes of the sliders' values and the window, which follows the zoom."""
        state = cursors(window=None)
        drawn = linked(
            callback(draw), kdims, state, {"Range": lambda x0, x1, y0, y1: state.event(window=(x0, x1, y0, y1))}
        )
        drawn._pycro_state = state
        return drawn

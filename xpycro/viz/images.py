"""The picture of a plane: a photograph in its colours, one larger than the screen read anew where one zooms in.

May import numpy, xarray, the floors below and viz; HoloViews and Bokeh only inside functions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import xarray as xr

from xpycro.engine import chunked
from xpycro.viz import photographs, pictures, planes, static, style
from xpycro.viz.costs import amount, touched
from xpycro.viz.linking import callback, cursors, linked
from xpycro.viz.live import attempt
from xpycro.viz.packing import PAGE_PIXELS

__all__ = ["image"]

PREVIEW = 40_000  # pixels of the picture that lies below what was read of a part


def image(
    da: xr.DataArray,
    x: str | None = None,
    y: str | None = None,
    *,
    cmap: str | list[str] | None = None,
    clim: tuple[float, float] | str | None = None,
    symmetric: bool | None = None,
    log: bool = False,
    title: str | None = None,
    size: int = 300,
) -> Any:
    """A picture of a plane with units, true aspect and robust contrast.

    Parameters
    ----------
    da : DataArray
        Two-dimensional, besides dims of size one; complex data give amplitude and phase side by side. With a dim
        ``channel`` of red, green, blue, and perhaps alpha, a photograph in its colours, above a scale bar.
    x, y : str, optional
        Horizontal and vertical dim; by default x and y, else reciprocal, else observations above each other.
    cmap : str or list of str, optional
        By default by the quantity: heights, counts, signed, phase (cyclic), labels (one colour each).
    clim : (low, high), "robust" or "full", optional
        In the display units; by default 1st to 99th percentile of what is shown.
    symmetric : bool, optional
        Force or forbid a diverging map centred on zero.
    log : bool, default False
        Logarithmic colours; what is not positive has the lowest one.
    title : str, optional
        By default quantity, unit and place.
    size : int, default 300
        Screen pixels of the longer side.

    Returns
    -------
    holoviews.Image, holoviews.QuadMesh where an axis is uneven, holoviews.RGB, or holoviews.Layout of complex data
        NaN is grey. Of more than 1.5 million pixels a DynamicMap: in a notebook and on a server the part that is zoomed
        into is read anew, at the resolution of the screen; a saved page keeps means of blocks. The title says which.

    Raises
    ------
    DimensionError
        If there are not two dims to draw over, or nothing in them.

    Notes
    -----
    *Laziness*: reads the plane, and says so where that is more than 256 MB; above 1.5 million pixels means of blocks
    are drawn. A zoom reads the chunks of what is seen, nothing where those hold more than 256 MB.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> image(xr.DataArray(np.eye(3), dims=("y", "x"), name="current", attrs={"units": "A"}))
    :Image   [x,y]   (Current)
    """
    planes.not_empty(da)
    if x is None and y is None and photographs.is_photograph(da):
        return photographs.photograph(da, title=title, size=size)
    if da.dtype.kind == "c":
        return pictures.gather([image(part, x, y, size=size) for part in planes.amplitude_phase(da)], cols=2)
    look: dict[str, Any] = {
        "cmap": cmap,
        "clim": clim,
        "symmetric": symmetric,
        "log": log,
        "title": title,
        "size": size,
    }
    dims = planes.plane_of(da, x, y)
    pixels, even = math.prod(da.sizes[d] for d in dims), all(style.axis(da, d).even for d in dims)
    if pixels > planes.MAX_PIXELS and even:
        drawn = _Zoomed.of(da.transpose(..., *dims).squeeze([d for d in da.dims if d not in dims]), look).panel()
    else:
        drawn = pictures.picture(da, x, y, **look)
    if pixels > PAGE_PIXELS and even:
        style.remember(drawn, static=functools.partial(_page, da, x, y, look))
    return drawn


def _page(da: xr.DataArray, x: str | None, y: str | None, look: dict[str, Any], *, budget: int = PAGE_PIXELS) -> Any:
    """The picture that travels: means of larger blocks."""
    return static.figure_of(pictures.picture(da, x, y, most=min(budget, PAGE_PIXELS), **look))


@dataclass(frozen=True, eq=False)
class _Zoomed:
    """A plane larger than the screen, and what of it is shown.

    Attributes
    ----------
    da : DataArray
        Over (y, x).
    axes : (x, y)
        Of all its pixels.
    look : Look
    whole, preview : holoviews.Image
        Of means of blocks, and of fewer.
    title : str
        That of the whole.
    steps : int
        Of how many pixels along an axis the whole shows one.
    """

    da: xr.DataArray
    axes: Sequence[style.Axis]
    look: pictures.Look
    whole: Any
    preview: Any
    title: str
    steps: int

    @classmethod
    def of(cls, da: xr.DataArray, options: dict[str, Any]) -> _Zoomed:
        """Read the means of blocks."""
        dims = (str(da.dims[0]), str(da.dims[1]))
        small, note = planes.thin(da, dims, planes.MAX_PIXELS)
        values = style.read(small)
        look = pictures.Look.of(small, values, **options)
        small = small.copy(data=values)
        smaller, _ = planes.thin(small, dims, PREVIEW)
        whole, preview = (
            look.draw(part.values, *style.plane_axes(part, dims[1], dims[0]), note) for part in (small, smaller)
        )
        bare: dict[str, Any] = {"colorbar": False, "tools": []}
        return cls(
            da, style.plane_axes(da, dims[1], dims[0]), look, whole, preview.opts(backend="bokeh", **bare),
            look.title + note, -(-da.sizes[dims[0]] // small.sizes[dims[0]]),
        )  # fmt: skip

    def panel(self) -> Any:
        """The picture that follows the zoom."""
        state = cursors(window=None)
        drawn = linked(
            callback(self.draw), [], state, {"Range": lambda x0, x1, y0, y1: state.event(window=(x0, x1, y0, y1))}
        )
        drawn._pycro_state = state
        return drawn

    def draw(self, _: Any, *, window: tuple[float, float, float, float] | None) -> Any:
        """The preview, and over it the window at the resolution of the screen, or the whole."""
        detail, title = (self.whole, self.title) if window is None else self.part(window)
        return style.dress(style.backend().Overlay([self.preview, detail]), title=title)

    def part(self, window: tuple[float, float, float, float]) -> tuple[Any, str]:
        """A window of the plane and the words for it; the whole where that shows as much, or reading is dear."""
        x, y = self.axes
        index = {str(self.da.dims[0]): _within(y, *window[2:]), str(self.da.dims[1]): _within(x, *window[:2])}
        cut = self.da.isel(index)
        most = min(4 * math.prod(style.frame(x, y, self.look.size)), planes.MAX_PIXELS)  # two to a pixel, either way
        if math.ceil(math.sqrt(cut.size / most)) >= self.steps:
            return self.whole, self.title
        cost = touched(self.da, index)
        if chunked.is_lazy(self.da) and cost > planes.COSTLY:
            return self.whole, f"{self.title}\nthis part would read {amount(cost)}: zoom in further"
        dims = (str(cut.dims[0]), str(cut.dims[1]))
        small, note = planes.thin(cut, dims, most)
        values, problem = attempt(lambda: style.read(small), small.shape)
        across, up = (
            _cut(a, index[d], small.sizes[d]) for a, d in ((x, dims[1]), (y, dims[0]))
        )  # in the units of the whole
        return self.look.draw(values, across, up), problem or self.look.title + note


def _within(ax: style.Axis, low: float, high: float) -> slice:
    """The samples between two places, and one more at either end."""
    first, last = sorted((ax.nearest(low), ax.nearest(high)))
    return slice(max(first - 1, 0), last + 2)


def _cut(ax: style.Axis, part: slice, count: int) -> style.Axis:
    """The axis of `count` blocks of samples of a part."""
    values = ax.values[part]
    every = values.size // count
    middles = values[: every * count].reshape(count, every).mean(axis=1)
    return replace(ax, values=middles, width=every * abs(float(ax.values[1] - ax.values[0])))

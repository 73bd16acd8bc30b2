"""The picture of a plane, be it larger than the screen, complex, or a photograph.

May import numpy, xarray, the floors below and viz; HoloViews and Bokeh only inside functions.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import xarray as xr

from xpycro.viz import photographs, pictures, planes, static, style, zooming
from xpycro.viz.packing import PAGE_PIXELS

__all__ = ["image"]


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
        drawn = _zoomed(da.transpose(..., *dims).squeeze([d for d in da.dims if d not in dims]), dims, look)
    else:
        drawn = pictures.picture(da, x, y, **look)
    if pixels > PAGE_PIXELS and even:
        style.remember(drawn, static=functools.partial(_page, da, x, y, look))
    return drawn


def _page(da: xr.DataArray, x: str | None, y: str | None, look: dict[str, Any], *, budget: int = PAGE_PIXELS) -> Any:
    """The picture that travels: means of larger blocks."""
    return static.figure_of(pictures.picture(da, x, y, most=min(budget, PAGE_PIXELS), **look))


def _zoomed(da: xr.DataArray, dims: tuple[str, str], options: dict[str, Any]) -> Any:
    """The picture of a plane larger than the screen, which follows the zoom."""
    plane = zooming.Planes(da, dims, options["size"], planes.MAX_PIXELS)
    look = pictures.Look.of(da, plane.whole({}).values, **options)

    def pen(seen: zooming.Seen) -> Any:
        return look.draw(seen.values, seen.x, seen.y, seen.note)

    return plane.panel(lambda _, window: plane.draw({}, pen, look.title, window))

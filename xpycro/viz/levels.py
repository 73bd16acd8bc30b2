"""The histogram, and a picture whose contrast is drawn on it.

May import numpy, xarray, the floors below and viz; HoloViews and Bokeh only inside functions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.viz import pictures, planes, scripts, static, style
from xpycro.viz.linking import callback, cursors, linked
from xpycro.viz.packing import PAGE_PIXELS

__all__ = ["hist", "histogram", "levels_explorer"]


def hist(
    da: xr.DataArray,
    *,
    levels: bool = False,
    bins: int = 128,
    title: str | None = None,
    width: int = 380,
    height: int = 240,
) -> Any:
    """How often each value occurs; dashed lines mark the 1st and 99th percentile, which pictures are drawn between.

    Parameters
    ----------
    da : DataArray
        Of any dims; complex data by amplitude.
    levels : bool, default False
        Beside the picture of a plane, whose contrast follows the range that the box tool drags on the histogram.
    bins : int, default 128
    title : str, optional
    width, height : int
        Screen pixels of the frame.

    Returns
    -------
    holoviews.Overlay, or holoviews.Layout of DynamicMap with `levels`
        The latter, saved with `save`, becomes a twin whose levels are dragged without a server.

    Raises
    ------
    DimensionError
        With `levels`, if the array is not a plane.

    Notes
    -----
    *Laziness*: reads at most 256 MB, a contiguous piece of what is larger; with `levels` the plane.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> len(hist(xr.DataArray(np.arange(100.0), dims="x"), bins=10))
    3
    """
    if not levels:
        return histogram(da, bins=bins, title=title, width=width, height=height)
    planes.not_empty(da)
    dims = planes.plane_of(da)
    plane = planes.amplitude_phase(da)[0] if da.dtype.kind == "c" else da
    plane = plane.transpose(..., *dims).squeeze([d for d in da.dims if d not in dims])
    plane = plane.copy(data=style.read(plane))
    shown = style.quantity(plane, plane.values)
    limits = style.limits(plane.values * shown.factor)
    state = cursors(low=limits[0], high=limits[1])

    def to_levels(bounds: Sequence[float]) -> None:
        state.event(low=float(min(bounds)), high=float(max(bounds)))

    picture = linked(callback(_leveled, plane), [], state, {})
    counts = linked(callback(_marked, plane, bins, width, height), [], state, {"BoundsX": to_levels})
    layout = pictures.gather([picture, counts], cols=2)
    layout._pycro_state = state
    return style.remember(
        layout,
        choice="hist: a picture and its histogram, whose range is its contrast",
        static=functools.partial(levels_explorer, plane, bins=bins),
    )


def _leveled(plane: xr.DataArray, _: Any, *, low: float, high: float) -> Any:
    return pictures.picture(plane, clim=(low, high))


def _marked(plane: xr.DataArray, bins: int, width: int, height: int, _: Any, *, low: float, high: float) -> Any:
    hv = style.backend()
    drawn = histogram(plane, bins=bins, width=width, height=height)
    bars = drawn.Histogram.I.opts(backend="bokeh", tools=["hover", "xbox_select"])
    marks = [hv.VLine(v).opts(backend="bokeh", color=style.CURSOR, line_width=2) for v in (low, high)]
    title = f"{style.quantity(plane).label}: histogram\ndrag a range with the box tool"
    return style.dress(hv.Overlay([bars, *marks]), title=title)


def levels_explorer(da: xr.DataArray, *, bins: int = 128, budget: int = PAGE_PIXELS, size: int = 330) -> Any:
    """A picture and its histogram in a file: drag a level on the histogram and the contrast follows.

    Parameters
    ----------
    da : DataArray
        A plane.
    bins : int, default 128
    budget : int
        How many pixels travel in the page; beyond it every n-th.
    size : int
        Screen pixels of the picture's longer side.

    Returns
    -------
    bokeh.models.Column

    Notes
    -----
    *Laziness*: reads the plane.
    """
    from bokeh.layouts import column, row
    from bokeh.models import CustomJS
    from bokeh.models.annotations import Span

    dims = planes.plane_of(da)
    da, note = planes.thin(da.transpose(..., *dims).squeeze([d for d in da.dims if d not in dims]), dims, budget)
    values = style.read(da)
    shown = style.quantity(da, values)
    axes = list(style.plane_axes(da, dims[1], dims[0]))
    chart = static.draw_map(values * shown.factor, da, axes, np.zeros((2, 0)), shown.title + note, size, shown)
    counts = static.figure_of(histogram(da, bins=bins))
    for mark in counts.select({"type": Span}):
        counts.center = [c for c in counts.center if c is not mark]
    counts.renderers = [r for r in counts.renderers if not isinstance(r, Span)]
    ends = [float(v) for v in (chart.mapper.low, chart.mapper.high)]
    low, high = (Span(dimension="height", location=v, line_color=style.CURSOR, line_width=2) for v in ends)
    for mark in (low, high):
        counts.add_layout(mark)
    counts.toolbar.active_drag = None
    counts.title.text = "Tap or drag to move a level"
    chart.figure.name, counts.name = "map 0", "histogram"
    action = CustomJS(args={"low": low, "high": high, "mapper": chart.mapper}, code=scripts.LEVELS)
    for event in ("tap", "pan"):
        counts.js_on_event(event, action)
    return column(row(chart.figure, counts))


def histogram(
    da: xr.DataArray, *, bins: int = 128, title: str | None = None, width: int = 380, height: int = 240
) -> Any:
    """How often each value occurs; dashed lines mark the 1st and 99th percentile, which pictures are drawn between.

    Parameters
    ----------
    da : DataArray
        Of any dims; complex data by amplitude.
    bins : int, default 128
    title : str, optional
    width, height : int
        Screen pixels of the frame.

    Returns
    -------
    holoviews.Overlay

    Notes
    -----
    *Laziness*: reads at most 256 MB, a contiguous piece of what is larger.
    """
    planes.not_empty(da)
    hv = style.backend()
    part = ""
    if da.nbytes > planes.COSTLY:
        every = math.ceil((da.nbytes / planes.COSTLY) ** (1 / da.ndim))
        whole, da = da.size, da.isel({d: slice(0, math.ceil(n / every)) for d, n in da.sizes.items()})
        part = f" of {da.size / whole:.1%} of the values"
    values = style.read(da)
    values = np.abs(values) if np.iscomplexobj(values) else values
    shown = style.quantity(da, values)
    flat = values[np.isfinite(values)] * shown.factor
    if flat.size == 0:
        raise ValueError(f"nothing to count: every value of {da.name or 'this array'} is NaN or infinite")
    low, high = style.limits(flat)
    number, edges = np.histogram(flat, bins=bins)
    bars = hv.Histogram(
        (edges, number), kdims=hv.Dimension((str(da.name or "value"), shown.label), unit=shown.unit), vdims="Samples"
    )
    bars = style.dress(
        bars, color="#9bb8d3", line_color=None, frame_width=width, frame_height=height, tools=["hover"], padding=0.02
    )
    marks = [
        hv.VLine(v).opts(backend="bokeh", color=style.CURSOR, line_dash="dashed", line_width=1) for v in (low, high)
    ]
    return style.dress(hv.Overlay([bars, *marks]), title=title or f"{shown.label}: histogram{part}")

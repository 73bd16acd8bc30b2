"""Photographs: planes of red, green and blue, as an optical microscope beside a Raman spectrometer takes them.

May import numpy, xarray, the floors below, viz.style, viz.pictures and viz.planes; HoloViews only inside functions.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.viz import pictures, planes, static, style, zooming
from xpycro.viz.packing import PAGE_PIXELS

__all__ = ["is_photograph", "photograph"]

_COLOURS = ("red", "green", "blue", "alpha")


def is_photograph(da: xr.DataArray) -> bool:
    """Whether an array is one photograph: a plane of 8 or 16 bits and a ``channel`` that names its colours."""
    plane = schema.plane_dims(da)
    if plane is None or "channel" not in da.dims or "channel" not in da.coords or da.dtype.str[1:] not in ("u1", "u2"):
        return False
    names = tuple(str(name).lower() for name in da["channel"].values)
    alone = all(n == 1 for d, n in da.sizes.items() if d not in (*plane, "channel"))
    return alone and names in (_COLOURS[:3], _COLOURS) and all(style.axis(da, d).even for d in plane)


def photograph(da: xr.DataArray, *, title: str | None = None, size: int = 300) -> Any:
    """A photograph in its colours: above a scale bar where its axes are lengths, else with axes.

    Parameters
    ----------
    da : DataArray
        See `is_photograph`.
    title : str, optional
    size : int
        Screen pixels of the longer side.

    Returns
    -------
    holoviews.RGB
        Of more than 1.5 million pixels a DynamicMap with axes, as `xpycro.viz.images.image` makes it.

    Notes
    -----
    *Laziness*: reads it; above 1.5 million pixels means of blocks are drawn, and the title says so.
    """
    plane = schema.plane_dims(da)
    assert plane is not None
    da = da.transpose(*plane, "channel", ...).squeeze([d for d in da.dims if d not in (*plane, "channel")])
    text = title if title is not None else planes.titled(style.quantity(da).label, planes.where(da))
    draw = functools.partial(_drawn, da, plane, text, size)
    drawn = draw(planes.MAX_PIXELS)
    if da.sizes[plane[0]] * da.sizes[plane[1]] > PAGE_PIXELS:

        def page(*, budget: int = PAGE_PIXELS) -> Any:
            return static.figure_of(draw(min(budget, PAGE_PIXELS), live=False))

        style.remember(drawn, static=page)
    return drawn


def _drawn(da: xr.DataArray, plane: tuple[str, str], title: str, size: int, most: int, *, live: bool = True) -> Any:
    """A photograph of at most so many pixels; one of more follows the zoom where it is `live`."""
    pen = functools.partial(_draw, np.iinfo(da.dtype).max, size)
    whole = zooming.Planes(da, plane, size, most)
    if live and max(whole.steps) > 1:
        return whole.panel(lambda _, window: whole.draw({}, pen, title, window))
    seen = whole.whole({})
    bar = pictures.bare_hooks(seen.x, seen.y)
    bare: dict[str, Any] = {"xaxis": None, "yaxis": None, "hooks": [style.square, *bar]} if bar else {}
    return style.dress(pen(seen), title=seen.problem or title + seen.note, **bare)


def _draw(largest: int, size: int, seen: zooming.Seen) -> Any:
    """The element of a photograph, whose lightest colour is `largest`."""
    hv = style.backend()
    values = seen.values / largest
    if values.ndim == 2:  # nothing has been read yet
        values = np.full((1, 1, 3), 0.8)
    for number, ax in enumerate((seen.y, seen.x)):
        values = np.flip(values, number) if ax.values[0] > ax.values[-1] else values
    x0, x1, y0, y1 = (float(edge(a.edges)) for a in (seen.x, seen.y) for edge in (np.min, np.max))
    kdims = [hv.Dimension((a.dim, a.label), unit=a.unit) for a in (seen.x, seen.y)]
    channels = [hv.Dimension(name, range=(0, 1)) for name in _COLOURS[: values.shape[2]]]
    element = hv.RGB(np.ascontiguousarray(values[::-1]), bounds=(x0, y0, x1, y1), kdims=kdims, vdims=channels)
    width, height = style.frame(seen.x, seen.y, size)
    return style.dress(element, frame_width=width, frame_height=height, active_tools=[], hooks=[style.square])

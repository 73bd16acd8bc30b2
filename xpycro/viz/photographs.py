"""Photographs: planes of red, green and blue, as an optical microscope beside a Raman spectrometer takes them.

May import numpy, xarray, the floors below, viz.style, viz.pictures and viz.planes; HoloViews only inside functions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.viz import pictures, planes, style

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

    Notes
    -----
    *Laziness*: reads it; of more than 1.5 million pixels means of blocks are drawn, and the title says so.
    """
    hv = style.backend()
    plane = schema.plane_dims(da)
    assert plane is not None
    da = da.transpose(*plane, "channel", ...).squeeze([d for d in da.dims if d not in (*plane, "channel")])
    largest = np.iinfo(da.dtype).max
    da, note = planes.thin(da, plane)
    x, y = style.plane_axes(da, plane[1], plane[0])
    values = style.read(da) / largest
    for number, ax in enumerate((y, x)):
        values = np.flip(values, number) if ax.values[0] > ax.values[-1] else values
    x0, x1, y0, y1 = (float(edge(a.edges)) for a in (x, y) for edge in (np.min, np.max))
    kdims = [hv.Dimension((a.dim, a.label), unit=a.unit) for a in (x, y)]
    channels = [hv.Dimension(name, range=(0, 1)) for name in _COLOURS[: values.shape[2]]]
    element = hv.RGB(np.ascontiguousarray(values[::-1]), bounds=(x0, y0, x1, y1), kdims=kdims, vdims=channels)
    width, height = style.frame(x, y, size)
    bar = pictures.bare_hooks(x, y)
    text = title if title is not None else planes.titled(style.quantity(da).label, planes.where(da))
    options: dict[str, Any] = {"frame_width": width, "frame_height": height, "active_tools": [], "title": text + note}
    if bar and math.isfinite(x1 - x0):
        options |= {"xaxis": None, "yaxis": None, "hooks": bar}
    return style.dress(element, **options)

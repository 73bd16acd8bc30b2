"""Where the pixels of a map lie: on a plane, on a line, or scattered, over a picture of the same place.

May import numpy, xarray, the floors below and viz.style, viz.pictures; HoloViews only inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro import units
from xpycro.viz import pictures, planes, style

__all__ = ["frame", "ground", "navigator", "points", "within"]


def navigator(da: xr.DataArray, nav: Sequence[str]) -> tuple[list[style.Axis], np.ndarray, list[str] | None]:
    """The two axes of a map, where each of its pixels lies (2, pixel), and names of pixels that have no plane."""
    if len(nav) == 2:
        x, y = style.plane_axes(da, nav[1], nav[0])
        grid = np.meshgrid(y.values, x.values, indexing="ij")
        return [x, y], np.stack([grid[1].reshape(-1), grid[0].reshape(-1)]), None
    (dim,) = nav
    number = style.axis(da, dim)
    if all(c in da.coords and da.coords[c].dims == (dim,) for c in ("x", "y")):
        coords = {c: (c, da.coords[c].values, da.coords[c].attrs) for c in ("x", "y")}
        plane = xr.Dataset(coords=coords)
        x, y = style.plane_axes(plane, "x", "y")
        return [x, y], np.stack([x.values, y.values]), None
    row = style.Axis("row", "Row", None, np.zeros(1))
    names = [number.text(i) for i in range(number.values.size)]
    return [number, row], np.stack([number.values, np.zeros(number.values.size)]), names


def within(da: xr.DataArray, background: xr.DataArray) -> xr.DataArray:
    """Positions that are drawn in the units of a picture, which is larger than what they span."""
    dims = planes.plane_of(background)
    axes = dict(zip(("x", "y"), style.plane_axes(background, dims[1], dims[0]), strict=True))
    named = {c: a.unit for c, a in axes.items() if c in da.coords and a.unit not in (None, "pixel")}
    return da.assign_coords({c: da[c].assign_attrs(display_units=unit) for c, unit in named.items()})


def ground(background: xr.DataArray, axes: Sequence[style.Axis], size: int, *, colorbar: bool = False) -> Any:
    """A picture in the units of `axes`, in greys, to lay coloured positions over."""
    dims = planes.plane_of(background)
    da, _ = planes.thin(background.transpose(..., *dims).squeeze([d for d in background.dims if d not in dims]), dims)
    values = style.read(da)
    shown = style.quantity(da, values)
    own = style.plane_axes(da, dims[1], dims[0])
    scaled = [
        replace(a, unit=like.unit, values=a.values * units.conversion(a.unit, like.unit or "1"))
        if a.unit != like.unit
        else a
        for a, like in zip(own, axes, strict=True)
    ]
    colour = style.Colours("ground", style.palette("gray"), style.limits(values * shown.factor))
    x, y = scaled
    drawn = pictures.mesh(values * shown.factor, x, y, colour, shown, name="ground", size=size, colorbar=colorbar)
    return drawn.opts(backend="bokeh", tools=[])


def points(
    values: np.ndarray, axes: Sequence[style.Axis], places: np.ndarray, colour: style.Colours, shown: style.Quantity,
    *, size: int, title: str,
) -> Any:  # fmt: skip
    """Scattered positions coloured by a value."""
    hv = style.backend()
    x, y = axes
    width, height = frame(x, y, places, size)
    kdims = [hv.Dimension((a.dim, a.label), unit=a.unit) for a in (x, y)]
    drawn = hv.Points(
        (places[0], places[1], values), kdims=kdims, vdims=[hv.Dimension(("value", shown.label), unit=shown.unit)]
    )
    return style.dress(
        drawn, color="value", cmap=colour.cmap, clim=colour.clim, colorbar=True, frame_width=width, frame_height=height,
        size=9, line_color="#666666", line_width=0.5, tools=["hover"], padding=0.08,
        clipping_colors={"NaN": style.NO_DATA}, title=title, **pictures.named_bar(colour),
    )  # fmt: skip


def frame(x: style.Axis, y: style.Axis, places: np.ndarray, size: int) -> tuple[int, int]:
    """A frame of true aspect for scattered positions, not narrower than a third of its length."""
    spans = [float(np.ptp(p)) if p.size else 0.0 for p in places]
    longest = max(spans)
    if x.unit != y.unit or x.unit is None or not longest > 0:
        return size, size
    width, height = (max(size // 3, round(size * span / longest)) for span in spans)
    return width, height

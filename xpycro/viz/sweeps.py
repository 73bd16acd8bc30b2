"""Curves of what went there and back: hysteresis loops and force curves, their samples in the order taken.

May import numpy, xarray, the floors below and viz; HoloViews only inside functions.
"""

from __future__ import annotations

from typing import Any

import xarray as xr

from xpycro.errors import DimensionError
from xpycro.viz import style
from xpycro.viz.curves import curve, line_dim
from xpycro.viz.planes import not_complex, not_empty, sizes, titled, where

__all__ = ["force", "loops"]


def loops(
    da: xr.DataArray,
    along: str | None = None,
    *,
    by: str | None = None,
    title: str | None = None,
    width: int = 380,
    height: int = 300,
) -> Any:
    """Hysteresis loops: the samples in the order they were taken, one curve a cycle, coloured from first to last.

    Parameters
    ----------
    da : DataArray
        One- or two-dimensional; a loop's dim has the swept quantity as a coordinate (``bias(step)``).
    along : str, optional
        The coordinate on the horizontal axis; by default what was swept along the signal dim.
    by : str, optional
        The dim of the cycles; by default the other one.
    title : str, optional
    width, height : int
        Screen pixels of the frame.

    Returns
    -------
    holoviews.Overlay

    Notes
    -----
    *Laziness*: reads what it draws.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> bias = xr.DataArray([0.0, 1.0, 0.0, -1.0], dims="step", attrs={"units": "V", "dimension_type": "spectral"})
    >>> da = xr.DataArray(np.ones((2, 4)), dims=("cycle", "step"), coords={"bias": bias})
    >>> len(loops(da))
    2
    """
    not_empty(da)
    not_complex(da)
    hv = style.backend()
    dim = line_dim(da, along)
    rest = [str(d) for d in da.dims if d != dim]
    if by is not None and by not in rest:
        raise DimensionError(f"by={by!r}: no such dimension beside {dim!r}; this array has {sizes(da)}")
    wide = [d for d in rest if da.sizes[d] > 1 and d != by]
    if by is None and len(wide) == 1:
        by = wide.pop()
    if wide:
        raise DimensionError(f"loops are drawn for one place; this array also has {wide}: choose with isel")
    da = da.squeeze([d for d in rest if d != by])
    ax = style.axis(da, dim, along=along if along not in (None, dim) else None)
    values = style.read(da.transpose(*([by] if by else []), dim)).reshape(-1, da.sizes[dim])
    shown = style.quantity(da, values)
    colours = style.palette("viridis")
    count = values.shape[0]
    names = style.axis(da, by) if by else None
    curves = [
        curve(
            ax, row * shown.factor, shown, label=names.text(i) if names else "", name=str(da.name or "value"),
            color=colours[int(i / max(count - 1, 1) * 215)], frame_width=width, frame_height=height, tools=["hover"],
        )
        for i, row in enumerate(values)
    ]  # fmt: skip
    return style.dress(
        hv.Overlay(curves),
        title=title or titled(shown.label, where(da)),
        legend_position="right",
        show_legend=count < 9,
    )


def force(
    da: xr.DataArray, along: str | None = None, *, title: str | None = None, width: int = 420, height: int = 280
) -> Any:
    """Force curves: approach and retract in their own colours, against height or separation.

    Parameters
    ----------
    da : DataArray
        The signal dim, and ``segment`` or ``direction`` where both ways were recorded.
    along : str, optional
        The coordinate on the horizontal axis, such as ``z`` or ``separation``; by default the first of those that lies
        along the signal dim.
    title : str, optional
    width, height : int
        Screen pixels of the frame.

    Returns
    -------
    holoviews.Overlay

    Raises
    ------
    DimensionError
        If there are further dims.

    Notes
    -----
    *Laziness*: reads the curves drawn.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> da = xr.DataArray(np.ones((2, 9)), dims=("direction", "point"), coords={"direction": ["approach", "retract"]})
    >>> [curve.label for curve in force(da)]
    ['approach', 'retract']
    """
    not_empty(da)
    not_complex(da)
    hv = style.backend()
    by = next((d for d in ("segment", "direction") if d in da.dims), None)
    others = [str(d) for d in da.dims if d != by]
    wide = [d for d in others if da.sizes[d] > 1] or others[-1:]
    if len(wide) != 1:
        raise DimensionError(f"force() draws one place; besides {by!r} this array has {wide}: choose with isel or sel")
    da = da.squeeze([d for d in da.dims if d not in (by, wide[0])])
    if along is None:
        along = next(
            (c for c in ("separation", "z", "height") if c in da.coords and wide[0] in da.coords[c].dims), None
        )
    elif along not in da.coords:
        raise DimensionError(f"along={along!r}: no such coordinate; this array has {list(da.coords)}")
    pieces = [da.isel({by: i}) for i in range(da.sizes[by])] if by else [da]
    # an instrument calls it by the channel that it was computed from
    shown = style.quantity(da, style.read(da), label="Force" if da.name == "force" else None)
    pieces = [_in_one_unit(piece, da[along]) for piece in pieces] if along is not None else pieces
    drawn = []
    for piece, colour in zip(pieces, (style.CATEGORIES[0], style.CATEGORIES[3], *style.CATEGORIES[1:]), strict=False):
        ax = style.axis(piece, wide[0], along=along)
        label = str(piece[by].values) if by and by in piece.coords else ""
        drawn.append(
            curve(ax, style.read(piece) * shown.factor, shown, label=label, name=str(da.name or "value"), color=colour,
                  frame_width=width, frame_height=height, tools=["hover"])
        )  # fmt: skip
    return style.dress(hv.Overlay(drawn), title=title or shown.label, legend_position="right")


def _in_one_unit(piece: xr.DataArray, along: xr.DataArray) -> xr.DataArray:
    """A part of a curve, to be drawn against `along` in the unit that suits the whole of that."""
    whole = xr.DataArray(along.values.reshape(-1), dims="point", attrs=along.attrs)
    unit = style.axis(whole.to_dataset(name="whole").set_coords("whole"), "point", along="whole").unit
    return (
        piece if unit is None else piece.assign_coords({along.name: piece[along.name].assign_attrs(display_units=unit)})
    )

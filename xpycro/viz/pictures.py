"""Pictures of planes: grids of maps, and the element they are made of.

May import numpy, xarray, the floors below, viz.style and viz.planes; HoloViews only inside functions. Explorers live
elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.errors import DimensionError
from xpycro.viz import style
from xpycro.viz.planes import MAX_PIXELS, amplitude_phase, is_plane, not_empty, plane_of, sizes, thin, titled, where

__all__ = ["Look", "bare", "columns", "gather", "maps", "mesh", "named_bar", "picture"]


@dataclass(frozen=True)
class Look:
    """How a plane is drawn, the same for each part of it.

    Attributes
    ----------
    shown : Quantity
    colour : Colours
    name, title : str
        Of the values, and of the picture.
    size : int
        Screen pixels of the longer side.
    lowest : float or None
        What logarithmic colours begin with.
    """

    shown: style.Quantity
    colour: style.Colours
    name: str
    title: str
    size: int
    lowest: float | None

    @classmethod
    def of(
        cls, da: xr.DataArray, values: np.ndarray, *, cmap: str | list[str] | None = None,
        clim: tuple[float, float] | str | None = None, symmetric: bool | None = None, log: bool = False,
        title: str | None = None, size: int = 300,
    ) -> Look:  # fmt: skip
        """What suits `values`, which are those of `da`, as read."""
        shown = style.quantity(da, values)
        positive = values[values > 0] if log else values
        if log and not np.isfinite(positive).any():
            raise ValueError(f"log=True: no value of {da.name or 'this array'} is positive")
        colour = style.colours(da, values * shown.factor, cmap=cmap, clim=clim, symmetric=False if log else symmetric)
        text = title if title is not None else titled(shown.title, where(da))
        lowest = max(colour.clim[0], np.nanmin(positive) * shown.factor) if log else None
        return cls(shown, colour, str(da.name or "value"), text, size, lowest)

    def draw(self, values: np.ndarray, x: style.Axis, y: style.Axis, note: str = "") -> Any:
        """The element of values as read; `note` stands behind the title."""
        drawn = mesh(values * self.shown.factor, x, y, self.colour, self.shown, name=self.name, size=self.size)
        log: dict[str, Any] = {} if self.lowest is None else {"logz": True, "clim": (self.lowest, self.colour.clim[1])}
        return drawn.opts(backend="bokeh", title=self.title + note, **log)


def picture(
    da: xr.DataArray, x: str | None = None, y: str | None = None, *, most: int = MAX_PIXELS, **look: Any
) -> Any:
    """The element of a plane, of at most so many pixels; arguments as for `xpycro.viz.images.image`."""
    dims = plane_of(da, x, y)
    da, note = thin(da.transpose(..., *dims).squeeze([d for d in da.dims if d not in dims]), dims, most)
    values = style.read(da)
    return Look.of(da, values, **look).draw(values, *style.plane_axes(da, dims[1], dims[0]), note)


def mesh(
    values: np.ndarray,
    x: style.Axis,
    y: style.Axis,
    colour: style.Colours,
    shown: style.Quantity,
    *,
    name: str = "value",
    size: int = 300,
    bare: bool = False,
    colorbar: bool = True,
) -> Any:
    """The element of a plane: an Image where both axes are even, else a QuadMesh; dressed, without title.

    Parameters
    ----------
    values : ndarray, shape (y, x)
        In display units.
    x, y : Axis
    colour : Colours
    shown : Quantity
    name : str
        Name of the value dimension.
    size : int
        Screen pixels of the longer side.
    bare : bool
        Without axes, for grids; a scale bar stands below where both axes are lengths.
    colorbar : bool

    Returns
    -------
    holoviews.Image or holoviews.QuadMesh
    """
    hv = style.backend()
    if colour.kind == "labels":
        values = np.where(np.asarray(values) < 0, np.nan, values)
    x, values = _along(x, values, 1)
    y, values = _along(y, values, 0)
    name = name if name not in (x.dim, y.dim) else f"{name}_value"
    kdims = [hv.Dimension((a.dim, a.label), unit=a.unit) for a in (x, y)]
    vdims = [hv.Dimension((name, shown.label), unit=shown.unit, range=colour.clim)]
    if x.even and y.even:
        left, right, bottom, top = x.edges[0], x.edges[-1], y.edges[0], y.edges[-1]
        element = hv.Image(
            np.ascontiguousarray(values[::-1]), bounds=(left, bottom, right, top), kdims=kdims, vdims=vdims
        )
    else:
        element = hv.QuadMesh((x.edges, y.edges, values), kdims=kdims, vdims=vdims)
    cells = [] if x.even and y.even else [_seamless]
    true = [style.square] if x.unit == y.unit and x.unit is not None else []
    width, height = style.frame(x, y, size)
    options: dict[str, Any] = {
        "cmap": colour.cmap,
        "clim": colour.clim,
        "clipping_colors": {"NaN": style.NO_DATA},
        "colorbar": colorbar,
        "frame_width": width,
        "frame_height": height,
        "tools": ["hover"],
        "active_tools": [],
        "hooks": cells + true,
    }
    for option, ax, room in (("xticks", x, width / 40), ("yticks", y, height / 24)):
        if ax.names is not None:
            options[option] = named_ticks(ax)
        elif room < 4:  # a strip, in which numbers would run into each other
            options[option] = max(int(room), 1)
    if colorbar:
        options |= named_bar(colour)
    if bare:
        options |= {"xaxis": None, "yaxis": None}
        options["hooks"] += bare_hooks(x, y)
    return style.dress(element, **options)


def bare_hooks(x: style.Axis, y: style.Axis) -> list[Callable[[Any, Any], None]]:
    """A scale bar in place of axes that are lengths."""
    return [scale_bar(x)] if x.unit == y.unit and x.unit is not None and x.unit.endswith("m") else []


def _along(ax: style.Axis, values: np.ndarray, number: int) -> tuple[style.Axis, np.ndarray]:
    """Axis and values in ascending order; an axis that turns back is counted instead."""
    if not ax.monotonic or not np.isfinite(ax.values).all():
        count = np.arange(ax.values.size, dtype=float)
        return style.Axis(ax.dim, f"{ax.dim.capitalize()} number", None, count, ax.names), values
    if ax.values.size > 1 and ax.values[0] > ax.values[-1]:
        return style.Axis(ax.dim, ax.label, ax.unit, ax.values[::-1], ax.names), np.flip(values, number)
    return ax, values


def _seamless(plot: Any, element: Any) -> None:
    """Cells outlined in their own colour: without it the page shines through between them."""
    glyph = plot.handles["glyph"]
    glyph.line_color, glyph.line_alpha, glyph.line_width = glyph.fill_color, 1.0, 1.0


def named_ticks(ax: style.Axis) -> list[tuple[float, str]] | None:
    """Places and words of an axis whose samples have names."""
    return None if ax.names is None else list(zip(map(float, ax.values), ax.names, strict=True))


def named_bar(colour: style.Colours) -> dict[str, Any]:
    """The option of a colour bar whose values have names: a tick for each, none between."""
    if not colour.ticks:
        return {}
    from bokeh.models.tickers import FixedTicker

    ticks = FixedTicker(ticks=list(colour.ticks))
    return {"colorbar_opts": {"ticker": ticks, "major_label_overrides": dict(colour.ticks)}}


def scale_bar(x: style.Axis) -> Callable[[Any, Any], None]:
    """A HoloViews hook that puts a scale bar below the frame, where it hides no data."""

    def hook(plot: Any, element: Any) -> None:
        from bokeh.models.axes import LinearAxis
        from bokeh.models.tickers import FixedTicker

        figure = plot.state
        if any(ax.name == "scale_bar" for ax in figure.below):
            return
        width = float(np.ptp(x.edges))
        length = round_length(width * 0.4)
        start = float(x.edges[0])
        middle = start + length / 2
        # an axis whose line is as long as the bar: it follows the frame and needs no room inside it
        figure.add_layout(
            LinearAxis(
                name="scale_bar",
                bounds=(start, start + length),
                ticker=FixedTicker(ticks=[middle]),  # type: ignore[arg-type]
                major_label_overrides={middle: f"{length:g} {x.unit}"},
                axis_line_width=3,
                axis_line_color=style.INK,
                major_tick_line_color=None,
                minor_tick_line_color=None,
                major_label_text_font_size="11px",
                major_label_standoff=2,
            ),
            "below",
        )

    return hook


def round_length(length: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not longer."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9))


def gather(drawn: Sequence[Any], cols: int, *, room: bool = False) -> Any:
    """Pictures side by side, each with axes of its own; with `room` at the left where labelled stand below bare."""
    hv = style.backend()
    layout = hv.Layout([_with_room(item) for item in drawn] if room else list(drawn)).cols(cols)
    # Layout.opts would wrap every DynamicMap in another one and put on its options anew at each update
    look = hv.Layout([hv.Empty()]).opts(  # what a title would say, the sliders do
        backend="bokeh", shared_axes=False, merge_tools=False, toolbar=None, show_title=False
    )
    layout.id = look.id
    return layout


def columns(count: int, most: int) -> int:
    """How many of `count` pictures stand side by side: at most so many, and none alone in the last row if that goes."""
    most = max(1, min(count, most))
    return next((n for n in range(most, 1, -1) if count % n != 1), most)


def _with_room(item: Any) -> Any:
    """A picture whose frame lines up with others of its column."""
    hv = style.backend()
    if not isinstance(item, hv.Element | hv.Overlay) or isinstance(item, hv.Empty):
        return item
    hooks = item.opts.get("plot", backend="bokeh").kwargs.get("hooks", [])
    return item.opts(backend="bokeh", hooks=[*hooks, style.roomy])


def maps(
    obj: xr.DataArray | xr.Dataset,
    over: str | None = None,
    *,
    variables: Sequence[str] | None = None,
    count: int | None = None,
    cols: int = 4,
    size: int = 180,
    symmetric: bool | None = None,
) -> Any:
    """A grid of pictures that fits the page: the planes of a stack, or the variables of a Dataset.

    Parameters
    ----------
    obj : DataArray or Dataset
        A DataArray of three dims (component, parameter, channel, frame and the plane), or a Dataset of planes.
    over : str, optional
        The dim to lay out; by default the one beside the plane.
    variables : sequence of str, optional
        Which of a Dataset, and in which order.
    count : int, optional
        How many; by default at most sixteen.
    cols : int, default 4
        At most so many side by side.
    size : int, default 180
        Screen pixels of a picture's longer side.
    symmetric : bool, optional
        As for `image`.

    Returns
    -------
    holoviews.Layout

    Notes
    -----
    *Laziness*: reads the planes drawn.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> len(maps(xr.DataArray(np.ones((5, 3, 4)), dims=("component", "y", "x"))))
    5
    """
    arrays = _planes(obj, over, variables, 16 if count is None else count)
    drawn = [bare(da, label, size=size, symmetric=symmetric) for da, label in arrays]
    return gather(drawn, cols=columns(len(drawn), cols))


def bare(da: xr.DataArray, label: str | None = None, *, size: int, symmetric: bool | None = None) -> Any:
    """A plane for a grid: without axes, above a scale bar; by default labelled by what it is."""
    dims = plane_of(da)
    da, note = thin(da.transpose(..., *dims).squeeze([d for d in da.dims if d not in dims]), dims)
    values = style.read(da)
    shown = style.quantity(da, values)
    colour = style.colours(da, values * shown.factor, symmetric=symmetric)
    x, y = style.plane_axes(da, dims[1], dims[0])
    drawn = mesh(values * shown.factor, x, y, colour, shown, name=str(da.name or "value"), size=size, bare=True)
    title = shown.title if label is None else f"{label} ({shown.unit})" if shown.unit else label
    return drawn.opts(backend="bokeh", title=title[:1].upper() + title[1:] + note)


def _planes(
    obj: xr.DataArray | xr.Dataset, over: str | None, variables: Sequence[str] | None, count: int
) -> list[tuple[xr.DataArray, str | None]]:
    if isinstance(obj, xr.Dataset):
        names = list(variables) if variables is not None else [str(n) for n in obj.data_vars]
        unknown = [n for n in names if n not in obj.data_vars]
        if unknown:
            raise ValueError(f"variables={unknown}: no such variables; this Dataset has {list(obj.data_vars)}")
        if variables is None:
            names = [n for n in names if is_plane(obj[n])]
        if not names:
            raise DimensionError("no variable of this Dataset is a plane: pass one DataArray, or cut with isel")
        chosen: list[tuple[xr.DataArray, str | None]] = []
        for name in names[:count]:
            not_empty(obj[name])
            parts = amplitude_phase(obj[name]) if obj[name].dtype.kind == "c" else [obj[name]]
            chosen += [(part, None) for part in parts]
        return chosen
    not_empty(obj)
    if obj.dtype.kind == "c":
        both = [_planes(part, over, None, count) for part in amplitude_phase(obj)]
        return [item for pair in zip(*both, strict=True) for item in pair]
    plane = schema.plane_dims(obj)
    others = [str(d) for d in obj.dims if d not in (plane or ())]
    rest = [d for d in others if obj.sizes[d] > 1 or d == over] or others[-1:]
    if over is None and len(rest) == 1 and plane is not None:
        over = rest[0]
    if over is None or over not in obj.dims or (plane and over in plane):
        raise DimensionError(f"over={over!r}: which dimension to lay out? this array has {sizes(obj)}")
    ax = style.axis(obj, over)
    ordinal = over == "component" and over not in obj.coords  # counted as in the scree, from 1
    return [
        (obj.isel({over: i}, drop=True), f"component {i + 1}" if ordinal else ax.text(i).replace(" = ", " "))
        for i in range(min(obj.sizes[over], count))
    ]

"""Spectra along a line, through time or a series: all of them as a picture, the tapped one as a curve.

May import numpy, xarray, the floors below and viz; HoloViews and Bokeh only inside functions.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.errors import DimensionError
from xpycro.viz import curves, pictures, planes, scripts, static, style
from xpycro.viz.linking import callback, cursors, linked
from xpycro.viz.packing import packed

__all__ = ["lines", "lines_explorer"]


def _prepared(
    da: xr.DataArray, sig: str | None, pixels: int = planes.MAX_PIXELS
) -> tuple[xr.DataArray, style.Axis, style.Axis]:
    """The array as (row, signal) in memory, both axes ascending where they have an order."""
    planes.not_empty(da)
    signal = schema.resolve_dims(da, sig, ndim=1)[0] if sig is not None else style.signal_dims(da)[-1]
    rest = [str(d) for d in da.dims if d != signal]
    wide = [d for d in rest if da.sizes[d] > 1] or rest[:1]
    if len(wide) != 1:
        raise DimensionError(f"lines() draws one dimension of spectra; besides {signal!r} this array has {wide}")
    da = da.squeeze([d for d in rest if d not in wide]).transpose(wide[0], signal)
    da = planes.amplitude_phase(da)[0] if da.dtype.kind == "c" else da
    da, _ = planes.thin(da, (wide[0], signal), pixels)
    da = da.copy(data=style.read(da))
    for dim in (wide[0], signal):
        ax = style.axis(da, dim)
        if ax.monotonic and ax.values.size > 1 and ax.values[0] > ax.values[-1]:
            da = da.isel({dim: slice(None, None, -1)})
    return da, _ordered(style.axis(da, wide[0])), _ordered(style.axis(da, signal))


def _ordered(ax: style.Axis) -> style.Axis:
    """The axis, or the count of its samples where it turns back."""
    if ax.monotonic and np.isfinite(ax.values).all():
        return ax
    count = np.arange(ax.values.size, dtype=float)
    return style.Axis(ax.dim, f"{ax.dim.capitalize()} number", None, count, ax.names)


def lines(da: xr.DataArray, sig: str | None = None, *, size: int = 320) -> Any:
    """Spectra above each other as a picture; tap one to see it as a curve.

    Parameters
    ----------
    da : DataArray
        A signal dim and one more: a line scan, a time series, scattered positions. Complex data by amplitude.
    sig : str, optional
        The dim of the spectrum.
    size : int
        Screen pixels of the picture's height.

    Returns
    -------
    holoviews.Layout of DynamicMap
        Saved with `save`, it becomes a twin that works without a server.

    Raises
    ------
    DimensionError
        If there are more dims.

    Notes
    -----
    *Laziness*: reads the array when it is built, above 1.5 million values every n-th.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> len(lines(xr.DataArray(np.ones((20, 30)), dims=("x", "energy"))))
    2
    """
    da, rows, signal = _prepared(da, sig)
    state = cursors(row=da.shape[0] // 2, sample=da.shape[1] // 2)

    def move(x: float, y: float, *_: Any) -> None:
        state.event(row=rows.nearest(y), sample=signal.nearest(x))

    picture = linked(callback(_picture, da, rows, signal, size), [], state, {"Tap": move, "Drag": move})
    curve = linked(callback(_curve, da, rows, signal), [], state, {})
    layout = pictures.gather([picture, curve], cols=2)
    layout._pycro_state = state
    return style.remember(
        layout,
        choice=f"lines: spectra along {signal.dim!r}, one a {rows.dim!r}",
        static=functools.partial(lines_explorer, da, signal.dim, size=size),
    )


def _mesh(da: xr.DataArray, rows: style.Axis, signal: style.Axis, size: int) -> tuple[Any, style.Quantity]:
    shown = style.quantity(da, da.values)
    values = da.values * shown.factor
    drawn = pictures.mesh(values, signal, rows, style.colours(da, values), shown, size=size)
    return drawn.opts(backend="bokeh", title=shown.title, frame_width=400, frame_height=size), shown


def _picture(
    da: xr.DataArray, rows: style.Axis, signal: style.Axis, size: int, _: Any, *, row: int, sample: int
) -> Any:
    hv = style.backend()
    drawn, shown = _mesh(da, rows, signal, size)
    across = hv.HLine(float(rows.values[row])).opts(backend="bokeh", color=style.CURSOR, line_width=1.5)
    up = hv.VLine(float(signal.values[sample])).opts(
        backend="bokeh", color=style.CURSOR, line_width=1, line_dash="dashed"
    )
    return style.dress(hv.Overlay([drawn, across, up]), title=shown.title)


def _curve(da: xr.DataArray, rows: style.Axis, signal: style.Axis, _: Any, *, row: int, sample: int) -> Any:
    hv = style.backend()
    shown = style.quantity(da, da.values)
    title = f"{shown.label}, {rows.text(row)}"
    line = curves.curve(
        signal, da.values[row] * shown.factor, shown, color=style.CATEGORIES[0], title=title, tools=["hover"]
    ).opts(backend="bokeh", framewise=True)
    mark = hv.VLine(float(signal.values[sample])).opts(
        backend="bokeh", color=style.CURSOR, line_width=1, line_dash="dashed"
    )
    return style.dress(hv.Overlay([line, mark]), title=title)


def lines_explorer(
    da: xr.DataArray, sig: str | None = None, *, budget: int = static.BUDGET // 2, size: int = 320
) -> Any:
    """The picture of all spectra and the curve of the tapped one, in a file, without a server.

    Parameters
    ----------
    da, sig, size
        As for `lines`.
    budget : int
        How many values travel in the page, twice: as a picture, and as curves. Beyond it every n-th.

    Returns
    -------
    bokeh.models.Column

    Notes
    -----
    *Laziness*: reads the array, above `budget` every n-th.
    """
    from bokeh.layouts import column, row
    from bokeh.models import CustomJS
    from bokeh.models.annotations import Span

    da, rows, signal = _prepared(da, sig, budget)
    start = da.shape[0] // 2
    drawn, shown = _mesh(da, rows, signal, size)
    picture = static.figure_of(drawn)
    values = (da.values * shown.factor).astype(np.float32)
    title = f"{shown.label}, {rows.text(start)}"
    line = curves.curve(
        signal, values[start].astype(float), shown, color=style.CATEGORIES[0], title=title, tools=["hover"]
    )
    spectrum = static.figure_of(line)
    at = float(signal.values[da.shape[1] // 2])
    look: dict[str, Any] = {"line_color": style.CURSOR, "line_width": 1.5}
    across = Span(dimension="width", location=float(rows.values[start]), **look)
    up, mark = (Span(dimension="height", location=at, line_dash="dashed", **look) for _ in range(2))
    for figure, marks in ((picture, (across, up)), (spectrum, (mark,))):
        figure.toolbar.active_drag = None
        for span in marks:
            figure.add_layout(span)
    picture.name, spectrum.name = "map 0", "spectrum 0"
    renderer = next(r for r in spectrum.renderers if type(r.glyph).__name__ in ("Line", "Scatter"))
    arguments = {
        "cube": packed(values), "signal": signal.values.tolist(),
        "rows": rows.values.tolist(), "names": [rows.text(i) for i in range(rows.values.size)], "label": shown.label,
        "across": across, "up": up, "mark": mark, "spectrum": spectrum, "line": renderer.data_source,
        "line_field": renderer.glyph.y,
    }  # fmt: skip
    action = CustomJS(args=arguments, code=scripts.LINES)
    for event in ("tap", "pan"):
        picture.js_on_event(event, action)
    return column(row(picture, spectrum), static.caption("Tap or drag on the picture for the spectrum there."))

"""Explorers that work in a file: Bokeh figures whose data lie in the page and whose links are client-side callbacks.

May import numpy, xarray, the floors below and viz.style, viz.pictures, viz.parts; HoloViews and Bokeh only inside
functions. Nothing here needs a server.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.viz import curves, pictures, planes, scripts, style
from xpycro.viz import parts as _parts
from xpycro.viz.packing import packed, single
from xpycro.viz.places import ground, navigator, points, within

__all__ = ["explorer", "figure_of", "slider"]


BUDGET = 1_050_000  # values that travel with an explorer, four characters of the page each


def figure_of(element: Any) -> Any:
    """The Bokeh model of a HoloViews object."""
    hv = style.backend()
    model = hv.render(element, backend="bokeh")
    toolbar = getattr(model, "toolbar", None)
    if toolbar is not None:
        toolbar.logo = None
    return single(model)


@dataclass
class Map:
    """A drawn map: its figure, the data source and column that hold its values, its colour mapper."""

    figure: Any
    source: Any
    field: str
    mapper: Any
    order: np.ndarray | None
    kind: str
    palette: list[str]


def _renderer(figure: Any, *glyphs: str) -> Any:
    return next(r for r in figure.renderers if type(r.glyph).__name__ in glyphs)


def draw_map(
    values: np.ndarray, da: xr.DataArray, axes: Sequence[style.Axis], places: np.ndarray, title: str, size: int,
    shown: style.Quantity | None = None, background: Any = None,
) -> Map:  # fmt: skip
    """A map over a plane, or over scattered places, with what a callback needs to change it.

    Parameters
    ----------
    values : ndarray, shape (y, x) or (position,)
        In display units.
    da : DataArray
        What they are.
    axes : (x, y)
    places : ndarray, shape (2, position)
        Where scattered positions lie.
    title : str
    size : int
    shown : Quantity, optional
    background : holoviews.Image, optional
        What scattered positions are laid over; see `places.ground`.
    """
    shown = shown or style.quantity(da)
    colour = style.colours(da, values)
    x, y = axes
    order = None
    if values.ndim == 2:
        drawn = pictures.mesh(values, x, y, colour, shown, size=size).opts(backend="bokeh", title=title)
        figure = figure_of(drawn)
        renderer = _renderer(figure, "Image", "Quad", "Rect")
        glyph = renderer.glyph
        field = "image" if type(glyph).__name__ == "Image" else glyph.fill_color.field
        mapper = glyph.color_mapper if field == "image" else glyph.fill_color.transform
        if field != "image":  # how the cells are ordered is asked of HoloViews, not assumed
            count = np.arange(values.size, dtype=float).reshape(values.shape)
            asked = figure_of(pictures.mesh(count, x, y, colour, shown, size=size))
            drawn_order = np.asarray(_renderer(asked, "Quad", "Rect").data_source.data[field]).astype(int)
            order = np.empty(values.size, dtype=np.int32)
            order[drawn_order] = np.arange(values.size)
    else:
        drawn = points(values, axes, places, colour, shown, size=size, title=title)
        if background is not None:
            drawn = style.dress(style.backend().Overlay([background, drawn]), title=title)
        figure = figure_of(drawn)
        renderer = _renderer(figure, "Scatter")
        field = renderer.glyph.fill_color.field
        mapper = renderer.glyph.fill_color.transform
    figure.toolbar.active_drag = None
    palette = colour.cmap if colour.kind != "signed" else style.palette("viridis")
    return Map(figure, renderer.data_source, field, mapper, order, colour.kind, palette)


def rings(figures: Sequence[Any], source: Any) -> None:
    """A ring that stands out on any colour."""
    for figure in figures:
        figure.scatter("x", "y", source=source, size=13, fill_color=None, line_color="white", line_width=4)
        figure.scatter("x", "y", source=source, size=13, fill_color=None, line_color=style.CURSOR, line_width=2)


def span(figure: Any, location: float) -> Any:
    """The cursor on an axis."""
    from bokeh.models.annotations import Span

    span = Span(dimension="height", location=location, line_color=style.CURSOR, line_width=1.5, line_dash="dashed")
    figure.add_layout(span)
    return span


def caption(text: str) -> Any:
    """A line of small print below figures; what it says is escaped."""
    from bokeh.models.widgets import Div

    look: dict[str, str | None] = {"font": f"13px {style.FONT}", "color": "#555", "margin-top": "2px"}
    return Div(text=html.escape(text), styles=look, width=1050)


def _channels(da: xr.DataArray) -> list[xr.DataArray]:
    return planes.amplitude_phase(da) if da.dtype.kind == "c" else [da]


def _start(da: xr.DataArray, axis: int, *, reduce: Any = np.nanmax) -> int:
    """Where there is most to see: the sample that varies most over the other axes."""
    values = np.abs(da.values) if da.dtype.kind == "c" else da.values
    rest = tuple(a for a in range(values.ndim) if a != axis)
    with np.errstate(all="ignore"):
        valid = np.isfinite(values)
        count = np.maximum(valid.sum(axis=rest, keepdims=True), 1)
        kept = np.where(valid, values, 0)
        mean = kept.sum(axis=rest, keepdims=True) / count
        spread = np.where(valid, (values - mean) ** 2, 0).sum(axis=rest)
    return int(np.argmax(spread))


def explorer(
    da: xr.DataArray,
    *,
    nav: Sequence[str] | None = None,
    sig: str | None = None,
    background: xr.DataArray | None = None,
    budget: int = BUDGET,
    size: int = 330,
) -> Any:
    """Map and spectrum linked both ways in a file, without a server.

    Parameters
    ----------
    da : DataArray
        With a signal dim and one or two dims for the map; complex data get amplitude and phase.
    nav, sig : optional
        Dims of the map and of the signal, where they cannot be guessed.
    background : DataArray, optional
        A picture to lay scattered positions over, such as a topography.
    budget : int
        How many values travel in the page (four characters each); more are averaged, and the caption says so.
    size : int
        Screen pixels of the map's longer side.

    Returns
    -------
    bokeh.models.Column

    Raises
    ------
    DimensionError
        If map and signal cannot be told apart.

    Notes
    -----
    *Laziness*: computes, one pass in blocks.
    """
    from bokeh.layouts import column, row
    from bokeh.models import ColumnDataSource, CustomJS

    planes.not_empty(da)
    da = da if background is None else within(da, background)
    roles = _parts.resolve(da, nav, sig)
    small = _parts.cube(da, roles, budget=budget)
    axes, places, names = navigator(small.data, roles.nav)
    signal = style.axis(small.data, roles.signal)
    flat_shape = (places.shape[1], signal.values.size)
    pixel_shape = tuple(small.data.sizes[d] for d in roles.nav) if len(roles.nav) == 2 else (flat_shape[0],)
    if names is not None:
        pixel_shape = (1, flat_shape[0])
    matrix = small.data.copy(data=small.data.values).values.reshape(flat_shape)
    k = _start(xr.DataArray(matrix), 1)
    i = int(np.argmax(np.where(np.isfinite(np.abs(matrix[:, k])), np.abs(matrix[:, k]), -1)))
    cursor = ColumnDataSource({"x": [places[0, i]], "y": [places[1, i]], "i": [i], "k": [k]})
    drawn: list[dict[str, Any]] = []
    below = None if background is None else ground(background, axes, size)
    channels = _channels(small.data)
    for part in channels:
        values = part.values.reshape(flat_shape).astype(np.float32)
        shown = style.quantity(part, values)
        values = values * np.float32(shown.factor)
        title = f"{shown.title} at {signal.text(k)}".replace("= -", "= −")
        chart = draw_map(values[:, k].astype(float).reshape(pixel_shape), part, axes, places, title, size, shown, below)
        where = f"{axes[0].text_at(places[0, i])}, {axes[1].text_at(places[1, i])}" if names is None else names[i]
        line = curves.curve(
            signal, values[i].astype(float), shown, color=style.CATEGORIES[0], title=f"{shown.label} at {where}",
            frame_width=430, frame_height=min(chart.figure.frame_height or size, 300) if len(channels) == 1 else 220,
            tools=["hover"],
        )  # fmt: skip
        spectrum = figure_of(line)
        spectrum.toolbar.active_drag = None
        glyph = _renderer(spectrum, "Line", "Scatter")
        drawn.append(
            {"map": chart, "spectrum": spectrum, "line": glyph, "values": values, "shown": shown,
             "span": span(spectrum, float(signal.values[k]))}
        )  # fmt: skip
    rings([d["map"].figure for d in drawn], cursor)
    for number, d in enumerate(drawn):  # so that a script of the page's reader finds them
        d["map"].figure.name, d["spectrum"].name = f"map {number}", f"spectrum {number}"
    arguments = {
        "cursor": cursor,
        "place": ColumnDataSource({"x": places[0], "y": places[1]}),
        "signal": signal.values.tolist(),
        "signal_label": signal.label,
        "signal_unit": signal.unit or "",
        "x_label": axes[0].label,
        "y_label": axes[1].label,
        "unit": axes[0].unit or "",
        "names": names,
        "cubes": [packed(d["values"]) for d in drawn],
        "maps": [d["map"].figure for d in drawn],
        "pictures": [d["map"].source for d in drawn],
        "map_fields": [d["map"].field for d in drawn],
        "orders": [None if d["map"].order is None else d["map"].order.tolist() for d in drawn],
        "mappers": [d["map"].mapper for d in drawn],
        "kinds": [d["map"].kind for d in drawn],
        "palettes": [d["map"].palette for d in drawn],
        "diverging": style.palette("CET_D1A"),
        "titles": [d["shown"].title for d in drawn],
        "spectra": [d["spectrum"] for d in drawn],
        "lines": [d["line"].data_source for d in drawn],
        "line_fields": [d["line"].glyph.y for d in drawn],
        "labels": [d["shown"].label for d in drawn],
        "spans": [d["span"] for d in drawn],
    }
    callback = CustomJS(args=arguments, code=scripts.EXPLORE)
    for d in drawn:
        for figure in (d["map"].figure, d["spectrum"]):
            for event in ("tap", "pan"):
                figure.js_on_event(event, callback)
    text = "Tap or drag on the map for the spectrum there, on the spectrum for the map there."
    if small.note:
        text += f" Shown: {small.note}."
    if background is not None:
        text += f" The grey picture: {style.quantity(background).label}."
    if not np.isfinite(matrix).all():
        text += " Grey: no data."
    if len(drawn) == 1:
        return column(row(drawn[0]["map"].figure, drawn[0]["spectrum"]), caption(text))
    return column(row(*[d["map"].figure for d in drawn]), row(*[d["spectrum"] for d in drawn]), caption(text))


def slider(da: xr.DataArray, over: str, *, budget: int = BUDGET, size: int = 330) -> Any:
    """A picture with a slider through the planes of a stack, in a file, without a server.

    Parameters
    ----------
    da : DataArray
        Three dims.
    over : str
        The dim of the slider.
    budget : int
        How many values travel in the page; more are averaged, and the caption says so.
    size : int
        Screen pixels of the longer side.

    Returns
    -------
    bokeh.models.Column

    Notes
    -----
    *Laziness*: computes, one pass in blocks.
    """
    from bokeh.layouts import column, row
    from bokeh.models import CustomJS
    from bokeh.models.widgets import Slider, Toggle

    over, dims = planes.stacked_over(da, over)
    small = _parts.cube(da, _parts.Parts(dims, over, ()), budget=budget)
    axes, places, _ = navigator(small.data, dims)
    ax = style.axis(small.data, over)
    values = small.data.transpose(over, *dims).values
    shown = style.quantity(small.data, values)
    values = (values * shown.factor).astype(np.float32)
    colour = style.colours(small.data, values)
    chart = draw_map(values[0].astype(float), small.data, axes, places, f"{shown.title} at {ax.text(0)}", size, shown)
    chart.mapper.update(low=colour.clim[0], high=colour.clim[1], palette=colour.cmap)
    handle = Slider(
        start=0, end=max(len(ax.values) - 1, 1), step=1, value=0, title=ax.label, width=320, show_value=False
    )
    arguments = {
        "picture": chart.source, "field": chart.field, "figure": chart.figure, "title": shown.title,
        "orders": [] if chart.order is None else chart.order.tolist(),
        "planes": packed(values.reshape(len(values), -1)),
        "names": [ax.text(i) for i in range(len(ax.values))],
    }  # fmt: skip
    chart.figure.name, handle.name = "map 0", "slider"
    handle.js_on_change("value", CustomJS(args=arguments, code=scripts.SLIDE))
    play = Toggle(label="Play", name="play", width=70, margin=(18, 5, 5, 5))
    play.js_on_change("active", CustomJS(args={"slider": handle}, code=scripts.PLAY))
    note = f"Shown: {small.note}." if small.note else ""
    return column(row(handle, play), chart.figure, *([caption(note)] if note else []))

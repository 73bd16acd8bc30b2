"""How many components: the scree, and the explorer of a decomposition's rank; live, and in a file.

May import numpy, xarray, the floors below and viz; HoloViews and Bokeh only inside functions.
"""

from __future__ import annotations

import functools
import textwrap
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.errors import DimensionError
from xpycro.processing import decompose
from xpycro.viz import curves, pictures, planes, scripts, static, style
from xpycro.viz import parts as _parts
from xpycro.viz.linking import callback, cursors, linked
from xpycro.viz.live import attempt
from xpycro.viz.navigator import Navigator
from xpycro.viz.packing import packed

__all__ = ["advised", "needs", "ranks", "ranks_explorer", "scree"]


NONE = -1  # no sample of the signal is chosen


def needs(result: xr.Dataset, kind: str) -> None:
    """Refuse what is not a result of `kind`."""
    found = schema.result_kind(result)
    if found != kind:
        what = f"a {found} result" if found else f"a {type(result).__name__} that is no result"
        raise ValueError(f"this draws a {kind} result; given was {what}")


# ---------------------------------------------------------------------------------------------------- decomposition


def advised(result: xr.Dataset) -> xr.Dataset | None:
    """The advice on a decomposition's rank, None for those that do not keep all their singular values."""
    if "singular_values" not in result or "randomized" in str(result.attrs.get("pycro_solver", "")):
        return None
    if np.count_nonzero(style.read(result["singular_values"]) > 0) < 2:
        return None
    return decompose.rank(result)


def scree(
    result: xr.Dataset, count: int = 64, *, rank: xr.Dataset | None = None, width: int = 420, height: int = 240
) -> Any:
    """How much variance each component holds, on a logarithmic axis, and how many to take.

    Parameters
    ----------
    result : Dataset
        A decomposition with ``explained_variance_ratio`` or ``singular_values``.
    count : int, default 64
        How many components at most.
    rank : Dataset, optional
        Of ``decompose.rank``: its answers are marked, those that are not believable in grey; components whose maps have
        structure are filled dots. Without it the title says how many hold 95 and 99 percent.
    width, height : int
        Screen pixels of the frame.

    Returns
    -------
    holoviews.Overlay

    Notes
    -----
    *Laziness*: computes the singular values.

    Examples
    --------
    >>> from xpycro.schema import new_result
    >>> import numpy as np, xarray as xr
    >>> result = new_result(
    ...     "decomposition",
    ...     {"components": (("component", "energy"), np.eye(2, 5)), "singular_values": ("rank", [2.0, 1.0]),
    ...      "maps": (("component", "y", "x"), np.ones((2, 3, 4)))},
    ... )
    >>> [element.__class__.__name__ for element in scree(result)]
    ['Curve', 'Scatter']
    """
    needs(result, "decomposition")
    hv = style.backend()
    if "explained_variance_ratio" in result:
        ratio = style.read(result["explained_variance_ratio"])
    elif "singular_values" in result:
        squares = style.read(result["singular_values"]) ** 2
        ratio = squares / squares.sum() if squares.sum() > 0 else squares
    else:
        raise ValueError("this decomposition keeps neither explained_variance_ratio nor singular_values")
    number = np.arange(1, ratio.size + 1)
    if rank is not None:  # all its marks are on the picture
        count = max(count, *(int(1.15 * rank[name]) for name in _MARKS))
    shown = (number <= count) & (ratio > 0)
    kdim, vdim = hv.Dimension(("rank", "Component")), hv.Dimension(("ratio", "Explained variance"), unit="%")
    points = (number[shown], ratio[shown] * 100)
    line = hv.Curve(points, kdim, vdim).opts(backend="bokeh", color="#9bb8d3", line_width=1.5)
    size = 6 if shown.sum() < 100 else 4
    dots = hv.Scatter(points, kdim, vdim).opts(
        backend="bokeh", color=style.CATEGORIES[0], size=size, tools=["hover"], logy=True
    )
    drawn = [line, dots]
    if rank is not None:
        dots.opts(backend="bokeh", fill_color="white")
        filled = np.zeros(ratio.size, bool)
        filled[: rank["structured"].size] = rank["structured"].values
        filled &= shown
        drawn.append(
            hv.Scatter((number[filled], ratio[filled] * 100), kdim, vdim).opts(
                backend="bokeh", color=style.CATEGORIES[0], size=size
            )
        )
        last = int(number[shown][-1]) if shown.any() else count
        drawn += _marks(rank, ratio, last, kdim, vdim, letters=width // 11)
    return style.dress(
        hv.Overlay(drawn), logy=bool(shown.any()), padding=0.06, frame_width=width,
        frame_height=height, title=_title(ratio, rank),
    )  # fmt: skip


_MARKS = {
    "gavish_donoho": "Gavish-Donoho",
    "marchenko_pastur": "Marchenko-Pastur",
    "parallel_analysis": "parallel",
    "map_structure": "maps",
    "elbow": "elbow",
}


def _title(ratio: np.ndarray, rank: xr.Dataset | None) -> str:
    if rank is not None:
        number = int(rank["recommended"])
        return f"Scree: take {number}" if number >= 0 else "Scree: no answer to believe"
    total = np.cumsum(ratio)
    enough = [f"{int(np.argmax(total >= level)) + 1} hold {level:.0%}" for level in (0.95, 0.99) if total[-1] >= level]
    return "Scree: " + (", ".join(enough) if enough else f"{ratio.size} components")


def _marks(rank: xr.Dataset, ratio: np.ndarray, last: int, kdim: Any, vdim: Any, letters: int) -> list[Any]:
    """A ring at each answer, and what they are in the empty corner; in grey what is not believable here."""
    hv = style.backend()
    names: dict[tuple[int, bool], list[str]] = {}
    for name, label in _MARKS.items():
        if int(rank[name]) > 0:
            names.setdefault((int(rank[name]), bool(rank[name].believable)), []).append(label)
    top, bottom = 100 * ratio[0], 100 * ratio[min(last, ratio.size) - 1]
    line = max(top / bottom, 10.0) ** 0.09 if bottom > 0 else 1.5  # a scree falls: its upper right is free
    drawn: list[Any] = []
    row = 0
    for (number, believable), labels in sorted(names.items()):
        # of a map structure with gaps the number is a count, and no place on the axis; it stands there all the same
        place = ([number], [ratio[min(number, ratio.size) - 1] * 100])
        colour = style.CURSOR if believable else "#8a8a8a"
        drawn.append(hv.Points(place, [kdim, vdim]).opts(
            backend="bokeh", marker="circle", size=11, fill_alpha=0, line_color=colour, line_width=1.5,
        ))  # fmt: skip
        for text in textwrap.wrap(f"{', '.join(labels)} {number}", letters, break_on_hyphens=False):
            drawn.append(hv.Labels(([last], [top / line**row], [text]), [kdim, vdim], "text").opts(
                backend="bokeh", text_align="right", text_baseline="middle", text_color=colour, text_font_size="8pt",
            ))  # fmt: skip
            row += 1
    return drawn


class Ranks:
    """A decomposition and its data in memory where they are small: maps, components, mean, and single spectra."""

    def __init__(self, result: xr.Dataset, data: xr.DataArray) -> None:
        parts = result["components"]
        signal = [str(d) for d in parts.dims if d != "component"]
        maps = result["maps"]
        rest = [str(d) for d in maps.dims if d != "component"]
        if len(signal) != 1 or not 1 <= len(rest) <= 2:
            raise DimensionError(
                f"the explorer of ranks needs one signal dim and a map of one or two; here {signal} and {rest}: "
                "draw it without data="
            )
        missing = [d for d in (*signal, *rest) if d not in data.dims]
        if missing:
            raise DimensionError(f"data= lacks the dims {missing}: it must be the array that was decomposed")
        self.nav = tuple(rest)
        self.data = data.transpose(..., *rest, *signal)
        self.data = self.data.squeeze([d for d in self.data.dims if d not in (*rest, *signal)])
        self.signal = style.axis(data, signal[0])
        maps = _parts.ascending(maps.transpose("component", *rest), rest)
        self.data = _parts.ascending(self.data, rest)
        self.maps = maps.copy(data=style.read(maps))
        self.components = style.read(parts.transpose("component", *signal))
        self.mean = style.read(result["mean"]) if "mean" in result else np.zeros(self.components.shape[1])
        self.over = Navigator.of(self.maps.isel(component=0), rest)
        self.axes, self.places, self.names = self.over.axes, self.over.places, self.over.names
        self.scores = self.maps.values.reshape(self.maps.shape[0], -1)
        self.map_scale = style.quantity(self.maps, self.maps.values[:1], label="Map")
        self.parts = [self.data] if self.data.dtype.kind != "c" else planes.amplitude_phase(self.data)[:1]
        self.real = np.abs if self.data.dtype.kind == "c" else np.real

    @functools.cached_property
    def scale(self) -> style.Quantity:
        """Label and unit of the data."""
        return style.quantity(self.parts[0], self.reconstruction(self.scores.shape[1] // 2, self.scores.shape[0]))

    def reconstruction(self, pixel: int, rank: int) -> np.ndarray:
        """What the first `rank` components make of a pixel."""
        return self.real(self.mean + self.scores[:rank, pixel] @ self.components[:rank])

    def slice(self, sample: int, rank: int) -> np.ndarray:
        """What the first `rank` components make of a sample of the signal, as a picture in display units."""
        values = self.real(self.mean[sample] + self.components[:rank, sample] @ self.scores[:rank]) * self.scale.factor
        values = values.reshape(self.maps.shape[1:])
        return values if len(self.nav) == 2 or self.names is None else values[None]

    def measured(self, pixel: int) -> np.ndarray:
        """The pixel's spectrum."""
        return self.real(style.read(self.data.isel(self.over.at(pixel))))

    def map(self, number: int) -> np.ndarray:
        """A component's map in display units, as a picture."""
        values = self.real(self.maps.values[number]) * self.map_scale.factor
        return values if len(self.nav) == 2 or self.names is None else values[None]


def ranks(result: xr.Dataset, data: xr.DataArray, *, size: int = 300) -> Any:
    """Tap the scree for a component and the reconstruction up to it, the map for a pixel, and the reverse.

    A tap on a component or a spectrum puts a cursor there: the map shows the reconstruction at that place of the
    signal, until the scree is tapped again.

    Parameters
    ----------
    result : Dataset
        A decomposition with one signal dim.
    data : DataArray
        What was decomposed.
    size : int
        Screen pixels of the map's longer side.

    Returns
    -------
    holoviews.Layout of DynamicMap
        Scree, map, component, and data with reconstruction (complex ones by amplitude).

    Raises
    ------
    DimensionError
        If the data are not those of the result, or the signal has two dims.

    Notes
    -----
    *Laziness*: reads maps and components when it is built, and one spectrum a tap.
    """
    needs(result, "decomposition")
    held = Ranks(result, data)
    state = cursors(number=0, pixel=held.over.middle, sample=NONE)

    def to_rank(x: float, y: float, *_: Any) -> None:
        state.event(number=int(np.clip(round(x) - 1, 0, held.scores.shape[0] - 1)), sample=NONE)

    def to_pixel(x: float, y: float, *_: Any) -> None:
        state.event(pixel=held.over.nearest(x, y))

    def to_sample(x: float, y: float, *_: Any) -> None:
        state.event(sample=held.signal.nearest(x))

    along = {"Tap": to_sample, "Drag": to_sample}
    panels = [
        linked(callback(_scree_panel, result, advised(result), size), [], state, {"Tap": to_rank, "Drag": to_rank}),
        linked(callback(_map_panel, held, size), [], state, {"Tap": to_pixel, "Drag": to_pixel}),
        linked(callback(_component_panel, held), [], state, along),
        linked(callback(_spectrum_panel, held), [], state, along),
    ]
    layout = pictures.gather(panels, cols=2)
    layout._pycro_state = state
    return style.remember(
        layout,
        choice="decomposition: scree, map, component, and the reconstruction up to it",
        static=functools.partial(ranks_explorer, result, data, size=size),
    )


def _scree_panel(
    result: xr.Dataset, rank: xr.Dataset | None, size: int, _: Any, *, number: int, pixel: int, sample: int
) -> Any:
    hv = style.backend()
    drawn = scree(result, rank=rank, width=380, height=int(size * 0.8))
    mark = hv.VLine(number + 1).opts(backend="bokeh", color=style.CURSOR, line_dash="dashed", line_width=1.5)
    title = str(hv.Store.lookup_options("bokeh", drawn, "plot").kwargs["title"])
    return style.dress(
        hv.Overlay([*drawn, mark]),
        title=title,
        hooks=[style.roomy],
        logy=True,
        padding=0.06,
        frame_width=380,
        frame_height=int(size * 0.8),
    )


def _map_panel(held: Ranks, size: int, _: Any, *, number: int, pixel: int, sample: int) -> Any:
    values, like, shown = held.map(number), held.maps.rename("score"), held.map_scale
    title = f"Map {number + 1}" + (f" ({shown.unit})" if shown.unit else "")
    if sample != NONE:
        values, like, shown = held.slice(sample, number + 1), held.parts[0], held.scale
        title = f"First {number + 1} at {held.signal.text(sample)}" + (f" ({shown.unit})" if shown.unit else "")
    drawn = held.over.draw(values, like, shown, size=size, title=title)
    return held.over.panel(drawn, pixel, title)


def _component_panel(held: Ranks, _: Any, *, number: int, pixel: int, sample: int = NONE) -> Any:
    hv = style.backend()
    drawn = curves.loading(held.signal, held.components[number], framewise=True)
    title = f"Component {number + 1}" + (": Re blue, Im orange" if len(drawn) > 1 else "")
    drawn.append(curves.cursor(held.signal, sample))
    return style.dress(hv.Overlay(drawn), title=title, hooks=[style.roomy], show_legend=False)


def _spectrum_panel(held: Ranks, _: Any, *, number: int, pixel: int, sample: int = NONE) -> Any:
    hv = style.backend()
    factor = held.scale.factor
    raw, problem = attempt(lambda: held.measured(pixel), [held.signal.values.size])
    measured = curves.curve(held.signal, raw * factor, held.scale, color="#9a9a9a", framewise=True)
    made = curves.curve(
        held.signal,
        held.reconstruction(pixel, number + 1) * factor,
        held.scale,
        color=style.CATEGORIES[3],
        framewise=True,
    )
    title = problem or f"Data (grey), first {number + 1} (orange) at {held.over.where(pixel)}"
    mark = curves.cursor(held.signal, sample)
    return style.dress(hv.Overlay([measured, made, mark]), title=title, hooks=[style.roomy], show_legend=False)


def ranks_explorer(result: xr.Dataset, data: xr.DataArray, *, budget: int = static.BUDGET, size: int = 300) -> Any:
    """The explorer of ranks in a file, without a server; complex data by amplitude.

    Parameters
    ----------
    result, data, size
        As for `ranks`.
    budget : int
        How many values of the data travel in the page; beyond it the reconstruction is shown without them.

    Returns
    -------
    bokeh.models.Column

    Notes
    -----
    *Laziness*: computes.
    """
    from bokeh.layouts import column, row
    from bokeh.models import ColumnDataSource, CustomJS
    from bokeh.models.annotations import Span

    held = Ranks(result, data)
    count, pixels = held.scores.shape
    start = pixels // 2
    steps = static.figure_of(scree(result, rank=advised(result), width=380, height=int(size * 0.8)))
    span = Span(dimension="height", location=1, line_color=style.CURSOR, line_width=1.5, line_dash="dashed")
    steps.add_layout(span)
    scores = (held.scores * held.map_scale.factor).astype(np.complex64 if np.iscomplexobj(held.scores) else np.float32)
    title = f"Map 1 ({held.map_scale.unit})" if held.map_scale.unit else "Map 1"
    chart = static.draw_map(held.map(0), held.maps.rename("score"), held.axes, held.places, title, size, held.map_scale)
    cursor = ColumnDataSource({"x": [held.places[0, start]], "y": [held.places[1, start]], "i": [start], "k": [0]})
    static.rings([chart.figure], cursor)
    loading = static.figure_of(_component_panel(held, (), number=0, pixel=start))
    spectrum = static.figure_of(_spectrum_panel(held, (), number=0, pixel=start))
    travels = pixels * held.components.shape[1] <= budget
    cube = held.real(style.read(held.data)).reshape(pixels, -1) * held.scale.factor if travels else np.zeros((0, 0))
    lines = [
        [r for r in f.renderers if type(getattr(r, "glyph", None)).__name__ == "Line"] for f in (loading, spectrum)
    ]
    ratio = held.scale.factor / held.map_scale.factor
    for figure, name in zip(
        (steps, chart.figure, loading, spectrum), ("scree", "map 0", "component", "spectrum 0"), strict=True
    ):
        figure.name = name
        figure.toolbar.active_drag = None
    arguments = {
        "scree": steps, "map": chart.figure, "spectrum": spectrum, "component": loading, "span": span, "cursor": cursor,
        "place": ColumnDataSource({"x": held.places[0], "y": held.places[1]}), "picture": chart.source,
        "field": chart.field, "orders": [] if chart.order is None else chart.order.tolist(), "mapper": chart.mapper,
        "diverging": style.palette("CET_D1A"), "sequential": style.palette("viridis"),
        "re": _column(scores.real), "im": _column(scores.imag if np.iscomplexobj(scores) else np.zeros(0)),
        "cre": _column(held.components.real),
        "cim": _column(held.components.imag if np.iscomplexobj(held.components) else np.zeros(0)),
        "mre": (np.asarray(held.mean).real * held.scale.factor).tolist(),
        "mim": (np.asarray(held.mean).imag * held.scale.factor).tolist(),
        "cube": packed(cube), "ratio": ratio, "count": count, "names": [held.over.where(i) for i in range(pixels)],
        "unit": held.map_scale.unit or "", "loadings": [r.data_source for r in lines[0]],
        "loading_fields": [r.glyph.y for r in lines[0]], "drawn": [r.data_source for r in lines[1]],
        "drawn_fields": [r.glyph.y for r in lines[1]],
    }  # fmt: skip
    action = CustomJS(args=arguments, code=scripts.RANKS)
    for figure in (steps, chart.figure):
        for event in ("tap", "pan"):
            figure.js_on_event(event, action)
    text = "Tap or drag on the scree for a component and the reconstruction up to it, on the map for a pixel."
    return column(row(steps, chart.figure), row(loading, spectrum), static.caption(text))


def _column(values: np.ndarray) -> Any:
    from bokeh.models import ColumnDataSource

    return ColumnDataSource({"values": np.ascontiguousarray(values, dtype=np.float32).reshape(-1)})

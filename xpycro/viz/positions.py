"""Point spectra over a picture of the place: all in one frame and in colours where they are few, else one a tap.

May import numpy, xarray, the floors below and viz; HoloViews and Bokeh only inside functions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import DimensionError
from xpycro.viz import curves, pictures, places, planes, scripts, static, style
from xpycro.viz import parts as _parts
from xpycro.viz.explore import explore

__all__ = ["positions"]


def positions(
    da: xr.DataArray | Sequence[xr.DataArray],
    background: xr.DataArray | None = None,
    *,
    sig: str | None = None,
    start: int = 0,
    size: int = 340,
) -> Any:
    """Point spectra over a topography: tap a position for its spectrum, compare those of several.

    Up to eight are drawn together, each in its own colour, the tapped one in front. Of more, as of complex ones, the
    map shows the value at the cursor of the spectrum, as `explore` does, and box and lasso give means to compare.

    Parameters
    ----------
    da : DataArray or sequence of DataArray
        With the dim ``position``, its coords x and y, and a signal dim. Several, of the same quantity, may have axes of
        their own.
    background : DataArray, optional
        A picture of the same place.
    sig : str, optional
        The dim of the spectrum.
    start : int, default 0
        Which of up to eight is in front at first.
    size : int
        Screen pixels of the map's longer side.

    Returns
    -------
    holoviews.Layout of DynamicMap
        Saved with `save`, it becomes a twin that works without a server.

    Raises
    ------
    DimensionError
        If there are no positions.

    Notes
    -----
    *Laziness*: up to eight spectra and the background are read when it is built; of more as of `explore`.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> places = {"x": ("position", [0.0, 1.0]), "y": ("position", [0.0, 1.0])}
    >>> len(positions(xr.DataArray(np.ones((2, 9)), dims=("position", "bias"), coords=places)))
    2
    """
    held = [da] if isinstance(da, xr.DataArray) else list(da)
    for one in held:
        planes.not_empty(one)
        if "position" not in one.dims or not {"x", "y"} <= set(one.coords):
            raise DimensionError(
                f"positions() needs the dim 'position' with coords x and y; this array has the dims {list(one.dims)} "
                f"and the coords {list(one.coords)}: use explore() for a grid"
            )
    few = sum(one.sizes["position"] for one in held) <= curves.MAX_CURVES
    plain = all(
        one.dtype.kind != "c" and sum(n > 1 for d, n in one.sizes.items() if d != "position") < 2 for one in held
    )
    if few and plain:
        return _compared(held, background, sig, start, size)
    if len(held) > 1:
        raise DimensionError(
            f"several arrays are compared where they hold at most {curves.MAX_CURVES} real spectra together; these "
            f"hold {[dict(one.sizes) for one in held]}: pass one of them"
        )
    return explore(held[0], ("position",), sig, background=background, size=size)


@dataclass(frozen=True, eq=False)
class _Points:
    """A few spectra, counted through: what they are, where they lie, how they are drawn.

    Attributes
    ----------
    shown : Quantity
    axes : (x, y)
    places : ndarray, shape (2, point)
    spectra : list of (Axis, ndarray)
        In display units.
    names : list of str
    ground : holoviews.Image or None
    label : str
        What the map shows.
    size : int
    """

    shown: style.Quantity
    axes: Sequence[style.Axis]
    places: np.ndarray
    spectra: Sequence[tuple[style.Axis, np.ndarray]]
    names: Sequence[str]
    ground: Any
    label: str
    size: int

    @classmethod
    def of(cls, held: Sequence[xr.DataArray], background: xr.DataArray | None, sig: str | None, size: int) -> _Points:
        """Read them; spectra too long for a page are means of neighbours."""
        spectra: list[tuple[style.Axis, np.ndarray]] = []
        names: list[str] = []
        for one in held:
            signal = _parts.resolve(one, ("position",), sig).signal
            flat = one.squeeze([d for d in one.dims if d not in ("position", signal)])
            small = _parts.cube(flat, _parts.Parts(("position",), signal, ())).data
            ax = style.axis(small, signal)
            label = one.coords.get("label")
            named = label is not None and label.dims == ("position",)
            for i, values in enumerate(small.values):
                spectra.append((ax, values.astype(float)))
                names.append(str(label.values[i]) if label is not None and named else f"Position {len(names) + 1}")
        where = xr.Dataset(
            {c: ("position", np.concatenate([one[c].values.astype(float) for one in held]), held[0][c].attrs)
             for c in ("x", "y")}
        ).set_coords(["x", "y"])  # fmt: skip
        framed = xr.DataArray(np.zeros(len(names)), dims="position", coords=where.coords)
        axes, at, _ = places.navigator(
            framed if background is None else places.within(framed, background), ["position"]
        )
        shown = style.quantity(held[0], np.concatenate([values for _, values in spectra]))
        spectra = [(ax, values * shown.factor) for ax, values in spectra]
        below = None if background is None else places.ground(background, axes, size, colorbar=True)
        label_of = "Positions" if background is None else style.quantity(background, style.read(background)).title
        return cls(shown, axes, at, spectra, names, below, label_of, size)

    @property
    def colours(self) -> list[str]:
        return style._categories(len(self.names))

    @functools.cached_property
    def groups(self) -> list[list[int]]:
        """Which points lie on each other, or so near that their marks do."""
        spans = [np.ptp(self.places[0]), np.ptp(self.places[1])] if self.ground is None else self.ground.range(0)
        reach = 0.025 * float(max(spans) if self.ground is None else spans[1] - spans[0])
        found: list[list[int]] = []
        for i in range(len(self.names)):
            near = [g for g in found if np.hypot(*(self.places[:, i] - self.places[:, g[0]])) <= reach]
            if near:
                near[0].append(i)
            else:
                found.append([i])
        return found

    def same(self, point: int) -> list[int]:
        """All that lie where one does."""
        return next(group for group in self.groups if point in group)

    def nearest(self, x: float, y: float, shown: int) -> int:
        """The point nearest to a place; where several lie on each other, the one after that shown."""
        distance = np.hypot(self.places[0] - x, self.places[1] - y)
        found = self.same(int(np.argmin(np.where(np.isfinite(distance), distance, np.inf))))
        return found[(found.index(shown) + 1) % len(found)] if shown in found else found[0]

    def title(self, point: int) -> str:
        """What is shown of a point, and where it lies."""
        where = ", ".join(a.text_at(p) for a, p in zip(self.axes, self.places[:, point], strict=True))
        return f"{self.shown.label}: {self.names[point]} at {where}"

    def map(self, point: int) -> Any:
        """The points over the background, numbered, the chosen one ringed."""
        hv = style.backend()
        kdims = [hv.Dimension((a.dim, a.label), unit=a.unit) for a in self.axes]
        layers, numbers = [], []
        for i, colour in enumerate(self.colours):
            x, y = (float(v) for v in self.places[:, i])
            layers.append(
                hv.Points([(x, y)], kdims).opts(
                    backend="bokeh", size=15, color=colour, fill_color=colour, line_color="white", line_width=1
                )
            )
        for group in self.groups:
            first, last = group[0], group[-1]
            counted = len(group) > 2 and last - first == len(group) - 1
            text = f"{first + 1}–{last + 1}" if counted else ",".join(str(i + 1) for i in group)
            numbers.append((*(float(v) for v in self.places[:, first]), text))
        written = hv.Labels(numbers, kdims, "number").opts(
            backend="bokeh", text_color="white", text_font_size="8pt", text_font_style="bold"
        )
        x, y = (float(v) for v in self.places[:, point])
        ring = hv.Points([(x, y)], kdims).opts(
            backend="bokeh", size=21, fill_alpha=0, line_color=style.CURSOR, line_width=2.5
        )
        drawn = hv.Overlay([*([] if self.ground is None else [self.ground]), *layers, written, ring])
        width, height = places.frame(self.axes[0], self.axes[1], self.places, self.size)
        if self.ground is not None:
            look = hv.Store.lookup_options("bokeh", self.ground, "plot").kwargs
            width, height = look["frame_width"], look["frame_height"]
        return style.dress(
            drawn, title=self.label, frame_width=width, frame_height=height, padding=0.08, active_tools=[],
            show_legend=False,
        )  # fmt: skip

    def curves(self, point: int) -> Any:
        """All spectra, the chosen one in front of the others: wider and in full colour."""
        hv = style.backend()
        lines = []
        for i, ((ax, values), colour) in enumerate(zip(self.spectra, self.colours, strict=True)):
            front = i == point
            label = f"{i + 1}: {self.names[i]}"
            lines.append(
                curves.curve(ax, values, self.shown, label=label, color=colour, alpha=1.0 if front else 0.55,
                             tools=["hover"]).opts(
                    backend="bokeh", **({"line_width": 2.4 if front else 1.2} if values.size > 1 else {}))
            )  # fmt: skip
        return style.dress(
            hv.Overlay(lines),
            title=self.title(point),
            legend_position="bottom",
            legend_cols=4,
            show_legend=True,
            active_tools=[],
        )


def _compared(
    held: Sequence[xr.DataArray], background: xr.DataArray | None, sig: str | None, start: int, size: int
) -> Any:
    hv = style.backend()
    held_points = _Points.of(held, background, sig, size)
    state = hv.streams.Stream.define("Point", point=start)()
    tap = hv.streams.Tap()

    def move(x: float | None, y: float | None) -> None:
        if x is not None and y is not None:
            state.event(point=held_points.nearest(x, y, state.point))

    chart = hv.DynamicMap(_drawing(held_points.map), streams=[state, tap])
    tap.source = chart
    tap.add_subscriber(move)
    lines = hv.DynamicMap(_drawing(held_points.curves), streams=[state])
    layout = pictures.gather([chart, lines], cols=2)
    layout._pycro_state = state
    return style.remember(
        layout,
        choice=f"positions: {len(held_points.names)} spectra to compare, a colour each",
        static=functools.partial(_page, held_points, start),
    )


def _drawing(draw: Callable[[int], Any]) -> Callable[..., Any]:
    def drawn(point: int, **_: Any) -> Any:
        return draw(point)

    return drawn


def _page(points: _Points, start: int, *, budget: int = 0) -> Any:
    """The twin that works in a file: all spectra travel as they are, they are few."""
    from bokeh.layouts import column, row
    from bokeh.models import CustomJS

    chart, lines = (static.figure_of(draw(start)) for draw in (points.map, points.curves))
    chart.toolbar.active_drag = lines.toolbar.active_drag = None
    chart.name, lines.name = "map 0", "spectrum 0"
    ring = chart.renderers[-1]
    found = [r for r in lines.renderers if type(r.glyph).__name__ in ("Line", "Scatter")]
    arguments = {
        "ring": ring.data_source, "ring_fields": [ring.glyph.x, ring.glyph.y], "x": points.places[0].tolist(),
        "y": points.places[1].tolist(), "same": [points.same(i) for i in range(len(points.names))],
        "lines": [r.glyph for r in found], "figure": lines,
        "titles": [points.title(i) for i in range(len(points.names))], "chosen": [start],
    }  # fmt: skip
    chart.js_on_event("tap", CustomJS(args=arguments, code=scripts.POSITIONS))
    return column(row(chart, lines), static.caption("Tap a position to bring its spectrum to the front."))

"""The 4D-STEM explorer: scan position to diffraction pattern, detector to virtual image; live, and in a file.

May import numpy, xarray, the floors below and viz; HoloViews and Bokeh only inside functions.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.engine import chunked
from xpycro.errors import DimensionError
from xpycro.viz import parts as _parts
from xpycro.viz import pictures, planes, scripts, static, style
from xpycro.viz.costs import amount, touched
from xpycro.viz.linking import Later, callback, cursors, linked
from xpycro.viz.live import attempt
from xpycro.viz.navigator import Navigator
from xpycro.viz.packing import packed
from xpycro.viz.planes import COSTLY

__all__ = ["diffraction", "diffraction_explorer"]

SMALL = 8_000_000  # values of the cube that follows a detector while it is dragged


def _planes(da: xr.DataArray) -> tuple[tuple[str, str], tuple[str, str]]:
    """The scan's dims and the detector's, both (slow, fast)."""
    planes.not_empty(da)
    planes.not_complex(da)
    reciprocal = [str(d) for d in da.dims if schema.dimension_type(da, d) == "reciprocal"]
    others = [str(d) for d in da.dims if d not in reciprocal and da.sizes[d] > 1]
    spatial = schema.plane_dims(da.isel(dict.fromkeys(reciprocal, 0))) if len(reciprocal) == 2 else None
    if spatial is None and len(reciprocal) == 2 and len(others) == 2:
        spatial = (others[0], others[1])
    if spatial is None or len(reciprocal) != 2 or set(others) - set(spatial):
        raise DimensionError(
            "diffraction() needs two scan dims and two reciprocal dims (such as y, x, ky, kx); this array has "
            + ", ".join(f"{d}={n} ({schema.dimension_type(da, d)})" for d, n in da.sizes.items())
        )
    return spatial, (reciprocal[0], reciprocal[1])


class Scan:
    """Patterns by position and virtual images, exact or of a small cube that answers at every move of a detector."""

    def __init__(self, da: xr.DataArray) -> None:
        self.nav, self.k = _planes(da)
        da = da.transpose(..., *self.nav, *self.k)
        da = da.squeeze([d for d in da.dims if d not in (*self.nav, *self.k)])
        self.da = _parts.ascending(da, (*self.nav, *self.k))
        self.kx, self.ky = style.plane_axes(self.da, self.k[1], self.k[0])
        self.over = Navigator.of(self.da, self.nav)
        self.every = max(1, math.ceil(math.sqrt(da.nbytes / COSTLY)))
        positions = math.prod(-(-n // self.every) for n in self.over.shape)
        room = max(8, math.isqrt(SMALL // max(positions, 1)))  # detector pixels a side that the small cube holds
        self.bins = {d: -(-self.da.sizes[d] // room) for d in self.k}
        self.read = functools.lru_cache(maxsize=8)(self._read)
        self.exact = functools.lru_cache(maxsize=8)(self._exact)

    @property
    def whole(self) -> bool:
        """Whether the small cube is the scan itself."""
        return self.every == 1 and max(self.bins.values()) == 1

    def _read(self, pixel: int) -> np.ndarray:
        return style.read(self.da.isel(self.over.at(pixel)))

    def mask(self, x: float, y: float, inner: float, outer: float) -> np.ndarray:
        """Which detector pixels lie between two radii about a place, in display units."""
        return _between(self.kx.values, self.ky.values, x, y, inner, outer)

    def _window(self, mask: np.ndarray) -> dict[str, slice]:
        """The rows and columns that a detector covers."""
        found = [np.flatnonzero(mask.any(axis=1 - a)) for a in (0, 1)]
        return {
            d: slice(int(f[0]), int(f[-1]) + 1) if f.size else slice(0, 0) for d, f in zip(self.k, found, strict=True)
        }

    def cost(self, x: float, y: float, inner: float, outer: float) -> int:
        """How many bytes the exact image of a detector reads."""
        if not chunked.is_lazy(self.da):
            return 0
        return touched(self.da, self._window(self.mask(x, y, inner, outer)))

    def _exact(self, x: float, y: float, inner: float, outer: float) -> np.ndarray:
        mask = self.mask(x, y, inner, outer)
        window = self._window(mask)
        inside = chunked.lazily(self.da.isel(window))  # what the detector does not cover is not read
        weight = xr.DataArray(mask[tuple(window[d] for d in self.k)].astype(float), dims=self.k)
        return style.read(xr.dot(inside.astype(float), weight, dim=list(self.k)).transpose(*self.nav))

    @functools.cached_property
    def small(self) -> np.ndarray:
        """Counts of every n-th position in detector bins, read once, when a detector is first moved."""
        part = self.da.isel({d: slice(None, None, self.every) for d in self.nav})
        if max(self.bins.values()) > 1:
            part = chunked.lazily(part).coarsen(self.bins, boundary="pad").sum()  # type: ignore[attr-defined]
        return style.read(part)

    def preview(self, x: float, y: float, inner: float, outer: float) -> np.ndarray:
        """The image of a detector from the small cube."""
        kx, ky = (_binned_axis(a.values, self.bins[d]) for a, d in ((self.kx, self.k[1]), (self.ky, self.k[0])))
        mask = _between(kx, ky, x, y, inner, outer)
        return self.small[..., mask].sum(axis=-1, dtype=float)

    def centre(self) -> tuple[float, float, float]:
        """Middle of the detector and a fifth of its shorter side."""
        middle = [float(a.values.mean()) for a in (self.kx, self.ky)]
        return middle[0], middle[1], 0.2 * min(float(np.ptp(self.kx.edges)), float(np.ptp(self.ky.edges)))


def _between(kx: np.ndarray, ky: np.ndarray, x: float, y: float, inner: float, outer: float) -> np.ndarray:
    radius = np.hypot(kx[None, :] - x, ky[:, None] - y)
    return (radius >= inner) & (radius <= outer)


def _binned_axis(values: np.ndarray, size: int) -> np.ndarray:
    """The middles of bins of `size` samples, the last of which may have fewer."""
    starts = np.arange(0, values.size, size)
    return np.add.reduceat(values, starts) / np.diff(np.append(starts, values.size))


def diffraction(
    da: xr.DataArray,
    *,
    center: tuple[float, float] | None = None,
    radius: float | None = None,
    inner: float = 0.0,
    log: bool = True,
    size: int = 320,
) -> Any:
    """A 4D scan: tap or drag on the image for the pattern there; drag a detector in the pattern for its image.

    A drag that begins on the detector's ring changes its radius, any other its place. While it is dragged, the image
    follows from a small copy of the scan (every n-th position, detector pixels in bins); on release it is exact. Where
    that would read more than 256 MB, the title says how much, and a double tap in the pattern does it.

    Parameters
    ----------
    da : DataArray
        Two scan dims and two reciprocal dims.
    center : (kx, ky), optional
        Where the virtual detector begins, in the display units of the pattern's axes; by default the middle.
    radius, inner : float, optional
        Its outer and inner radius in the same units: a disk, or an annulus where `inner` is not zero.
    log : bool, default True
        Patterns in logarithmic colours.
    size : int
        Screen pixels of the longer side of a picture.

    Returns
    -------
    holoviews.Layout of DynamicMap
        Saved with `save`, it becomes a twin that works without a server and has a slider for the radii.

    Raises
    ------
    DimensionError
        If there are not two scan and two reciprocal dims.

    Notes
    -----
    *Laziness*: nothing is read when it is built. A position reads one pattern; a detector what it covers; the first
    drag at most 256 MB for the small copy.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> len(diffraction(xr.DataArray(np.ones((2, 3, 8, 8)), dims=("y", "x", "ky", "kx"))))
    2
    """
    scan = Scan(da)
    x, y, wide = scan.centre()
    x, y = center or (x, y)
    begin = {"x": float(x), "y": float(y), "inner": float(inner), "outer": float(radius or wide)}
    state = cursors(pixel=scan.over.middle, **begin, exact="")
    state.event(exact=_exactness(scan, state))
    shown = style.quantity(da)

    def to_position(px: float, py: float, *_: Any) -> None:
        state.event(pixel=scan.over.nearest(px, py))

    drag: dict[str, Any] = {}

    def to_detector(px: float, py: float, *begin: float, done: bool = True) -> None:
        if begin and drag.get("begin") != begin:
            drag.update(begin=begin, takes=_grabbed(state, *begin))
        taken = drag["takes"] if begin else "place"
        if taken == "place":
            state.update(x=float(px), y=float(py))
        else:
            least = 0.0 if taken == "outer" and state.inner == 0 else 1e-3 * wide
            state.update(**{taken: max(float(np.hypot(px - state.x, py - state.y)), least)})
        state.event(exact=_exactness(scan, state) if done else "moving")

    def dragged(px: float, py: float, x0: float, y0: float, done: bool) -> None:
        to_detector(px, py, x0, y0, done=done)

    def read() -> None:
        state.event(exact="yes")

    def to_exact(px: float, py: float) -> Later | None:
        dear = _exactness(scan, state)
        if "yes" not in (state.exact, dear):
            return Later(f"Reading {dear} …", read)
        read()
        return None

    image = linked(callback(_virtual_image, scan, shown, size), [], state, {"Tap": to_position, "Drag": to_position})
    moves: dict[str, Any] = {"Tap": to_detector, "Drag": dragged, "DoubleTap": to_exact}
    pattern = linked(callback(_pattern, scan, shown, log, size), [], state, moves)
    layout = pictures.gather([image, pattern], cols=2)
    layout._pycro_state = state
    return style.remember(
        layout,
        choice=f"diffraction: positions over {list(scan.nav)}, patterns over {list(scan.k)}",
        static=functools.partial(diffraction_explorer, da, center=center, radius=radius, inner=inner, log=log),
    )


def _exactness(scan: Scan, state: Any) -> str:
    """Whether a detector at rest gets its exact image: ``yes``, or what that would read."""
    size = scan.cost(state.x, state.y, state.inner, state.outer)
    return "yes" if size <= COSTLY else amount(size)


def _grabbed(state: Any, x: float, y: float) -> str:
    """What a drag that begins at a place takes hold of: a ring of the detector, or the detector."""
    distance = float(np.hypot(x - state.x, y - state.y))
    for ring_ in ("outer", "inner"):
        radius = getattr(state, ring_)
        if radius > 0 and abs(distance - radius) <= 0.15 * state.outer:
            return ring_
    return "place"


def _virtual_image(
    scan: Scan, shown: style.Quantity, size: int, _: Any, *, pixel: int, x: float, y: float, inner: float,
    outer: float, exact: str,
) -> Any:  # fmt: skip
    hv = style.backend()
    full = exact == "yes" and not scan.whole
    detector = (x, y, inner, outer)
    shape = scan.over.shape
    x_axis, y_axis = scan.over.axes
    title = "Virtual image"
    if not full and not scan.whole:
        x_axis, y_axis = (replace(a, values=a.values[:: scan.every]) for a in (x_axis, y_axis))
        shape = tuple(-(-n // scan.every) for n in shape)
        title = f"Preview: 1 of {scan.every**2} positions" if scan.every > 1 else "Preview"
        title += "" if exact == "moving" else f"; double tap the pattern to read {exact}"
    values, problem = attempt(lambda: (scan.exact if full else scan.preview)(*detector), shape)
    colour = style.colours(xr.DataArray(values), values, symmetric=False)
    drawn = pictures.mesh(values, x_axis, y_axis, colour, shown, size=size)
    return style.dress(
        hv.Overlay([drawn, scan.over.ring(pixel, drawn.kdims)]),
        title=problem or title,
    )


def _pattern(
    scan: Scan, shown: style.Quantity, log: bool, size: int, _: Any, *, pixel: int, x: float, y: float, inner: float,
    outer: float, exact: str,
) -> Any:  # fmt: skip
    hv = style.backend()
    values, problem = attempt(lambda: scan.read(pixel), [scan.ky.values.size, scan.kx.values.size])
    drawn = pictures.mesh(values, scan.kx, scan.ky, _pattern_colours(values, log), shown, size=size)
    drawn = drawn.opts(backend="bokeh", logz=log)
    rings = [
        hv.Ellipse(x, y, 2 * r).opts(backend="bokeh", color=style.CURSOR, line_width=2) for r in (outer, inner) if r > 0
    ]
    title = problem or f"Pattern at {scan.over.where(pixel)}"
    return style.dress(hv.Overlay([drawn, *rings]), title=title)


def _pattern_colours(values: np.ndarray, log: bool) -> style.Colours:
    low, high = style.limits(values, robust=False)
    if log:
        positive = values[values > 0]
        low = float(np.percentile(positive, 1)) if positive.size else 0.1
        high = max(high, low * 10)
    return style.Colours("counts", style.palette("CET_L3")[:236], (low, high))  # not up to the white of the page


def diffraction_explorer(
    da: xr.DataArray,
    *,
    center: tuple[float, float] | None = None,
    radius: float | None = None,
    inner: float = 0.0,
    log: bool = True,
    budget: int = static.BUDGET,
    size: int = 330,
) -> Any:
    """The 4D explorer in a file: patterns by position, a virtual detector moved by tapping or dragging.

    Parameters
    ----------
    da, center, radius, inner, log
        As for `diffraction`.
    budget : int
        How many values travel in the page; more are averaged, and the caption says so.
    size : int
        Screen pixels of the longer side of a picture.

    Returns
    -------
    bokeh.models.Column

    Notes
    -----
    *Laziness*: computes, one pass in blocks.
    """
    from bokeh.layouts import column, row
    from bokeh.models import ColumnDataSource, CustomJS
    from bokeh.models.widgets import RangeSlider

    scan = Scan(da)
    small, note = _binned(scan, budget)
    x_axis, y_axis = style.plane_axes(small, scan.nav[1], scan.nav[0])
    kx, ky = style.plane_axes(small, scan.k[1], scan.k[0])
    values = style.read(small).astype(np.float32)
    shown = style.quantity(da)
    x, y, wide = scan.centre()
    x, y = center or (x, y)
    outer = float(radius or wide)
    radii = np.hypot(kx.values[None, :] - x, ky.values[:, None] - y)
    virtual = values[:, :, (radii >= inner) & (radii <= outer)].sum(axis=-1).astype(float)
    start = (values.shape[0] // 2, values.shape[1] // 2)
    chart = static.draw_map(
        virtual, xr.DataArray(virtual), [x_axis, y_axis], np.zeros((2, 0)), "Virtual image", size, shown
    )
    first = values[start].astype(float)
    drawn = pictures.mesh(first, kx, ky, _pattern_colours(values, log), shown, size=size)
    pattern = static.figure_of(drawn.opts(backend="bokeh", title="Pattern at the marked position", logz=log))
    pattern.toolbar.active_drag = None
    detector = ColumnDataSource({"x": [x], "y": [y], "outer": [outer], "inner": [float(inner)]})
    for name in ("outer", "inner"):
        pattern.circle("x", "y", radius=name, source=detector, fill_alpha=0, line_color=style.CURSOR, line_width=2)
    places = np.stack([a.reshape(-1) for a in np.meshgrid(x_axis.values, y_axis.values)])
    index = int(np.ravel_multi_index(start, values.shape[:2]))
    cursor = ColumnDataSource({"x": [places[0, index]], "y": [places[1, index]], "i": [index]})
    static.rings([chart.figure], cursor)
    far = float(max(np.abs(kx.edges - x).max(), np.abs(ky.edges - y).max()))
    handle = RangeSlider(
        start=0, end=far, value=(float(inner), outer), step=far / 200, title=f"Detector radii ({kx.unit or 'pixel'})",
        width=size, name="radii",
    )  # fmt: skip
    chart.figure.name, pattern.name = "map 0", "pattern"
    arguments = {
        "map": chart.figure, "pattern": pattern, "cursor": cursor, "detector": detector, "radii": handle,
        "place": ColumnDataSource({"x": places[0], "y": places[1]}),
        "cube": packed(values.reshape(places.shape[1], -1)),
        "kx": kx.values.tolist(), "ky": ky.values.tolist(), "map_source": chart.source, "mapper": chart.mapper,
        "pattern_source": next(r for r in pattern.renderers if type(r.glyph).__name__ == "Image").data_source,
    }  # fmt: skip
    action = CustomJS(args=arguments, code=scripts.DIFFRACT)
    for figure in (chart.figure, pattern):
        for event in ("tap", "pan"):
            figure.js_on_event(event, action)
    handle.js_on_change("value", action)
    text = "Tap or drag on the image for the pattern there, in the pattern to move the detector."
    return column(
        row(chart.figure, column(pattern, handle)), static.caption(text + (f" Shown: {note}." if note else ""))
    )


def _binned(scan: Scan, budget: int) -> tuple[xr.DataArray, str]:
    """Patterns averaged to at most `budget` values: the detector first, down to 32 pixels, then the scan."""
    steps = dict.fromkeys((*scan.nav, *scan.k), 1)

    def values() -> int:
        return math.prod(math.ceil(scan.da.sizes[d] / n) for d, n in steps.items())

    while values() > budget:
        coarse = max(scan.da.sizes[d] / steps[d] for d in scan.k) <= 32
        for d in scan.nav if coarse and max(scan.da.sizes[d] / steps[d] for d in scan.nav) > 8 else scan.k:
            steps[d] += 1
    said = ", ".join(f"{d} by {n}" for d, n in steps.items() if n > 1)
    if not said:
        return scan.da, ""
    return chunked.lazily(scan.da).coarsen(steps, boundary="trim").mean(), f"averaged: {said}"  # type: ignore[attr-defined]

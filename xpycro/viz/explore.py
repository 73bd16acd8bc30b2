"""Live explorers: map and spectrum linked both ways, reading from lazy data only what is shown.

May import numpy, xarray, the floors below and viz; HoloViews only inside functions. The twins that work in a file are
in viz.static.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.viz import curves, pictures, static, style
from xpycro.viz import parts as _parts

__all__ = ["explore", "selection", "stack"]

_POINTERS = ("Tap", "DoubleTap", "PointerXY", "PanEnd", "BoundsXY", "BoundsX", "Lasso")
REGION_COLOURS = (style.CATEGORIES[3], style.CATEGORIES[2], style.CATEGORIES[4], style.CATEGORIES[1])
REGIONS = 4  # as many slots as are always drawn: HoloViews loses layers that come and go
_KEPT = 8  # planes and spectra remembered, so that moving one cursor does not read again what the other shows


class Reader:
    """Planes and spectra of an array by index: read when first asked for, the last few kept."""

    def __init__(self, da: xr.DataArray, roles: _parts.Parts) -> None:
        self.roles = roles
        self.da = _parts.ascending(da.transpose(*roles.rest, *roles.nav, roles.signal), roles.nav)
        self.axes, self.places, self.names = static.navigator(self.da, roles.nav)
        self.signal = style.axis(self.da, roles.signal)
        self.rest = [style.axis(da, d) for d in roles.rest]
        self._kept: OrderedDict[tuple[Any, ...], np.ndarray] = OrderedDict()

    def _read(self, key: tuple[Any, ...], index: dict[str, int]) -> np.ndarray:
        if key not in self._kept:
            self._keep(key, style.read(self.da.isel(index)))
        self._kept.move_to_end(key)
        return self._kept[key]

    def _keep(self, key: tuple[Any, ...], values: np.ndarray) -> None:
        self._kept[key] = values
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def _rest(self, rest: Sequence[int]) -> dict[str, int]:
        return dict(zip(self.roles.rest, map(int, rest), strict=True))

    def plane(self, low: int, high: int, rest: Sequence[int]) -> np.ndarray:
        """The map at one sample of the signal, or the mean of those between two."""
        at = self._rest(rest)
        if low == high:
            return self._read(("plane", low, *rest), {self.roles.signal: low, **at})
        key = ("band", low, high, *rest)
        if key not in self._kept:
            band = chunked.lazily(self.da.isel({self.roles.signal: slice(low, high + 1), **at}))
            self._keep(key, style.read(band.mean(self.roles.signal)))
        return self._kept[key]

    def region(self, outline: np.ndarray, rest: Sequence[int]) -> np.ndarray:
        """The mean spectrum of the pixels inside an outline."""
        key = ("region", outline.tobytes(), *rest)
        if key not in self._kept:
            mask = self.inside(outline)
            window = {
                d: slice(int(found.min()), int(found.max()) + 1) if found.size else slice(0, 0)
                for d, found in zip(self.roles.nav, np.nonzero(mask.values), strict=True)
            }
            cut = chunked.lazily(self.da.isel(window | self._rest(rest)))
            self._keep(key, style.read(cut.where(mask.isel(window)).mean(self.roles.nav)))
        return self._kept[key]

    def inside(self, outline: np.ndarray) -> xr.DataArray:
        """Which pixels' middles lie inside an outline, over the map's dims."""
        x, y = self.places
        hit = np.zeros(x.size, dtype=bool)
        for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
            crosses = (y0 > y) != (y1 > y)
            with np.errstate(divide="ignore", invalid="ignore"):
                hit ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
        nav = self.roles.nav
        coords = {d: self.da[d] for d in nav if d in self.da.coords}
        return xr.DataArray(hit.reshape([self.da.sizes[d] for d in nav]), dims=nav, coords=coords)

    def spectrum(self, i: int, rest: Sequence[int]) -> np.ndarray:
        """The spectrum at one pixel, by its flat index."""
        shape = [self.da.sizes[d] for d in self.roles.nav]
        at = dict(zip(self.roles.nav, map(int, np.unravel_index(i, shape)), strict=True))
        return self._read(("spectrum", i, *rest), at | self._rest(rest))

    def pixel(self, x: float, y: float) -> int:
        """Flat index of the pixel nearest to a place."""
        return int(np.argmin((self.places[0] - x) ** 2 + (self.places[1] - y) ** 2))

    def where(self, i: int) -> str:
        """A pixel in words."""
        if self.names is not None:
            return self.names[i]
        return ", ".join(a.text_at(float(p[i])) for a, p in zip(self.axes, self.places, strict=True))


class Channel:
    """One real quantity that is shown of an array: its values, or the amplitude or phase of complex ones.

    Label, unit and scale are decided once, because labels must not change while one explores.
    """

    def __init__(self, like: xr.DataArray, part: Callable[[np.ndarray], np.ndarray]) -> None:
        self.like = like
        self._part = part
        self._shown: style.Quantity | None = None

    def apply(self, raw: np.ndarray) -> tuple[np.ndarray, style.Quantity]:
        """Values in display units, and what they are."""
        values = self._part(raw)
        if self._shown is None:
            self._shown = style.quantity(self.like, values)
        return values * self._shown.factor, self._shown


def channels_of(da: xr.DataArray) -> list[Channel]:
    """What is shown of an array: itself, or amplitude and phase."""
    if da.dtype.kind != "c":
        return [Channel(da, np.asarray)]
    amplitude, phase = pictures.amplitude_phase(da.isel(dict.fromkeys(da.dims, slice(0, 0))))
    return [Channel(amplitude, np.abs), Channel(phase, np.angle)]


def explore(
    da: xr.DataArray, nav: Sequence[str] | None = None, sig: str | None = None, *, event: str = "tap", size: int = 320
) -> Any:
    """A map and a spectrum linked both ways: tap the map for the spectrum there, the spectrum for the map there.

    The box and lasso tools of the map draw regions, whose mean spectra appear in their colours (`selection` reads
    them, a double tap removes them); the box tool of the spectrum drags a band, whose mean the map shows.

    Parameters
    ----------
    da : DataArray
        With a signal dim and one or two dims for the map; further dims get sliders. Complex data show amplitude and
        phase.
    nav : sequence of str, optional
        The dims of the map, (slow, fast).
    sig : str, optional
        The dim of the spectrum.
    event : {"tap", "hover"}
        What moves the pixel.
    size : int, default 320
        Screen pixels of the map's longer side.

    Returns
    -------
    holoviews.Layout of DynamicMap
        Saved with `save`, or put in a report, it becomes a twin that works without a server.

    Raises
    ------
    DimensionError
        If map and signal cannot be told apart.

    Notes
    -----
    *Laziness*: nothing is read when it is built; each tap reads one spectrum or one plane.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> type(explore(xr.DataArray(np.zeros((2, 3, 4)), dims=("y", "x", "energy")))).__name__
    'Layout'
    """
    if event not in ("tap", "hover"):
        raise ValueError(f"event={event!r}: pass 'tap' or 'hover'")
    pictures.not_empty(da)
    hv = style.backend()
    roles = _parts.resolve(da, nav, sig)
    reader = Reader(da, roles)
    places = reader.places.shape[1]
    shape = [da.sizes[d] for d in roles.nav]
    start = int(np.ravel_multi_index([n // 2 for n in shape], shape)) if places else 0
    middle = da.sizes[roles.signal] // 2
    state = hv.streams.Stream.define("Cursor", pixel=start, low=middle, high=middle, regions=_anything(()))()
    kdims = [hv.Dimension((a.dim, a.label), unit=a.unit, values=list(map(float, a.values))) for a in reader.rest]
    channels = channels_of(da)
    panels, lines = [], []
    for channel in channels:
        chart = linked(
            callback(_map, reader, channel, size),
            kdims,
            state,
            {
                "Tap" if event == "tap" else "PointerXY": _to_pixel(state, reader),
                "BoundsXY": _to_region(state),
                "Lasso": _to_region(state),
                "DoubleTap": _clear(state),
            },
        )
        line = linked(
            callback(_spectrum, reader, channel),
            kdims,
            state,
            {"Tap": _to_sample(state, reader), "BoundsX": _to_band(state, reader)},
        )
        panels += [chart, line] if len(channels) == 1 else [chart]
        lines.append(line)
    if len(channels) > 1:
        panels += lines
    layout = pictures.gather(panels, cols=2)
    layout._pycro_state, layout._pycro_reader = state, reader
    return style.remember(
        layout,
        choice=f"explore: map over {list(roles.nav)}, spectrum along {roles.signal!r}",
        static=functools.partial(static.explorer, da, nav=roles.nav, sig=roles.signal),
    )


def callback(function: Callable[..., Any], *fixed: Any) -> Callable[..., Any]:
    """`function` of `fixed`, the sliders' values and the cursors, in a signature that HoloViews accepts."""

    def draw(*rest: float, **state: Any) -> Any:
        return function(*fixed, rest, **{k: v for k, v in state.items() if k.partition("_")[0] not in _POINTERS})

    return draw


def linked(draw: Callable[..., Any], kdims: Sequence[Any], state: Any, moves: Mapping[str, Callable[..., None]]) -> Any:
    """A DynamicMap of `draw` that follows `state`, and hands what is done to it with the pointer to `moves`.

    Parameters
    ----------
    draw : callable
        See `callback`.
    kdims : sequence of holoviews.Dimension
        The sliders.
    state : holoviews.streams.Stream
    moves : mapping of str to callable
        By the name of a HoloViews stream (``Tap``, ``PanEnd``, ``BoundsXY``...) what is called with its values. These
        streams are the map's own: HoloViews attaches none other to a callback that returns overlays.
    """
    hv = style.backend()
    pointers = []
    for name in moves:
        kind = getattr(hv.streams, name)
        pointers.append(kind(rename={p: f"{name}_{p}" for p in kind.param if p != "name"}))
    drawn = hv.DynamicMap(draw, kdims=list(kdims), streams=[state, *pointers])
    for pointer, move in zip(pointers, moves.values(), strict=True):
        pointer.source = drawn
        pointer.add_subscriber(_handing(move))
    return drawn


def _handing(move: Callable[..., None]) -> Callable[..., None]:
    def subscriber(**at: Any) -> None:
        if all(value is not None for value in at.values()):
            move(*at.values())

    return subscriber


def _to_pixel(state: Any, reader: Reader) -> Callable[[float, float], None]:
    def move(x: float, y: float) -> None:
        pixel = reader.pixel(x, y)
        if pixel != state.pixel:
            state.event(pixel=pixel)

    return move


def _to_sample(state: Any, reader: Reader) -> Callable[[float, float], None]:
    def move(x: float, y: float) -> None:
        sample = reader.signal.nearest(x)
        state.event(low=sample, high=sample)

    return move


def _to_band(state: Any, reader: Reader) -> Callable[[Sequence[float]], None]:
    def move(bounds: Sequence[float]) -> None:
        ends = sorted(reader.signal.nearest(value) for value in bounds)
        state.event(low=ends[0], high=ends[1])

    return move


def _to_region(state: Any) -> Callable[[Any], None]:
    def move(shape: Any) -> None:
        outline = np.asarray(shape, dtype=float)
        if outline.ndim == 1:  # a box, as left, bottom, right, top
            left, bottom, right, top = outline
            outline = np.array([(left, bottom), (right, bottom), (right, top), (left, top)])
        if len(outline) >= 3:
            state.event(regions=(*state.regions, outline)[-REGIONS:])

    return move


def _clear(state: Any) -> Callable[[float, float], None]:
    return lambda x, y: state.event(regions=())


def _indices(reader: Reader, rest: Sequence[float]) -> list[int]:
    return [ax.nearest(value) for ax, value in zip(reader.rest, rest, strict=True)]


def _map(
    reader: Reader, channel: Channel, size: int, rest: Sequence[float], *, pixel: int, low: int, high: int, regions: Any
) -> Any:
    hv = style.backend()
    raw = reader.plane(low, high, _indices(reader, rest))
    values, shown = channel.apply(raw)
    title = f"{shown.title} at {reader.signal.text(low)}"
    if high > low:
        first, last = reader.signal.values[low], reader.signal.values[high]
        span = f"{first:.4g} to {last:.4g} {reader.signal.unit or ''}".replace("-", "−").rstrip()
        title = f"{shown.title}, mean of {reader.signal.label} {span}"
    x, y = reader.axes
    colour = style.colours(channel.like, values)
    if len(reader.roles.nav) == 2:
        drawn = pictures.mesh(values, x, y, colour, shown, size=size)
    elif reader.names is None:
        drawn = static.points(values, (x, y), reader.places, colour, shown, size=size, title=title)
    else:
        drawn = pictures.mesh(values[None], x, y, colour, shown, size=size)
    drawn = drawn.opts(backend="bokeh", title=title, tools=["hover", "box_select", "lasso_select"])
    place = ([reader.places[0, pixel]], [reader.places[1, pixel]])
    rings = [
        hv.Points(place, drawn.kdims).opts(backend="bokeh", fill_alpha=0, line_color=color, line_width=width, size=13)
        for color, width in (("white", 4), (style.CURSOR, 2))
    ]
    nowhere = np.full((2, 2), np.nan)
    outlines = [
        hv.Path([np.vstack([o, o[:1]]) if (o := _slot(regions, i)) is not None else nowhere], drawn.kdims).opts(
            backend="bokeh", color=REGION_COLOURS[i], line_width=2.5
        )
        for i in range(REGIONS)
    ]
    return style.dress(hv.Overlay([drawn, *rings, *outlines]), title=title, hooks=[style.roomy])


def _anything(default: Any) -> Any:
    """A stream's parameter of any type: HoloViews would make a tuple one of fixed length."""
    import param

    return param.Parameter(default=default)


def _slot(regions: Sequence[np.ndarray], number: int) -> np.ndarray | None:
    return regions[number] if number < len(regions) else None


def _spectrum(
    reader: Reader, channel: Channel, rest: Sequence[float], *, pixel: int, low: int, high: int, regions: Any
) -> Any:
    hv = style.backend()
    index = _indices(reader, rest)
    values, shown = channel.apply(reader.spectrum(pixel, index))
    title = f"{shown.label} at {reader.where(pixel)}"
    line = _panel_curve(reader, values, shown, style.CATEGORIES[0], title)
    means = []
    for i in range(REGIONS):
        outline = _slot(regions, i)
        mean = np.full(values.shape, np.nan) if outline is None else channel.apply(reader.region(outline, index))[0]
        means.append(_panel_curve(reader, mean, shown, REGION_COLOURS[i], title))
    first, last = float(reader.signal.values[low]), float(reader.signal.values[high])
    band = hv.VSpan(first, last).opts(backend="bokeh", color=style.CURSOR, alpha=0.12)
    mark = hv.VLine(first).opts(backend="bokeh", color=style.CURSOR, line_dash="dashed", line_width=1.5)
    return style.dress(hv.Overlay([line, *means, band, mark]), title=title, hooks=[style.roomy], show_legend=False)


def _panel_curve(reader: Reader, values: np.ndarray, shown: style.Quantity, color: str, title: str) -> Any:
    """A curve of the spectrum panel, on which a band can be dragged."""
    options: dict[str, Any] = {"title": title, "framewise": True, "tools": ["hover", "xbox_select"]}
    return curves.curve(reader.signal, values, shown, color=color, **options)


def selection(drawn: Any, region: int | None = None) -> xr.DataArray:
    """The regions drawn on a live explorer, as a mask.

    Parameters
    ----------
    drawn : holoviews.Layout
        What `explore` returned.
    region : int, optional
        Which region, counted from 0 in the order drawn; by default all of them together.

    Returns
    -------
    DataArray of bool
        Over the dims of the map; False everywhere where nothing was drawn.

    Raises
    ------
    ValueError
        If this is no explorer, or the region was not drawn.

    Notes
    -----
    *Laziness*: reads nothing.
    """
    state, reader = getattr(drawn, "_pycro_state", None), getattr(drawn, "_pycro_reader", None)
    if state is None or reader is None:
        raise ValueError("selection() reads what was drawn on an explorer: pass what explore() returned")
    outlines = list(state.regions)
    if region is not None and not 0 <= region < len(outlines):
        raise ValueError(f"region={region}: {len(outlines)} regions are drawn, counted from 0")
    chosen = outlines if region is None else [outlines[region]]
    mask = reader.inside(np.zeros((0, 2)))
    for outline in chosen:
        mask = mask | reader.inside(outline)
    return mask.rename("selection").assign_attrs(units="1", long_name="Selected region")


def stack(da: xr.DataArray, over: str | None = None, *, clim: str = "global", size: int = 330) -> Any:
    """A picture with a slider through the planes of a stack.

    Parameters
    ----------
    da : DataArray
        Three dims: a plane and what it is stacked over.
    over : str, optional
        The dim of the slider; by default the one beside the plane.
    clim : {"global", "frame"}
        One contrast for all planes, from a sample of at most sixteen, or each its own.
    size : int
        Screen pixels of the longer side.

    Returns
    -------
    holoviews.DynamicMap

    Notes
    -----
    *Laziness*: reads one plane at a time, and at most sixteen for the contrast when first drawn.
    """
    if clim not in ("global", "frame"):
        raise ValueError(f"clim={clim!r}: pass 'global' or 'frame'")
    pictures.not_empty(da)
    if da.dtype.kind == "c":
        da = pictures.amplitude_phase(da)[0]
    over, dims = pictures.stacked_over(da, over)
    hv = style.backend()
    ax = style.axis(da, over)
    x, y = style.plane_axes(da, dims[1], dims[0])
    contrast = functools.cache(functools.partial(_contrast, da, over))

    def frame(position: float) -> Any:
        index = ax.nearest(position)
        shown, common = contrast()
        values = style.read(da.isel({over: index}).transpose(*dims)) * shown.factor
        colour = style.colours(da, values, clim=common if clim == "global" else None)
        drawn = pictures.mesh(values, x, y, colour, shown, name=str(da.name or "value"), size=size)
        return drawn.opts(backend="bokeh", title=f"{shown.title} at {ax.text(index)}")

    kdim = hv.Dimension((over, ax.label), unit=ax.unit, values=list(map(float, ax.values)))
    return style.remember(
        hv.DynamicMap(frame, kdims=[kdim]),
        choice=f"stack: pictures over {list(dims)}, a slider through {over!r}",
        static=functools.partial(static.slider, da, over, size=size),
    )


def _contrast(da: xr.DataArray, over: str) -> tuple[style.Quantity, tuple[float, float] | None]:
    """Label, scale and limits for all planes, from at most sixteen of them; no limits where the rule has its own."""
    every = max(1, -(-da.sizes[over] // 16))
    sample = style.read(da.isel({over: slice(None, None, every)}))
    shown = style.quantity(da, sample)
    colour = style.colours(da, sample * shown.factor)
    return shown, None if colour.kind in ("labels", "phase") else colour.clim

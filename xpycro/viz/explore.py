"""Live explorers: map and spectrum linked both ways, reading from lazy data only what is shown.

May import numpy, xarray, the floors below and viz; HoloViews only inside functions. The twins that work in a file are
in viz.static.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.viz import curves, pictures, static, style
from xpycro.viz import parts as _parts

__all__ = ["explore", "stack"]

_POINTERS = ("Tap", "PointerXY", "PanEnd")
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
            self._kept[key] = style.read(self.da.isel(index))
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _rest(self, rest: Sequence[int]) -> dict[str, int]:
        return dict(zip(self.roles.rest, map(int, rest), strict=True))

    def plane(self, k: int, rest: Sequence[int]) -> np.ndarray:
        """The map at one sample of the signal."""
        return self._read(("plane", k, *rest), {self.roles.signal: k, **self._rest(rest)})

    def spectrum(self, i: int, rest: Sequence[int]) -> np.ndarray:
        """The spectrum at one pixel, by its flat index."""
        shape = [self.da.sizes[d] for d in self.roles.nav]
        at = dict(zip(self.roles.nav, map(int, np.unravel_index(i, shape)), strict=True))
        return self._read(("spectrum", i, *rest), at | self._rest(rest))

    def pixel(self, x: float | None, y: float | None, default: int) -> int:
        """Flat index of the pixel nearest to a place; of no place, the default."""
        if x is None or y is None:
            return default
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
    state = hv.streams.Stream.define("Cursor", pixel=start, sample=da.sizes[roles.signal] // 2)()
    kdims = [hv.Dimension((a.dim, a.label), unit=a.unit, values=list(map(float, a.values))) for a in reader.rest]
    channels = channels_of(da)
    panels, lines = [], []
    for channel in channels:
        chart = linked(callback(_map, reader, channel, size), kdims, state, _moves(state, reader), event=event)
        line = linked(callback(_spectrum, reader, channel), kdims, state, _sweeps(state, reader))
        panels += [chart, line] if len(channels) == 1 else [chart]
        lines.append(line)
    if len(channels) > 1:
        panels += lines
    layout = pictures.gather(panels, cols=2)
    layout._pycro_state = state
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


def linked(
    draw: Callable[..., Any],
    kdims: Sequence[Any],
    state: Any,
    move: Callable[[float | None, float | None], None],
    *,
    event: str = "tap",
    release: bool = False,
) -> Any:
    """A DynamicMap of `draw` that follows `state`, and calls `move(x, y)` where it is tapped.

    With ``event="hover"`` where the pointer moves instead, with `release` also where a drag ends. The pointer's streams
    are the map's own: HoloViews attaches none other to a callback that returns overlays.
    """
    hv = style.backend()
    kinds = [hv.streams.PointerXY if event == "hover" else hv.streams.Tap]
    kinds += [hv.streams.PanEnd] if release else []
    pointers = [kind(rename={"x": f"{kind.name}_x", "y": f"{kind.name}_y"}) for kind in kinds]
    drawn = hv.DynamicMap(draw, kdims=list(kdims), streams=[state, *pointers])
    for pointer in pointers:
        pointer.source = drawn
        pointer.add_subscriber(lambda **at: move(*at.values()))
    return drawn


def _moves(state: Any, reader: Reader) -> Callable[[float | None, float | None], None]:
    def move(x: float | None, y: float | None) -> None:
        pixel = reader.pixel(x, y, state.pixel)
        if pixel != state.pixel:
            state.event(pixel=pixel)

    return move


def _sweeps(state: Any, reader: Reader) -> Callable[[float | None, float | None], None]:
    def move(x: float | None, y: float | None) -> None:
        if x is not None:
            state.event(sample=reader.signal.nearest(x))

    return move


def _indices(reader: Reader, rest: Sequence[float]) -> list[int]:
    return [ax.nearest(value) for ax, value in zip(reader.rest, rest, strict=True)]


def _map(reader: Reader, channel: Channel, size: int, rest: Sequence[float], *, pixel: int, sample: int) -> Any:
    hv = style.backend()
    raw = reader.plane(sample, _indices(reader, rest))
    values, shown = channel.apply(raw)
    title = f"{shown.title} at {reader.signal.text(sample)}"
    x, y = reader.axes
    colour = style.colours(channel.like, values)
    if len(reader.roles.nav) == 2:
        drawn = pictures.mesh(values, x, y, colour, shown, size=size)
    elif reader.names is None:
        drawn = static.points(values, (x, y), reader.places, colour, shown, size=size, title=title)
    else:
        drawn = pictures.mesh(values[None], x, y, colour, shown, size=size)
    place = ([reader.places[0, pixel]], [reader.places[1, pixel]])
    rings = [
        hv.Points(place, drawn.kdims).opts(
            backend="bokeh", color=None, fill_alpha=0, line_color=color, line_width=width, size=13
        )
        for color, width in (("white", 4), (style.CURSOR, 2))
    ]
    return style.dress(hv.Overlay([drawn.opts(backend="bokeh", title=title), *rings]), title=title, hooks=[style.roomy])


def _spectrum(reader: Reader, channel: Channel, rest: Sequence[float], *, pixel: int, sample: int) -> Any:
    hv = style.backend()
    values, shown = channel.apply(reader.spectrum(pixel, _indices(reader, rest)))
    title = f"{shown.label} at {reader.where(pixel)}"
    line = curves.curve(
        reader.signal, values, shown, color=style.CATEGORIES[0], title=title, framewise=True, tools=["hover"]
    )
    mark = hv.VLine(float(reader.signal.values[sample])).opts(
        backend="bokeh", color=style.CURSOR, line_dash="dashed", line_width=1.5
    )
    return style.dress(hv.Overlay([line, mark]), title=title, hooks=[style.roomy])


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

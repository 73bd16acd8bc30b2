"""Live explorers: map and spectrum linked both ways, reading from lazy data only what is shown.

May import numpy, xarray, the floors below and viz; HoloViews only inside functions. The twins that work in a file are
in viz.static.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro.viz import curves, pictures, places, planes, static, style, zooming
from xpycro.viz import parts as _parts
from xpycro.viz.costs import amount, state_cost
from xpycro.viz.linking import Later, callback, cursors, linked
from xpycro.viz.live import Channel, Reader, channels_of
from xpycro.viz.readouts import headed, placed

__all__ = ["explore", "selection"]


REGION_COLOURS = (style.CATEGORIES[3], style.CATEGORIES[2], style.CATEGORIES[4], style.CATEGORIES[1])


PEAK = -1  # not chosen yet: of pixels one that was measured, of samples where its spectrum is largest


REGIONS = 4  # as many outlines and curves as are always drawn: HoloViews loses layers that come and go


_NOWHERE = np.full((2, 2), np.nan)


def explore(
    da: xr.DataArray,
    nav: Sequence[str] | None = None,
    sig: str | None = None,
    *,
    event: str = "tap",
    background: xr.DataArray | None = None,
    size: int = 320,
) -> Any:
    """A map and a spectrum linked both ways: tap or drag on the map for the spectrum there, and the reverse.

    The box and lasso tools of the map draw regions, whose mean spectra appear in their colours (`selection` reads
    them, a double tap removes them); the box tool of the spectrum drags a band, whose mean the map shows. A map that
    would read more than 256 MB of a file shows some of its pixels at first, and says what all would cost; a double tap
    on the spectrum reads them, there and from then on.

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
    background : DataArray, optional
        A picture to lay scattered positions over, such as a topography.
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
    planes.not_empty(da)
    da = da if background is None else places.within(da, background)
    roles = _parts.resolve(da, nav, sig)
    reader = Reader(da, roles)
    ground = None if background is None else places.ground(background, reader.over.axes, size)
    channels = channels_of(da)
    state = cursors(pixel=PEAK, low=PEAK, high=PEAK, regions=(), whole=False, windows=(None,) * len(channels))
    kdims = [style.slider(a) for a in reader.rest]
    panels, lines = [], []
    for number, channel in enumerate(channels):
        chart = linked(
            callback(_map, reader, channel, number, ground, size),
            kdims,
            state,
            {
                "Tap" if event == "tap" else "PointerXY": _to_pixel(state, reader),
                "Drag": _to_pixel(state, reader),
                "BoundsXY": _to_region(state),
                "Lasso": _to_region(state),
                "DoubleTap": _clear(state),
                "Range": _to_window(state, number),
            },
        )
        line = linked(
            callback(_spectrum, reader, channel, size),
            kdims,
            state,
            {
                "Tap": _to_sample(state, reader),
                "Drag": _to_sample(state, reader),
                "BoundsX": _to_band(state, reader),
                "DoubleTap": _to_whole(state, reader),
            },
        )
        panels += [chart, line] if len(channels) == 1 else [chart]
        lines.append(line)
    if len(channels) > 1:
        panels += lines
    layout = pictures.gather(panels, cols=2)
    layout._pycro_state, layout._pycro_reader = state, reader
    dear = state_cost(da, roles)
    if dear:
        hint = "xpycro.translate writes files whose chunks suit both"
        warnings.warn(f"exploring {da.name or 'this array'}: {dear} ({hint})", stacklevel=2)
    return style.remember(
        layout,
        choice=f"explore: map over {list(roles.nav)}, spectrum along {roles.signal!r}"
        + (f", over {background.name or 'a picture'}" if background is not None else "")
        + (f"; {dear}" if dear else ""),
        static=functools.partial(static.explorer, da, nav=roles.nav, sig=roles.signal, background=background),
    )


def _to_pixel(state: Any, reader: Reader) -> Callable[..., None]:
    def move(x: float, y: float, *_: Any) -> None:
        pixel = reader.over.nearest(x, y)
        if pixel != state.pixel:
            state.event(pixel=pixel)

    return move


def _to_sample(state: Any, reader: Reader) -> Callable[..., None]:
    def move(x: float, y: float, *_: Any) -> None:
        sample = reader.signal.nearest(x)
        if (sample, sample) != (state.low, state.high):
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


def _to_whole(state: Any, reader: Reader) -> Callable[[float, float], Later | None]:
    def read() -> None:
        state.event(whole=True)

    def move(x: float, y: float) -> Later | None:
        size = 0 if state.whole else reader.left(state.low, state.high, state.regions)
        if size:
            return Later(f"Reading {amount(size)} …", read)
        read()
        return None

    return move


def _to_window(state: Any, number: int) -> Callable[..., None]:
    def move(x0: float, x1: float, y0: float, y1: float) -> None:
        seen = [(x0, x1, y0, y1) if k == number else window for k, window in enumerate(state.windows)]
        state.event(windows=tuple(seen))

    return move


def _clear(state: Any) -> Callable[[float, float], None]:
    return lambda x, y: state.event(regions=())


def _indices(reader: Reader, rest: Sequence[float | str]) -> list[int]:
    return [ax.nearest(value) for ax, value in zip(reader.rest, rest, strict=True)]


def _map(
    reader: Reader, channel: Channel, number: int, ground: Any, size: int, rest: Sequence[float], *, pixel: int,
    low: int, high: int, regions: Any, whole: bool, windows: Sequence[zooming.Window | None],
) -> Any:  # fmt: skip
    hv = style.backend()
    index = _indices(reader, rest)
    low, high = (reader.first(index) if k == PEAK else k for k in (low, high))
    pixel = reader.start(index) if pixel == PEAK else pixel
    pictured, title = _picture(reader, channel, windows[number], size, index, low, high, whole)
    kdims = pictured[-1].kdims
    around = reader.element(
        ("outlines", id(channel), *(o.tobytes() for o in regions)),
        lambda: _in_colours([np.vstack([o, o[:1]]) for o in regions], kdims).opts(backend="bokeh", line_width=2.5),
    )
    ring = reader.element(("ring", id(channel), pixel), lambda: reader.over.ring(pixel, kdims))
    layers = [*pictured, ring, around]
    return style.dress(
        hv.Overlay(layers if ground is None else [ground, *layers]),
        title=title,
        hooks=[style.roomy],
    )


def _picture(
    reader: Reader, channel: Channel, window: zooming.Window | None, size: int, index: Sequence[int], low: int,
    high: int, whole: bool,
) -> tuple[list[Any], str]:  # fmt: skip
    """The map, or the window of it that is seen over what is known of the rest; and its title."""
    steps, dear = reader.steps(low, high, index, whole)
    zooms, key, tools = _zooms(reader), (low, high, *steps, *index), ["hover", "box_select", "lasso_select"]
    seen: zooming.Seen | str = ""
    if zooms and window is not None:
        seen = reader.element(("part", window, *key), lambda: _part(reader, window, steps, size, index, low, high))
    values, shown = channel.apply(reader.plane(low, high, index, steps) if isinstance(seen, str) else seen.values)
    title = _head(reader, shown, size, low, high)
    key = (id(channel), *key)
    colour = reader.drawn(("colours", *key)) or style.colours(channel.like, values)

    def pen(part: zooming.Seen) -> Any:
        return pictures.mesh(part.values, part.x, part.y, colour, shown, size=size)

    if not isinstance(seen, str):
        shape = replace(seen, values=values)
        under = reader.drawn(("below", *key)) or zooming.below(None, reader.over.axes, pen)
        drawn = reader.element(("seen", window, *key), lambda: pen(shape).opts(backend="bokeh", tools=tools))
        return [under, drawn], seen.problem or f"{title}\n{seen.note.strip(' ()') or 'all pixels of this part'}"
    if max(steps) > 1:
        title += f"\n{reader.sampled(steps)}" + (", averaged" if max(reader.blocks(steps)) > 1 else "")
    if dear and not seen:
        seen = f"double tap the spectrum to read all, {amount(dear)} a map"
    title = _as_tall(reader.problem or (f"{title}\n{seen}" if seen else title), int(reader.dear))
    drawn = reader.element(
        ("map", *key),
        lambda: reader.over.draw(values, channel.like, shown, size=size, title=title, steps=steps, colour=colour).opts(
            backend="bokeh", tools=tools
        ),
    )
    if not zooms:
        return [drawn], title
    reader.element(("colours", *key), lambda: colour)
    return [reader.element(("below", *key), lambda: zooming.below(values, reader.over.axes, pen)), drawn], title


def _head(reader: Reader, shown: style.Quantity, size: int, low: int, high: int) -> str:
    """What a map shows, in as many lines as its frame needs."""
    x, y = reader.over.axes
    width, _ = style.frame(x, y, size)
    if high == low:
        return headed(*placed(shown.title, reader.signal.text(low)), width)
    first, last = reader.signal.values[low], reader.signal.values[high]
    span = f"{first:.4g} to {last:.4g} {reader.signal.unit or ''}".replace("-", "−").rstrip()
    return headed(f"{shown.title},", f"mean of {reader.signal.label} {span}", width)


def _as_tall(title: str, breaks: int) -> str:
    """A title of as many lines as the one beside it, because Bokeh lines frames up and cuts what stands below."""
    return title + "\n\u00a0" * (breaks - title.count("\n"))


def _zooms(reader: Reader) -> bool:
    """Whether a map is read anew where one zooms in: not all its pixels are drawn, or may be."""
    over = reader.over
    return len(over.dims) == 2 and all(a.even for a in over.axes) and (over.every > 1 or reader.dear)


def _part(
    reader: Reader, window: zooming.Window, steps: Sequence[int], size: int, index: Sequence[int], low: int, high: int
) -> zooming.Seen | str:
    """A window of a map, or the words for why the whole is shown."""
    at: dict[str, int | slice] = dict(zip(reader.roles.rest, index, strict=True))
    at[reader.roles.signal] = low if low == high else slice(low, high + 1)
    rows, columns = reader.over.dims
    seen = zooming.part(reader.da, at, (rows, columns), reader.over.axes, window, steps, size)
    reader.problem = seen.problem if isinstance(seen, zooming.Seen) else ""
    return seen


def _in_colours(lines: Sequence[np.ndarray], kdims: Sequence[Any]) -> Any:
    """Lines of points, a region each, in the colours of the regions; those not drawn yet are nowhere."""
    shapes = [*lines, *[_NOWHERE] * (REGIONS - len(lines))]
    x, y = (d.name for d in kdims)
    parts = [{x: s[:, 0], y: s[:, 1], "shade": c} for s, c in zip(shapes, REGION_COLOURS, strict=True)]
    hv = style.backend()
    return hv.Contours(parts, list(kdims), ["shade"]).opts(backend="bokeh", color=hv.dim("shade"))


def _spectrum(
    reader: Reader,
    channel: Channel,
    size: int,
    rest: Sequence[float],
    *,
    pixel: int,
    low: int,
    high: int,
    regions: Any,
    whole: bool,
    windows: Any,
) -> Any:
    hv = style.backend()
    index = _indices(reader, rest)
    low, high = (reader.first(index) if k == PEAK else k for k in (low, high))
    pixel = reader.start(index) if pixel == PEAK else pixel
    values, shown = channel.apply(reader.spectrum(pixel, index))
    title = reader.problem or f"{shown.label} at {reader.over.where(pixel)}"
    if not reader.problem and not np.isfinite(values).any():
        title += ": no data"
    thin = [reader.region_steps(outline, index, whole) for outline in regions]
    if reader.dear:  # the line is there from the beginning: Bokeh makes no room for what is said later
        left, steps = sum(cost for _, cost in thin), max((n for n, _ in thin), default=())
        said = f"means of {reader.sampled(steps)}; double tap here to read all, {amount(left)}" if left else "\u00a0"
        title += f"\n{said}"
    sampled, dear = reader.steps(low, high, index, whole)
    beside = _head(reader, shown, size, low, high).count("\n") + (max(sampled) > 1) + (dear > 0)
    title = _as_tall(title, beside)
    curve = reader.element(("line", id(channel), pixel, *index), lambda: _panel_curve(reader, values, shown, title))
    means = reader.element(
        ("means", id(channel), *(o.tobytes() for o in regions), whole, *index),
        lambda: _means(
            reader,
            [channel.apply(reader.region(o, index, n))[0] for o, (n, _) in zip(regions, thin, strict=True)],
            curve,
        ),
    )
    first, last = float(reader.signal.values[low]), float(reader.signal.values[high])
    look: dict[str, Any] = {"backend": "bokeh", "color": style.CURSOR}
    band = reader.element(("band", id(channel), low, high), lambda: hv.VSpan(first, last).opts(alpha=0.12, **look))
    mark = reader.element(
        ("mark", id(channel), low), lambda: hv.VLine(first).opts(line_dash="dashed", line_width=1.5, **look)
    )
    return style.dress(
        hv.Overlay([curve, means, band, mark]),
        title=title,
        hooks=[style.roomy],
        show_legend=False,
    )


def _panel_curve(reader: Reader, values: np.ndarray, shown: style.Quantity, title: str) -> Any:
    """A curve of the spectrum panel, on which a band can be dragged."""
    options: dict[str, Any] = {"title": title, "framewise": True, "tools": ["hover", "xbox_select"]}
    return curves.curve(reader.signal, values, shown, color=style.CATEGORIES[0], **options)


def _means(reader: Reader, means: Sequence[np.ndarray], curve: Any) -> Any:
    """The mean spectra of the regions, over the axes of the pixel's curve."""
    lines = [np.column_stack([reader.signal.values, mean]) for mean in means]
    kdims = curve.dimensions()
    said = [(d.pprint_label, f"$snap_{axis}") for axis, d in zip("xy", kdims, strict=True)]
    return _in_colours(lines, kdims).opts(
        backend="bokeh", framewise=True, line_width=1.8 if reader.signal.values.size <= 500 else 1.2,
        tools=["hover"], hover_tooltips=said,
    )  # fmt: skip


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

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> drawn = explore(xr.DataArray(np.zeros((2, 3, 4)), dims=("y", "x", "energy")))
    >>> selection(drawn).dims, bool(selection(drawn).any())
    (('y', 'x'), False)
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

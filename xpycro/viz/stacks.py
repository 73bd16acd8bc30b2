"""Stacks of planes: a picture with a slider through them, and of frames larger than the screen the part that is seen.

May import numpy, xarray, the floors below and viz; HoloViews and Panel only inside functions. The twin that works in a
file is in viz.static.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import xarray as xr

from xpycro.viz import pictures, planes, static, style, zooming
from xpycro.viz.readouts import headed, placed

__all__ = ["stack"]

SAMPLE = 64 * 2**20  # bytes of the planes that the contrast of all is made of


def stack(
    da: xr.DataArray, over: str | None = None, *, clim: str = "global", play: bool = False, size: int = 330
) -> Any:
    """A picture with a slider through the planes of a stack.

    Parameters
    ----------
    da : DataArray
        Three dims: a plane and what it is stacked over.
    over : str, optional
        The dim of the slider; by default the one beside the plane.
    clim : {"global", "frame"}
        One contrast for all planes, from a sample of at most sixteen, or each its own.
    play : bool, default False
        With buttons that play it, step and turn back.
    size : int
        Screen pixels of the longer side.

    Returns
    -------
    holoviews.DynamicMap, or panel.pane.HoloViews with `play`, because buttons are widgets
        Saved with `save`, it becomes a twin with slider and play button that works without a server.

    Notes
    -----
    *Laziness*: reads one plane at a time, and for the contrast at most sixteen of 64 MB when first drawn. Of planes of
    more than 1.5 million pixels means of blocks are drawn, and where one has zoomed in only the chunks of what is seen
    are read, of each plane that is gone to.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> stack(xr.DataArray(np.ones((5, 3, 4)), dims=("frame", "y", "x"))).kdims[0].name
    'frame'
    """
    if clim not in ("global", "frame"):
        raise ValueError(f"clim={clim!r}: pass 'global' or 'frame'")
    planes.not_empty(da)
    if da.dtype.kind == "c":
        da = planes.amplitude_phase(da)[0]
    over, dims = planes.stacked_over(da, over)
    hv = style.backend()
    ax = style.axis(da, over)
    x, y = style.plane_axes(da, dims[1], dims[0])
    contrast = functools.cache(functools.partial(_contrast, da, over, dims))

    def pen(seen: zooming.Seen) -> Any:
        shown, common = contrast()
        values = seen.values * shown.factor
        colour = style.colours(da, values, clim=common if clim == "global" else None)
        return pictures.mesh(values, seen.x, seen.y, colour, shown, name=str(da.name or "value"), size=size)

    def title(index: int) -> str:
        return headed(*placed(contrast()[0].title, ax.text(index)), style.frame(x, y, size)[0])

    def frame(position: float | str) -> Any:
        index = ax.nearest(position)
        drawn = pen(zooming.Seen(style.read(da.isel({over: index}).transpose(*dims)), x, y))
        return drawn.opts(backend="bokeh", title=title(index))

    def seen(rest: Sequence[float | str], window: zooming.Window | None) -> Any:
        index = ax.nearest(rest[0])
        return frames.draw({over: index}, pen, title(index), window)

    if x.even and y.even and da.sizes[dims[0]] * da.sizes[dims[1]] > planes.MAX_PIXELS:
        frames = zooming.Planes(da, dims, size, min(4 * math.prod(style.frame(x, y, size)), planes.MAX_PIXELS))
        drawn = frames.panel(seen, [style.slider(ax)])
    else:
        drawn = hv.DynamicMap(frame, kdims=[style.slider(ax)])
    if play:
        import panel

        drawn = panel.pane.HoloViews(drawn, widget_type="scrubber", widget_location="bottom")
    return style.remember(
        drawn,
        choice=f"stack: pictures over {list(dims)}, a slider through {over!r}",
        static=functools.partial(static.slider, da, over, size=size),
    )


def _contrast(da: xr.DataArray, over: str, dims: tuple[str, str]) -> tuple[style.Quantity, tuple[float, float] | None]:
    """Label, scale and limits for all planes, from a sample of them; no limits where the rule has its own."""
    count = max(1, min(16, SAMPLE // max(1, da.nbytes // da.sizes[over])))
    every = max(1, -(-da.sizes[over] // count))
    small, _ = planes.thin(da.isel({over: slice(every // 2, None, every)}), dims)
    sample = style.read(small)
    shown = style.quantity(da, sample)
    colour = style.colours(da, sample * shown.factor)
    return shown, None if colour.kind in ("labels", "phase") else colour.clim

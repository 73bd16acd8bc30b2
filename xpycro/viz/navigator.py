"""The map of a live explorer: where its pixels lie, which is nearest to a tap, and how it is drawn with its cursor.

May import numpy, xarray, the floors below and viz; HoloViews only inside functions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro.viz import pictures, places, planes, style

__all__ = ["Navigator"]

LINE = 70  # screen pixels that a line of pixels is high


def _thinned(ax: style.Axis, n: int) -> style.Axis:
    """The axis of every n-th sample, drawn where the n lie that it stands for."""
    if n == 1:
        return ax
    across = (n - 1) / 2 * (ax.values[1] - ax.values[0]) if ax.even and ax.values.size > 1 else 0.0
    return replace(ax, values=ax.values[::n] + across, width=float(np.ptp(ax.edges)))


@dataclass(frozen=True, eq=False)
class Navigator:
    """The pixels of a map, counted through in the order of its dims.

    Attributes
    ----------
    dims : tuple of str
        Two (slow, fast), or one: scattered positions, or a line.
    shape : tuple of int
        How many pixels along each.
    axes : (x, y)
        What the map is drawn over.
    names : list of str or None
        What the pixels of a line are called.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    axes: Sequence[style.Axis]
    names: Sequence[str] | None
    _scattered: np.ndarray | None

    @classmethod
    def of(cls, da: xr.DataArray, dims: Sequence[str]) -> Navigator:
        """The map of `da` over `dims`."""
        shape = tuple(da.sizes[d] for d in dims)
        if len(dims) == 2:
            return cls(tuple(dims), shape, style.plane_axes(da, dims[1], dims[0]), None, None)
        axes, scattered, names = places.navigator(da, dims)
        return cls(tuple(dims), shape, axes, names, scattered)

    @functools.cached_property
    def places(self) -> np.ndarray:
        """Where the pixels lie, shape (2, pixel), in display units."""
        if self._scattered is not None:
            return self._scattered
        y, x = np.meshgrid(self.axes[1].values, self.axes[0].values, indexing="ij")
        return np.stack([x.reshape(-1), y.reshape(-1)])

    @property
    def middle(self) -> int:
        """The pixel to begin with."""
        return int(np.ravel_multi_index([n // 2 for n in self.shape], self.shape)) if all(self.shape) else 0

    def nearest(self, x: float, y: float) -> int:
        """The pixel nearest to a place."""
        if self._scattered is not None:
            distance = (self._scattered[0] - x) ** 2 + (self._scattered[1] - y) ** 2
            return int(np.argmin(np.where(np.isfinite(distance), distance, np.inf)))
        return self.axes[1].nearest(y) * self.shape[1] + self.axes[0].nearest(x)

    def at(self, pixel: int) -> dict[str, int]:
        """Index of a pixel along each dim."""
        return dict(zip(self.dims, map(int, np.unravel_index(pixel, self.shape)), strict=True))

    def place(self, pixel: int) -> tuple[float, float]:
        """Where a pixel lies; nowhere where it is negative."""
        if pixel < 0:
            return math.nan, math.nan
        if self._scattered is not None:
            return float(self._scattered[0, pixel]), float(self._scattered[1, pixel])
        row, column = divmod(pixel, self.shape[1])
        return float(self.axes[0].values[column]), float(self.axes[1].values[row])

    def where(self, pixel: int) -> str:
        """Where a pixel lies, in words."""
        if self.names is not None:
            return self.names[pixel]
        places = zip(self.axes, self.place(pixel), strict=True)
        return ", ".join(a.text_at(p) if a.names is None else a.text(a.nearest(p)) for a, p in places)

    @property
    def every(self) -> int:
        """Of a map too large for a screen every n-th pixel is drawn."""
        size = math.prod(self.shape)
        thin = len(self.dims) == 2 and size > planes.MAX_PIXELS
        return math.ceil(math.sqrt(size / planes.MAX_PIXELS)) if thin else 1

    def draw(
        self, values: np.ndarray, like: xr.DataArray, shown: style.Quantity, *, size: int, title: str,
        colour: style.Colours | None = None, steps: Sequence[int] | None = None,
    ) -> Any:  # fmt: skip
        """The element of the map: a picture of a plane or of a line, coloured points of scattered positions.

        Parameters
        ----------
        values : ndarray
            A value a pixel, in display units; of every n-th where `steps` say so.
        like : DataArray
            What the values are, for their colours.
        shown : Quantity
        size : int
            Screen pixels of the longer side.
        title : str
        colour : Colours, optional
        steps : sequence of int, optional
            Of how many pixels along each dim one is drawn; by default as `every` says.
        """
        colour = colour or style.colours(like, values)
        x, y = self.axes
        *down, across = steps or (self.every,) * len(self.dims)
        if self._scattered is not None and self.names is None:
            return places.points(values, (x, y), self._scattered[:, ::across], colour, shown, size=size, title=title)
        x, y = _thinned(x, across), _thinned(y, down[0] if down else 1)
        drawn = pictures.mesh(values if values.ndim == 2 else values[None], x, y, colour, shown, size=size)
        if self.names is None:
            return drawn.opts(backend="bokeh", title=title)
        held = "image" if type(drawn).__name__ == "Image" else drawn.vdims[0].name
        said = [(drawn.kdims[0].pprint_label, "$x"), (drawn.vdims[0].pprint_label, f"@{{{held}}}")]  # no place across
        return drawn.opts(backend="bokeh", title=title, yaxis=None, frame_height=LINE, hover_tooltips=said)

    def panel(self, drawn: Any, pixel: int, title: str) -> Any:
        """A drawn map with its cursor, as a panel of an explorer."""
        layers = [drawn, self.ring(pixel, drawn.kdims)]
        return style.dress(style.backend().Overlay(layers), title=title, hooks=[style.roomy])

    def ring(self, pixel: int, kdims: Sequence[Any]) -> Any:
        """The cursor at a pixel, to overlay: a ring that stands out on any colour."""
        hv = style.backend()
        x, y = self.place(pixel)
        rings = ([x, x], [y, y], ["white", style.CURSOR], [4, 2])
        return hv.Points(rings, list(kdims), ["ring", "wide"]).opts(
            backend="bokeh", fill_alpha=0, line_color=hv.dim("ring"), line_width=hv.dim("wide"), size=13
        )

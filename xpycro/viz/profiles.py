"""What was found along a line: values against position, joined, with their errors.

May import numpy, xarray, the floors below and viz.style, viz.pictures; HoloViews only inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.viz import pictures, style

__all__ = ["framed", "layers", "of", "profiles"]


def layers(ax: style.Axis, values: np.ndarray, errors: np.ndarray | None, shown: style.Quantity) -> list[Any]:
    """A line, points, and error bars where there are errors, all in display units."""
    hv = style.backend()
    kdim, vdim = hv.Dimension((ax.dim, ax.label), unit=ax.unit), hv.Dimension(("value", shown.label), unit=shown.unit)
    colour = style.CATEGORIES[0]
    named: dict[str, Any] = {} if ax.names is None else {"xticks": pictures.named_ticks(ax)}
    drawn = [
        hv.Curve((ax.values, values), kdim, vdim).opts(
            backend="bokeh", color=colour, line_width=1.0, alpha=0.5, framewise=True, **named
        ),
        hv.Scatter((ax.values, values), kdim, vdim).opts(
            backend="bokeh", color=colour, size=6 if values.size <= 100 else 3, tools=["hover"], framewise=True
        ),
    ]
    if errors is not None:
        known = np.isfinite(values) & np.isfinite(errors)
        bars = (ax.values[known], values[known], errors[known])
        error = hv.Dimension("error", unit=shown.unit)
        drawn.append(hv.ErrorBars(bars, kdim, [vdim, error]).opts(backend="bokeh", line_color=colour, lower_head=None,
                                                                  upper_head=None))  # fmt: skip
    return drawn


def of(view: xr.Dataset, name: str, ax: style.Axis, label: str | None = None) -> tuple[list[Any], style.Quantity]:
    """The layers of a variable over one dim, with its ``_stderr`` where it has one, and what it is."""
    values = style.read(view[name])
    shown = style.quantity(view[name], values, label=label)
    errors = style.read(view[f"{name}_stderr"]) * shown.factor if f"{name}_stderr" in view else None
    return layers(ax, values * shown.factor, errors, shown), shown


def framed(drawn: Sequence[Any], title: str, size: int) -> Any:
    """Layers as a picture; what they are stands in its title, as above a map."""
    return style.dress(
        style.backend().Overlay(list(drawn)), title=title, frame_width=round(1.2 * size), padding=0.08,
        frame_height=round(0.8 * size), show_legend=False, ylabel="", hooks=[style.roomy],
    )  # fmt: skip


def profiles(view: xr.Dataset, names: Sequence[str], *, size: int = 200, cols: int = 3) -> Any:
    """Variables over one dim side by side, with the errors of those that have a ``_stderr``.

    Parameters
    ----------
    view : Dataset
    names : sequence of str
    size : int
        Screen pixels that a frame is about as high and wide as.
    cols : int, default 3

    Returns
    -------
    holoviews.Layout

    Notes
    -----
    *Laziness*: computes the variables.
    """
    ax = style.axis(view, view[names[0]].dims[0])
    found = [of(view, name, ax, "r²" if name == "r2" else None) for name in names]
    return pictures.gather(
        [framed(drawn, shown.title, size) for drawn, shown in found], cols=pictures.columns(len(found), cols)
    )

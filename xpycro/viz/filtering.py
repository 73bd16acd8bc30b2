"""A filter on one line: spectrum, filter and noise floor above, the signal before and after below.

May import numpy, xarray, the floors below, viz.style, viz.curves and viz.pictures; HoloViews only inside functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro.viz import style
from xpycro.viz.curves import curve
from xpycro.viz.pictures import gather

__all__ = ["filtered"]

_BEFORE, _AFTER = "#999999", style.CATEGORIES[0]


def filtered(preview: xr.Dataset, *, width: int = 620, height: int = 220) -> Any:
    """What a filter does to one line: its spectrum, the filter and the noise floor; the signal before and after.

    Parameters
    ----------
    preview : Dataset
        As of `xp.filter.preview`.
    width, height : int
        Screen pixels of each frame.

    Returns
    -------
    holoviews.Layout

    Raises
    ------
    ValueError
        If the Dataset is no preview.

    Notes
    -----
    *Laziness*: reads the line. The filter is drawn from the lowest amplitude shown (0) to the highest (1).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xpycro.processing.filters import LowPass, preview
    >>> line = xr.DataArray(np.random.default_rng(0).normal(size=64), dims="time")
    >>> len(filtered(preview(line, LowPass(0.2), tolerance=1e-3)))
    2
    """
    missing = [name for name in ("before", "after", "amplitude", "response") if name not in preview]
    if missing:
        raise ValueError(f"{missing} missing: pass what xp.filter.preview returned")
    return gather([_spectra(preview, width, height), _signals(preview, width, height)], cols=1)


def _spectra(preview: xr.Dataset, width: int, height: int) -> Any:
    hv = style.backend()
    amplitude = preview["amplitude"]
    ax, values = style.axis(amplitude, str(amplitude.dims[0])), style.read(amplitude)
    shown = style.quantity(amplitude, values)
    positive = values[values > 0]
    high = float(positive.max()) if positive.size else 1.0
    low = max(float(positive.min()) if positive.size else 0.1, 1e-6 * high)
    floor = float(preview["noise_floor"]) if "noise_floor" in preview else 0.0
    response = style.read(preview["response"])
    kept = np.where(values >= floor, values * response, 0.0)

    def line(numbers: np.ndarray, label: str, colour: str, **options: Any) -> Any:
        return curve(
            ax, np.clip(numbers, low, None) * shown.factor, shown, label=label, name="amplitude", color=colour,
            frame_width=width, frame_height=height, **options,
        )  # fmt: skip

    drawn = [
        line(values, "before", _BEFORE, line_width=1.2),
        line(kept, "after", _AFTER, line_width=1.2),
        line(low * (high / low) ** response, "filter", style.CATEGORIES[3], line_width=1.5),
    ]
    if floor > 0:
        drawn.append(line(np.full(values.shape, floor), "noise floor", style.CATEGORIES[2], line_dash="dashed"))
    limits = (low * shown.factor, 2 * high * shown.factor)
    whole = style.dress(hv.Overlay(drawn), title="Spectrum", legend_position="right")
    return whole.opts(backend="bokeh", logy=True, ylim=limits)


def _signals(preview: xr.Dataset, width: int, height: int) -> Any:
    hv = style.backend()
    before, after = preview["before"], preview["after"]
    if before.dtype.kind == "c":
        before, after = before.real.assign_attrs(before.attrs), after.real.assign_attrs(after.attrs)
    ax = style.axis(before, str(before.dims[0]))
    values = style.read(before)
    shown = style.quantity(before, values)
    drawn = [
        curve(ax, numbers * shown.factor, shown, label=label, name="signal", color=colour, frame_width=width,
              frame_height=height, line_width=thick)
        for numbers, label, colour, thick in (
            (values, "before", _BEFORE, 1.2), (style.read(after), "after", _AFTER, 1.8),
        )
    ]  # fmt: skip
    return style.dress(hv.Overlay(drawn), title="Signal", legend_position="right")

"""Curves: spectra, and complex data in two real parts.

May import numpy, xarray, the floors below, viz.style, viz.planes and viz.pictures; HoloViews only inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.errors import DimensionError
from xpycro.viz import style
from xpycro.viz.pictures import gather, picture
from xpycro.viz.planes import COSTLY, amplitude_phase, not_empty, titled, where

__all__ = ["area", "complex", "curve", "spectrum"]

MAX_CURVES = 8


def curve(
    ax: style.Axis, values: np.ndarray, shown: style.Quantity, *, label: str = "", name: str = "value", **options: Any
) -> Any:
    """One curve over an axis, in the order of the samples; a single sample is a point."""
    hv = style.backend()
    name = name if name != ax.dim else f"{name}_value"
    kdims, vdims = hv.Dimension((ax.dim, ax.label), unit=ax.unit), hv.Dimension((name, shown.label), unit=shown.unit)
    kind = hv.Curve if values.size > 1 else hv.Scatter
    element = kind((ax.values, values), kdims, vdims, label=label)
    # of more samples than there are pixels a wide line is a smear
    sized = {"line_width": 1.8 if values.size <= 500 else 1.2} if values.size > 1 else {"size": 8}
    return style.dress(element, **{"frame_width": 420, "frame_height": 260, "padding": 0.03, **sized, **options})


def cursor(ax: style.Axis, sample: int) -> Any:
    """A dashed line at a sample; nowhere where that is negative."""
    place = float(ax.values[sample]) if sample >= 0 else math.nan
    look: dict[str, Any] = {"color": style.CURSOR, "line_dash": "dashed", "line_width": 1.5}
    return style.backend().VLine(place).opts(backend="bokeh", **look)


def loading(ax: style.Axis, values: np.ndarray, **options: Any) -> list[Any]:
    """A component over its axis: one curve, of complex numbers the real part and the imaginary one."""
    shown, colours = style.Quantity("Loading", None, 1.0), style.CATEGORIES[:4:3]
    if values.dtype.kind != "c":
        return [curve(ax, values, shown, color=colours[0], **options)]
    parts = (("real", values.real, colours[0]), ("imaginary", values.imag, colours[1]))
    return [curve(ax, part, shown, label=label, color=colour, **options) for label, part, colour in parts]


def spectrum(
    da: xr.DataArray,
    dim: str | None = None,
    *,
    at: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    spread: bool | None = None,
    log: bool = False,
    title: str | None = None,
    width: int = 420,
    height: int = 260,
) -> Any:
    """Curves along the signal dim: one pixel, several, or the mean of many with its standard deviation.

    Parameters
    ----------
    da : DataArray
        Complex data give amplitude and phase one above the other.
    dim : str, optional
        What runs along the axis; by default the signal dim.
    at : mapping or list of mappings, optional
        Coordinates of the pixels, such as ``{"x": 2e-9, "y": 0}``; the nearest are taken.
    spread : bool, optional
        Mean and standard deviation of all spectra instead of each; by default where they are more than eight.
    log : bool, default False
        Logarithmic values; what is not positive is left out.
    title : str, optional
    width, height : int
        Screen pixels of the frame.

    Returns
    -------
    holoviews.Curve, or holoviews.Overlay of several, or holoviews.Layout of complex data

    Raises
    ------
    DimensionError
        If the dim is missing or not decidable.

    Notes
    -----
    *Laziness*: reads the spectra drawn; for a mean of more than 256 MB, a sample of whole spectra.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> spectrum(xr.DataArray(np.arange(3.0), dims="energy", name="counts"))
    :Curve   [energy]   (Counts)
    """
    not_empty(da)
    dim = line_dim(da, dim)
    if da.dtype.kind == "c":
        parts = amplitude_phase(da)
        drawn = [spectrum(p, dim, at=at, spread=spread, width=width, height=int(height * 0.7)) for p in parts]
        return gather(drawn, cols=1)
    hv = style.backend()
    ax = style.axis(da, dim)
    pieces = _pieces(da, dim, at)
    others = [str(d) for d in da.dims if d != dim]
    count = len(pieces) if at is not None else int(np.prod([da.sizes[d] for d in others], dtype=np.int64))
    spread = count > MAX_CURVES if spread is None else spread
    if at is None and spread and count > 1:
        return _band(da, dim, ax, title, log, width, height)
    if at is None:
        pieces = [
            da.isel(dict(zip(others, map(int, index), strict=True)))
            for index in np.ndindex(*[da.sizes[d] for d in others])
        ]
    values = [style.read(piece.transpose(dim)) for piece in pieces]
    shown = style.quantity(da, np.stack(values))
    options: dict[str, Any] = {"frame_width": width, "frame_height": height, "logy": log, "tools": ["hover"]}
    if log:
        values = [_positive(v, da) for v in values]
    name = str(da.name or "value")
    if len(values) == 1:
        text = title if title is not None else titled(shown.label, where(pieces[0]))
        return curve(ax, values[0] * shown.factor, shown, name=name, color=style.CATEGORIES[0], title=text, **options)
    common, places = _differences([_place(piece, da, others, number) for number, piece in enumerate(pieces)])
    colours = style._categories(len(values))
    curves = [
        curve(ax, v * shown.factor, shown, label=place, name=name, color=colour, **options)
        for v, place, colour in zip(values, places, colours, strict=True)
    ]
    return style.dress(
        hv.Overlay(curves), title=title or titled(shown.label, common), legend_position="right", legend_cols=1
    )


def line_dim(da: xr.DataArray, dim: str | None) -> str:
    if dim is not None:
        return schema.resolve_dims(da, dim, ndim=1)[0]
    wide = [str(d) for d in da.dims if da.sizes[d] > 1]
    if da.ndim == 1 or len(wide) == 1:
        return wide[0] if wide else str(da.dims[0])
    found = style.signal_dims(da)
    if len(found) != 1:
        raise DimensionError(f"which dimension runs along the axis? {list(found)} all could: pass dim=")
    return found[0]


def _positive(values: np.ndarray, da: xr.DataArray) -> np.ndarray:
    kept = np.where(values > 0, values, np.nan)
    if not np.isfinite(kept).any():
        raise ValueError(f"log=True: no value of {da.name or 'this array'} is positive")
    return kept


def _pieces(da: xr.DataArray, dim: str, at: Any) -> list[xr.DataArray]:
    pieces = []
    for place in [] if at is None else [at] if isinstance(at, Mapping) else list(at):
        unknown = [d for d in place if d not in da.dims]
        missing = [d for d in da.dims if d not in place and d != dim and da.sizes[d] > 1]
        if unknown or missing:
            raise DimensionError(
                f"at={dict(place)!r}: "
                + (f"{unknown} are no dimensions" if unknown else f"{missing} are not said")
                + f"; a spectrum along {dim!r} is at one place of {[str(d) for d in da.dims if d != dim]}"
            )
        index = {
            d: int(np.argmin(np.abs(da[d].values - float(value)))) if d in da.coords else int(value)
            for d, value in place.items()
        }
        piece = da.isel(index)
        pieces.append(piece.squeeze([d for d in piece.dims if d != dim]))
    return pieces


def _place(piece: xr.DataArray, da: xr.DataArray, others: list[str], number: int) -> str:
    """In words, along the dims that tell curves apart; what else is known of their places would fill the legend."""
    told = [d for d in others if d in da.coords and d in piece.coords and piece.coords[d].ndim == 0]
    told.sort(key=lambda d: d if d in ("x", "y") else "~")
    at = {d: np.flatnonzero(da[d].values == piece[d].values) for d in told}
    if told and len(told) == len(others) and all(found.size for found in at.values()):
        return ", ".join(style.axis(da, d).text(int(found[0])) for d, found in at.items())
    words = where(piece)
    if words:
        return words
    index = np.unravel_index(number, [da.sizes[d] for d in others]) if others else ()
    return ", ".join(f"{d} {int(i)}" for d, i in zip(others, index, strict=True))


def _differences(places: list[str]) -> tuple[str, list[str]]:
    """What is common to all places, and what is left of each."""
    parts = [place.split(", ") for place in places]
    common = [part for part in parts[0] if all(part in other for other in parts)]
    left = [", ".join(part for part in other if part not in common) for other in parts]
    return (", ".join(common), left) if all(left) else ("", places)


def _band(da: xr.DataArray, dim: str, ax: style.Axis, title: str | None, log: bool, width: int, height: int) -> Any:
    hv = style.backend()
    others = [str(d) for d in da.dims if d != dim]
    sample, note = da, ""
    if da.nbytes > COSTLY and others:
        every = math.ceil((da.nbytes / COSTLY) ** (1 / len(others)))
        # a contiguous piece of each dim, so that whole blocks are read and not a pixel of each
        sample = da.isel({d: slice(0, math.ceil(da.sizes[d] / every)) for d in others})
        note = " of a sample"
    values = style.read(sample.transpose(..., dim)).reshape(-1, da.sizes[dim])
    shown = style.quantity(da, values)
    values = values * shown.factor
    valid = np.isfinite(values)
    count = np.maximum(valid.sum(axis=0), 1)
    mean = np.where(valid, values, 0).sum(axis=0) / count
    deviation = np.sqrt(np.where(valid, (values - mean) ** 2, 0).sum(axis=0) / count)
    mean = np.where(valid.any(axis=0), mean, np.nan)
    name = str(da.name or "value")
    text = title or f"{shown.label}: mean ± standard deviation{note} of {int(valid.any(axis=1).sum())} spectra"
    options: dict[str, Any] = {"frame_width": width, "frame_height": height, "color": style.CATEGORIES[0]}
    line = curve(ax, mean, shown, name=name, **options)
    if log:
        return line.opts(backend="bokeh", logy=True, title=text)
    drawn = hv.Overlay([area(ax, mean, deviation, shown, name=name, color=style.CATEGORIES[0]), line])
    return style.dress(drawn, title=text)


def area(
    ax: style.Axis, mean: np.ndarray, deviation: np.ndarray, shown: style.Quantity, *, name: str, color: str
) -> Any:
    """The band of one standard deviation about a mean."""
    hv = style.backend()
    name = name if name != ax.dim else f"{name}_value"
    kdim, vdim = hv.Dimension((ax.dim, ax.label), unit=ax.unit), hv.Dimension((name, shown.label), unit=shown.unit)
    band = hv.Area(
        (ax.values, mean - deviation, mean + deviation), kdim, [vdim, hv.Dimension(f"{name}_upper", unit=shown.unit)]
    )
    return band.opts(backend="bokeh", color=color, alpha=0.18, line_width=0)


def complex(
    da: xr.DataArray, mode: str = "amplitude_phase", *, x: str | None = None, y: str | None = None, size: int = 280
) -> Any:
    """Complex data in two real parts: pictures side by side, or curves one above the other.

    Parameters
    ----------
    da : DataArray
        Complex; a plane or spectra.
    mode : {"amplitude_phase", "real_imaginary"}
    x, y : str, optional
        As for `image`.
    size : int
        Screen pixels of a picture's longer side.

    Returns
    -------
    holoviews.Layout

    Notes
    -----
    *Laziness*: reads what it draws.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> len(complex(xr.DataArray(np.ones((3, 4), "complex64"), dims=("y", "x"))))
    2
    """
    not_empty(da)
    if da.dtype.kind != "c":
        raise TypeError(f"{da.name or 'this array'} is {da.dtype}, not complex: use image or spectrum")
    if mode == "amplitude_phase":
        parts = amplitude_phase(da)
    elif mode == "real_imaginary":
        label = str(da.attrs.get("long_name") or da.name or "Response")
        parts = [
            da.real.assign_attrs(da.attrs, long_name=f"{label} real part"),
            da.imag.assign_attrs(da.attrs, long_name=f"{label} imaginary part"),
        ]
    else:
        raise ValueError(f"mode={mode!r}: pass 'amplitude_phase' or 'real_imaginary'")
    if sum(n > 1 for n in da.sizes.values()) <= 1 and x is None and y is None and schema.plane_dims(da) is None:
        return gather([spectrum(part, height=180) for part in parts], cols=1)
    return gather([picture(part, x, y, size=size) for part in parts], cols=2)

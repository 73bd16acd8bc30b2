"""Scales: of the values by normalising, of the axis by calibrating.

May import numpy, xarray, scipy (inside functions), engine and the base floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, floating, numbers, real_numbers
from xpycro.provenance import recorded
from xpycro.schema import coordinate, pick

__all__ = ["calibrate", "normalise"]

_NORMS = ("max", "minmax", "sum", "area", "standard")


def _normalised(values: np.ndarray, *, x: np.ndarray, used: np.ndarray, method: str) -> np.ndarray:
    signal = values.astype(floating(values.dtype), copy=False)
    window = signal[..., used]
    missing = np.isnan(window).all(axis=-1, keepdims=True)
    window = np.where(missing, 0.0, window)
    offset: Any = 0.0
    if method == "max":
        scale = np.nanmax(np.abs(window), axis=-1, keepdims=True)
    elif method == "minmax":
        offset = np.nanmin(window, axis=-1, keepdims=True)
        scale = np.nanmax(window, axis=-1, keepdims=True) - offset
    elif method == "sum":
        scale = np.nansum(window, axis=-1, keepdims=True)
    elif method == "area":
        scale = np.trapezoid(np.nan_to_num(window), x[used], axis=-1)[..., None] * np.sign(x[-1] - x[0])
    else:
        offset, scale = np.nanmean(window, axis=-1, keepdims=True), np.nanstd(window, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        result = (signal - offset) / np.where((scale == 0) | missing, np.nan, scale)
    return result.astype(signal.dtype)


@recorded("spectra.normalise")
def normalise(
    data: xr.DataArray | xr.Dataset,
    method: str = "max",
    dim: str | None = None,
    *,
    variable: str | None = None,
    window: tuple[float, float] | None = None,
) -> xr.DataArray:
    """Bring each spectrum to one scale.

    Parameters
    ----------
    data : DataArray or Dataset
        Complex data take ``max`` (of the magnitude) only.
    method : {"max", "minmax", "sum", "area", "standard"}
        Largest magnitude 1; from 0 to 1; sum 1; integral over the axis 1; mean 0 and standard deviation 1.
    dim : str, optional
        A dim or 1-D coordinate; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.
    window : (low, high), optional
        Where scale and offset are taken, in units of the axis.

    Returns
    -------
    DataArray
        Dims and coordinates of the input, dimensionless (``area``: per unit of the axis). A spectrum whose scale is
        zero, or without values in the window, is NaN.

    Raises
    ------
    ValueError
        For an unknown method or an empty window.

    Notes
    -----
    *Laziness*: lazy, one pass. NaN do not count and stay NaN.

    Examples
    --------
    >>> normalise(xr.DataArray([1.0, 4.0, 2.0], dims="energy")).values
    array([0.25, 1.  , 0.5 ])
    """
    if method not in _NORMS:
        raise ValueError(f"method={method!r}: choose one of {list(_NORMS)}")
    da = pick(data, variable, dim)
    da = numbers(da) if method == "max" else real_numbers(da)
    axis = along(da, dim)
    used = np.ones(axis.size, bool)
    if window is not None:
        used = (axis.values >= window[0]) & (axis.values <= window[1])
        if not used.any():
            raise ValueError(
                f"window={window}: no point of {axis.name}, {axis.values.min():g} to {axis.values.max():g} {axis.units}"
            )
    if method == "area":
        axis.require_monotonic()
    units = "1"
    if method == "area":
        from xpycro.units import combine_units

        units = combine_units((axis.units, -1))
    label = f"Normalised {da.attrs.get('long_name', da.name or 'signal')}"
    output = chunked.Output(floating(da.dtype), (axis.dim,), attrs={**da.attrs, "units": units, "long_name": label})
    kwargs = {"x": axis.values, "used": used, "method": method}
    found = chunked.apply(_normalised, da, dims=[[axis.dim]], outputs={"n": output}, kwargs=kwargs)
    return found["n"].transpose(*da.dims).rename(da.name)


@recorded("spectra.calibrate")
def calibrate(
    data: xr.DataArray | xr.Dataset,
    points: Mapping[float, float],
    dim: str | None = None,
    *,
    order: int | None = None,
    units: str | None = None,
) -> Any:
    """Correct an axis by known positions: a line at 518 that should be at 520.7.

    Parameters
    ----------
    data : DataArray or Dataset
        All variables of a Dataset share the axis.
    points : mapping of float to float
        Where a feature appears on the present axis, and where it belongs. One point shifts the axis.
    dim : str, optional
        A dim or 1-D coordinate; None is the signal dim.
    order : int, optional
        Of the polynomial through the points (least squares); None is the number of points less one, at most 1.
    units : str, optional
        Of the new axis; None keeps the old ones.

    Returns
    -------
    DataArray or Dataset
        As the input, with the new coordinate. Attributes of the coordinate note the points.

    Raises
    ------
    ValueError
        If points are too few, or the new axis would not keep the order of the old one.

    Notes
    -----
    *Laziness*: only the coordinate is touched.

    Examples
    --------
    >>> raman = xr.DataArray(np.zeros(3), coords={"wavenumber": [500.0, 518.0, 540.0]}, dims="wavenumber")
    >>> calibrate(raman, {518.0: 520.7}).wavenumber.values
    array([502.7, 520.7, 542.7])
    """
    sample = data
    if isinstance(data, xr.Dataset):
        sizes = {d: data.sizes[d] for d in data.dims}
        coords = {k: v for k, v in data.coords.items()}
        sample = xr.DataArray(np.broadcast_to(0.0, tuple(sizes.values())), dims=tuple(sizes), coords=coords)
    axis = along(sample, dim)  # type: ignore[arg-type]
    seen, true = np.array(list(points)), np.array(list(points.values()), dtype=float)
    degree = min(1, len(points) - 1) if order is None else order
    if len(points) < max(1, degree + (degree > 0)):
        raise ValueError(f"{len(points)} points do not fix a polynomial of order {degree}: pass {degree + 1}")
    if len(points) == 1:
        values = axis.values + (true[0] - seen[0])
    else:
        values = np.polynomial.Polynomial.fit(seen, true, degree)(axis.values)
    before, after = np.diff(axis.values), np.diff(values)
    if not ((np.sign(before) == np.sign(after)).all() or (np.sign(before) == -np.sign(after)).all()):
        raise ValueError(
            f"the calibrated {axis.name} would turn back: use fewer orders or check the points {dict(points)}"
        )
    attrs = dict(data.coords[axis.name].attrs) if axis.name in data.coords else {}
    fresh = coordinate(axis.dim, values, name=axis.name, units=units or axis.units)
    fresh.attrs.update({k: v for k, v in attrs.items() if k != "units"})
    fresh.attrs["calibration"] = ", ".join(f"{a:g} to {b:g}" for a, b in points.items())
    return data.assign_coords({axis.name: fresh})

"""Single bad channels found and replaced.

May import numpy, xarray, engine, the base floor and the smoothing beside it.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, floating, real_numbers, samples
from xpycro.processing.spectra.smoothing import running_median
from xpycro.provenance import recorded
from xpycro.schema import pick

__all__ = ["despike"]


def _despiked(values: np.ndarray, *, window: int, threshold: float, negative: bool, fill: bool) -> np.ndarray:
    local = running_median(values, window=window)
    residual = values - local
    with np.errstate(invalid="ignore"):
        size = np.where(np.isfinite(residual), np.abs(residual), 0.0)
        count = np.maximum(np.isfinite(residual).sum(axis=-1, keepdims=True), 1)
        ordered = np.sort(np.where(np.isfinite(residual), np.abs(residual), np.inf), axis=-1)
        noise = 1.4826 * np.take_along_axis(ordered, (count - 1) // 2, -1)
        # of mostly zero counts the median deviation is zero: fall back to the mean one
        noise = np.where((noise > 0) & np.isfinite(noise), noise, 1.2533 * size.sum(axis=-1, keepdims=True) / count)
        spike = (size if negative else residual) > threshold * noise
    return np.where(spike, local if fill else np.nan, values).astype(floating(values.dtype))


@recorded("spectra.despike")
def despike(
    data: xr.DataArray | xr.Dataset,
    width: float | None = None,
    dim: str | None = None,
    *,
    variable: str | None = None,
    threshold: float = 8.0,
    negative: bool = False,
    fill: str = "median",
) -> xr.DataArray:
    """Replace single bad channels, such as cosmic rays.

    A channel is a spike where it exceeds the running median by more than `threshold` times the noise, which is 1.4826
    times the median absolute deviation from the running median over the spectrum.

    Parameters
    ----------
    data : DataArray or Dataset
        Real.
    width : float, optional
        Length of the running median in units of the axis, more than twice that of a spike and less than that of a
        peak's top; None is five samples.
    dim : str, optional
        An evenly spaced dim or 1-D coordinate; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.
    threshold : float
    negative : bool
        Also what lies below.
    fill : {"median", "nan"}
        What takes a spike's place.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the input; single precision stays single. Other channels are untouched.

    Raises
    ------
    ValueError
        For a window that does not fit, or an unknown fill.

    Notes
    -----
    *Laziness*: lazy, one pass.

    Examples
    --------
    >>> spectrum = xr.DataArray(np.sin(np.arange(50) / 10), dims="wavenumber")
    >>> spiky = spectrum.copy(data=np.where(np.arange(50) == 20, 30.0, spectrum))
    >>> bool(abs(despike(spiky) - spectrum).max() < 0.1)
    True
    """
    if fill not in ("median", "nan"):
        raise ValueError(f"fill={fill!r}: choose 'median' or 'nan'")
    da = real_numbers(pick(data, variable, dim))
    axis = along(da, dim)
    window = min(5, axis.size - (1 - axis.size % 2)) if width is None else samples(axis, width, odd=True, least=3)
    kwargs = {"window": window, "threshold": threshold, "negative": negative, "fill": fill == "median"}
    output = chunked.Output(floating(da.dtype), (axis.dim,), attrs=da.attrs)
    found = chunked.apply(_despiked, da, dims=[[axis.dim]], outputs={"d": output}, kwargs=kwargs)
    return found["d"].transpose(*da.dims).rename(da.name)

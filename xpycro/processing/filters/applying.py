"""Filters applied to signals, and a preview of what one does to a line.

May import numpy, xarray, engine, the base floor and the kinds, noise and transforms beside it.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, floating, numbers
from xpycro.engine.fourier import frequencies, reciprocal_coordinate, reciprocal_name
from xpycro.processing.filters.kinds import Filter, response_on
from xpycro.processing.filters.noise import check_tolerance, floor_of, noise_bins, noise_floor
from xpycro.processing.filters.transforms import bins, inverse, line_slices, transform
from xpycro.provenance import recorded
from xpycro.schema import new_result, pick
from xpycro.units import combine_units

__all__ = ["apply", "preview"]


def _filtered(values: np.ndarray, *, response: np.ndarray, tolerance: float | None) -> np.ndarray:
    kind, size = floating(values.dtype), values.shape[-1]
    one_sided = kind.kind != "c"
    lines = values.reshape(-1, size)
    out = np.empty(lines.shape, kind)
    factor = response.astype(np.zeros(0, kind).real.dtype)
    for part in line_slices(lines.shape, kind.itemsize):
        spectrum = transform(lines[part].astype(kind, copy=False), one_sided)
        if tolerance is not None:
            floor = floor_of(noise_bins(spectrum, size, one_sided), tolerance)
            spectrum[np.abs(spectrum) < floor] = 0
        spectrum *= factor
        out[part] = inverse(spectrum, size, one_sided)
    return out.reshape(values.shape)


@recorded("filter")
def apply(
    data: xr.DataArray | xr.Dataset,
    filter: Filter,
    dim: str | None = None,
    *,
    variable: str | None = None,
    tolerance: float | None = None,
) -> xr.DataArray:
    """Filter signals along one dimension in frequency space.

    Parameters
    ----------
    data : DataArray or Dataset
        Real or complex.
    filter : Filter
        `LowPass`, `HighPass`, `BandPass`, `NoiseBand`, `HarmonicPass`, composed with ``&``.
    dim : str, optional
        An evenly spaced dim or 1-D coordinate; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.
    tolerance : float, optional
        Also set to zero what lies below the `noise_floor` of this probability.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the input; single precision stays single.

    Raises
    ------
    TypeError
        If `filter` is none.
    ValueError
        If the axis is uneven, or a frequency lies beyond half the sampling rate.

    Notes
    -----
    *Laziness*: lazy, one pass; `dim` is held whole. Periodic continuation: the ends of a line see each other. One NaN
    makes its line NaN.

    Examples
    --------
    >>> from xpycro.processing.filters import LowPass, NoiseBand
    >>> t = np.arange(1000) * 1e-3
    >>> slow, hum = np.sin(2 * np.pi * 5 * t), 0.3 * np.sin(2 * np.pi * 50 * t)
    >>> signal = xr.DataArray(slow + hum, coords={"time": ("time", t, {"units": "s"})}, dims="time")
    >>> clean = apply(signal, LowPass(200) & NoiseBand([50], [4]))
    >>> bool(abs(clean - slow).max() < 1e-12)
    True
    """
    check_tolerance(tolerance)
    da = numbers(pick(data, variable, dim))
    axis = along(da, dim)
    response = response_on(filter, axis, bins(axis, da.dtype.kind != "c"))
    output = chunked.Output(floating(da.dtype), (axis.dim,), attrs=da.attrs)
    kwargs = {"response": response, "tolerance": tolerance}
    found = chunked.apply(_filtered, da, dims=[[axis.dim]], outputs={"filtered": output}, kwargs=kwargs)["filtered"]
    return found.transpose(*da.dims).rename(da.name)


@recorded("filter.preview")
def preview(
    line: xr.DataArray,
    filter: Filter,
    dim: str | None = None,
    *,
    tolerance: float | None = None,
) -> xr.Dataset:
    """What a filter does to one line: everything that a picture of it shows.

    Parameters
    ----------
    line : DataArray
        One dimension; select a line first.
    filter, dim, tolerance
        As in `apply`.

    Returns
    -------
    Dataset
        A ``filter_preview``, which ``plot`` draws: ``before``, ``after`` over the line's dim in its units;
        ``amplitude`` (the magnitude of the transform) over the reciprocal dim, ``response`` of the filter there
        (dimensionless), and with a tolerance ``noise_floor`` (a number, units as ``amplitude``).

    Raises
    ------
    ValueError
        If there is more than one line.

    Notes
    -----
    *Laziness*: lazy.

    Examples
    --------
    >>> from xpycro.processing.filters import LowPass
    >>> line = xr.DataArray(np.random.default_rng(0).normal(size=64), dims="time")
    >>> sorted(preview(line, LowPass(0.2), tolerance=1e-3).data_vars)
    ['after', 'amplitude', 'before', 'noise_floor', 'response']
    """
    if line.ndim != 1:
        raise ValueError(f"a preview is of one line; this array has {dict(line.sizes)}: select one with isel or sel")
    da = numbers(line)
    axis = along(da, dim)
    one_sided = da.dtype.kind != "c"
    name = reciprocal_name(axis.dim, tuple(map(str, da.dims)))
    coord = reciprocal_coordinate(axis, name, one_sided=one_sided)
    response = response_on(filter, axis, frequencies(axis, one_sided=one_sided))
    units = combine_units((str(da.attrs.get("units", "1")), 1), (axis.units, 1))
    output = chunked.Output(
        np.dtype(floating(da.dtype)).type(0).real.dtype,
        (name,),
        {name: coord.size},
        {"units": units, "long_name": "Spectral amplitude"},
    )
    kwargs = {"one_sided": one_sided, "step": abs(axis.step)}
    amplitude = chunked.apply(_amplitude, da, dims=[[axis.dim]], outputs={"a": output}, kwargs=kwargs)["a"]
    parts = {
        "before": da,
        "after": apply(da, filter, dim, tolerance=tolerance),
        "amplitude": amplitude,
        "response": xr.DataArray(response, dims=name, attrs={"units": "1", "long_name": "Filter"}),
    }
    if tolerance is not None:
        parts["noise_floor"] = noise_floor(da, tolerance, dim)
    return new_result("filter_preview", parts).assign_coords({name: coord})


def _amplitude(values: np.ndarray, *, one_sided: bool, step: float) -> np.ndarray:
    spectrum = np.abs(transform(values.astype(floating(values.dtype), copy=False), one_sided)) * step
    return spectrum if one_sided else np.fft.fftshift(spectrum, axes=-1)

"""Signals condensed to the bins that a filter keeps, and rebuilt from them.

May import numpy, xarray, engine, the base floor and the kinds, noise and transforms beside it.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, floating, numbers, real_numbers
from xpycro.engine.fourier import original_coordinate, reciprocal_coordinate, reciprocal_name
from xpycro.processing.filters.kinds import Filter, response_on
from xpycro.processing.filters.noise import check_tolerance, floor_of, noise_bins
from xpycro.processing.filters.transforms import bins, inverse, line_slices, transform
from xpycro.provenance import recorded
from xpycro.schema import coordinate, pick
from xpycro.units import combine_units

__all__ = ["condense", "rebuild"]


def _condensed(
    values: np.ndarray, *, response: np.ndarray, kept: np.ndarray, step: float, flip: bool, tolerance: float | None
) -> np.ndarray:
    kind, size = floating(values.dtype), values.shape[-1]
    lines = values.reshape(-1, size)
    lines = lines[:, ::-1] if flip else lines
    out = np.empty((len(lines), kept.size), np.complex64 if kind.itemsize == 4 else np.complex128)
    factor = (response[kept] * step).astype(kind)
    for part in line_slices(lines.shape, kind.itemsize):
        spectrum = transform(lines[part].astype(kind, copy=False), True)
        picked = spectrum[:, kept]
        if tolerance is not None:
            floor = floor_of(noise_bins(spectrum, size, True), tolerance)
            picked[np.abs(picked) < floor] = 0
        out[part] = picked * factor
    return out.reshape(*values.shape[:-1], kept.size)


@recorded("filter.condense")
def condense(
    data: xr.DataArray | xr.Dataset,
    filter: Filter,
    dim: str | None = None,
    *,
    variable: str | None = None,
    tolerance: float | None = None,
) -> xr.DataArray:
    """The spectrum of real signals at the frequencies that a filter lets pass: all that is needed, much smaller.

    Parameters
    ----------
    data, filter, dim, variable, tolerance
        As in `apply`; real data.

    Returns
    -------
    DataArray
        Complex, over the reciprocal dim (``time`` becomes ``frequency``), only the positive frequencies at which the
        filter is not zero. Units of the data times those of the axis. `rebuild` gives what `apply` would have.

    Raises
    ------
    ValueError
        If the filter lets nothing pass.

    Notes
    -----
    *Laziness*: lazy, one pass.

    Examples
    --------
    >>> from xpycro.processing.filters import HarmonicPass
    >>> t = np.arange(1000) * 1e-3
    >>> signal = xr.DataArray(np.sin(2 * np.pi * 50 * t), coords={"time": ("time", t, {"units": "s"})}, dims="time")
    >>> small = condense(signal, HarmonicPass(50, 3, 2))
    >>> small.sizes["frequency"], bool(abs(rebuild(small) - signal).max() < 1e-12)
    (6, True)
    """
    check_tolerance(tolerance)
    da = real_numbers(pick(data, variable, dim))
    axis = along(da, dim)
    response = response_on(filter, axis, bins(axis, True))
    (kept,) = np.nonzero(response)
    if not kept.size:
        raise ValueError(
            f"filter: nothing of {axis.name} passes ({response.size} frequencies, {1 / axis.size:g} apart)"
        )
    name = reciprocal_name(axis.dim, tuple(map(str, da.dims)))
    whole = reciprocal_coordinate(axis, name, one_sided=True)
    coord = xr.Variable(name, whole.values[kept], {**whole.attrs, "condensed": 1})
    units = combine_units((str(da.attrs.get("units", "1")), 1), (axis.units, 1))
    label = f"Fourier transform of {da.attrs.get('long_name', da.name or 'signal')}"
    kind = np.complex64 if floating(da.dtype).itemsize == 4 else np.complex128
    output = chunked.Output(kind, (name,), {name: kept.size}, {**da.attrs, "units": units, "long_name": label})
    kwargs = {
        "response": response,
        "kept": kept,
        "step": abs(axis.step),
        "flip": axis.step < 0,
        "tolerance": tolerance,
    }
    found = chunked.apply(_condensed, da, dims=[[axis.dim]], outputs={"c": output}, kwargs=kwargs)["c"]
    found = found.assign_coords({name: coord}).transpose(*[name if d == axis.dim else d for d in da.dims])
    return found.rename(f"{da.name}_fft" if da.name else "fft")


def _rebuilt(values: np.ndarray, *, place: np.ndarray, size: int, step: float, flip: bool) -> np.ndarray:
    spectrum = np.zeros((*values.shape[:-1], size // 2 + 1), values.dtype)
    spectrum[..., place] = values / step
    signal = inverse(spectrum, size, True)
    return signal[..., ::-1] if flip else signal


@recorded("filter.rebuild")
def rebuild(data: xr.DataArray | xr.Dataset, dim: str | None = None, *, variable: str | None = None) -> xr.DataArray:
    """The time signals that `condense` was made from, filtered.

    Parameters
    ----------
    data : DataArray or Dataset
        From `condense`; frequencies may have been left out since.
    dim : str, optional
        The reciprocal dim; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.

    Returns
    -------
    DataArray
        Real, with the axis and units of the signal.

    Raises
    ------
    ValueError
        If the coordinate does not say what it came from.

    Notes
    -----
    *Laziness*: lazy, one pass. (Earlier code mirrored the bins without conjugation, which is right for even signals
    only.)

    Examples
    --------
    >>> from xpycro.processing.filters import LowPass
    >>> signal = xr.DataArray(np.arange(6.0), dims="time")
    >>> rebuild(condense(signal, LowPass(0.5, roll_off=0))).values.round(12)
    array([0., 1., 2., 3., 4., 5.])
    """
    da = numbers(pick(data, variable, dim))
    here = along(da, dim)
    coord = da.coords.get(here.name)
    if coord is None or not coord.attrs.get("one_sided") or "original_step" not in coord.attrs:
        raise ValueError(f"{here.name} does not say which axis it came from: pass what condense returned")
    size, step = int(coord.attrs["original_size"]), float(coord.attrs["original_step"])
    place = np.rint(coord.values.astype(float) * size * abs(step)).astype(int)
    # the axis as if nothing had been left out
    every = coord.isel({here.dim: 0}).drop_vars(list(coord.coords)).expand_dims({here.dim: size // 2 + 1})
    target = original_coordinate(every.rename(here.name).assign_attrs(coord.attrs))
    units = combine_units((str(da.attrs.get("units", "1")), 1), (target.units, -1))
    label = str(da.attrs.get("long_name", da.name or "signal")).removeprefix("Fourier transform of ")
    kind = np.float32 if da.dtype == np.complex64 else np.float64
    output = chunked.Output(kind, (target.dim,), {target.dim: size}, {**da.attrs, "units": units, "long_name": label})
    kwargs = {"place": place, "size": size, "step": abs(step), "flip": step < 0}
    found = chunked.apply(_rebuilt, da, dims=[[here.dim]], outputs={"r": output}, kwargs=kwargs)["r"]
    restored = coordinate(target.dim, target.values, name=target.name, units=target.units)
    found = found.assign_coords({target.name: restored})
    name = str(da.name).removesuffix("_fft") if da.name else None
    return found.transpose(*[target.dim if d == here.dim else d for d in da.dims]).rename(name)

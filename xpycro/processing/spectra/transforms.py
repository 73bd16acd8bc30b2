"""Fourier transform along one dimension, its inverse, and the power spectrum.

May import numpy, xarray, scipy (inside functions), engine and the base floor.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, floating, numbers, samples
from xpycro.engine.fourier import original_coordinate, reciprocal_coordinate, reciprocal_name, taper
from xpycro.provenance import recorded
from xpycro.schema import coordinate, pick
from xpycro.units import combine_units

__all__ = ["fft", "ifft", "power_spectrum"]


def _fft(values: np.ndarray, *, weights: np.ndarray | None, step: float, one_sided: bool, flip: bool) -> np.ndarray:
    from scipy import fft as scipy_fft

    signal = values.astype(floating(values.dtype), copy=False)
    signal = signal[..., ::-1] if flip else signal
    if weights is not None:
        signal = signal * weights.astype(signal.real.dtype)
    if one_sided:
        spectrum = scipy_fft.rfft(signal, axis=-1)
    else:
        spectrum = scipy_fft.fftshift(scipy_fft.fft(signal, axis=-1), axes=-1)
    spectrum *= step
    return spectrum


@recorded("spectra.fft")
def fft(
    data: xr.DataArray | xr.Dataset,
    dim: str | None = None,
    *,
    variable: str | None = None,
    window: str | None = None,
    one_sided: bool | None = None,
) -> xr.DataArray:
    """Fourier transform along one dimension: ``F(f) = sum x(t) w(t) exp(-2 pi i f t) dt``, t from the first sample.

    Parameters
    ----------
    data : DataArray or Dataset
        Real or complex.
    dim : str, optional
        An evenly spaced dim or 1-D coordinate; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.
    window : str, optional
        Any window of `scipy.signal.get_window`, normalised to a mean square of one, so that noise keeps its power.
    one_sided : bool, optional
        Only frequencies from zero up, which hold all of a real signal; None does so for real data.

    Returns
    -------
    DataArray
        Complex; `dim` becomes its reciprocal (``time`` to ``frequency``, ``x`` to ``kx``, others ``<dim>_frequency``),
        ascending, in cycles per unit of the axis (Hz for s). Units of the data times those of the axis; complex64 for
        single precision.

    Raises
    ------
    DimensionError
        If the dim is missing or not decidable.
    ValueError
        If the axis is uneven, or one side of complex data is asked for.

    Notes
    -----
    *Laziness*: lazy, one pass; `dim` is held whole. One NaN makes a transform NaN. `ifft` restores axis and numbers.

    Examples
    --------
    >>> t = np.arange(100) * 1e-3
    >>> signal = xr.DataArray(np.cos(2 * np.pi * 50 * t), coords={"time": ("time", t, {"units": "s"})}, dims="time")
    >>> spectrum = fft(signal)
    >>> float(spectrum.frequency[abs(spectrum).argmax("frequency")]), spectrum.frequency.units
    (50.0, 'Hz')
    """
    da = numbers(pick(data, variable, dim))
    axis = along(da, dim)
    complex_data = da.dtype.kind == "c"
    if one_sided and complex_data:
        raise ValueError(f"one_sided=True: {da.name} is complex, its negative frequencies are not redundant")
    half = not complex_data if one_sided is None else one_sided
    name = reciprocal_name(axis.dim, tuple(map(str, da.dims)))
    coord = reciprocal_coordinate(axis, name, one_sided=half)
    output = chunked.Output(
        np.complex64 if floating(da.dtype).itemsize == (8 if complex_data else 4) else np.complex128,
        (name,),
        {name: coord.size},
        {
            **da.attrs,
            "units": combine_units((str(da.attrs.get("units", "1")), 1), (axis.units, 1)),
            "long_name": f"Fourier transform of {da.attrs.get('long_name', da.name or 'signal')}",
        },
    )
    weights = None if window is None else taper(window, axis.size)
    kwargs = {"weights": weights, "step": abs(axis.step), "one_sided": half, "flip": axis.step < 0}
    result = chunked.apply(_fft, da, dims=[[axis.dim]], outputs={"fft": output}, kwargs=kwargs)["fft"]
    result = result.assign_coords({name: coord}).transpose(*[name if d == axis.dim else d for d in da.dims])
    return result.rename(f"{da.name}_fft" if da.name else "fft")


def _ifft(values: np.ndarray, *, step: float, size: int, one_sided: bool, flip: bool) -> np.ndarray:
    from scipy import fft as scipy_fft

    if one_sided:
        signal = scipy_fft.irfft(values, size, axis=-1)
    else:
        signal = scipy_fft.ifft(scipy_fft.ifftshift(values, axes=-1), axis=-1)
    signal /= step
    return signal[..., ::-1] if flip else signal


@recorded("spectra.ifft")
def ifft(data: xr.DataArray | xr.Dataset, dim: str | None = None, *, variable: str | None = None) -> xr.DataArray:
    """The inverse of `fft`: numbers, axis and units of the signal.

    Parameters
    ----------
    data : DataArray or Dataset
        A whole transform; frequencies that are not wanted are set to zero, not cropped.
    dim : str, optional
        The reciprocal dim; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.

    Returns
    -------
    DataArray
        Real of a one-sided transform, else complex. The axis is the one `fft` noted in the coordinate's attributes; of
        a spectrum from elsewhere (two-sided, ascending) one that starts at zero. Units of the data per those of the
        axis restored.

    Raises
    ------
    ValueError
        If part of the transform is missing, or the axis is uneven.

    Notes
    -----
    *Laziness*: lazy, one pass; `dim` is held whole.

    Examples
    --------
    >>> signal = xr.DataArray([1.0, 4.0, 2.0], coords={"time": ("time", [0.5, 0.6, 0.7], {"units": "s"})}, dims="time")
    >>> ifft(fft(signal)).values.round(12), ifft(fft(signal)).time.values
    (array([1., 4., 2.]), array([0.5, 0.6, 0.7]))
    """
    da = numbers(pick(data, variable, dim))
    here = along(da, dim)
    coord = da.coords[here.name] if here.name in da.coords else xr.DataArray(here.values, dims=here.dim, name=here.dim)
    one_sided = bool(coord.attrs.get("one_sided", 0))
    target = original_coordinate(coord)
    double = da.dtype.itemsize > 8 or da.dtype.kind != "c"
    kind = {(0, 0): np.complex64, (0, 1): np.complex128, (1, 0): np.float32, (1, 1): np.float64}[one_sided, double]
    units = combine_units((str(da.attrs.get("units", "1")), 1), (target.units, -1))
    label = str(da.attrs.get("long_name", da.name or "spectrum")).removeprefix("Fourier transform of ")
    output = chunked.Output(
        kind, (target.dim,), {target.dim: target.size}, {**da.attrs, "units": units, "long_name": label}
    )
    kwargs = {"step": abs(target.step), "size": target.size, "one_sided": one_sided, "flip": target.step < 0}
    result = chunked.apply(_ifft, da, dims=[[here.dim]], outputs={"ifft": output}, kwargs=kwargs)["ifft"]
    restored = coordinate(target.dim, target.values, name=target.name, units=target.units)
    result = result.assign_coords({target.name: restored})
    name = str(da.name).removesuffix("_fft") if da.name else None
    return result.transpose(*[target.dim if d == here.dim else d for d in da.dims]).rename(name)


def _power(values: np.ndarray, *, rate: float, window: str | None, length: int, scaling: str) -> np.ndarray:
    from scipy import signal

    samples_ = values.astype(floating(values.dtype), copy=False)
    power = signal.welch(
        samples_, rate, window=window or "boxcar", nperseg=length, detrend="constant", scaling=scaling, axis=-1
    )[1]
    return np.fft.fftshift(power, axes=-1) if values.dtype.kind == "c" else power


@recorded("spectra.power_spectrum")
def power_spectrum(
    data: xr.DataArray | xr.Dataset,
    dim: str | None = None,
    *,
    variable: str | None = None,
    window: str | None = "hann",
    segment: float | None = None,
    scaling: str = "density",
) -> xr.DataArray:
    """Power spectrum about the mean along one dimension, by Welch's average of half-overlapping segments.

    Parameters
    ----------
    data : DataArray or Dataset
        Real (one-sided spectrum) or complex (two-sided, ascending).
    dim : str, optional
        An evenly spaced dim or 1-D coordinate; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.
    window : str or None
        Any window of `scipy.signal.get_window`.
    segment : float, optional
        Length of a segment in units of the axis: shorter ones give less noise and less resolution. None is one segment.
    scaling : {"density", "power"}
        Density, whose integral is the variance; or the power of a sine at its peak.

    Returns
    -------
    DataArray
        `dim` becomes its reciprocal as in `fft`; units squared per unit of the reciprocal axis, or units squared.

    Raises
    ------
    ValueError
        If the axis is uneven, the segment does not fit, or the scaling is unknown.

    References
    ----------
    P. D. Welch, IEEE Trans. Audio Electroacoust. 15, 70 (1967).

    Notes
    -----
    *Laziness*: lazy, one pass; `dim` is held whole.

    Examples
    --------
    >>> noise = xr.DataArray(np.random.default_rng(0).normal(size=4096), dims="time")
    >>> bool(abs(power_spectrum(noise, "time").mean() - 2) < 0.2)  # variance 1 over frequencies 0 to 1/2
    True
    """
    if scaling not in ("density", "power"):
        raise ValueError(f"scaling={scaling!r}: choose 'density' or 'power'")
    da = numbers(pick(data, variable, dim))
    axis = along(da, dim)
    step = abs(axis.step)
    length = axis.size if segment is None else samples(axis, segment, least=2, what="segment")
    name = reciprocal_name(axis.dim, tuple(map(str, da.dims)))
    two_sided = da.dtype.kind == "c"
    full = reciprocal_coordinate(axis, name)
    values = np.fft.fftshift(np.fft.fftfreq(length, step)) if two_sided else np.fft.rfftfreq(length, step)
    coord = coordinate(name, values, **{k: full.attrs[k] for k in ("units", "long_name", "dimension_type")})
    units = combine_units((str(da.attrs.get("units", "1")), 2), (axis.units, 1 if scaling == "density" else 0))
    output = chunked.Output(
        np.dtype(floating(da.dtype).type(0).real.dtype),
        (name,),
        {name: values.size},
        {**da.attrs, "units": units.replace("^2 s", "^2/Hz") if axis.units == "s" else units,
         "long_name": f"Power spectrum of {da.attrs.get('long_name', da.name or 'signal')}"},
    )  # fmt: skip
    kwargs = {"rate": 1 / step, "window": window, "length": length, "scaling": scaling.replace("power", "spectrum")}
    result = chunked.apply(_power, da, dims=[[axis.dim]], outputs={"power": output}, kwargs=kwargs)["power"]
    result = result.assign_coords({name: coord}).transpose(*[name if d == axis.dim else d for d in da.dims])
    return result.rename(f"{da.name}_power" if da.name else "power")

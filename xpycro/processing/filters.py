"""Frequency filters as values that compose, and what applies them: to signals, condensed to the bins that are kept.

``LowPass(50e3) & NoiseBand([60e3], [1e3])`` is a filter; cut-offs are in the reciprocal unit of the dim. May import
numpy, xarray, scipy (inside functions), engine and the base floor; not its siblings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import Axis, along, floating, numbers, real_numbers
from xpycro.engine.fourier import (
    frequencies,
    original_coordinate,
    reciprocal_coordinate,
    reciprocal_name,
    reciprocal_units,
)
from xpycro.provenance import recorded
from xpycro.schema import coordinate, pick
from xpycro.units import combine_units

__all__ = [
    "BandPass",
    "Composite",
    "Filter",
    "HarmonicPass",
    "HighPass",
    "LowPass",
    "NoiseBand",
    "apply",
    "condense",
    "lines_to_pixels",
    "noise_floor",
    "preview",
    "rebuild",
]

_SLICE_BYTES = 4 << 20  # lines are taken a few at a time: signal and spectrum stay in the cache


# ---------------------------------------------------------------------------------------------------------- filters


@dataclass(frozen=True)
class Filter:
    """A factor for each frequency; filters are multiplied with ``&``."""

    def __and__(self, other: Filter) -> Composite:
        if not isinstance(other, Filter):
            return NotImplemented
        return Composite((*_parts(self), *_parts(other)))

    def response(self, frequency: np.ndarray, rate: float) -> np.ndarray:
        """The factor at each frequency, negative ones included.

        Parameters
        ----------
        frequency : ndarray
            In the reciprocal unit of the axis.
        rate : float
            Samples per unit of the axis.

        Returns
        -------
        ndarray
            Between 0 and 1, symmetric in the frequency.
        """
        raise NotImplementedError

    def edges(self) -> tuple[float, ...]:
        """The frequencies that define it; each must lie below half the sampling rate."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Name and parameters, for the history."""
        return {"$filter": type(self).__name__, **asdict(self)}


def _parts(item: Filter) -> tuple[Filter, ...]:
    return item.filters if isinstance(item, Composite) else (item,)


def _positive(owner: str, **values: float) -> None:
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{owner}: {name}={value} must be a positive frequency")


@dataclass(frozen=True)
class Composite(Filter):
    """The product of filters; made by ``&``."""

    filters: tuple[Filter, ...]

    def response(self, frequency: np.ndarray, rate: float) -> np.ndarray:
        return np.prod([item.response(frequency, rate) for item in self.filters], axis=0)

    def edges(self) -> tuple[float, ...]:
        return tuple(edge for item in self.filters for edge in item.edges())

    def describe(self) -> dict[str, Any]:
        return {"$filter": "Composite", "filters": [item.describe() for item in self.filters]}


@dataclass(frozen=True)
class LowPass(Filter):
    """One up to the cut-off, falling to zero as an error function just below it.

    Parameters
    ----------
    cutoff : float
        From here on nothing passes.
    roll_off : float
        Part of the cut-off over which it falls, ``(1 + erf(t)) / 2`` with t from 2.5 to -2.5; 0 is a step.

    Examples
    --------
    >>> LowPass(100.0).response(np.array([0.0, 90.0, 97.5, 100.1]), 1000.0)
    array([1. , 1. , 0.5, 0. ])
    """

    cutoff: float
    roll_off: float = 0.05

    def __post_init__(self) -> None:
        _positive("LowPass", cutoff=self.cutoff)
        if not 0 <= self.roll_off <= 1:
            raise ValueError(f"LowPass: roll_off={self.roll_off} is the part of the cut-off, between 0 and 1")

    def response(self, frequency: np.ndarray, rate: float) -> np.ndarray:
        from scipy.special import erf

        size = np.abs(frequency)
        if self.roll_off == 0:
            return (size <= self.cutoff).astype(float)
        fall = (size - self.cutoff * (1 - self.roll_off)) / (self.cutoff * self.roll_off)
        inside = 0.5 * (1 + erf(2.5 - 5 * np.clip(fall, 0, 1)))
        return np.where(fall <= 0, 1.0, np.where(fall >= 1, 0.0, inside))

    def edges(self) -> tuple[float, ...]:
        return (self.cutoff,)


@dataclass(frozen=True)
class HighPass(Filter):
    """One minus the `LowPass` of the same parameters: nothing passes below the roll-off, all from the cut-off on.

    Examples
    --------
    >>> HighPass(100.0).response(np.array([0.0, 97.5, 100.1]), 1000.0)
    array([0. , 0.5, 1. ])
    """

    cutoff: float
    roll_off: float = 0.05

    def __post_init__(self) -> None:
        LowPass(self.cutoff, self.roll_off)

    def response(self, frequency: np.ndarray, rate: float) -> np.ndarray:
        return 1.0 - LowPass(self.cutoff, self.roll_off).response(frequency, rate)

    def edges(self) -> tuple[float, ...]:
        return (self.cutoff,)


@dataclass(frozen=True)
class BandPass(Filter):
    """Only a band around plus and minus a frequency.

    Parameters
    ----------
    center, width : float
    taps : int, optional
        Shape it as the magnitude of a finite impulse response of this many samples (odd) with a Blackman window; None
        is a box.

    Examples
    --------
    >>> BandPass(100.0, 20.0).response(np.array([-95.0, 0.0, 105.0, 111.0]), 1000.0)
    array([1., 0., 1., 0.])
    """

    center: float
    width: float
    taps: int | None = None

    def __post_init__(self) -> None:
        _positive("BandPass", center=self.center, width=self.width)
        if self.width >= 2 * self.center:
            raise ValueError(f"BandPass: width={self.width} reaches zero frequency; use LowPass")
        if self.taps is not None and (self.taps < 3 or self.taps % 2 == 0):
            raise ValueError(f"BandPass: taps={self.taps} must be odd and at least 3")

    def response(self, frequency: np.ndarray, rate: float) -> np.ndarray:
        low, high = self.edges()
        size = np.abs(frequency)
        if self.taps is None:
            return ((size >= low) & (size <= high)).astype(float)
        from scipy import signal

        kernel = signal.firwin(self.taps, [low, high], pass_zero=False, window="blackman", fs=rate)
        return np.abs(signal.freqz(kernel, worN=np.minimum(size, rate / 2), fs=rate, include_nyquist=True)[1])

    def edges(self) -> tuple[float, ...]:
        return (self.center - self.width / 2, self.center + self.width / 2)


@dataclass(frozen=True)
class NoiseBand(Filter):
    """Nothing within bands around plus and minus some frequencies, such as the mains and its harmonics.

    Parameters
    ----------
    frequencies : sequence of float
    widths : float or sequence of float
        Full widths, one for all or one each.

    Examples
    --------
    >>> NoiseBand([50.0, 150.0], 4.0).response(np.array([47.0, 49.0, -151.0, 153.0]), 1000.0)
    array([1., 0., 0., 1.])
    """

    frequencies: Sequence[float]
    widths: float | Sequence[float]

    def __post_init__(self) -> None:
        centres = tuple(float(f) for f in np.atleast_1d(self.frequencies))
        widths = np.atleast_1d(np.asarray(self.widths, dtype=float))
        if widths.size not in (1, len(centres)):
            raise ValueError(f"NoiseBand: {widths.size} widths for {len(centres)} frequencies")
        if not centres or not all(f >= 0 and np.isfinite(f) for f in centres):
            raise ValueError(f"NoiseBand: frequencies={self.frequencies} must be some, finite, zero or positive")
        _positive("NoiseBand", width=float(widths.min()))
        object.__setattr__(self, "frequencies", centres)
        object.__setattr__(self, "widths", tuple(float(w) for w in np.broadcast_to(widths, len(centres))))

    def response(self, frequency: np.ndarray, rate: float) -> np.ndarray:
        size = np.abs(frequency)
        keep = np.ones(size.shape)
        for centre, width in zip(self.frequencies, self.widths, strict=True):  # type: ignore[arg-type]
            keep[np.abs(size - centre) <= width / 2] = 0.0
        return keep

    def edges(self) -> tuple[float, ...]:
        return tuple(self.frequencies)


@dataclass(frozen=True)
class HarmonicPass(Filter):
    """Only bands around the first harmonics of a frequency; zero frequency does not pass.

    Parameters
    ----------
    frequency : float
        The first harmonic.
    width : float
        Full width of each band.
    count : int
        How many harmonics; those beyond half the sampling rate do not matter.

    Examples
    --------
    >>> HarmonicPass(100.0, 10.0, 2).response(np.array([0.0, 96.0, 200.0, 300.0]), 1000.0)
    array([0., 1., 1., 0.])
    """

    frequency: float
    width: float
    count: int

    def __post_init__(self) -> None:
        _positive("HarmonicPass", frequency=self.frequency, width=self.width)
        if self.count < 1:
            raise ValueError(f"HarmonicPass: count={self.count} must be at least 1")
        if self.width >= self.frequency:
            raise ValueError(f"HarmonicPass: bands of width={self.width} around multiples of {self.frequency} overlap")

    def response(self, frequency: np.ndarray, rate: float) -> np.ndarray:
        size = np.abs(frequency)
        order = np.round(size / self.frequency)
        near = np.abs(size - order * self.frequency) <= self.width / 2
        return (near & (order >= 1) & (order <= self.count)).astype(float)

    def edges(self) -> tuple[float, ...]:
        return (self.frequency,)


def _response(chosen: Filter, axis: Axis, frequency: np.ndarray) -> np.ndarray:
    """The filter on the frequencies of an axis, after checking that it has something to do there."""
    if not isinstance(chosen, Filter):
        names = ["LowPass", "HighPass", "BandPass", "NoiseBand", "HarmonicPass"]
        raise TypeError(f"filter={chosen!r} is no filter: compose {names} with &")
    rate = 1 / abs(axis.step)
    beyond = [edge for edge in chosen.edges() if edge > rate / 2 * (1 + 1e-9)]
    if beyond:
        units = reciprocal_units(axis.units)
        raise ValueError(
            f"filter: {beyond} {units} lies beyond {rate / 2:g} {units}, half the sampling rate along {axis.name}"
        )
    return chosen.response(frequency, rate)


# ------------------------------------------------------------------------------------------------------ noise floor


def _floor(amplitude: np.ndarray, tolerance: float) -> np.ndarray:
    """Threshold of each row of spectral amplitudes that noise exceeds with the given probability, kept dims.

    The amplitude of complex Gaussian noise follows Rayleigh's law; s is estimated from the bins below the threshold,
    corrected for the tail that is cut away, beginning from the median.
    """
    log = -np.log(tolerance)
    kept = 1 - log * tolerance / (1 - tolerance)  # E[r^2 | r < threshold] / 2 s^2
    scale = np.median(amplitude, axis=-1, keepdims=True) / np.sqrt(2 * np.log(2))
    power = amplitude.astype(float) ** 2
    moving = np.ones(scale.shape, bool)
    for _ in range(100):
        below = power <= 2 * log * scale**2
        count = np.maximum(below.sum(axis=-1, keepdims=True), 1)
        fresh = np.sqrt(np.where(below, power, 0).sum(axis=-1, keepdims=True) / (2 * count * kept))
        with np.errstate(invalid="ignore"):
            # a settled line stays: going on with others would make it depend on its block
            moving &= np.abs(fresh - scale) > 1e-4 * scale
        scale = np.where(moving & (fresh > 0), fresh, scale)
        if not moving.any():
            break
    return scale * np.sqrt(2 * log)


def _noise_bins(spectrum: np.ndarray, size: int, one_sided: bool) -> np.ndarray:
    """The amplitudes that follow Rayleigh's law: not zero frequency, and not the last bin of a real signal."""
    if not one_sided:
        return np.abs(spectrum[..., 1:])
    return np.abs(spectrum[..., 1:-1] if size % 2 == 0 else spectrum[..., 1:])


def _transform(lines: np.ndarray, one_sided: bool) -> np.ndarray:
    from scipy import fft as scipy_fft

    return scipy_fft.rfft(lines, axis=-1) if one_sided else scipy_fft.fft(lines, axis=-1)


def _inverse(spectrum: np.ndarray, size: int, one_sided: bool) -> np.ndarray:
    from scipy import fft as scipy_fft

    if one_sided:
        return scipy_fft.irfft(spectrum, size, axis=-1, overwrite_x=True)
    return scipy_fft.ifft(spectrum, axis=-1, overwrite_x=True)


def _line_slices(shape: tuple[int, ...], itemsize: int) -> list[slice]:
    count = max(1, _SLICE_BYTES // max(1, shape[-1] * itemsize))
    return [slice(begin, begin + count) for begin in range(0, shape[0], count)]


def _floors(values: np.ndarray, *, tolerance: float, step: float, one_sided: bool) -> np.ndarray:
    kind = floating(values.dtype)
    lines = values.reshape(-1, values.shape[-1])
    out = np.empty((len(lines), 1))
    for part in _line_slices(lines.shape, kind.itemsize):
        spectrum = _transform(lines[part].astype(kind, copy=False), one_sided)
        out[part] = _floor(_noise_bins(spectrum, values.shape[-1], one_sided), tolerance)
    return out.reshape(values.shape[:-1]) * step


def _check_tolerance(tolerance: float | None) -> None:
    if tolerance is not None and not 0 < tolerance < 1:
        raise ValueError(f"tolerance={tolerance}: a probability between 0 and 1, such as 1e-6")


@recorded("filter.noise_floor")
def noise_floor(
    data: xr.DataArray | xr.Dataset,
    tolerance: float = 1e-6,
    dim: str | None = None,
    *,
    variable: str | None = None,
) -> xr.DataArray:
    """The spectral amplitude that white noise exceeds with a given probability, of each line.

    Parameters
    ----------
    data : DataArray or Dataset
        Signals, real or complex.
    tolerance : float
        Probability that a bin of noise alone lies above.
    dim : str, optional
        An evenly spaced dim or 1-D coordinate; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.

    Returns
    -------
    DataArray
        Over the other dims, comparable to ``abs(spectra.fft(data))``: units of the data times those of the axis.

    Raises
    ------
    ValueError
        If the axis is uneven or has fewer than eight samples, or the tolerance is no probability.

    Notes
    -----
    *Laziness*: lazy, one pass. Scale-free: it starts from the median amplitude and divides by the bins that remain,
    with the expectation of a truncated Rayleigh law, so signals in up to about half of the bins do not bias it. (The
    scheme it follows stopped on an absolute change and divided by all bins.) Zero frequency does not count. NaN give
    NaN.

    Examples
    --------
    >>> noise = xr.DataArray(np.random.default_rng(0).normal(size=4096), dims="time")
    >>> round(float(noise_floor(noise, 0.01, "time") / np.sqrt(4096 * -np.log(0.01))), 1)
    1.0
    """
    _check_tolerance(tolerance)
    da = numbers(pick(data, variable, dim))
    axis = along(da, dim)
    if axis.size < 8:
        raise ValueError(f"{axis.name} has {axis.size} samples; a noise floor needs at least 8")
    units = combine_units((str(da.attrs.get("units", "1")), 1), (axis.units, 1))
    output = chunked.Output(float, attrs={"units": units, "long_name": "Noise floor"})
    kwargs = {"tolerance": tolerance, "step": abs(axis.step), "one_sided": da.dtype.kind != "c"}
    found = chunked.apply(_floors, da, dims=[[axis.dim]], outputs={"noise_floor": output}, kwargs=kwargs)
    return found["noise_floor"]


# --------------------------------------------------------------------------------------------------------- applying


def _filtered(values: np.ndarray, *, response: np.ndarray, tolerance: float | None) -> np.ndarray:
    kind, size = floating(values.dtype), values.shape[-1]
    one_sided = kind.kind != "c"
    lines = values.reshape(-1, size)
    out = np.empty(lines.shape, kind)
    factor = response.astype(np.zeros(0, kind).real.dtype)
    for part in _line_slices(lines.shape, kind.itemsize):
        spectrum = _transform(lines[part].astype(kind, copy=False), one_sided)
        if tolerance is not None:
            floor = _floor(_noise_bins(spectrum, size, one_sided), tolerance)
            spectrum[np.abs(spectrum) < floor] = 0
        spectrum *= factor
        out[part] = _inverse(spectrum, size, one_sided)
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
    >>> t = np.arange(1000) * 1e-3
    >>> slow, hum = np.sin(2 * np.pi * 5 * t), 0.3 * np.sin(2 * np.pi * 50 * t)
    >>> signal = xr.DataArray(slow + hum, coords={"time": ("time", t, {"units": "s"})}, dims="time")
    >>> clean = apply(signal, LowPass(200) & NoiseBand([50], [4]))
    >>> bool(abs(clean - slow).max() < 1e-12)
    True
    """
    _check_tolerance(tolerance)
    da = numbers(pick(data, variable, dim))
    axis = along(da, dim)
    response = _response(filter, axis, _bins(axis, da.dtype.kind != "c"))
    output = chunked.Output(floating(da.dtype), (axis.dim,), attrs=da.attrs)
    kwargs = {"response": response, "tolerance": tolerance}
    found = chunked.apply(_filtered, da, dims=[[axis.dim]], outputs={"filtered": output}, kwargs=kwargs)["filtered"]
    return found.transpose(*da.dims).rename(da.name)


def _bins(axis: Axis, one_sided: bool) -> np.ndarray:
    """Frequencies in the order of a transform."""
    step = abs(axis.step)
    return np.fft.rfftfreq(axis.size, step) if one_sided else np.fft.fftfreq(axis.size, step)


def _condensed(
    values: np.ndarray, *, response: np.ndarray, kept: np.ndarray, step: float, flip: bool, tolerance: float | None
) -> np.ndarray:
    kind, size = floating(values.dtype), values.shape[-1]
    lines = values.reshape(-1, size)
    lines = lines[:, ::-1] if flip else lines
    out = np.empty((len(lines), kept.size), np.complex64 if kind.itemsize == 4 else np.complex128)
    factor = (response[kept] * step).astype(kind)
    for part in _line_slices(lines.shape, kind.itemsize):
        spectrum = _transform(lines[part].astype(kind, copy=False), True)
        picked = spectrum[:, kept]
        if tolerance is not None:
            floor = _floor(_noise_bins(spectrum, size, True), tolerance)
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
    >>> t = np.arange(1000) * 1e-3
    >>> signal = xr.DataArray(np.sin(2 * np.pi * 50 * t), coords={"time": ("time", t, {"units": "s"})}, dims="time")
    >>> small = condense(signal, HarmonicPass(50, 3, 2))
    >>> small.sizes["frequency"], bool(abs(rebuild(small) - signal).max() < 1e-12)
    (6, True)
    """
    _check_tolerance(tolerance)
    da = real_numbers(pick(data, variable, dim))
    axis = along(da, dim)
    response = _response(filter, axis, _bins(axis, True))
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
    signal = _inverse(spectrum, size, True)
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
        ``before``, ``after`` over the line's dim in its units; ``amplitude`` (the magnitude of the transform) over the
        reciprocal dim, ``response`` of the filter there (dimensionless), and with a tolerance ``noise_floor`` (a
        number, units as ``amplitude``).

    Raises
    ------
    ValueError
        If there is more than one line.

    Notes
    -----
    *Laziness*: lazy.

    Examples
    --------
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
    response = _response(filter, axis, frequencies(axis, one_sided=one_sided))
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
    return xr.Dataset(parts).assign_coords({name: coord})


def _amplitude(values: np.ndarray, *, one_sided: bool, step: float) -> np.ndarray:
    spectrum = np.abs(_transform(values.astype(floating(values.dtype), copy=False), one_sided)) * step
    return spectrum if one_sided else np.fft.fftshift(spectrum, axes=-1)


# ------------------------------------------------------------------------------------------------------------ lines


def _split(values: np.ndarray, *, pixels: int) -> np.ndarray:
    return values.reshape(*values.shape[:-1], pixels, values.shape[-1] // pixels)


@recorded("filter.lines_to_pixels")
def lines_to_pixels(
    data: xr.DataArray | xr.Dataset,
    pixels: int,
    dim: str | None = None,
    *,
    variable: str | None = None,
    name: str = "x",
    width: float | None = None,
) -> xr.DataArray:
    """Cut continuously recorded lines (general-mode AFM) into pixels.

    Parameters
    ----------
    data : DataArray or Dataset
        Over ``y, time``, say.
    pixels : int
        How many pixels a line has; its samples must be a whole multiple.
    dim : str, optional
        An evenly spaced dim; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.
    name : str
        The new dim.
    width : float, optional
        Length of the line in metres; without it the new coordinate counts pixels.

    Returns
    -------
    DataArray
        `name` before `dim`, which is shorter and starts at zero in each pixel. Units of the input.

    Raises
    ------
    ValueError
        If the samples cannot be shared out, or the new dim exists.

    Notes
    -----
    *Laziness*: lazy.

    Examples
    --------
    >>> lines_to_pixels(xr.DataArray(np.zeros((2, 12)), dims=("y", "time")), 4).sizes["time"]
    3
    """
    da = pick(data, variable, dim)
    axis = along(da, dim)
    if name in da.dims:
        raise ValueError(f"name={name!r}: the data have this dim already ({dict(da.sizes)})")
    if pixels < 1 or axis.size % pixels:
        fitting = [n for n in range(max(1, pixels // 2), 2 * pixels + 1) if axis.size % n == 0]
        raise ValueError(
            f"pixels={pixels}: {axis.size} samples along {axis.dim} are no whole multiple; near it fit {fitting}"
        )
    count = axis.size // pixels
    output = chunked.Output(da.dtype, (name, "_sample"), {name: pixels, "_sample": count}, da.attrs)
    found = chunked.apply(_split, da, dims=[[axis.dim]], outputs={"p": output}, kwargs={"pixels": pixels})["p"]
    order = [d for dim_ in da.dims for d in ((name, "_sample") if dim_ == axis.dim else (dim_,))]
    found = found.transpose(*order).rename({"_sample": axis.dim})
    places = (np.arange(pixels) + 0.5) * (1.0 if width is None else width / pixels)
    inside = coordinate(axis.dim, np.arange(count) * abs(axis.step), units=axis.units)
    across = coordinate(name, places, units="pixel" if width is None else "m")
    return found.assign_coords({axis.dim: inside, name: across}).rename(da.name)

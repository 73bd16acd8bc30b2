"""The noise floor of spectra: the amplitude that noise alone exceeds with a given probability.

May import numpy, xarray, engine, the base floor and the transforms beside it; not what applies filters.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, floating, numbers
from xpycro.processing.filters.transforms import line_slices, transform
from xpycro.provenance import recorded
from xpycro.schema import pick
from xpycro.units import combine_units

__all__ = ["check_tolerance", "floor_of", "noise_bins", "noise_floor"]


def floor_of(amplitude: np.ndarray, tolerance: float) -> np.ndarray:
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


def noise_bins(spectrum: np.ndarray, size: int, one_sided: bool) -> np.ndarray:
    """The amplitudes that follow Rayleigh's law: not zero frequency, and not the last bin of a real signal."""
    if not one_sided:
        return np.abs(spectrum[..., 1:])
    return np.abs(spectrum[..., 1:-1] if size % 2 == 0 else spectrum[..., 1:])


def _floors(values: np.ndarray, *, tolerance: float, step: float, one_sided: bool) -> np.ndarray:
    kind = floating(values.dtype)
    lines = values.reshape(-1, values.shape[-1])
    out = np.empty((len(lines), 1))
    for part in line_slices(lines.shape, kind.itemsize):
        spectrum = transform(lines[part].astype(kind, copy=False), one_sided)
        out[part] = floor_of(noise_bins(spectrum, values.shape[-1], one_sided), tolerance)
    return out.reshape(values.shape[:-1]) * step


def check_tolerance(tolerance: float | None) -> None:
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
    check_tolerance(tolerance)
    da = numbers(pick(data, variable, dim))
    axis = along(da, dim)
    if axis.size < 8:
        raise ValueError(f"{axis.name} has {axis.size} samples; a noise floor needs at least 8")
    units = combine_units((str(da.attrs.get("units", "1")), 1), (axis.units, 1))
    output = chunked.Output(float, attrs={"units": units, "long_name": "Noise floor"})
    kwargs = {"tolerance": tolerance, "step": abs(axis.step), "one_sided": da.dtype.kind != "c"}
    found = chunked.apply(_floors, da, dims=[[axis.dim]], outputs={"noise_floor": output}, kwargs=kwargs)
    return found["noise_floor"]

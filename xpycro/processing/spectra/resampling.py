"""Binning and aligning: values brought to other places along one dimension.

May import numpy, xarray, scipy (inside functions), engine and the base floor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import Axis, along, floating, numbers, real_numbers
from xpycro.engine.fourier import find_shift_1d, shift_1d
from xpycro.provenance import recorded
from xpycro.schema import coordinate, observation_dims, pick

__all__ = ["align", "rebin"]


def _edges(values: np.ndarray) -> np.ndarray:
    """Borders half way between the samples of an ascending axis."""
    if values.size == 1:
        return np.array([values[0] - 0.5, values[0] + 0.5])
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])


def _overlap(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Length of each target bin that lies in each source bin, shape (target, source)."""
    low = np.maximum(target[:-1, None], source[None, :-1])
    high = np.minimum(target[1:, None], source[None, 1:])
    return np.maximum(high - low, 0.0)


def _binned(values: np.ndarray, *, overlap: np.ndarray, width: np.ndarray, how: str) -> np.ndarray:
    kind = floating(values.dtype)
    signal = values.astype(kind, copy=False)
    if how == "sum":  # a sample's counts are spread evenly over its own bin; NaN makes the bin NaN
        return (signal @ (overlap / width).T.astype(signal.real.dtype)).astype(kind)
    good = np.isfinite(signal)
    weight = good.astype(signal.real.dtype) @ overlap.T.astype(signal.real.dtype)
    total = np.where(good, signal, 0) @ overlap.T.astype(signal.real.dtype)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight > 0, total / weight, np.nan).astype(kind)


@recorded("spectra.rebin")
def rebin(
    data: xr.DataArray | xr.Dataset,
    to: float | Sequence[float] | np.ndarray | xr.DataArray,
    dim: str | None = None,
    *,
    variable: str | None = None,
    how: str = "mean",
) -> xr.DataArray:
    """Bin onto another axis, each sample shared out by the overlap of its own bin.

    Parameters
    ----------
    data : DataArray or Dataset
    to : float or sequence of float
        Width of the new bins in units of the axis, from its lower end up (what does not fill a bin at the upper end is
        dropped); or the new axis itself, ascending.
    dim : str, optional
        A monotonic dim or 1-D coordinate, even or not; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.
    how : {"mean", "sum"}
        ``mean`` for what is a density or a reading (current, intensity), ``sum`` for what is counted in a bin.

    Returns
    -------
    DataArray
        Units of the input, `dim` shorter and ascending, with the coordinate of the bins' middles. Bins outside the
        axis are NaN (``mean``) or 0 (``sum``).

    Raises
    ------
    ValueError
        If an axis turns back, or the width does not suit it.

    Notes
    -----
    *Laziness*: lazy, one pass. ``mean`` leaves NaN out; in a ``sum`` they make their bin NaN.

    Examples
    --------
    >>> counts = xr.DataArray([1.0, 3.0, 5.0, 7.0], coords={"energy": [0.5, 1.5, 2.5, 3.5]}, dims="energy")
    >>> rebin(counts, 2.0, how="sum").values, rebin(counts, 2.0).energy.values
    (array([ 4., 12.]), array([1., 3.]))
    """
    if how not in ("mean", "sum"):
        raise ValueError(f"how={how!r}: choose 'mean' or 'sum'")
    da = numbers(pick(data, variable, dim))
    axis = along(da, dim)
    axis.require_monotonic()
    if axis.values[-1] < axis.values[0]:
        da = da.isel({axis.dim: slice(None, None, -1)})
        axis = Axis(axis.dim, axis.name, axis.values[::-1], axis.units)
    source = _edges(axis.values)
    if np.ndim(to) == 0:
        width = float(to)  # type: ignore[arg-type]
        span = source[-1] - source[0]
        if not 0 < width <= span * (1 + 1e-9):
            raise ValueError(f"to={width:g}: a bin is wider than 0 and at most {span:g} {axis.units}, the whole axis")
        count = int(span / width + 1e-9)
        target = source[0] + width * np.arange(count + 1)
        middles = (target[1:] + target[:-1]) / 2
    else:
        middles = np.asarray(to, dtype=float)
        if middles.ndim != 1 or middles.size == 0 or not (np.diff(middles) > 0).all():
            raise ValueError("to=: the new axis must be one-dimensional and ascending")
        target = _edges(middles)
        if middles.size == 1:
            raise ValueError("to=: an axis of one value has no width; pass the width as a number")
    kwargs = {"overlap": _overlap(source, target), "width": np.diff(source), "how": how}
    # a temporary name, since the same dim cannot have two lengths in one evaluation
    output = chunked.Output(floating(da.dtype), ("_bin",), {"_bin": middles.size}, da.attrs)
    found = chunked.apply(_binned, da, dims=[[axis.dim]], outputs={"b": output}, kwargs=kwargs)["b"]
    found = found.transpose(*["_bin" if d == axis.dim else d for d in da.dims]).rename({"_bin": axis.dim})
    attrs = dict(da.coords[axis.name].attrs) if axis.name in da.coords else {}
    fresh = coordinate(axis.dim, middles, name=axis.name, units=axis.units)
    fresh.attrs.update(attrs)
    return found.assign_coords({axis.name: fresh}).rename(da.name)


def _aligned(values: np.ndarray, target: np.ndarray, *, most: int) -> tuple[np.ndarray, np.ndarray]:
    kind = floating(values.dtype)
    shift = find_shift_1d(values, target, most=most)
    return shift_1d(values, -shift).astype(kind), shift


@recorded("spectra.align")
def align(
    data: xr.DataArray | xr.Dataset,
    dim: str | None = None,
    *,
    variable: str | None = None,
    reference: xr.DataArray | None = None,
    max_shift: float | None = None,
) -> xr.Dataset:
    """Bring spectra into register with a reference, to a fraction of a sample.

    The lag of the largest correlation coefficient over the common samples, refined by least squares on gain, offset
    and shift.

    Parameters
    ----------
    data : DataArray or Dataset
        Real, without NaN.
    dim : str, optional
        An evenly spaced dim or 1-D coordinate; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.
    reference : DataArray, optional
        On the same axis (or one for each observation); None is the mean spectrum.
    max_shift : float, optional
        Largest shift looked for, in units of the axis; None is a quarter of it.

    Returns
    -------
    Dataset
        ``aligned``: the spectra moved back by cubic splines, dims and units of the data, NaN where nothing was
        measured; ``shift``: how far each spectrum lies above the reference along the axis, in its units, over the
        other dims.

    Raises
    ------
    ValueError
        If the axis is uneven, or the range is not positive.

    Notes
    -----
    *Laziness*: lazy; with the mean as reference two passes. A spectrum with NaN or without features gives NaN.

    Examples
    --------
    >>> x = np.linspace(-10, 10, 201)
    >>> peaks = np.exp(-((x - np.array([[0.0], [0.34]])) / 1.5) ** 2)
    >>> moved = xr.DataArray(peaks, coords={"energy_loss": x}, dims=("position", "energy_loss"))
    >>> float(align(moved, reference=moved[0])["shift"][1].round(3))
    0.34
    """
    da = real_numbers(pick(data, variable, dim))
    axis = along(da, dim)
    step = axis.step
    span = abs(step) * axis.size
    most = span / 4 if max_shift is None else float(max_shift)
    if not 0 < most < span:
        raise ValueError(f"max_shift={most:g}: between 0 and {span:g} {axis.units}, the length of {axis.name}")
    if reference is None:
        ready = chunked.lazily(da)
        target = ready.mean(observation_dims(da, [axis.dim]), skipna=True)
        da = chunked.after(ready, target.variable._data)
    else:
        target = real_numbers(reference)
        if axis.dim not in target.dims or target.sizes[axis.dim] != axis.size:
            raise ValueError(f"reference= must have {axis.dim!r} with {axis.size} points")
    label = da.attrs.get("long_name", da.name or "signal")
    units = {"units": axis.units, "long_name": f"Shift along {axis.name}"}
    outputs = {
        "aligned": chunked.Output(floating(da.dtype), (axis.dim,), attrs={**da.attrs, "long_name": label}),
        "shift": chunked.Output(float, attrs=units),
    }
    kwargs = {"most": max(1, int(np.ceil(most / abs(step))))}
    found = chunked.apply(_aligned, da, target, dims=[[axis.dim]] * 2, outputs=outputs, kwargs=kwargs)
    shift = (found["shift"] * step).assign_attrs(units)
    return xr.Dataset({"aligned": found["aligned"].transpose(*da.dims), "shift": shift})

"""Smoothing and derivatives along one dimension, NaN left out, sweeps that turn back taken branch by branch.

May import numpy, xarray, scipy (inside functions), engine and the base floor.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import Axis, along, floating, numbers, real_numbers, samples
from xpycro.provenance import recorded
from xpycro.schema import pick
from xpycro.units import combine_units

__all__ = ["derivative", "running_median", "smooth"]


def _savgol(values: np.ndarray, *, window: int, order: int, deriv: int = 0, step: float = 1.0) -> np.ndarray:
    """Local polynomials; rows with NaN by least squares over what is left of each window."""
    from scipy.signal import savgol_filter

    signal = values.astype(floating(values.dtype), copy=False)
    complete = np.isfinite(signal).all(axis=-1)
    out = np.full(signal.shape, np.nan, signal.dtype)
    if complete.any():
        out[complete] = savgol_filter(signal[complete], window, order, deriv, delta=step, axis=-1, mode="interp")
    if not complete.all():
        out[~complete] = _savgol_gaps(signal[~complete], window, order, deriv) / step**deriv
    return out


def _savgol_gaps(rows: np.ndarray, window: int, order: int, deriv: int) -> np.ndarray:
    from numpy.lib.stride_tricks import sliding_window_view

    n, half = rows.shape[-1], window // 2
    t = np.arange(window) - half
    design = np.vander(t / max(half, 1), order + 1, increasing=True)
    first = np.clip(np.arange(n) - half, 0, n - window)
    at = (np.arange(n) - first - half) / max(half, 1)
    # the deriv-th derivative of the local monomials where each sample lies in its window
    basis = np.zeros((n, order + 1))
    for power in range(deriv, order + 1):
        factor = np.prod(np.arange(power - deriv + 1, power + 1)) / max(half, 1) ** deriv
        basis[:, power] = factor * at ** (power - deriv)
    out = np.full(rows.shape, np.nan, rows.dtype)
    for index, row in enumerate(rows):
        good = np.isfinite(row)
        windows = sliding_window_view(np.where(good, row, 0), window)
        used = sliding_window_view(good, window).astype(float)
        normal = np.einsum("nw,wi,wj->nij", used, design, design)
        moments = np.einsum("nw,wi->ni", windows * used, design)
        enough = used.sum(axis=1) > order
        coefficients = np.full(moments.shape, np.nan, moments.dtype)
        if enough.any():
            coefficients[enough] = np.linalg.solve(normal[enough], moments[enough][..., None])[..., 0]
        smooth_row = np.einsum("ni,ni->n", coefficients[first], basis)
        out[index] = np.where(good, smooth_row, np.nan)
    return out


def _gaussian(values: np.ndarray, *, sigma: float) -> np.ndarray:
    """Normalised convolution: what is missing, inside or beyond the ends, does not count."""
    from scipy.ndimage import gaussian_filter1d

    signal = values.astype(floating(values.dtype), copy=False)
    good = np.isfinite(signal)
    kwargs = {"sigma": sigma, "axis": -1, "mode": "constant", "truncate": 5.0}
    weight = gaussian_filter1d(good.astype(signal.real.dtype), **kwargs)
    total = gaussian_filter1d(np.where(good, signal, 0), **kwargs)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(good, total / weight, np.nan).astype(signal.dtype)


def running_median(values: np.ndarray, *, window: int) -> np.ndarray:
    """Running median of what is finite, the windows shorter at the ends."""
    from numpy.lib.stride_tricks import sliding_window_view

    signal = values.astype(floating(values.dtype), copy=False)
    half = window // 2
    padded = np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(half, half)], constant_values=np.nan)
    good = np.isfinite(signal)
    out = np.full(signal.shape, np.nan, signal.dtype)
    rows, padded, good = (
        out.reshape(-1, out.shape[-1]),
        padded.reshape(-1, padded.shape[-1]),
        good.reshape(-1, out.shape[-1]),
    )
    size = max(1, (1 << 22) // max(1, window * out.shape[-1]))
    for begin in range(0, len(rows), size):  # a few rows at a time: the windows are copied for sorting
        part = slice(begin, begin + size)
        sorted_ = np.sort(sliding_window_view(padded[part], window, axis=-1), axis=-1)  # NaN last
        count = np.isfinite(sorted_).sum(axis=-1, keepdims=True)
        low = np.take_along_axis(sorted_, np.maximum((count - 1) // 2, 0), -1)
        high = np.take_along_axis(sorted_, np.minimum(count // 2, window - 1), -1)
        middle = np.where(count % 2 == 1, low, (low + high) / 2)[..., 0]
        rows[part] = np.where(good[part], middle, np.nan)
    return out


def _by_runs(values: np.ndarray, *, runs: tuple[slice, ...], kernel: object, kwargs: tuple[dict, ...]) -> np.ndarray:
    pieces = [kernel(values[..., run], **kw) for run, kw in zip(runs, kwargs, strict=True)]  # type: ignore[operator]
    return np.concatenate(pieces, axis=-1)


def _branches(axis: Axis) -> list[tuple[slice, Axis]]:
    return [(run, Axis(axis.dim, axis.name, axis.values[run], axis.units)) for run in axis.runs]


_FWHM = 2 * np.sqrt(2 * np.log(2))


@recorded("spectra.smooth")
def smooth(
    data: xr.DataArray | xr.Dataset,
    width: float,
    dim: str | None = None,
    *,
    variable: str | None = None,
    method: str = "savgol",
    order: int = 2,
) -> xr.DataArray:
    """Smooth along one dimension.

    Parameters
    ----------
    data : DataArray or Dataset
        Complex data are smoothed in both parts (not by ``median``).
    width : float
        In units of the axis: length of the window (``savgol``, ``median``; rounded to an odd number of samples), or
        full width at half maximum (``gaussian``).
    dim : str, optional
        An evenly spaced dim or 1-D coordinate; None is the signal dim. A sweep that turns back is smoothed branch by
        branch.
    variable : str, optional
        Which variable of a Dataset.
    method : {"savgol", "gaussian", "median"}
    order : int
        Of the local polynomials of ``savgol``.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the input; single precision stays single.

    Raises
    ------
    ValueError
        For an unknown method, an uneven axis, or a window that does not fit.

    Notes
    -----
    *Laziness*: lazy, one pass. NaN do not count and stay NaN. At the ends ``savgol`` evaluates the polynomial of the
    last whole window, ``gaussian`` and ``median`` use the part that there is.

    References
    ----------
    A. Savitzky and M. J. E. Golay, Anal. Chem. 36, 1627 (1964).

    Examples
    --------
    >>> line = xr.DataArray(np.arange(9.0) ** 2, dims="energy")
    >>> bool(np.allclose(smooth(line, 5), line))  # a parabola is kept by local parabolas
    True
    """
    da = pick(data, variable, dim)
    da = real_numbers(da) if method == "median" else numbers(da)
    axis = along(da, dim)
    branches = _branches(axis)
    settings: list[dict] = []
    for _, branch in branches:
        if method == "gaussian":
            if not width > 0:
                raise ValueError(f"width={width}: must be positive, in {axis.units}")
            settings.append({"sigma": width / _FWHM / abs(branch.step)})
        elif method == "savgol":
            settings.append({"window": samples(branch, width, odd=True, least=order + 1), "order": order})
        elif method == "median":
            settings.append({"window": samples(branch, width, odd=True)})
        else:
            raise ValueError(f"method={method!r}: choose one of ['savgol', 'gaussian', 'median']")
    kernel = {"gaussian": _gaussian, "savgol": _savgol, "median": running_median}[method]
    output = chunked.Output(floating(da.dtype), (axis.dim,), attrs=da.attrs)
    kwargs = {"runs": tuple(run for run, _ in branches), "kernel": kernel, "kwargs": tuple(settings)}
    result = chunked.apply(_by_runs, da, dims=[[axis.dim]], outputs={"smooth": output}, kwargs=kwargs)["smooth"]
    return result.transpose(*da.dims).rename(da.name)


def _gradient(values: np.ndarray, *, x: np.ndarray, n: int) -> np.ndarray:
    signal = values.astype(floating(values.dtype), copy=False)
    if x.size < 2:
        return np.full(signal.shape, np.nan, signal.dtype)
    for _ in range(n):
        signal = np.gradient(signal, x, axis=-1, edge_order=2 if x.size > 2 else 1).astype(signal.dtype)
    return signal


@recorded("spectra.derivative")
def derivative(
    data: xr.DataArray | xr.Dataset,
    dim: str | None = None,
    *,
    variable: str | None = None,
    n: int = 1,
    width: float | None = None,
    order: int = 2,
) -> xr.DataArray:
    """The derivative along one dimension, such as dI/dV.

    Parameters
    ----------
    data : DataArray or Dataset
    dim : str, optional
        A dim or 1-D coordinate (``"bias"`` along ``step``); None is the signal dim. A sweep that turns back is
        differentiated branch by branch.
    variable : str, optional
        Which variable of a Dataset.
    n : int
        Which derivative.
    width : float, optional
        In units of the axis: local polynomials over windows of this length (Savitzky-Golay; even axes). None takes
        differences of the second order, on any axis.
    order : int
        Of the local polynomials, at least `n`.

    Returns
    -------
    DataArray
        Dims and coordinates of the input; units of the data per those of the axis to the power `n`.

    Raises
    ------
    ValueError
        If the axis repeats a value, is uneven where `width` is given, or the window does not fit.

    Notes
    -----
    *Laziness*: lazy, one pass. NaN stay NaN; differences make their neighbours NaN too, polynomials leave them out.

    Examples
    --------
    >>> volts = xr.DataArray([-1.0, 0.0, 2.0], dims="bias", attrs={"units": "V"})
    >>> current = xr.DataArray([2.0, 0.0, -4.0], coords={"bias": volts}, dims="bias", attrs={"units": "A"})
    >>> derivative(current).values, derivative(current).units
    (array([-2., -2., -2.]), 'A/V')
    """
    da = numbers(pick(data, variable, dim))
    axis = along(da, dim)
    if n < 1:
        raise ValueError(f"n={n}: at least 1")
    if width is not None and order < n:
        raise ValueError(f"order={order} is less than the derivative n={n} that is asked for")
    branches = _branches(axis)
    settings: list[dict] = []
    for _, branch in branches:
        if width is None:
            branch.require_monotonic()
            settings.append({"x": branch.values, "n": n})
        else:
            window = samples(branch, width, odd=True, least=order + 1)
            settings.append({"window": window, "order": order, "deriv": n, "step": branch.step})
    units = combine_units((str(da.attrs.get("units", "1")), 1), (axis.units, -n))
    label = da.attrs.get("long_name", da.name or "signal")
    attrs = {**da.attrs, "units": units, "long_name": f"Derivative of {label}"}
    output = chunked.Output(floating(da.dtype), (axis.dim,), attrs=attrs)
    kernel = _gradient if width is None else _savgol
    kwargs = {"runs": tuple(run for run, _ in branches), "kernel": kernel, "kwargs": tuple(settings)}
    result = chunked.apply(_by_runs, da, dims=[[axis.dim]], outputs={"d": output}, kwargs=kwargs)["d"]
    suffix = "derivative" if n == 1 else f"derivative_{n}"
    return result.transpose(*da.dims).rename(f"{da.name}_{suffix}" if da.name else suffix)

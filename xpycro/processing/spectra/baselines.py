"""What lies under a signal: trends, baselines, backgrounds extrapolated from a window, and spikes.

May import numpy, xarray, scipy (inside functions), engine and the base floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import Axis, along, floating, real_numbers, samples
from xpycro.processing.spectra.smoothing import _median
from xpycro.provenance import recorded
from xpycro.schema import pick

__all__ = ["background", "baseline", "despike", "detrend"]


def _polynomial(values: np.ndarray, left_out: np.ndarray | None = None, *, x: np.ndarray, order: int) -> np.ndarray:
    """The least-squares polynomial of each row, NaN where too few points count."""
    u = (x - x.mean()) / (np.ptp(x) / 2 or 1.0)
    design = np.linalg.qr(np.polynomial.legendre.legvander(u, order))[0]
    rows = values.reshape(-1, values.shape[-1]).astype(float)
    used = np.isfinite(rows)
    if left_out is not None:
        used &= ~np.broadcast_to(left_out, values.shape).reshape(rows.shape)
    complete = used.all(axis=-1)
    out = np.full(rows.shape, np.nan)
    out[complete] = (rows[complete] @ design) @ design.T
    for index in np.nonzero(~complete)[0]:
        good = used[index]
        if good.sum() > order:
            out[index] = design @ np.linalg.lstsq(design[good], rows[index, good], rcond=None)[0]
    return out.reshape(values.shape).astype(floating(values.dtype))


def _penalised(rows: np.ndarray, weight: np.ndarray, stiffness: float) -> np.ndarray:
    """Whittaker's smoother of second differences, (W + s D'D) z = W y, columns of (n, row) at once.

    The matrix has five diagonals: an LDL' factorisation whose every step is a vector operation over the rows.
    """
    n = len(rows)
    main = np.full(n, 6.0)
    main[[0, -1]], main[[1, -2]] = 1.0, 5.0
    first = np.full(n - 1, -4.0)
    first[[0, -1]] = -2.0
    d, l1, l2 = np.empty(rows.shape), np.zeros(rows.shape), np.zeros(rows.shape)
    z = weight * rows
    for i in range(n):
        d[i] = weight[i] + stiffness * main[i]
        if i > 0:
            d[i] -= l1[i - 1] ** 2 * d[i - 1]
            z[i] -= l1[i - 1] * z[i - 1]
        if i > 1:
            d[i] -= l2[i - 2] ** 2 * d[i - 2]
            z[i] -= l2[i - 2] * z[i - 2]
        if i < n - 1:
            l1[i] = stiffness * first[i]
            if i > 0:
                l1[i] -= l2[i - 1] * l1[i - 1] * d[i - 1]
            l1[i] /= d[i]
        if i < n - 2:
            l2[i] = stiffness / d[i]
    z /= d
    for i in range(n - 2, -1, -1):
        z[i] -= l1[i] * z[i + 1]
        if i < n - 2:
            z[i] -= l2[i] * z[i + 2]
    return z


def _least_squares(
    values: np.ndarray,
    left_out: np.ndarray | None = None,
    *,
    stiffness: float,
    asymmetry: float | None,
    max_iterations: int,
    tolerance: float,
) -> np.ndarray:
    """AsLS where `asymmetry` is given, else arPLS."""
    rows = values.reshape(-1, values.shape[-1]).astype(float)
    good = np.isfinite(rows)
    if left_out is not None:
        good &= ~np.broadcast_to(left_out, values.shape).reshape(rows.shape)
    out = np.full(rows.shape, np.nan)
    (todo,) = np.nonzero(good.sum(axis=-1) > 2)
    y, used = np.where(good, rows, 0.0)[todo].T.copy(), good[todo].T.astype(float)
    weight = used.copy()
    for _ in range(max_iterations):
        if not todo.size:
            break
        z = _penalised(y, weight, stiffness)
        out[todo] = z.T
        residual = y - z
        if asymmetry is not None:
            fresh = used * np.where(residual > 0, asymmetry, 1 - asymmetry)
        else:
            below = used * (residual < 0)
            count = np.maximum(below.sum(axis=0), 1)
            mean = (below * residual).sum(axis=0) / count
            spread = np.sqrt((below * (residual - mean) ** 2).sum(axis=0) / count)
            spread = np.maximum(spread, 1e-9 * np.abs(y).max(axis=0) + np.finfo(float).tiny)
            slope = np.clip(2 * (residual - (2 * spread - mean)) / spread, -60, 60)
            fresh = used / (1 + np.exp(slope))
        change = np.linalg.norm(fresh - weight, axis=0) / np.maximum(np.linalg.norm(weight, axis=0), 1e-300)
        active = change > tolerance
        todo, y, used, weight = todo[active], y[:, active], used[:, active], fresh[:, active]
    return out.reshape(values.shape).astype(floating(values.dtype))


def _with_exclusion(
    da: xr.DataArray, axis: Axis, exclude: xr.DataArray | None
) -> tuple[list[xr.DataArray], list[list[str]]]:
    if exclude is None:
        return [da], [[axis.dim]]
    if axis.dim not in exclude.dims:
        raise ValueError(f"exclude= lacks the dim {axis.dim!r}; it has {list(map(str, exclude.dims))}")
    return [da, exclude.astype(bool)], [[axis.dim], [axis.dim]]


@recorded("spectra.baseline")
def baseline(
    data: xr.DataArray | xr.Dataset,
    dim: str | None = None,
    *,
    variable: str | None = None,
    method: str = "arpls",
    width: float | None = None,
    order: int = 2,
    asymmetry: float = 0.01,
    exclude: xr.DataArray | None = None,
    max_iterations: int = 50,
    tolerance: float = 1e-3,
) -> xr.DataArray:
    """The smooth curve below the peaks of a signal; subtract it.

    Parameters
    ----------
    data : DataArray or Dataset
        Real.
    dim : str, optional
        A dim or 1-D coordinate; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.
    method : {"arpls", "asls", "polynomial"}
        Penalised least squares, reweighted by the noise below the curve (arPLS) or by a fixed asymmetry (AsLS); or a
        plain least-squares polynomial.
    width : float, optional
        For ``arpls`` and ``asls``, in units of the axis: periods longer than this belong to the baseline. The penalty
        is ``(width / (2 pi step))^4``, at which a sine of that period is passed by half, so it does not depend on the
        sampling. None is the length of the axis.
    order : int
        Of the polynomial.
    asymmetry : float
        Weight of points above the curve in AsLS, of those below one minus it.
    exclude : DataArray of bool, optional
        What does not count.
    max_iterations, tolerance
        Iterations stop when the weights change by less, relatively.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the input; defined where the data are NaN or excluded, too.

    Raises
    ------
    ValueError
        For an unknown method, an uneven axis (``arpls``, ``asls``), fewer than three points.

    Notes
    -----
    *Laziness*: lazy, one pass. A row with too few finite points is NaN.

    References
    ----------
    S.-J. Baek et al., Analyst 140, 250 (2015) (arPLS); P. H. C. Eilers, Anal. Chem. 75, 3631 (2003).

    Examples
    --------
    >>> x = np.linspace(0, 100, 201)
    >>> peak = 5 * np.exp(-((x - 50) / 2) ** 2)
    >>> noise = np.random.default_rng(0).normal(0, 0.02, 201)
    >>> signal = xr.DataArray(1 + 0.01 * x + peak + noise, coords={"energy": x}, dims="energy")
    >>> bool(abs(baseline(signal) - (1 + 0.01 * x)).max() < 0.05)
    True
    """
    da = real_numbers(pick(data, variable, dim))
    axis = along(da, dim)
    arrays, core = _with_exclusion(da, axis, exclude)
    label = f"Baseline of {da.attrs.get('long_name', da.name or 'signal')}"
    output = chunked.Output(floating(da.dtype), (axis.dim,), attrs={**da.attrs, "long_name": label})
    if method == "polynomial":
        if not 0 <= order < axis.size:
            raise ValueError(
                f"order={order}: a polynomial through {axis.size} points has an order of 0 to {axis.size - 1}"
            )
        found = chunked.apply(
            _polynomial, *arrays, dims=core, outputs={"b": output}, kwargs={"x": axis.values, "order": order}
        )
    elif method in ("arpls", "asls"):
        if axis.size < 3:
            raise ValueError(f"{axis.name} has {axis.size} points; a baseline needs three")
        if not 0 < asymmetry < 1:
            raise ValueError(f"asymmetry={asymmetry}: between 0 and 1")
        step = abs(axis.step)
        width = step * axis.size if width is None else width
        if width <= 0:
            raise ValueError(f"width={width}: must be positive, in {axis.units}")
        kwargs = {
            "stiffness": (width / (2 * np.pi * step)) ** 4,
            "asymmetry": asymmetry if method == "asls" else None,
            "max_iterations": max_iterations,
            "tolerance": tolerance,
        }
        found = chunked.apply(_least_squares, *arrays, dims=core, outputs={"b": output}, kwargs=kwargs)
    else:
        raise ValueError(f"method={method!r}: choose one of ['arpls', 'asls', 'polynomial']")
    return found["b"].transpose(*da.dims).rename(f"{da.name}_baseline" if da.name else "baseline")


def _detrended(values: np.ndarray, *left_out: np.ndarray, x: np.ndarray, order: int) -> np.ndarray:
    return values - _polynomial(values, *left_out, x=x, order=order)


@recorded("spectra.detrend")
def detrend(
    data: xr.DataArray | xr.Dataset,
    dim: str | None = None,
    *,
    variable: str | None = None,
    order: int = 1,
    exclude: xr.DataArray | None = None,
) -> xr.DataArray:
    """Subtract the least-squares polynomial along one dimension.

    Parameters
    ----------
    data : DataArray or Dataset
        Real.
    dim : str, optional
        A dim or 1-D coordinate, even or not; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.
    order : int
        0 is the mean, 1 a line.
    exclude : DataArray of bool, optional
        What does not count in the fit; it is detrended all the same.

    Returns
    -------
    DataArray
        Dims, coordinates and units of the input.

    Raises
    ------
    ValueError
        If the order does not suit the number of points.

    Notes
    -----
    *Laziness*: lazy, one pass. NaN do not count and stay NaN.

    Examples
    --------
    >>> line = xr.DataArray(3 + 2 * np.arange(5.0), dims="time")
    >>> bool(abs(detrend(line)).max() < 1e-12)
    True
    """
    da = real_numbers(pick(data, variable, dim))
    axis = along(da, dim)
    if not 0 <= order < axis.size:
        raise ValueError(f"order={order}: a polynomial through {axis.size} points has an order of 0 to {axis.size - 1}")
    arrays, core = _with_exclusion(da, axis, exclude)
    output = chunked.Output(floating(da.dtype), (axis.dim,), attrs=da.attrs)
    found = chunked.apply(
        _detrended, *arrays, dims=core, outputs={"d": output}, kwargs={"x": axis.values, "order": order}
    )
    return found["d"].transpose(*da.dims).rename(da.name)


def _power_law(u: np.ndarray, amplitude: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    return amplitude * u**-exponent


def _exponential(u: np.ndarray, amplitude: np.ndarray, rate: np.ndarray) -> np.ndarray:
    return amplitude * np.exp(-rate * u)


def _extrapolated(values: np.ndarray, *, u: np.ndarray, used: np.ndarray, model: str) -> tuple[np.ndarray, np.ndarray]:
    """Log-linear start, least squares in the window, the curve everywhere (NaN where it is not defined)."""
    from xpycro.engine.solver import solve_python
    from xpycro.engine.solver.problem import Component, Problem, Recipe

    rows = values.reshape(-1, values.shape[-1]).astype(float)
    window = rows[:, used]
    function: Any = _power_law if model == "power_law" else _exponential
    abscissa = np.log(u[used]) if model == "power_law" else u[used]
    positive = np.isfinite(window) & (window > 0)
    # weighted by counts: the logarithm of what is near zero is noise
    weight = np.where(positive, window, 0.0)
    log = np.log(np.where(positive, window, 1.0))
    total = weight.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = (weight * abscissa).sum(axis=1, keepdims=True) / total
        mean = (weight * log).sum(axis=1, keepdims=True) / total
        spread = (weight * (abscissa - centre) ** 2).sum(axis=1, keepdims=True)
        slope = (weight * (abscissa - centre) * log).sum(axis=1, keepdims=True) / spread
        start = np.concatenate([np.exp(mean - slope * centre), -slope], axis=1)
    fittable = (positive.sum(axis=1) > 2) & np.isfinite(start).all(axis=1)
    curve = np.full(rows.shape, np.nan)
    if fittable.any():
        scale = np.abs(start[fittable, :1])
        component = Component(function, (False, False), (-1, -1), ((Recipe.VALUE, 1.0), (Recipe.VALUE, 1.0)))
        limits = (-np.inf, -np.inf), (np.inf, np.inf)
        problem = Problem((component,), *limits, (False, False), (-1, -1))
        begin = start[fittable] / np.concatenate([scale, np.ones_like(scale)], axis=1)
        solution = solve_python(function, problem, u[used], window[fittable] / scale, start=begin)
        amplitude, rate = solution.parameters[:, :1] * scale, solution.parameters[:, 1:]
        defined = u > 0 if model == "power_law" else np.ones(u.shape, bool)
        inner = np.full((int(fittable.sum()), u.size), np.nan)
        inner[:, defined] = function(u[defined], amplitude, rate)
        curve[fittable] = inner
    whole, kind = curve.reshape(values.shape), floating(values.dtype)
    return whole.astype(kind), (values - whole).astype(kind)


def _polynomial_pair(
    values: np.ndarray, *, x: np.ndarray, order: int, used: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    curve = _polynomial(values, ~used, x=x, order=order)
    return curve, (values - curve).astype(curve.dtype)


@recorded("spectra.background")
def background(
    data: xr.DataArray | xr.Dataset,
    model: str = "power_law",
    window: Sequence[Any] = (),
    dim: str | None = None,
    *,
    variable: str | None = None,
    order: int = 1,
) -> xr.Dataset:
    """A background fitted within windows, extrapolated over the whole axis, and subtracted.

    Parameters
    ----------
    data : DataArray or Dataset
        Real.
    model : {"power_law", "exponential", "polynomial"}
        ``A E^-r`` (log-linear start, then least squares), ``A exp(-k E)``, or a polynomial of `order`.
    window : (low, high) or sequence of such
        Where only background is, in units of the axis.
    dim : str, optional
        A dim or 1-D coordinate; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.
    order : int
        Of the polynomial.

    Returns
    -------
    Dataset
        ``background`` and ``signal`` (data minus background), dims, coordinates and units of the data. NaN where the
        fit fails or a power law is not defined (E <= 0).

    Raises
    ------
    ValueError
        For an unknown model, or a window that holds too few points.

    Notes
    -----
    *Laziness*: lazy; both come from one pass.

    References
    ----------
    R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope (Springer, 2011), chapter 4.

    Examples
    --------
    >>> e = np.linspace(200.0, 400.0, 101)
    >>> edge = np.where(e > 300, 50.0, 0.0)
    >>> loss = xr.DataArray(1e9 * e**-3.0 + edge, coords={"energy_loss": e}, dims="energy_loss")
    >>> signal = background(loss, "power_law", (200, 290)).signal
    >>> bool(abs(signal - edge).max() < 1e-6)
    True
    """
    if model not in ("power_law", "exponential", "polynomial"):
        raise ValueError(f"model={model!r}: choose one of ['power_law', 'exponential', 'polynomial']")
    da = real_numbers(pick(data, variable, dim))
    axis = along(da, dim)
    pairs: list[Any] = [window] if len(window) == 2 and np.ndim(window[0]) == 0 else list(window)
    if not pairs or any(np.shape(pair) != (2,) for pair in pairs):
        raise ValueError(f"window={window!r}: pass (low, high) in {axis.units}, or several such pairs")
    used = np.zeros(axis.size, bool)
    for low, high in pairs:
        used |= (axis.values >= low) & (axis.values <= high)
    least = order + 1 if model == "polynomial" else 3
    if used.sum() < least:
        extent = f"{axis.values.min():g} to {axis.values.max():g} {axis.units}"
        raise ValueError(f"window={window!r} holds {used.sum()} points of {axis.name} ({extent}); {least} are needed")
    label = da.attrs.get("long_name", da.name or "signal")
    kind = floating(da.dtype)
    outputs = {
        "background": chunked.Output(kind, (axis.dim,), attrs={**da.attrs, "long_name": f"Background of {label}"}),
        "signal": chunked.Output(kind, (axis.dim,), attrs={**da.attrs, "long_name": f"{label} above background"}),
    }
    if model == "polynomial":
        kwargs = {"x": axis.values, "order": order, "used": used}
        found = chunked.apply(_polynomial_pair, da, dims=[[axis.dim]], outputs=outputs, kwargs=kwargs)
    else:
        if model == "power_law" and (axis.values[used] <= 0).any():
            raise ValueError(f"window={window!r}: a power law needs {axis.name} > 0")
        # a unit near the window keeps amplitude and exponent of one size
        inside = axis.values[used]
        u = (
            axis.values / np.exp(np.mean(np.log(inside)))
            if model == "power_law"
            else (axis.values - inside.mean()) / np.ptp(inside)
        )
        kwargs = {"u": u, "used": used, "model": model}
        found = chunked.apply(_extrapolated, da, dims=[[axis.dim]], outputs=outputs, kwargs=kwargs)
    return xr.Dataset({name: part.transpose(*da.dims) for name, part in found.items()})


def _despiked(values: np.ndarray, *, window: int, threshold: float, negative: bool, fill: bool) -> np.ndarray:
    local = _median(values, window=window)
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

"""What lies under a signal: trends and baselines.

May import numpy, xarray, engine and the base floor.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import Axis, along, floating, left_out, real_numbers
from xpycro.provenance import recorded
from xpycro.schema import pick

__all__ = ["baseline", "detrend", "polynomial"]


def polynomial(values: np.ndarray, left_out: np.ndarray | None = None, *, x: np.ndarray, order: int) -> np.ndarray:
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


def _curvature(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three diagonals of D'D, D the second derivative at each inner point in units of the mean step.

    Each point counts once in it, as in the misfit, so that the period that is passed by half is the same everywhere
    however densely the axis is sampled. On an even axis the rows of D are (1, -2, 1).
    """
    step = np.diff(x)
    left, right, both = step[:-1], step[1:], step[:-1] + step[1:]
    mean = float(np.mean(step))
    d = np.stack([2 * mean**2 / (left * both), -2 * mean**2 / (left * right), 2 * mean**2 / (right * both)])
    main = np.zeros(x.size)
    for shift in range(3):
        main[shift : x.size - 2 + shift] += d[shift] ** 2
    first = np.zeros(x.size - 1)
    first[:-1] += d[0] * d[1]
    first[1:] += d[1] * d[2]
    return main, first, d[0] * d[2]


def _penalised(
    rows: np.ndarray, weight: np.ndarray, stiffness: float, curvature: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """Whittaker's smoother of second differences, (W + s D'D) z = W y, columns of (n, row) at once.

    The matrix has five diagonals: an LDL' factorisation whose every step is a vector operation over the rows.
    """
    n = len(rows)
    main, first, second = curvature
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
            l2[i] = stiffness * second[i] / d[i]
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
    x: np.ndarray,
    stiffness: float,
    asymmetry: float | None,
    max_iterations: int,
    tolerance: float,
) -> np.ndarray:
    """AsLS where `asymmetry` is given, else arPLS."""
    rows = values.reshape(-1, values.shape[-1]).astype(float)
    curvature = _curvature(x)
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
        z = _penalised(y, weight, stiffness, curvature)
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
    return [da, left_out(exclude, da, [axis.dim])], [[axis.dim], [axis.dim]]


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
        sampling, which need not be even. None is the length of the axis.
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
        For an unknown method, an axis that turns back (``arpls``, ``asls``), fewer than three points.

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
            polynomial, *arrays, dims=core, outputs={"b": output}, kwargs={"x": axis.values, "order": order}
        )
    elif method in ("arpls", "asls"):
        if axis.size < 3:
            raise ValueError(f"{axis.name} has {axis.size} points; a baseline needs three")
        if not 0 < asymmetry < 1:
            raise ValueError(f"asymmetry={asymmetry}: between 0 and 1")
        axis.require_monotonic()
        step = abs(float(np.mean(np.diff(axis.values))))
        width = step * axis.size if width is None else width
        if width <= 0:
            raise ValueError(f"width={width}: must be positive, in {axis.units}")
        kwargs = {
            "x": axis.values,
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
    return values - polynomial(values, *left_out, x=x, order=order)


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

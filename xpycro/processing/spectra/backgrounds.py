"""Backgrounds fitted within windows and extrapolated below the signal.

May import numpy, xarray, engine, the base floor and the baselines beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along, floating, real_numbers
from xpycro.processing.spectra.baselines import polynomial
from xpycro.provenance import recorded
from xpycro.schema import pick

__all__ = ["background"]


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
    curve = polynomial(values, ~used, x=x, order=order)
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

"""Backgrounds fitted within windows and extrapolated below the signal.

May import numpy, xarray, engine and the base floor; the fit, in a sibling room, is found through engine.results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.engine import chunked, results
from xpycro.engine.axes import Axis, along, floating, numbers
from xpycro.provenance import recorded
from xpycro.schema import pick
from xpycro.units import quantity

__all__ = ["background"]


def _within(axis: Axis, window: Sequence[Any]) -> np.ndarray:
    """Which points of the axis lie in one of the windows."""
    single = len(window) == 2 and all(isinstance(end, str) or np.ndim(end) == 0 for end in window)
    pairs = [window] if single else list(window)
    if not pairs or any(isinstance(pair, str) or np.shape(pair) != (2,) for pair in pairs):
        raise ValueError(f"window={window!r}: pass (low, high) in {axis.units}, or several such pairs")
    used = np.zeros(axis.size, bool)
    for pair in pairs:
        low, high = (quantity(end, axis.units) if isinstance(end, str) else float(end) for end in pair)
        used |= (axis.values >= low) & (axis.values <= high)
    if not used.any():
        extent = f"{axis.values.min():g} to {axis.values.max():g} {axis.units}"
        raise ValueError(f"window={window!r} holds no point of {axis.name} ({extent})")
    return used


@recorded("spectra.background")
def background(
    data: xr.DataArray | xr.Dataset,
    model: Any = "power_law",
    window: Sequence[Any] = (),
    dim: str | None = None,
    *,
    variable: str | None = None,
    start: Mapping[str, Any] | Sequence[float] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    fixed: Mapping[str, Any] | None = None,
    sigma: xr.DataArray | float | None = None,
    loss: str = "linear",
) -> xr.Dataset:
    """A background fitted within windows, extrapolated over the whole axis, and subtracted.

    Parameters
    ----------
    data : DataArray or Dataset
        Complex data take complex models.
    model : str, Model or callable
        Whatever ``xp.fit`` takes: ``"power_law"``, ``"exponential + constant"``, ``xp.models.Polynomial(3)``, or a
        function ``f(x, first, second, ...)``, which needs `start`.
    window : (low, high) or sequence of such
        Where only background is, in units of the axis; text carries a unit (``("0.2 keV", "0.29 keV")``).
    dim : str, optional
        A dim or 1-D coordinate; None is the signal dim.
    variable : str, optional
        Which variable of a Dataset.
    start, bounds, fixed, sigma, loss
        As of ``xp.fit``: ``loss="poisson"`` suits counts.

    Returns
    -------
    Dataset
        ``background`` and ``signal`` (data minus background), dims, coordinates and units of the data. NaN where the
        fit fails or the model is not defined (a power law where E <= 0).

    Raises
    ------
    ValueError
        For an unknown model, or windows that hold too few points for it.

    Notes
    -----
    *Laziness*: lazy; both come from one pass. For the parameters, their errors and flags use ``xp.fit`` itself.

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
    da = numbers(pick(data, variable, dim))
    axis = along(da, dim)
    outside = xr.DataArray(~_within(axis, window), dims=axis.dim)
    da = chunked.lazily(da) if chunked.is_lazy(da) else da
    options = {"start": start, "bounds": bounds, "fixed": fixed, "sigma": sigma, "loss": loss}
    below = results.find("fit", "extrapolate")(da, model, axis.name, outside, **options)
    label, kind = da.attrs.get("long_name", da.name or "signal"), floating(da.dtype)
    below = da.copy(data=below.data)  # the same grid: coordinates of the data, not of the fit
    found = {"background": (below, f"Background of {label}"), "signal": (da - below, f"{label} above background")}
    return xr.Dataset(
        {name: part.astype(kind).assign_attrs({**da.attrs, "long_name": text}) for name, (part, text) in found.items()}
    )

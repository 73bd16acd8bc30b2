"""What `fit` is given as data: the array, its axis, the part of it that counts, its sigma; checked and cut alike.

May import numpy, xarray, the floors below and the models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro import schema
from xpycro.analysis import models
from xpycro.engine import chunked
from xpycro.units import conversion, quantity

__all__ = ["aligned", "axis_of", "check_kind", "converted", "restrict", "sigma_of", "unit_of"]


def unit_of(da: xr.DataArray) -> str:
    return str(da.attrs.get("units", "1"))


def _called(da: xr.DataArray) -> str:
    return repr(da.name) if da.name is not None else "the data"


def check_kind(da: xr.DataArray, model: models.Model) -> None:
    """Refuse data that are no numbers, and real models of complex data or the other way round."""
    if da.dtype.kind not in "fciu":
        raise ValueError(
            f"{_called(da)} holds {da.dtype}: fit needs real or complex numbers, convert it with .astype(float)"
        )
    is_complex = da.dtype.kind == "c"
    if is_complex and not model.is_complex:
        raise ValueError(
            f"{model!r} is real and {_called(da)} is complex: fit its .real, .imag or abs(), or a complex model"
        )
    if model.is_complex and not is_complex:
        raise ValueError(
            f"{model!r} is complex and {_called(da)} is real ({da.dtype}): join the quadratures, re + 1j * im, or "
            "amplitude * exp(1j * phase)"
        )


def axis_of(da: xr.DataArray, dim: str, asked: Any) -> xr.DataArray:
    """The fitted axis: the coordinate asked for, the dim's own, the only one along it, else the channel number."""
    name = asked if isinstance(asked, str) and asked in da.coords else dim
    if name not in da.coords:
        along = [str(c) for c in da.coords if da[c].dims == (dim,) and da[c].dtype.kind in "fiu"]
        if len(along) == 1:
            name = along[0]
        else:
            return xr.DataArray(np.arange(float(da.sizes[dim])), dims=dim, name=dim, attrs={"units": "1"})
    axis = da.coords[name].reset_coords(drop=True)
    if axis.dtype.kind == "M":
        raise ValueError(f"the axis {name!r} holds dates: convert it to seconds first")
    if axis.dtype.kind not in "fiu" or not bool(np.isfinite(axis.values).all()):
        raise ValueError(f"the axis {name!r} must hold finite numbers; it holds {axis.dtype} with NaN or text")
    return axis.astype(np.float64).rename(name).assign_attrs(da.coords[name].attrs)


def aligned(other: xr.DataArray, da: xr.DataArray, called: str, but: Sequence[str] = ()) -> xr.DataArray:
    """`other` without coordinates, once it is known to lie where the data lie; dims in `but` are not looked at."""
    extra = [d for d in other.dims if d not in da.dims]
    if extra:
        raise schema.DimensionError(f"{called} has dims {extra} that the data {list(da.dims)} do not have")
    for d in other.dims:
        if d in but:
            continue
        if other.sizes[d] != da.sizes[d]:
            raise ValueError(f"{called} has {other.sizes[d]} points along {str(d)!r}, the data {da.sizes[d]}")
        if d in other.coords and d in da.coords and not _same(other.coords[d].values, da.coords[d].values):
            raise ValueError(f"{called} lies at other coordinates along {str(d)!r} than the data: select alike first")
    return other.drop_vars(list(other.coords))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether coordinates agree, but for the last digits that a change of units leaves."""
    if a.dtype.kind in "fiu" and b.dtype.kind in "fiu" and a.size:
        return bool(np.allclose(a, b, rtol=1e-9, atol=1e-9 * float(np.ptp(b)), equal_nan=True))
    return bool(np.array_equal(a, b))


def converted(da: xr.DataArray, unit: str, called: str) -> xr.DataArray:
    """`da` in `unit`, where it says that it is in another one."""
    given = unit_of(da)
    if given in (unit, "1", "") or unit == "":
        return da
    try:
        factor = conversion(given, unit)
    except ValueError as error:
        raise ValueError(f"{called} is in another unit: {error}") from None
    return da if factor == 1.0 else da * factor


def sigma_of(sigma: Any, da: xr.DataArray, dims: Sequence[str]) -> xr.DataArray | None:
    """Sigma over the fitted dims at least, in the unit of the data; still of the channels that it was given for."""
    if sigma is None:
        return None
    if not isinstance(sigma, xr.DataArray):
        if isinstance(sigma, str) or np.ndim(sigma):
            raise ValueError(f"sigma= takes a positive number or a DataArray, not {_described(sigma)}")
        if not float(sigma) > 0 or not np.isfinite(float(sigma)):
            raise ValueError(f"sigma={sigma!r} must be positive: it is the standard deviation of the data")
        return xr.DataArray(np.full([da.sizes[d] for d in dims], float(sigma)), dims=dims)
    if sigma.dtype.kind not in "fiu":
        raise ValueError(f"sigma= must be real numbers, not {sigma.dtype}")
    sigma = converted(sigma, unit_of(da), "sigma=")
    missing = [d for d in dims if d not in sigma.dims]
    for d in missing:
        sigma = sigma.expand_dims({d: da.sizes[d]}, axis=-1)
    return sigma


def _described(value: Any) -> str:
    """What was given, for an error; of an array not its numbers."""
    if isinstance(value, np.ndarray | list | tuple):
        return f"a plain array of shape {np.shape(value)}: name its dims, xr.DataArray(values, dims=[...])"
    return repr(value)


def restrict(
    da: xr.DataArray, axes: list[xr.DataArray], dims: Sequence[str], sigma: xr.DataArray | None,
    exclude: xr.DataArray | None, window: tuple[Any, Any] | None,
) -> tuple[xr.DataArray, list[xr.DataArray], xr.DataArray | None]:  # fmt: skip
    """Leave out what `window` and `exclude` name: channels altogether where they say the same for every pixel."""
    if window is not None and len(dims) > 1:
        raise ValueError("window= is for one axis: crop the image")
    keep = None if window is None else _within(window, axes[0])
    if exclude is not None:
        if not isinstance(exclude, xr.DataArray) or exclude.dtype != bool:
            raise ValueError("exclude= takes a boolean DataArray, True where data are left out")
        exclude = aligned(exclude, da, "exclude=")
        if exclude.dims == tuple(dims) and len(dims) == 1:
            keep = ~exclude.values if keep is None else keep & ~exclude.values
        else:
            order = da.dims
            da = da.where(~exclude if chunked.state(da) == "memory" else chunked.lazily(~exclude)).transpose(*order)
    whole = da
    if keep is not None and not keep.all():
        index = np.flatnonzero(keep)
        contiguous = index.size > 0 and index[-1] - index[0] + 1 == index.size
        part = slice(int(index[0]), int(index[-1]) + 1) if contiguous else index
        da, axes = chunked.lazily(da).isel({dims[0]: part}), [axes[0].isel({dims[0]: part})]
        if sigma is not None and sigma.sizes[dims[0]] == whole.sizes[dims[0]]:
            sigma = aligned(sigma, whole, "sigma=").isel({dims[0]: part})
    if any(axis.size == 0 for axis in axes):
        raise ValueError(f"there is nothing to fit: no channel of {axes[0].name!r} is left")
    return da, axes, None if sigma is None else _sigma_there(sigma, da, dims)


def _sigma_there(sigma: xr.DataArray, da: xr.DataArray, dims: Sequence[str]) -> xr.DataArray:
    """Sigma of the channels that are fitted; found by their labels where it was given for others, too."""
    for d in dims:
        if sigma.sizes[d] != da.sizes[d] and d in sigma.coords and d in da.coords:
            try:
                sigma = sigma.sel({d: da.coords[d].values})
            except KeyError:
                raise ValueError(f"sigma= does not hold all fitted channels of {d!r}") from None
    return aligned(sigma, da, "sigma=")


def _within(window: Any, axis: xr.DataArray) -> np.ndarray:
    """True for the channels of `axis` inside the window."""
    if not isinstance(window, tuple | list) or len(window) != 2:
        raise ValueError(f"window= takes (low, high) along {axis.name!r}, not {window!r}")
    try:
        low, high = (quantity(end, unit_of(axis)) if isinstance(end, str) else end for end in window)
    except ValueError as error:
        raise ValueError(f"window={tuple(window)!r} along {axis.name!r}: {error}") from None
    low, high = -np.inf if low is None else float(low), np.inf if high is None else float(high)
    if not low < high:
        raise ValueError(f"window={tuple(window)!r} along {axis.name!r} must be (low, high)")
    slack = 1e-9 * float(np.ptp(axis.values)) if axis.size else 0.0  # "2 nm" must meet the channel at 2e-9
    inside = (axis.values >= low - slack) & (axis.values <= high + slack)
    if axis.size and not inside.any():
        raise ValueError(
            f"window={tuple(window)!r} holds no point of {axis.name!r}, which spans "
            f"{axis.values.min():g} to {axis.values.max():g} {unit_of(axis)}"
        )
    return np.asarray(inside)

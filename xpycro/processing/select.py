"""Choosing what to look at: cropping by coordinate values with units, and converting units.

May import numpy, xarray and the base floor; not its siblings.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import xarray as xr

from xpycro.errors import DimensionError
from xpycro.provenance import recorded
from xpycro.units import conversion, quantity

__all__ = ["crop", "to_units"]

T = TypeVar("T", xr.DataArray, xr.Dataset)


def _value(limit: float | str | None, units: str, name: str) -> float | None:
    """A limit in the coordinate's units; ``"2 nm"`` is converted, None is open."""
    if limit is None or not isinstance(limit, str):
        return None if limit is None else float(limit)
    try:
        return quantity(limit, units)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


@recorded("crop")
def crop(obj: T, **ranges: tuple[float | str | None, float | str | None]) -> T:
    """The part of a measurement between coordinate values, both ends included.

    Parameters
    ----------
    obj : DataArray or Dataset
    **ranges
        A pair for each 1-D coordinate: numbers in its units, strings with a unit (``"2 nm"``), or None for no limit.
        A coordinate that turns back (``bias`` along ``step``) keeps every sample within the range, in order.

    Returns
    -------
    DataArray or Dataset
        As the input.

    Raises
    ------
    DimensionError
        If there is no such coordinate.
    ValueError
        If the range is empty, or a unit does not fit.

    Notes
    -----
    *Laziness*: lazy; coordinates are read, data are not.

    Examples
    --------
    >>> da = xr.DataArray(np.arange(5), coords={"x": ("x", np.arange(5) * 1e-9, {"units": "m"})}, dims="x")
    >>> crop(da, x=("1 nm", "2.5 nm")).values
    array([1, 2])
    """
    for name, limits in ranges.items():
        coord = obj.coords.get(name)
        if coord is None or coord.ndim != 1:
            known = [str(c) for c in obj.coords if obj.coords[c].ndim == 1]
            raise DimensionError(f"crop({name}=...): no such 1-D coordinate; there are {known}")
        units = str(coord.attrs.get("units", "1"))
        low, high = (_value(limit, units, name) for limit in limits)
        values = coord.values
        # a limit typed as "2 nm" must meet the sample at 2e-9 whatever the last bit says
        slack = 1e-9 * float(np.ptp(values)) if values.size else 0.0
        keep = np.ones(values.shape, bool)
        keep &= values >= (low - slack if low is not None else -np.inf)
        keep &= values <= (high + slack if high is not None else np.inf)
        (index,) = np.nonzero(keep)
        if not index.size:
            extent = f"{values.min():g} to {values.max():g} {units}" if values.size else "empty"
            raise ValueError(f"crop({name}={limits}): nothing lies in this range; {name} is {extent}")
        contiguous = index[-1] - index[0] + 1 == index.size
        picked = slice(int(index[0]), int(index[-1]) + 1) if contiguous else index
        obj = obj.isel({coord.dims[0]: picked})
    return obj


@recorded("to_units")
def to_units(obj: T, **units: str) -> T:
    """The same measurement with variables or coordinates in other units.

    Parameters
    ----------
    obj : DataArray or Dataset
    **units
        The unit for each coordinate or variable by name (of a DataArray its own name): ``x="nm", current="pA"``.

    Returns
    -------
    DataArray or Dataset
        As the input, numbers and ``units`` attributes converted.

    Raises
    ------
    ValueError
        If a name is unknown or a unit measures something else.

    Notes
    -----
    *Laziness*: lazy.

    Examples
    --------
    >>> da = xr.DataArray([1e-9], dims="x", name="current", attrs={"units": "A"})
    >>> to_units(da, current="nA").values
    array([1.])
    """
    known = [*map(str, obj.coords), *(map(str, obj.data_vars) if isinstance(obj, xr.Dataset) else [str(obj.name)])]
    unknown = [name for name in units if name not in known]
    if unknown:
        raise ValueError(f"to_units: no variable or coordinate {unknown}; there are {known}")

    def converted(da: xr.DataArray, unit: str) -> xr.DataArray:
        factor = conversion(da.attrs.get("units"), unit)
        return (da * factor).assign_attrs({**da.attrs, "units": unit})

    coords = {name: converted(obj.coords[name], unit).variable for name, unit in units.items() if name in obj.coords}
    variables = {name: unit for name, unit in units.items() if name not in coords}
    if isinstance(obj, xr.Dataset):
        obj = obj.assign({name: converted(obj[name], unit) for name, unit in variables.items()})
    elif variables:
        obj = converted(obj, variables[str(obj.name)])
    return obj.assign_coords(coords)

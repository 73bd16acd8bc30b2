"""Continuously recorded lines cut into pixels.

May import numpy, xarray, engine and the base floor; not the modules beside it.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.engine import chunked
from xpycro.engine.axes import along
from xpycro.provenance import recorded
from xpycro.schema import coordinate, pick

__all__ = ["lines_to_pixels"]


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

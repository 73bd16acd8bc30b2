"""The bias axis of a loop: which coordinate it is, where it rises, which different ones there are.

May import numpy, xarray and schema.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.errors import DimensionError
from xpycro.schema import resolve_dims

__all__ = ["bias_of", "bias_rows", "cut_like", "is_rising", "loop_dim"]


def loop_dim(da: xr.DataArray, dim: str) -> str:
    """The dim of one loop; the name of a coordinate along it (``bias``) stands for it."""
    return resolve_dims(da, dim, ndim=1)[0]


def bias_of(da: xr.DataArray, dim: str) -> xr.DataArray:
    """The bias along `dim`, in memory: the coordinate so called, which may depend on other dims (FORC).

    Raises
    ------
    DimensionError
        If there is none, or it is not finite.
    """
    found = da.coords["bias"] if "bias" in da.coords else None
    if found is None or dim not in found.dims or found.dtype.kind not in "fiu":
        raise DimensionError(
            f"a loop needs the bias of each {dim!r}: assign a coordinate, ds.assign_coords(bias=({dim!r}, volts)); "
            f"the coordinates are {[str(c) for c in da.coords]}"
        )
    values = np.asarray(found.values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise DimensionError("the coordinate 'bias' holds NaN: leave those steps out with isel or dropna first")
    bare = xr.DataArray(values, dims=found.dims, attrs=dict(found.attrs), name="bias")
    return bare.transpose(..., dim)


def cut_like(bias: xr.DataArray, da: xr.DataArray) -> xr.DataArray:
    """The bias in blocks like those of the data, so that each block of data meets its own."""
    return bias if da.chunks is None else bias.chunk({d: da.chunksizes.get(d, -1) for d in bias.dims})


def bias_rows(bias: xr.DataArray) -> np.ndarray:
    """The different bias sweeps, one a row."""
    return np.unique(bias.values.reshape(-1, bias.shape[-1]), axis=0)


def is_rising(bias: np.ndarray) -> np.ndarray:
    """Where the bias rises towards the next step, the last being followed by the first; a plateau goes on as before.

    The upper turning point so belongs to the falling branch and the lower one to the rising branch.

    Examples
    --------
    >>> is_rising(np.array([0.0, 1.0, 0.0, -1.0])).tolist()
    [True, False, False, True]
    """
    change = np.roll(bias, -1, axis=-1) - bias
    moved = change != 0
    # a plateau takes the direction of the last step that moved, at the start that of the last of all
    place = np.where(moved, np.arange(bias.size), -1)
    last = np.maximum.accumulate(place)
    last = np.where(last < 0, place.max(), last)
    return change[last] > 0

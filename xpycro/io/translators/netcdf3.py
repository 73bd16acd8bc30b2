"""Classic netCDF (versions 1 and 2) of no known dialect: a labelled view of its arrays.

May import numpy, xarray, schema and io below; SciPy's reader inside functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat, TranslationError
from xpycro.io.translators._axes import Axis, data_units, layout
from xpycro.io.translators._signals import Signal, collect

__all__ = ["read"]

NOTE = "classic netCDF of no known dialect: a view of its arrays"


def read(path: str) -> dict[str, xr.Dataset]:
    """View the arrays of a classic netCDF file that speaks no dialect we know.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group for each grid; a variable named as a dimension is its coordinate; the attribute ``note`` says what
        this is. Packed values are handed out as stored.

    Raises
    ------
    NotThisFormat, CorruptFile

    Notes
    -----
    *Laziness*: coordinates are read, data only when used.
    """
    with open(path, "rb") as handle:
        if handle.read(3) != b"CDF":
            raise NotThisFormat("does not begin with 'CDF'", path=path, offset=0)
    try:
        with xr.open_dataset(path, engine="scipy", decode_cf=False, chunks=None) as ds:
            signals = [
                _signal(ds, str(name), variable)
                for name, variable in ds.variables.items()
                if variable.dtype.kind in "fciu" and variable.size > 1 and (str(name),) != variable.dims
            ]
            header = {
                **{str(k): _plain(v) for k, v in ds.attrs.items()},
                **{str(n): _small(v) for n, v in ds.variables.items() if v.size <= 64 and v.ndim < 2},
            }
    except TranslationError:
        raise
    except Exception as error:  # SciPy's parser raises what it happens to meet
        raise CorruptFile(f"netCDF cannot be read ({type(error).__name__}: {str(error)[:200]})", path=path) from error
    if not signals:
        raise NotThisFormat("no variable holds numbers", path=path)
    return collect(signals, header, note=NOTE)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _small(variable: xr.Variable) -> Any:
    values = np.asarray(variable.values)
    if values.dtype.kind == "S":
        return b"".join(values.ravel().tolist()).decode("utf-8", "replace").strip("\0 ")
    return values.tolist()


def _signal(ds: xr.Dataset, name: str, variable: xr.Variable) -> Signal:
    axes = []
    for dim, size in variable.sizes.items():
        coord = ds.variables.get(dim)
        fits = coord is not None and coord.dims == (dim,) and coord.dtype.kind in "fiu"
        units = str(coord.attrs.get("units", "")) if coord is not None and fits else ""
        values = np.asarray(coord.values, float) if coord is not None and fits else None
        axes.append(Axis(size, str(dim), units, values=values))
    laid = layout(axes, top_first=False)
    said = {str(k): _plain(v) for k, v in variable.attrs.items()}
    factor, base = data_units(str(said.get("units", "")))
    renamed = xr.Variable(tuple(laid.dims[laid.order.index(n)] for n in range(len(axes))), variable._data)
    turned = renamed.isel({d: slice(None, None, -1) for d, flip in zip(laid.dims, laid.flip, strict=True) if flip})
    units = base if factor == 1.0 else str(said.get("units", ""))
    label = str(said.get("long_name") or name)
    return Signal(name, xr.Variable(turned.dims, turned._data, {"units": units, "long_name": label}), laid.coords, said)

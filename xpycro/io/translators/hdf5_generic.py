"""Any other HDF5 file: a labelled view of its arrays. What the arrays mean is guessed from their shape and said so.

May import numpy, xarray, schema and io below, h5py inside functions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io import hdf5_array
from xpycro.io.hdf5_guard import opened
from xpycro.io.translators import _h5tools as h5
from xpycro.io.translators._axes import Axis, data_units, layout
from xpycro.io.translators._signals import Signal, collect

__all__ = ["read"]

NOTE = "HDF5 of no known dialect: a view of its arrays; the dims are guessed from names, scales and shapes"
_MANY = 2000


def read(path: str, *, trust: bool = False, isolate: bool = False) -> dict[str, xr.Dataset]:
    """View the arrays of an HDF5 (or netCDF-4) file that speaks no dialect we know.

    Parameters
    ----------
    path : str
    trust : bool, optional
        Follow links and external storage outside the folder too.
    isolate : bool, optional
        Walk the file in a child process with limits first.

    Returns
    -------
    dict of str to Dataset
        One group for each grid, named after the last parts of its path. Dims are those of dimension scales where there
        are some, else ``y, x`` for the last two; the attribute ``note`` says so. Datasets of fewer than two values are
        metadata.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant

    Notes
    -----
    *Laziness*: dimension scales are read, data only when used.
    """
    with opened(path, trust=trust, isolate=isolate) as (file, contents):
        signals: list[Signal] = []
        names: list[str] = []
        for name in contents.datasets:
            data = file[name]
            if len(signals) >= _MANY:
                break
            if data.shape is None or data.size < 2 or name in contents.missing:
                continue
            if h5.text(data.attrs.get("CLASS")) == "DIMENSION_SCALE" and data.ndim == 1:
                continue
            for field in data.dtype.names or ("",):
                kind = data.dtype[field] if field else data.dtype
                if kind.kind not in "fciub" or kind.shape:
                    continue
                signals.append(_signal(name, data, field))
                names.append(f"{name}/{field}" if field else name)
        if not signals:
            if contents.missing:
                missing = next(iter(contents.missing.values()))
                raise CorruptFile(f"its data lie in {missing!r}, which is not there", path=path)
            raise NotThisFormat("no dataset holds numbers", path=path)
        short = h5.group_names(names)
        signals = [replace(signal, group=name) for signal, name in zip(signals, short, strict=True)]
        return collect(signals, h5.metadata(file), note=NOTE)


def _signal(name: str, data: Any, field: str) -> Signal:
    axes = [_axis(data, number) for number in range(data.ndim)]
    laid = layout(axes, top_first=False)
    said = h5.attributes(data)
    factor, base = data_units("" if field else str(said.get("units", "")))
    raw = hdf5_array.array(data, order=laid.order, flip=laid.flip, field=field, factor=factor)
    parts = [part for part in name.split("/") if part]
    label = field or str(said.get("long_name") or said.get("name") or parts[-1])
    made = hdf5_array.variable(laid.dims, raw, label, base, data.chunks)
    return Signal(label, made, laid.coords, said)


def _axis(data: Any, number: int) -> Axis:
    size = data.shape[number]
    label = str(data.dims[number].label or "")
    scales = data.dims[number]
    if not len(scales):
        return Axis(size, label, None)
    scale = scales[0]
    name = label or scale.name.rsplit("/", 1)[-1]
    if (
        scale.shape != (size,)
        or scale.dtype.kind not in "fiu"
        or "without a corresponding netCDF" in h5.text(scale.attrs.get("NAME"))
    ):
        return Axis(size, name, None)
    units = h5.text(scale.attrs.get("units"))
    return Axis(size, name, units, values=np.asarray(scale[()], float))

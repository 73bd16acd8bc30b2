"""EMD of the NCEM (versions 0.2 to 1.0): groups marked ``emd_group_type`` with ``data`` and ``dim`` arrays.

Also written by Prismatic and py4DSTEM. May import numpy, xarray, schema and io below, h5py inside functions.
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

_DATA = ("data", "datacube", "realslice", "diffractionslice", "depth_slice")
_NAMED = 4096  # names of an axis
# py4DSTEM and Prismatic count x along the first axis of an image, which is shown downwards
_NAMES = {"rx": "y", "ry": "x", "qx": "ky", "qy": "kx", "r_nx": "y", "r_ny": "x", "q_nx": "ky", "q_ny": "kx"}


def read(path: str, *, trust: bool = False, isolate: bool = False) -> dict[str, xr.Dataset]:
    """Read an EMD file of the NCEM family (Velox writes another format under the same suffix).

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
        One group for each grid; images are turned so that ``y`` and ``ky`` run upwards.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant

    Notes
    -----
    *Laziness*: the dim arrays are read, data only when used. py4DSTEM and Prismatic call the first axis of an image
    ``x``; here it is ``y`` where py4DSTEM wrote it and ``x`` where Prismatic did, as each of them means it.

    References
    ----------
    EMD file format, https://emdatasets.com/format
    """
    with opened(path, trust=trust, isolate=isolate) as (file, contents):
        known = set(contents.datasets)
        signals = []
        for where in contents.groups:
            if "emd_group_type" not in file[where].attrs:
                continue
            for name in _DATA:
                inner = f"{where.rstrip('/')}/{name}"
                if inner in known:
                    if inner in contents.missing:
                        raise CorruptFile(f"its data lie in {contents.missing[inner]!r}", path=path, field=inner)
                    signals.append(_signal(path, file, where, file[inner]))
        if not signals:
            raise NotThisFormat("no group is marked emd_group_type and holds data", path=path)
        names = h5.group_names([signal.group for signal in signals])
        signals = [replace(signal, group=name) for signal, name in zip(signals, names, strict=True)]
        skip = frozenset({*_DATA, *(f"dim{n}" for n in range(17))})
        return collect(signals, h5.metadata(file, skip=skip), modality="transmission electron microscopy")


def _signal(path: str, file: Any, where: str, data: Any) -> Signal:
    if data.dtype.kind not in "fciub" or data.ndim == 0:
        raise CorruptFile(f"data of type {data.dtype} and {data.ndim} dims", path=path, field=data.name)
    group = file[where]
    first = 0 if "dim0" in group else 1
    axes = [_axis(path, group, f"dim{number + first}", size) for number, size in enumerate(data.shape)]
    laid = layout(axes, top_first=not any(axis.dim == "" and axis.name.lower() in ("r_x", "q_x") for axis in axes))
    factor, base = data_units(h5.text(data.attrs.get("units")))
    raw = hdf5_array.array(data, order=laid.order, flip=laid.flip, factor=factor)
    parts = [part for part in where.split("/") if part] or ["data"]
    title = h5.text(group.attrs.get("name")) or parts[-1]
    made = hdf5_array.variable(laid.dims, raw, title, base, data.chunks)
    return Signal(title, made, laid.coords, h5.attributes(group), {"title": title}, group=where)


def _axis(path: str, group: Any, name: str, size: int) -> Axis:
    if name not in group:
        return Axis(size)
    stored = group[name]
    label, units = h5.text(stored.attrs.get("name")), h5.text(stored.attrs.get("units"))
    dim = _NAMES.get(label.lower(), "")
    if stored.dtype.kind not in "fiu":  # a list of names
        names = h5.tidy(np.asarray(stored[()])) if stored.size == size <= _NAMED else None
        values = np.array(names, dtype=str) if isinstance(names, list) and len(names) == size else None
        return Axis(size, label, None, values=values, dim="channel" if label == "_labels_" else dim)
    values = np.asarray(stored[()], float).ravel()
    if values.size == size:
        return Axis(size, label, units, values=values, dim=dim)
    if values.size == 2:  # the first two points of a regular axis
        return Axis(size, label, units, float(values[1] - values[0]), float(values[0]), dim=dim)
    raise CorruptFile(f"{values.size} values for {size} points", path=path, field=stored.name)

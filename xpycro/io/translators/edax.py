"""EDAX (APEX) ``.h5``: live maps as spectrum images with the pictures and element maps recorded beside them.

The first row lies at the top. May import numpy, xarray, schema and io below, h5py inside functions.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io import hdf5_array
from xpycro.io.hdf5_guard import Contents, opened
from xpycro.io.translators import _h5tools as h5
from xpycro.io.translators._axes import Axis, layout
from xpycro.io.translators._signals import Signal, collect

__all__ = ["read"]

_MICRON = 1e-6
# pictures and the tables that hold their scale, by the name of the dataset
_PICTURES = {
    "MAPIMAGE": ("MAPIMAGEIPR", "MAPIMAGECOLLECTIONPARAMS"),
    "FOVIMAGE": ("FOVIPR", "FOVIMAGECOLLECTIONPARAMS"),
}


def read(path: str, *, trust: bool = False, isolate: bool = False) -> dict[str, xr.Dataset]:
    """Read an EDAX file.

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
        One group for each grid: a live map ``(y, x, energy)`` with the picture and the element maps of its pixels, and
        the picture of the whole field of view.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant

    Notes
    -----
    *Laziness*: tables of settings are read, data only when used. Energies begin at 0, since the file does not say in
    which unit it gives where they begin.
    """
    with opened(path, trust=trust, isolate=isolate) as (file, contents):
        signals = [signal for name in contents.datasets if (signal := _signal(path, file, name, contents)) is not None]
        if not signals:
            raise NotThisFormat("no live map and no picture", path=path)
        names = h5.group_names([signal.group for signal in signals])
        signals = [replace(signal, group=name) for signal, name in zip(signals, names, strict=True)]
        root = {name: h5.attributes(file[name]) for name in file}
        return collect(signals, root, modality="scanning electron microscopy", instrument="EDAX")


def _signal(path: str, file: Any, name: str, contents: Contents) -> Signal | None:
    """A dataset as a signal; None where it is none."""
    where, _, last = name.rpartition("/")
    tables: tuple[str, ...]
    if last == "SPD":
        tables, ndim, label = ("SPC",), 3, "X-rays"
    elif last in _PICTURES:
        tables, ndim, label = _PICTURES[last], 2, {"MAPIMAGE": "Image", "FOVIMAGE": "Field of view"}[last]
    elif last.endswith(".dat") and where.endswith("ROIs"):
        tables, ndim, label = (f"{last[:-3]}ipr",), 2, last[:-4]
    else:
        return None
    data = file[name]
    if name in contents.missing:
        raise CorruptFile(f"its data lie in {contents.missing[name]!r}, which is not there", path=path, field=name)
    if data.ndim != ndim or data.dtype.kind not in "fiu":
        raise CorruptFile(f"data of {data.dtype} and {data.ndim} dims, expected {ndim}", path=path, field=name)
    said: dict[str, Any] = {}
    for table in tables:
        if f"{where}/{table}" in contents.datasets:
            said.update(_table(file[f"{where}/{table}"]))
    said.update(h5.attributes(data))
    axes = [
        _place(said, "y", data.shape[0]),
        _place(said, "x", data.shape[1]),
    ]
    if ndim == 3:
        step = _positive(said.get("evPerChannel"))
        axes.append(Axis(data.shape[2], "Energy", "eV" if step else "", step or 1.0, signal=True))
    laid = layout(axes, top_first=True)
    raw = hdf5_array.array(data, order=laid.order, flip=laid.flip)
    counted = ndim == 3 or last.endswith(".dat")
    made = hdf5_array.variable(laid.dims, raw, label, "counts" if counted else "1", data.chunks)
    plain = {"data_type": "EDS"} if ndim == 3 else {}
    return Signal(label, made, laid.coords, said, plain, group=where if last != "FOVIMAGE" else name)


def _place(said: dict[str, Any], dim: str, size: int) -> Axis:
    """Settings of maps and of pictures spell the size of a pixel differently."""
    step = _positive(said.get(f"MicronPerPixel{dim.upper()}")) or _positive(said.get(f"MicronsPerPixel{dim.upper()}"))
    return Axis(size, dim, "m" if step else "", step * _MICRON or 1.0)


def _table(dataset: Any) -> dict[str, Any]:
    """The one row of a compound table."""
    if not dataset.dtype.names or dataset.size != 1 or dataset.is_virtual or dataset.external:
        return {}
    row = np.asarray(dataset[()]).ravel()[0]
    found = {name: h5.tidy(row[name]) for name in dataset.dtype.names}
    return {name: value for name, value in found.items() if value is not None}


def _positive(value: Any) -> float:
    number = float(value) if isinstance(value, int | float) else 0.0
    return number if 0 < number < math.inf else 0.0

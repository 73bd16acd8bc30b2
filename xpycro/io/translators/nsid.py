"""NSID, the HDF5 of pyNSID and sidpy: n-dimensional datasets with dimension scales, their metadata in groups beside.

May import numpy, xarray, schema and io below, h5py inside functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io import hdf5_array
from xpycro.io.hdf5_guard import opened
from xpycro.io.translators import _h5tools as h5
from xpycro.io.translators._axes import Axis, axis_units, data_units, layout
from xpycro.io.translators._signals import Signal, collect

__all__ = ["read"]

_SIGNAL = ("SPECTRAL", "RECIPROCAL", "TEMPORAL")


def read(path: str, *, trust: bool = False, isolate: bool = False) -> dict[str, xr.Dataset]:
    """Read an NSID file.

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
        Main datasets on one grid are variables of one Dataset; dims in the order y, x, signal, ascending. Results that
        sidpy logged keep their place in their group name.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant

    Notes
    -----
    *Laziness*: the dimension scales are read, data only when used.

    References
    ----------
    pyNSID documentation, "N-Dimensional Spectroscopy and Imaging Data model".
    """
    with opened(path, trust=trust, isolate=isolate) as (file, contents):
        mains = [name for name in contents.datasets if "main_data_name" in file[name].attrs]
        if not mains:
            raise NotThisFormat("no dataset has the attribute main_data_name", path=path)
        signals = [_main(path, file, name, contents.missing) for name in mains]
        return collect(signals, h5.attributes(file))


def _main(path: str, file: Any, name: str, missing: dict[str, str]) -> Signal:
    main = file[name]
    if name in missing:
        raise CorruptFile(f"its data lie in {missing[name]!r}, which is not there", path=path, field=name)
    if main.dtype.kind not in "fciub" or main.shape is None:
        raise CorruptFile(f"a main dataset of {main.dtype}", path=path, field=name)
    axes = [_axis(path, main, number) for number in range(main.ndim)]
    laid = layout(axes, top_first=False)
    said = h5.attributes(main)
    factor, base = data_units(str(said.get("units", "")))
    raw = hdf5_array.array(main, order=laid.order, flip=laid.flip, factor=factor)
    quantity = str(said.get("quantity", ""))
    parts = [part for part in name.split("/") if part]
    label = quantity if quantity and quantity != "generic" else parts[-1]
    made = hdf5_array.variable(laid.dims, raw, label, base, main.chunks)
    group = file[name.rsplit("/", 1)[0] or "/"]
    header = h5.metadata(group, skip=frozenset([parts[-1], *(axis.name for axis in axes)]))
    plain = {k: str(v) for k, v in said.items() if k in ("modality", "data_type") and v != "generic"}
    if said.get("source") not in (None, "generic"):
        plain["instrument"] = str(said["source"])
    return Signal(label, made, laid.coords, {**said, **header}, plain, group="_".join(parts[:-1]) or parts[-1])


def _axis(path: str, main: Any, number: int) -> Axis:
    """One dim from the scale attached to it; without one it counts."""
    size = main.shape[number]
    label = main.dims[number].label or ""
    scales = main.dims[number]
    if not len(scales):
        return Axis(size, label, None)
    scale = scales[0]
    if scale.shape != (size,) or scale.dtype.kind not in "fiu":
        raise CorruptFile(
            f"the scale has the shape {scale.shape} and the dim {size} points", path=path, field=scale.name
        )
    said = h5.attributes(scale)
    kind = str(said.get("dimension_type", "")).upper()
    lost = "loss" in str(said.get("quantity", "")).lower() or h5.text(main.attrs.get("modality")).upper() == "EELS"
    name = (
        "Energy loss"
        if lost and kind == "SPECTRAL"
        else str(said.get("name") or label or scale.name.rsplit("/", 1)[-1])
    )
    signal = kind in _SIGNAL if kind and kind != "UNKNOWN" else None
    units = str(said.get("units", ""))
    if kind == "SPATIAL" and units == h5.text(main.attrs.get("units")) and axis_units(units)[1] != "m":
        units = "m"  # SciFiReaders copied the units of the numbers to both axes of an image
    return Axis(size, name, units, values=np.asarray(scale[()], float), signal=signal)

"""Scanning-probe files in plain HDF5: TopoStats, and movements of the FAST module (which proespm reads).

May import numpy, xarray, schema, units and the io modules below it, h5py inside functions.
"""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io import hdf5_array
from xpycro.io.hdf5_guard import opened
from xpycro.io.translators import _common as common
from xpycro.io.translators import _h5tools as h5
from xpycro.schema import coordinate

__all__ = ["fast_movement", "is_fast_movement", "topostats"]


def topostats(path: str) -> dict[str, xr.Dataset]:
    """Read a TopoStats file (``.topostats``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group: the processed ``image`` over ``(y, x)`` in m, and ``image_original`` where it was kept.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant

    Notes
    -----
    TopoStats keeps images as they are shown, top row first, and heights in nm. *Laziness*: no numbers are read.
    """
    with opened(path, whole=True) as (file, contents):
        if "image" not in contents.datasets and "/image" not in contents.datasets:
            raise NotThisFormat("no dataset is called 'image': not a TopoStats file", path=path)
        images = {name: file[name] for name in ("image", "image_original") if name in file}
        shape = images["image"].shape
        if len(shape) != 2 or any(i.shape != shape or i.dtype.kind not in "fiu" for i in images.values()):
            raise CorruptFile(f"the images have the shapes {[i.shape for i in images.values()]}", path=path)
        step = float(file["pixel_to_nm_scaling"][()]) if "pixel_to_nm_scaling" in file else np.nan
        if not (np.isfinite(step) and 0 < step < 1e9):
            raise CorruptFile(f"a pixel of {step} nm", path=path, field="pixel_to_nm_scaling")
        ny, nx = shape
        variables = {}
        for name, data in images.items():
            raw = hdf5_array.array(data, flip=(True, False), factor=1e-9)
            variables[name] = hdf5_array.variable(("y", "x"), raw, name, "m", data.chunks)
        title = h5.text(file["filename"][()]) if "filename" in file and file["filename"].shape == () else ""
        return {
            "": common.dataset(
                variables,
                common.image_coordinates(nx, ny, nx * step * 1e-9, ny * step * 1e-9),
                h5.metadata(file, frozenset(images)),
                modality="atomic force microscopy",
                instrument="TopoStats",
                data_type="image",
                title=title or None,
            )
        }


def is_fast_movement(path: str) -> bool:
    """Whether the one table ``data`` carries the settings of the FAST module; False where it cannot be told."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            link = file.get("data", getlink=True)
            return isinstance(link, h5py.HardLink) and "ExperimentInfo.FileFormatVersion" in file["data"].attrs
    except Exception:  # a sniffer must not raise: the translator says what is wrong
        return False


def fast_movement(path: str) -> dict[str, xr.Dataset]:
    """Read a FAST-module movement file (``.h5`` with one table ``data`` and its settings as attributes).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group: ``data(point, channel)`` as recorded. The file does not name the channels nor state their units.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant

    Notes
    -----
    *Laziness*: no numbers are read.
    """
    with opened(path, whole=True) as (file, _):
        if "data" not in file or "ExperimentInfo.FileFormatVersion" not in getattr(file["data"], "attrs", {}):
            raise NotThisFormat("no dataset 'data' with attributes 'ExperimentInfo.*'", path=path)
        data = file["data"]
        if data.ndim != 2 or data.dtype.kind not in "fiu":
            raise CorruptFile(f"data of shape {data.shape}, {data.dtype}", path=path, field="data")
        attrs = h5.attributes(data)
        raw = hdf5_array.array(data)
        variable = hdf5_array.variable(("point", "channel"), raw, "data", "1", data.chunks)
        return {
            "": common.dataset(
                {"data": variable},
                {"channel": coordinate("channel", np.arange(data.shape[1]))},
                attrs,
                modality="scanning tunnelling microscopy",
                instrument="FAST SPM",
                data_type="time_series",
                operating_mode=str(attrs.get("ExperimentInfo.Mode") or "") or None,
                acquired=common.iso_time(re.sub(r"[+-]\d\d:\d\d$", "", str(attrs.get("ExperimentInfo.TimeStart", "")))),
            )
        }

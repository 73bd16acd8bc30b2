"""Delmic / Odemis HDF5 (SPARC cathodoluminescence): ``AcquisitionN/ImageData/Image`` over C, T, Z, Y, X.

May import numpy, xarray, schema and io below, h5py inside functions.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io import hdf5_array
from xpycro.io.hdf5_guard import opened
from xpycro.io.translators import _h5tools as h5
from xpycro.io.translators._axes import Axis, layout
from xpycro.io.translators._signals import Signal, collect

__all__ = ["read"]


def read(path: str, *, trust: bool = False, isolate: bool = False) -> dict[str, xr.Dataset]:
    """Read the acquisitions of an Odemis HDF5 file.

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
        One group for each grid: the survey, the image taken with the spectra, the spectra. ``y, x`` are positions of
        the stage frame (the file gives the centre of each image), so that spectra lie over the survey.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant

    Notes
    -----
    *Laziness*: scales and metadata are read, data only when used.
    """
    with opened(path, trust=trust, isolate=isolate) as (file, contents):
        signals = []
        for name in contents.datasets:
            if re.fullmatch(r"/Acquisition\d+/ImageData/Image", name):
                if name in contents.missing:
                    raise CorruptFile(f"its data lie in {contents.missing[name]!r}", path=path, field=name)
                signals.append(_acquisition(path, file, name))
        if not signals:
            raise NotThisFormat("no Acquisition holds ImageData/Image", path=path)
        return collect(signals, {}, modality="cathodoluminescence")


def _number(group: Any, name: str, default: float) -> float:
    if name not in group or group[name].size != 1 or group[name].dtype.kind not in "fiu":
        return default
    value = float(np.asarray(group[name][()]).ravel()[0])
    return value if np.isfinite(value) else default


def _acquisition(path: str, file: Any, name: str) -> Signal:
    where = name.split("/")[1]
    image, data = file[f"/{where}/ImageData"], file[name]
    if data.ndim != 5 or data.dtype.kind not in "fiu":
        raise CorruptFile(f"an image of {data.ndim} dims and type {data.dtype}", path=path, field=name)
    axes, kept = [], []
    for number, letter in enumerate("CTZYX"):
        size = data.shape[number]
        if size == 1 and letter in "CTZ":
            continue
        kept.append(number)
        axes.append(_axis(path, image, letter, size))
    laid = layout(axes, top_first=False)
    order = tuple(kept[n] for n in laid.order)
    fixed = [(number, 0) for number in range(5) if number not in kept]
    raw = hdf5_array.array(data, order=order, flip=laid.flip, fixed=fixed)
    header = h5.metadata(file[f"/{where}"], skip=frozenset(["Image"]))
    physical = header.get("PhysicalData", {})
    title = _text(physical.get("Title") or physical.get("ChannelDescription")) or where
    started = _number(image, "TOffset", 0.0)
    said = {"title": title, "instrument": _text(physical.get("HardwareName"))}
    if 0 < started < 4e9:
        said["acquired"] = datetime.fromtimestamp(started, UTC).replace(tzinfo=None).isoformat()
    made = hdf5_array.variable(laid.dims, raw, title, "counts", data.chunks)
    return Signal(title, made, laid.coords, header, {k: v for k, v in said.items() if v}, group=title)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("value")
    if isinstance(value, list):
        value = value[0] if value else ""
    return "" if value is None else str(value)


def _axis(path: str, image: Any, letter: str, size: int) -> Axis:
    scale = image[f"DimensionScale{letter}"] if f"DimensionScale{letter}" in image else None
    units = h5.text(scale.attrs.get("UNIT")) if scale is not None else ""
    if letter in "YX":
        step = _number(image, f"DimensionScale{letter}", 0.0)
        centre = _number(image, f"{letter}Offset", 0.0)
        if not step > 0:
            return Axis(size, letter.lower(), None)
        # y of the stage runs upwards and the first row is the top one
        step = -step if letter == "Y" else step
        return Axis(size, letter.lower(), units or "m", step, centre - step * (size - 1) / 2)
    if scale is not None and scale.shape == (size,) and scale.dtype.kind in "fiu":
        values = np.asarray(scale[()], float)
        return Axis(size, "Wavelength" if letter == "C" else letter, units, values=values, signal=letter == "C" or None)
    if scale is not None and scale.shape not in ((), (1,)):
        raise CorruptFile(f"a scale of {scale.shape} for {size} points", path=path, field=scale.name)
    dim = {"C": "channel", "T": "time", "Z": "z"}[letter]
    step = _number(image, f"DimensionScale{letter}", 0.0)
    return Axis(size, letter, units if step > 0 else None, step or 1.0, dim=dim)

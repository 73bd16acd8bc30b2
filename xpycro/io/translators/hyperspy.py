"""HyperSpy's own HDF5 (``.hspy``, before 2.0 also ``.hdf5``): experiments with axes as groups of attributes.

May import numpy, xarray, schema and io below, h5py inside functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io import hdf5_array
from xpycro.io.hdf5_guard import opened
from xpycro.io.rawarray import StackedArray
from xpycro.io.translators import _h5tools as h5
from xpycro.io.translators._axes import Axis, data_units, layout
from xpycro.io.translators._common import iso_time
from xpycro.io.translators._signals import Signal, collect
from xpycro.schema import coordinate

__all__ = ["modality_of", "read", "said_of", "split_quantity"]

_COLOURS = {"R": "red", "G": "green", "B": "blue", "A": "alpha"}


def read(path: str, *, trust: bool = False, isolate: bool = False) -> dict[str, xr.Dataset]:
    """Read a HyperSpy file.

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
        One group for each experiment; those of ragged arrays, which have no grid, are left out. Navigation dims before
        signal dims, the colours of a picture along ``channel``; images are turned so that ``y`` runs upwards.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant

    Notes
    -----
    *Laziness*: axes and metadata are read, data only when used.

    References
    ----------
    HyperSpy user guide, "HSpy - HyperSpy's HDF5 Specification".
    """
    with opened(path, trust=trust, isolate=isolate) as (file, contents):
        if "Experiments" not in contents.groups and "/Experiments" not in contents.groups:
            raise NotThisFormat("the group Experiments is missing", path=path)
        held = [n for n in file["Experiments"] if f"/Experiments/{n}/data" in contents.datasets]
        gridded = [n for n in held if file[f"/Experiments/{n}/data"].dtype.kind != "O"]
        if held and not gridded:
            raise UnsupportedVariant(f"{held} hold ragged arrays, which have no grid", path=path, field="Experiments")
        signals = [_experiment(path, file, f"/Experiments/{name}", contents.missing) for name in gridded]
        if not signals:
            raise CorruptFile("no experiment holds data", path=path, field="Experiments")
        return collect(signals, {}, apart=True)


def _experiment(path: str, file: Any, where: str, missing: Mapping[str, str]) -> Signal:
    group, data = file[where], file[f"{where}/data"]
    if f"{where}/data" in missing:
        raise CorruptFile(f"its data lie in {missing[f'{where}/data']!r}, which is not there", path=path, field=where)
    colours = data.dtype.names or ()
    kinds = {data.dtype[name].str[1:] for name in colours}
    if data.dtype.kind not in "fciub" and not (kinds <= {"u1", "u2"} and colours):
        raise CorruptFile(f"data of type {data.dtype}", path=path, field=f"{where}/data")
    header = h5.metadata(group, skip=frozenset(["data", *(name for name in group if name.startswith("axis-"))]))
    record = str(_deep(header, "metadata", "Signal", "record_by") or "")
    axes = []
    for number in range(data.ndim):
        if f"axis-{number}" not in group:
            raise CorruptFile(f"axis-{number} is missing", path=path, field=where)
        axes.append(_axis(path, group[f"axis-{number}"], data.shape[number], number - data.ndim, record))
    kind = str(_deep(header, "metadata", "Signal", "signal_type") or "")
    if kind == "EELS":
        axes = [_lossy(axis) for axis in axes]
    laid = layout(axes, top_first=True)
    quantity = str(_deep(header, "metadata", "Signal", "quantity") or "")
    label, unit = split_quantity(quantity)
    factor, base = data_units(unit)
    title = str(_deep(header, "metadata", "General", "title") or where.rsplit("/", 1)[-1])
    coords = dict(laid.coords)
    parts = [
        hdf5_array.array(data, order=laid.order, flip=laid.flip, factor=factor, field=name) for name in colours or ("",)
    ]
    if colours:
        made = hdf5_array.variable((*laid.dims, "channel"), StackedArray(tuple(parts), data.ndim), label or title, base)
        coords["channel"] = coordinate("channel", np.array([_COLOURS.get(name, name) for name in colours]))
    else:
        made = hdf5_array.variable(laid.dims, parts[0], label or title, base, data.chunks)
    metadata = header.get("metadata", {})
    return Signal(title, made, coords, header, said_of(metadata if isinstance(metadata, dict) else {}), title)


def split_quantity(text: str) -> tuple[str, str]:
    """``Current (A)`` as its name and its unit.

    Examples
    --------
    >>> split_quantity("Intensity (Counts)")
    ('Intensity', 'Counts')
    """
    found = re.match(r"^(.*?)\s*\(([^()]*)\)\s*$", text)
    return (found[1], found[2]) if found else (text.strip(), "")


def said_of(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The plain attributes that HyperSpy-style metadata give: title, acquired, instrument, modality."""
    date, clock = _deep(metadata, "General", "date"), _deep(metadata, "General", "time")
    acquired = iso_time(f"{date} {clock}" if clock else str(date)) if date else None
    microscope = _deep(metadata, "Acquisition_instrument", "TEM", "microscope") or _deep(
        metadata, "Acquisition_instrument", "SEM", "microscope"
    )
    said = {
        "title": _deep(metadata, "General", "title"),
        "acquired": acquired,
        "instrument": microscope,
        "modality": modality_of(metadata),
        "data_type": _deep(metadata, "Signal", "signal_type"),
    }
    return {name: str(value) for name, value in said.items() if value}


def modality_of(metadata: Mapping[str, Any]) -> str | None:
    """What kind of microscopy HyperSpy-style metadata speak of."""
    instruments = _deep(metadata, "Acquisition_instrument")
    if isinstance(instruments, Mapping) and instruments:
        if "TEM" in instruments:
            mode = str(_deep(instruments, "TEM", "acquisition_mode") or "")
            return "scanning transmission electron microscopy" if mode == "STEM" else "transmission electron microscopy"
        if "SEM" in instruments:
            return "scanning electron microscopy"
        if "Spectrometer" in instruments or "Laser" in instruments:
            return "optical spectroscopy"
    return None


def _deep(mapping: Mapping[str, Any], *names: str) -> Any:
    value: Any = mapping
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _lossy(axis: Axis) -> Axis:
    from dataclasses import replace

    return replace(axis, name="Energy loss") if axis.signal and axis.name.lower().startswith("energy") else axis


def _axis(path: str, group: Any, size: int, place: int, record: str) -> Axis:
    said = h5.attributes(group)
    declared = said.get("size", size)
    values = None
    if "axis" in group:  # a non-uniform axis
        stored = group["axis"]
        if stored.shape != (size,) or stored.dtype.kind not in "fiu":
            raise CorruptFile(f"{stored.shape} values for {size} points", path=path, field=stored.name)
        values = np.asarray(stored[()], float)
    elif isinstance(said.get("axis"), list):
        values = np.asarray(said["axis"], float)
    if declared != size or (values is not None and values.shape != (size,)):
        raise CorruptFile(f"the axis has {declared} points and the data {size}", path=path, field=group.name)
    navigate = said.get("navigate")
    if navigate is None and record:
        navigate = place < -1 if record == "spectrum" else place < -2
    return Axis(
        size, _plain(said.get("name")), _plain(said.get("units")), float(said.get("scale", 1.0)),
        float(said.get("offset", 0.0)), values, None if navigate is None else not bool(navigate),
    )  # fmt: skip


def _plain(value: Any) -> str:
    text = "" if value is None else str(value)
    return "" if text in ("_None_", "t.Undefined", "<undefined>", "None") else text

"""GXSM ``.nc``: netCDF, classic or in HDF5, with one channel and one direction a file.

Lengths are in angstrom whatever the display unit; the numbers are raw counts that ``dz`` scales. The pixels run from
edge to edge (the step is length / (n - 1)), and a descending axis is turned round. May import numpy, xarray, schema,
units and the io modules below it.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io import hdf5_array
from xpycro.io.cursor import Cursor
from xpycro.io.hdf5_guard import opened
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators import _h5tools as h5
from xpycro.io.translators import _netcdf
from xpycro.schema import coordinate, identifiers
from xpycro.units import to_base

__all__ = ["scan"]

_FIELDS = ("FloatField", "DoubleField", "H", "IntField", "ComplexDoubleField")
_SMALL = 1 << 20  # bytes of a variable that is read with the header
_WHOLE = 4096  # elements of a variable that is kept in the metadata


def scan(path: str) -> dict[str, xr.Dataset]:
    """Read a GXSM scan (``.nc``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group with one variable over ``(y, x)``, ``(frame, y, x)`` of a time series, or ``(layer..., y, x)`` with
        the layers along ``bias`` where they are bias values; the attribute ``direction`` says which way the line was
        scanned.

    Raises
    ------
    NotThisFormat
        If it is a netCDF file of someone else.
    CorruptFile, UnsupportedVariant

    Notes
    -----
    *Laziness*: the header and the small variables are read.
    """
    with Cursor(path) as cursor:
        if cursor.peek(8) != b"\x89HDF\r\n\x1a\n":
            return {"": _scan(path, cursor, _netcdf.read(cursor))}
        with opened(path, whole=True) as (file, _):
            return {"": _scan(path, cursor, _in_hdf5(file), file)}


class _Stored(_netcdf.Variable):
    """A variable of a netCDF-4 file: its value is read when the header is, its numbers lazily."""

    def value(self, cursor: Cursor) -> Any:
        return self.attrs["_value"]


def _in_hdf5(file: Any) -> _netcdf.File:
    """The variables of a netCDF-4 file as those of a classic one."""
    found: dict[str, _netcdf.Variable] = {}
    for name, data in file.items():
        if not hasattr(data, "shape") or data.dtype.kind not in "iufSO" or data.is_virtual:
            continue
        attrs = h5.attributes(data)
        kept = data.size * max(data.dtype.itemsize, 1) <= _SMALL and name not in _FIELDS
        value = data[()] if kept else None
        if kept and data.dtype.kind in "SO":
            pieces = np.asarray(value).ravel().tolist()
            text = b"".join(piece if isinstance(piece, bytes) else str(piece).encode() for piece in pieces)
            value = text.split(b"\0", 1)[0].decode("latin-1").strip()
        elif kept:
            numbers = np.asarray(value)
            value = numbers.item() if numbers.size == 1 else numbers.tolist()
        dtype = np.dtype("S1") if data.dtype.kind in "SO" else data.dtype
        dims = tuple(f"dim_{k}" for k in range(data.ndim))
        found[name] = _Stored(name, dims, tuple(data.shape), dtype, 0, {**attrs, "_value": value})
    return _netcdf.File(h5.attributes(file), found)


def _values(cursor: Cursor, file: _netcdf.File) -> dict[str, Any]:
    """Every variable but the image, and the attributes: the metadata."""
    found: dict[str, Any] = {}
    for name, variable in file.variables.items():
        if name not in _FIELDS:
            long = math.prod(variable.shape) > _WHOLE
            value = f"{variable.shape} numbers, not kept" if long else variable.value(cursor)
            attrs = {key: said for key, said in variable.attrs.items() if key != "_value"}
            found[name] = {"value": value, **attrs} if attrs else value
    return found


def _number(cursor: Cursor, file: _netcdf.File, name: str) -> float | None:
    if name not in file.variables:
        return None
    value = file.variables[name].value(cursor)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _text(cursor: Cursor, file: _netcdf.File, name: str) -> str:
    value = file.variables[name].value(cursor) if name in file.variables else ""
    return value if isinstance(value, str) else ""


def _scan(path: str, cursor: Cursor, file: _netcdf.File, hdf5: Any = None) -> xr.Dataset:
    field = next((file.variables[name] for name in _FIELDS if name in file.variables), None)
    if field is None or "dimx" not in file.variables or "dimy" not in file.variables:
        raise NotThisFormat("a netCDF file without FloatField, dimx and dimy: not of GXSM", path=path)
    if len(field.shape) != 4 or field.dtype.kind not in "if":
        raise UnsupportedVariant(f"a field of {field.dtype} over {field.dims}: expected four dims", path=path)
    axes = {name: np.atleast_1d(np.asarray(file.variables[f"dim{name}"].value(cursor), dtype=float)) for name in "xy"}
    if (axes["y"].size, axes["x"].size) != field.shape[2:] or min(field.shape) < 1:
        raise cursor.corrupt(f"{field.shape} numbers, {axes['y'].size} x {axes['x'].size} positions", "dimx, dimy", 0)
    dz = _number(cursor, file, "dz")
    unit = str(field.attrs.get("unit") or field.attrs.get("ZSrcUnit") or "")
    # dz of a length is in angstrom, whatever unit is displayed; of anything else in the unit named
    factor, base = to_base(unit)
    factor = (1e-10 if base == "m" else factor) * (1.0 if dz is None else dz)
    if not 1e-40 < abs(factor) < 1e20:
        raise cursor.corrupt(f"a scale of {dz}", "dz", 0)
    coords: dict[str, Any] = {}
    flips = set()
    for axis, name in ((2, "y"), (3, "x")):
        values = axes[name] * 1e-10
        if not (np.isfinite(values).all() and (np.abs(np.sign(np.diff(values)).sum()) == values.size - 1)):
            raise cursor.corrupt("the positions are not monotonic", f"dim{name}", file.variables[f"dim{name}"].offset)
        if values.size > 1 and values[1] < values[0]:
            flips.add(axis)
            values = values[::-1]
        coords[name] = coordinate(name, values - values[0], units="m")
    leading = _leading(cursor, file, field, coords)
    dims, keep = (*leading.values(), "y", "x"), [*leading, 2, 3]
    label = str(field.attrs.get("ZLabel") or field.name)
    direction, channel = _named(_text(cursor, file, "basename") or path)
    title = channel or label
    attrs: dict[str, Any] = {"direction": direction} if direction else {}
    if title != label:
        attrs["quantity"] = label
    if hdf5 is None:
        variable = common.lazy_variable(dims, _raw(path, field, factor, keep, flips), title, base, **attrs)
    else:
        data = hdf5[field.name]
        dropped = tuple((axis, 0) for axis in range(4) if axis not in keep)
        turned = [axis in flips for axis in keep]
        array = hdf5_array.array(data, order=keep, flip=turned, fixed=dropped, factor=factor)
        variable = hdf5_array.variable(dims, array, title, base, data.chunks, **attrs)
    return common.dataset(
        {identifiers([title], coords)[0]: variable},
        coords,
        {**file.attrs, "variables": _values(cursor, file)},
        **_attributes(cursor, file),
    )


def _raw(path: str, field: _netcdf.Variable, factor: float, keep: list[int], flips: set[int]) -> RawArray:
    """The numbers of a classic file over the axes kept, each ascending."""
    from dataclasses import replace

    raw = RawArray.contiguous(
        path, field.offset, field.dtype, field.shape, flip=sorted(flips), factor=factor,
        target=np.float32 if field.dtype == ">f4" else np.float64,
    )  # fmt: skip
    shape, strides = (tuple(source[axis] for axis in keep) for source in (raw.shape, raw.strides))
    return replace(raw, shape=shape, strides=strides)


def _leading(cursor: Cursor, file: _netcdf.File, field: _netcdf.Variable, coords: dict[str, Any]) -> dict[int, str]:
    """Dims of the axes before the image, by axis; times and layers of one element are left out."""
    dims: dict[int, str] = {}
    for axis, name, dim in ((0, "time", "frame"), (1, "value", "bias")):
        if field.shape[axis] == 1:
            continue
        known = file.variables.get(name)
        stored = [] if known is None or known.dtype.kind == "S" else known.value(cursor)
        values = np.atleast_1d(np.asarray(stored, dtype=float))
        factor, base = to_base("" if known is None else str(known.attrs.get("unit", "")))
        ascending = values.size == field.shape[axis] and bool((np.diff(values) > 0).all())
        if dim == "bias" and not (ascending and base == "V"):
            dim = "channel"
        if dim == "bias":
            coords["bias"] = coordinate("bias", values * factor)
        dims[axis] = dim
    return dims


def _named(path: str) -> tuple[str | None, str]:
    """Direction and channel that the name of a file states: ``...-Xp-Topo.nc`` forward, ``...-Xm-...`` backward."""
    found = re.search(r"-(X[pm])-([^-/]+?)(?:-\d+)?\.nc$", path)
    if not found:
        return None, ""
    return common.DIRECTIONS[found[1] == "Xm"], found[2]


def _attributes(cursor: Cursor, file: _netcdf.File) -> dict[str, Any]:
    kind = str(file.attrs.get("InstrumentType", ""))
    modality = {"AFM": "atomic force microscopy", "STM": "scanning tunnelling microscopy"}
    angle = _number(cursor, file, "alpha")
    offset = [_number(cursor, file, f"offset{axis}") for axis in "xy"]
    bias = next((v for n in file.variables if n.endswith("hwi_bias") for v in [_number(cursor, file, n)]), None)
    current = next((n for n in file.variables if re.search(r"mix0(_current)?_set_point$", n)), None)
    setpoint = None if current is None else _number(cursor, file, current)
    factor, base = to_base(str(file.variables[current].attrs.get("var_unit", "")) if current else "")
    control = _text(cursor, file, "spm_scancontrol")
    return {
        "modality": modality.get(kind, "scanning probe microscopy"),
        "instrument": " ".join(filter(None, ("GXSM", str(file.attrs.get("InstrumentName", ""))))),
        "data_type": "image",
        "title": _text(cursor, file, "basename").rpartition("/")[2] or None,
        "acquired": _date(_text(cursor, file, "reftime") or _text(cursor, file, "dateofscan")),
        "bias": bias,
        "setpoint": None if setpoint is None else setpoint * factor,
        "setpoint_units": None if setpoint is None else base,
        "scan_direction": {"TopDown": "down", "BottomUp": "up"}.get(control),
        "scan_angle": None if angle is None else math.radians(angle),
        "scan_center_x": None if offset[0] is None else offset[0] * 1e-10,
        "scan_center_y": None if offset[1] is None else offset[1] * 1e-10,
    }


def _date(text: str) -> str | None:
    """``"Thu Dec  2 12:04:08 2021"`` as ISO 8601."""
    try:
        return datetime.strptime(" ".join(text.split()), "%a %b %d %H:%M:%S %Y").isoformat()
    except ValueError:
        return common.iso_time(text)

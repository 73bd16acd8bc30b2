"""GXSM ``.nc``: classic netCDF with one channel and one direction a file.

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
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators import _netcdf
from xpycro.schema import coordinate, identifiers
from xpycro.units import to_base

__all__ = ["scan"]

_FIELDS = ("FloatField", "DoubleField", "H", "IntField", "ComplexDoubleField")
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
        file = _netcdf.read(cursor)
        field = next((file.variables[name] for name in _FIELDS if name in file.variables), None)
        if field is None or "dimx" not in file.variables or "dimy" not in file.variables:
            raise NotThisFormat("a netCDF file without FloatField, dimx and dimy: not of GXSM", path=path)
        return {"": _scan(path, cursor, file, field)}


def _values(cursor: Cursor, file: _netcdf.File) -> dict[str, Any]:
    """Every variable but the image, and the attributes: the metadata."""
    found: dict[str, Any] = {}
    for name, variable in file.variables.items():
        if name not in _FIELDS:
            long = math.prod(variable.shape) > _WHOLE
            value = f"{variable.shape} numbers, not kept" if long else variable.value(cursor)
            found[name] = {"value": value, **variable.attrs} if variable.attrs else value
    return found


def _number(cursor: Cursor, file: _netcdf.File, name: str) -> float | None:
    if name not in file.variables:
        return None
    value = file.variables[name].value(cursor)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _text(cursor: Cursor, file: _netcdf.File, name: str) -> str:
    value = file.variables[name].value(cursor) if name in file.variables else ""
    return value if isinstance(value, str) else ""


def _scan(path: str, cursor: Cursor, file: _netcdf.File, field: _netcdf.Variable) -> xr.Dataset:
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
    raw = RawArray.contiguous(
        path, field.offset, field.dtype, field.shape, factor=factor,
        target=np.float32 if field.dtype == ">f4" else np.float64,
    )  # fmt: skip
    coords: dict[str, Any] = {}
    for axis, name in ((2, "y"), (3, "x")):
        values = axes[name] * 1e-10
        if not (np.isfinite(values).all() and (np.abs(np.sign(np.diff(values)).sum()) == values.size - 1)):
            raise cursor.corrupt("the positions are not monotonic", f"dim{name}", file.variables[f"dim{name}"].offset)
        if values.size > 1 and values[1] < values[0]:
            raw, values = raw.flip(axis), values[::-1]
        coords[name] = coordinate(name, values - values[0], units="m")
    dims, raw = _leading(cursor, file, field, raw, coords)
    label = str(field.attrs.get("ZLabel") or field.name)
    direction, channel = _named(_text(cursor, file, "basename") or path)
    title = channel or label
    attrs: dict[str, Any] = {"direction": direction} if direction else {}
    if title != label:
        attrs["quantity"] = label
    name = identifiers([title], coords)[0]
    return common.dataset(
        {name: common.lazy_variable(dims, raw, title, base, **attrs)},
        coords,
        {**file.attrs, "variables": _values(cursor, file)},
        **_attributes(cursor, file),
    )


def _leading(
    cursor: Cursor, file: _netcdf.File, field: _netcdf.Variable, raw: RawArray, coords: dict[str, Any]
) -> tuple[tuple[str, ...], RawArray]:
    """Dims of the image; times and layers of one element are dropped."""
    from dataclasses import replace

    dims = ["y", "x"]
    keep = [2, 3]
    for axis, name, dim in ((1, "value", "bias"), (0, "time", "frame")):
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
        dims.insert(0, dim)
        keep.insert(0, axis)
    shape, strides = (tuple(source[axis] for axis in keep) for source in (raw.shape, raw.strides))
    return tuple(dims), replace(raw, shape=shape, strides=strides)


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

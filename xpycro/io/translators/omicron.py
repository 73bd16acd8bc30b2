"""Omicron MATRIX: data files ``..._mtrx`` (one channel of one run), read with the parameter files ``.mtrx`` beside.

A scan up stores the bottom line first; a backward line follows its forward line, mirrored. May import numpy, xarray,
schema, units and the io modules below it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.schema import coordinate, identifiers
from xpycro.units import to_base

__all__ = ["matrix"]

_MAGIC = b"ONTMATRX0101"
_UNTIMED = {b"REFX", b"NACS", b"TCID", b"SCHC", b"TSNI", b"SXNC", b"LNEG"}  # blocks without a time stamp
_LIMIT = 1 << 28  # bytes of parameters
_NAME = re.compile(r"(.+)--(\d+)_(\d+)\.(.+)_mtrx", re.IGNORECASE)
_WORDS = {"Meter": "m", "Volt": "V", "Ampere": "A", "Second": "s", "Hertz": "Hz", "Degree": "deg", "--": "", "---": ""}


@dataclass
class Parameters:
    """What the parameter files say up to the moment of a data file.

    Attributes
    ----------
    values : dict of str to (value, unit)
        ``"XYScanner.Points"`` and so on.
    channels : dict of int to (name, unit)
    transfers : dict of int to (function, unit, numbers)
    marks : dict of str to str
    """

    values: dict[str, tuple[Any, str]] = field(default_factory=dict)
    channels: dict[int, tuple[str, str]] = field(default_factory=dict)
    transfers: dict[int, tuple[str, str, dict[str, Any]]] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)


def matrix(path: str) -> dict[str, xr.Dataset]:
    """Read an Omicron MATRIX data file (``..._mtrx``).

    Parameters
    ----------
    path : str
        The parameter files (``<run>_0001.mtrx`` and on) must lie beside it.

    Returns
    -------
    dict of str to Dataset
        One group. Of a scan the channel over ``(direction, y, x)``, or ``(y, x)`` where only forward lines were kept,
        and ``<channel>_down`` where it was scanned down too; lines that were not scanned are NaN and ``measured(y, x)``
        says so. Of a single spectrum the channel over ``(direction, <swept signal>)``, with scalar ``x`` and ``y``.

    Raises
    ------
    NotThisFormat
    CorruptFile
        If a file is damaged, or the parameter files are missing.
    UnsupportedVariant
        If it is a parameter file, or a volume of spectra over a grid.

    Notes
    -----
    *Laziness*: of the data file only the headers are read, of the parameter files all.
    """
    with Cursor(path) as cursor:
        cursor.expect(_MAGIC, "magic")
        if cursor.peek(4) != b"TLKB":
            raise UnsupportedVariant(
                "this is a parameter file of MATRIX: open the data files beside it (their names end in _mtrx)",
                path=path,
            )
        acquired, offset, count, size = _bricklet(cursor)
    found = _NAME.fullmatch(os.path.basename(path))
    if not found:
        raise NotThisFormat("the name is not of the form <run>--<n>_<m>.<channel>_mtrx", path=path, field="name")
    parameters = _chain(path, found[1])
    channel = found[4]
    factor, constant, unit = _transfer(path, parameters, channel)
    if "(" in channel:
        return {"": _curve(path, parameters, channel, (offset, count), (factor, constant, unit), acquired)}
    return {"": _scan(path, parameters, channel, (offset, count, size), (factor, constant, unit), acquired)}


# ------------------------------------------------------------------------------------------------------------ blocks


def _bricklet(cursor: Cursor) -> tuple[str | None, int, int, int]:
    """Time, offset and number of the numbers, and how many there would be had the run ended."""
    cursor.skip(4, "TLKB")
    length = cursor.integer("<u4", "TLKB")
    if length + 8 != cursor.remaining:
        raise cursor.corrupt(f"{length} bytes announced, {cursor.remaining - 8} there: truncated", "TLKB")
    seconds = cursor.integer("<u8", "time")
    cursor.skip(4, "TLKB")
    size = count = -1
    offset = 0
    while cursor.remaining:
        tag, length = cursor.read(4, "tag"), cursor.integer("<u4", "length")
        start = cursor.position
        cursor.need(length, tag.decode("latin-1"))
        if tag == b"CSED":
            cursor.skip(20, "CSED")
            size, count = (cursor.integer("<i4", "CSED", low=0) for _ in range(2))
            if b"S\0I\0003\0002\0" not in cursor.peek(length - 28):
                raise UnsupportedVariant("numbers of another type than SI32", path=cursor.path, offset=start)
        elif tag == b"ATAD":
            offset = start
            if length != 4 * count:
                raise cursor.corrupt(f"{length} bytes for {count} numbers", "ATAD", start)
        else:
            raise cursor.corrupt(f"a block {tag!r}", "tag", start)
        cursor.seek(start + length, "length")
    if not offset or count > size:
        raise cursor.corrupt(f"{count} numbers of {size}, or none", "ATAD", 12)
    try:
        acquired = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    except (OverflowError, OSError, ValueError):
        acquired = None
    return acquired, offset, count, size


def _chain(path: str, run: str) -> Parameters:
    """The parameters when the data file was written, from all links of the chain."""
    parameters, number, total = Parameters(), 1, 0
    folder, name = os.path.split(path)
    while os.path.isfile(link := os.path.join(folder, f"{run}_{number:04d}.mtrx")):
        total += os.path.getsize(link)
        if total > _LIMIT:
            raise CorruptFile(f"more than {_LIMIT} bytes of parameters", path=link)
        with Cursor(link) as cursor:
            cursor.expect(_MAGIC, "magic")
            if _walk(cursor, cursor.size, parameters, name):
                return parameters
        number += 1
    if number == 1:
        raise CorruptFile(f"needs its parameter file {run}_0001.mtrx beside it", path=path, field="name")
    raise CorruptFile(f"the parameter files {run}_*.mtrx do not mention it", path=path, field="name")


def _walk(cursor: Cursor, end: int, parameters: Parameters, name: str) -> bool:
    """Read blocks until one says that the data file `name` was written."""
    while cursor.position < end:
        tag, length = cursor.read(4, "tag"), cursor.integer("<u4", "length")
        cursor.skip(0 if tag in _UNTIMED else 8, "time")
        start = cursor.position
        if start + length > end:
            raise cursor.corrupt(f"a block of {length} bytes leaves its place", tag.decode("latin-1"), start)
        if tag == b"APEE":
            _elements(cursor, parameters)
        elif tag == b"DOMP":
            cursor.skip(4, "DOMP")
            element, prop, unit = (_string(cursor) for _ in range(3))
            cursor.skip(4, "DOMP")
            parameters.values[f"{element}.{prop}"] = (_value(cursor), unit)
        elif tag == b"YSCC" and length > 4:
            cursor.skip(4, "YSCC")
            _walk(cursor, start + length, parameters, "")
        elif tag == b"TCID":
            _channels(cursor, parameters)
        elif tag == b"REFX":
            _transfers(cursor, start + length, parameters)
        elif tag == b"KRAM":
            key, _, value = _string(cursor).partition("-")
            parameters.marks[key] = value
        elif tag == b"FERB":
            cursor.skip(4, "FERB")
            if name and _string(cursor) == name:
                return True
        if cursor.position > start + length:
            raise cursor.corrupt("a block that is longer than it says", tag.decode("latin-1"), start)
        cursor.seek(start + length, "length")
    return False


def _string(cursor: Cursor) -> str:
    return cursor.read(2 * cursor.integer("<u4", "length of a string"), "string").decode("utf-16-le", "replace")


def _value(cursor: Cursor) -> Any:
    kind = cursor.read(4, "type")
    if kind == b"LOOB":
        return bool(cursor.integer("<u4", "value"))
    if kind == b"GNOL":
        return cursor.integer("<i4", "value")
    if kind == b"BUOD":
        return float(cursor.number("<f8", "value"))
    if kind == b"GRTS":
        return _string(cursor)
    raise cursor.corrupt(f"a value of type {kind!r}", "type")


def _elements(cursor: Cursor, parameters: Parameters) -> None:
    cursor.skip(4, "APEE")
    for _ in range(cursor.integer("<u4", "APEE")):
        element = _string(cursor)
        for _ in range(cursor.integer("<u4", element)):
            prop, unit = _string(cursor), _string(cursor)
            cursor.skip(4, prop)
            parameters.values[f"{element}.{prop}"] = (_value(cursor), unit)


def _channels(cursor: Cursor, parameters: Parameters) -> None:
    cursor.skip(8, "TCID")
    for _ in range(cursor.integer("<u4", "TCID")):
        cursor.skip(16, "TCID")
        _string(cursor)
        _string(cursor)
    for _ in range(cursor.integer("<u4", "TCID")):
        cursor.skip(4, "TCID")
        key = cursor.integer("<u4", "TCID")
        cursor.skip(8, "TCID")
        parameters.channels[key] = (_string(cursor), _string(cursor))


def _transfers(cursor: Cursor, end: int, parameters: Parameters) -> None:
    while cursor.position < end:
        cursor.skip(4, "REFX")
        key = cursor.integer("<u4", "REFX")
        function, unit = _string(cursor), _string(cursor)
        numbers = {}
        for _ in range(cursor.integer("<u4", "REFX")):
            name = _string(cursor)
            numbers[name] = _value(cursor)
        parameters.transfers[key] = (function, unit, numbers)


# ------------------------------------------------------------------------------------------------------------ meaning


def _transfer(path: str, parameters: Parameters, channel: str) -> tuple[float, float, str]:
    """Factor and constant from the stored number to the base unit of the channel."""
    keys = [key for key, (name, _) in parameters.channels.items() if name == channel]
    if not keys or max(keys) not in parameters.transfers:
        raise CorruptFile(f"the parameter files do not describe the channel {channel!r}", path=path, field="TCID")
    function, _, numbers = parameters.transfers[max(keys)]
    scale, base = to_base(_plain(parameters.channels[max(keys)][1]))
    try:
        if function == "TFF_Linear1D":
            factor, constant = 1 / numbers["Factor"], -numbers["Offset"] / numbers["Factor"]
        elif function == "TFF_MultiLinear1D":
            factor = (numbers["Raw_1"] - numbers["PreOffset"]) / (numbers["NeutralFactor"] * numbers["PreFactor"])
            constant = -numbers["Offset"] * factor
        elif function == "TFF_Identity":
            factor, constant = 1.0, 0.0
        else:
            raise UnsupportedVariant(f"a transfer function {function[:40]!r}", path=path, field="REFX")
    except (KeyError, ZeroDivisionError, TypeError) as error:
        raise CorruptFile(f"the transfer function {function} lacks a number ({error!r})", path=path) from None
    if not (math.isfinite(factor) and math.isfinite(constant) and 1e-60 < abs(factor) < 1e30):
        raise CorruptFile(f"a factor of {factor}, a constant of {constant}", path=path, field="REFX")
    return factor * scale, constant * scale, base


def _plain(unit: str) -> str:
    return _WORDS.get(unit, unit)


def _number(path: str, parameters: Parameters, key: str, *, low: float = -math.inf) -> float:
    value, unit = parameters.values.get(key, (None, ""))
    if not isinstance(value, int | float) or not math.isfinite(value) or value < low:
        raise CorruptFile(f"is {value!r}: expected a number", path=path, field=key)
    return float(value) * to_base(_plain(unit))[0]


def _optional(parameters: Parameters, *keys: str) -> float | None:
    for key in keys:
        value, unit = parameters.values.get(key, (None, ""))
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value) * to_base(_plain(unit))[0]
    return None


def _attributes(parameters: Parameters, acquired: str | None) -> dict[str, Any]:
    setpoint = _optional(parameters, "Regulator.Setpoint_1")
    setpoint_unit = parameters.values.get("Regulator.Setpoint_1", (None, ""))[1]
    return {
        "modality": "scanning tunnelling microscopy",
        "instrument": "Omicron MATRIX",
        "acquired": acquired,
        "title": parameters.marks.get("MTRX$DATA_SET_NAME") or None,
        "sample": parameters.marks.get("MTRX$SAMPLE_NAME") or None,
        "bias": _optional(parameters, "GapVoltageControl.Voltage"),
        "setpoint": setpoint,
        "setpoint_units": None if setpoint is None else to_base(_plain(setpoint_unit))[1],
    }


def _metadata(parameters: Parameters) -> Mapping[str, Any]:
    return {
        "parameters": {key: list(value) for key, value in parameters.values.items()},
        "channels": {str(key): list(value) for key, value in parameters.channels.items()},
        "transfers": {str(key): list(value) for key, value in parameters.transfers.items()},
        "marks": parameters.marks,
    }


def _scan(
    path: str,
    parameters: Parameters,
    channel: str,
    block: tuple[int, int, int],
    scaling: tuple[float, float, str],
    acquired: str | None,
) -> xr.Dataset:
    offset, count, size = block
    factor, constant, unit = scaling
    nx, ny = (int(_number(path, parameters, f"XYScanner.{key}", low=1)) for key in ("Points", "Lines"))
    back, down = (bool(parameters.values.get(f"XYScanner.{a}_Retrace", (False,))[0]) for a in "XY")
    line = 4 * nx * (2 if back else 1)
    if size != nx * ny * (1 + back) * (1 + down) or count % nx:
        raise CorruptFile(
            f"{count} of {size} numbers, and {nx} x {ny} with retrace {back}, {down} in the parameters", path=path,
            field="XYScanner",
        )  # fmt: skip
    width, height = (_number(path, parameters, f"XYScanner.{key}") for key in ("Width", "Height"))
    coords: dict[str, Any] = common.image_coordinates(nx, ny, width, height)
    end = offset + 4 * count
    variables: dict[str, Any] = {}
    for way in range(2 if down and count > nx * ny * (1 + back) else 1):
        parts = []
        for side in range(2 if back else 1):
            start = offset + way * line * ny + side * 4 * nx
            raw = RawArray.strided(
                path, start, "<i4", (ny, nx), (line, 4), factor=factor, constant=constant, target=np.float64,
                end=end if count < size else None,
            )  # fmt: skip
            raw = raw.flip(1) if side else raw
            parts.append(raw.flip(0) if way else raw)
        label = f"{channel} down" if way else channel
        name = identifiers([label], [*coords, *variables, "direction"])[0]
        if back:
            coords["direction"] = common.direction_coordinate()
            variables[name] = common.lazy_variable(("direction", "y", "x"), common.stack(parts), channel, unit)
        else:
            variables[name] = common.lazy_variable(("y", "x"), parts[0], channel, unit, direction="forward")
    whole = nx * ny * (1 + back)
    if count < whole:
        lines = count // (nx * (1 + back))
        variables["measured"] = common.measured_variable(lines * nx, ny, nx)
    elif whole < count < size:  # lines of the scan down that are missing lie at the bottom
        there = common.measured_variable((count - whole) // (nx * (1 + back)) * nx, ny, nx)
        variables["measured_down"] = there.copy(data=there.values[::-1])
    angle = _optional(parameters, "XYScanner.Angle")
    return common.dataset(
        variables,
        coords,
        _metadata(parameters),
        data_type="image",
        scan_angle=None if angle is None else angle if _in_radians(parameters) else math.radians(angle),
        scan_center_x=_optional(parameters, "XYScanner.X_Offset"),
        scan_center_y=_optional(parameters, "XYScanner.Y_Offset"),
        **_attributes(parameters, acquired),
    )


def _in_radians(parameters: Parameters) -> bool:
    return to_base(_plain(parameters.values["XYScanner.Angle"][1]))[1] == "rad"


def _curve(
    path: str,
    parameters: Parameters,
    channel: str,
    block: tuple[int, int],
    scaling: tuple[float, float, str],
    acquired: str | None,
) -> xr.Dataset:
    offset, count = block
    if parameters.values.get("XYScanner.Enable_Subgrid", (False,))[0]:
        raise UnsupportedVariant("spectra over a grid (volume CITS) are not read", path=path, field="XYScanner")
    wanted = {"V": "V", "Z": "m"}.get(channel.rpartition("(")[2].rstrip(")"))
    units = {k: _plain(parameters.values.get(f"Spectroscopy.Device_{k}_Start", (0, ""))[1]) for k in (1, 2)}
    devices = [k for k, unit in units.items() if unit == wanted]
    if wanted is None or not devices:
        raise UnsupportedVariant(f"a curve of {channel!r}: expected (V) or (Z)", path=path, field="name")
    key = f"Spectroscopy.Device_{devices[0]}"
    start, stop = (_number(path, parameters, f"{key}_{end}") for end in ("Start", "End"))
    points = int(_number(path, parameters, f"{key}_Points", low=1))
    both = bool(parameters.values.get(f"Spectroscopy.Enable_Device_{devices[0]}_Ramp_Reversal", (False,))[0])
    if count not in (points, 2 * points) or (count == 2 * points and not both) or start == stop:
        raise CorruptFile(f"{count} numbers for {points} points from {start} to {stop}", path=path, field=key)
    factor, constant, unit = scaling
    raw = RawArray.contiguous(path, offset, "<i4", (points,), factor=factor, constant=constant)
    parts = [raw]
    if count == 2 * points:  # the way back is stored after the way forth, in time
        parts.append(
            RawArray.contiguous(
                path, offset + 4 * points, "<i4", (points,), flip=(0,), factor=factor, constant=constant
            )
        )
    values = np.linspace(start, stop, points)
    if stop < start:
        values, parts = values[::-1], [part.flip(0) for part in parts]
    dim = "bias" if wanted == "V" else "z"
    coords: dict[str, Any] = {dim: coordinate(dim, values, dimension_type="spectral")}
    place = re.match(r"\d+,\d+;([-+\d.eE]+),([-+\d.eE]+?)(?:%|$)", parameters.marks.get("MTRX$STS_LOCATION", ""))
    if place:
        try:
            for axis, text in zip("xy", place.groups(), strict=True):
                coords[axis] = coordinate((), float(text), name=axis)
        except ValueError:
            raise CorruptFile(f"a location {place[0][:60]!r}", path=path, field="KRAM") from None
    dims: tuple[str, ...] = (dim,)
    if len(parts) > 1:
        dims = ("direction", dim)
        coords["direction"] = common.direction_coordinate()
    name = identifiers([channel.partition("(")[0]], coords)[0]
    return common.dataset(
        {name: common.lazy_variable(dims, common.stack(parts), channel, unit)},
        coords,
        _metadata(parameters),
        data_type="spectrum",
        **_attributes(parameters, acquired),
    )

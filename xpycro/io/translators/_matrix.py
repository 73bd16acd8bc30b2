"""The files of Omicron MATRIX: blocks of data files, and what the chain of parameter files says at their time.

May import units, the errors and the cursor; makes no Datasets.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from xpycro.errors import CorruptFile, UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.units import to_base

__all__ = ["MAGIC", "Parameters", "Scaling", "attributes", "bricklet", "chain", "frame", "metadata", "number",
           "optional", "plain", "transfer"]  # fmt: skip

MAGIC = b"ONTMATRX0101"
Scaling = tuple[float, float, str]  # factor and constant from the stored number, and the base unit
_UNTIMED = {b"REFX", b"NACS", b"TCID", b"SCHC", b"TSNI", b"SXNC", b"LNEG"}  # blocks without a time stamp
_LIMIT = 1 << 28  # bytes of parameters
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


# ------------------------------------------------------------------------------------------------------------ blocks


def bricklet(cursor: Cursor) -> tuple[str | None, int, int, int]:
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


def chain(path: str, run: str) -> Parameters:
    """The parameters when the data file was written, from all links of the chain."""
    parameters, number, total = Parameters(), 1, 0
    folder, name = os.path.split(path)
    while os.path.isfile(link := os.path.join(folder, f"{run}_{number:04d}.mtrx")):
        total += os.path.getsize(link)
        if total > _LIMIT:
            raise CorruptFile(f"more than {_LIMIT} bytes of parameters", path=link)
        with Cursor(link) as cursor:
            cursor.expect(MAGIC, "magic")
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


def transfer(path: str, parameters: Parameters, channel: str) -> tuple[float, float, str]:
    """Factor and constant from the stored number to the base unit of the channel."""
    keys = [key for key, (name, _) in parameters.channels.items() if name == channel]
    if not keys or max(keys) not in parameters.transfers:
        raise CorruptFile(f"the parameter files do not describe the channel {channel!r}", path=path, field="TCID")
    function, _, numbers = parameters.transfers[max(keys)]
    scale, base = to_base(plain(parameters.channels[max(keys)][1]))
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


def plain(unit: str) -> str:
    return _WORDS.get(unit, unit)


def number(path: str, parameters: Parameters, key: str, *, low: float = -math.inf) -> float:
    value, unit = parameters.values.get(key, (None, ""))
    if not isinstance(value, int | float) or not math.isfinite(value) or value < low:
        raise CorruptFile(f"is {value!r}: expected a number", path=path, field=key)
    return float(value) * to_base(plain(unit))[0]


def optional(parameters: Parameters, *keys: str) -> float | None:
    for key in keys:
        value, unit = parameters.values.get(key, (None, ""))
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value) * to_base(plain(unit))[0]
    return None


def attributes(parameters: Parameters, acquired: str | None) -> dict[str, Any]:
    setpoint = optional(parameters, "Regulator.Setpoint_1")
    setpoint_unit = parameters.values.get("Regulator.Setpoint_1", (None, ""))[1]
    return {
        "modality": "scanning tunnelling microscopy",
        "instrument": "Omicron MATRIX",
        "acquired": acquired,
        "title": parameters.marks.get("MTRX$DATA_SET_NAME") or None,
        "sample": parameters.marks.get("MTRX$SAMPLE_NAME") or None,
        "bias": optional(parameters, "GapVoltageControl.Voltage"),
        "setpoint": setpoint,
        "setpoint_units": None if setpoint is None else to_base(plain(setpoint_unit))[1],
    }


def metadata(parameters: Parameters) -> Mapping[str, Any]:
    return {
        "parameters": {key: list(value) for key, value in parameters.values.items()},
        "channels": {str(key): list(value) for key, value in parameters.channels.items()},
        "transfers": {str(key): list(value) for key, value in parameters.transfers.items()},
        "marks": parameters.marks,
    }


def frame(parameters: Parameters) -> dict[str, Any]:
    """The attributes that place a scan in the frame of the instrument."""
    angle = optional(parameters, "XYScanner.Angle")
    turned = angle is not None and to_base(plain(parameters.values["XYScanner.Angle"][1]))[1] != "rad"
    return {
        "scan_angle": math.radians(angle) if angle is not None and turned else angle,
        "scan_center_x": optional(parameters, "XYScanner.X_Offset"),
        "scan_center_y": optional(parameters, "XYScanner.Y_Offset"),
    }

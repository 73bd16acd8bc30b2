"""WSxM: images ``.top .stp .chN`` (a text header, then one block of numbers) and curves ``.cur`` (text throughout).

Rows are stored in ascending y and columns in descending x (the maker's file specification says so of its matrix files,
whose order is that of the binary ones). May import numpy, xarray, schema, units and the io modules below it.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.schema import coordinate, identifier, identifiers
from xpycro.units import to_base

__all__ = ["curve", "image", "read_header"]

Header = dict[str, dict[str, str]]

_DTYPES = {"short": "<i2", "integer": "<i2", "float": "<f4", "simple": "<f4", "double": "<f8"}
_END = b"[Header end]"
_KINDS = ("FZ", "IV", "IZ", "DI", "Generic", "FV")  # second lines of curve files begin with one of these or end "file"


def read_header(cursor: Cursor) -> tuple[str, Header]:
    """The kind of file, and the sections of the header; the cursor is left on the first byte of data."""
    cursor.expect(b"WSxM file copyright", "magic")
    cursor.line("magic", limit=200)
    kind = cursor.line("kind", limit=200).strip()
    text = cursor.until(_END, "header").decode("latin-1")
    end = cursor.peek(2)
    cursor.skip(2 if end == b"\r\n" else 1, "header end")
    if not end.endswith(b"\n") and not end.startswith(b"\n"):
        raise cursor.corrupt("no line end after [Header end]", "header end")
    header: Header = {"": {"File": kind}}
    section = header[""]
    for line in text.replace("\r", "").split("\n"):
        plain = line.strip()
        if plain.startswith("[") and plain.endswith("]"):
            section = header.setdefault(plain[1:-1], {})
        elif plain:
            key, _, value = plain.partition(":")
            name, number = key.strip(), 2
            while name in section:
                name, number = f"{key.strip()} ({number})", number + 1
            section[name] = value.strip()
    return kind, header


def _quantity(text: str, field: str, cursor: Cursor) -> tuple[float, str]:
    """``"59.7449 nm"`` in its base unit."""
    number, _, unit = text.strip().partition(" ")
    factor, base = to_base(unit)
    return real(number, field, cursor, offset=0) * factor, base


def get(header: Header, section: str, key: str) -> str:
    return header.get(section, {}).get(key, "")


def _optional(header: Header, section: str, key: str, cursor: Cursor) -> tuple[float, str] | None:
    text = get(header, section, key)
    return _quantity(text, key, cursor) if re.match(r"[-+]?[\d.]", text) else None


def _size(header: Header, key: str, cursor: Cursor) -> float | None:
    found = _optional(header, "Control", key, cursor)
    return found[0] if found and found[1] == "m" else None


def attributes(header: Header, cursor: Cursor) -> dict[str, Any]:
    setpoint = _optional(header, "Control", "Set Point", cursor)
    bias = _optional(header, "Control", "Topography Bias", cursor)
    angle = get(header, "Control", "Angle") or get(header, "Control", "Rotation")
    offsets = [_optional(header, "Control", key, cursor) for key in ("X Offset", "Y Offset")]
    acquired = re.sub(r"[.,](?=\d{1,3}$)\d+", "", get(header, "General Info", "Acquisition time"))
    head = get(header, "General Info", "Head type")
    modality = {"AFM": "atomic force microscopy", "STM": "scanning tunnelling microscopy"}
    return {
        "modality": modality.get(head.upper(), "scanning probe microscopy"),
        "instrument": " ".join(filter(None, ("WSxM", head))),
        "acquired": common.iso_time(acquired.replace(",", " ")),
        "title": get(header, "Miscellaneous", "Comments") or None,
        "scan_angle": math.radians(real(angle.split()[0], "Angle", cursor, offset=0)) if angle else None,
        "scan_center_x": offsets[0][0] if offsets[0] else None,
        "scan_center_y": offsets[1][0] if offsets[1] else None,
        "bias": bias[0] if bias and bias[1] == "V" else None,
        "setpoint": setpoint[0] if setpoint else None,
        "setpoint_units": setpoint[1] if setpoint else None,
    }


# ----------------------------------------------------------------------------------------------------------- images


def image(path: str) -> dict[str, xr.Dataset]:
    """Read a WSxM image (``.top``, ``.stp``, ``.ch1`` ...).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group with one variable over ``(y, x)``, named after the acquisition channel; the attribute ``direction``
        says which way the line was scanned.

    Raises
    ------
    NotThisFormat
        If it is no WSxM image.
    CorruptFile
        If the header contradicts itself or the file.
    UnsupportedVariant
        If the numbers are of another type than short, float and double.

    Notes
    -----
    Integers are scaled by the Z amplitude over the number of counts between minimum and maximum, both of which the
    header states; floating point numbers are in the unit of the Z amplitude already.

    *Laziness*: only the header is read; the numbers too where it states no minimum and maximum of the counts.

    References
    ----------
    I. Horcas et al., Rev. Sci. Instrum. 78, 013705 (2007). WSxM file specifications, https://spmimages.ftmc.uam.es
    """
    with Cursor(path) as cursor:
        kind, header = read_header(cursor)
        if kind != "SxM Image file":
            raise NotThisFormat(f"the second line is {kind[:40]!r}: expected 'SxM Image file'", path=path, field="kind")
        return {"": _image(path, cursor, header)}


def _image(path: str, cursor: Cursor, header: Header) -> xr.Dataset:
    dtype, shape = numbers(path, cursor, header)
    check_size(cursor, shape, dtype)
    raw, units = scaled(path, cursor, header, cursor.position, dtype, shape)
    coords = coordinates(header, shape, cursor)
    channel = get(header, "General Info", "Acquisition channel") or "Topography"
    direction = get(header, "General Info", "X scanning direction").lower()
    attrs = {"direction": direction} if direction in common.DIRECTIONS else {}
    name = identifiers([channel], coords)[0]
    return common.dataset(
        {name: common.lazy_variable(("y", "x"), raw, channel, units, **attrs)},
        coords,
        header,
        data_type="image",
        scan_direction=get(header, "General Info", "Y scanning direction").lower() or None,
        **attributes(header, cursor),
    )


def numbers(path: str, cursor: Cursor, header: Header) -> tuple[np.dtype, tuple[int, int]]:
    """The type of the numbers, rows and columns."""
    stated = get(header, "General Info", "Image Data Type").lower() or "short"
    if stated not in _DTYPES:
        raise UnsupportedVariant(
            f"numbers of type {stated[:40]!r}: expected one of {list(_DTYPES)}", path=path, field="Image Data Type"
        )
    ny, nx = (
        integer(get(header, "General Info", f"Number of {key}"), f"Number of {key}", cursor, low=1, offset=0)
        for key in ("rows", "columns")
    )
    return np.dtype(_DTYPES[stated]), (ny, nx)


def check_size(cursor: Cursor, shape: tuple[int, ...], dtype: np.dtype) -> int:
    """The bytes of the planes, which are all that is left of the file."""
    nbytes = cursor.block(shape, dtype.itemsize, "Number of rows, columns")
    if nbytes != cursor.remaining:
        raise cursor.corrupt(
            f"{cursor.remaining - nbytes} bytes more than {' x '.join(map(str, shape))} of {dtype}", "data"
        )
    return nbytes


def coordinates(header: Header, shape: tuple[int, int], cursor: Cursor) -> dict[str, Any]:
    """``y, x`` from the amplitudes of the scan."""
    return common.image_coordinates(
        shape[1], shape[0], _size(header, "X Amplitude", cursor), _size(header, "Y Amplitude", cursor)
    )


def scaled(
    path: str, cursor: Cursor, header: Header, start: int, dtype: np.dtype, shape: tuple[int, ...]
) -> tuple[RawArray, str]:
    """Planes in physical units, columns turned to ascend, and the unit."""
    amplitude = _optional(header, "General Info", "Z Amplitude", cursor)
    if amplitude is None:
        raise cursor.corrupt("the header lacks the Z amplitude", "Z Amplitude", 0)
    factor, base = to_base(get(header, "General Info", "Z Amplitude").partition(" ")[2])
    if dtype.kind == "i":
        factor = _per_count(path, start, cursor, header, amplitude[0], dtype, shape)
    target = np.float64 if dtype.kind == "i" else dtype
    raw = RawArray.contiguous(path, start, dtype, shape, factor=factor, target=target)
    return raw.flip(len(shape) - 1), base


def _per_count(
    path: str, start: int, cursor: Cursor, header: Header, amplitude: float, dtype: np.dtype, shape: tuple[int, ...]
) -> float:
    """Physical units a count: the amplitude over the counts that it spans."""
    low, high = (get(header, "Miscellaneous", key) for key in ("Minimum", "Maximum"))
    if low and high:
        span = real(high, "Maximum", cursor, offset=0) - real(low, "Minimum", cursor, offset=0)
    else:
        counts = RawArray.contiguous(path, start, dtype, shape).read()
        span = float(counts.max()) - float(counts.min())
    if span < 0:
        raise cursor.corrupt("the minimum lies above the maximum", "Minimum", 0)
    return amplitude / span if span and amplitude else 1.0


# ----------------------------------------------------------------------------------------------------------- curves


def curve(path: str) -> dict[str, xr.Dataset]:
    """Read a WSxM curve file (``.cur``): one or several lines of x and y as text.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One variable over ``(segment, point)`` for curves against a length (approach and retract), else over
        ``(sweep, point)``; what was swept is a coordinate over the same dims.

    Raises
    ------
    NotThisFormat
        If it is no WSxM curve.
    CorruptFile
        If the numbers of points and lines are not those of the header.

    Notes
    -----
    The numbers are taken in the units of the axes; the conversion factors of the header are not applied.

    *Laziness*: read whole.
    """
    with Cursor(path) as cursor:
        kind, header = read_header(cursor)
        if kind == "SxM Image file" or not get(header, "General Info", "Number of points"):
            raise NotThisFormat(f"the second line is {kind[:40]!r}: not a curve", path=path, field="kind")
        points, lines = (
            integer(get(header, "General Info", f"Number of {key}"), f"Number of {key}", cursor, low=1, offset=0)
            for key in ("points", "lines")
        )
        cursor.need(4 * points * lines, "Number of points, lines")  # two digits and two separators at the least
        table = _table(cursor, points, 2 * lines)
    swept, values = table[:, 0::2].T, table[:, 1::2].T
    x_name, y_name = (_axis_text(header, axis) for axis in "XY")
    x_factor, x_units = to_base(get(header, "General Info", "X axis unit"))
    y_factor, y_units = to_base(get(header, "General Info", "Y axis unit"))
    dim, labels = "sweep", np.arange(lines)
    if x_units == "m" and lines == 2:
        order = ["approach", "retract"]
        first = get(header, "Miscellaneous", "First Forward").lower()
        dim, labels = "segment", np.array(order[::-1] if first == "no" else order)
    x_label = "z" if x_units == "m" else "bias" if x_units == "V" else identifier(x_name)
    coords = {
        dim: coordinate(dim, labels),
        x_label: coordinate(
            (dim, "point"), swept * x_factor, units=x_units, long_name=x_name, dimension_type="spectral"
        ),
    }
    name = identifiers([y_name], coords)[0]
    variable = xr.Variable((dim, "point"), values * y_factor, {"units": y_units, "long_name": y_name})
    ds = common.dataset({name: variable}, coords, header, data_type="curves", kind=kind, **attributes(header, cursor))
    return {"": ds}


def _axis_text(header: Header, axis: str) -> str:
    """``"V[#x]"`` without its placeholder."""
    return get(header, "General Info", f"{axis} axis text").split("[")[0].strip() or f"{axis} axis"


def _table(cursor: Cursor, rows: int, columns: int) -> np.ndarray:
    """Numbers in text; NaN as old C libraries spell it is understood."""
    table = np.empty((rows, columns))
    for row in range(rows):
        cells = cursor.line("numbers").split()
        if len(cells) != columns:
            raise cursor.corrupt(f"row {row} has {len(cells)} numbers and the header says {columns}", "numbers")
        for column, cell in enumerate(cells):
            missing = "#" in cell or cell.lower() == "nan"
            table[row, column] = np.nan if missing else real(cell, "numbers", cursor)
    if cursor.read(cursor.remaining, "numbers").strip(b"\r\n\t \0"):
        raise cursor.corrupt(f"more text than {rows} rows of numbers", "numbers")
    return table

"""Digital Surf ``.sur`` and ``.pro`` (MountainsMap, Attolight): profiles, surfaces, images, hyperspectral maps.

A file is one object or several, each a header of 512 bytes, a comment, and integers with a scale. May import numpy,
xarray, schema, units and io below.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor, inflate
from xpycro.io.rawarray import RawArray, lazy
from xpycro.io.translators._axes import Axis, axis_units, data_units, layout
from xpycro.io.translators._signals import Signal, collect

__all__ = ["MAGIC", "objects"]

MAGIC = (b"DIGITAL SURF", b"DSCOMPRESSED")
_HEADER = 512
_OBJECTS = 4096
_TYPES = {
    1: "profile", 2: "surface", 3: "binary image", 4: "series of profiles", 5: "series of surfaces", 7: "profile",
    8: "surface", 10: "intensity image", 11: "intensity surface", 12: "RGB image", 13: "RGB surface",
    16: "RGB intensity surface", 18: "series of RGB images", 20: "spectrum", 21: "hyperspectral map",
}  # fmt: skip
_PROFILES, _SPECTRAL = ("profile", "series of profiles"), ("spectrum", "hyperspectral map")


def objects(path: str) -> dict[str, xr.Dataset]:
    """Read a Digital Surf file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One variable for each object, in the units that the file names: over ``x`` of a profile, ``y, x`` of a surface
        or an image, ``wavelength`` (or what the file calls its axis) after them of a hyperspectral map. The first row
        lies at the top. Points marked as not measured are NaN.

    Raises
    ------
    NotThisFormat, CorruptFile
    UnsupportedVariant
        Of polar discs, contours and force curves.

    Notes
    -----
    *Laziness*: only headers are read; objects that are compressed or have points that were not measured are read whole.

    References
    ----------
    Digital Surf, "Surface data file format specification".
    """
    with Cursor(path) as cursor:
        if cursor.peek(12) not in MAGIC:
            raise NotThisFormat(f"begins with {cursor.peek(12)!r}", path=path, offset=0)
        signals: list[Signal] = []
        while cursor.remaining:
            if len(signals) >= _OBJECTS:
                raise cursor.corrupt(f"more than {_OBJECTS} objects", "object")
            signals.append(_object(path, cursor))
    return collect(signals, {}, instrument="Digital Surf")


def _object(path: str, cursor: Cursor) -> Signal:
    start = cursor.position
    if cursor.peek(12) not in MAGIC:
        raise cursor.corrupt(f"an object that begins with {cursor.peek(12)!r}", "code")
    compressed = cursor.read(12, "code") == MAGIC[1]
    if cursor.integer("<i2", "format") != 0:
        raise UnsupportedVariant("numbers of a Macintosh", path=path, field="format")
    header = _header(cursor, start)
    kind = _TYPES.get(header["type"])
    if kind is None:
        raise UnsupportedVariant(f"an object of type {header['type']}", path=path, field="type")
    cursor.seek(start + _HEADER, "comment")
    header["comment"] = cursor.read(header.pop("comment_size"), "comment").decode("latin-1").strip("\0 \r\n")
    cursor.skip(header.pop("private_size"), "private zone")
    nx, ny, n_spectral = header["x_points"], header["y_points"], max(header["spectral_points"], 1)
    axes = [_axis(header, "y", ny), _axis(header, "x", nx)]
    if kind in _PROFILES:
        axes = axes[1:] if ny == 1 else [Axis(ny, "frame", dim="frame"), axes[1]]
    elif kind in _SPECTRAL:
        axes = [axis for axis in axes if axis.size > 1] + [_spectral(header, n_spectral)]
    if math.prod(axis.size for axis in axes) != nx * ny * (n_spectral if kind in _SPECTRAL else 1):
        raise cursor.corrupt(f"{nx} x {ny} x {n_spectral} points of a {kind}", "points", start + 108)
    laid = layout(axes, top_first=True)
    values = _values(path, cursor, header, compressed, [axis.size for axis in axes])
    factor, units = data_units(header["z_unit"])
    scale, constant = header["z_spacing"] * factor, header["z_offset"] * factor
    data: Any
    if isinstance(values, RawArray):
        raw = RawArray.strided(
            path, values.offset, values.dtype, [values.shape[n] for n in laid.order],
            [values.strides[n] for n in laid.order], factor=scale, constant=constant, target="f8",
        )  # fmt: skip
        for place, flip in enumerate(laid.flip):
            raw = raw.flip(place) if flip else raw
        data = lazy(raw)
    else:
        data = laid.numpy(values * scale + constant)
    name = header["z_name"] or "height"
    variable = xr.Variable(laid.dims, data, {"units": units, "long_name": name})
    said = {"title": header["name"].strip("* ") or None, "data_type": kind, "acquired": _date(header)}
    return Signal(name, variable, laid.coords, header, {key: value for key, value in said.items() if value})


# (name, offset, dtype or number of characters)
_FIELDS: tuple[tuple[str, int, str | int], ...] = (
    ("objects", 14, "<i2"), ("version", 16, "<i2"), ("type", 18, "<i2"), ("name", 20, 30), ("operator", 50, 30),
    ("special_points", 86, "<i2"), ("spectral_points", 94, "<i4"), ("bits", 98, "<i2"), ("z_min", 100, "<i4"),
    ("z_max", 104, "<i4"), ("x_points", 108, "<i4"), ("y_points", 112, "<i4"), ("points", 116, "<i4"),
    ("x_spacing", 120, "<f4"), ("y_spacing", 124, "<f4"), ("z_spacing", 128, "<f4"), ("x_name", 132, 16),
    ("y_name", 148, 16), ("z_name", 164, 16), ("x_unit", 180, 16), ("y_unit", 196, 16), ("z_unit", 212, 16),
    ("second", 306, "<i2"), ("minute", 308, "<i2"), ("hour", 310, "<i2"), ("day", 312, "<i2"), ("month", 314, "<i2"),
    ("year", 316, "<i2"), ("duration", 320, "<f4"), ("compressed_size", 324, "<u4"), ("comment_size", 334, "<i2"),
    ("private_size", 336, "<i2"), ("x_offset", 466, "<f4"), ("y_offset", 470, "<f4"), ("z_offset", 474, "<f4"),
    ("t_spacing", 478, "<f4"), ("t_offset", 482, "<f4"), ("t_name", 486, 13), ("t_unit", 499, 13),
)  # fmt: skip
_COUNTS = ("x_points", "y_points", "points")


def _header(cursor: Cursor, start: int) -> dict[str, Any]:
    header: dict[str, Any] = {}
    for name, offset, kind in _FIELDS:
        cursor.seek(start + offset, name)
        value: Any = cursor.text(kind, name) if isinstance(kind, int) else cursor.number(kind, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise cursor.corrupt(f"is {value}", name, start + offset)
        if name in _COUNTS and value < 1:
            raise cursor.corrupt(f"is {value}", name, start + offset)
        if name in ("comment_size", "private_size"):
            value %= 1 << 16
        header[name] = value
    if header["bits"] not in (16, 32):
        raise cursor.corrupt(f"{header['bits']} bits for a point", "bits", start + 98)
    if header["x_points"] * header["y_points"] != header["points"]:
        raise cursor.corrupt(f"is not {header['x_points']} x {header['y_points']}", "points", start + 116)
    return header


def _axis(header: dict[str, Any], name: str, size: int) -> Axis:
    spacing = header[f"{name}_spacing"] or 1.0
    known = axis_units(header[f"{name}_unit"])[1] == "m"
    return Axis(size, name, header[f"{name}_unit"] if known else "", spacing if known else 1.0,
                header[f"{name}_offset"] if known else 0.0, signal=False, dim=name)  # fmt: skip


def _spectral(header: dict[str, Any], size: int) -> Axis:
    return Axis(size, header["t_name"], header["t_unit"], header["t_spacing"] or 1.0, header["t_offset"], signal=True)


def _values(
    path: str, cursor: Cursor, header: dict[str, Any], compressed: bool, shape: list[int]
) -> RawArray | np.ndarray:
    """The integers of an object; an array in memory where they are compressed or some were not measured."""
    dtype = np.dtype(f"<i{header['bits'] // 8}")
    count = math.prod(shape)
    if compressed:
        stored = np.frombuffer(_inflated(cursor, count * dtype.itemsize), dtype)
    else:
        start, size = cursor.position, cursor.block(shape, dtype.itemsize, "points")
        if header["special_points"] != 1:
            cursor.skip(size, "points")
            return RawArray.contiguous(path, start, dtype, shape)
        stored = cursor.numbers(dtype.str, count, "points")
    values = stored.reshape(shape).astype(np.float64)
    if header["special_points"] == 1:
        values[values == header["z_min"] - 2] = np.nan
    return values


def _inflated(cursor: Cursor, nbytes: int) -> bytes:
    """The streams of a compressed object, which hold so many bytes together."""
    start = cursor.position
    streams = cursor.integer("<u4", "number of streams", low=1, high=_OBJECTS)
    sizes = [(cursor.integer("<u4", "size"), cursor.integer("<u4", "compressed size")) for _ in range(streams)]
    if sum(plain for plain, _ in sizes) != nbytes:
        raise cursor.corrupt(f"streams of {sum(p for p, _ in sizes)} bytes for {nbytes} of points", "size", start)
    parts = [inflate(cursor.read(packed, "stream"), plain, "stream", cursor) for plain, packed in sizes]
    if any(len(part) != plain for part, (plain, _) in zip(parts, sizes, strict=True)):
        raise cursor.corrupt("a stream is shorter than it says", "stream", start)
    return b"".join(parts)


def _date(header: dict[str, Any]) -> str | None:
    from datetime import datetime

    try:
        return datetime(*(header[name] for name in ("year", "month", "day", "hour", "minute", "second"))).isoformat()
    except ValueError:
        return None

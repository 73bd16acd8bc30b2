"""Park Systems (PSIA) ``.tiff``: the measured numbers and their header lie in private tags beside an 8-bit preview.

The bottom row is stored first (the preview of real files, stored top first, is its mirror image). May import numpy,
xarray, schema, units and the io modules below it.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators import _tiff
from xpycro.schema import identifiers
from xpycro.units import to_base

__all__ = ["image"]

_MAGIC, _VERSION, _DATA, _HEADER, _COMMENT = 50432, 50433, 50434, 50435, 50436
_MAGIC_NUMBER = 0x0E031301
# name and struct code of each field of the header, in order, without padding; text is UTF-16
_FIELDS = (
    ("image_type", "i"), ("source_name", "64s"), ("image_mode", "16s"), ("lpf_strength", "d"), ("auto_flatten", "i"),
    ("ac_track", "i"), ("width", "i"), ("height", "i"), ("angle", "d"), ("sine_scan", "i"), ("overscan_rate", "d"),
    ("forward", "i"), ("scan_up", "i"), ("swap_xy", "i"), ("x_scan_size", "d"), ("y_scan_size", "d"),
    ("x_offset", "d"), ("y_offset", "d"), ("scan_rate", "d"), ("set_point", "d"), ("set_point_unit", "16s"),
    ("tip_bias", "d"), ("sample_bias", "d"), ("data_gain", "d"), ("z_scale", "d"), ("z_offset", "d"),
    ("z_unit", "16s"), ("data_min", "i"), ("data_max", "i"), ("data_average", "i"), ("compression", "i"),
)  # fmt: skip
# later headers go on with these
_MORE = (
    ("log_scale", "i"), ("square", "i"), ("z_servo_gain", "d"), ("z_scanner_range", "d"), ("xy_voltage_mode", "16s"),
    ("z_voltage_mode", "16s"), ("xy_servo_mode", "16s"), ("data_type", "i"),
)  # fmt: skip
_DTYPES = {0: "i2", 1: "i4", 2: "f4"}


def image(path: str) -> dict[str, xr.Dataset]:
    """Read a Park Systems TIFF image.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group with one variable over ``(y, x)``, named after its source; the attribute ``direction`` says which way
        the line was scanned.

    Raises
    ------
    NotThisFormat
        If it is a TIFF file of someone else.
    CorruptFile
        If the header contradicts itself or the file.
    UnsupportedVariant
        If it is no image, or compressed.

    Notes
    -----
    A number is ``gain * (raw * scale + offset)`` in the unit of the header.

    *Laziness*: only the directory and the header are read.
    """
    with Cursor(path) as cursor:
        pages = _tiff.directories(cursor)
        page = next((page for page in pages if _MAGIC in page), None)
        if page is None or int(page.number(_MAGIC, cursor)) != _MAGIC_NUMBER:
            raise NotThisFormat("a TIFF file without the private tags of Park Systems", path=path, field="tag 50432")
        version = int(page.number(_VERSION, cursor))
        if version >> 24 != 1:
            raise UnsupportedVariant(f"version {version:#010x}: expected 0x01......", path=path, field="tag 50433")
        header = _header(page.raw(_HEADER, cursor), cursor)
        return {"": _image(path, cursor, page, header)}


def _header(content: bytes, cursor: Cursor) -> dict[str, Any]:
    values: dict[str, Any] = {}
    position = 0
    for fields, needed in ((_FIELDS, True), (_MORE, False)):
        layout = "<" + " ".join(code for _, code in fields)
        if len(content) < position + struct.calcsize(layout):
            if needed:
                raise cursor.corrupt(f"the header has {len(content)} bytes", "tag 50435", 0)
            break
        for (name, _), value in zip(fields, struct.unpack_from(layout, content, position), strict=True):
            text = value.decode("utf-16-le", "replace").split("\0")[0] if isinstance(value, bytes) else value
            values[name] = text
        position += struct.calcsize(layout)
    values["rest"] = content[position:].hex()
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise cursor.corrupt("is not a finite number", name, 0)
    return values


def _image(path: str, cursor: Cursor, page: _tiff.Directory, header: dict[str, Any]) -> xr.Dataset:
    if header["image_type"] != 0:
        raise UnsupportedVariant(
            f"image type {header['image_type']} (a profile or a spectrum): only images, type 0, are read", path=path
        )
    if header["compression"] != 0:
        raise UnsupportedVariant(f"compression {header['compression']}: expected 0", path=path, field="compression")
    nx, ny = header["width"], header["height"]
    if nx < 1 or ny < 1:
        raise cursor.corrupt(f"{nx} x {ny} pixels", "width, height", 0)
    if _DATA not in page:
        raise cursor.corrupt("the directory lacks the tag of the data", "tag 50434", 0)
    tag = page.tags[_DATA]
    code = header.get("data_type", 0)
    if code not in _DTYPES:
        raise UnsupportedVariant(f"data type {code}: expected one of {sorted(_DTYPES)}", path=path, field="data_type")
    dtype = np.dtype("<" + _DTYPES[code])
    if cursor.block((ny, nx), dtype.itemsize, "width, height", offset=tag.offset) != tag.nbytes:
        raise cursor.corrupt(f"{tag.nbytes} bytes of data, and {nx} x {ny} of {dtype}", "tag 50434", tag.offset)
    factor, units = to_base(header["z_unit"])
    gain, scale = header["data_gain"], header["z_scale"] or 1.0
    if not 1e-30 < abs(factor * gain * scale) < 1e12 or abs(factor * gain * header["z_offset"]) > 1e12:
        raise cursor.corrupt(f"gain {gain}, scale {scale}, offset {header['z_offset']}: damaged", "data_gain", 0)
    raw = RawArray.contiguous(
        path,
        tag.offset,
        dtype,
        (ny, nx),
        factor=factor * gain * scale,
        constant=factor * gain * header["z_offset"],
        target=np.float64 if dtype.kind == "i" else np.float32,
    )
    coords = common.image_coordinates(nx, ny, header["x_scan_size"] * 1e-6, header["y_scan_size"] * 1e-6)
    title = header["source_name"] or "Image"
    name = identifiers([title], coords)[0]
    direction = common.DIRECTIONS[0 if header["forward"] else 1]
    setpoint, setpoint_units = to_base(header["set_point_unit"])
    texts = {str(code): page.text(code, cursor) for code in (305, 306, _COMMENT) if code in page}
    return common.dataset(
        {name: common.lazy_variable(("y", "x"), raw, title, units, direction=direction)},
        coords,
        {**header, "tags": texts},
        modality="atomic force microscopy",
        instrument=texts.get("305", "Park Systems"),
        data_type="image",
        acquired=common.iso_time(texts.get("306", "").replace(":", "-", 2)),
        imaging_mode=header["image_mode"] or None,
        scan_direction="up" if header["scan_up"] else "down",
        scan_angle=math.radians(header["angle"]),
        scan_center_x=header["x_offset"] * 1e-6,
        scan_center_y=header["y_offset"] * 1e-6,
        scan_rate=header["scan_rate"],
        bias=header["sample_bias"],
        tip_bias=header["tip_bias"],
        setpoint=header["set_point"] * setpoint,
        setpoint_units=setpoint_units,
    )

"""SPECS / Aarhus STM ``.mul``, ``.flm``: images of 16-bit integers in blocks of 128 bytes, each behind its own header.

The bottom line is stored first. May import numpy, xarray, schema and the io modules below it.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common

__all__ = ["images"]

_BLOCK = 128
_FIELDS = (
    "number", "size", "width", "height", "depth", "year", "month", "day", "hour", "minute", "second", "x_size",
    "y_size", "x_offset", "y_offset", "z_scale", "tilt", "speed", "bias", "current",
)  # fmt: skip
_MORE = ("postprocessing", "postprocessing_d1", "mode", "current_factor", "point_scans", "unit", "version",
         *(f"spare_{n}" for n in range(48, 60)), "gain", "spare_61", "spare_62", "spare_63")  # fmt: skip


def images(path: str) -> dict[str, xr.Dataset]:
    """Read an Aarhus STM file (``.mul``, ``.flm``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        A group an image, ``image_1`` and so on, or one unnamed; the variable ``z`` over ``(y, x)``.

    Raises
    ------
    NotThisFormat
        If the first header is not one of an image.
    CorruptFile
        If a header contradicts the file.

    Notes
    -----
    Point scans between the images are passed over. *Laziness*: only the headers are read.
    """
    with Cursor(path) as cursor:
        first = cursor.unpack("<hi", "index")
        cursor.seek(3 * _BLOCK if first[1] == 3 else 0, "index")
        found: list[xr.Dataset] = []
        while cursor.remaining:
            try:
                found.append(_image(path, cursor))
            except CorruptFile as error:
                if found:
                    raise
                raise NotThisFormat(f"the first image header is none: {error.reason}", path=path, offset=0) from None
    if not found:
        raise NotThisFormat("a file without images", path=path)
    return {"": found[0]} if len(found) == 1 else {f"image_{k}": ds for k, ds in enumerate(found, 1)}


def _image(path: str, cursor: Cursor) -> xr.Dataset:
    start = cursor.position
    header: dict[str, Any] = dict(zip(_FIELDS, cursor.unpack("<20h", "image header"), strict=True))
    for name in ("sample", "title"):
        # the first byte is the length of the text
        text = cursor.read(21, name)
        header[name] = text[1 : 1 + min(text[0], 20)].decode("latin-1").strip("\0 ")
    header |= dict(zip(_MORE, cursor.unpack(f"<{len(_MORE)}h", "image header"), strict=True))
    nx, ny, scale = header["width"], header["height"], header["z_scale"]
    if nx < 1 or ny < 1 or scale == 0 or header["x_size"] < 0 or header["y_size"] < 0:
        raise cursor.corrupt(f"{nx} x {ny} pixels, a z scale of {scale}", "image header", start)
    try:
        acquired = datetime(*(header[name] for name in _FIELDS[5:11])).isoformat()
    except ValueError:
        raise cursor.corrupt("no date", "image header", start) from None
    offset = cursor.position
    cursor.block((ny, nx), 2, "width, height")
    least = 1 + math.ceil(2 * nx * ny / _BLOCK)
    blocks = header["size"] % 65536
    if blocks < least or (header["point_scans"] == 0 and blocks != least):
        raise cursor.corrupt(f"{blocks} blocks for {nx} x {ny} pixels: expected {least}", "size", start)
    cursor.seek(start + blocks * _BLOCK, "size")
    # the ADC spans z_scale volts over 2000, at 1.36 V per angstrom times ten: the maker's constants
    factor = -0.1 / 1.36 * scale / 2000 * 1e-9
    raw = RawArray.contiguous(path, offset, "<i2", (ny, nx), factor=factor)
    return common.dataset(
        {"z": common.lazy_variable(("y", "x"), raw, "Z", "m")},
        common.image_coordinates(nx, ny, header["x_size"] * 1e-10, header["y_size"] * 1e-10),
        header,
        modality="scanning tunnelling microscopy",
        instrument="SPECS Aarhus STM",
        data_type="image",
        title=header["title"] or None,
        sample=header["sample"] or None,
        acquired=acquired,
        bias=-header["bias"] / 3276.8,
        setpoint=header["current"] * header["current_factor"] * 1e-11,
        setpoint_units="A",
        scan_angle=math.radians(header["tilt"]),
        scan_center_x=header["x_offset"] * 1e-10,
        scan_center_y=header["y_offset"] * 1e-10,
        gain=header["gain"],
        acquisition_time=header["speed"] * 0.01,
    )

"""NanoMEGAS blockfiles ``.blo``: a virtual bright field image and one diffraction pattern (8 bit) for each scan point.

May import numpy, xarray, schema and io below.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import xarray as xr

from xpycro.io.cursor import Cursor
from xpycro.io.translators._stacks import frames_dataset
from xpycro.schema import coordinate

__all__ = ["scan"]

_RECORD = 6  # bytes before each pattern: a mark and its number
_MARK = b"\xaa\x55"


def scan(path: str) -> dict[str, xr.Dataset]:
    """Read a scanning electron diffraction blockfile.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        ``counts(y, x, ky, kx)`` with ``y, x`` in m. ``ky, kx`` are lengths on the screen (m), which is what the file
        states.

    Raises
    ------
    NotThisFormat, CorruptFile

    Notes
    -----
    *Laziness*: only the header is read.
    """
    with Cursor(path) as cursor:
        cursor.expect(b"IMGBLO", "magic")
        header: dict[str, Any] = {"version": cursor.integer("<u2", "version")}
        header["image_offset"] = cursor.integer("<u4", "image offset", low=64)
        offset = cursor.integer("<u4", "data offset", low=64)
        header["data_offset"] = offset
        cursor.skip(4, "header")
        size = cursor.integer("<u2", "pattern size", low=1)
        header["pattern_rotation"] = cursor.integer("<u2", "pattern rotation")
        nx, ny = (cursor.integer("<u2", name, low=1) for name in ("NX", "NY"))
        header["scan_rotation"] = cursor.integer("<u2", "scan rotation") / 100
        step_x, step_y = (float(cursor.number("<f8", name)) for name in ("SX", "SY"))
        header["beam_energy"] = cursor.integer("<u4", "beam energy")
        header["pixels_per_metre"] = cursor.integer("<u2", "SDP")
        header["camera_length"] = cursor.integer("<u4", "camera length")
        days = float(cursor.number("<f8", "time"))
        stride = _RECORD + size * size
        cursor.block((ny, nx, stride), 1, "NX, NY", offset=offset)
        if offset + ny * nx * stride != cursor.size:
            raise cursor.corrupt(f"is {cursor.size} bytes and not {offset + ny * nx * stride}", "NX, NY", cursor.size)
        for number in {0, ny * nx - 1}:
            cursor.seek(offset + number * stride, "pattern")
            if cursor.read(2, "pattern mark") != _MARK:
                raise cursor.corrupt("a pattern does not begin with AA 55", "pattern mark", offset + number * stride)
    header.update({"SX": step_x, "SY": step_y, "NX": nx, "NY": ny, "pattern_size": size})
    coords: dict[str, xr.Variable] = {}
    for dim, n, step in (("y", ny, step_y), ("x", nx, step_x)):
        if 0 < step < math.inf:
            coords[dim] = coordinate(dim, np.arange(n) * step * 1e-9)
    per_metre = header["pixels_per_metre"]
    if per_metre:
        centred = (np.arange(size) - size // 2) / per_metre
        coords["kx"] = coordinate("kx", centred, units="m", long_name="kx on the screen")
        coords["ky"] = coordinate("ky", 0.0 - centred[::-1], units="m", long_name="ky on the screen")
    ds = frames_dataset(
        path, offset=offset + _RECORD, stride=stride, dtype="u1", frames=ny * nx, frame_shape=(size, size),
        grid=(ny, nx), top_first=True, metadata=header, coords=coords,
        modality="scanning precession electron diffraction", instrument="NanoMEGAS ASTAR",
        data_type="diffraction patterns", acquired=_date(days),
    )  # fmt: skip
    return {"": ds}


def _date(days: float) -> str | None:
    """Days since the end of 1899, as spreadsheets count."""
    if not 0 < days < 80_000:
        return None
    return (datetime(1899, 12, 30) + timedelta(seconds=round(days * 86400))).isoformat()

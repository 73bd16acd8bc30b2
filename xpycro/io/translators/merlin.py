"""Quantum Detectors Merlin (Medipix3) ``.mib``: frames that each carry a text header ``MQ1,...``; ``.hdr`` beside them.

The first row of a frame lies at the bottom. May import numpy, xarray, schema and io below.
"""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor, integer
from xpycro.io.translators import _common as common
from xpycro.io.translators._stacks import frames_dataset, scan_grid

__all__ = ["frames"]

_TYPES = {"U01": "u1", "U08": "u1", "U16": ">u2", "U32": ">u4"}
_FIELDS = ("version", "sequence", "data_offset", "chips", "width", "height", "dtype", "layout", "chip_select", "time")


def frames(path: str, *, scan_shape: tuple[int, int] | None = None) -> dict[str, xr.Dataset]:
    """Read Merlin frames.

    Parameters
    ----------
    path : str
    scan_shape : (int, int), optional
        Lines and points of the scan. Without it the ``.hdr`` file beside the data is asked; where it says nothing the
        frames are a stack. The last line may be short: what is missing is NaN and ``measured`` says so.

    Returns
    -------
    dict of str to Dataset
        ``counts(y, x, ky, kx)`` or ``counts(frame, ky, kx)``, uncalibrated.

    Raises
    ------
    NotThisFormat, CorruptFile
    UnsupportedVariant
        If the frames are raw (R64), that is bits in the order of the chip's readout.
    ValueError
        If `scan_shape` does not fit the number of frames.

    Notes
    -----
    *Laziness*: the header of the first and the last frame are read.

    References
    ----------
    Quantum Detectors, Merlin software manual, "MIB file format".
    """
    with Cursor(path) as cursor:
        first = _header(cursor, 0)
        offset = integer(first["data_offset"], "data_offset", cursor, low=64, high=1 << 16, offset=0)
        width, height = (integer(first[k], k, cursor, low=1, high=1 << 15, offset=0) for k in ("width", "height"))
        if first["dtype"] == "R64":
            raise UnsupportedVariant(
                "raw (R64) frames hold bits as the chip sends them: export them from the Merlin software as U08-U32",
                path=path, offset=0, field="dtype",
            )  # fmt: skip
        if first["dtype"] not in _TYPES:
            raise cursor.corrupt(f"is {first['dtype']!r}, not one of {sorted(_TYPES)}", "dtype", 0)
        dtype = np.dtype(_TYPES[first["dtype"]])
        stride = offset + width * height * dtype.itemsize
        count, rest = divmod(cursor.size, stride)
        if count < 1 or rest:
            raise cursor.corrupt(
                f"{cursor.size} bytes are not whole frames of {stride}: truncated, or the header is damaged",
                "frames", count * stride,
            )  # fmt: skip
        last = _header(cursor, (count - 1) * stride)
        changed = [k for k in _FIELDS if k not in ("sequence", "time") and first[k] != last[k]]
        begin, end = (integer(h["sequence"], "sequence", cursor, low=0, offset=0) for h in (first, last))
        if changed or end - begin != count - 1:
            raise cursor.corrupt(f"frame {count} differs from frame 1 in {changed or ['sequence']}", "header")
        beside = _beside(path)
        grid = _scan(count, scan_shape, beside, path)
    ds = frames_dataset(
        path, offset=offset, stride=stride, dtype=dtype, frames=count, frame_shape=(height, width), grid=grid,
        top_first=False, metadata={"frame": first, "hdr": beside},
        modality="scanning transmission electron microscopy", instrument="Quantum Detectors Merlin",
        data_type="diffraction patterns", acquired=common.iso_time(first["time"].partition(".")[0]),
    )  # fmt: skip
    return {"": ds}


def _header(cursor: Cursor, offset: int) -> dict[str, str]:
    cursor.seek(offset, "frame header")
    words = cursor.read(min(768, cursor.remaining), "frame header").split(b"\0", 1)[0].decode("latin-1").split(",")
    if not words[0].startswith("MQ"):
        if offset == 0:
            raise NotThisFormat(f"a frame begins with 'MQ1' and this with {words[0][:8]!r}", path=cursor.path, offset=0)
        raise cursor.corrupt(f"a frame begins with 'MQ1' and this with {words[0][:8]!r}", "frame header", offset)
    if len(words) < len(_FIELDS):
        raise cursor.corrupt(f"{len(words)} fields, expected at least {len(_FIELDS)}", "frame header", offset)
    return {name: word.strip() for name, word in zip(_FIELDS, words, strict=False)}


def _beside(path: str) -> dict[str, str]:
    """The settings in the ``.hdr`` file of the same name; empty where there is none."""
    for suffix in (".hdr", ".HDR"):
        name = os.path.splitext(path)[0] + suffix
        if os.path.isfile(name) and os.path.getsize(name) < 1 << 16:
            with open(name, "rb") as handle:
                lines = handle.read().split(b"\0", 1)[0].decode("latin-1").splitlines()
            pairs: list[Any] = [line.split(":", 1) for line in lines if ":" in line]
            return {key.strip(): value.strip() for key, value in pairs}
    return {}


def _scan(count: int, scan_shape: tuple[int, int] | None, beside: dict[str, str], path: str) -> tuple[int, ...]:
    if scan_shape is None:
        said = {re.sub(r"\s*\(.*", "", key).lower(): value for key, value in beside.items()}
        x, y = said.get("scanx", ""), said.get("scany", "")
        points = x if x.isdigit() else said.get("frames per trigger", "")
        if points.isdigit() and 1 < int(points) < count and -(-count // int(points)) > 1:
            lines = int(y) if y.isdigit() and x.isdigit() else -(-count // int(points))
            if 0 <= lines * int(points) - count < int(points):
                return lines, int(points)
    return scan_grid(count, scan_shape, path, short=True)

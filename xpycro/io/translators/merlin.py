"""Quantum Detectors Merlin (Medipix3) ``.mib``: frames that each carry a text header ``MQ1,...``; ``.hdr`` beside them.

The first row of a frame lies at the bottom. May import numpy, xarray, schema and io below.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor, integer
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators._packed import MEDIPIX_BITS, PackedFrames, medipix
from xpycro.io.translators._stacks import frames_dataset, scan_grid

__all__ = ["frames"]

_RAW = "R64"
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
        Raw frames (R64) of 24 bits, or of chips that form neither one square nor a quad.
    ValueError
        If `scan_shape` does not fit the number of frames; of raw frames the last line must be complete.

    Notes
    -----
    *Laziness*: the header of the first and the last frame are read; raw frames (R64) are unpacked when they are used.

    References
    ----------
    Quantum Detectors, Merlin software manual, "MIB file format".
    """
    with Cursor(path) as cursor:
        first = _header(cursor, 0)
        offset = integer(first["data_offset"], "data_offset", cursor, low=64, high=1 << 16, offset=0)
        width, height = (integer(first[k], k, cursor, low=1, high=1 << 15, offset=0) for k in ("width", "height"))
        shape, decoded = (height, width), None
        if first["dtype"] == _RAW:
            shape, decoded = _raw(first, height, width, cursor)
        elif first["dtype"] not in _TYPES:
            raise cursor.corrupt(f"is {first['dtype']!r}, not one of {sorted((*_TYPES, _RAW))}", "dtype", 0)
        dtype = np.dtype(">u8" if decoded else _TYPES[first["dtype"]])
        stride = offset + shape[0] * shape[1] * dtype.itemsize
        count, rest = divmod(cursor.size, stride)
        if count < 1 or rest:
            raise cursor.corrupt(
                f"{cursor.size} bytes are not whole frames of {stride}: truncated, or the header is damaged",
                "frames", count * stride,
            )  # fmt: skip
        last = _header(cursor, (count - 1) * stride)
        # the number of a frame is no check: it starts anew with each trigger
        changed = [k for k in _FIELDS if k not in ("sequence", "time", "chip_select") and first[k] != last[k]]
        if changed:
            raise cursor.corrupt(f"frame {count} differs from frame 1 in {changed}", "header")
        beside = _beside(path)
        grid = _scan(count, scan_shape, beside, path, short=decoded is None)
    ds = frames_dataset(
        path, offset=offset, stride=stride, dtype=dtype, frames=count, frame_shape=shape, grid=grid,
        top_first=False, metadata={"frame": first, "hdr": beside}, decoded=decoded,
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
    said = {name: word.strip() for name, word in zip(_FIELDS, words, strict=False)}
    rest = [word.strip() for word in words[len(_FIELDS) :]]
    if rest:
        said["exposure"] = rest[0]
    if "MQ1A" in rest:  # an extension: time, exposure, depth of the counters
        names = ("extension_time", "extension_exposure", "counter_depth")
        said.update(zip(names, rest[rest.index("MQ1A") + 1 :], strict=False))
    return said


def _raw(
    header: dict[str, str], height: int, width: int, cursor: Cursor
) -> tuple[tuple[int, int], Callable[[RawArray], PackedFrames]]:
    """Rows and words of a raw frame, and what makes an image of it."""
    depth, layout = header.get("counter_depth", ""), header["layout"].upper()
    quad = layout.startswith("2X2") and width % 4 == 0
    if not depth.isdigit() or int(depth) not in MEDIPIX_BITS or not (quad or layout == "1X1"):
        raise UnsupportedVariant(
            f"raw (R64) frames of {depth or 'unknown'} bits of {layout} chips: export them from the Merlin software as "
            "U08 to U32", path=cursor.path, offset=0, field="dtype",
        )  # fmt: skip
    bits = MEDIPIX_BITS[int(depth)]
    if width * bits % 64:
        raise cursor.corrupt(f"{width} columns of {bits} bits are no whole words", "width", 0)
    unpack = functools.partial(medipix, bits=bits, quad=quad)
    frame = (2 * height, width // 2) if quad else (height, width)
    dtype = np.dtype(np.uint16 if bits > 8 else np.uint8)
    return (height, width * bits // 64), functools.partial(PackedFrames, unpack=unpack, frame=frame, dtype=dtype)


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


def _scan(
    count: int, scan_shape: tuple[int, int] | None, beside: dict[str, str], path: str, *, short: bool
) -> tuple[int, ...]:
    if scan_shape is None:
        said = {re.sub(r"\s*\(.*", "", key).lower(): value for key, value in beside.items()}
        x, y = said.get("scanx", ""), said.get("scany", "")
        points = x if x.isdigit() else said.get("frames per trigger", "")
        if points.isdigit() and 1 < int(points) < count and -(-count // int(points)) > 1:
            lines = int(y) if y.isdigit() and x.isdigit() else -(-count // int(points))
            missing = lines * int(points) - count
            if missing == 0 or (short and 0 < missing < int(points)):
                return lines, int(points)
    return scan_grid(count, scan_shape, path, short=short)

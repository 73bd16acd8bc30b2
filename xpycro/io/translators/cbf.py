"""Crystallographic binary files ``.cbf`` of Dectris detectors: one frame, compressed by byte offsets.

May import numpy, xarray, schema and io below.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from xpycro.errors import CorruptFile, UnsupportedVariant
from xpycro.io.cursor import Cursor, integer
from xpycro.io.rawarray import _Backend, stamp
from xpycro.io.translators import _common as common
from xpycro.io.translators._detector import detector_coordinates

__all__ = ["MAGIC", "frame"]

MAGIC = b"###CBF"
_START = b"\x0c\x1a\x04\xd5"
_PIXELS = 1 << 28
_NUMBER = r"([-+0-9.eE]+)"


@dataclass(frozen=True)
class CbfFrame:
    """One compressed frame, decoded when it is used; rows turned upwards."""

    path: str
    start: int
    size: int
    shape: tuple[int, int]
    dtype: np.dtype
    md5: str
    stamp: tuple[int, int]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 2

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        return self.dtype

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xpycro.CbfFrame", self.path, *self.stamp, self.start, self.size, self.shape, self.dtype.str)

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names; the frame is decoded whole."""
        key = key if isinstance(key, tuple) else (key,)
        with Cursor(self.path) as cursor:
            cursor.skip(self.start, "header")
            packed = cursor.read(self.size, "binary section")
            found = base64.b64encode(hashlib.md5(packed, usedforsecurity=False).digest()).decode()
            if self.md5 and found != self.md5:
                raise cursor.corrupt("its MD5 sum is not the one that it states", "Content-MD5", self.start)
            values = _unpacked(packed, math.prod(self.shape), self.dtype, cursor, self.start)
        return np.ascontiguousarray(values.reshape(self.shape)[::-1][key])


def frame(path: str) -> dict[str, xr.Dataset]:
    """Read a frame of a Pilatus or Eiger detector.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        ``intensity(ky, kx)``, the first row at the top; pixels that the detector masks (negative counts) are kept as
        they are. ``ky, kx`` count from the beam where the header has ``Beam_xy``, in 1/m (small angles) where it has
        pixel size, distance and wavelength too, with ``two_theta(ky, kx)`` in degree.

    Raises
    ------
    NotThisFormat, CorruptFile
        Also where the checksum differs from the one that the file states.
    UnsupportedVariant
        Of other compressions.

    Notes
    -----
    *Laziness*: only the header is read; a frame is one compressed block, decoded (and compared with its checksum) when
    one of its pixels is used.

    References
    ----------
    H. J. Bernstein, A. P. Hammersley, International Tables for Crystallography G, 2.3 (2005): x-CBF_BYTE_OFFSET.
    """
    with Cursor(path) as cursor:
        cursor.expect(MAGIC, "first line")
        text = cursor.until(b"--CIF-BINARY-FORMAT-SECTION--", "header").decode("latin-1")
        section = cursor.until(_START, "header of the binary section", limit=1 << 16).decode("latin-1")
        start = cursor.position
        said = {
            key.lower(): value.strip().strip('"') for key, value in re.findall(r"^([\w-]+): *(.*?)\r?$", section, re.M)
        }
        if "x-cbf_byte_offset" not in section.lower():
            raise UnsupportedVariant("its numbers are not compressed by byte offsets", path=path, offset=start)
        kind = said.get("x-binary-element-type", "")
        if kind not in ("signed 32-bit integer", "unsigned 32-bit integer", "signed 16-bit integer"):
            raise UnsupportedVariant(f"numbers of type {kind[:40]!r}", path=path, offset=start)
        sizes = ("x-binary-size-fastest-dimension", "x-binary-size-second-dimension")
        nx, ny = (integer(said.get(name, ""), name, cursor, low=1, high=1 << 20, offset=0) for name in sizes)
        if nx * ny > _PIXELS:
            raise cursor.corrupt(f"declares {ny} x {nx} pixels", "dimensions", 0)
        size = integer(said.get("x-binary-size", ""), "X-Binary-Size", cursor, low=1, offset=0)
        cursor.skip(size, "binary section")
        if "CIF-BINARY-FORMAT-SECTION" not in cursor.read(min(cursor.remaining, 8192), "end").decode("latin-1"):
            raise cursor.corrupt("the binary section has no end: truncated", "end")
    if nx * ny > size:  # a difference has one byte at least
        raise CorruptFile(f"declares {ny} x {nx} pixels in {size} bytes", path=path, field="dimensions")
    dtype = np.dtype(np.uint32 if kind.startswith("unsigned") else np.int32)
    raw = CbfFrame(os.path.abspath(path), start, size, (ny, nx), dtype, said.get("content-md5", ""), stamp(path))
    lazy = indexing.LazilyIndexedArray(_Backend(raw))  # type: ignore[arg-type]
    header = {"header": text.strip(), **said}
    known = _geometry(text)
    coords = detector_coordinates(
        (ny, nx), (known.get("beam_y"), known.get("beam_x")), (known.get("pixel_y"), known.get("pixel_x")),
        known.get("distance"), known.get("wavelength"),
    )  # fmt: skip
    ds = common.dataset(
        {"intensity": xr.Variable(("ky", "kx"), lazy, {"units": "counts", "long_name": "Intensity"})},
        coords, header, modality="X-ray diffraction", data_type="diffraction pattern",
        instrument=_found(r"# Detector: *(.*?) *[,\r\n]", text), wavelength=known.get("wavelength"),
        acquired=common.iso_time((_found(r"# (\d{4}-\d\d-\d\dT[\d:.]+)", text) or "").partition(".")[0]),
    )  # fmt: skip
    return {"": ds}


def _unpacked(packed: bytes, count: int, dtype: np.dtype, cursor: Cursor, start: int) -> np.ndarray:
    """Differences of one byte each; one of -128 announces two bytes, -32768 four."""
    small = np.frombuffer(packed, "i1")
    escapes = np.flatnonzero(small == -128)
    pieces, at, done = [], 0, 0
    for place in escapes.tolist():
        if place < at:
            continue  # a byte within a longer number
        pieces.append(small[at:place].astype(np.int64))
        at = place + 1
        (delta,) = _number(packed, at, "<i2", cursor, start)
        at += 2
        if delta == -32768:
            (delta,) = _number(packed, at, "<i4", cursor, start)
            at += 4
        pieces.append(np.array([delta], np.int64))
        done += pieces[-2].size + 1
        if done > count:
            break
    pieces.append(small[at:].astype(np.int64))
    deltas = np.concatenate(pieces)
    if deltas.size != count:
        raise cursor.corrupt(f"{deltas.size} numbers and the header says {count}", "binary section", start)
    values = np.cumsum(deltas)
    limits = np.iinfo(dtype)
    if values.min() < limits.min or values.max() > limits.max:
        raise cursor.corrupt(f"numbers that are no {dtype}", "binary section", start)
    return values.astype(dtype)


def _number(packed: bytes, at: int, dtype: str, cursor: Cursor, start: int) -> np.ndarray:
    size = np.dtype(dtype).itemsize
    if at + size > len(packed):
        raise cursor.corrupt("the binary section ends within a number", "binary section", start + at)
    return np.frombuffer(packed, dtype, 1, at).astype(np.int64)


def _found(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1].strip() if found else None


def _geometry(text: str) -> dict[str, float]:
    """What the lines of the detector say: wavelength, distance, beam, pixel."""
    said: dict[str, float] = {}
    for name, pattern, factor in (
        ("wavelength", rf"# Wavelength {_NUMBER} A", 1e-10), ("distance", rf"# Detector_distance {_NUMBER} m", 1.0),
        ("beam_x", rf"# Beam_xy \({_NUMBER}, ", 1.0), ("beam_y", rf"# Beam_xy \([-+0-9.eE]+, {_NUMBER}\)", 1.0),
        ("pixel_x", rf"# Pixel_size {_NUMBER} m", 1.0), ("pixel_y", rf"# Pixel_size [-+0-9.eE]+ m x {_NUMBER} m", 1.0),
    ):  # fmt: skip
        found = _found(pattern, text)
        try:
            value = float(found) * factor if found else math.nan
        except ValueError:
            continue
        if math.isfinite(value):
            said[name] = value
    return said

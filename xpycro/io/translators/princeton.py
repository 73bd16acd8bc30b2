"""Princeton Instruments WinView/WinSpec ``.spe`` (2.x) and LightField (3.0): a header of 4100 bytes, then frames.

May import numpy, xarray, schema, units and io below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat
from xpycro.io.cursor import Cursor, integer
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators._stacks import pixels
from xpycro.io.translators._xml import parse, tree
from xpycro.schema import coordinate

__all__ = ["HEADER", "frames", "is_spe"]

HEADER = 4100
_TYPES = {0: "<f4", 1: "<i4", 2: "<i2", 3: "<u2", 5: "<f8", 6: "u1", 8: "<u4"}


def is_spe(head: bytes, size: int) -> bool:
    """Whether the sizes that a header states are those of the file."""
    if len(head) < 2000 or size < HEADER:
        return False
    x, y = (int.from_bytes(head[at : at + 2], "little") for at in (42, 656))
    count = int.from_bytes(head[1446:1450], "little", signed=True)
    code = int.from_bytes(head[108:110], "little", signed=True)
    if code not in _TYPES or x < 1 or y < 1 or count < 1:
        return False
    end = HEADER + x * y * count * np.dtype(_TYPES[code]).itemsize
    footer = int.from_bytes(head[678:686], "little")
    return end == size or (end <= footer <= size)


def frames(path: str) -> dict[str, xr.Dataset]:
    """Read a Princeton Instruments file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        ``counts(frame, y, x)``; of a spectrometer ``counts(wavelength)``, ``(frame, wavelength)``: where the header
        holds a calibration (or LightField's footer the wavelengths) and there is one row. One group for each region of
        interest that LightField read out.

    Raises
    ------
    NotThisFormat, CorruptFile

    Notes
    -----
    *Laziness*: only the header (and the xml footer of 3.0) is read.

    References
    ----------
    Princeton Instruments, "WinView/32 user manual, appendix: data structure"; "SPE 3.0 file format specification".
    """
    with Cursor(path) as cursor:
        if cursor.size < HEADER:
            raise NotThisFormat(f"{cursor.size} bytes are less than the header of {HEADER}", path=path, offset=0)
        nx, ny = (_at(cursor, at, "<u2", name, low=1) for at, name in ((42, "xdim"), (656, "ydim")))
        count = _at(cursor, 1446, "<i4", "NumFrames", low=1)
        code = _at(cursor, 108, "<i2", "datatype")
        if code not in _TYPES:
            raise NotThisFormat(f"is {code}, not one of {sorted(_TYPES)}", path=path, offset=108, field="datatype")
        dtype = np.dtype(_TYPES[code])
        end = HEADER + cursor.block((count, ny, nx), dtype.itemsize, "xdim, ydim, NumFrames", offset=HEADER)
        footer = _at(cursor, 678, "<i8", "XMLOffset", low=0)
        header: dict[str, Any] = _header(cursor)
        if cursor.size != end and not (end <= footer < cursor.size):
            raise cursor.corrupt(f"{cursor.size - end} bytes more than {count} x {ny} x {nx} pixels", "NumFrames", end)
        wavelengths = _polynomial(cursor, nx)
        regions = [Region(HEADER, nx * ny * dtype.itemsize, (count, ny, nx))]
        if end <= footer < cursor.size:
            cursor.seek(footer, "XMLOffset")
            root = parse(cursor.read(cursor.remaining, "xml footer"), path, offset=footer)
            header["footer"] = tree(root)
            found = [e.text or "" for e in root.iter() if _tag(e) == "Wavelength"]
            wavelengths = _numbers(found[0], nx) if found else wavelengths
            regions = _regions(root, cursor, dtype, footer) or regions
    names = [""] if len(regions) == 1 else [f"region_{n + 1}" for n in range(len(regions))]
    return {
        name: _dataset(path, dtype, region, header, wavelengths) for name, region in zip(names, regions, strict=True)
    }


@dataclass(frozen=True)
class Region:
    """A part of each frame: its first byte, from one frame to the next, (frames, rows, columns)."""

    offset: int
    stride: int
    shape: tuple[int, int, int]


def _tag(element: Any) -> str:
    """The name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def _regions(root: Any, cursor: Cursor, dtype: np.dtype, end: int) -> list[Region]:
    """The regions of interest that the footer lists; frames may end with notes of their own, which are skipped."""
    frame = next((e for e in root.iter() if _tag(e) == "DataBlock" and e.get("type") == "Frame"), None)
    if frame is None:
        return []
    parts = [e for e in frame if _tag(e) == "DataBlock" and e.get("type") == "Region"]

    def size(element: Any, name: str) -> int:
        return integer(element.get(name) or "", f"DataBlock {name}", cursor, low=1, high=1 << 40, offset=end)

    count, stride, at = size(frame, "count"), size(frame, "stride"), 0
    regions = []
    for part in parts:
        shape = (count, size(part, "height"), size(part, "width"))
        regions.append(Region(HEADER + at, stride, shape))
        at += size(part, "stride") if part.get("stride") else shape[1] * shape[2] * dtype.itemsize
    needed = max(
        (r.offset + (count - 1) * stride + r.shape[1] * r.shape[2] * dtype.itemsize for r in regions), default=0
    )
    if at > stride or needed > end:
        raise cursor.corrupt(f"{count} frames of {stride} bytes do not fit before the footer", "DataBlock", end)
    return regions


def _at(cursor: Cursor, offset: int, dtype: str, field: str, *, low: int | None = None) -> int:
    cursor.seek(offset, field)
    return cursor.integer(dtype, field, low=low)


def _real(cursor: Cursor, offset: int, dtype: str, field: str) -> float:
    cursor.seek(offset, field)
    return float(cursor.number(dtype, field))


def _header(cursor: Cursor) -> dict[str, Any]:
    header: dict[str, Any] = {}
    for name, offset, size in (("date", 20, 10), ("time_local", 172, 7), ("title", 200, 80)):
        cursor.seek(offset, name)
        header[name] = cursor.text(size, name)
    for name, offset, dtype in (
        ("exposure_sec", 10, "<f4"), ("detector_temperature", 36, "<f4"), ("spec_center_wavelength_nm", 72, "<f4"),
        ("accumulations", 668, "<i4"), ("gain", 198, "<u2"), ("file_header_version", 1992, "<f4"),
    ):  # fmt: skip
        header[name] = _real(cursor, offset, dtype, name)
    return header


def _polynomial(cursor: Cursor, nx: int) -> np.ndarray | None:
    """Wavelengths in nm from the x calibration, where it is marked valid and in nm."""
    cursor.seek(3098, "x calibration")
    valid, _, unit, order = (cursor.integer("u1", "x calibration") for _ in range(4))
    if valid != 1 or unit not in (2, 0) or not 1 <= order <= 5:
        return None
    cursor.seek(3263, "x calibration")
    terms = cursor.numbers("<f8", 6, "x calibration")[: order + 1]
    if not np.isfinite(terms).all():
        return None
    values = np.polynomial.polynomial.polyval(np.arange(1, nx + 1, dtype=float), terms)
    return values if (np.diff(values) > 0).all() and values[0] > 0 and math.isfinite(values[-1]) else None


def _numbers(text: str, nx: int) -> np.ndarray | None:
    try:
        values = np.array([float(word) for word in text.split(",")])
    except ValueError:
        return None
    return values if values.shape == (nx,) and np.isfinite(values).all() and (np.diff(values) > 0).all() else None


def _dataset(
    path: str, dtype: np.dtype, region: Region, header: dict[str, Any], wavelengths: np.ndarray | None
) -> xr.Dataset:
    count, ny, nx = region.shape
    spectrum = ny == 1
    dims = ["frame", "y", "x"]
    wavelengths = wavelengths if wavelengths is not None and wavelengths.shape == (nx,) else None
    last = "wavelength" if wavelengths is not None and spectrum else "point" if spectrum else "x"
    strides = (region.stride, nx * dtype.itemsize, dtype.itemsize)
    raw = RawArray.strided(path, region.offset, dtype, region.shape, strides)
    raw = raw if ny == 1 else raw.flip(1)
    coords = {"frame": coordinate("frame", np.arange(count)), "y": pixels("y", ny)}
    if last == "wavelength" and wavelengths is not None:
        coords[last] = coordinate(last, wavelengths * 1e-9)
    else:
        coords[last] = coordinate("point", np.arange(nx)) if last == "point" else pixels("x", nx)
    dims[2] = last
    variable = common.lazy_variable(dims, raw, "Counts", "counts")
    dropped = {dim: 0 for dim, size in (("frame", count), ("y", ny)) if size == 1}
    variable = variable.isel(dropped)
    coords = {dim: coord for dim, coord in coords.items() if dim in variable.dims}
    date = str(header.get("date", ""))
    return common.dataset(
        {"counts": variable}, coords, header, instrument="Princeton Instruments", acquired=_date(date, header),
        data_type="spectrum" if spectrum else "image",
    )  # fmt: skip


def _date(date: str, header: dict[str, Any]) -> str | None:
    from datetime import datetime

    clock = str(header.get("time_local", "")).ljust(6, "0")[:6]
    for text, layout in ((f"{date} {clock}", "%d%b%Y %H%M%S"), (date, "%d%b%Y")):
        try:
            return datetime.strptime(text, layout).isoformat()
        except ValueError:
            continue
    return None

"""MRC 2014 (``.mrc .map .ali .rec .st``): a header of 1024 bytes, an extended one, one block; also gzipped.

The first row lies at the bottom, as the format says. May import numpy, xarray, schema and io below.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor, inflate
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.schema import coordinate

__all__ = ["is_mrc", "volume"]

_MODES = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}
_RATIO = 1100  # deflate cannot do better
_LIMIT = 2 << 30


def is_mrc(head: bytes) -> bool:
    """Whether a file (or what a gzip file begins with) is MRC."""
    if head.startswith(b"\x1f\x8b"):
        import zlib

        try:
            head = zlib.decompressobj(31).decompress(head, 1024)
        except zlib.error:
            return False
    return head[208:212] == b"MAP " or (head[208:211] == b"MAP" and head[212:214] in (b"DD", b"DA", b"\x11\x11"))


def volume(path: str) -> dict[str, xr.Dataset]:
    """Read an MRC file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        ``intensity(y, x)``, a volume ``(z, y, x)``, a stack ``(frame, y, x)``, or ``(tilt, y, x)`` where FEI's
        extended header gives a tilt angle for each.

    Raises
    ------
    NotThisFormat, CorruptFile
    UnsupportedVariant
        Complex int16 (mode 3) and 4-bit (mode 101) data.

    Notes
    -----
    *Laziness*: only the headers are read; a gzipped file is inflated whole, up to 2 GiB.

    References
    ----------
    A. Cheng et al., "MRC2014: Extensions to the MRC format header", J. Struct. Biol. 192, 146 (2015).
    """
    with Cursor(path) as cursor:
        if cursor.peek(2) != b"\x1f\x8b":
            return {"": _read(cursor, path, None)}
        packed = cursor.read(cursor.size, "gzip")
        content = inflate(packed, min(_LIMIT, len(packed) * _RATIO), "gzip", cursor, wbits=31)
    with Cursor(content, path=path) as cursor:
        return {"": _read(cursor, path, content)}


def _read(cursor: Cursor, path: str, content: bytes | None) -> xr.Dataset:
    cursor.need(1024, "header")
    cursor.seek(208, "MAP")
    if cursor.read(3, "MAP") != b"MAP":
        raise NotThisFormat("'MAP' is not at byte 208", path=path, offset=208, field="MAP")
    cursor.seek(212, "MACHST")
    stamp = cursor.read(2, "MACHST")
    if stamp not in (b"DD", b"DA", b"\x11\x11"):
        raise cursor.corrupt(f"machine stamp {stamp.hex()}: expected 4444, 4441 or 1111", "MACHST", 212)
    order = ">" if stamp == b"\x11\x11" else "<"
    cursor.seek(0, "header")
    nx, ny, nz = (cursor.integer(order + "i4", name, low=1) for name in ("nx", "ny", "nz"))
    mode = cursor.integer(order + "i4", "mode")
    if mode not in _MODES:
        raise UnsupportedVariant(f"mode {mode}; {sorted(_MODES)} are read", path=path, offset=12, field="mode")
    starts = [cursor.integer(order + "i4", "nxstart") for _ in range(3)]
    grid = [cursor.integer(order + "i4", "mx") for _ in range(3)]
    cell = [float(cursor.number(order + "f4", "cella")) for _ in range(3)]
    cursor.seek(64, "mapc")
    axes = [cursor.integer(order + "i4", "mapc") for _ in range(3)]
    if sorted(axes) != [1, 2, 3] and axes != [0, 0, 0]:
        raise cursor.corrupt(f"are {axes}, not an order of 1, 2, 3", "mapc, mapr, maps", 64)
    cursor.seek(88, "ispg")
    group = cursor.integer(order + "i4", "ispg")
    extended = cursor.integer(order + "i4", "nsymbt", low=0)
    cursor.seek(104, "exttyp")
    kind = cursor.text(4, "exttyp")
    cursor.seek(220, "nlabl")
    labels_used = cursor.integer(order + "i4", "nlabl")
    labels = [cursor.text(80, "label") for _ in range(10)][: max(0, min(labels_used, 10))]
    dtype = np.dtype(order + _MODES[mode])
    offset = 1024 + extended
    nbytes = cursor.block((nz, ny, nx), dtype.itemsize, "nx, ny, nz", offset=offset)
    if offset + nbytes != cursor.size:
        raise cursor.corrupt(
            f"{cursor.size - offset - nbytes} bytes more than {nx} x {ny} x {nz} of mode {mode}", "nx", offset + nbytes
        )
    sections = _fei(cursor, order, extended, nz) if kind in ("FEI1", "FEI2") else []
    steps = [
        length / n * 1e-10 if n > 0 and 0 < length < math.inf else 0.0 for length, n in zip(cell, grid, strict=True)
    ]
    if sections and 0 < sections[0]["pixel_size_x"] < 1e-3:
        steps[:2] = sections[0]["pixel_size_x"], sections[0]["pixel_size_y"]
    first = _first(nz, group, sections)
    coords = {"y": _spatial("y", ny, steps[1]), "x": _spatial("x", nx, steps[0])}
    if first == "z":
        coords["z"] = _spatial("z", nz, steps[2] or 0.0)
    elif first == "tilt":
        coords["tilt"] = coordinate("tilt", [section["alpha_tilt"] for section in sections])
    else:
        coords["frame"] = coordinate("frame", np.arange(nz))
    variable = _variable(path, content, offset, dtype, (nz, ny, nx), (first, "y", "x"))
    if nz == 1:
        variable = variable.isel({first: 0})
        coords.pop(first)
    header: dict[str, Any] = {
        "nx": nx, "ny": ny, "nz": nz, "mode": mode, "nstart": starts, "m": grid, "cella": cell, "map": axes,
        "ispg": group, "nsymbt": extended, "exttyp": kind, "labels": labels, "sections": sections[:4096],
    }  # fmt: skip
    return common.dataset(
        {"intensity": variable}, coords, header, modality="transmission electron microscopy",
        data_type="volume" if first == "z" and nz > 1 else "image", title=labels[0] if labels else None,
        instrument=sections[0]["microscope"] if sections else None,
    )  # fmt: skip


def _variable(
    path: str, content: bytes | None, offset: int, dtype: np.dtype, shape: tuple[int, int, int], dims: tuple[str, ...]
) -> xr.Variable:
    if content is None:
        raw = RawArray.contiguous(path, offset, dtype, shape)
        return common.lazy_variable(dims, raw, "Intensity", "1")
    values = np.frombuffer(content, dtype, math.prod(shape), offset).reshape(shape)
    return xr.Variable(dims, values.astype(dtype.newbyteorder("=")), {"units": "1", "long_name": "Intensity"})


def _spatial(dim: str, size: int, step: float) -> xr.Variable:
    if not step > 0:
        return coordinate(dim, np.arange(size, dtype=float), units="pixel")
    return coordinate(dim, np.arange(size) * step)


def _first(nz: int, group: int, sections: list[dict[str, Any]]) -> str:
    """What the slowest axis is: a volume's depth, a tilt, or just frames."""
    tilts = [section["alpha_tilt"] for section in sections]
    if len(tilts) == nz > 1 and len(set(tilts)) == nz and all(math.isfinite(tilt) for tilt in tilts):
        return "tilt"
    return "z" if 1 <= group <= 230 else "frame"


def _fei(cursor: Cursor, order: str, extended: int, nz: int) -> list[dict[str, Any]]:
    """What FEI notes of each section: tension, tilts, stage, pixel size."""
    cursor.seek(1024, "extended header")
    size = cursor.integer(order + "i4", "metadata size")
    if not 172 <= size <= 1 << 16 or nz * size > extended or nz > 1 << 20:
        return []
    sections = []
    for number in range(nz):
        base = 1024 + number * size
        cursor.seek(base + 20, "microscope")
        microscope = cursor.text(16, "microscope")
        cursor.seek(base + 84, "extended header")
        names = ("high_tension", "dose", "alpha_tilt", "beta_tilt", "stage_x", "stage_y", "stage_z", "tilt_axis_angle",
                 "dual_axis_rotation", "pixel_size_x", "pixel_size_y")  # fmt: skip
        values = cursor.numbers(order + "f8", len(names), "extended header")
        sections.append({"microscope": microscope, **dict(zip(names, map(float, values), strict=True))})
    return sections

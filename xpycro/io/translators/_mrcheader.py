"""The headers of MRC files: the 1,024 bytes, and what FEI, SerialEM and the older FEI software note of each section.

May import numpy, errors and io below.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass, field
from typing import Any

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor

__all__ = ["MODES", "Header", "is_mrc", "read_header"]

# how a number is stored, and how many of them a pixel takes
MODES = {0: ("i1", 1.0), 1: ("i2", 1.0), 2: ("f4", 1.0), 3: ("i2", 2.0), 4: ("c8", 1.0), 6: ("u2", 1.0),
         12: ("f2", 1.0), 101: ("u1", 0.5)}  # fmt: skip
_SUFFIXES = (".mrc", ".map", ".ali", ".rec", ".st", ".mrcs", ".ccp4")
_STAMPS = {b"DD": "<", b"DA": "<", b"AD": "<", b"\x11\x11": ">"}
_IMOD = 1146047817
_SECTIONS = 1 << 20
# bytes that SerialEM's sections spend on each note, by the bit that announces it: tilt, piece, stage, magnification...
_SERIAL = {1: 2, 2: 6, 4: 4, 8: 2, 16: 2, 32: 4}


@dataclass(frozen=True)
class Header:
    """What the headers of an MRC file say.

    Attributes
    ----------
    order : str
        Byte order.
    shape : tuple of int
        Sections, rows, columns.
    mode, offset, space_group : int
    unsigned : bool
        Whether bytes (mode 0) count from 0 to 255, as IMOD wrote them.
    names : tuple of str
        The direction (z, y, x) of sections, rows and columns.
    steps : dict of str to float
        Size of a pixel along each direction in m; 0 where it is not known.
    volume : int
        Sections of one volume of a stack of volumes; 0 where there is no such stack.
    sections : list of dict
        What is noted of each section.
    said : dict
        All else, for the metadata.
    """

    order: str
    shape: tuple[int, int, int]
    mode: int
    offset: int
    space_group: int
    unsigned: bool
    names: tuple[str, str, str]
    steps: dict[str, float]
    volume: int
    sections: list[dict[str, Any]] = field(default_factory=list)
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def stored(self) -> tuple[int, int, int]:
        """Shape in stored numbers: 4-bit rows are bytes, complex integers two numbers."""
        nz, ny, nx = self.shape
        return nz, ny, math.ceil(nx * MODES[self.mode][1])


def is_mrc(head: bytes, path: str) -> bool:
    """Whether a file (or what a gzip file begins with) is MRC; one without a mark must fit its size to the byte."""
    if head.startswith(b"\x1f\x8b"):
        import zlib

        try:
            head = zlib.decompressobj(31).decompress(head, 1024)
        except zlib.error:
            return False
        return head[208:211] == b"MAP"
    if head[208:211] == b"MAP" and _order(head):
        return True
    return path.lower().endswith(_SUFFIXES) and bool(_unmarked(head, os.path.getsize(path)))


def _order(head: bytes) -> str:
    """Byte order by the machine stamp, or by which reading makes sense where it is damaged or was left out."""
    return _STAMPS.get(head[212:214]) or next((o for o in "<>" if _sensible(head, o)), "")


def _sensible(head: bytes, order: str) -> bool:
    if len(head) < 1024:
        return False
    nx, ny, nz, mode = struct.unpack(order + "4i", head[:16])
    axes = struct.unpack(order + "3i", head[64:76])
    return min(nx, ny, nz) > 0 and max(nx, ny, nz) < 1 << 24 and mode in MODES and sorted(axes) in ([1, 2, 3], [0] * 3)


def _unmarked(head: bytes, size: int) -> str:
    """Byte order of a file from before the mark ``MAP``, or ``""``."""
    for order in "<>":
        if _sensible(head, order):
            nx, ny, nz, mode = struct.unpack(order + "4i", head[:16])
            (extended,) = struct.unpack(order + "i", head[92:96])
            dtype, per_pixel = MODES[mode]
            if 1024 + extended + nz * ny * math.ceil(nx * per_pixel) * int(dtype[1]) == size and extended >= 0:
                return order
    return ""


def read_header(cursor: Cursor) -> Header:
    """The headers, checked against the size of the file.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant
    """
    cursor.need(1024, "header")
    head = cursor.read(1024, "header")
    order = _order(head) if head[208:211] == b"MAP" else _unmarked(head, cursor.size)
    if not order:
        raise NotThisFormat("'MAP' is not at byte 208", path=cursor.path, offset=208, field="MAP")
    cursor.seek(0, "header")
    nx, ny, nz = (cursor.integer(order + "i4", name, low=1) for name in ("nx", "ny", "nz"))
    mode = cursor.integer(order + "i4", "mode")
    if mode not in MODES:
        raise UnsupportedVariant(f"mode {mode}; {sorted(MODES)} are read", path=cursor.path, offset=12, field="mode")
    starts = [cursor.integer(order + "i4", "nxstart") for _ in range(3)]
    grid = [cursor.integer(order + "i4", "mx") for _ in range(3)]
    cell = [float(cursor.number(order + "f4", "cella")) for _ in range(3)]
    cursor.seek(64, "mapc")
    axes = [cursor.integer(order + "i4", "mapc") for _ in range(3)]
    if sorted(axes) != [1, 2, 3] and axes != [0, 0, 0]:
        raise cursor.corrupt(f"are {axes}, not an order of 1, 2, 3", "mapc, mapr, maps", 64)
    cursor.seek(88, "ispg")
    group, extended = cursor.integer(order + "i4", "ispg"), cursor.integer(order + "i4", "nsymbt", low=0)
    cursor.seek(104, "exttyp")
    kind = cursor.text(4, "exttyp")
    cursor.seek(128, "nint")
    per_section = [cursor.integer(order + "i2", name) for name in ("nint", "nreal")]
    cursor.seek(152, "imodStamp")
    stamp, flags = cursor.integer(order + "i4", "imodStamp"), cursor.integer(order + "i4", "imodFlags")
    cursor.seek(220, "nlabl")
    used = cursor.integer(order + "i4", "nlabl")
    labels = [cursor.text(80, "label") for _ in range(10)][: max(0, min(used, 10))]
    names = tuple("xyz"[a - 1] for a in reversed(axes)) if axes[0] else ("z", "y", "x")
    steps = {
        name: length / n * 1e-10 if n > 0 and 0 < length < math.inf else 0.0
        for name, length, n in zip("xyz", cell, grid, strict=True)
    }
    sections = _sections(cursor, order, kind, extended, nz, per_section)
    stacked = 401 <= group <= 630 and 0 < grid[2] < nz and nz % grid[2] == 0
    header = Header(
        order, (nz, ny, nx), mode, 1024 + extended, group, stamp == _IMOD and not flags & 1,
        (names[0], names[1], names[2]), steps, grid[2] if stacked else 0, sections,
        {"nx": nx, "ny": ny, "nz": nz, "mode": mode, "nstart": starts, "m": grid, "cella": cell, "map": axes,
         "ispg": group, "nsymbt": extended, "exttyp": kind, "labels": labels, "sections": sections[:4096]},
    )  # fmt: skip
    _check(cursor, header)
    return header


def _check(cursor: Cursor, header: Header) -> None:
    """The pixels are there, and nothing after them but zeros that fill up a block."""
    itemsize = int(MODES[header.mode][0][1])
    end = header.offset + cursor.block(header.stored, itemsize, "nx, ny, nz", offset=header.offset)
    cursor.seek(end, "nx, ny, nz")
    if cursor.remaining > 1 << 16 or cursor.read(cursor.remaining, "end").strip(b"\0"):
        nz, ny, nx = header.shape
        raise cursor.corrupt(f"{cursor.size - end} bytes more than {nx} x {ny} x {nz} of mode {header.mode}", "nx", end)


# -------------------------------------------------------------------------------------------------------- sections


def _sections(
    cursor: Cursor, order: str, kind: str, extended: int, nz: int, per_section: list[int]
) -> list[dict[str, Any]]:
    if not extended or nz > _SECTIONS or 1024 + extended > cursor.size:
        return []
    if kind in ("FEI1", "FEI2"):
        return _fei(cursor, order, extended, nz)
    size, flags = per_section
    noted = sum(length for bit, length in _SERIAL.items() if flags & bit)
    if kind in ("SERI", "") and 0 < size == noted and size * nz <= extended:
        return _serial(cursor, order, size, flags, nz)
    if kind in ("AGAR", "") and size == 0 and flags == 32 and extended >= 128 * nz:
        return _agard(cursor, order, nz)
    return []


def _fei(cursor: Cursor, order: str, extended: int, nz: int) -> list[dict[str, Any]]:
    """What FEI notes: tension, tilts, stage, pixel size, the scan."""
    cursor.seek(1024, "extended header")
    size = cursor.integer(order + "i4", "metadata size")
    if not 172 <= size <= 1 << 16 or nz * size > extended:
        return []
    sections = []
    names = ("high_tension", "dose", "alpha_tilt", "beta_tilt", "stage_x", "stage_y", "stage_z", "tilt_axis_angle",
             "dual_axis_rotation", "pixel_size_x", "pixel_size_y")  # fmt: skip
    for number in range(nz):
        base = 1024 + number * size
        cursor.seek(base + 20, "microscope")
        microscope = cursor.text(16, "microscope")
        cursor.seek(base + 84, "extended header")
        values = cursor.numbers(order + "f8", len(names), "extended header")
        section: dict[str, Any] = {"microscope": microscope, **dict(zip(names, map(float, values), strict=True))}
        if size >= 619:
            cursor.seek(base + 571, "scan")
            section["dwell_time"] = float(cursor.number(order + "f8", "scan"))
            cursor.skip(8, "scan")
            section["scan_area"] = cursor.numbers(order + "i4", 4, "scan").tolist()  # left, top, right, bottom
            section["scan_field"] = [float(v) for v in cursor.numbers(order + "f8", 2, "scan")]
        sections.append(section)
    return sections


def _serial(cursor: Cursor, order: str, size: int, flags: int, nz: int) -> list[dict[str, Any]]:
    """What SerialEM and IMOD note, as integers with fixed factors."""
    cursor.seek(1024, "extended header")
    sections = []
    for _ in range(nz):
        section: dict[str, Any] = {}
        for bit, length in _SERIAL.items():
            if not flags & bit:
                continue
            values = cursor.numbers(order + "i2", length // 2, "extended header").tolist()
            if bit == 1:
                section["alpha_tilt"] = values[0] / 100
            elif bit == 2:
                section["piece"] = values
            elif bit == 4:
                section["stage_x"], section["stage_y"] = (v / 25 * 1e-6 for v in values)
            elif bit == 8:
                section["magnification"] = values[0] * 100
            elif bit == 16:
                section["intensity"] = values[0] / 25000
        sections.append(section)
    return sections


def _agard(cursor: Cursor, order: str, nz: int) -> list[dict[str, Any]]:
    """What FEI software noted before FEI1: 32 numbers a section, lengths in m, angles in degrees."""
    cursor.seek(1024, "extended header")
    names = ("alpha_tilt", "beta_tilt", "stage_x", "stage_y", "stage_z", "shift_x", "shift_y", "defocus",
             "exposure_time", "mean_intensity", "tilt_axis_angle", "pixel_size_x", "magnification",
             "high_tension")  # fmt: skip
    sections = []
    for _ in range(nz):
        values = [float(v) for v in cursor.numbers(order + "f4", 32, "extended header")]
        section: dict[str, Any] = dict(zip(names, values, strict=False))
        section["pixel_size_y"] = section["pixel_size_x"]
        sections.append(section)
    return sections

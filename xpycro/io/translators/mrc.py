"""MRC 2014 and before (``.mrc .map .ali .rec .st``): images, tilt series, volumes, diffraction of a scan; also gzipped.

The first row lies at the bottom, as the format says. May import numpy, xarray, schema and io below.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import UnsupportedVariant
from xpycro.io.cursor import Cursor, inflate
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators._mrcheader import MODES, Header, read_header
from xpycro.io.translators._packed import PackedFrames, complex_pairs, nibbles
from xpycro.io.translators._stacks import pixels, scan_grid
from xpycro.schema import coordinate

__all__ = ["volume"]

_RATIO = 1100  # deflate cannot do better
_LIMIT = 2 << 30
_ORDER = {"frame": 0, "tilt": 0, "z": 1, "y": 2, "x": 3}


def volume(path: str, *, scan_shape: tuple[int, int] | None = None) -> dict[str, xr.Dataset]:
    """Read an MRC file.

    Parameters
    ----------
    path : str
    scan_shape : (int, int), optional
        Lines and points of the scan, of a stack of diffraction patterns. FEI's extended header states it where the
        stack is a whole scan.

    Returns
    -------
    dict of str to Dataset
        ``intensity(y, x)``, a volume ``(z, y, x)``, a stack ``(frame, y, x)`` of images or ``(frame, z, y, x)`` of
        volumes, ``(tilt, y, x)`` where the extended header (of FEI, SerialEM or IMOD) gives a tilt angle for each, or
        the diffraction patterns ``(y, x, ky, kx)`` of a scan.

    Raises
    ------
    NotThisFormat, CorruptFile
    UnsupportedVariant
        Colour (mode 16) and other modes; packed numbers (modes 3, 101) whose axes are in another order.
    ValueError
        If `scan_shape` does not fit the number of sections.

    Notes
    -----
    *Laziness*: only the headers are read; a gzipped file is inflated whole, up to 2 GiB.

    References
    ----------
    A. Cheng et al., "MRC2014: Extensions to the MRC format header", J. Struct. Biol. 192, 146 (2015); IMOD, "The MRC
    and IMOD file formats" (extended header of SerialEM, mode 101).
    """
    with Cursor(path) as cursor:
        if cursor.peek(2) != b"\x1f\x8b":
            return {"": _dataset(read_header(cursor), path, None, scan_shape)}
        packed = cursor.read(cursor.size, "gzip")
        content = inflate(packed, min(_LIMIT, len(packed) * _RATIO), "gzip", cursor, wbits=31)
    with Cursor(content, path=path) as cursor:
        return {"": _dataset(read_header(cursor), path, content, scan_shape)}


def _dataset(header: Header, path: str, content: bytes | None, scan_shape: tuple[int, int] | None) -> xr.Dataset:
    nz, ny, nx = header.shape
    first = header.sections[0] if header.sections else {}
    grid = _scan(header, first, scan_shape, path)
    shape: tuple[int, ...]
    if grid:
        shape, dims = (*grid, ny, nx), ["y", "x", "ky", "kx"]
    elif header.volume:
        shape, dims = (nz // header.volume, header.volume, ny, nx), ["frame", "z", "y", "x"]
    else:
        slowest = _slowest(header)
        shape, dims = (nz, ny, nx), [slowest if name == "z" else name for name in header.names]
    coords = _coords(header, first, dims, shape)
    variable = _variable(header, path, content, shape, dims)
    if grid:
        variable = variable[::-1]  # the first line of a scan lies at the top
    if nz == 1 and not grid:
        variable = variable.isel({dims[0]: 0})
        coords.pop(dims[0], None)
    labels = header.said["labels"]
    kind = "diffraction patterns" if grid else "volume" if "z" in variable.dims else "image"
    scanning = bool(grid) or any(first.get("scan_area", ()))
    return common.dataset(
        {"intensity": variable}, coords, header.said, data_type=kind, title=labels[0] if labels else None,
        modality="scanning transmission electron microscopy" if scanning else "transmission electron microscopy",
        instrument=first.get("microscope"),
    )  # fmt: skip


def _slowest(header: Header) -> str:
    """What the sections are: a volume's depth, a tilt, or just frames."""
    tilts = [section.get("alpha_tilt", math.nan) for section in header.sections]
    if len(tilts) == header.shape[0] > 1 and len(set(tilts)) == len(tilts) and all(map(math.isfinite, tilts)):
        return "tilt"
    permuted = header.names != ("z", "y", "x")
    return "z" if 1 <= header.space_group <= 230 or permuted else "frame"


def _scan(
    header: Header, first: dict[str, Any], scan_shape: tuple[int, int] | None, path: str
) -> tuple[int, int] | None:
    """(lines, points) of a scan of diffraction patterns."""
    nz = header.shape[0]
    if scan_shape is not None:
        lines, points = scan_grid(nz, scan_shape, path)
        return lines, points
    left, top, right, bottom = first.get("scan_area", (0, 0, 0, 0))
    scanned = (bottom - top, right - left)
    return scanned if nz > 1 and min(scanned) > 0 and math.prod(scanned) == nz else None


def _coords(header: Header, first: dict[str, Any], dims: list[str], shape: tuple[int, ...]) -> dict[str, xr.Variable]:
    steps = dict(header.steps)
    noted = (first.get("pixel_size_x", 0.0), first.get("pixel_size_y", 0.0))
    if all(0 < step < 1e-3 for step in noted):
        steps["x"], steps["y"] = noted
    if "ky" in dims:  # cella holds lengths, which a diffraction pattern has none of
        field = first.get("scan_field", (0.0, 0.0))
        steps = {"x": field[0] / shape[1], "y": field[1] / shape[0]}
        if all(1e3 < step < math.inf for step in noted):
            steps["kx"], steps["ky"] = noted
    coords = {}
    for dim, size in zip(dims, shape, strict=True):
        step = steps.get(dim, 0.0)
        if dim == "tilt":
            coords[dim] = coordinate("tilt", [section["alpha_tilt"] for section in header.sections])
        elif dim == "frame":
            coords[dim] = coordinate("frame", np.arange(size))
        elif not 0 < step < math.inf:
            coords[dim] = pixels(dim, size)
        else:
            centre = size // 2 if dim in ("ky", "kx") else 0
            coords[dim] = coordinate(dim, (np.arange(size) - centre) * step)
    return coords


def _variable(header: Header, path: str, content: bytes | None, shape: tuple[int, ...], dims: list[str]) -> xr.Variable:
    """The numbers in the order of the schema: sections, rows and columns may be any directions."""
    kind = MODES[header.mode][0]
    dtype = np.dtype("u1") if header.unsigned and kind == "i1" else np.dtype(header.order + kind)
    order = sorted(range(len(dims)), key=lambda n: _ORDER.get(dims[n], n)) if "ky" not in dims else range(len(dims))
    stored = (*shape[:-1], header.stored[2])
    unpack: Any = {3: complex_pairs, 101: functools.partial(nibbles, columns=shape[-1])}.get(header.mode)
    if unpack is not None and list(order) != sorted(order):
        raise UnsupportedVariant(f"mode {header.mode} with axes in the order {dims}", path=path, field="mapc")
    attrs = {"units": "1", "long_name": "Intensity"}
    if content is not None:
        values = np.frombuffer(content, dtype, math.prod(stored), header.offset).reshape(stored)
        values = unpack(values) if unpack else values.astype(dtype.newbyteorder("="))
        return xr.Variable(dims, values, attrs).transpose(*[dims[n] for n in order])
    array: Any = RawArray.contiguous(path, header.offset, dtype, stored)
    if unpack is not None:
        result = np.dtype(np.complex64 if header.mode == 3 else np.uint8)
        array = PackedFrames(array, unpack, (shape[-2], shape[-1]), result)
    variable = common.lazy_variable(dims, array, "Intensity", "1")
    return variable.transpose(*[dims[n] for n in order])

"""EMPAD: an ``.xml`` that describes the acquisition, and the frames in a ``.raw`` beside it.

Software before 1.2 notes the pixels of the scan and the calibration of the detector; later versions leave both out. A
frame is 130 rows of 128 float32 (little-endian); the last two hold no image. May import numpy, xarray, schema and io
below.
"""

from __future__ import annotations

import math
import os
import re
from xml.etree import ElementTree

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io.cursor import Cursor
from xpycro.io.translators import _common as common
from xpycro.io.translators._stacks import frames_dataset, scan_grid
from xpycro.io.translators._xml import parse, tree
from xpycro.schema import coordinate

__all__ = ["acquisition", "raw"]

_ROWS, _COLUMNS, _STORED = 128, 128, 130
_STRIDE = _STORED * _COLUMNS * 4
_MODALITY = "scanning transmission electron microscopy"


def acquisition(path: str) -> dict[str, xr.Dataset]:
    """Read an EMPAD acquisition from its ``.xml``.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        ``counts(y, x, ky, kx)`` (``frame, ky, kx`` for a series). ``ky, kx`` in 1/m with the zero on pixel 64 where the
        microscope stated its calibration; ``y, x`` in m where it stated its field of view.

    Raises
    ------
    NotThisFormat, CorruptFile

    Notes
    -----
    *Laziness*: only the ``.xml`` is read.
    """
    with Cursor(path) as cursor:
        if cursor.size > 1 << 24:
            raise cursor.corrupt("an xml of more than 16 MB", "xml")
        content = cursor.read(cursor.size, "xml")
    root = parse(content, path)
    name = root.find("raw_file")
    if root.tag != "root" or name is None or not name.get("filename"):
        raise NotThisFormat("no <raw_file> in <root>", path=path)
    file = os.path.join(os.path.dirname(os.path.abspath(path)), re.split(r"[\\/]", str(name.get("filename")))[-1])
    if not os.path.isfile(file):
        raise CorruptFile(f"the frames lie in {os.path.basename(file)!r}, which is not beside it", path=path)
    grid = _grid(root, file, path)
    frames = math.prod(grid)
    _check(file, frames)
    coords = _calibrated(root, grid)
    stamp = root.find("timestamp")
    ds = frames_dataset(
        file, offset=0, stride=_STRIDE, dtype="<f4", frames=frames, frame_shape=(_ROWS, _COLUMNS), grid=grid,
        top_first=True, metadata=tree(root), coords=coords, modality=_MODALITY, instrument="EMPAD",
        data_type="diffraction patterns", title=root.get("name"),
        acquired=common.iso_time(None if stamp is None else stamp.get("isoformat")),
    )  # fmt: skip
    return {"": ds}


def raw(path: str, *, scan_shape: tuple[int, int] | None = None) -> dict[str, xr.Dataset]:
    """Read EMPAD frames without their ``.xml``.

    Parameters
    ----------
    path : str
    scan_shape : (int, int), optional
        Lines and points of the scan; without it the name is asked (``scan_x256_y256.raw``), else it is a stack.

    Returns
    -------
    dict of str to Dataset
        ``counts(y, x, ky, kx)`` or ``counts(frame, ky, kx)``, uncalibrated.

    Raises
    ------
    NotThisFormat, CorruptFile
    ValueError
        If `scan_shape` does not fit the number of frames.

    Notes
    -----
    *Laziness*: nothing is read.
    """
    frames, rest = divmod(os.path.getsize(path), _STRIDE)
    if rest or not frames:
        raise NotThisFormat(f"{os.path.getsize(path)} bytes are not whole frames of {_STRIDE}", path=path)
    said = _named(path)
    if scan_shape is None and said and math.prod(said) == frames:
        scan_shape = said
    ds = frames_dataset(
        path, offset=0, stride=_STRIDE, dtype="<f4", frames=frames, frame_shape=(_ROWS, _COLUMNS),
        grid=scan_grid(frames, scan_shape, path), top_first=True, metadata={}, modality=_MODALITY,
        instrument="EMPAD", data_type="diffraction patterns",
    )  # fmt: skip
    return {"": ds}


def _named(file: str) -> tuple[int, int] | None:
    """Lines and points that a name like ``scan_x256_y256.raw`` states."""
    said = re.search(r"x(\d{1,6})_y(\d{1,6})", os.path.basename(file))
    return (int(said[2]), int(said[1])) if said and int(said[1]) and int(said[2]) else None


def _grid(root: ElementTree.Element, file: str, path: str) -> tuple[int, ...]:
    """(lines, points) of the scan, or (frames,) of a series.

    Newer files list a scan to search with and one to acquire with, not which of them was run: the name of the frames'
    file says it, else their number.
    """
    ny, nx = _count(root, "pix_y", path), _count(root, "pix_x", path)
    if nx or ny:
        return (ny, nx) if ny and nx else (nx or ny,)
    held, named = os.path.getsize(file) // _STRIDE, _named(file)
    if named and math.prod(named) == held:
        return named
    for scan in root.iter("scan_parameters"):
        listed = (_count(scan, "scan_resolution_y", path), _count(scan, "scan_resolution_x", path))
        if math.prod(listed) == held > 1:
            return listed
    return named or (max(held, 1),)


def _check(file: str, frames: int) -> None:
    size = os.path.getsize(file)
    if size != frames * _STRIDE:
        raise CorruptFile(
            f"{frames} frames need {frames * _STRIDE} bytes and it has {size}: truncated, or of another acquisition",
            path=file, offset=size,
        )  # fmt: skip


def _text(root: ElementTree.Element, *names: str) -> str:
    found: ElementTree.Element | None = root
    for name in names:
        found = None if found is None else found.find(name)
    return (found.text or "").strip() if found is not None else ""


def _count(root: ElementTree.Element, name: str, path: str) -> int:
    text = _text(root, name)
    if not text:
        return 0
    if not text.isdigit() or not 0 < int(text) < 1 << 24:
        raise CorruptFile(f"{text[:40]!r} is no number of pixels", path=path, field=name)
    return int(text)


def _real(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def _calibrated(root: ElementTree.Element, grid: tuple[int, ...]) -> dict[str, xr.Variable]:
    coords = {}
    # the microscope writes the size of a pixel in units of 1e18/m, that is 1.8e-10 for 0.18/nm
    step = _real(_text(root, "iom_measurements", "calibrated_pixelsize")) * 1e18
    if step:
        centred = (np.arange(_COLUMNS) - _COLUMNS // 2) * step
        coords["kx"] = coordinate("kx", centred)
        coords["ky"] = coordinate("ky", 0.0 - centred[::-1])
    if len(grid) == 2:
        for dim, size, length in zip(("y", "x"), grid, _steps(root, grid), strict=True):
            if length:
                coords[dim] = coordinate(dim, np.arange(size) * length)
    return coords


def _steps(root: ElementTree.Element, grid: tuple[int, ...]) -> tuple[float, float]:
    """From one line, and one point, of the scan to the next, in m; 0 where the file does not say."""
    field = _text(root, "iom_measurements", "optics.get_full_scan_field_of_view").strip("[] ").split(",")
    if len(field) == 2 and all(_real(side) for side in field):
        return _real(field[1]) / grid[0], _real(field[0]) / grid[1]
    # since 1.2: the field of the longer side, given times a factor, and the part of it that the scan took
    measured = "iom_measurements"
    whole = _real(_text(root, measured, "full_scan_field_of_view", "x"))
    factor = _real(_text(root, measured, "full_scan_field_of_view", "scale_factor")) or 1.0
    part = next(
        (
            _real(_text(scan, "scan_size"))
            for scan in root.iter("scan_parameters")
            if (_text(scan, "scan_resolution_y"), _text(scan, "scan_resolution_x")) == tuple(map(str, grid))
        ),
        0.0,
    )
    step = whole / factor * part / max(grid)
    return step, step

"""Anfatec and Molecular Vista (PiFM): a parameter file ``.txt`` that names ``.int`` files of 32-bit integers beside it.

The top row of an image comes first. Only files in the same folder are opened, whatever the names say. May import numpy,
xarray, schema, units and the io modules below it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import HEADER_LIMIT, Cursor, integer, real
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.schema import coordinate, identifiers
from xpycro.units import to_base

__all__ = ["scan"]

_BEGIN = {"FileDescBegin": "image", "FileDesc2Begin": "cube", "AFMSpectrumDescBegin": "spectrum"}
_END = ("FileDescEnd", "FileDesc2End", "AFMSpectrumDescEnd")

Block = dict[str, str]


def scan(path: str) -> dict[str, xr.Dataset]:
    """Read an Anfatec parameter file and the numbers that it names.

    Parameters
    ----------
    path : str
        The ``.txt``; the ``.int`` files lie beside it.

    Returns
    -------
    dict of str to Dataset
        One group: each image over ``(y, x)``, each hyperspectral cube over ``(y, x, wavenumber)`` (or ``wavelength``,
        or ``point``, by the unit of its axis). Point spectra are named in the attribute ``files_not_read``.

    Raises
    ------
    NotThisFormat
        If it is another text file.
    CorruptFile
        If a file that it names is missing, of another size, or not in the same folder.
    UnsupportedVariant
        If cubes differ in their spectral axes.

    Notes
    -----
    *Laziness*: the parameter file is read, and the text file of a spectral axis.
    """
    with Cursor(path) as cursor:
        if cursor.size > HEADER_LIMIT:
            raise NotThisFormat("longer than any parameter file", path=path)
        text = cursor.read(cursor.remaining, "parameters").decode("latin-1")
        if "ANFATEC Parameterfile" not in text[:2000] and "FileDescBegin" not in text:
            raise NotThisFormat("text, but not of Anfatec or Molecular Vista; other text files are not read", path=path)
        header, blocks = _parameters(text, cursor)
        return {"": _scan(path, cursor, header, blocks)}


def _parameters(text: str, cursor: Cursor) -> tuple[Block, list[tuple[str, Block]]]:
    """The parameters of the scan, and the description of each file."""
    header: Block = {}
    blocks: list[tuple[str, Block]] = []
    block: Block | None = None
    for line in text.replace("\r", "").split("\n"):
        plain = line.strip()
        if not plain or plain.startswith(";"):
            continue
        if plain in _BEGIN:
            if block is not None:
                raise cursor.corrupt(f"{plain} within another description", "parameters", 0)
            block = {}
            blocks.append((_BEGIN[plain], block))
        elif plain in _END:
            if block is None:
                raise cursor.corrupt(f"{plain} without its beginning", "parameters", 0)
            block = None
        else:
            key, colon, value = plain.partition(":")
            target = header if block is None else block
            if not colon and block is not None:
                raise cursor.corrupt(f"the line {plain[:40]!r} is damaged", "parameters", 0)
            name, number = key.strip(), 2
            while name in target:
                name, number = f"{key.strip()} ({number})", number + 1
            target[name] = value.strip()
    if block is not None:
        raise cursor.corrupt("the last description does not end: truncated", "parameters", 0)
    return header, blocks


def _beside(path: str, name: str) -> str:
    """A file in the folder of the parameter file; names with folders in them are not followed."""
    if not name or os.path.basename(name.replace("\\", "/")) != name or name in (".", ".."):
        raise CorruptFile(f"names {name[:80]!r}: expected a file in the same folder", path=path, field="FileName")
    other = os.path.join(os.path.dirname(os.path.abspath(path)), name)
    if not os.path.isfile(other):
        raise CorruptFile(f"{name!r} is not beside it", path=path, field="FileName")
    return other


def _scan(path: str, cursor: Cursor, header: Block, blocks: list[tuple[str, Block]]) -> xr.Dataset:
    nx, ny = (integer(header.get(f"{axis}Pixel", ""), f"{axis}Pixel", cursor, low=1, offset=0) for axis in "xy")
    sizes = []
    for axis in "XY":
        factor, base = to_base(header.get(f"{axis}PhysUnit", ""))
        span = abs(real(header.get(f"{axis}ScanRange", ""), f"{axis}ScanRange", cursor, offset=0))
        sizes.append(span * factor if base == "m" else None)
    coords: dict[str, Any] = common.image_coordinates(nx, ny, sizes[0], sizes[1])
    variables: dict[str, Any] = {}
    skipped = [block.get("FileName", "?") for kind, block in blocks if kind == "spectrum"]
    for kind, block in blocks:
        if kind == "spectrum":
            continue
        name = block.get("FileName", "")
        other = _beside(path, name)
        dims: tuple[str, ...] = ("y", "x")
        shape: tuple[int, ...] = (ny, nx)
        if kind == "cube":
            spectral = _axis(path, name, block)
            dim = str(spectral.dims[0])
            if dim in coords and not coords[dim].equals(spectral):
                raise UnsupportedVariant(f"{name} has another spectral axis than the cube before it", path=path)
            coords[dim] = spectral
            dims, shape = (*dims, dim), (*shape, spectral.size)
        _whole(path, other, name, shape)
        factor, base = to_base(block.get("PhysUnit", ""))
        scale = real(block.get("Scale") or "1", f"{name} Scale", cursor, offset=0) * factor
        if not 1e-40 < abs(scale) < 1e30:
            raise cursor.corrupt(f"a scale of {block.get('Scale')!r}", f"{name} Scale", 0)
        raw = RawArray.contiguous(other, 0, "<i4", shape, flip=(0,), factor=scale)
        title = block.get("Caption") or os.path.splitext(name)[0]
        label = identifiers([title], [*coords, *variables])[0]
        variables[label] = common.lazy_variable(dims, raw, title, base, file=name)
    if not variables:
        raise UnsupportedVariant("the parameter file names no image", path=path, field="FileDescBegin")
    angle = header.get("Rotation") or header.get("ScanAngle") or "0"
    date = f"{header.get('Date', '')} {header.get('Time', '')}"
    center = {axis: header.get(f"{axis}Center") for axis in "xy"}
    return common.dataset(
        variables,
        coords,
        {"parameters": header, "files": [{"kind": kind, **block} for kind, block in blocks]},
        modality="atomic force microscopy",
        instrument="Anfatec / Molecular Vista",
        data_type="image",
        acquired=common.iso_time(date.strip()),
        scan_direction=(header.get("yDirection") or header.get("ScanDirection") or "").lower() or None,
        scan_angle=math.radians(real(angle.split()[0], "Rotation", cursor, offset=0)),
        **{f"scan_center_{axis}": _length(cursor, header, axis, text) for axis, text in center.items() if text},
        files_not_read=", ".join(skipped) or None,
    )


def _length(cursor: Cursor, header: Mapping[str, str], axis: str, text: str) -> float:
    factor, _ = to_base(header.get(f"{axis.upper()}PhysUnit", ""))
    return real(text, f"{axis}Center", cursor, offset=0) * factor


def _whole(path: str, other: str, name: str, shape: tuple[int, ...]) -> None:
    """Raise unless a file holds exactly the numbers that are expected."""
    found, expected = os.path.getsize(other), 4 * math.prod(shape)
    if found != expected:
        raise CorruptFile(
            f"{name!r} has {found} bytes, and {' x '.join(map(str, shape))} numbers are {expected}", path=path,
            field="xPixel, yPixel",
        )  # fmt: skip


def _axis(path: str, name: str, block: Block) -> xr.Variable:
    """The spectral axis of a cube, from the text file that its description names."""
    stated = next((v for k, v in block.items() if "wavelength" in k.lower() and "file" in k.lower()), "")
    unit = next((v for k, v in block.items() if "wavelength" in k.lower() and "unit" in k.lower()), "")
    other = _beside(path, stated or f"{name.removesuffix('.int')}Wavelengths.txt")
    values = []
    with Cursor(other) as cursor:
        if cursor.size > HEADER_LIMIT:
            raise cursor.corrupt(f"{cursor.size} bytes for an axis", "wavelengths")
        while cursor.remaining:
            cells = cursor.line("wavelengths").split()
            if cells:
                values.append(real(cells[0], "wavelengths", cursor))
    _, base = to_base(unit or "1/cm")
    factor, _ = to_base(unit or "1/cm")
    dim = {"1/cm": "wavenumber", "m": "wavelength"}.get(base, "point")
    numbers = np.array(values) * factor
    if numbers.size < 1 or not bool((np.diff(numbers) > 0).all()):
        return coordinate(
            "point", numbers, units=base, long_name="Spectral axis as recorded", dimension_type="spectral"
        )
    return coordinate(dim, numbers, units=base)

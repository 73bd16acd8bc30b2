"""WITec ``.txt`` exports: spectra as columns of text, with or without a header that says where they were taken.

May import numpy, xarray, schema, units and io below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat
from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.translators import _common as common
from xpycro.io.translators._axes import Axis, axis_units, data_units, layout
from xpycro.schema import coordinate, identifier

__all__ = ["MAGIC", "spectra"]

MAGIC = b"//Exported ASCII-File"
_LIMIT = 1 << 30


def spectra(path: str) -> dict[str, xr.Dataset]:
    """Read an export of WITec's Project or Control.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One variable, named by the unit (``counts``) or ``intensity``, over ``wavelength``, ``wavenumber`` or
        ``energy``; before it ``y, x`` of a map or ``x`` of a line (``SizeX``, ``SizeY``, lengths where the header has
        ``ScanWidth`` and ``ScanHeight``, else pixels). The first line of a map lies at its top.

    Raises
    ------
    NotThisFormat, CorruptFile

    Notes
    -----
    *Laziness*: read whole; a text file.
    """
    with Cursor(path) as cursor:
        cursor.expect(MAGIC, "first line")
        if cursor.size > _LIMIT:
            raise cursor.corrupt(f"a text of more than {_LIMIT} bytes", "size")
        cursor.line("first line")
        header = _header(cursor)
        at = cursor.position
        titles, units = (cursor.line(name, encoding="utf-8").split(",") for name in ("titles", "units"))
        if len(titles) < 2 or len(units) != len(titles):
            raise cursor.corrupt(f"{len(titles)} titles and {len(units)} units", "[Data]", at)
        numbers = _numbers(cursor, len(titles))
    sizes = {
        name: integer(header.get(name, "1"), name, Cursor(b"", path=path), low=1, high=1 << 20, offset=0)
        for name in ("SizeX", "SizeY")
    }
    points = header.get("SizeGraph")
    if points is not None and integer(points, "SizeGraph", Cursor(b"", path=path), offset=0) != len(numbers):
        raise Cursor(b"", path=path).corrupt(f"{len(numbers)} rows of numbers and SizeGraph = {points}", "[Data]", at)
    if math.prod(sizes.values()) != len(titles) - 1:
        raise NotThisFormat(f"{len(titles) - 1} columns for {sizes}", path=path, offset=at, field="SizeX, SizeY")
    return {"": _dataset(numbers, sizes, titles, units, header)}


def _header(cursor: Cursor) -> dict[str, str]:
    """Lines of ``key = value`` up to ``[Data]``."""
    header: dict[str, str] = {}
    while cursor.remaining:
        line = cursor.line("header", encoding="utf-8").strip()
        if line == "[Data]":
            return header
        key, equals, value = line.partition("=")
        if equals:
            header[key.strip()] = value.strip()
        elif line and line != "[Header]":
            raise cursor.corrupt(f"{line[:40]!r} is no 'key = value'", "header")
    raise cursor.corrupt("[Data] is missing", "header")


def _numbers(cursor: Cursor, columns: int) -> np.ndarray:
    at = cursor.position
    body = cursor.read(cursor.remaining, "[Data]")
    if not body.endswith(b"\n"):
        raise cursor.corrupt("the last line has no end: truncated", "[Data]", cursor.size)
    try:
        rows = [
            [float(word) for word in line.split(",")] for line in body.decode("latin-1").splitlines() if line.strip()
        ]
    except ValueError:
        raise cursor.corrupt("what is not a number among the numbers", "[Data]", at) from None
    if not rows or any(len(row) != columns for row in rows):
        raise cursor.corrupt(f"a line has not {columns} numbers", "[Data]", at)
    return np.array(rows)


def _dataset(
    numbers: np.ndarray, sizes: Mapping[str, int], titles: list[str], units: list[str], header: Mapping[str, str]
) -> xr.Dataset:
    label = {"nm": "Wavelength", "eV": "Energy"}.get(units[0].strip(), titles[0].strip())
    unit = {"rel. 1/cm": "1/cm"}.get(units[0].strip(), units[0].strip())
    spectral = Axis(len(numbers), label, unit, values=numbers[:, 0], signal=True)
    ny, nx = sizes["SizeY"], sizes["SizeX"]
    places = [
        Axis(n, name, "", signal=False, dim=name)
        for name, n in (("y", ny), ("x", nx))
        if n > 1 or (name == "x" and ny > 1)
    ]
    laid = layout([*places, spectral], top_first=True)
    factor, base = data_units({"CCD cts": "counts"}.get(units[1].strip(), units[1].strip()))
    values = numbers[:, 1:].T.reshape([axis.size for axis in [*places, spectral]])
    name = "counts" if base == "counts" else "intensity"
    variable = xr.Variable(laid.dims, laid.numpy(values) * factor, {"units": base, "long_name": titles[1].strip()})
    coords = dict(laid.coords) | _lengths(laid.dims, sizes, header)
    return common.dataset(
        {identifier(name): variable}, coords, header, instrument="WITec", data_type="spectrum",
        modality="Raman spectroscopy" if "wavenumber" in laid.dims else "optical spectroscopy",
        title=header.get("GraphName") or None,
    )  # fmt: skip


def _lengths(dims: tuple[str, ...], sizes: Mapping[str, int], header: Mapping[str, str]) -> dict[str, xr.Variable]:
    """Places of a map in m where the header has its lengths, else nothing."""
    unit = header.get("ScanUnit") or header.get("PositionUnit") or ""
    factor, base = axis_units(unit)
    coords = {}
    for dim, count, name in (("x", "SizeX", "ScanWidth"), ("y", "SizeY", "ScanHeight")):
        if dim in dims and base == "m" and name in header:
            length = real(header[name], name, Cursor(b""))
            if length > 0:
                coords[dim] = coordinate(dim, np.arange(sizes[count]) * length * factor / sizes[count])
    return coords

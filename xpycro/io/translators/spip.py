"""SPIP ASCII ``.asc``: ``# key = value`` lines, ``# Start of Data:``, then the numbers; images and spectra over a grid.

Lengths are in nm where no unit is said; the top row comes first. May import numpy, xarray, schema, units and the io
modules below it.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat
from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.translators import _common as common
from xpycro.schema import coordinate, identifiers
from xpycro.units import to_base

__all__ = ["ascii_export"]

_START = re.compile(rb"#\s*Start of Data\s*:?[^\n]*\n", re.IGNORECASE)
_SEARCHED = 1 << 20  # bytes in which the data must begin


def ascii_export(path: str) -> dict[str, xr.Dataset]:
    """Read a SPIP ASCII file (``.asc``), as Omicron's software exports it too.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group: an image over ``(y, x)``; or, where the header says how many points a spectrum has, spectra over
        ``(y, x, bias)`` with an axis from ``z-offset`` and ``z-length``, over ``(y, x, point)`` without.

    Raises
    ------
    NotThisFormat
        If there is no ``# Start of Data:``.
    CorruptFile
        If the numbers are not as many as the header says.

    Notes
    -----
    *Laziness*: read whole.
    """
    with Cursor(path) as cursor:
        head = cursor.peek(_SEARCHED)
        found = _START.search(head)
        if not head.lstrip().startswith(b"#") or not found:
            raise NotThisFormat(
                'not what SPIP exports: no line "# Start of Data:" after lines that begin with #', path=path, offset=0
            )
        header = _header(head[: found.start()].decode("latin-1"), cursor)
        cursor.seek(found.end(), "data")
        return {"": _dataset(cursor, header)}


def _header(text: str, cursor: Cursor) -> dict[str, str]:
    """The keys; nested sections (``# .  Section:``) prefix theirs."""
    header: dict[str, str] = {}
    section = ""
    for line in text.replace("\r", "").split("\n"):
        plain = line.strip().lstrip("#").strip()
        nested = plain.startswith(".")
        plain = plain.lstrip(". \t")
        key, equals, value = plain.partition("=")
        if not equals:
            section = plain.rstrip(":") if plain.endswith(":") and nested else section
            continue
        if not nested:
            section = ""
        name, number = f"{section}/{key.strip()}" if section else key.strip(), 2
        while name in header:
            name, number = f"{name} ({number})", number + 1
        header[name] = value.strip()
    return header


def _get(header: dict[str, str], key: str) -> str:
    """A key of its own or of any section."""
    return header.get(key) or next((v for k, v in header.items() if k.rpartition("/")[2] == key), "")


def _length(header: dict[str, str], axis: str, cursor: Cursor) -> float | None:
    text = _get(header, f"{axis}-length")
    if not text:
        return None
    number, _, unit = text.partition(" ")
    factor, base = to_base(unit.strip() or _get(header, f"{axis}-unit") or "nm")
    return real(number, f"{axis}-length", cursor, offset=0) * factor if base == "m" else None


def _dataset(cursor: Cursor, header: dict[str, str]) -> xr.Dataset:
    nx, ny = (integer(_get(header, f"{a}-pixels"), f"{a}-pixels", cursor, low=1, offset=0) for a in "xy")
    points = integer(_get(header, "z-points") or "1", "z-points", cursor, low=1, offset=0)
    cursor.need(2 * nx * ny * points - 1, "data")  # a digit and a separator each at the least
    cells = cursor.read(cursor.remaining, "data").split()
    if len(cells) != nx * ny * points:
        raise cursor.corrupt(f"{len(cells)} numbers, and {nx} x {ny} x {points} in the header", "data")
    commas = not any(b"." in cell for cell in cells)  # as a localized system writes decimals
    try:
        numbers = np.array([c.replace(b",", b".") if commas else c for c in cells], dtype="S").astype(np.float64)
    except ValueError as error:
        raise cursor.corrupt(f"not a number among the data ({error})", "data") from None
    if np.isinf(numbers).any():
        raise cursor.corrupt("an infinite number among the data", "data")
    factor, base = to_base(_get(header, "value-unit") or _get(header, "z-unit") or "nm")
    values = numbers.reshape(ny, nx, points)[::-1] * factor
    coords: dict[str, Any] = common.image_coordinates(
        nx, ny, _length(header, "x", cursor), _length(header, "y", cursor)
    )
    title = _get(header, "channel") or _get(header, "Channel") or _get(header, "title") or "data"
    dims: tuple[str, ...] = ("y", "x")
    if points == 1:
        values = values[..., 0]
    else:
        axis = _spectral(header, points, cursor)
        dims = ("y", "x", "point" if axis is None else str(axis.dims[0]))
        if axis is not None:
            values = values[..., ::-1] if _descending(header, cursor) else values
            coords[dims[-1]] = axis
    bias = _get(header, "bias") or _get(header, "Bias")
    found = re.match(r"\s*(-?[\d.]+(?:[eE][-+]?\d+)?)\s*(\S*)", bias)
    name = identifiers([title], coords)[0]
    return common.dataset(
        {name: xr.Variable(dims, values, {"units": base, "long_name": title})},
        coords,
        header,
        modality="scanning probe microscopy",
        instrument="SPIP export",
        data_type="image" if points == 1 else "spectral_image",
        acquired=common.iso_time(_get(header, "date") or _get(header, "Date")),
        bias=real(found[1], "bias", cursor, offset=0) * to_base(found[2] or "V")[0] if found else None,
    )


def _ends(header: dict[str, str], cursor: Cursor) -> tuple[float, float, str] | None:
    """First value, span and unit of the spectral axis, where the header has them."""
    texts = [_get(header, key) for key in ("z-offset", "z-length")]
    if not all(texts):
        return None
    factor, base = to_base(_get(header, "z-section-unit") or texts[1].partition(" ")[2] or "V")
    first, span = (real(text.partition(" ")[0], "z-length", cursor, offset=0) * factor for text in texts)
    return (first, span, base) if span else None


def _descending(header: dict[str, str], cursor: Cursor) -> bool:
    ends = _ends(header, cursor)
    return ends is not None and ends[1] < 0


def _spectral(header: dict[str, str], points: int, cursor: Cursor) -> xr.Variable | None:
    ends = _ends(header, cursor)
    if ends is None:
        return None
    first, span, base = ends
    values = np.linspace(first, first + span, points)
    dim = {"V": "bias", "s": "time", "Hz": "frequency"}.get(base, "point")
    return coordinate(dim, np.sort(values), units=base, dimension_type=None if dim == "point" else "spectral")

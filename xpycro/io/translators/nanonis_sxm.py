"""Nanonis (SPECS) scans ``.sxm``: a text header before planes of big-endian float32.

Planes are stored line by line as they were scanned, backward ones mirrored. May import numpy, xarray, schema, units,
the sibling nanonis, and io below.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import UnsupportedVariant
from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators.nanonis import MISSING_PIXELS, frame_attributes
from xpycro.schema import identifiers
from xpycro.units import to_base

__all__ = ["scan"]


def scan(path: str, *, incomplete: bool = False) -> dict[str, xr.Dataset]:
    """Read a Nanonis scan (``.sxm``).

    Parameters
    ----------
    path : str
    incomplete : bool, optional
        Read a file that is shorter than its header says: what is missing is NaN and flagged.

    Returns
    -------
    dict of str to Dataset
        One group: each channel over ``(direction, y, x)``, or ``(y, x)`` where one direction was recorded. The lower
        left pixel comes first whatever the scan direction, and backward images are mirrored into place. Lines that
        were never scanned are NaN, and ``measured(y, x)`` says so.

    Raises
    ------
    CorruptFile
        If the header contradicts itself or the file.
    UnsupportedVariant
        If the numbers are not 4-byte floats.

    Notes
    -----
    *Laziness*: the header is read, and three numbers of the last line to see whether the scan was finished.
    """
    with Cursor(path) as cursor:
        text = common.decoded(cursor.until(b":SCANIT_END:", "header"))
        cursor.until(b"\x1a\x04", "data start", limit=64)
        return {"": _scan(path, cursor, _scan_header(text), incomplete)}


def _scan_header(text: str) -> dict[str, str]:
    """``:KEY:`` lines and the lines below them, which may be a table."""
    header: dict[str, str] = {}
    key, lines = None, []
    for line in [*re.split(r"\r\n?|\n", text), ":END:"]:
        found = re.fullmatch(r":(.+):\s*", line)
        if not found:
            lines.append(line.rstrip())
            continue
        if key is not None:
            header.setdefault(key, "\n".join(lines).strip("\n"))
        key, lines = found[1], []
    return header


def _pair(header: dict[str, str], key: str, cursor: Cursor) -> tuple[float, float] | None:
    parts = header.get(key, "").split()
    if not parts:
        return None
    if len(parts) != 2:
        raise cursor.corrupt(f"{header[key][:40]!r}: expected two numbers", key, 0)
    return real(parts[0], key, cursor, offset=0), real(parts[1], key, cursor, offset=0)


def _channels(header: dict[str, str], cursor: Cursor) -> list[tuple[str, str, tuple[bool, ...]]]:
    """Name, unit and stored directions (backward or not) of each row of the channel table."""
    rows = [line.strip("\t").split("\t") for line in header.get("DATA_INFO", "").splitlines() if line.strip()]
    titles = [title.strip().lower() for title in rows[0]] if rows else []
    if not {"name", "unit", "direction"} <= set(titles):
        raise cursor.corrupt("the channel table has no Name, Unit and Direction", "DATA_INFO", 0)
    stored = {"both": (False, True), "forward": (False,), "backward": (True,)}
    channels = []
    for row in rows[1:]:
        cells = dict(zip(titles, (cell.strip() for cell in row), strict=False))
        direction = cells.get("direction", "").lower()
        if direction not in stored or not cells.get("name"):
            raise cursor.corrupt(f"a row {row!r}: the direction is not one of {sorted(stored)}", "DATA_INFO", 0)
        channels.append((cells["name"], cells["unit"], stored[direction]))
    if not channels:
        raise cursor.corrupt("the channel table is empty", "DATA_INFO", 0)
    return channels


def _scan(path: str, cursor: Cursor, header: dict[str, str], incomplete: bool) -> xr.Dataset:
    kind = header.get("SCANIT_TYPE", "FLOAT MSBFIRST").split()
    if kind[:1] != ["FLOAT"] or kind[1:] not in (["MSBFIRST"], ["LSBFIRST"]):
        raise UnsupportedVariant(f"numbers of type {kind}: expected FLOAT MSBFIRST", path=path, field="SCANIT_TYPE")
    dtype = ">f4" if kind[1] == "MSBFIRST" else "<f4"
    pixels = header.get("SCAN_PIXELS", "").split()
    if len(pixels) != 2:
        raise cursor.corrupt(f"{header.get('SCAN_PIXELS', '')[:40]!r}: expected two numbers", "SCAN_PIXELS", 0)
    nx, ny = (integer(n, "SCAN_PIXELS", cursor, low=1, high=1 << 31, offset=0) for n in pixels)
    order = header.get("SCAN_DIR", "up").strip().lower()
    if order not in ("up", "down"):
        raise cursor.corrupt(f"{order[:20]!r}: expected up or down", "SCAN_DIR", 0)
    channels = _channels(header, cursor)
    start, plane = cursor.position, 4 * nx * ny
    end = _planes_end(cursor, plane, sum(len(directions) for *_, directions in channels), incomplete)
    lines = _lines_scanned(cursor, start, dtype, nx, ny)
    width, height = _pair(header, "SCAN_RANGE", cursor) or (None, None)
    cx, cy = _pair(header, "SCAN_OFFSET", cursor) or (None, None)
    angle = _number(header.get("SCAN_ANGLE", "")) or 0.0

    coords: dict[str, Any] = common.image_coordinates(nx, ny, width, height)
    variables: dict[str, Any] = {}
    position = start
    for label, (name, unit, directions) in zip(
        identifiers([name for name, *_ in channels], [*coords, "direction"]), channels, strict=True
    ):
        factor, base = to_base(unit)
        planes = []
        for backward in directions:
            raw = RawArray.contiguous(path, position, dtype, (ny, nx), factor=factor, target=np.float32, end=end)
            raw = raw.flip(1) if backward else raw
            planes.append(raw.flip(0) if order == "down" else raw)
            position += plane
        if len(planes) > 1:
            coords["direction"] = common.direction_coordinate()
            variables[label] = common.lazy_variable(("direction", "y", "x"), common.stack(planes), name, base)
        else:
            said = common.DIRECTIONS[directions[0]]
            variables[label] = common.lazy_variable(("y", "x"), planes[0], name, base, direction=said)
    if end is not None or lines < ny:
        # pixels that every plane has: those of the last one
        complete = plane if end is None else max(0, end - start - (position - start - plane))
        written = common.measured_variable(min(lines * nx, complete // 4), ny, nx)
        variables["measured"] = written if order == "up" else written.copy(data=written.values[::-1])
    setpoint = _setpoint(header)
    return common.dataset(
        variables,
        coords,
        header,
        modality="scanning probe microscopy",
        instrument="Nanonis",
        data_type="image",
        title=re.split(r"[\\/]", header.get("SCAN_FILE", "").strip())[-1] or None,
        acquired=common.iso_time(f"{header.get('REC_DATE', '').strip()} {header.get('REC_TIME', '').strip()}"),
        bias=_number(header.get("BIAS", "")),
        scan_direction=order,
        **setpoint,
        **frame_attributes(cx, cy, width, height, angle),
    )


def _planes_end(cursor: Cursor, plane: int, planes: int, incomplete: bool) -> int | None:
    """End of what the file holds where that is less than the header says and the user allows it; else None."""
    total, there = plane * planes, cursor.remaining
    if there == total:
        return None
    if there > total:
        raise cursor.corrupt(f"{there - total} bytes more than the {planes} planes of the header", "data")
    if not incomplete or there < 4 or total - there > 4 * MISSING_PIXELS:
        raise cursor.corrupt(
            f"the header declares {planes} planes of {plane} bytes and the file holds {there} bytes: truncated, or "
            "the header is damaged; incomplete=True reads what is there",
            "data",
        )
    return cursor.position + there // 4 * 4


def _lines_scanned(cursor: Cursor, start: int, dtype: str, nx: int, ny: int) -> int:
    """Lines of the first plane before those that are NaN to the end, because the scan was stopped."""

    def missing(line: int) -> bool:
        for column in {0, nx // 2, nx - 1}:  # one number that is NaN does not make a line that was never scanned
            offset = start + 4 * (nx * line + column)
            if offset + 4 > cursor.size:
                continue
            cursor.seek(offset, "data")
            if not np.isnan(cursor.number(dtype, "data")):
                return False
        return True

    if not missing(ny - 1):
        return ny
    low, high = 0, ny - 1  # lines below low are there, high is not
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if missing(middle) else (middle + 1, high)
    return low


def _number(text: str) -> float | None:
    """A number that is only handed on; None where there is none (``NaN``, ``N/A``)."""
    try:
        value = float(text.split()[0])
    except (ValueError, IndexError):
        return None
    return value if math.isfinite(value) else None


def _setpoint(header: dict[str, str]) -> dict[str, Any]:
    """Setpoint of the z controller, where its table is as expected."""
    rows = [line.strip("\t").split("\t") for line in header.get("Z-CONTROLLER", "").splitlines() if line.strip()]
    if len(rows) < 2 or "Setpoint" not in rows[0]:
        return {}
    cells = dict(zip(rows[0], rows[1], strict=False))
    number = re.fullmatch(r"\s*([-+.\dEe]+)\s*(\S*)\s*", cells.get("Setpoint", ""))
    if not number:
        return {}
    factor, base = to_base(number[2])
    value = _number(number[1])
    if value is None:
        return {}
    value *= factor
    return {
        "setpoint": value,
        "setpoint_units": base,
        "controller": cells.get("Name") or None,
        "feedback": {"0": "off", "1": "on"}.get(cells.get("on", "").strip()),
    }

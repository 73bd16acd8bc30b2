"""RHK ``.sm4``: pages of 32-bit integers behind a tree of (kind, offset, size) objects; images and line spectra.

Which way an axis is stored follows from the sign of its scale. May import numpy, xarray, schema, units and the io
modules below it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor, inflate
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.schema import coordinate, identifier, identifiers
from xpycro.units import to_base

__all__ = ["pages"]

_MAGIC = "STiMage 005."
_INDEX_HEADER, _INDEX, _HEADER, _DATA, _DRIFT_HEADER, _DRIFT, _STRINGS, _PRM, _PRM_HEADER = 1, 2, 3, 4, 7, 8, 10, 13, 15
_IMAGE, _LINE = 0, 1
_TEXT = (4, 5)  # pages without numbers
_DIRECTIONS = {0: "right", 1: "left", 2: "up", 3: "down"}
_FIELDS = (
    "page_type", "data_sub_source", "line_type", "x_corner", "y_corner", "x_size", "y_size", "image_type", "scan",
    "group", "data_size", "z_min", "z_max", "x_scale", "y_scale", "z_scale", "xy_scale", "x_offset", "y_offset",
    "z_offset", "period", "bias", "current", "angle", "colors", "grid_x_size", "grid_y_size", "objects",
)  # fmt: skip
_LAYOUT = "<" + "I" * 3 + "i" * 4 + "I" * 6 + "f" * 11 + "i" * 4
_TEXTS = (
    "label", "system_text", "session_text", "user_text", "path", "date", "time", "x_units", "y_units", "z_units",
    "x_label", "y_label", "status_channel", "completed_lines", "oversampling", "sliced_voltage", "pll_status",
    "setpoint_unit",
)  # fmt: skip

_ROOM = 1 << 16  # bytes of zeros that may lie at the end
Objects = dict[int, tuple[int, int]]


@dataclass(frozen=True)
class Page:
    """One page: what its header and its strings say, and its numbers over (row, column).

    Attributes
    ----------
    kind : int
        0 an image, 1 lines.
    header, texts : dict
    raw : RawArray
    positions : ndarray or None
        Time, x and y of each line, where they were recorded.
    """

    kind: int
    header: dict[str, Any]
    texts: dict[str, str]
    raw: RawArray
    positions: np.ndarray | None

    @property
    def label(self) -> str:
        """Name of the channel."""
        return self.texts.get("label", "").replace("\0", " ").strip() or "Channel"


def pages(path: str) -> dict[str, xr.Dataset]:
    """Read an RHK file (``.sm4``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        Pages of one geometry share a group. Images over ``(y, x)``, with ``direction`` first where a channel was
        scanned to the right and to the left; spectra over ``(position, <swept signal>)`` with the lab frame positions
        ``y(position)``, ``x(position)`` where they were recorded.

    Raises
    ------
    NotThisFormat, CorruptFile
    UnsupportedVariant
        If the file has no page of numbers.

    Notes
    -----
    *Laziness*: headers and strings are read, no numbers.
    """
    with Cursor(path) as cursor:
        size = cursor.integer("<u2", "header size", low=0)
        magic = cursor.read(min(36, cursor.remaining), "magic").decode("utf-16-le", "replace")
        if not magic.startswith(_MAGIC):
            raise NotThisFormat(f"begins with {magic[:18]!r}: expected {_MAGIC!r}", path=path, offset=2)
        count, objects, field, *_ = (cursor.integer("<u4", "file header") for _ in range(5))
        if field != 12 or objects > 1000 or size != 56:
            raise cursor.corrupt(f"a header of {size} bytes, objects of {field}: expected 56 and 12", "file header", 0)
        ranges = [(0, 58 + 12 * objects, "file header")]
        top = _objects(cursor, objects, ranges)
        found = _index(path, cursor, top, count, ranges)
        settings = _settings(cursor, top)
        _disjoint(cursor, ranges)
    return _groups(path, found, settings)


# --------------------------------------------------------------------------------------------------------- reading


def _objects(cursor: Cursor, count: int, ranges: list[tuple[int, int, str]]) -> Objects:
    """The objects of a list; empty slots are left out."""
    found: Objects = {}
    for _ in range(count):
        kind, offset, size = (cursor.integer("<u4", "object") for _ in range(3))
        if kind == 0 or size == 0:
            continue
        if kind in found:
            raise cursor.corrupt(f"two objects of kind {kind}", "object list")
        found[kind] = (offset, size)
        if kind not in (_INDEX_HEADER, _INDEX, _HEADER, _DRIFT):  # these are followed by what they hold
            ranges.append((offset, offset + size, f"object {kind}"))
    return found


def _index(path: str, cursor: Cursor, top: Objects, count: int, ranges: list[tuple[int, int, str]]) -> list[Page]:
    cursor.seek(_where(cursor, top, _INDEX_HEADER), "page index header")
    start = cursor.position
    stated, objects = cursor.integer("<u4", "pages"), cursor.integer("<u4", "objects", low=1, high=1000)
    cursor.skip(8, "page index header")
    if stated != count:
        raise cursor.corrupt(f"{stated} pages, and the file header says {count}", "pages", start)
    inner = _objects(cursor, objects, ranges)
    ranges.append((start, cursor.position, "page index header"))
    cursor.seek(_where(cursor, inner, _INDEX), "page index")
    start = cursor.position
    entries = []
    cursor.need(32 * count, "page index")
    for _ in range(count):
        cursor.skip(16, "page id")
        kind, source, objects, _ = (cursor.integer("<u4", "page index") for _ in range(4))
        if objects > 1000:
            raise cursor.corrupt(f"{objects} objects in a page", "page index")
        entries.append((kind, source, _objects(cursor, objects, ranges)))
    ranges.append((start, cursor.position, "page index"))
    found = []
    for kind, source, inside in entries:
        if kind > 7:
            raise cursor.corrupt(f"a page of type {kind}: expected 0 to 7", "page index", start)
        page = _page(path, cursor, kind, source, inside, ranges)
        if page is not None:
            found.append(page)
    return found


def _where(cursor: Cursor, objects: Objects, kind: int) -> int:
    if kind not in objects:
        raise cursor.corrupt(f"there is no object of kind {kind}", "object list")
    return objects[kind][0]


def _page(
    path: str, cursor: Cursor, kind: int, source: int, objects: Objects, ranges: list[tuple[int, int, str]]
) -> Page | None:
    start = _where(cursor, objects, _HEADER)
    cursor.seek(start, "page header")
    size, strings = cursor.integer("<u2", "page header", low=114), cursor.integer("<u2", "strings", high=200)
    header: dict[str, Any] = dict(zip(_FIELDS, cursor.unpack(_LAYOUT, "page header"), strict=True))
    header |= {"page_data_type": kind, "page_source": source}
    for name, value in header.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise cursor.corrupt("is not a finite number", name, start)
    cursor.seek(start + size, "page header")
    if not 0 <= header["objects"] <= 1000:
        raise cursor.corrupt(f"{header['objects']} objects", "page header", start)
    inner = _objects(cursor, header["objects"], ranges)
    ranges.append((start, cursor.position, "page header"))
    nx, ny = header["x_size"], header["y_size"]
    offset, nbytes = objects.get(_DATA, (0, 0))
    if kind in _TEXT and nbytes != 4 * nx * ny:
        return None
    if nx < 1 or ny < 1 or cursor.block((ny, nx), 4, "x_size, y_size", offset=offset) != nbytes:
        raise cursor.corrupt(f"{nbytes} bytes of data, and {nx} x {ny} numbers", "page data", start)
    factor = header["z_scale"]
    if not 1e-30 < abs(factor) < 1e30 or header["data_size"] != nbytes:
        raise cursor.corrupt(f"a scale of {factor}, {header['data_size']} bytes of data", "z_scale", start)
    if kind == _IMAGE and not all(1e-30 < abs(header[key]) < 1e30 for key in ("x_scale", "y_scale")):
        raise cursor.corrupt(f"pixels of {header['x_scale']} by {header['y_scale']}", "x_scale, y_scale", start)
    texts = _texts(cursor, inner, strings)
    scale, _ = to_base(_unit(texts, "z_units"))
    raw = RawArray.contiguous(path, offset, "<i4", (ny, nx), factor=factor * scale, constant=header["z_offset"] * scale)
    positions = None
    if kind != _IMAGE and _DRIFT in inner:
        at, item = inner[_DRIFT]
        cursor.seek(at, "positions")
        if item != 28:
            raise UnsupportedVariant(f"positions of {item} bytes: expected 28", path=path, offset=at)
        positions = cursor.numbers("<f4", 7 * ny, "positions").reshape(ny, 7)[:, :3].astype(np.float64)
        ranges.append((at, cursor.position, "positions"))
    return Page(_IMAGE if kind == _IMAGE else _LINE, header, texts, raw, positions)


def _texts(cursor: Cursor, objects: Objects, count: int) -> dict[str, str]:
    """The strings of a page, each after its length."""
    if _STRINGS not in objects:
        return {}
    start, size = objects[_STRINGS]
    cursor.seek(start, "strings")
    found = {}
    for number in range(count):
        length = cursor.integer("<u2", "length of a string")
        name = _TEXTS[number] if number < len(_TEXTS) else f"string_{number}"
        found[name] = cursor.read(2 * length, name).decode("utf-16-le", "replace")
    if cursor.position != start + size:
        raise cursor.corrupt(f"{count} strings of {cursor.position - start} bytes in {size}", "strings", start)
    return found


def _settings(cursor: Cursor, top: Objects) -> str:
    """The text of all settings of the instrument, which may be compressed."""
    if _PRM not in top or _PRM_HEADER not in top:
        return ""
    cursor.seek(top[_PRM_HEADER][0], "settings header")
    packed, full, small = (cursor.integer("<u4", "settings header") for _ in range(3))
    cursor.seek(top[_PRM][0], "settings")
    data = cursor.read(top[_PRM][1], "settings")
    if packed:
        if full > 1100 * max(small, 1):
            raise cursor.corrupt(f"{small} bytes that become {full}", "settings header")
        data = inflate(data, full, "settings", cursor)
    return data.decode("cp437", "replace")


def _disjoint(cursor: Cursor, ranges: list[tuple[int, int, str]]) -> None:
    """Raise where objects overlap or leave bytes at the end that nobody names: an offset is damaged."""
    end = 0
    for start, stop, what in sorted(set(ranges)):
        if start < end or stop > cursor.size:
            raise cursor.corrupt(f"bytes {start} to {stop} overlap another object or leave the file", what, start)
        end = stop
    cursor.seek(end, "end")
    if cursor.remaining > _ROOM or any(cursor.read(cursor.remaining, "end")):
        raise cursor.corrupt(f"{cursor.size - end} bytes after the last object", "end", end)


# --------------------------------------------------------------------------------------------------------- datasets


def _unit(texts: dict[str, str], key: str) -> str:
    text = texts.get(key, "").strip("\0 ")
    return {"N/sec": "1/s"}.get(text, text)


def _groups(path: str, found: Sequence[Page], settings: str) -> dict[str, xr.Dataset]:
    """Pages of one geometry together."""
    sorted_in: dict[tuple[Any, ...], list[Page]] = {}
    for page in found:
        geometry = ("x_size", "y_size", "x_scale", "y_scale", "x_offset", "y_offset")
        # to the left the scale may change its sign
        key = (page.kind, *(abs(page.header[name]) for name in geometry), _unit(page.texts, "x_units"))
        sorted_in.setdefault(key, []).append(page)
    if not sorted_in:
        raise UnsupportedVariant("the file has no page of numbers", path=path, field="page index")
    groups: dict[str, xr.Dataset] = {}
    for (kind, *_), some in sorted_in.items():
        ds = (_images if kind == _IMAGE else _lines)(some, settings)
        name = label = "image" if kind == _IMAGE else "spectra"
        number = 2
        while name in groups:
            name, number = f"{label}_{number}", number + 1
        groups[name] = ds
    return {"": next(iter(groups.values()))} if len(groups) == 1 else groups


def _attributes(some: Sequence[Page], settings: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metadata, and the attributes of the first page."""
    first = some[0]
    metadata = {
        "settings": settings,
        **{f"page {number}": {**page.header, **page.texts} for number, page in enumerate(some)},
    }
    date = f"{first.texts.get('date', '')} {first.texts.get('time', '')}"
    return metadata, {
        "modality": "scanning tunnelling microscopy",
        "instrument": "RHK",
        "acquired": common.iso_time(date),
        "title": first.texts.get("path", "").replace("\\", "/").rpartition("/")[2] or None,
        "bias": first.header["bias"],
        "setpoint": first.header["current"],
        "setpoint_units": "A",
        "scan_angle": math.radians(first.header["angle"]),
    }


def _oriented(page: Page) -> RawArray:
    """Both axes ascending."""
    raw = page.raw.flip(1) if page.header["x_scale"] < 0 else page.raw
    return raw.flip(0) if page.header["y_scale"] < 0 else raw


def _images(some: Sequence[Page], settings: str) -> xr.Dataset:
    first = some[0].header
    nx, ny = first["x_size"], first["y_size"]
    scale, units = to_base(_unit(some[0].texts, "x_units") or "m")
    coords: dict[str, Any] = common.image_coordinates(
        nx, ny, abs(first["x_scale"]) * nx * scale, abs(first["y_scale"]) * ny * scale, units
    )
    labels: dict[str, list[Page]] = {}
    for page in some:
        labels.setdefault(page.label, []).append(page)
    variables = {}
    for name, group in zip(identifiers(labels, [*coords, "direction"]), labels.values(), strict=True):
        by = {_DIRECTIONS.get(page.header["scan"], ""): page for page in group}
        if len(group) == 2 and set(by) == {"right", "left"}:
            coords["direction"] = common.direction_coordinate()
            raw: Any = common.stack([_oriented(by["right"]), _oriented(by["left"])])
            units = to_base(_unit(group[0].texts, "z_units"))[1]
            variables[name] = common.lazy_variable(("direction", "y", "x"), raw, group[0].label, units)
            continue
        for label, page in zip(identifiers([name] * len(group), [*coords, *variables]), group, strict=True):
            said = {"right": "forward", "left": "backward"}.get(_DIRECTIONS.get(page.header["scan"], ""))
            units = to_base(_unit(page.texts, "z_units"))[1]
            attrs = {"direction": said} if said else {}
            variables[label] = common.lazy_variable(("y", "x"), _oriented(page), page.label, units, **attrs)
    metadata, attrs = _attributes(some, settings)
    center = {"scan_center_x": first["x_offset"] * scale, "scan_center_y": first["y_offset"] * scale}
    return common.dataset(variables, coords, metadata, data_type="image", **attrs, **center)


def _lines(some: Sequence[Page], settings: str) -> xr.Dataset:
    page = some[0]
    scale, units = to_base(_unit(page.texts, "x_units"))
    nx, step, offset = page.header["x_size"], page.header["x_scale"] * scale, page.header["x_offset"] * scale
    if step == 0:
        dim, axis = "point", None
    else:
        dim = {"V": "bias", "m": "z", "Hz": "frequency", "s": "time", "eV": "energy"}.get(units, "step")
        values = offset + step * np.arange(nx)
        label = page.texts.get("x_label", "").strip("\0 ") or dim
        name = identifier(label) if dim == "step" else dim
        kind = "temporal" if dim == "time" else "spectral"
        axis = coordinate(dim, values[:: -1 if step < 0 else 1], name=name, units=units, long_name=label,
                          dimension_type=kind)  # fmt: skip
    coords: dict[str, Any] = {} if axis is None else {name: axis}
    if page.positions is not None:
        for number, key in enumerate(("time_of_position", "x", "y")):
            unit, title = ("s", "Time") if number == 0 else ("m", key)
            coords[key] = coordinate("position", page.positions[:, number], name=key if number else "time", units=unit,
                                     long_name=title)  # fmt: skip
    variables = {}
    for label, one in zip(identifiers([p.label for p in some], [*coords, "position"]), some, strict=True):
        raw = one.raw.flip(1) if step < 0 else one.raw
        variables[label] = common.lazy_variable(
            ("position", dim), raw, one.label, to_base(_unit(one.texts, "z_units"))[1]
        )
    metadata, attrs = _attributes(some, settings)
    return common.dataset(variables, coords, metadata, data_type="spectrum", **attrs)

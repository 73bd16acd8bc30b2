"""Gwyddion's own container ``.gwy``: channels, volumes, point spectra, clouds of points and graphs.

A tree of typed items whose sizes are checked against what holds them before anything is believed; numbers stay in the
file until they are used. Gwyddion stores the top row first; here the bottom row comes first. May import numpy, xarray,
schema, units and io below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.schema import coordinate, identifiers
from xpycro.units import to_base

__all__ = ["container"]

_DEPTH = 32
_ITEMS = 1_000_000
_NUMBERS = {"b": "u1", "c": "u1", "i": "<i4", "q": "<i8", "d": "<f8"}
_OLD = {0x10: "c", 0x14: "b", 0x18: "i", 0x28: "q", 0x3C: "d", 0x40: "s", 0x50: "o"}  # of Gwyddion 1, by GLib's type
_ARRAYS = {"C": "u1", "I": "<i4", "Q": "<i8", "D": "<f8"}
_DIM_OF_UNIT = {
    "V": "bias", "m": "z", "Hz": "frequency", "s": "time", "eV": "energy", "1/cm": "wavenumber", "A": "step",
}  # fmt: skip


@dataclass(frozen=True)
class Array:
    """An array in the file: where it starts, how many numbers, of which dtype."""

    offset: int
    count: int
    dtype: str


@dataclass(frozen=True)
class Object:
    """An object: its class and items; an array of objects is a list of them."""

    kind: str
    items: dict[str, Any]
    offset: int


# ---------------------------------------------------------------------------------------------------------- parse


class _Parser:
    """Walks the tree; the number of items in all and the depth are limited."""

    def __init__(self, cursor: Cursor, *, encoding: str = "utf-8") -> None:
        self.cursor = cursor
        self.encoding = encoding
        self.count = 0

    def object(self, stop: int, depth: int) -> Object:
        cursor, start = self.cursor, self.cursor.position
        if depth > _DEPTH:
            raise cursor.corrupt(f"objects in objects, more than {_DEPTH} deep", "object")
        kind = self.string("object name", stop)
        size = cursor.integer("<u4", f"size of {kind[:40]}")
        end = cursor.position + size
        if end > stop:
            raise cursor.corrupt(f"{size} bytes, and what holds it ends after {stop - cursor.position}", kind[:40])
        items: dict[str, Any] = {}
        while cursor.position < end:
            key = self.string("item name", end)
            if key in items:
                raise cursor.corrupt("comes twice", key[:40])
            items[key] = self.value(key[:80], end, depth)
            if cursor.position > end:
                raise cursor.corrupt("runs over the end of its object", key[:80])
        return Object(kind, items, start)

    def old_container(self) -> Object:
        """The outermost object of Gwyddion 1, whose items begin with their type; those inside are as today."""
        cursor, start = self.cursor, self.cursor.position
        kind = self.string("object name", cursor.size)
        size = cursor.integer("<u4", f"size of {kind[:40]}")
        if size != cursor.remaining:
            raise cursor.corrupt(f"{size} bytes announced, {cursor.remaining} there: truncated", kind[:40])
        items: dict[str, Any] = {}
        while cursor.remaining:
            code = cursor.integer("<u4", "item type")
            key = self.string("item name", cursor.size)
            if code not in _OLD or key in items:
                raise cursor.corrupt(f"an item of type {code:#x}, or one that comes twice", key[:40])
            items[key] = self.value(key[:80], cursor.size, 0, _OLD[code])
        return Object(kind, items, start)

    def value(self, key: str, end: int, depth: int, kind: str = "") -> Any:
        cursor = self.cursor
        self.count += 1
        if self.count > _ITEMS:
            raise cursor.corrupt(f"more than {_ITEMS} items", key)
        kind = kind or cursor.read(1, key).decode("latin-1")
        if kind in _NUMBERS:
            value = cursor.number(_NUMBERS[kind], key)
            return bool(value) if kind == "b" else value
        if kind == "s":
            return self.string(key, end)
        if kind == "o":
            return self.object(end, depth + 1)
        if kind not in (*_ARRAYS, "S", "O"):
            raise cursor.corrupt(f"an item of unknown type {kind!r}", key)
        count = cursor.integer("<u4", key)
        if kind in _ARRAYS:
            array = Array(cursor.position, count, _ARRAYS[kind])
            nbytes = count * np.dtype(array.dtype).itemsize
            if cursor.position + nbytes > end:
                raise cursor.corrupt(f"{count} numbers do not fit into their object", key)
            cursor.skip(nbytes, key)
            return array
        if count > end - cursor.position:  # each takes a byte at least
            raise cursor.corrupt(f"{count} items do not fit into their object", key)
        self.count += count
        if kind == "S":
            return [self.string(key, end) for _ in range(count)]
        return [self.object(end, depth + 1) for _ in range(count)]

    def string(self, field: str, end: int) -> str:
        limit = max(0, end - self.cursor.position - 1)
        return self.cursor.until(b"\0", field, limit=limit).decode(self.encoding, "replace")


def _plain(value: Any) -> Any:
    """The tree as metadata: arrays as their size."""
    if isinstance(value, Object):
        return {"class": value.kind, **{key: _plain(item) for key, item in value.items.items()}}
    if isinstance(value, Array):
        return f"{value.count} numbers"
    return [_plain(item) for item in value] if isinstance(value, list) else value


# ------------------------------------------------------------------------------------------------------ translate


def container(path: str) -> dict[str, xr.Dataset]:
    """Read a Gwyddion file (``.gwy``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        Channels of one grid are one Dataset over ``(y, x)``, with their masks as ``<name>_mask``; the groups are
        ``image``, ``image_2``, ...; volumes ``volume``, over ``(y, x, <axis>)``; point spectra ``spectra``, over
        ``(position, point)`` with the place in ``y, x``; clouds ``points``, over ``position``; graphs ``graph``, over
        ``(sweep, point)``. One group alone is the root.

    Raises
    ------
    UnsupportedVariant
        Where a file holds nothing of the above.
    CorruptFile
        If sizes contradict each other or the file.

    Notes
    -----
    *Laziness*: channels, volumes and clouds are read when used, spectra and graphs whole.

    References
    ----------
    Gwyddion user guide, "Gwyddion Native Data Files".
    """
    with Cursor(path) as cursor:
        old = cursor.peek(4) == b"GWYO"
        cursor.expect(b"GWYO" if old else b"GWYP", "magic")
        parser = _Parser(cursor, encoding="latin-1" if old else "utf-8")
        root = parser.old_container() if old else parser.object(cursor.size, 0)
        if root.kind != "GwyContainer":
            raise cursor.corrupt(f"the outermost object is a {root.kind[:40]}", "GwyContainer", root.offset)
        if cursor.remaining:
            raise cursor.corrupt(f"{cursor.remaining} bytes follow the container", "GwyContainer")
        reader = _Reader(path, cursor, root, old)
        groups = reader.images() | reader.volumes() | reader.spectra() | reader.clouds() | reader.graphs()
    if not groups:
        raise UnsupportedVariant("the container holds no channel, volume, spectra, points or graph", path=path)
    return {"": next(iter(groups.values()))} if len(groups) == 1 else groups


def _numbered(base: str, number: int) -> str:
    return base if number == 1 else f"{base}_{number}"


class _Reader:
    """Makes Datasets of the objects of one container."""

    def __init__(self, path: str, cursor: Cursor, root: Object, old: bool) -> None:
        self.path, self.cursor, self.root, self.old = path, cursor, root, old
        self.metadata = _plain(root)

    def of(self, pattern: str, kind: str) -> list[tuple[int, str, Object]]:
        """Number, key and object of every item of a class whose key fits, in the order of their numbers."""
        found = []
        for key, item in self.root.items.items():
            match = re.fullmatch(pattern, key)
            if match and isinstance(item, Object) and item.kind == kind:
                found.append((int(match[1]), key, item))
        return sorted(found, key=lambda entry: entry[0])

    def get(self, obj: Object, key: str, kind: type, default: Any = None) -> Any:
        """An item of the expected type; an integer where a number is expected."""
        value = obj.items.get(key, default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, float) and not np.isfinite(value)):
            raise self.cursor.corrupt(f"{obj.kind} has no proper {key!r}", key, obj.offset)
        return value

    def size(self, obj: Object, key: str) -> int:
        value = self.get(obj, key, int)
        if value < 1:
            raise self.cursor.corrupt(f"is {value}", key, obj.offset)
        return value

    def array(self, obj: Object, key: str, count: int | None = None) -> Array:
        value = self.get(obj, key, Array)
        if value.dtype != "<f8" or (count is not None and value.count != count):
            raise self.cursor.corrupt(f"{value.count} numbers where {count} are expected", key, value.offset)
        return value

    def numbers(self, obj: Object, key: str) -> np.ndarray:
        array = self.array(obj, key)
        self.cursor.seek(array.offset, key)
        return self.cursor.numbers("<f8", array.count, key)

    def unit(self, obj: Object, key: str) -> tuple[float, str]:
        """Factor and base unit of an item that is a GwySIUnit; dimensionless where there is none."""
        item = obj.items.get(key) or obj.items.get({"si_unit_xy": "si_unit_x"}.get(key, ""))  # as Gwyddion 1 spells it
        text = item.items.get("unitstr", "") if isinstance(item, Object) else ""
        factor, base = to_base(text if isinstance(text, str) else "")
        return 1.0 if self.old else factor, base  # Gwyddion 1 wrote base units whatever prefix its unit has

    def title(self, key: str, default: str) -> str:
        for candidate in (f"{key}/title", f"{key}/data/title"):
            text = self.root.items.get(candidate)
            if isinstance(text, str) and text.strip():
                return text.strip()
        return default

    def finish(self, variables: Mapping[str, Any], coords: Mapping[str, Any], **attrs: Any) -> xr.Dataset:
        return common.dataset(
            variables,
            coords,
            self.metadata,
            modality="scanning probe microscopy",
            instrument="Gwyddion",
            **attrs,
        )

    # ------------------------------------------------------------------------------------------------------ images

    def images(self) -> dict[str, xr.Dataset]:
        """Channels by grid."""
        grids: dict[tuple[Any, ...], list[tuple[str, Object]]] = {}
        for number, key, field in self.of(r"/(\d{1,9})/data", "GwyDataField"):
            masks = self.of(rf"/({number})/mask", "GwyDataField")
            name = self.title(key, f"Channel {number}")
            for label, obj in [(name, field), *[(f"{name} mask", mask) for _, _, mask in masks]]:
                size = (self.size(obj, "yres"), self.size(obj, "xres"))
                # the mask lies on the grid of its channel, whatever it says itself
                place = field if obj.items.get("xres") == field.items.get("xres") else obj
                real = tuple(self.get(place, k, float, 1.0) for k in ("yreal", "xreal"))
                off = tuple(self.get(place, k, float, 0.0) for k in ("yoff", "xoff"))
                grids.setdefault((size, real, off, self.unit(place, "si_unit_xy")), []).append((label, obj))
        groups = {}
        for count, (((ny, nx), real, off, (scale, base)), members) in enumerate(grids.items(), 1):
            coords = common.image_coordinates(
                nx, ny, real[1] * scale, real[0] * scale, base if base != "1" else "pixel"
            )
            variables = {}
            for label, (title, field) in zip(identifiers([t for t, _ in members], coords), members, strict=True):
                data = self.array(field, "data", nx * ny)
                factor, units = self.unit(field, "si_unit_z")
                raw = RawArray.contiguous(self.path, data.offset, "<f8", (ny, nx), flip=(0,), factor=factor)
                variables[label] = common.lazy_variable(("y", "x"), raw, title, units)
            groups[_numbered("image", count)] = self.finish(
                variables,
                coords,
                data_type="image",
                title=members[0][0],
                offset_x=off[1] * scale,
                offset_y=off[0] * scale,
            )
        return groups

    # ----------------------------------------------------------------------------------------------------- volumes

    def volumes(self) -> dict[str, xr.Dataset]:
        """Bricks: planes one after the other."""
        groups = {}
        for count, (number, key, brick) in enumerate(self.of(r"/brick/(\d{1,9})", "GwyBrick"), 1):
            nx, ny, nz = (self.size(brick, k) for k in ("xres", "yres", "zres"))
            data = self.array(brick, "data", nx * ny * nz)
            (fx, ux), (fy, uy), (fz, uz), (factor, units) = (self.unit(brick, f"si_unit_{a}") for a in "xyzw")
            sizes = [self.get(brick, f"{a}real", float, 1.0) for a in "xyz"]
            start = self.get(brick, "zoff", float, 0.0)
            values = (start + np.arange(nz) * sizes[2] / nz) * fz
            calibration = brick.items.get("calibration")
            if isinstance(calibration, Object) and calibration.kind == "GwyDataLine":
                fz, uz = self.unit(calibration, "si_unit_y")
                values = self.numbers(calibration, "data") * fz
                if values.size != nz:
                    raise self.cursor.corrupt(f"{values.size} values for {nz} planes", "calibration", brick.offset)
            dim, axis, reverse = _axis(values, uz)
            coords = {**common.image_coordinates(nx, ny, sizes[0] * fx, sizes[1] * fy, ux if ux == uy else "1"), **axis}
            raw = RawArray.strided(
                self.path, data.offset, "<f8", (ny, nx, nz), (8 * nx, 8, 8 * nx * ny), factor=factor
            ).flip(0)
            title = self.title(key, f"Volume {number}")
            name = identifiers([title], coords)[0]
            variables = {name: common.lazy_variable(("y", "x", dim), raw.flip(2) if reverse else raw, title, units)}
            groups[_numbered("volume", count)] = self.finish(variables, coords, data_type="spectral_image", title=title)
        return groups

    # ------------------------------------------------------------------------------------------- spectra and graphs

    def spectra(self) -> dict[str, xr.Dataset]:
        """Curves taken at places of an image."""
        groups = {}
        for count, (number, _, obj) in enumerate(self.of(r"/sps/(\d{1,9})", "GwySpectra"), 1):
            lines = obj.items.get("data")
            if not isinstance(lines, list) or not lines:
                continue
            places = self.numbers(obj, "coords")
            if places.size != 2 * len(lines):
                raise self.cursor.corrupt(f"{places.size} coordinates of {len(lines)} spectra", "coords", obj.offset)
            scale, base = self.unit(obj, "si_unit_xy")
            curves = []
            for line in lines:
                fx, ux = self.unit(line, "si_unit_x")
                fy, uy = self.unit(line, "si_unit_y")
                values = self.numbers(line, "data") * fy
                step = self.get(line, "real", float, 1.0) / max(values.size, 1)
                start = self.get(line, "off", float, 0.0)
                curves.append(((start + np.arange(values.size) * step) * fx, values, ux, uy))
            title = obj.items.get("title") if isinstance(obj.items.get("title"), str) else f"Spectra {number}"
            dims, coords, values = _together("position", [c[0] for c in curves], [c[1] for c in curves], curves[0][2])
            for name, column in (("x", places[::2]), ("y", places[1::2])):
                coords[name] = coordinate("position", column * scale, name=name, units=base)
            name = identifiers([title or "spectra"], coords)[0]
            variables = {name: xr.Variable(dims, values, {"units": curves[0][3], "long_name": title})}
            groups[_numbered("spectra", count)] = self.finish(variables, coords, data_type="spectrum", title=title)
        return groups

    def graphs(self) -> dict[str, xr.Dataset]:
        """Graphs: curves with their own abscissae."""
        groups = {}
        for count, (number, _, obj) in enumerate(self.of(r"/0/graph/graph/(\d{1,9})", "GwyGraphModel"), 1):
            curves = [c for c in obj.items.get("curves") or [] if isinstance(c, Object)]
            pairs = [(self.numbers(c, "xdata"), self.numbers(c, "ydata")) for c in curves]
            if not pairs:
                continue
            if any(len(x) != len(y) for x, y in pairs):
                raise self.cursor.corrupt("a curve has other numbers of abscissae and ordinates", "curves", obj.offset)
            (fx, ux), (fy, uy) = self.unit(obj, "x_unit"), self.unit(obj, "y_unit")
            dims, coords, values = _together("sweep", [x * fx for x, _ in pairs], [y * fy for _, y in pairs], ux)
            labels = [str(c.items.get("description", "")) for c in curves]
            coords["curve"] = xr.Variable("sweep", np.array(labels), {"units": "1", "long_name": "Curve"})
            title = str(obj.items.get("title") or f"Graph {number}")
            name = identifiers([title], coords)[0]
            variables = {name: xr.Variable(dims, values, {"units": uy, "long_name": title})}
            groups[_numbered("graph", count)] = self.finish(variables, coords, data_type="line_plot", title=title)
        return groups

    # ------------------------------------------------------------------------------------------------------ clouds

    def clouds(self) -> dict[str, xr.Dataset]:
        """Points in space: x, y, z one after the other."""
        groups = {}
        for count, (number, key, obj) in enumerate(self.of(r"/xyz/(\d{1,9})", "GwySurface"), 1):
            data = self.array(obj, "data")
            n, rest = divmod(data.count, 3)
            if rest:
                raise self.cursor.corrupt(f"{data.count} numbers are no triples", "data", data.offset)
            (scale, base), (factor, units) = self.unit(obj, "si_unit_xy"), self.unit(obj, "si_unit_z")
            columns = [RawArray.strided(self.path, data.offset + 8 * k, "<f8", (n,), (24,)) for k in range(3)]
            coords = {
                name: coordinate("position", columns[k].read() * scale, name=name, units=base)
                for k, name in enumerate(("x", "y"))
            }
            title = self.title(key, f"Points {number}")
            raw = RawArray.strided(self.path, data.offset + 16, "<f8", (n,), (24,), factor=factor)
            name = identifiers([title], coords)[0]
            variables = {name: common.lazy_variable(("position",), raw, title, units)}
            groups[_numbered("points", count)] = self.finish(variables, coords, data_type="point_cloud", title=title)
        return groups


def _axis(values: np.ndarray, units: str) -> tuple[str, dict[str, xr.Variable], bool]:
    """Dim, coordinates and whether to reverse: an axis of known unit that runs one way is its own dim, ascending."""
    dim = _DIM_OF_UNIT.get(units, "step")
    steps = np.diff(values)
    reverse = bool(len(values) > 1 and (steps < 0).all())
    if not (reverse or (steps > 0).all()):
        dim = "step"
    values = values[::-1] if reverse else values
    kind = "temporal" if dim == "time" else "spectral"
    return dim, {dim: coordinate(dim, values, units=units, dimension_type=kind)}, reverse


def _together(
    lead: str, abscissae: Sequence[np.ndarray], curves: Sequence[np.ndarray], units: str
) -> tuple[tuple[str, str], dict[str, Any], np.ndarray]:
    """Curves as one array: over a common axis where they have one, else over ``point``, padded with NaN."""
    first = abscissae[0]
    if all(len(x) == len(first) and np.array_equal(x, first) for x in abscissae):
        dim, coords, reverse = _axis(first, units)
        values = np.stack(curves)
        return (lead, dim), coords, values[:, ::-1] if reverse else values
    longest = max(map(len, curves))
    padded = np.full((2, len(curves), longest), np.nan)
    for k, (x, y) in enumerate(zip(abscissae, curves, strict=True)):
        padded[0, k, : len(x)], padded[1, k, : len(y)] = x, y
    coords = {"abscissa": coordinate((lead, "point"), padded[0], name="abscissa", units=units, long_name="Abscissa")}
    return (lead, "point"), coords, padded[1]

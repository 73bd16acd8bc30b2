"""Point spectroscopy in NT-MDT files: an index in XML that says which block is which curve of which point.

May import numpy, xarray, schema, units and the io modules below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import xarray as xr

from xpycro.errors import UnsupportedVariant
from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.rawarray import RawArray, StackedArray
from xpycro.io.translators import _common as common
from xpycro.io.translators import _xml
from xpycro.schema import coordinate, identifier, identifiers
from xpycro.units import to_base

__all__ = ["SWEPT", "spectra"]

_TYPES = {"float64": "<f8", "float32": "<f4", "int32": "<i4", "int16": "<i2"}
SWEPT = {"V": "bias", "m": "z", "Hz": "frequency", "s": "time", "eV": "energy", "1/cm": "wavenumber"}


@dataclass(frozen=True)
class Curve:
    """One recorded curve.

    Attributes
    ----------
    signal, axis : int
        Numbers of its name and of its axis.
    inverted : bool
        Whether it was recorded from stop to start.
    raw : RawArray
        In the order of the ascending axis.
    """

    signal: int
    axis: int
    inverted: bool
    raw: RawArray


def spectra(path: str, cursor: Cursor, end: int, when: str | None) -> xr.Dataset:
    """A frame of curves at points, over ``(position, direction, sweep, <swept signal>)``.

    Parameters
    ----------
    path : str
    cursor : Cursor
        After the header of the frame.
    end : int
        Where the frame ends.
    when : str or None
        Its date.
    """
    blocks = _blocks(cursor, end)
    if "index.xml" not in blocks:
        raise cursor.corrupt("no block is called index.xml", "spectroscopy frame")
    root = _xml.parse(_content(cursor, blocks, "index.xml"), path)
    info = next((child for child in root.iter() if child.tag.endswith("Info")), root)
    tables = {tag: _table(info, tag, cursor) for tag in ("Name", "Axis", "Meas", "Data", "Point")}
    names = [(row.get("name", ""), row.get("unit", "")) for row in tables["Name"]]
    axes = [_axis(row, cursor, len(names)) for row in tables["Axis"]]
    curves = [_curve(path, cursor, row, tables["Data"], blocks, axes, names) for row in tables["Meas"]]
    if len({row.get("data") for row in tables["Meas"]}) != len(curves) or len(tables["Data"]) != len(curves):
        raise cursor.corrupt(f"{len(tables['Data'])} blocks of data for {len(curves)} curves", "index.xml")
    if not curves or not tables["Point"]:
        raise UnsupportedVariant("a spectroscopy frame without points", path=path)
    order = [_point(cursor, row, blocks, len(curves)) for row in tables["Point"]]
    used = [number for point in order for numbers in point for number in numbers]
    if sorted(used) != list(range(len(curves))):
        raise cursor.corrupt("the points do not name every curve once", "index.xml")
    if any(len({row.get("name") for row in tables[tag]}) != len(tables[tag]) for tag in ("Data", "Point")):
        raise cursor.corrupt("a block is named twice", "index.xml")
    ways = [
        {curves[number].inverted for point in order for half in point[k : k + 1] for number in half} for k in (0, 1)
    ]
    if max(map(len, ways)) > 1:
        raise cursor.corrupt("curves of one direction run both ways", "index.xml")
    shapes = {np.shape(point) for point in order}
    geometry = {(curve.axis, curve.raw.shape) for curve in curves}
    if len(shapes) != 1 or len(geometry) != 1:
        raise UnsupportedVariant("the points differ in their number of curves or in their axis", path=path)
    return _dataset(path, cursor, tables["Point"], order, curves, axes, names, when, blocks)


def _blocks(cursor: Cursor, end: int) -> dict[str, tuple[int, int]]:
    """Offset and size of each named block; a name that comes again keeps its first."""
    count = cursor.integer("<u4", "number of blocks", low=1)
    cursor.need(8 * count, "number of blocks")
    lengths = cursor.numbers("<u4", 2 * count, "lengths of the blocks").reshape(count, 2).astype(np.int64)
    if cursor.position + int(lengths.sum()) != end:
        raise cursor.corrupt(f"the blocks end at {cursor.position + int(lengths.sum())}, the frame at {end}", "lengths")
    names = [cursor.read(int(n), "name of a block").decode("utf-8", "replace") for n in lengths[:, 0]]
    found: dict[str, tuple[int, int]] = {}
    for name, size in zip(names, lengths[:, 1].tolist(), strict=True):
        found.setdefault(name, (cursor.position, size))
        cursor.skip(size, name)
    return found


def _content(cursor: Cursor, blocks: Mapping[str, tuple[int, int]], name: str) -> bytes:
    if name not in blocks:
        raise cursor.corrupt("is not among the blocks", name)
    offset, size = blocks[name]
    cursor.seek(offset, name)
    return cursor.read(size, name)


def _table(info: Element, tag: str, cursor: Cursor) -> list[Mapping[str, str]]:
    """The elements of a tag by their index, which must count up from 0."""
    rows: list[Mapping[str, str]] = [child.attrib for child in info if child.tag.rpartition("}")[2] == tag]
    if [row.get("index") for row in rows] != [str(number) for number in range(len(rows))]:
        raise cursor.corrupt(f"the index of {tag} does not count up", "index.xml")
    return rows


def _number(row: Mapping[str, str], key: str, cursor: Cursor, high: int) -> int:
    return integer(row.get(key, ""), f"index.xml {key}", cursor, low=0, high=high)


def _axis(row: Mapping[str, str], cursor: Cursor, names: int) -> tuple[int, np.ndarray]:
    """Number of the swept signal and its values in the file's unit, from start to stop."""
    count = integer(row.get("count", ""), "index.xml count", cursor, low=1, high=1 << 28)
    start, stop = (real(row.get(key, ""), f"index.xml {key}", cursor) for key in ("start", "stop"))
    if start == stop:
        raise cursor.corrupt("an axis without length", "index.xml")
    cursor.block((count,), 4, "index.xml count", offset=0)
    return _number(row, "name", cursor, names - 1), np.linspace(start, stop, count)


def _curve(
    path: str,
    cursor: Cursor,
    row: Mapping[str, str],
    data: list[Mapping[str, str]],
    blocks: Mapping[str, tuple[int, int]],
    axes: list[tuple[int, np.ndarray]],
    names: list[tuple[str, str]],
) -> Curve:
    signal = _number(row, "name", cursor, len(names) - 1)
    axis = _number(row, "axis0", cursor, len(axes) - 1)
    if any(row.get(f"axis{k}", "-1") != "-1" for k in (1, 2, 3)):
        raise UnsupportedVariant("curves over several axes", path=path, field="index.xml")
    source = data[_number(row, "data", cursor, len(data) - 1)]
    name, kind = source.get("name", ""), source.get("type", "")
    if kind not in _TYPES:
        raise UnsupportedVariant(f"numbers of type {kind[:20]!r}", path=path, field="index.xml")
    dtype = np.dtype(_TYPES[kind])
    count = integer(source.get("count", ""), "index.xml count", cursor, low=1)
    skip = integer(source.get("offset", "0"), "index.xml offset", cursor, low=0)
    if name not in blocks:
        raise cursor.corrupt("is not among the blocks", name or "index.xml")
    offset, size = blocks[name]
    values = axes[axis][1]
    if skip + count * dtype.itemsize != size or count != values.size:
        raise cursor.corrupt(f"{count} numbers after {skip} bytes of {size}, {values.size} on the axis", name, offset)
    factor, _ = to_base(names[signal][1])
    raw = RawArray.contiguous(path, offset + skip, dtype, (count,), factor=factor, target=np.float64)
    turned = row.get("inverse0", "0")
    if turned not in ("0", "1"):
        raise cursor.corrupt(f"inverse0 is {turned!r}", "index.xml")
    # an inverted curve runs from stop to start
    descending = (values[-1] < values[0]) != (turned == "1")
    return Curve(signal, axis, turned == "1", raw.flip(0) if descending else raw)


def _point(
    cursor: Cursor, row: Mapping[str, str], blocks: Mapping[str, tuple[int, int]], curves: int
) -> list[list[int]]:
    """The numbers of the forward and of the backward curves of a point."""
    name = row.get("name", "")
    count = _number(row, "meas", cursor, curves) * _number(row, "exec", cursor, curves)
    skip = integer(row.get("offset", "0"), "index.xml offset", cursor, low=0)
    content = _content(cursor, blocks, name)
    if not count or len(content) < skip + 8 * count:
        raise cursor.corrupt(f"{len(content)} bytes for {2 * count} curves", name or "index.xml")
    numbers = np.frombuffer(content, "<i4", 2 * count, skip).reshape(2, count)
    if (numbers >= curves).any():
        raise cursor.corrupt(f"curve {numbers.max()} of {curves}", name)
    # -1 where there is none
    return [[int(number) for number in half if number >= 0] for half in numbers if (half >= 0).any()]


def _dataset(
    path: str,
    cursor: Cursor,
    points: list[Mapping[str, str]],
    order: list[list[list[int]]],
    curves: list[Curve],
    axes: list[tuple[int, np.ndarray]],
    names: list[tuple[str, str]],
    when: str | None,
    blocks: Mapping[str, tuple[int, int]],
) -> xr.Dataset:
    swept, values = axes[curves[0].axis]
    label, unit = names[swept]
    factor, base = to_base(unit)
    dim = SWEPT.get(base, "step")
    values = np.sort(values) * factor
    name = dim if dim != "step" else identifier(label)
    kind = "temporal" if dim == "time" else "spectral"
    coords: dict[str, Any] = {
        name: coordinate(dim, values, name=name, units=base, long_name=label, dimension_type=kind)
    }
    length, _ = to_base(points[0].get("unit", "m"))
    for key in ("y", "x"):
        where = np.array([real(row.get(key, ""), f"index.xml {key}", cursor) for row in points]) * length
        coords[key] = coordinate("position", where, name=key)
    signals = sorted({curve.signal for curve in curves})
    dims: tuple[str, ...] = ("position", "sweep", dim)
    if len(order[0]) == 2:
        dims = ("position", "direction", "sweep", dim)
        coords["direction"] = common.direction_coordinate()
    variables = {}
    for signal, key in zip(signals, identifiers([names[s][0] for s in signals], [*coords, *dims]), strict=True):
        kept = [[[n for n in half if curves[n].signal == signal] for half in point] for point in order]
        if len({len(half) for point in kept for half in point}) != 1:
            raise UnsupportedVariant("the points differ in their signals", path=path)
        stacks = [[StackedArray(tuple(curves[n].raw for n in half)) for half in point] for point in kept]
        raw = StackedArray(tuple(StackedArray(tuple(halves)) if len(halves) > 1 else halves[0] for halves in stacks))
        variables[key] = common.lazy_variable(dims, raw, names[signal][0], to_base(names[signal][1])[1])
        coords["sweep"] = coordinate("sweep", np.arange(len(kept[0][0])))
    metadata = {"index": _xml.tree(_xml.parse(_content(cursor, blocks, "index.xml"), path))}
    if "__xmlparams.xml" in blocks:
        metadata["parameters"] = _xml.tree(_xml.parse(_content(cursor, blocks, "__xmlparams.xml"), path))
    return common.dataset(
        variables,
        coords,
        metadata,
        modality="scanning probe microscopy",
        instrument="NT-MDT",
        data_type="spectrum",
        acquired=when,
    )

"""NT-MDT ``.mdt``: a list of frames: images, multi-dimensional arrays (MDA), point spectroscopy, text.

The fastest axis is stored first and the bottom row of an image comes first. May import numpy, xarray, schema, units and
the io modules below it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators import _xml
from xpycro.io.translators._mdtcurves import curves
from xpycro.io.translators._mdtspectra import spectra
from xpycro.schema import coordinate, identifier, identifiers
from xpycro.units import to_base

__all__ = ["frames"]

_MAGIC = b"\x01\xb0\x93\xff"
_START = 33  # the first frame
_SCANNED, _CURVE, _TEXT, _MDA, _SPECTRA, _CURVES = 0, 1, 3, 106, 190, 201
_KNOWN = {0, 1, 3, 105, 106, 107, 190, 201}
_UNITS = {
    -10: "1/cm", -5: "m", -4: "cm", -3: "mm", -2: "um", -1: "nm", 0: "Angstrom", 1: "nA", 2: "V", 3: "", 4: "kHz",
    5: "deg", 6: "%", 7: "K", 8: "V", 9: "s", 10: "ms", 11: "us", 12: "ns", 13: "counts", 14: "pixel", 20: "A",
    21: "mA", 22: "uA", 23: "nA", 24: "pA", 25: "V", 26: "mV", 27: "uV", 28: "nV", 29: "pV", 30: "N", 31: "mN",
    32: "uN", 33: "nN", 34: "pN",
}  # fmt: skip
_MDA_TYPES = {
    -1: "<i1", 1: "<u1", -2: "<i2", 2: "<u2", -4: "<i4", 4: "<u4", -8: "<i8", 8: "<u8", -5892: "<f4", -13320: "<f8",
}  # fmt: skip
_TITLE = re.compile(r"\s*(\d+)?\s*([FB])\s*:\s*(.+)")


@dataclass(frozen=True)
class Frame:
    """One image or array, ready for a Dataset.

    Attributes
    ----------
    title : str
    dims : tuple of str
    axes : tuple of (dim, name, units, values)
    raw : list of (name, units, RawArray)
    acquired : str or None
    metadata, attrs : dict
    """

    title: str
    dims: tuple[str, ...]
    axes: tuple[tuple[str, str, str, np.ndarray], ...]
    raw: tuple[tuple[str, str, RawArray], ...]
    acquired: str | None
    metadata: dict[str, Any]
    attrs: dict[str, Any]

    @property
    def geometry(self) -> tuple[Any, ...]:
        """What frames share that lie on one grid."""
        return (self.dims, *((name, units, values.tobytes()) for _, name, units, values in self.axes))


def frames(path: str) -> dict[str, xr.Dataset]:
    """Read an NT-MDT file (``.mdt``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        Frames on one grid share a group. Images over ``(y, x)``, with ``direction`` first where a channel was recorded
        both ways; arrays over their own dims; point spectroscopy over ``(position, direction, sweep, <swept signal>)``,
        of older software as ``curves`` over ``(position, direction, <swept signal>)``.
        Frames of a kind that is not read are named in the attribute ``frames_not_read``.

    Raises
    ------
    NotThisFormat
        If the file does not begin as one of NT-MDT.
    CorruptFile
        If sizes do not agree.
    UnsupportedVariant
        If no frame is of a kind that is read.

    Notes
    -----
    *Laziness*: headers are read, no numbers.
    """
    with Cursor(path) as cursor:
        cursor.expect(_MAGIC, "magic")
        size = cursor.integer("<u4", "size")
        if size != cursor.size - _START:
            raise cursor.corrupt(f"{size} bytes announced, {cursor.size - _START} there: truncated", "size", 4)
        cursor.skip(4, "header")
        count = cursor.integer("<u2", "last frame") + 1
        cursor.seek(_START, "frames")
        found: list[Frame] = []
        groups: dict[str, xr.Dataset] = {}
        texts, unread = [], []
        for number in range(count):
            start = cursor.position
            size, kind = cursor.integer("<u4", "frame size", low=22), cursor.integer("<u2", "frame type")
            if start + size > cursor.size or kind not in _KNOWN:
                raise cursor.corrupt(f"a frame of type {kind} and {size} bytes", f"frame {number}", start)
            cursor.skip(2, "version")
            when = _when(cursor)
            variables = cursor.integer("<u2", "size of the variables")
            end = start + size
            if kind == _SCANNED:
                found.append(_scanned(path, cursor, start, end, variables, when))
            elif kind == _MDA:
                found.append(_mda(path, cursor, end, when))
            elif kind == _SPECTRA:
                _put(groups, "spectra", spectra(path, cursor, end, when))
            elif kind in (_CURVE, _CURVES):
                _put(groups, "curves", curves(path, cursor, start, end, variables, when, _UNITS))
            elif kind == _TEXT:
                texts.append(_text_frame(cursor, end))
            else:
                unread.append(f"frame {number} of type {kind}")
            cursor.seek(end, "frame size")
        if cursor.remaining:
            raise cursor.corrupt(f"{cursor.remaining} bytes after the last of {count} frames", "last frame")
    for some in _together(found):
        _put(groups, "image" if some[0].dims[-2:] == ("y", "x") else "array", _dataset(some, texts))
    if not groups:
        raise UnsupportedVariant(f"no frame of a kind that is read: {unread or texts}", path=path)
    if unread:
        groups = {name: ds.assign_attrs(frames_not_read=", ".join(unread)) for name, ds in groups.items()}
    return {"": next(iter(groups.values()))} if len(groups) == 1 else groups


def _put(groups: dict[str, xr.Dataset], label: str, ds: xr.Dataset) -> None:
    name, number = label, 2
    while name in groups:
        name, number = f"{label}_{number}", number + 1
    groups[name] = ds


def _when(cursor: Cursor) -> str | None:
    parts = [cursor.integer("<u2", "date") for _ in range(6)]
    try:
        return datetime(*parts).isoformat()  # type: ignore[arg-type]
    except ValueError:
        return None


def _together(found: Sequence[Frame]) -> list[list[Frame]]:
    groups: dict[tuple[Any, ...], list[Frame]] = {}
    for frame in found:
        groups.setdefault(frame.geometry, []).append(frame)
    return list(groups.values())


def _dataset(some: Sequence[Frame], texts: Sequence[str]) -> xr.Dataset:
    """Frames on one grid as one Dataset; ``1F:`` and ``1B:`` of a name are its two directions."""
    first = some[0]
    coords: dict[str, Any] = {}
    for dim, name, units, values in first.axes:
        kind = None if dim in ("y", "x", "z", "point") else "spectral"
        label = dim if dim in ("y", "x", "z") else name or dim
        coords[dim] = coordinate(dim, values, units=units, long_name=label, dimension_type=kind)
    parts: dict[tuple[str, str, str], list[tuple[str, RawArray]]] = {}
    for frame in some:
        for name, units, raw in frame.raw:
            split = _TITLE.fullmatch(frame.title)
            label = split[3].strip() if split else frame.title or name
            direction = {"F": "forward", "B": "backward"}[split[2]] if split else ""
            key = (label, units, split[1] or "" if split else "")
            parts.setdefault(key, []).append((direction, raw))
    variables: dict[str, Any] = {}
    for (label, units, _), members in parts.items():
        title = label
        if sorted(d for d, _ in members) == ["backward", "forward"]:
            coords["direction"] = common.direction_coordinate()
            by = dict(members)
            both = common.stack([by["forward"], by["backward"]])
            name = identifiers([label], [*coords, *variables])[0]
            variables[name] = common.lazy_variable(("direction", *first.dims), both, title, units)
            continue
        for direction, single in members:
            name = identifiers([label], [*coords, *variables, "direction"])[0]
            attrs = {"direction": direction} if direction else {}
            variables[name] = common.lazy_variable(first.dims, single, title, units, **attrs)
    metadata = {f"{number} {frame.title}": frame.metadata for number, frame in enumerate(some)}
    return common.dataset(
        variables,
        coords,
        {"frames": metadata, "texts": list(texts)},
        modality="scanning probe microscopy",
        instrument="NT-MDT",
        data_type="image" if first.dims == ("y", "x") else "array",
        acquired=first.acquired,
        **first.attrs,
    )


# ---------------------------------------------------------------------------------------------------------- frames


def _text_frame(cursor: Cursor, end: int) -> str:
    """The text of a text frame: a length, zeros, the text."""
    length = cursor.integer("<u4", "text")
    if length + 14 > end - cursor.position:
        raise cursor.corrupt(f"{length} characters of text", "text")
    cursor.skip(14, "text")
    return cursor.read(length, "text").decode("cp1251", "replace").strip("\0\n ")


def _xml_text(content: bytes, path: str) -> Any:
    """A description in UTF-16, as nested metadata."""
    return _xml.tree(_xml.parse(content, path)) if content.strip(b"\0") else {}


def _deep(found: Any, *names: str) -> str | None:
    """The first text under one of the names, anywhere below."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name in names and isinstance(value, str) and value:
                return value
        for value in found.values():
            inner = _deep(value, *names)
            if inner is not None:
                return inner
    return None


def _scanned(path: str, cursor: Cursor, start: int, end: int, variables: int, when: str | None) -> Frame:
    """A frame of 16-bit pixels."""
    scales: list[tuple[Any, ...]] = [cursor.unpack("<ffh", "axis scale") for _ in range(3)]
    channel, mode, *_ = cursor.unpack("<BBHH", "scan variables")
    rest: tuple[Any, ...] = cursor.unpack("<HfHBBBBBBfffBxiiB", "scan variables")
    cursor.seek(start + 22 + variables, "frame mode")
    _, width, height, dots = (cursor.integer("<u2", "frame mode") for _ in range(4))
    if dots:
        cursor.skip(14 + 16 * dots, "dots")
    if width < 1 or height < 1:
        raise cursor.corrupt(f"{width} x {height} pixels", "frame mode", start)
    for scale, step, unit in scales:
        if not all(map(math.isfinite, (scale, step, rest[10], rest[11]))) or unit not in _UNITS:
            raise cursor.corrupt(f"a scale of {step} + {scale} in unit {unit}", "axis scale", start)
    offset = cursor.position
    cursor.block((height, width), 2, "frame mode")
    cursor.skip(2 * width * height, "pixels")
    title, description = "", {}
    if end - cursor.position >= 4:
        title = _sized(cursor, end, "title").decode("cp1251", "replace").strip("\0 ")
    if end - cursor.position >= 4:
        description = _xml_text(_sized(cursor, end, "description"), path)
    attrs: dict[str, Any] = {"bias": rest[11], "setpoint": rest[10] * 1e-9, "setpoint_units": "A"}
    axes = []
    for name, (origin, step, unit), n in (("y", scales[1], height), ("x", scales[0], width)):
        factor, base = to_base(_UNITS[unit])
        values = np.arange(n) * (abs(step) or 1.0) * factor
        axes.append((name, name, base, values))
        attrs[f"offset_{name}"] = origin * factor
    constant, step, unit = scales[2]
    factor, base = to_base(_UNITS[unit])
    step = step or 1.0
    if not 1e-30 < abs(step) < 1e30:
        raise cursor.corrupt(f"a scale of {step}", "axis scale", start)
    raw = RawArray.contiguous(path, offset, "<i2", (height, width), factor=step * factor, constant=constant * factor)
    header = {"scales": [list(s) for s in scales], "channel": channel, "mode": mode, "variables": list(rest)}
    label = title or f"Channel {channel!r}"
    metadata = {**header, "description": description}
    return Frame(title, ("y", "x"), tuple(axes), ((label, base, raw),), when, metadata, attrs)


def _sized(cursor: Cursor, end: int, field: str) -> bytes:
    length = cursor.integer("<u4", field)
    if length > end - cursor.position:
        raise cursor.corrupt(f"{length} bytes in a frame that has {end - cursor.position} left", field)
    return cursor.read(length, field)


def _mda(path: str, cursor: Cursor, end: int, when: str | None) -> Frame:
    """A multi-dimensional array: calibrated axes, one or several measured values a cell."""
    begin = cursor.position
    head, _ = cursor.integer("<u4", "header size"), cursor.integer("<u4", "record size")
    cursor.skip(36, "ids")
    name, comment, view, spec, source, _, data_at, data_size = (cursor.integer("<u4", "lengths") for _ in range(8))
    cursor.seek(begin + head, "header size")
    title = cursor.read(name, "title").decode("cp1251", "replace").strip("\0 ")
    description = _xml_text(cursor.read(comment, "description"), path)
    cursor.skip(view + spec + source, "description")
    cursor.skip(4, "array description")
    size = cursor.integer("<u4", "array description")
    after = cursor.position + size
    cells = cursor.integer("<u8", "array description")
    cell, dimensions, measured = (cursor.integer("<u4", "array description") for _ in range(3))
    if not 1 <= dimensions <= 8 or not 1 <= measured <= 256:
        raise cursor.corrupt(f"{dimensions} dimensions of {measured} values", "array description", begin)
    cursor.seek(after, "array description")
    axes = [_calibration(cursor, end) for _ in range(dimensions)]
    values = [_calibration(cursor, end) for _ in range(measured)]
    offset = cursor.position
    sizes = [axis.size for axis in axes]
    kinds = []
    for value in values:
        if value.kind not in _MDA_TYPES:
            raise UnsupportedVariant(f"numbers of type {value.kind}", path=path, offset=begin, field=value.name)
        kinds.append(np.dtype(_MDA_TYPES[value.kind]))
    itemsize = sum(kind.itemsize for kind in kinds)
    if min(sizes) < 1 or math.prod(sizes) != cells or itemsize != cell or cells * cell != data_size:
        raise cursor.corrupt(f"{cells} cells of {cell} bytes for {sizes} of {itemsize}", "array description", begin)
    if data_at != offset:
        raise cursor.corrupt(f"the data begin at {offset} and the header says {data_at}", "data offset", begin)
    cursor.block(sizes, itemsize, "array")
    if offset + data_size > end:
        raise cursor.corrupt("the array leaves its frame", "array", offset)
    named = _dims(axes)
    strides = [itemsize * math.prod(sizes[:k]) for k in range(len(sizes))]
    raws, at = [], offset
    for value, kind in zip(values, kinds, strict=True):
        factor, base = to_base(value.unit)
        if not 1e-30 < abs(value.scale * factor) < 1e30 or not abs(value.bias) < 1e30:
            raise cursor.corrupt(f"a scale of {value.scale}", "calibration", begin)
        raw = RawArray.strided(
            path, at, kind, sizes[::-1], strides[::-1], factor=value.scale * factor, constant=value.bias * factor
        )
        raws.append((value.name or title, base, raw))
        at += kind.itemsize
    described: list[tuple[str, str, str, np.ndarray]] = []
    attrs: dict[str, Any] = {}
    for dim, axis in zip(named[::-1], axes[::-1], strict=True):
        factor, base = to_base(axis.unit)
        if axis.scale == 0 or not math.isfinite(axis.scale * axis.size) or not math.isfinite(axis.bias):
            raise cursor.corrupt(f"a step of {axis.scale}", "calibration", begin)
        steps = np.arange(axis.size) * axis.scale * factor
        if dim in ("y", "x", "z"):
            attrs[f"offset_{dim}"] = axis.bias * factor
        else:
            steps = steps + axis.bias * factor
        described.append((dim, axis.name, base, steps))
    flipped = [k for k, (*_, steps) in enumerate(described) if steps.size > 1 and steps[1] < steps[0]]
    for k in flipped:
        dim, label, base, steps = described[k]
        described[k] = (dim, label, base, steps[::-1] - (steps[-1] if dim in ("y", "x", "z") else 0.0))
        raws = [(label, base, raw.flip(k)) for label, base, raw in raws]
    angle = _deep(description, "Angle") or ""
    attrs |= {"scan_angle": math.radians(float(angle))} if re.fullmatch(r"-?\d+(\.\d+)?", angle) else {}
    started = f"{_deep(description, 'Date')} {_deep(description, 'StartTime')}"
    metadata = {"description": description, "axes": [vars(axis) for axis in axes], "values": [vars(v) for v in values]}
    return Frame(title, tuple(named[::-1]), tuple(described), tuple(raws), common.iso_time(started) or when, metadata,
                 attrs)  # fmt: skip


@dataclass(frozen=True)
class Calibration:
    """An axis or a value of an array: physical = bias + scale * number."""

    name: str
    unit: str
    bias: float
    scale: float
    size: int
    kind: int


def _calibration(cursor: Cursor, end: int) -> Calibration:
    start = cursor.position
    total, size = cursor.integer("<u4", "calibration", low=8), cursor.integer("<u4", "calibration", low=88)
    inside = cursor.position
    lengths = [cursor.integer("<u4", "calibration") for _ in range(3)]
    cursor.skip(24, "calibration")
    bias, scale = (float(cursor.number("<f8", "calibration")) for _ in range(2))
    low, high = (cursor.integer("<u8", "calibration") for _ in range(2))
    kind = cursor.integer("<i4", "calibration")
    if start + total > end or 8 + size + sum(lengths) > total:
        raise cursor.corrupt(f"a calibration of {total} bytes", "calibration", start)
    cursor.seek(inside + size, "calibration")
    name, _, unit = (cursor.read(n, "calibration").decode("cp1251", "replace").strip("\0 ") for n in lengths)
    cursor.seek(start + total, "calibration")
    return Calibration(name, unit, bias, scale, high - low + 1, kind)


def _dims(axes: Sequence[Calibration]) -> list[str]:
    """A dim for each axis, fastest first: lengths are x, y, z in this order, others follow their unit."""
    known = {"1/cm": "wavenumber", "V": "bias", "Hz": "frequency", "s": "time", "eV": "energy"}
    spatial = iter(("x", "y", "z"))
    names: list[str] = []
    for axis in axes:
        base = to_base(axis.unit)[1]
        label = identifier(axis.name)
        if base == "m" and "wavelength" in label:
            dim = "wavelength"
        elif base == "m":
            dim = next(spatial, "point")
        else:
            dim = known.get(base, "point")
        while dim in names:
            dim = "point" if dim != "point" else "step" if "step" not in names else "cycle"
        names.append(dim)
    return names

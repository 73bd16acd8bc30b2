"""Igor Pro binary waves ``.ibw`` (versions 1, 2, 3, 5), with Asylum Research images and force curves.

A wave is stored column-major and scaled linearly: x = offset + step * index; the first row lies at the bottom. May
import numpy, xarray, schema, units and io below.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.schema import DIMENSIONS, coordinate, identifiers
from xpycro.units import to_base

__all__ = ["Wave", "parse", "wave"]

_TYPES = {0x02: "f4", 0x04: "f8", 0x08: "i1", 0x10: "i2", 0x20: "i4", 0x80: "i8"}
_COMPLEX = {"f4": "c8", "f8": "c16"}
_LABEL = 32
_EPOCH = datetime(1904, 1, 1)
# Asylum's channels by how their names begin; what is not here takes the unit of the wave
_ASYLUM_UNITS = {
    "height": "m", "zsensor": "m", "zsnsr": "m", "raw": "m", "defl": "m", "deflection": "m", "amp": "m",
    "amplitude": "m", "lvdt": "m", "zlvdt": "m", "indent": "m", "phas": "deg", "phase": "deg", "current": "A",
    "cur": "A", "frequency": "Hz", "freq": "Hz", "userin": "V", "potential": "V", "bias": "V", "lateral": "V",
    "drive": "V", "input": "V", "force": "N", "q": "1", "dissipation": "W",
}  # fmt: skip
_DIM_OF_UNIT = {"s": "time", "V": "bias", "Hz": "frequency", "eV": "energy", "1/cm": "wavenumber"}


@dataclass(frozen=True)
class Wave:
    """What a wave file says, before any of its numbers are read.

    Attributes
    ----------
    name : str
    dtype : str or None
        With byte order; None for text.
    shape : tuple of int
        Igor's own order: rows, columns, layers, chunks.
    offset : int
        First byte of the numbers.
    step, start : tuple of float
        Scaling of each axis.
    units : tuple of str
        Of the data, then of each axis.
    labels : tuple of tuple of str
        Dimension labels of each axis.
    note : str
    text : tuple of str
        The strings of a text wave.
    modified : str or None
        ISO 8601, local time of the instrument.
    version : int
    """

    name: str
    dtype: str | None
    shape: tuple[int, ...]
    offset: int
    step: tuple[float, ...]
    start: tuple[float, ...]
    units: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    note: str
    text: tuple[str, ...]
    modified: str | None
    version: int


# ---------------------------------------------------------------------------------------------------------- parse


def parse(path: str) -> Wave:
    """The header, labels and note of a wave file.

    Raises
    ------
    NotThisFormat
        If it does not begin as one.
    CorruptFile
        If the header's checksum fails, or sizes contradict each other or the file.
    """
    with Cursor(path) as cursor:
        head = cursor.peek(2)
        if len(head) < 2:
            raise cursor.corrupt("the file is empty", "version")
        order = "<" if head[1] == 0 else ">"
        version = cursor.integer(order + "i2", "version")
        if version not in (1, 2, 3, 5):
            raise NotThisFormat(f"version {version}: an Igor wave has 1, 2, 3 or 5", path=path, offset=0)
        _check_sum(cursor, order, version)
        return _version5(cursor, order) if version == 5 else _version2(cursor, order, version)


def _check_sum(cursor: Cursor, order: str, version: int) -> None:
    """The 16-bit words of the header add up to zero."""
    length = {1: 134, 2: 142, 3: 146, 5: 384}[version]
    cursor.seek(0, "header")
    words = cursor.numbers(order + "i2", length // 2, "header")
    if int(words.sum(dtype=np.int64)) % 65536:
        raise cursor.corrupt("the checksum of the header fails: the file is damaged", "checksum", 2)


def _number_type(code: int, order: str, cursor: Cursor) -> str | None:
    if code == 0:
        return None
    plain = _TYPES.get(code & ~0x41)
    if plain is None or (code & 0x40 and plain.startswith("f")) or (code & 0x01 and plain not in _COMPLEX):
        raise cursor.corrupt(f"number type {code:#x} is unknown", "type")
    if code & 0x01:
        return order + _COMPLEX[plain]
    return order + (plain.replace("i", "u") if code & 0x40 else plain)


def _time(seconds: int) -> str | None:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat() if seconds else None


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _version2(cursor: Cursor, order: str, version: int) -> Wave:
    """Versions 1 to 3: one dimension."""
    cursor.seek(2, "header")
    size = cursor.integer(order + "i4", "wave size", low=0)
    note_size = cursor.integer(order + "i4", "note size", low=0) if version > 1 else 0
    formula_size = cursor.integer(order + "i4", "formula size", low=0) if version == 3 else 0
    base = {1: 8, 2: 16, 3: 20}[version]
    cursor.seek(base, "wave header")
    code = cursor.integer(order + "i2", "type")
    dtype = _number_type(code, order, cursor)
    if dtype is None:
        raise UnsupportedVariant("a text wave of an old version", path=cursor.path, offset=base, field="type")
    cursor.skip(4, "next")
    name = cursor.text(20, "name")
    cursor.seek(base + 34, "units")
    units = (cursor.text(4, "data units"), cursor.text(4, "x units"))
    count = cursor.integer(order + "i4", "points", low=0)
    cursor.skip(2, "modified")
    step, start = (float(cursor.number(order + "f8", "scaling")) for _ in range(2))
    cursor.seek(base + 102, "modification date")
    modified = cursor.integer(order + "u4", "modification date")
    offset = base + 110
    nbytes = cursor.block((count,), np.dtype(dtype).itemsize, "points", offset=offset)
    # the wave's size counts 16 bytes after the data that hold nothing
    if size not in (110 + nbytes, 110 + nbytes + 16):
        raise cursor.corrupt(f"is {size} and {count} points need {110 + nbytes + 16}", "wave size", 2)
    cursor.seek(min(base + size, cursor.size), "note")
    cursor.skip(min(formula_size, cursor.remaining), "formula")
    note = _decode(cursor.read(note_size, "note")).rstrip("\0")
    if version > 1:
        _check_end(cursor, note)
    return Wave(name, dtype, (count,), offset, (step,), (start,), units, ((),), note, (), _time(modified), version)


def _version5(cursor: Cursor, order: str) -> Wave:
    """Version 5: up to four dimensions, labels, text."""
    i4 = order + "i4"
    cursor.seek(4, "sizes")
    wave_size, formula_size, note_size, data_units_size = (cursor.integer(i4, "sizes", low=0) for _ in range(4))
    dim_units_sizes = [cursor.integer(i4, "unit sizes", low=0) for _ in range(4)]
    label_sizes = [cursor.integer(i4, "label sizes", low=0) for _ in range(4)]
    index_size = cursor.integer(i4, "text index size", low=0)
    options_size = sum(cursor.integer(i4, "options sizes", low=0) for _ in range(2))
    cursor.seek(64 + 8, "wave header")
    modified = cursor.integer(order + "u4", "modification date")
    count = cursor.integer(i4, "points", low=0)
    dtype = _number_type(cursor.integer(order + "i2", "type"), order, cursor)
    cursor.seek(64 + 28, "name")
    name = cursor.text(32, "name")
    cursor.seek(64 + 68, "dimensions")
    sizes = [cursor.integer(i4, "dimensions", low=0) for _ in range(4)]
    steps = [float(cursor.number(order + "f8", "scaling")) for _ in range(4)]
    starts = [float(cursor.number(order + "f8", "scaling")) for _ in range(4)]
    data_units = cursor.text(4, "data units")
    dim_units = [cursor.text(4, "dimension units") for _ in range(4)]
    ndim = next((k for k, n in enumerate(sizes) if n == 0), 4) or 1
    shape = tuple(sizes[:ndim])
    if any(sizes[ndim:]) or math.prod(shape) != count:
        raise cursor.corrupt(f"dimensions {sizes} and {count} points contradict each other", "dimensions", 132)
    nbytes = wave_size - 320
    if dtype is not None:
        nbytes = cursor.block(shape, np.dtype(dtype).itemsize, "points", offset=384)
        if wave_size != 320 + nbytes:
            raise cursor.corrupt(f"is {wave_size} and the points need {320 + nbytes}", "wave size", 4)
    cursor.seek(384, "data")
    content = cursor.read(nbytes, "text") if dtype is None else b""
    cursor.seek(384 + nbytes, "data")
    cursor.skip(formula_size, "formula")
    note = _decode(cursor.read(note_size, "note")).rstrip("\0")
    data_units = cursor.text(data_units_size, "data units") or data_units
    dim_units = [cursor.text(n, "dimension units") or u for n, u in zip(dim_units_sizes, dim_units, strict=True)]
    labels = tuple(_labels(cursor, n, size) for n, size in zip(sizes, label_sizes, strict=True))[:ndim]
    text = _strings(cursor, content, index_size, count, order) if dtype is None else ()
    cursor.skip(options_size, "options")
    _check_end(cursor, note)
    units = (data_units, *dim_units[:ndim])
    return Wave(
        name, dtype, shape, 384, tuple(steps[:ndim]), tuple(starts[:ndim]), units, labels, note, text,
        _time(modified), 5,
    )  # fmt: skip


def _check_end(cursor: Cursor, note: str) -> None:
    """What the header declares ends with the file, or where the previews begin that Asylum appends.

    Without this, bytes lost or added in the middle would shift the numbers unnoticed. The previews end with a text of
    a length that its last digits state, which says where each preview starts and how long they are.
    """
    if not cursor.remaining:
        return
    declared, size = cursor.position, cursor.size
    cursor.seek(max(declared, size - 9999), "footer")
    tail = cursor.read(cursor.remaining, "footer")
    length = re.search(rb" (\d{4}) ?\w+$", tail)
    footer = tail[-int(length[1]) :] if length else b""
    starts = [int(n) for n in re.findall(rb"Start\d*:(\d{1,18});", footer)]
    lengths = [int(n) for n in re.findall(rb"Length:(\d{1,18});", footer)]
    if starts and lengths:
        whole = min(starts) == declared and size - len(footer) - max(starts) in lengths
    else:
        whole = length is not None and _is_asylum(note_items(note))  # another kind of footer
    if not whole:
        raise cursor.corrupt(
            f"the header declares {declared} bytes and what follows up to {size} does not fit", "end", declared
        )


def _is_asylum(note: dict[str, str]) -> bool:
    return "ImagingMode" in note or "ScanSize" in note or "ARDFForceMap" in note


def _labels(cursor: Cursor, n: int, size: int) -> tuple[str, ...]:
    """Labels of one axis: the first belongs to the axis as a whole; bytes after the NUL of a label are left over."""
    if size % _LABEL or size // _LABEL > n + 1:
        raise cursor.corrupt(f"{size} bytes of labels for {n} elements", "labels")
    labels = [cursor.read(_LABEL, "labels").split(b"\0", 1)[0] for _ in range(size // _LABEL)]
    return tuple(_decode(label).strip() for label in labels[1:])


def _strings(cursor: Cursor, content: bytes, index_size: int, count: int, order: str) -> tuple[str, ...]:
    """The strings of a text wave; the index holds the end of each."""
    if index_size != 4 * count:
        raise cursor.corrupt(f"a text index of {index_size} bytes for {count} strings", "text index")
    ends = cursor.numbers(order + "i4", count, "text index")
    edges = np.concatenate([[0], ends])
    if (np.diff(edges) < 0).any() or (count and edges[-1] != len(content)):
        raise cursor.corrupt("the ends of the strings do not ascend to the end of the text", "text index")
    return tuple(_decode(content[a:b]) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def note_items(note: str) -> dict[str, str]:
    """The ``key: value`` lines of a note; of a key that comes again the last value counts, as in Asylum's notes."""
    items = {}
    for line in re.split(r"[\r\n]+", note):
        key, colon, value = line.partition(":")
        if colon and key.strip():
            items[key.strip()] = value.strip()
    return items


# ------------------------------------------------------------------------------------------------------ translate


def wave(path: str) -> dict[str, xr.Dataset]:
    """Read an Igor binary wave (``.ibw``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group. An Asylum image has one variable a channel over ``(y, x)``, or ``(direction, y, x)`` where trace and
        retrace of a channel were saved. An Asylum force curve has one variable a channel over ``(segment, point)``,
        curves of unequal length padded with NaN and ``segment_length(segment)`` kept, with ``time``. Any other wave is
        one variable, its axes named by their units.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant

    Notes
    -----
    *Laziness*: images and plain waves are read when used; of force curves too. Text waves are read whole.
    """
    w = parse(path)
    note = note_items(w.note)
    asylum = _is_asylum(note)
    if w.dtype is None:
        ds = _text(w, note)
    elif asylum and len(w.shape) == 3 and len(w.labels[2]) == w.shape[2]:
        ds = _asylum_image(path, w, note)
    elif asylum and len(w.shape) == 2 and len(w.labels[1]) == w.shape[1]:
        ds = _asylum_curve(path, w, note)
    else:
        ds = _plain(path, w, note)
    return {"": ds}


def _metadata(w: Wave, note: dict[str, str]) -> dict[str, Any]:
    return {
        "wave": {
            "name": w.name, "version": w.version, "type": w.dtype, "shape": w.shape, "step": w.step, "start": w.start,
            "units": w.units, "labels": w.labels, "modified": w.modified,
        },
        "note": note,
        "note_text": w.note,
    }  # fmt: skip


def _strides(w: Wave) -> list[int]:
    """Bytes from one element to the next along each of Igor's axes, the first fastest."""
    item = np.dtype(w.dtype).itemsize
    return [item * math.prod(w.shape[:k]) for k in range(len(w.shape))]


def _axis(dim: str, w: Wave, axis: int) -> tuple[xr.Variable, bool]:
    """Coordinate of one axis, ascending, and whether it has to be turned round for that."""
    factor, base = to_base(w.units[axis + 1])
    values = w.start[axis] + np.arange(w.shape[axis]) * w.step[axis]
    if not (np.isfinite(values).all() and w.step[axis] != 0):
        values, factor, base = np.arange(w.shape[axis], dtype=np.float64), 1.0, "pixel"
    values = values * factor
    reverse = len(values) > 1 and bool(values[1] < values[0])
    return coordinate(dim, values[::-1] if reverse else values, units=base), reverse


def _spatial_axis(dim: str, w: Wave, axis: int) -> tuple[xr.Variable, bool]:
    coord, reverse = _axis(dim, w, axis)
    if not w.units[axis + 1]:
        coord = coordinate(dim, coord.values, units="pixel" if w.step[axis] == 1 else "1")
    return coord, reverse


def _plain_dims(w: Wave) -> list[str]:
    """Names of Igor's axes (x first) of a wave that is no Asylum file."""
    units = [to_base(unit)[1] for unit in w.units[1:]]
    n = len(w.shape)
    if n >= 2 and units[0] == units[1] and (units[0] in ("m", "1/m") or not _DIM_OF_UNIT.get(units[0])):
        names = ["kx", "ky"] if units[0] == "1/m" else ["x", "y"]
    else:
        names = []
    for k in range(len(names), n):
        name = _DIM_OF_UNIT.get(units[k], "z" if units[k] == "m" and k == 2 else "point")
        if k == 0 and units[k] == "m":
            name = "x"
        names.append(name if name not in names else ("point", "step", "channel", "frame")[k])
    return names


def _plain(path: str, w: Wave, note: dict[str, str]) -> xr.Dataset:
    factor, base = to_base(w.units[0])
    dims = _plain_dims(w)
    raw = RawArray.strided(path, w.offset, w.dtype, w.shape, _strides(w), factor=factor)
    coords: dict[str, Any] = {}
    for axis, dim in enumerate(dims):
        kind = DIMENSIONS[dim].type
        if dim in ("point", "channel") and not w.units[axis + 1] and (w.step[axis], w.start[axis]) == (1.0, 0.0):
            if len(w.labels[axis]) == w.shape[axis] and all(w.labels[axis]):
                coords[dim] = coordinate(dim, np.array(w.labels[axis]))
            continue  # counting points needs no coordinate
        coord, reverse = (_spatial_axis if kind == "spatial" else _axis)(dim, w, axis)
        coords[dim] = coord
        raw = raw.flip(axis) if reverse else raw
    from dataclasses import replace

    raw = replace(raw, shape=raw.shape[::-1], strides=raw.strides[::-1])
    name = identifiers([w.name or "wave"], coords)[0]
    variable = common.lazy_variable(dims[::-1], raw, w.name or "wave", base)
    return common.dataset(
        {name: variable},
        coords,
        _metadata(w, note),
        modality="scanning probe microscopy" if {"x", "y"} <= set(dims) else None,
        instrument="Igor Pro wave",
        data_type={1: "spectrum", 2: "image"}.get(len(dims), "spectral_image") if w.shape != (0,) else None,
        title=w.name or None,
        acquired=w.modified,
    )


def _text(w: Wave, note: dict[str, str]) -> xr.Dataset:
    name = identifiers([w.name or "text"])[0]
    values = np.array(w.text, dtype=str).reshape(w.shape, order="F").T if w.text else np.empty(w.shape[::-1], "U1")
    dims = ("point", "channel", "frame", "sweep")[: len(w.shape)][::-1]
    variable = xr.Variable(dims, values, {"units": "1", "long_name": w.name or "text"})
    return common.dataset(
        {name: variable}, {}, _metadata(w, note), instrument="Igor Pro wave", title=w.name or None, acquired=w.modified
    )


# --------------------------------------------------------------------------------------------------------- Asylum


def _asylum_unit(label: str, w: Wave, note: dict[str, str]) -> str:
    plain = re.sub(r"(Trace|Retrace|\d+)+$", "", label, flags=re.IGNORECASE)
    stated = note.get(f"{plain}Unit")
    if stated is not None and re.match(r"user|lateral|backpack", plain, re.IGNORECASE):
        return stated
    lower = plain.lower()
    known = [key for key in _ASYLUM_UNITS if lower.startswith(key)]
    return _ASYLUM_UNITS[max(known, key=len)] if known else w.units[0]


def _float(note: dict[str, str], key: str) -> float | None:
    try:
        value = float(note[key].split("@")[0])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _asylum_attrs(w: Wave, note: dict[str, str]) -> dict[str, Any]:
    when = common.iso_time(f"{note.get('Date', '')} {note.get('Time', '')}")
    angle = _float(note, "ScanAngle")
    return {
        "modality": "atomic force microscopy",
        "instrument": " ".join(filter(None, ("Asylum Research", note.get("MicroscopeModel")))),
        "title": w.name or None,
        "acquired": when or w.modified,
        "imaging_mode": note.get("ImagingMode"),
        # calibration constants, for later use; what is stored in metres has them applied already
        "spring_constant": _float(note, "SpringConstant"),
        "spring_constant_units": "N/m" if _float(note, "SpringConstant") is not None else None,
        "deflection_sensitivity": _float(note, "InvOLS"),
        "deflection_sensitivity_units": "m/V" if _float(note, "InvOLS") is not None else None,
        "scan_angle": None if angle is None else math.radians(angle),
    }


def _named(labels: Sequence[str], w: Wave) -> list[str]:
    return [label or f"Channel {k + 1}" for k, label in enumerate(labels)]


def _asylum_image(path: str, w: Wave, note: dict[str, str]) -> xr.Dataset:
    """Layers are channels; ``HeightTrace`` and ``HeightRetrace`` are one channel in two directions."""
    labels = _named(w.labels[2], w)
    strides = _strides(w)
    (x, turn_x), (y, turn_y) = _spatial_axis("x", w, 0), _spatial_axis("y", w, 1)

    def layer(k: int, factor: float) -> RawArray:
        raw = RawArray.strided(
            path, w.offset + k * strides[2], w.dtype, (w.shape[1], w.shape[0]), (strides[1], strides[0]), factor=factor
        )
        raw = raw.flip(0) if turn_y else raw
        return raw.flip(1) if turn_x else raw

    groups: dict[str, dict[str, int]] = {}
    for k, label in enumerate(labels):
        found = re.fullmatch(r"(.+?)(Trace|Retrace)", label)
        base, kind = (found[1], found[2]) if found else (label, "")
        if kind in groups.get(base, {}):
            base, kind = f"{label} {k + 1}", ""
        groups.setdefault(base, {})[kind] = k
    coords: dict[str, Any] = {"y": y, "x": x}
    planned: list[tuple[str, list[int]]] = []
    for base, members in groups.items():
        if {"Trace", "Retrace"} <= set(members):
            planned.append((base, [members.pop("Trace"), members.pop("Retrace")]))
            coords["direction"] = common.direction_coordinate()
        planned += [(base + kind, [k]) for kind, k in members.items()]
    variables = {}
    for name, (label, layers) in zip(
        identifiers([label for label, _ in planned], [*coords, "direction"]), planned, strict=True
    ):
        factor, base = to_base(_asylum_unit(label, w, note))
        raw = common.stack([layer(k, factor) for k in layers])
        dims = ("direction", "y", "x") if len(layers) > 1 else ("y", "x")
        variables[name] = common.lazy_variable(dims, raw, label, base)
    return common.dataset(
        variables,
        coords,
        _metadata(w, note),
        data_type="image",
        scan_center_x=_float(note, "XOffset"),
        scan_center_y=_float(note, "YOffset"),
        scan_width=_float(note, "FastScanSize"),
        scan_height=_float(note, "SlowScanSize"),
        **_asylum_attrs(w, note),
    )


_SEGMENTS = {1: "approach", -1: "retract", 0: "pause"}


def _segments(w: Wave, note: dict[str, str]) -> list[tuple[str, int, int]]:
    """Name, first point and one past the last of each segment of a force curve; none where the note does not say.

    ``Indexes`` holds the bounds, ``Direction`` what lies between them: 1 towards the sample, -1 away, 0 waiting.
    """
    try:
        bounds = [int(float(p)) for p in note.get("Indexes", "").split(",") if p.strip()]
        ways = [p.strip() for p in note.get("Direction", "").split(",") if p.strip()]
        kinds = [_SEGMENTS[int(float(p))] for p in ways if p.lower() != "nan"]
    except (ValueError, KeyError, OverflowError):
        return []
    n = w.shape[0]
    fits = len(bounds) == len(kinds) + 1 and bounds[0] == 0 and bounds[-1] in (n - 1, n)
    if len(kinds) < 2 or not fits or any(b <= a for a, b in itertools.pairwise(bounds)):
        return []
    bounds[-1] = n
    names, seen = [], {k: kinds.count(k) for k in kinds}
    count = dict.fromkeys(kinds, 0)
    for kind in kinds:
        count[kind] += 1
        names.append(kind if seen[kind] == 1 else f"{kind} {count[kind]}")
    return list(zip(names, bounds[:-1], bounds[1:], strict=True))


_CURVE_NAMES = {"raw": "z_piezo", "zsnsr": "z", "zsensor": "z", "lvdt": "z", "defl": "deflection"}


def _asylum_curve(path: str, w: Wave, note: dict[str, str]) -> xr.Dataset:
    """Columns are channels, rows the points of one curve after another."""
    labels = _named(w.labels[1], w)
    strides = _strides(w)
    spelled = [_CURVE_NAMES.get(label.lower(), label) for label in labels]
    segments = _segments(w, note)
    step, unit = to_base(w.units[1])
    step *= w.step[0]
    coords: dict[str, Any] = {}
    dims: tuple[str, ...]
    variables: dict[str, Any] = {}
    if segments:
        dims = ("segment", "point")
        coords["segment"] = coordinate("segment", np.array([name for name, *_ in segments]))
        lengths = np.array([stop - first for _, first, stop in segments])
        variables["segment_length"] = xr.Variable(
            "segment", lengths, {"units": "1", "long_name": "Points of the segment"}
        )
        if unit == "s":
            points = np.arange(lengths.max())
            times = (np.array([first for _, first, _ in segments])[:, None] + points) * step
            times[points >= lengths[:, None]] = np.nan
            coords["time"] = coordinate(dims, times, name="time")
    else:
        dims = ("time",) if unit == "s" and step > 0 else ("point",)
        if dims == ("time",):
            coords["time"] = coordinate("time", w.start[0] + np.arange(w.shape[0]) * step)
    for k, (name, label) in enumerate(zip(identifiers(spelled, [*coords, *variables]), labels, strict=True)):
        factor, base = to_base(_asylum_unit(label, w, note))
        parts = [
            RawArray.strided(
                path,
                w.offset + k * strides[1] + first * strides[0],
                w.dtype,
                (int(lengths.max()) if segments else w.shape[0],),
                (strides[0],),
                factor=factor,
                end=w.offset + k * strides[1] + stop * strides[0] if segments else None,
            )
            for _, first, stop in segments or [("", 0, w.shape[0])]
        ]
        variables[name] = common.lazy_variable(dims, common.stack(parts), label, base)
    return common.dataset(
        variables, coords, _metadata(w, note), data_type="force_curve",
        position_x=_float(note, "XLVDT"), position_y=_float(note, "YLVDT"), **_asylum_attrs(w, note),
    )  # fmt: skip

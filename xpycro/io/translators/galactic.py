"""Thermo Galactic GRAMS ``.spc``: one spectrum or many, on one axis or each on its own.

May import numpy, xarray, schema and io below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.schema import coordinate

__all__ = ["is_spc", "spectra"]

_HEADER, _SUB, _OLD = 512, 32, 256
_SHORT, _MULTI, _OWN_AXES, _AXIS = 1, 4, 0x40, 0x80  # bits of the first byte: 16-bit numbers, several spectra, ...
_SPECTRA = 1 << 20
_FLOATS = -128  # the exponent that stands for floating point numbers
# number of an axis: dim, factor to base units, units, label
_AXES: Mapping[int, tuple[str, float, str, str]] = {
    1: ("wavenumber", 1.0, "1/cm", "Wavenumber"), 2: ("wavelength", 1e-6, "m", "Wavelength"),
    3: ("wavelength", 1e-9, "m", "Wavelength"), 4: ("time", 1.0, "s", "Time"), 5: ("time", 60.0, "s", "Time"),
    6: ("frequency", 1.0, "Hz", "Frequency"), 7: ("frequency", 1e3, "Hz", "Frequency"),
    8: ("frequency", 1e6, "Hz", "Frequency"), 9: ("mass_to_charge", 1.0, "1", "m/z"),
    13: ("wavenumber", 1.0, "1/cm", "Raman shift"), 14: ("energy", 1.0, "eV", "Energy"),
    18: ("two_theta", 1.0, "degree", "2θ"), 23: ("time", 1e-3, "s", "Time"), 24: ("time", 1e-6, "s", "Time"),
    25: ("time", 1e-9, "s", "Time"), 26: ("frequency", 1e9, "Hz", "Frequency"),
    27: ("wavelength", 1e-2, "m", "Wavelength"), 28: ("wavelength", 1.0, "m", "Wavelength"),
    29: ("wavelength", 1e-3, "m", "Wavelength"), 30: ("time", 3600.0, "s", "Time"),
}  # fmt: skip
_LENGTHS = {2: 1e-6, 3: 1e-9, 27: 1e-2, 28: 1.0, 29: 1e-3}
_VALUES: Mapping[int, tuple[str, float, str]] = {
    0: ("intensity", 1.0, "1"), 1: ("interferogram", 1.0, "1"), 2: ("absorbance", 1.0, "1"),
    3: ("kubelka_munk", 1.0, "1"), 4: ("counts", 1.0, "counts"), 5: ("voltage", 1.0, "V"),
    6: ("angle", math.pi / 180, "rad"), 7: ("current", 1e-3, "A"), 8: ("distance", 1e-3, "m"),
    9: ("voltage", 1e-3, "V"), 11: ("percent", 1e-2, "1"), 12: ("intensity", 1.0, "1"),
    13: ("relative_intensity", 1.0, "1"), 16: ("level", 1.0, "dB"), 128: ("transmission", 1.0, "1"),
    129: ("reflectance", 1.0, "1"), 131: ("emission", 1.0, "1"),
}  # fmt: skip


def is_spc(head: bytes, size: int) -> bool:
    """Whether a file begins as one: its version, and as many bytes as its points need."""
    if len(head) < 32 or head[1] not in (0x4B, 0x4C, 0x4D):
        return False
    if head[1] == 0x4D:
        points = float(np.frombuffer(head[4:8], "<f4")[0])
        return points >= 1 and points == int(points) and _OLD <= size
    points, subs = (np.frombuffer(head[at : at + 4], "<i4" if head[1] == 0x4B else ">i4")[0] for at in (4, 24))
    own = bool(head[0] & _OWN_AXES)
    return (own or points >= 1) and 1 <= subs <= _SPECTRA and (own or size >= _HEADER + 2 * points)


@dataclass(frozen=True)
class _Head:
    """What both generations of the header say, and where the spectra begin."""

    flags: int
    order: str
    exponent: int
    points: int
    first: float
    last: float
    subs: int
    x: int
    y: int
    z: int
    w: int
    planes: int
    log: int
    start: int
    old: bool
    said: dict[str, Any]


def spectra(path: str) -> dict[str, xr.Dataset]:
    """Read a GRAMS file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One variable, named by the ordinate (``intensity``, ``absorbance``, ``counts``, ...), over ``wavenumber``,
        ``wavelength``, ``energy``, ``time`` or what the file says, ascending; before it ``time`` or ``frame`` of
        several, ``y, x`` of a map. Spectra on axes of their own are groups ``spectrum_1``, ...

    Raises
    ------
    NotThisFormat, CorruptFile
    UnsupportedVariant
        If a file of the first generation (version 4d) has an uneven axis.

    Notes
    -----
    *Laziness*: spectra of floating point numbers are read when used, those of integers, each with its own scale, whole.

    References
    ----------
    Galactic Industries, "A brief guide to SPC file format and using GSPCIO" (1997).
    """
    with Cursor(path) as cursor:
        if cursor.size < 32 or cursor.peek(2)[1] not in (0x4B, 0x4C, 0x4D):
            raise NotThisFormat(f"version {cursor.peek(2)[1:].hex()} is not 4b, 4c or 4d", path=path, offset=1)
        head = _old_head(cursor) if cursor.peek(2)[1] == 0x4D else _head(cursor)
        if head.flags & _OWN_AXES:
            parts = _separate(path, cursor, head)
        else:
            parts = {"": _common_axis(path, cursor, head)}
    return parts


# ------------------------------------------------------------------------------------------------------------ header


def _head(cursor: Cursor) -> _Head:
    cursor.need(_HEADER, "header")
    flags, version = cursor.integer("u1", "flags"), cursor.integer("u1", "version")
    order = "<" if version == 0x4B else ">"
    cursor.skip(1, "experiment")
    exponent = cursor.integer("i1", "exponent")
    points = cursor.integer(f"{order}i4", "number of points", low=0 if flags & _OWN_AXES else 1)
    first, last = (float(cursor.number(f"{order}f8", name)) for name in ("first x", "last x"))
    subs = cursor.integer(f"{order}i4", "number of spectra", low=1, high=_SPECTRA)
    x, y, z = (cursor.integer("u1", name) for name in ("x type", "y type", "z type"))
    cursor.skip(1, "posting")
    date = cursor.integer(f"{order}u4", "date")
    said: dict[str, Any] = {"resolution": cursor.text(9, "resolution"), "source": cursor.text(9, "source")}
    cursor.seek(88, "comment")
    said["comment"] = cursor.text(130, "comment")
    said["axis_text"] = cursor.text(30, "axis text")
    log = cursor.integer(f"{order}u4", "log offset")
    cursor.seek(264, "method")
    said["method"] = cursor.text(48, "method")
    cursor.seek(316, "planes")
    planes = cursor.integer(f"{order}u4", "planes")
    cursor.seek(324, "w type")
    w = cursor.integer("u1", "w type")
    said["acquired"] = _date(date >> 20, date >> 16 & 15, date >> 11 & 31, date >> 6 & 31, date & 63)
    said["log"] = _log(cursor, log, order) if log else {}
    return _Head(
        flags, order, exponent, points, first, last, subs, x, y, z, w, planes, log, _HEADER, False, said,
    )  # fmt: skip


def _old_head(cursor: Cursor) -> _Head:
    cursor.need(_OLD, "header")
    flags = cursor.integer("u1", "flags")
    cursor.skip(1, "version")
    exponent = cursor.integer("<i2", "exponent")
    points, first, last = (float(cursor.number("<f4", name)) for name in ("number of points", "first x", "last x"))
    if not 1 <= points <= 1 << 24 or points != int(points):
        raise cursor.corrupt(f"is {points}", "number of points", 4)
    if flags & (_OWN_AXES | _AXIS):
        raise UnsupportedVariant("uneven axes in a file of the first generation", path=cursor.path, offset=0)
    x, y = cursor.integer("u1", "x type"), cursor.integer("u1", "y type")
    year = cursor.integer("<u2", "year")
    month, day, hour, minute = (cursor.integer("u1", name) for name in ("month", "day", "hour", "minute"))
    said: dict[str, Any] = {"resolution": cursor.text(8, "resolution")}
    cursor.seek(64, "comment")
    said["comment"] = cursor.text(130, "comment")
    said["acquired"] = _date(year % 4096, month, day, hour, minute)
    record = _SUB + 4 * int(points)
    subs, rest = divmod(cursor.size - (_OLD - _SUB), record)
    if rest or not subs:
        raise cursor.corrupt(f"{cursor.size} bytes are no whole number of spectra of {points:g} points", "points", 4)
    return _Head(
        flags & ~_SHORT, "<", exponent, int(points), first, last, subs, x, y, 0, 0, 0, 0, _OLD - _SUB, True, said,
    )  # fmt: skip


def _date(*parts: int) -> str | None:
    from datetime import datetime

    try:
        year, month, day, hour, minute = parts
        return datetime(year, month, day, hour, minute).isoformat() if year > 1900 else None
    except ValueError:
        return None


def _log(cursor: Cursor, offset: int, order: str) -> dict[str, str]:
    """The audit text: lines of ``key = value``."""
    cursor.seek(offset, "log offset")
    size, _, text, binary, private = (cursor.integer(f"{order}u4", "log") for _ in range(5))
    if not 64 <= text <= size <= cursor.size - offset or text < 64 + binary + private:
        raise cursor.corrupt(f"a log of {size} bytes whose text begins at {text}", "log", offset)
    cursor.seek(offset + text, "log text")
    lines = cursor.read(size - text, "log text").split(b"\0", 1)[0].decode("latin-1").splitlines()
    pairs = [line.partition("=") for line in lines if line.strip()]
    return {key.strip(): value.strip() for key, _, value in pairs}


# ----------------------------------------------------------------------------------------------------------- spectra


def _subheader(order: str) -> np.dtype:
    """The 32 bytes before the numbers of each spectrum."""
    return np.dtype(
        {
            "names": ["exponent", "z", "points", "w"],
            "formats": ["i1", f"{order}f4", f"{order}u4", f"{order}f4"],
            "offsets": [1, 4, 16, 24],
            "itemsize": _SUB,
        }
    )


def _checked(cursor: Cursor, head: _Head, subs: np.ndarray, offset: int) -> None:
    """Raise where a spectrum holds integers and the file floats, or the other way round: their sizes would differ."""
    if head.flags & _MULTI and ((subs["exponent"] == _FLOATS) != (head.exponent == _FLOATS)).any():
        raise cursor.corrupt("integers and floating point numbers in one file", "exponent of a spectrum", offset)


def _itemsize(head: _Head) -> int:
    return 2 if head.flags & _SHORT and head.exponent != _FLOATS else 4


def _numbers(cursor: Cursor, head: _Head, exponent: int, count: int) -> np.ndarray:
    """The ordinates of one spectrum: floats, or integers of a common power of two."""
    if exponent == _FLOATS:
        return cursor.numbers(f"{head.order}f4", count, "spectrum").astype(np.float64)
    size = _itemsize(head)
    if head.old:  # two 16-bit words, the higher first
        words = cursor.numbers("<u2", 2 * count, "spectrum").astype(np.uint32)
        whole = ((words[0::2] << 16) | words[1::2]).view(np.int32)
    else:
        whole = cursor.numbers(f"{head.order}i{size}", count, "spectrum")
    return np.ldexp(whole.astype(np.float64), exponent - 8 * size)


def _end(cursor: Cursor, head: _Head, end: int) -> None:
    """Raise unless nothing but the log follows."""
    stop = head.log or cursor.size
    if stop < end or (head.log and stop > end + _SUB):
        raise cursor.corrupt(f"the log begins at byte {stop} and the spectra end at {end}", "log offset", end)
    cursor.seek(end, "end")
    if not head.log and stop > end and cursor.read(stop - end, "end").strip(b"\0"):
        raise cursor.corrupt(f"{stop - end} bytes after the last spectrum", "number of points", end)


def _common_axis(path: str, cursor: Cursor, head: _Head) -> xr.Dataset:
    cursor.seek(head.start, "spectra")
    if head.flags & _AXIS:
        values = cursor.numbers(f"{head.order}f4", head.points, "x").astype(np.float64)
    else:
        values = np.linspace(head.first, head.last, head.points)
    start, record = cursor.position, _SUB + head.points * _itemsize(head)
    cursor.block((head.subs, record), 1, "number of points", offset=start)
    # every 32 bytes alone: the numbers between them are not read
    bare = RawArray.strided(path, start, "u1", (head.subs, _SUB), (record, 1)).read()
    subs = np.ascontiguousarray(bare).view(_subheader(head.order))[:, 0]
    _checked(cursor, head, subs, start)
    if not head.old and (~np.isin(subs["points"], (0, head.points))).any():
        raise cursor.corrupt(f"a spectrum has not the {head.points} points of the axis", "points of a spectrum", start)
    _end(cursor, head, start + head.subs * record)
    name, factor, units = _VALUES.get(head.y, ("intensity", 1.0, "1"))
    dim, coords, flip = _axis(head, values, cursor)
    lead, shape = _leading(head, subs)
    coords = {**lead, **coords}
    dims = (*[str(d) for d in lead if lead[d].dims == (d,)], dim)
    data: Any
    if head.exponent == _FLOATS:
        kind = np.dtype(f"{head.order}f4")
        raw = RawArray.strided(
            path, start + _SUB, kind, (head.subs, head.points), (_SUB + 4 * head.points, 4), factor=factor
        )
        raw = raw.flip(1) if flip else raw
        data = _split(raw, shape)
        variable = common.lazy_variable(dims, data, name.replace("_", " ").capitalize(), units)
    else:
        rows = np.empty((head.subs, head.points))
        for number, row in enumerate(rows):
            cursor.seek(start + number * record + _SUB, "spectrum")
            exponent = int(subs["exponent"][number]) if head.flags & _MULTI else head.exponent
            row[:] = _numbers(cursor, head, exponent, head.points)
        rows = (rows[:, ::-1] if flip else rows) * factor
        variable = xr.Variable(
            dims, rows.reshape(*shape, head.points), {"units": units, "long_name": name.replace("_", " ").capitalize()}
        )
    return _dataset(name, variable, coords, head)


def _split(raw: RawArray, shape: tuple[int, ...]) -> RawArray:
    """The spectra along one axis as those of a grid, of one alone without it."""
    from dataclasses import replace

    strides = [raw.strides[0]] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return replace(raw, shape=(*shape, raw.shape[1]), strides=(*strides, raw.strides[1]))


def _separate(path: str, cursor: Cursor, head: _Head) -> dict[str, xr.Dataset]:
    """Spectra that lie each on an axis of its own, one after the other."""
    cursor.seek(head.start, "spectra")
    found = {}
    for number in range(head.subs):
        at = cursor.position
        sub = np.frombuffer(cursor.read(_SUB, "spectrum"), _subheader(head.order))
        _checked(cursor, head, sub, at)
        points = int(sub["points"][0])
        if not points:
            raise cursor.corrupt("a spectrum without points", "points of a spectrum", at)
        values = cursor.numbers(f"{head.order}f4", points, "x").astype(np.float64)
        exponent = int(sub["exponent"][0]) if head.flags & _MULTI else head.exponent
        ordinates = _numbers(cursor, head, exponent, points)
        dim, coords, flip = _axis(head, values, cursor)
        name, factor, units = _VALUES.get(head.y, ("intensity", 1.0, "1"))
        data = (ordinates[::-1] if flip else ordinates) * factor
        variable = xr.Variable((dim,), data, {"units": units, "long_name": name.replace("_", " ").capitalize()})
        found[f"spectrum_{number + 1}" if head.subs > 1 else ""] = _dataset(name, variable, coords, head)
    if not head.log and cursor.remaining:
        raise cursor.corrupt(f"{cursor.remaining} bytes after the last spectrum", "number of spectra")
    return found


def _axis(head: _Head, values: np.ndarray, cursor: Cursor) -> tuple[str, dict[str, xr.Variable], bool]:
    """Dim, coordinates ascending, and whether the stored order runs against them."""
    dim, factor, units, label = _AXES.get(head.x, ("point", 1.0, "1", "Point"))
    steps = np.diff(values)
    if not np.isfinite(values).all() or not ((steps > 0).all() or (steps < 0).all()):
        raise cursor.corrupt("the axis neither rises nor falls", "x", head.start)
    flip = bool(values.size > 1 and steps[0] < 0)
    ordered = (values[::-1] if flip else values) * factor
    return dim, {dim: coordinate(dim, ordered, units=units, long_name=label)}, flip


def _leading(head: _Head, subs: np.ndarray) -> tuple[dict[str, xr.Variable], tuple[int, ...]]:
    """What the spectra of one file are numbered by: nothing, a time, a map's places, or their order."""
    if head.subs == 1:
        return {}, ()
    z, w = (subs[axis].astype(np.float64) for axis in ("z", "w"))
    if head.planes > 1 and head.subs % head.planes == 0 and head.z in _LENGTHS and head.w in _LENGTHS:
        fast = head.subs // head.planes
        columns, rows = z[:fast] * _LENGTHS[head.z], w[::fast] * _LENGTHS[head.w]
        if fast > 1 and (np.diff(columns) > 0).all() and (np.diff(rows) > 0).all():
            return {"y": coordinate("y", rows), "x": coordinate("x", columns)}, (head.planes, fast)
    known = _AXES.get(head.z)
    rising = np.isfinite(z).all() and (np.diff(z) > 0).all()
    if known is not None and known[0] == "time" and rising:
        return {"time": coordinate("time", z * known[1])}, (head.subs,)
    lead = {"frame": coordinate("frame", np.arange(head.subs))}
    if rising and head.z in _LENGTHS:
        lead["z"] = coordinate("frame", z * _LENGTHS[head.z], name="z")
    return lead, (head.subs,)


def _dataset(name: str, variable: xr.Variable, coords: Mapping[str, xr.Variable], head: _Head) -> xr.Dataset:
    header = {key: value for key, value in head.said.items() if key != "acquired"}
    header |= {"points": head.points, "spectra": head.subs, "x_type": head.x, "y_type": head.y, "z_type": head.z}
    return common.dataset(
        {name: variable}, coords, header, modality="optical spectroscopy" if head.x in (1, 2, 3, 13) else None,
        instrument=head.said.get("source") or None, acquired=head.said["acquired"],
        title=head.said["comment"].splitlines()[0] if head.said["comment"].strip() else None, data_type="spectrum",
    )  # fmt: skip

"""Igor Pro binary waves ``.ibw`` (versions 1, 2, 3, 5), with Asylum Research images and force curves, and ``.pxp``.

A wave is stored column-major and scaled linearly: x = offset + step * index; the first row lies at the bottom. May
import numpy, xarray, schema, units and io below.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import PaddedArray, RawArray, StackedArray
from xpycro.io.translators import _common as common
from xpycro.io.translators._igor import Wave, is_asylum, note_items, parse, parse_wave
from xpycro.schema import DIMENSIONS, coordinate, identifiers
from xpycro.units import to_base

__all__ = ["Wave", "experiment", "parse", "wave"]

# Asylum's channels by how their names begin; what is not here takes the unit of the wave
_ASYLUM_UNITS = {
    "height": "m", "zsensor": "m", "zsnsr": "m", "raw": "m", "defl": "m", "deflection": "m", "amp": "m",
    "amplitude": "m", "lvdt": "m", "zlvdt": "m", "indent": "m", "phas": "deg", "phase": "deg", "current": "A",
    "cur": "A", "frequency": "Hz", "freq": "Hz", "userin": "V", "potential": "V", "bias": "V", "lateral": "V",
    "drive": "V", "input": "V", "force": "N", "q": "1", "dissipation": "W",
}  # fmt: skip
_DIM_OF_UNIT = {"s": "time", "V": "bias", "Hz": "frequency", "eV": "energy", "1/cm": "wavenumber"}


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
        segments of unequal length padded with NaN and ``length(segment)`` kept, with ``time``, and ``force`` where the
        note has a spring constant. Any other wave is one variable, its axes named by their units.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant

    Notes
    -----
    *Laziness*: images and plain waves are read when used; of force curves too. Text waves are read whole.
    """
    return {"": _dataset(path, parse(path))}


def _dataset(path: str, w: Wave) -> xr.Dataset:
    note = note_items(w.note)
    asylum = is_asylum(note)
    if w.dtype is None:
        return _text(w, note)
    if asylum and len(w.shape) == 3 and len(w.labels[2]) == w.shape[2]:
        return _asylum_image(path, w, note)
    if asylum and len(w.shape) == 2 and len(w.labels[1]) == w.shape[1]:
        return _asylum_curve(path, w, note)
    return _plain(path, w, note)


_RECORD_WAVE, _RECORD_FOLDER, _RECORD_FOLDER_END = 3, 9, 10
_RECORDS = 1_000_000


def experiment(path: str) -> dict[str, xr.Dataset]:
    """Read the waves of an Igor packed experiment (``.pxp``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group a wave, named by its data folder and its name, each as `wave` reads it alone. Variables, procedures
        and graphs of the experiment are passed over.

    Raises
    ------
    CorruptFile
        If the chain of records breaks, or a wave in it is damaged.
    UnsupportedVariant
        If there is no wave.

    Notes
    -----
    *Laziness*: headers, labels and notes are read, the numbers when used.
    """
    groups: dict[str, xr.Dataset] = {}
    folders: list[str] = []
    with Cursor(path) as cursor:
        first = cursor.peek(2)
        order = "<" if len(first) == 2 and first[1] & 0x7F == 0 else ">"
        for _ in range(_RECORDS):
            if not cursor.remaining:
                break
            kind = cursor.integer(order + "u2", "record type") & 0x7FFF
            cursor.skip(2, "record version")
            start = cursor.base + cursor.position + 4
            inner = cursor.window(cursor.integer(order + "i4", "record size", low=0), "record")
            if kind == _RECORD_WAVE:
                w = parse_wave(inner)
                w = replace(w, offset=w.offset + start)
                name, number = "/".join([*folders, w.name or "wave"]), 2
                while name in groups:
                    name, number = "/".join([*folders, f"{w.name or 'wave'}_{number}"]), number + 1
                groups[name] = _dataset(path, w)
            elif kind == _RECORD_FOLDER:
                folders.append(inner.text(min(32, inner.size), "data folder").replace("/", "_") or "folder")
            elif kind == _RECORD_FOLDER_END:
                if not folders:
                    raise cursor.corrupt("a data folder ends that never began", "record type")
                folders.pop()
        else:
            raise cursor.corrupt(f"more than {_RECORDS} records", "record type")
        if folders:
            raise cursor.corrupt(f"the file ends within the data folder {folders[-1]!r}", "record type")
    if not groups:
        raise UnsupportedVariant("the experiment holds no wave", path=path)
    return {"": next(iter(groups.values()))} if len(groups) == 1 else groups


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
        bounds = [int(float(p)) for p in note.get("Indexes", "").split(",") if p.strip().lower() not in ("", "nan")]
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
        variables["length"] = common.segment_lengths(lengths)
        if unit == "s":
            points = np.arange(lengths.max())
            times = (np.array([first for _, first, _ in segments])[:, None] + points) * step
            times[points >= lengths[:, None]] = np.nan
            coords["time"] = coordinate(dims, times, name="time")
    else:
        dims = ("time",) if unit == "s" and step > 0 else ("point",)
        if dims == ("time",):
            coords["time"] = coordinate("time", w.start[0] + np.arange(w.shape[0]) * step)
    bounds = [(first, stop) for _, first, stop in segments] or [(0, w.shape[0])]

    def column(k: int, factor: float) -> RawArray | StackedArray | PaddedArray:
        begin = w.offset + k * strides[1]
        parts = [
            RawArray.strided(path, begin + first * strides[0], w.dtype, (stop - first,), (strides[0],), factor=factor)
            for first, stop in bounds
        ]
        return common.segments(parts, 0) if segments else parts[0]

    constant = _float(note, "SpringConstant")
    for k, (name, label) in enumerate(zip(identifiers(spelled, [*coords, *variables]), labels, strict=True)):
        factor, base = to_base(_asylum_unit(label, w, note))
        variables[name] = common.lazy_variable(dims, column(k, factor), label, base)
        if name == "deflection" and base == "m" and constant and "force" not in spelled:
            variables["force"] = common.lazy_variable(dims, column(k, factor * constant), label, "N")
    return common.dataset(
        variables, coords, _metadata(w, note), data_type="force_curve",
        position_x=_float(note, "XLVDT"), position_y=_float(note, "YLVDT"), **_asylum_attrs(w, note),
    )  # fmt: skip

"""FEI (Thermo Fisher) TIA: series files ``.ser`` and the ``.emi`` that describes them.

The first row of an image lies at the bottom. May import numpy, xarray, schema and io below.
"""

from __future__ import annotations

import glob
import html
import math
import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat, XpycroError
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators._axes import Axis, axis_units, layout
from xpycro.io.translators._signals import Signal, collect
from xpycro.io.translators._xml import parse, tree

__all__ = ["emi", "series"]

_TYPES = {1: "u1", 2: "<u2", 3: "<u4", 4: "i1", 5: "<i2", 6: "<i4", 7: "<f4", 8: "<f8", 9: "<c8", 10: "<c16"}
_TAGS = {0x4142: 24, 0x4152: 8}  # bytes of a tag: time with a position, time alone
_CHECKED = 4096  # elements whose headers are compared with the first
_EMI = 1 << 26


@dataclass(frozen=True)
class Element:
    """The header of one spectrum or image of a series: (start, step) of each axis, slowest first."""

    axes: tuple[tuple[float, float, int], ...]
    dtype: str
    shape: tuple[int, ...]
    length: int


def series(path: str) -> dict[str, xr.Dataset]:
    """Read a TIA series.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One variable: an image ``(y, x)``, a diffraction pattern ``(ky, kx)``, spectra over ``energy``, with the
        positions of the series before. An unfinished series is padded with NaN and flagged in ``measured``.

    Raises
    ------
    NotThisFormat, CorruptFile

    Notes
    -----
    *Laziness*: headers and offsets are read. The file does not name the units of an image: a step of more than 1 is one
    of a diffraction pattern, in 1/m, since no image has pixels of a metre.

    References
    ----------
    C. B. Boothroyd, "TIA (Emispec) file format" (public description).
    """
    stem = re.sub(r"_\d+$", "", os.path.splitext(path)[0])
    beside = next((name for name in (stem + ".emi", stem + ".EMI") if os.path.isfile(name)), "")
    described = _descriptions(beside) if beside else []
    number = re.search(r"_(\d+)$", os.path.splitext(path)[0])
    place = int(number[1]) - 1 if number else 0
    return collect([_signal(path, described[place] if 0 <= place < len(described) else {})], {})


def emi(path: str) -> dict[str, xr.Dataset]:
    """Read all series that belong to an ``.emi``: the files ``NAME_1.ser``, ``NAME_2.ser``... beside it.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        As `series`, one group for each.

    Raises
    ------
    NotThisFormat, CorruptFile

    Notes
    -----
    *Laziness*: as `series`.
    """
    with Cursor(path) as cursor:
        if cursor.peek(2) != b"JK":
            raise NotThisFormat(f"begins with {cursor.peek(2)!r}, not 'JK'", path=path, offset=0)
    stem = os.path.splitext(path)[0]
    found: dict[int, str] = {}
    for name in glob.glob(glob.escape(stem) + "_*.[sS][eE][rR]"):
        number = re.search(r"_(\d+)\.ser$", name, re.I)
        if number and name[: number.start()] == stem:
            found[int(number[1])] = name
    if not found:
        raise CorruptFile(f"the data lie in {os.path.basename(stem)}_1.ser, which is not beside it", path=path)
    described = _descriptions(path)
    signals = [_signal(found[n], described[n - 1] if n - 1 < len(described) else {}) for n in sorted(found)]
    return collect(signals, {}, apart=True)


# ------------------------------------------------------------------------------------------------------ descriptions


def _descriptions(path: str) -> list[dict[str, Any]]:
    """The ``<ObjectInfo>`` documents in an ``.emi``, in their order; what is damaged counts as empty."""
    if os.path.getsize(path) > _EMI:
        return []
    with open(path, "rb") as handle:
        content = handle.read()
    result = []
    for piece in re.findall(rb"<ObjectInfo>.*?</ObjectInfo>", content, re.S):
        try:
            info = tree(parse(piece.decode("latin-1").encode("utf-8"), path))
        except XpycroError:  # the series can be read without it
            info = {}
        result.append(info if isinstance(info, dict) else {})
    return result


def _experiment(info: dict[str, Any]) -> dict[str, str]:
    """Label to value with its unit."""
    listed: Any = info
    for name in ("ExperimentalDescription", "Root", "Data"):
        listed = listed.get(name) if isinstance(listed, dict) else None
    said = {}
    for entry in listed if isinstance(listed, list) else [listed]:
        if isinstance(entry, dict) and isinstance(entry.get("Label"), str):
            said[entry["Label"]] = " ".join(
                str(entry[key]).strip() for key in ("Value", "Unit") if isinstance(entry.get(key), str) and entry[key]
            )
    return said


def _plain(info: dict[str, Any], data_type: str) -> dict[str, str]:
    said = _experiment(info)
    mode = said.get("Mode", "")
    date = info.get("AcquireDate")
    modality = "scanning transmission electron microscopy" if "STEM" in mode else "transmission electron microscopy"
    plain = {
        "modality": modality, "instrument": said.get("Microscope", "") or "FEI TIA", "data_type": data_type,
        "acquired": _date(html.unescape(date)) if isinstance(date, str) else "",
    }  # fmt: skip
    return {name: value for name, value in plain.items() if value}


def _date(text: str) -> str:
    """``Thu Sep 25 13:19:34 2014`` whatever the locale."""
    months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
    found = re.match(r"\w{3} (\w{3}) +(\d{1,2}) (\d\d:\d\d:\d\d) (\d{4})", text.strip())
    if found is None or found[1] not in months:
        return ""
    return common.iso_time(f"{found[4]}-{months.index(found[1]) + 1:02d}-{int(found[2]):02d} {found[3]}") or ""


# ------------------------------------------------------------------------------------------------------------ series


def _signal(path: str, info: dict[str, Any]) -> Signal:
    with Cursor(path) as cursor:
        if cursor.peek(4) != b"II\x97\x01":
            raise NotThisFormat(f"begins with {cursor.peek(4)!r}, not 'II' and 0x0197", path=path, offset=0)
        cursor.skip(4, "magic")
        version = cursor.integer("<u2", "version")
        if not 0x200 <= version <= 0x220:
            raise cursor.corrupt(f"is {version:#x}, expected 0x210 or 0x220", "version", 4)
        kind = cursor.integer("<u4", "data type")
        tag_kind = cursor.integer("<u4", "tag type")
        if kind not in (0x4120, 0x4122) or tag_kind not in (0x4152, 0x4142):
            raise cursor.corrupt(f"data type {kind:#x}, tag type {tag_kind:#x}", "data type", 6)
        total, valid = (cursor.integer("<u4", name, low=0) for name in ("total elements", "valid elements"))
        if not 0 < valid <= total:
            raise cursor.corrupt(f"{valid} valid elements of {total}", "valid elements", 14)
        word = "<u8" if version >= 0x220 else "<u4"
        table = cursor.integer(word, "offset of offsets")
        dims = _series_axes(cursor, cursor.integer("<u4", "number of dims", low=1, high=8), total)
        cursor.seek(table, "offset of offsets")
        offsets = cursor.numbers(word, total, "offsets").astype(np.int64)[:valid]
        tags = cursor.numbers(word, total, "tag offsets").astype(np.int64)[:valid]
        first = _element(cursor, int(offsets[0]), kind)
        _check(cursor, offsets, tags, first, (kind, tag_kind), table + 2 * total * np.dtype(word).itemsize)
    header_size = 26 if kind == 0x4120 else 50
    detector = _detector_axes(first, kind)
    axes = [*dims, *detector]
    sizes = [axis.size for axis in axes]
    step = int(offsets[1] - offsets[0]) if valid > 1 else first.length
    inner = np.dtype(first.dtype).itemsize
    strides = [inner] * len(sizes)
    for n in range(len(sizes) - 2, len(dims) - 1, -1):
        strides[n] = strides[n + 1] * sizes[n + 1]
    run = step
    for n in range(len(dims) - 1, -1, -1):
        strides[n], run = run, run * sizes[n]
    kept = [n for n, size in enumerate(sizes) if size > 1] or [len(sizes) - 1]
    laid = layout([axes[n] for n in kept], top_first=False)
    stored = [kept[n] for n in laid.order]
    start, dtype = int(offsets[0]) + header_size, np.dtype(first.dtype)
    missing = valid < total
    raw = RawArray.strided(
        path, start, dtype, [sizes[n] for n in stored], [strides[n] for n in stored],
        end=int(offsets[-1]) + first.length if missing else None,
        target=np.result_type(dtype, np.float32) if missing else None,
    )  # fmt: skip
    for axis, flip in enumerate(laid.flip):
        raw = raw.flip(axis) if flip else raw
    name = os.path.splitext(os.path.basename(path))[0]
    data_type = "spectra" if kind == 0x4120 else "image"
    variable = common.lazy_variable(
        laid.dims, raw, "Counts" if kind == 0x4120 else "Intensity", "counts" if kind == 0x4120 else "1"
    )
    header = {"series": {"version": version, "elements": total, "valid": valid}, **info}
    label = "Counts" if kind == 0x4120 else "Intensity"
    return Signal(label, variable, laid.coords, header, {"title": name, **_plain(info, data_type)}, group=name)


def _series_axes(cursor: Cursor, count: int, total: int) -> list[Axis]:
    """Axes of the positions, slowest first (the file has the fastest first)."""
    axes: list[Axis] = []
    for _ in range(count):
        size = cursor.integer("<u4", "size of a dim", low=1)
        start, step = (float(cursor.number("<f8", "calibration of a dim")) for _ in range(2))
        at = cursor.integer("<i4", "calibration of a dim")
        words = [cursor.text(cursor.integer("<u4", "text of a dim", high=1 << 12), "text of a dim") for _ in range(2)]
        units = words[1] if axis_units(words[1])[1] in ("m", "s", "degree", "rad") else ""
        name = ("x", "y", "z")[len(axes)] if words[0] == "Position" and len(axes) < 3 else "frame"
        if not (math.isfinite(start) and math.isfinite(step) and step) or not units:
            start, step, at, units = 0.0, 1.0, 0, ""
        axes.append(Axis(size, name, units, step, start - at * step, signal=False))
    if math.prod(axis.size for axis in axes) != total:
        raise cursor.corrupt(f"dims {[axis.size for axis in axes]} do not make {total} elements", "size of a dim")
    return axes[::-1]


def _element(cursor: Cursor, offset: int, kind: int) -> Element:
    cursor.seek(offset, "element")
    axes = []
    for _ in range(1 if kind == 0x4120 else 2):
        start, step = (float(cursor.number("<f8", "calibration")) for _ in range(2))
        axes.append((start, step, cursor.integer("<i4", "calibration")))
    code = cursor.integer("<i2", "data type of an element")
    if code not in _TYPES:
        raise cursor.corrupt(f"is {code}, not one of {sorted(_TYPES)}", "data type of an element", cursor.position - 2)
    shape = tuple(cursor.integer("<i4", "size of an element", low=1) for _ in axes)[::-1]
    nbytes = cursor.block(shape, np.dtype(_TYPES[code]).itemsize, "element")
    return Element(tuple(axes[::-1]), _TYPES[code], shape, cursor.position - offset + nbytes)


def _check(
    cursor: Cursor, offsets: np.ndarray, tags: np.ndarray, first: Element, kinds: tuple[int, int], header_end: int
) -> None:
    """Elements at even distances and all alike, tags, where there are any, after them."""
    kind, tag_kind = kinds
    steps = np.diff(offsets)
    if steps.size and not (steps == steps[0]).all():
        raise cursor.corrupt("elements do not follow each other at even distances", "offsets")
    if offsets[0] < header_end or (steps.size and steps[0] < first.length):
        raise cursor.corrupt("elements overlap", "offsets")
    for number in np.unique(np.linspace(0, len(offsets) - 1, min(len(offsets), _CHECKED)).astype(int)).tolist():
        other = _element(cursor, int(offsets[number]), kind)
        if (other.dtype, other.shape) != (first.dtype, first.shape):
            raise cursor.corrupt(f"element {number} is of another kind than the first", "element", int(offsets[number]))
    if not tags.any():  # written without tags
        return
    if not (tags == offsets + first.length).all():
        raise cursor.corrupt("tags do not follow their elements", "tag offsets")
    rest = cursor.size - int(tags[-1])
    if rest < _TAGS[tag_kind]:
        raise cursor.corrupt(f"{rest} bytes from the last tag on, expected {_TAGS[tag_kind]}", "end", int(tags[-1]))
    cursor.seek(int(tags[-1]), "tag")
    if cursor.integer("<u2", "tag") != tag_kind:
        raise cursor.corrupt("the last tag is of another kind than the header says", "tag", int(tags[-1]))


def _detector_axes(first: Element, kind: int) -> list[Axis]:
    result = []
    names = ("Energy",) if kind == 0x4120 else ("y", "x")
    # no x-ray detector has channels finer than a few eV
    loss = kind == 0x4120 and abs(first.axes[0][1]) < 2
    for name, (start, step, at), size in zip(names, first.axes, first.shape, strict=True):
        fine = math.isfinite(start) and math.isfinite(step) and step != 0
        units = "eV" if kind == 0x4120 else "m" if abs(step) < 1 else "1/m"
        label = {"1/m": f"k{name}"}.get(units, "Energy loss" if loss else name)
        if not fine:
            start, step, at, units = 0.0, 1.0, 0, ""
        result.append(Axis(size, label, units, step, start - at * step, signal=kind == 0x4120 or None))
    return result

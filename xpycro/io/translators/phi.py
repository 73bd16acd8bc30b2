"""PHI MultiPak ``.spe``: photoelectron spectra by region, a header of text and blocks of floating point numbers.

May import numpy, xarray, schema, units and io below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators._axes import Axis, data_units, layout
from xpycro.io.translators._signals import Signal, collect

__all__ = ["MAGIC", "regions"]

MAGIC = b"SOFH"
_END = b"EOFH"
_FIRST, _REGION = 16, 96  # bytes of the first binary header and of the header of each region
_REGIONS = 1024


@dataclass(frozen=True)
class _Region:
    """One region as the text describes it."""

    name: str
    points: int
    start: float
    step: float
    said: dict[str, Any]


def regions(path: str) -> dict[str, xr.Dataset]:
    """Read a file of photoelectron spectra.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        A group for each region (one alone: ``""``): ``intensity(energy)`` over the binding energy in eV, ascending, in
        counts per second.

    Raises
    ------
    NotThisFormat, CorruptFile
    UnsupportedVariant
        Of depth profiles, maps and images, which other files of these instruments hold.

    Notes
    -----
    *Laziness*: only the headers are read.
    """
    with Cursor(path) as cursor:
        if cursor.peek(4) != MAGIC:
            raise NotThisFormat(f"begins with {cursor.peek(4)!r} and not with 'SOFH'", path=path, offset=0)
        text = cursor.until(_END, "header").decode("latin-1")
        if cursor.peek(1) == b"\r":
            cursor.skip(1, "header")
        cursor.expect(b"\n", "end of the header")
        said = _said(text)
        kind = said.get("FileType", "SPECTRUM")
        if kind != "SPECTRUM":
            raise UnsupportedVariant(f"a file of type {kind[:40]!r}: expected SPECTRUM", path=path, field="FileType")
        described = _described(said, cursor)
        raws = _blocks(path, cursor, described)
    plain = {key: value for key, value in said.items() if not key.startswith("SpectralRegDef")}
    attrs: dict[str, Any] = {
        "modality": "X-ray photoelectron spectroscopy" if said.get("Technique") == "XPS" else "surface spectroscopy",
        "instrument": f"PHI {said.get('InstrumentModel', '')}".strip(), "data_type": "spectrum",
        "acquired": _date(said.get("AcqFileDate") or said.get("FileDate", "")),
    }  # fmt: skip
    signals = [_signal(region, raw, units) for region, (raw, units) in zip(described, raws, strict=True)]
    return collect(signals, plain, **{key: value for key, value in attrs.items() if value})


def _said(text: str) -> dict[str, str]:
    """Lines of ``key: value``; a key that comes again has its lines one below the other."""
    said: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            key, value = key.strip(), value.strip()
            said[key] = f"{said[key]}\n{value}" if key in said else value
    return said


def _described(said: Mapping[str, str], cursor: Cursor) -> list[_Region]:
    count = integer(said.get("NoSpectralReg", ""), "NoSpectralReg", cursor, low=1, high=_REGIONS, offset=0)
    rows = said.get("SpectralRegDef", "").splitlines()
    found = []
    for row in rows:
        words = row.split()
        if len(words) < 10:
            raise cursor.corrupt(f"{row[:40]!r} has {len(words)} words", "SpectralRegDef", 0)
        points = integer(words[4], "SpectralRegDef", cursor, low=1, high=1 << 28, offset=0)
        step, start, stop = (real(word, "SpectralRegDef", cursor, offset=0) for word in words[5:8])
        if not step or abs(start + step * (points - 1) - stop) > abs(step) * (1 + 1e-3 * points):
            raise cursor.corrupt(f"{points} points of {step:g} from {start:g} to {stop:g} eV", "SpectralRegDef", 0)
        names = ("number", "active", "name", "atomic_number", "points", "step", "start", "stop", "full_start",
                 "full_stop", "time_per_step", "pass_energy", "description")  # fmt: skip
        found.append(_Region(words[2], points, start, step, dict(zip(names, words, strict=False))))
    if len(found) != count:
        raise cursor.corrupt(f"{len(found)} regions are described and {count} announced", "NoSpectralReg", 0)
    return found


def _blocks(path: str, cursor: Cursor, described: list[_Region]) -> list[tuple[RawArray, str]]:
    """Where the numbers of each region lie, and their unit."""
    start = cursor.position
    cursor.skip(4, "group")
    count = cursor.integer("<u4", "number of regions")
    sizes = cursor.integer("<u4", "size of a region's header"), cursor.integer("<u4", "size of the header")
    if count != len(described) or sizes != (_REGION, _FIRST):
        raise cursor.corrupt(f"{count} regions with headers of {sizes} bytes", "number of regions", start)
    found, end = [], start + _FIRST + count * _REGION
    for number, region in enumerate(described):
        cursor.seek(start + _FIRST + number * _REGION + 20, "region")
        at = cursor.position
        points, layers = cursor.integer("<u4", "points"), cursor.integer("<u4", "layers")
        cursor.seek(at + 36, "units")
        units, letters = cursor.text(16, "units"), cursor.text(4, "type of numbers")
        nbytes, offset = cursor.integer("<u4", "bytes"), cursor.integer("<u4", "offset")
        dtype = {"f4": "<f4", "f8": "<f8"}.get(letters)
        if dtype is None or layers != 1:
            raise UnsupportedVariant(f"numbers of type {letters!r} in {layers} layers", path=path, offset=at)
        if points != region.points or nbytes != points * np.dtype(dtype).itemsize or start + offset != end:
            raise cursor.corrupt(f"{points} points in {nbytes} bytes at {offset}", "region", at)
        cursor.block((points,), np.dtype(dtype).itemsize, "points", offset=start + offset)
        end = start + offset + nbytes
        found.append((RawArray.contiguous(path, start + offset, dtype, (points,)), units))
    if end != cursor.size:
        raise cursor.corrupt(f"{cursor.size - end} bytes after the last region", "end", end)
    return found


def _signal(region: _Region, raw: RawArray, units: str) -> Signal:
    axis = Axis(region.points, "Binding energy", "eV", region.step, region.start, signal=True, dim="energy")
    laid = layout([axis], top_first=False)
    laid.coords["energy"].attrs["long_name"] = "Binding energy"
    _, base = data_units({"c/s": "counts/s"}.get(units, units))
    variable = common.lazy_variable(("energy",), raw.flip(0) if laid.flip[0] else raw, "Intensity", base)
    return Signal("Intensity", variable, laid.coords, region.said, group=region.name)


def _date(text: str) -> str | None:
    """``2024 1 22``."""
    parts = re.fullmatch(r"(\d{4}) +(\d{1,2}) +(\d{1,2})", text.strip())
    return common.iso_time("-".join(part.zfill(2) for part in parts.groups())) if parts else None

"""JPK (Bruker) images ``.jpk``, ``.jpk-qi-image``: TIFF files whose private tags hold grid, channels and scales.

A page is a channel; the bottom row is stored first unless the grid is reflected. May import numpy, xarray, schema,
units and the io modules below it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators import _tiff
from xpycro.schema import identifiers
from xpycro.units import to_base

__all__ = ["image"]

# codes of the private tags
_VERSION, _STARTED, _FORCE_MODE = 32768, 32771, 32850
_X0, _Y0, _WIDTH, _HEIGHT, _ANGLE, _REFLECT, _COLUMNS, _ROWS = range(32832, 32840)
_CHANNEL, _RETRACE, _TITLE, _ALGORITHM, _SLOTS, _DEFAULT = 32848, 32849, 32850, 32851, 32896, 32897
_SLOT, _STRIDE = 32912, 48  # name of the first slot; unit, scaling, factor and offset lie 18 to 21 above


@dataclass(frozen=True)
class Page:
    """One stored image.

    Attributes
    ----------
    channel, title, algorithm, unit : str
    backward : bool
    raw : RawArray
    """

    channel: str
    title: str
    algorithm: str
    unit: str
    backward: bool
    raw: RawArray


def image(path: str) -> dict[str, xr.Dataset]:
    """Read a JPK image (``.jpk``, ``.jpk-qi-image``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group; each channel over ``(direction, y, x)``, or ``(y, x)`` where one direction was recorded, in the
        slot that the instrument shows by default. Pages that differ only in how they were made of the same channel
        say so in the attribute ``algorithm``.

    Raises
    ------
    NotThisFormat
        If it is a TIFF file of someone else.
    CorruptFile, UnsupportedVariant

    Notes
    -----
    Backward images are taken as stored in place. *Laziness*: only the directories are read.
    """
    with Cursor(path) as cursor:
        pages = _tiff.directories(cursor)
        if not {_VERSION, _WIDTH, _COLUMNS} <= set(pages[0].tags):
            raise NotThisFormat("a TIFF file without the private tags of JPK", path=path, field="tag 32768")
        return {"": _image(path, cursor, pages)}


def _image(path: str, cursor: Cursor, pages: list[_tiff.Directory]) -> xr.Dataset:
    first = pages[0]
    nx, ny = int(first.number(_COLUMNS, cursor)), int(first.number(_ROWS, cursor))
    width, height = first.number(_WIDTH, cursor), first.number(_HEIGHT, cursor)
    reflected = bool(first.number(_REFLECT, cursor, 0))
    stored = [_page(path, cursor, page, number, (ny, nx), reflected) for number, page in enumerate(pages[1:], 1)]
    if not stored:
        raise UnsupportedVariant("a file without images beside its preview", path=path)
    coords: dict[str, Any] = common.image_coordinates(nx, ny, width, height)
    groups: dict[tuple[str, str, int], list[Page]] = {}
    for page in stored:
        copy = 0
        while page.backward in (one.backward for one in groups.get((page.channel, page.algorithm, copy), [])):
            copy += 1  # the same channel once more
        groups.setdefault((page.channel, page.algorithm, copy), []).append(page)
    variables = {}
    names = identifiers([channel for channel, *_ in groups], [*coords, "direction"])
    for name, some in zip(names, groups.values(), strict=True):
        attrs = {"algorithm": some[0].algorithm} if some[0].algorithm else {}
        units, title = to_base(some[0].unit)[1], some[0].title
        if len(some) == 2 and some[0].unit == some[1].unit:
            coords["direction"] = common.direction_coordinate()
            raw = common.stack([page.raw for page in sorted(some, key=lambda page: page.backward)])
            variables[name] = common.lazy_variable(("direction", "y", "x"), raw, title, units, **attrs)
            continue
        for label, page in zip(identifiers([name] * len(some), [*coords, *variables]), some, strict=True):
            said, units = common.DIRECTIONS[page.backward], to_base(page.unit)[1]
            variables[label] = common.lazy_variable(("y", "x"), page.raw, page.title, units, direction=said, **attrs)
    started = first.text(_STARTED, cursor, "")
    return common.dataset(
        variables,
        coords,
        _metadata(cursor, pages),
        modality="atomic force microscopy",
        instrument="JPK",
        data_type="image",
        software_version=first.text(_VERSION, cursor, "") or None,
        acquired=common.iso_time(re.sub(r"(\.\d+)?\s*([+-]\d{4}|[A-Z]+)?$", "", started)),
        imaging_mode=first.text(_FORCE_MODE, cursor, "") or None,
        scan_angle=first.number(_ANGLE, cursor, 0.0) + 0.0,
        offset_x=first.number(_X0, cursor, 0.0),
        offset_y=first.number(_Y0, cursor, 0.0),
    )


def _page(
    path: str, cursor: Cursor, page: _tiff.Directory, number: int, shape: tuple[int, int], reflected: bool
) -> Page:
    channel = page.text(_CHANNEL, cursor)
    offset, dtype, found = page.pixels(cursor)
    if found != shape:
        raise cursor.corrupt(f"page {number} has {found} rows and columns and the grid {shape}", "ImageWidth", offset)
    retrace = page.number(_RETRACE, cursor, 0)
    if retrace not in (0, 1):
        raise cursor.corrupt(f"is {retrace}: expected 0 or 1", "tag 32849", 0)
    wanted = page.text(_DEFAULT, cursor, "raw")
    for slot in range(int(page.number(_SLOTS, cursor))):
        code = _SLOT + slot * _STRIDE
        if page.text(code, cursor) == wanted:
            factor, constant = _scaling(cursor, page, code)
            break
    else:
        raise cursor.corrupt(f"no slot is named {wanted[:40]!r}", "tag 32897", 0)
    unit = page.text(code + 18, cursor, "")
    scale, _ = to_base(unit)
    raw = RawArray.contiguous(
        path, offset, dtype, shape, factor=factor * scale, constant=constant * scale, target=np.float64
    )
    algorithm = re.search(r"^algorithm\.object-name\.(?:base-object-name\.)?fancy-name : (.*)$",
                          page.text(_ALGORITHM, cursor, ""), re.MULTILINE)  # fmt: skip
    return Page(
        channel,
        page.text(_TITLE, cursor, channel),
        algorithm[1].strip() if algorithm else "",
        unit,
        bool(retrace),
        raw.flip(0) if reflected else raw,
    )


def _scaling(cursor: Cursor, page: _tiff.Directory, code: int) -> tuple[float, float]:
    """Factor and offset from the stored number to a slot."""
    kind = page.text(code + 19, cursor, "NullScaling")
    if kind == "NullScaling":
        return 1.0, 0.0
    if kind != "LinearScaling":
        raise UnsupportedVariant(f"a scaling {kind[:40]!r}", path=cursor.path, field=f"tag {code + 19}")
    factor, constant = page.number(code + 20, cursor), page.number(code + 21, cursor)
    if not 0 < abs(factor) < 1e30 or abs(constant) > 1e30:
        raise cursor.corrupt(f"a factor of {factor} and an offset of {constant}", f"tag {code + 20}", 0)
    return factor, constant


def _metadata(cursor: Cursor, pages: list[_tiff.Directory]) -> dict[str, Any]:
    """Every tag that is not part of the pixels."""
    kept: dict[str, Any] = {}
    for number, page in enumerate(pages):
        values: dict[str, Any] = {}
        for code, tag in page.tags.items():
            if code in (273, 279, 320):
                continue
            if tag.dtype.kind == "S":
                values[str(code)] = page.text(code, cursor)
            elif tag.dtype.kind in "uif" and tag.count <= 64:
                values[str(code)] = page.numbers(code, cursor).tolist()
        kept[f"page {number}"] = values
    return kept

"""Renishaw WiRE ``.wdf``: Raman and luminescence spectra, lines, depth and time series, maps, the white-light image.

May import numpy, xarray, schema, units and io below; imagecodecs inside a function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators._jpeg import position_of, rgb
from xpycro.io.translators._raster import Raster, gather, raster
from xpycro.io.translators._wdfblocks import Block, blocks, filetime, properties
from xpycro.schema import coordinate, identifier

__all__ = ["spectra"]

# numbers of a unit: what stands for it here, and the factor to it
_UNITS: Mapping[int, tuple[str, float]] = {
    0: ("1", 1.0), 1: ("1/cm", 1.0), 2: ("1/cm", 1.0), 3: ("m", 1e-9), 4: ("eV", 1.0), 5: ("m", 1e-6),
    6: ("counts", 1.0), 7: ("counts", 1.0), 8: ("m", 1e-3), 9: ("m", 1.0), 10: ("K", 1.0), 11: ("Pa", 1.0),
    12: ("s", 1.0), 13: ("s", 1e-3), 14: ("s", 3600.0), 15: ("s", 86400.0), 16: ("pixel", 1.0), 17: ("1", 1.0),
    18: ("1", 1.0), 19: ("rad", math.pi / 180), 20: ("rad", 1.0), 21: ("degC", 1.0), 22: ("degF", 1.0),
    23: ("K/s", 1 / 60), 24: ("s", 1e-7),
}  # fmt: skip
_SPECTRAL = {1: "wavenumber", 2: "wavenumber", 3: "wavelength", 4: "energy", 5: "wavelength", 9: "wavelength"}
_X, _Y, _Z, _TIME, _CHECKSUM, _FLAGS, _ELAPSED = 3, 4, 5, 11, 16, 17, 18
_FILETIME = 24
_COLUMNS_FIRST, _TO_AND_FRO = 2, 4
_METADATA = ("TEXT", "WXDA", "WXDM", "WXIS", "WXCS", "ZLDC", "WARP", "BKXL")
_LIMIT = 1 << 26  # no list of origins and no property set is longer


@dataclass(frozen=True)
class _Origin:
    """What was recorded with every spectrum: a place, a time, a temperature."""

    kind: int
    unit: int
    label: str
    primary: bool
    values: np.ndarray


def spectra(path: str) -> dict[str, xr.Dataset]:
    """Read a Renishaw file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One variable over ``wavenumber`` (Raman shift, 1/cm), ``wavelength`` (m) or ``energy`` (eV), ascending, and
        before it ``y, x`` of a map (of the stage in m, whatever the order of acquisition), ``distance`` of a line,
        ``z``, ``time`` or ``frame`` of a series. WiRE counts Y downwards on the picture: ``y`` is -Y. The group
        ``white_light_image`` holds ``intensity(y, x, channel)``. Spectra of an interrupted measurement that were not
        taken are NaN and flagged in ``measured``.

    Raises
    ------
    NotThisFormat, CorruptFile
    UnsupportedVariant
        If one spectrum is an image.

    Notes
    -----
    *Laziness*: spectra are read when used; what was recorded with each of them, and the white-light image, at once.

    References
    ----------
    Renishaw plc, "wdf" package for Python and MATLAB (BSD or Apache licence): names of blocks, units and data types.
    """
    with Cursor(path) as cursor:
        if cursor.peek(4) != b"WDF1":
            raise NotThisFormat(f"begins with {cursor.peek(4)!r} and not with 'WDF1'", path=path, offset=0)
        chain = blocks(cursor)
        head = _head(cursor, chain[0])
        parts = {block.name: block for block in reversed(chain)}  # the first of a name
        for needed in ("DATA", "XLST"):
            if needed not in parts:
                raise cursor.corrupt(f"the block {needed!r} is missing", needed, cursor.size)
        npoints, count = head["points"], head["spectra"]
        if head["y_list"] > 1:
            raise UnsupportedVariant(f"one spectrum is an image of {head['y_list']} rows", path=path, field="YLST")
        if parts["DATA"].size != 4 * npoints * count or head["x_list"] != npoints:
            raise cursor.corrupt(
                f"{parts['DATA'].size} bytes for {count} spectra of {npoints} points (and {head['x_list']} places)",
                "DATA",
                parts["DATA"].offset,
            )
        axis = _spectral_axis(cursor, parts["XLST"], npoints)
        origins = _origins(cursor, parts.get("ORGN"), head["origins"], count)
        area = _area(cursor, parts.get("WMAP"))
        header: dict[str, Any] = {**head, "area": area, "blocks": [b.name for b in chain]}
        header |= _metadata(cursor, chain)
        image = _white_light(cursor, parts.get("WHTL"), header)
    raw = RawArray.contiguous(path, parts["DATA"].offset, "<f4", (count, npoints))
    if head["collected"] < count:
        raw = replace(raw, end=parts["DATA"].offset + 4 * npoints * head["collected"])
    ds = _dataset(raw, axis, origins, area, head, header)
    return {"": ds, "white_light_image": image} if image is not None else {"": ds}


# ------------------------------------------------------------------------------------------------------------ header


def _head(cursor: Cursor, block: Block) -> dict[str, Any]:
    if block.size < 0x190 - 16:
        raise cursor.corrupt(f"the first block has {block.size} bytes", "WDF1", 0)
    cursor.seek(0x3C, "header")
    head: dict[str, Any] = {"points": cursor.integer("<u4", "points of a spectrum", low=1)}
    head["spectra"] = cursor.integer("<u8", "number of spectra", low=1, high=1 << 40)
    head["collected"] = cursor.integer("<u8", "spectra collected", low=0, high=head["spectra"])
    for name in ("accumulations", "y_list", "x_list", "origins"):
        head[name] = cursor.integer("<u4", name)
    head["application"] = cursor.text(24, "application")
    head["version"] = ".".join(str(cursor.integer("<u2", "version")) for _ in range(4))
    head["scan_type"], head["measurement_type"] = (cursor.integer("<u4", n) for n in ("scan type", "measurement type"))
    head["started"], head["ended"] = (filetime(cursor.integer("<u8", n)) for n in ("start", "end"))
    head["units"] = cursor.integer("<u4", "units")
    laser = float(cursor.number("<f4", "laser"))
    head["laser_wavenumber"] = laser if math.isfinite(laser) and laser > 0 else None
    cursor.seek(0xD0, "user")
    head["user"] = cursor.text(32, "user", encoding="utf-8")
    head["title"] = cursor.text(160, "title", encoding="utf-8")
    return head


def _spectral_axis(cursor: Cursor, block: Block, n: int) -> tuple[str, np.ndarray, str, bool]:
    """Dim, values ascending, units, and whether the spectra run against it."""
    cursor.seek(block.offset, "XLST")
    if block.size < 8 + 4 * n:
        raise cursor.corrupt(f"{block.size} bytes for {n} places on the axis", "XLST")
    cursor.skip(4, "XLST type")
    unit = cursor.integer("<u4", "XLST unit")
    values = cursor.numbers("<f4", n, "XLST").astype(np.float64)
    rising = np.diff(values)
    if not np.isfinite(values).all() or not ((rising > 0).all() or (rising < 0).all()):
        raise cursor.corrupt("the places on the axis neither rise nor fall", "XLST", block.offset)
    units, factor = _UNITS.get(unit, ("1", 1.0))
    falling = bool(n > 1 and rising[0] < 0)
    return _SPECTRAL.get(unit, "point"), (values[::-1] if falling else values) * factor, units, falling


def _origins(cursor: Cursor, block: Block | None, n: int, count: int) -> list[_Origin]:
    if block is None:
        return []
    cursor.seek(block.offset, "ORGN")
    if block.size > _LIMIT or n * (24 + 8 * count) > block.size - 4:
        raise cursor.corrupt(f"{block.size} bytes for {n} numbers of {count} spectra", "ORGN")
    cursor.skip(4, "ORGN")
    found = []
    for _ in range(n):
        kind, unit = cursor.integer("<u4", "origin"), cursor.integer("<u4", "unit of origin")
        label = cursor.text(16, "label of origin")
        whole = kind & 0x7FFFFFFF in (_TIME, _CHECKSUM, _FLAGS) and (unit == _FILETIME or kind & 0x7FFFFFFF != _TIME)
        values = cursor.numbers("<i8" if whole else "<f8", count, f"origin {label!r}")
        found.append(_Origin(kind & 0x7FFFFFFF, unit, label, bool(kind >> 31), values))
    return found


def _area(cursor: Cursor, block: Block | None) -> dict[str, Any] | None:
    """The area that a map was asked for."""
    if block is None:
        return None
    cursor.seek(block.offset, "WMAP")
    flags, _ = cursor.integer("<u4", "map flags"), cursor.integer("<u4", "map")
    start, step = (cursor.numbers("<f4", 3, name).astype(float).tolist() for name in ("map start", "map step"))
    steps = [cursor.integer("<u4", "map size") for _ in range(3)]
    return {"flags": flags, "start": start, "step": step, "size": steps}


def _metadata(cursor: Cursor, chain: list[Block]) -> dict[str, Any]:
    """Comment and property sets; a set that cannot be read is told by its length."""
    said: dict[str, Any] = {}
    for block in chain:
        if block.name not in _METADATA or block.size > _LIMIT:
            continue
        cursor.seek(block.offset, block.name)
        body = cursor.read(block.size, block.name)
        if block.name == "TEXT":
            said["comment"] = body.split(b"\0", 1)[0].decode("utf-8", "replace")
            continue
        found = properties(body)
        key = block.name if block.name not in said else f"{block.name}_{block.number}"
        said[key] = found if found is not None else f"<{block.size} bytes>"
    return said


def _white_light(cursor: Cursor, block: Block | None, header: dict[str, Any]) -> xr.Dataset | None:
    if block is None or block.size > _LIMIT:
        return None
    cursor.seek(block.offset, "WHTL")
    jpeg = cursor.read(block.size, "WHTL")
    pixels = rgb(jpeg, cursor, block.offset)
    if pixels is None:
        header["white_light_image"] = 'not read: it needs imagecodecs (pip install "xpycro[formats]")'
        return None
    ny, nx, _ = pixels.shape
    place = position_of(jpeg)
    coords = {}
    for dim, n, number in (("y", ny, 1), ("x", nx, 0)):
        if place is None:
            coords[dim] = coordinate(dim, np.arange(float(n)), units="pixel")
        else:
            steps = (place[0][number] + (np.arange(n) + 0.5) * place[1][number] / n) * 1e-6
            coords[dim] = coordinate(dim, -steps[::-1] if dim == "y" else steps)
    coords["channel"] = coordinate("channel", np.array(["red", "green", "blue"]))
    image = xr.Variable(("y", "x", "channel"), pixels[::-1], {"units": "1", "long_name": "White-light image"})
    return common.dataset({"intensity": image}, coords, {}, modality="optical microscopy", instrument="Renishaw")


# ----------------------------------------------------------------------------------------------------------- dataset


def _dataset(
    raw: RawArray,
    axis: tuple[str, np.ndarray, str, bool],
    origins: list[_Origin],
    area: Mapping[str, Any] | None,
    head: Mapping[str, Any],
    header: Mapping[str, Any],
) -> xr.Dataset:
    dim, values, units, falling = axis
    if falling:
        raw = raw.flip(1)
    count, measured = raw.shape[0], head["collected"]
    shifted = dim == "wavenumber"
    data, dims, coords, place = _laid(raw, origins, area, measured)
    coords[dim] = coordinate(dim, values, units=units, long_name="Raman shift" if shifted else None)
    for origin in origins if dims else ():
        name = identifier(origin.label or f"origin_{origin.kind}")
        if origin.kind in (_CHECKSUM, _FLAGS, _Y, _X) or name in coords or name == dim:
            continue
        numbers, base = _physical(origin)
        coords[name] = coordinate(
            dims, numbers[place].reshape(data.shape[:-1]), name=name, units=base, long_name=origin.label or name
        )
    counted = _UNITS.get(int(head["units"]), ("1", 1.0))[0] == "counts"
    name = "counts" if counted else "intensity"
    variable = common.lazy_variable((*dims, dim), data, name.capitalize(), "counts" if counted else "1")
    variables: dict[str, Any] = {name: variable}
    if measured < count:
        flags = (np.arange(count) < measured)[place].reshape(data.shape[:-1])
        variables["measured"] = xr.Variable(dims, flags, {"units": "1", "long_name": "Measured spectra"})
    laser = head["laser_wavenumber"]
    return common.dataset(
        variables, coords, header, modality="Raman spectroscopy" if shifted else "optical spectroscopy",
        instrument="Renishaw", title=head["title"] or None, acquired=head["started"],
        data_type={1: "spectrum", 2: "series", 3: "map"}.get(int(head["measurement_type"])),
        laser_wavelength=None if laser is None else 1e-2 / laser,
    )  # fmt: skip


def _physical(origin: _Origin) -> tuple[np.ndarray, str]:
    """Numbers in base units; times are counted from the first spectrum."""
    base, factor = _UNITS.get(origin.unit, ("1", 1.0))
    values = origin.values - origin.values[0] if origin.values.dtype.kind == "i" else origin.values
    return np.asarray(values * factor, dtype=np.float64), base


def _laid(
    raw: RawArray, origins: list[_Origin], area: Mapping[str, Any] | None, measured: int
) -> tuple[Any, tuple[str, ...], dict[str, xr.Variable], np.ndarray]:
    """The spectra as a grid, line or series: array, dims before the spectral one, coordinates, record at each place."""
    count, places = raw.shape[0], np.arange(raw.shape[0])
    if count == 1:
        return replace(raw, shape=raw.shape[1:], strides=raw.strides[1:]), (), {}, places[0]
    by_kind = {origin.kind: origin for origin in reversed(origins)}
    down, x = (_physical(by_kind[kind])[0] if kind in by_kind else None for kind in (_Y, _X))
    if measured < count or down is None or x is None:  # what was not measured has no place: take those asked for
        down, x = _asked(area, count) if area is not None and count == math.prod(area["size"]) else (down, x)
    y = None if down is None else 0.0 - down
    if y is not None and x is not None and (np.ptp(y) > 0 or np.ptp(x) > 0):
        grid = raster(y, x)
        if grid is not None and min(grid.place.shape) > 1:
            laid = gather(raw, grid.place)
            if laid is not None:
                return laid, ("y", "x"), _plane(grid), grid.place
        along = {name: coordinate("distance", places_, name=name) for name, places_ in (("y", y), ("x", x))}
        if _is_line(y, x):
            along["distance"] = coordinate("distance", np.hypot(y - y[0], x - x[0]))
            return raw, ("distance",), along, places
        return raw, ("position",), {n: coordinate("position", v.values, name=n) for n, v in along.items()}, places
    primary = next((o for o in origins if o.primary), None)
    if primary is None or np.unique(primary.values).size < count:
        return raw, ("frame",), {"frame": coordinate("frame", places)}, places
    values, base = _physical(primary)
    dim = {_Z: "z", _TIME: "time", _ELAPSED: "time"}.get(primary.kind, "frame")
    if dim == "frame":
        name = identifier(primary.label or "condition")
        return raw, ("frame",), {
            "frame": coordinate("frame", places),
            name: coordinate("frame", values, name=name, units=base, long_name=primary.label),
        }, places  # fmt: skip
    if dim == "z" and (np.diff(values) < 0).all():
        raw, values, places = raw.flip(0), values[::-1], places[::-1]
    return raw, (dim,), {dim: coordinate(dim, values, units=base)}, places


def _plane(grid: Raster) -> dict[str, xr.Variable]:
    return {"y": coordinate("y", grid.y), "x": coordinate("x", grid.x)}


def _is_line(y: np.ndarray, x: np.ndarray) -> bool:
    """Whether places lie one after the other on a straight line."""
    along = np.array([y[-1] - y[0], x[-1] - x[0]])
    length = float(np.hypot(*along))
    if not length:
        return False
    forward = ((y - y[0]) * along[0] + (x - x[0]) * along[1]) / length
    aside = ((y - y[0]) * along[1] - (x - x[0]) * along[0]) / length
    return bool((np.diff(forward) > 0).all() and np.abs(aside).max() < 1e-3 * length)


def _asked(area: Mapping[str, Any], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a rectangular map was to be measured, (Y, X) in m, in the order of its flags."""
    (nx, ny, _), flags = area["size"], int(area["flags"])
    number = np.arange(count) % (nx * ny)
    fast = ny if flags & _COLUMNS_FIRST else nx
    line, point = np.divmod(number, fast)
    point = np.where((line % 2 == 1) & bool(flags & _TO_AND_FRO), fast - 1 - point, point)
    row, column = (point, line) if flags & _COLUMNS_FIRST else (line, point)
    x, y = (area["start"][n] + area["step"][n] * index for n, index in ((0, column), (1, row)))
    return y * 1e-6, x * 1e-6

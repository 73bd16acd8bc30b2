"""WSxM stacks: spectroscopy over a grid ``.gsi`` and movies ``.mpp``, ``.mov``: the header of its images, then planes.

Planes are ordered as in the images: rows in ascending y, columns in descending x. May import numpy, xarray, schema,
units, its siblings wsxm and nanonis, and io below.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import xarray as xr

from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators import wsxm
from xpycro.io.translators.nanonis import sweep_axis
from xpycro.schema import coordinate, identifiers
from xpycro.units import to_base

__all__ = ["movie", "volume"]

_RAMP = "Spectroscopy images ramp value list"


def volume(path: str) -> dict[str, xr.Dataset]:
    """Read a WSxM general spectroscopy image (``.gsi``): a topography, then an image for each value of the ramp.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group: ``topography`` over ``(y, x)`` and the acquisition channel over ``(y, x, bias)``, or ``z`` where the
        ramp is a length; over ``step`` where the ramp turns back.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant

    Notes
    -----
    Integers of the channel are volts of the converter times the conversion factor of the header, counts (``units``
    "1") where it states none; floating point numbers are in the unit of the spectroscopy amplitude.

    *Laziness*: only the header is read; the topography of integers too where the header does not state its range.
    """
    with Cursor(path) as cursor:
        kind, header = wsxm.read_header(cursor)
        dtype, shape = wsxm.numbers(path, cursor, header)
        points = integer(
            wsxm.get(header, "General Info", "Number of points per ramp"), "Number of points per ramp", cursor, low=1,
            offset=0,
        )  # fmt: skip
        plane = wsxm.check_size(cursor, (points + 1, *shape), dtype) // (points + 1)
        start = cursor.position
        name, unit, values = _ramp(header, points, cursor)
        dim, coords, reverse = sweep_axis(name, unit, values)
        coords |= wsxm.coordinates(header, shape, cursor)
        topography, z_units = wsxm.scaled(path, cursor, header, start, dtype, shape)
        factor, constant, units = _channel_scale(header, dtype, cursor)
        ny, nx = shape
        raw = RawArray.strided(
            path, start + plane, dtype, (ny, nx, points), (nx * dtype.itemsize, dtype.itemsize, plane),
            factor=factor, constant=constant, target=np.float64 if dtype.kind == "i" else dtype,
        ).flip(1)  # fmt: skip
        title = wsxm.get(header, "General Info", "Acquisition channel") or "Spectroscopy"
        label = identifiers([title], [*coords, "topography"])[0]
        variables = {
            "topography": common.lazy_variable(("y", "x"), topography, "Topography", z_units),
            label: common.lazy_variable(("y", "x", dim), raw.flip(2) if reverse else raw, title, units),
        }
        said = wsxm.get(header, "General Info", "Spectroscopy direction")
        return {
            "": common.dataset(
                variables, coords, header, data_type="spectral_image", kind=kind,
                spectroscopy_direction=said.lower() or None, **wsxm.attributes(header, cursor),
            )
        }  # fmt: skip


def movie(path: str) -> dict[str, xr.Dataset]:
    """Read a WSxM movie (``.mpp``, ``.mov``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group with one variable over ``(frame, y, x)``, scaled as the image of the same header would be.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant

    Notes
    -----
    *Laziness*: as `xpycro.io.translators.wsxm.image`.
    """
    with Cursor(path) as cursor:
        kind, header = wsxm.read_header(cursor)
        dtype, shape = wsxm.numbers(path, cursor, header)
        frames = integer(
            wsxm.get(header, "General Info", "Number of Frames"), "Number of Frames", cursor, low=1, offset=0
        )
        wsxm.check_size(cursor, (frames, *shape), dtype)
        raw, units = wsxm.scaled(path, cursor, header, cursor.position, dtype, (frames, *shape))
        coords: dict[str, Any] = {"frame": coordinate("frame", np.arange(frames))}
        coords |= wsxm.coordinates(header, shape, cursor)
        title = wsxm.get(header, "General Info", "Acquisition channel") or "Topography"
        variables = {identifiers([title], coords)[0]: common.lazy_variable(("frame", "y", "x"), raw, title, units)}
        return {
            "": common.dataset(
                variables, coords, header, data_type="image_stack", kind=kind, **wsxm.attributes(header, cursor)
            )
        }


def _ramp(header: wsxm.Header, points: int, cursor: Cursor) -> tuple[str, str, np.ndarray]:
    """Name, unit and values of the ramp, from its list: ``Image 000: -1.0000 V``."""
    found: dict[int, tuple[float, str]] = {}
    for key, text in header.get(_RAMP, {}).items():
        number = re.fullmatch(r"Image\s+(\d{1,9})", key)
        if number:
            value, _, unit = text.partition(" ")
            found[int(number[1])] = real(value, key, cursor, offset=0), unit.strip()
    if sorted(found) != list(range(points)):
        raise cursor.corrupt(f"{len(found)} values of the ramp, and {points} points in the header", _RAMP, 0)
    units = {unit for _, unit in found.values()}
    if len(units) > 1:
        raise cursor.corrupt(f"the ramp is in {sorted(units)}", _RAMP, 0)
    unit = units.pop()
    name = {"V": "Bias", "m": "Z", "s": "Time", "Hz": "Frequency"}.get(to_base(unit)[1], "Ramp")
    return name, unit, np.array([found[k][0] for k in range(points)])


def _channel_scale(header: wsxm.Header, dtype: np.dtype, cursor: Cursor) -> tuple[float, float, str]:
    """Factor, constant and unit of the spectroscopy channel."""
    unit = wsxm.get(header, "General Info", "Spectroscopy Amplitude").partition(" ")[2]
    if dtype.kind == "f":
        factor, base = to_base(unit)
        return factor, 0.0, base
    keys = ("ADC to V conversion factor", "Conversion factor 0 for input channel",
            "Conversion offset 0 for input channel")  # fmt: skip
    texts = [wsxm.get(header, "General Info", key) for key in keys]
    if not texts[0] or not texts[1]:
        return 1.0, 0.0, "1"
    volts, factor, offset = (
        real(text.partition(" ")[0] or "0", key, cursor, offset=0) for text, key in zip(texts, keys, strict=True)
    )
    above, _, below = texts[1].partition(" ")[2].partition("/")
    scale, base = to_base(above if below.strip() in ("", "V") else f"{above}/{below}")
    sign = -1 if wsxm.get(header, "General Info", "Channel is inverted").lower() == "yes" else 1
    return sign * volts * factor * scale, offset * scale, base

"""Omicron MATRIX: data files ``..._mtrx`` (one channel of one run), read with the parameter files ``.mtrx`` beside.

A scan up stores the bottom line first; a backward line follows its forward line, mirrored. May import numpy, xarray,
schema, units and the io modules below it.
"""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators._matrix import (
    MAGIC,
    Parameters,
    Scaling,
    attributes,
    bricklet,
    chain,
    frame,
    metadata,
    number,
    transfer,
)
from xpycro.io.translators._matrixspectra import curve, volume
from xpycro.schema import identifiers

__all__ = ["matrix"]

_NAME = re.compile(r"(.+)--(\d+)_(\d+)\.(.+)_mtrx", re.IGNORECASE)


def matrix(path: str) -> dict[str, xr.Dataset]:
    """Read an Omicron MATRIX data file (``..._mtrx``).

    Parameters
    ----------
    path : str
        The parameter files (``<run>_0001.mtrx`` and on) must lie beside it.

    Returns
    -------
    dict of str to Dataset
        One group. Of a scan the channel over ``(direction, y, x)``, or ``(y, x)`` where only forward lines were kept,
        and ``<channel>_down`` where it was scanned down too; lines that were not scanned are NaN and ``measured(y, x)``
        says so. Of a single spectrum the channel over ``(direction, <swept signal>)``, with scalar ``x`` and ``y``; of
        spectra over a grid (volume CITS) over ``(direction, y, x, <swept signal>)``, those of the way back as
        ``<channel>_backward``, those of the scan down as ``<channel>_down``.

    Raises
    ------
    NotThisFormat
    CorruptFile
        If a file is damaged, or the parameter files are missing.
    UnsupportedVariant
        If it is a parameter file, or numbers are scaled by an unknown function.

    Notes
    -----
    *Laziness*: of the data file only the headers are read, of the parameter files all.
    """
    with Cursor(path) as cursor:
        cursor.expect(MAGIC, "magic")
        if cursor.peek(4) != b"TLKB":
            raise UnsupportedVariant(
                "this is a parameter file of MATRIX: open the data files beside it (their names end in _mtrx)",
                path=path,
            )
        acquired, offset, count, size = bricklet(cursor)
    found = _NAME.fullmatch(os.path.basename(path))
    if not found:
        raise NotThisFormat("the name is not of the form <run>--<n>_<m>.<channel>_mtrx", path=path, field="name")
    parameters = chain(path, found[1])
    channel = found[4]
    scaling = transfer(path, parameters, channel)
    if "(" not in channel:
        return {"": _scan(path, parameters, channel, (offset, count, size), scaling, acquired)}
    read = volume if parameters.values.get("XYScanner.Enable_Subgrid", (False,))[0] else curve
    return {"": read(path, parameters, channel, (offset, count, size), scaling, acquired)}


def _scan(
    path: str,
    parameters: Parameters,
    channel: str,
    block: tuple[int, int, int],
    scaling: Scaling,
    acquired: str | None,
) -> xr.Dataset:
    offset, count, size = block
    factor, constant, unit = scaling
    nx, ny = (int(number(path, parameters, f"XYScanner.{key}", low=1)) for key in ("Points", "Lines"))
    back, down = (bool(parameters.values.get(f"XYScanner.{a}_Retrace", (False,))[0]) for a in "XY")
    line = 4 * nx * (2 if back else 1)
    if size != nx * ny * (1 + back) * (1 + down) or count % nx:
        raise CorruptFile(
            f"{count} of {size} numbers, and {nx} x {ny} with retrace {back}, {down} in the parameters", path=path,
            field="XYScanner",
        )  # fmt: skip
    width, height = (number(path, parameters, f"XYScanner.{key}") for key in ("Width", "Height"))
    coords: dict[str, Any] = common.image_coordinates(nx, ny, width, height)
    end = offset + 4 * count
    variables: dict[str, Any] = {}
    for way in range(2 if down and count > nx * ny * (1 + back) else 1):
        parts = []
        for side in range(2 if back else 1):
            start = offset + way * line * ny + side * 4 * nx
            raw = RawArray.strided(
                path, start, "<i4", (ny, nx), (line, 4), factor=factor, constant=constant, target=np.float64,
                end=end if count < size else None,
            )  # fmt: skip
            raw = raw.flip(1) if side else raw
            parts.append(raw.flip(0) if way else raw)
        label = f"{channel} down" if way else channel
        name = identifiers([label], [*coords, *variables, "direction"])[0]
        if back:
            coords["direction"] = common.direction_coordinate()
            variables[name] = common.lazy_variable(("direction", "y", "x"), common.stack(parts), channel, unit)
        else:
            variables[name] = common.lazy_variable(("y", "x"), parts[0], channel, unit, direction="forward")
    whole = nx * ny * (1 + back)
    if count < whole:
        lines = count // (nx * (1 + back))
        variables["measured"] = common.measured_variable(lines * nx, ny, nx)
    elif whole < count < size:  # lines of the scan down that are missing lie at the bottom
        there = common.measured_variable((count - whole) // (nx * (1 + back)) * nx, ny, nx)
        variables["measured_down"] = there.copy(data=there.values[::-1])
    return common.dataset(
        variables,
        coords,
        metadata(parameters),
        data_type="image",
        **frame(parameters),
        **attributes(parameters, acquired),
    )

"""ION-TOF: images of mass intervals that SurfaceLab exports as BIF6; its own files are named and refused.

May import numpy, xarray, schema and io below.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.errors import UnsupportedVariant
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.schema import coordinate

__all__ = ["images", "refuse"]

MAGIC = b"\0\0BIF6"
_HEADER, _INTERVAL = 12, 16


def images(path: str) -> dict[str, xr.Dataset]:
    """Read the images of a BIF6 file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        ``intensity(y, x, ion)`` in counts with ``mass_to_charge(ion)``, ``mass_low`` and ``mass_high``; where the first
        image is that of all ions, ``total_ions(y, x)``. The file has no size of a pixel; the first line is taken for
        the top.

    Raises
    ------
    NotThisFormat, CorruptFile

    Notes
    -----
    *Laziness*: the limits of each interval are read; an ion image reads its block.
    """
    with Cursor(path) as cursor:
        cursor.expect(MAGIC, "magic")
        count, nx, ny = (cursor.integer("<u2", name, low=1) for name in ("intervals", "width", "height"))
        size = _INTERVAL + 4 * nx * ny
        if cursor.size != _HEADER + count * size:
            raise cursor.corrupt(
                f"{cursor.size} bytes where {count} images of {ny} x {nx} make {_HEADER + count * size}", "intervals"
            )
        rows = []
        for number in range(count):
            cursor.seek(_HEADER + number * size, "interval")
            rows.append((cursor.integer("<u4", "id"), *cursor.numbers("<f4", 3, "limits").tolist()))
        low, mass, high = np.array([row[1:] for row in rows]).T
        if not (np.isfinite([low, mass, high]).all() and (low <= mass).all() and (mass <= high).all()):
            raise cursor.corrupt("an interval whose middle lies outside", "limits", _HEADER)
    first = int(rows[0][0] == 0 and count > 1)
    ions = RawArray.strided(
        path, _HEADER + _INTERVAL + first * size, "<u4", (ny, nx, count - first), (4 * nx, 4, size)
    ).flip(0)
    coords = common.image_coordinates(nx, ny, None, None)
    coords["ion"] = coordinate("ion", np.arange(count - first))
    for name, values in (("mass_to_charge", mass), ("mass_low", low), ("mass_high", high)):
        coords[name] = coordinate("ion", values[first:], name=name, units="1", dimension_type="component")
    variables = {"intensity": common.lazy_variable(("y", "x", "ion"), ions, "Ion images", "counts")}
    if first:
        total = RawArray.contiguous(path, _HEADER + _INTERVAL, "<u4", (ny, nx), flip=(0,))
        variables["total_ions"] = common.lazy_variable(("y", "x"), total, "All ions", "counts")
    return {
        "": common.dataset(
            variables, coords, {"intervals": count, "width": nx, "height": ny, "ids": [row[0] for row in rows]},
            modality="mass spectrometry imaging", instrument="ION-TOF", data_type="ion images",
        )
    }  # fmt: skip


def refuse(path: str) -> dict[str, xr.Dataset]:
    """Say why a file of SurfaceLab's own is not read.

    Parameters
    ----------
    path : str

    Raises
    ------
    UnsupportedVariant
        Always, with what to export instead.

    Notes
    -----
    *Laziness*: nothing is read.
    """
    raise UnsupportedVariant(
        "a file of ION-TOF's SurfaceLab, whose layout the maker does not publish: export the ion images as BIF6, or "
        "the spectra as imzML, and open these",
        path=path,
    )

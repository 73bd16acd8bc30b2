"""Gwyddion: Simple Field ``.gsf`` (a text header before one block of float32).

Gwyddion stores the top row first; here the bottom row comes first. May import numpy, xarray, schema, units, io below.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.schema import identifiers
from xpycro.units import to_base

__all__ = ["simple_field"]

_MAGIC = "Gwyddion Simple Field 1.0"


def simple_field(path: str) -> dict[str, xr.Dataset]:
    """Read a Gwyddion Simple Field (``.gsf``).

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        One group with one variable over ``(y, x)``, named after the title.

    Raises
    ------
    NotThisFormat, CorruptFile

    Notes
    -----
    *Laziness*: only the header is read.

    References
    ----------
    Gwyddion user guide, "Gwyddion Simple Field".
    """
    with Cursor(path) as cursor:
        cursor.expect(_MAGIC.encode() + b"\n", "magic")
        text = cursor.until(b"\0", "header")
        # one to four NUL bytes fill the header up to a multiple of four
        padding = -cursor.position % 4
        if cursor.read(padding, "padding").strip(b"\0"):
            raise cursor.corrupt("the bytes that pad the header are not NUL", "padding")
        header = {}
        for line in text.decode("utf-8", "replace").splitlines():
            key, equals, value = line.partition("=")
            if not equals:
                raise cursor.corrupt(f"a header line {line[:40]!r} without '='", "header", 0)
            header[key.strip()] = value.strip()
        for needed in ("XRes", "YRes"):
            if needed not in header:
                raise cursor.corrupt(f"the header lacks {needed!r}", needed, 0)
        nx, ny = (integer(header[key], key, cursor, low=1, offset=0) for key in ("XRes", "YRes"))
        nbytes = cursor.block((ny, nx), 4, "XRes, YRes")
        if nbytes != cursor.remaining:
            raise cursor.corrupt(f"{cursor.remaining - nbytes} bytes more than {nx} x {ny} float32", "XRes, YRes")
        size = [real(header.get(key, "1.0"), key, cursor, offset=0) for key in ("XReal", "YReal")]
        offset = [real(header.get(key, "0.0"), key, cursor, offset=0) for key in ("XOffset", "YOffset")]
        scale, xy_units = to_base(header.get("XYUnits"))
        factor, base = to_base(header.get("ZUnits"))
        known = bool(header.get("XYUnits"))
        coords = common.image_coordinates(nx, ny, size[0] * scale, size[1] * scale, xy_units if known else "pixel")
        raw = RawArray.contiguous(path, cursor.position, "<f4", (ny, nx), flip=(0,), factor=factor, target=np.float32)
        title = header.get("Title") or "data"
        name = identifiers([title], coords)[0]
        ds = common.dataset(
            {name: common.lazy_variable(("y", "x"), raw, title, base)},
            coords,
            header,
            modality="scanning probe microscopy",
            instrument="Gwyddion",
            data_type="image",
            title=title,
            offset_x=offset[0] * scale,
            offset_y=offset[1] * scale,
        )
        return {"": ds}

"""ESRF data format ``.edf``: detector frames, each a header of ``key = value ;`` lines and a block of numbers.

May import numpy, xarray, schema and io below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import xarray as xr

from xpycro.errors import NotThisFormat, UnsupportedVariant
from xpycro.io.cursor import Cursor, integer
from xpycro.io.rawarray import RawArray, StackedArray
from xpycro.io.translators import _common as common
from xpycro.io.translators import _records as records
from xpycro.io.translators._detector import detector_coordinates
from xpycro.schema import coordinate

__all__ = ["frames", "is_edf"]

_HEADER = 1 << 20
_FRAMES = 1 << 20
_TYPES = {
    "signedbyte": "i1", "unsignedbyte": "u1", "signedshort": "i2", "unsignedshort": "u2", "signedinteger": "i4",
    "unsignedinteger": "u4", "signedlong": "i4", "unsignedlong": "u4", "signed64": "i8", "unsigned64": "u8",
    "float": "f4", "floatvalue": "f4", "real": "f4", "double": "f8", "doublevalue": "f8",
}  # fmt: skip


def is_edf(head: bytes) -> bool:
    """Whether a file begins with such a header."""
    start = head.lstrip(b"\r\n \t")
    return start.startswith(b"{") and b"dim_1" in start.lower() and b"=" in start


def frames(path: str, *, scan_shape: tuple[int, int] | None = None) -> dict[str, xr.Dataset]:
    """Read an ESRF data file.

    Parameters
    ----------
    path : str
    scan_shape : (int, int), optional
        Lines and points of the scan that the frames of the file are; the first line lies at the top, the last may be
        incomplete.

    Returns
    -------
    dict of str to Dataset
        ``intensity(ky, kx)``, of several frames ``(frame, ky, kx)`` or a scan, the first row at the top. ``ky, kx``
        count from the centre of the beam, in 1/m (small angles: pixel over wavelength times distance) where the header
        has centre, pixel, distance and wavelength, else in pixels; then ``two_theta(ky, kx)`` in degree and
        ``q(ky, kx)`` in 1/m are coordinates too.

    Raises
    ------
    NotThisFormat, CorruptFile
    UnsupportedVariant
        If the frames are compressed, or differ in shape or type.
    DimensionError
        If `scan_shape` does not fit.

    Notes
    -----
    *Laziness*: only the headers are read.

    References
    ----------
    ESRF, "SAXS image data format" (P. Boesecke): names of the keys, Center_1 along a row and counted from the edge of
    the first pixel.
    """
    with Cursor(path) as cursor:
        if not is_edf(cursor.peek(4096)):
            raise NotThisFormat("does not begin with a header in braces that has Dim_1", path=path, offset=0)
        headers: list[dict[str, str]] = []
        raws: list[RawArray] = []
        while cursor.remaining:
            if len(raws) >= _FRAMES:
                raise cursor.corrupt(f"more than {_FRAMES} frames", "header")
            header, raw = _frame(path, cursor)
            if raws and (raw.shape, raw.dtype) != (raws[0].shape, raws[0].dtype):
                raise UnsupportedVariant("frames of different shapes or types", path=path, offset=cursor.position)
            headers.append(header)
            raws.append(raw)
    data = common.stack([raw.flip(0) for raw in raws])
    dims = ("frame", "ky", "kx") if len(raws) > 1 else ("ky", "kx")
    coords = _geometry(headers[0], raws[0].shape)
    variables = {"intensity": common.lazy_variable(dims, data, "Intensity", "counts")}
    if scan_shape is not None:
        stacked = StackedArray(tuple(raw.flip(0) for raw in raws), 0)
        found, scan = records.scanned(stacked, scan_shape, path, "Intensity", "counts")
        variables = {"intensity": found.pop("frames"), **found}
        coords.update(scan)
    elif len(raws) > 1:
        coords["frame"] = coordinate("frame", np.arange(len(raws)))
    first = headers[0]
    ds = common.dataset(
        variables, coords, {"frames": headers},
        modality="X-ray diffraction", data_type="diffraction patterns", title=first.get("Title") or None,
        acquired=common.iso_time(first.get("Time") or first.get("time")),
    )  # fmt: skip
    return {"": ds}


def _frame(path: str, cursor: Cursor) -> tuple[dict[str, str], RawArray]:
    start = cursor.position
    text = cursor.until(b"}", "header", limit=_HEADER).decode("latin-1")
    end = cursor.read(1, "end of the header")
    if end == b"\r":
        end = cursor.read(1, "end of the header")
    if end != b"\n" or "{" not in text:
        raise cursor.corrupt("the header does not end with '}' and a new line", "header", start)
    header: dict[str, str] = {}
    for line in text.partition("{")[2].split(";"):
        key, equals, value = line.partition("=")
        if equals:
            header[key.strip()] = value.strip()
        elif line.strip():
            raise cursor.corrupt(f"{line.strip()[:40]!r} is no 'key = value ;'", "header", start)
    known = {key.lower(): value for key, value in header.items()}
    if known.get("compression", "none").lower() not in ("none", "nocompression", ""):
        raise UnsupportedVariant(f"compression {known['compression'][:30]!r}", path=path, offset=start)
    if "dim_3" in known and integer(known["dim_3"], "Dim_3", cursor, offset=start) != 1:
        raise UnsupportedVariant("a frame of three dims", path=path, offset=start, field="Dim_3")
    for needed in ("dim_1", "dim_2", "datatype"):
        if needed not in known:
            raise cursor.corrupt("is missing", needed, start)
    nx, ny = (integer(known[name], name, cursor, low=1, high=1 << 24, offset=start) for name in ("dim_1", "dim_2"))
    letters = _TYPES.get(known["datatype"].lower())
    order = {"lowbytefirst": "<", "highbytefirst": ">"}.get(known.get("byteorder", "LowByteFirst").lower())
    if letters is None or order is None:
        raise cursor.corrupt(f"{known['datatype'][:30]!r}, {known.get('byteorder', '')[:30]!r}", "DataType", start)
    dtype = np.dtype(order + letters)
    nbytes = cursor.block((ny, nx), dtype.itemsize, "Dim_1, Dim_2")
    stated = integer(known["size"], "Size", cursor, low=0, offset=start) if "size" in known else nbytes
    if stated != nbytes:
        raise cursor.corrupt(f"says {stated} bytes and {ny} x {nx} numbers have {nbytes}", "Size", start)
    raw = RawArray.contiguous(path, cursor.position, dtype, (ny, nx))
    cursor.skip(nbytes, "frame")
    return header, raw


def _geometry(header: Mapping[str, str], shape: tuple[int, ...]) -> dict[str, xr.Variable]:
    """Coordinates of the detector, with two theta where the geometry is known; corners are counted from the edge."""
    known = {key.lower(): value for key, value in header.items()}

    def number(name: str) -> float | None:
        found = re.match(r"[-+0-9.eE]+", known.get(name, ""))  # "2.5e-05_m" names its unit
        try:
            return float(found[0]) if found else None
        except ValueError:
            return None

    row, column = number("center_2"), number("center_1")
    beam = (None if row is None else row - 0.5, None if column is None else column - 0.5)
    pixel = number("psize_2"), number("psize_1")
    return detector_coordinates((shape[0], shape[1]), beam, pixel, number("sampledistance"), number("wavelength"))

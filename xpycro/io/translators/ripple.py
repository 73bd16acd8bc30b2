"""Lispix Ripple (``.rpl`` beside a ``.raw``), and raw binary whose dtype and shape are stated by the caller.

May import numpy, xarray, schema and io below.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io.cursor import Cursor, integer, real
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators._axes import Axis, layout
from xpycro.schema import DIMENSIONS, coordinate

__all__ = ["cube", "raw"]

_TYPES = {("signed", 1): "i1", ("unsigned", 1): "u1", ("signed", 2): "i2", ("unsigned", 2): "u2", ("signed", 4): "i4",
          ("unsigned", 4): "u4", ("float", 4): "f4", ("float", 8): "f8", ("signed", 8): "i8",
          ("unsigned", 8): "u8"}  # fmt: skip
_ORDER = {"big-endian": ">", "little-endian": "<", "dont-care": "<"}


def cube(path: str) -> dict[str, xr.Dataset]:
    """Read a Ripple file.

    Parameters
    ----------
    path : str
        The ``.rpl``; the ``.raw`` of the same name lies beside it.

    Returns
    -------
    dict of str to Dataset
        ``counts`` over ``y, x`` and the signal dim that the units of ``depth`` name.

    Raises
    ------
    NotThisFormat, CorruptFile

    Notes
    -----
    *Laziness*: only the ``.rpl`` is read.

    References
    ----------
    D. Bright, "Lispix: Ripple file format", NIST.
    """
    with Cursor(path) as cursor:
        if cursor.size > 1 << 20:
            raise NotThisFormat("a header of more than 1 MB", path=path)
        header: dict[str, str] = {}
        while cursor.remaining:
            line = cursor.line("header")
            if line.startswith(";") or not line.strip():
                continue
            key, *value = line.split(None, 1)
            if not value and "\t" not in line:
                raise cursor.corrupt(f"a line {line[:40]!r} without a tab", "header")
            header[key.lower()] = value[0].strip() if value else ""
        if header.pop("key", "value") != "value" or "data-type" not in header:
            raise NotThisFormat("no table of keys and values with data-type", path=path)
        sizes = {n: integer(header.get(n, "1"), n, cursor, low=1, offset=0) for n in ("width", "height", "depth")}
        start = integer(header.get("offset", "0"), "offset", cursor, low=0, offset=0)
        length = integer(header.get("data-length", "0"), "data-length", cursor, offset=0)
        kind = _TYPES.get((header["data-type"].lower(), length))
        order = _ORDER.get(header.get("byte-order", "dont-care").lower())
        record = header.get("record-by", "dont-care").lower()
        if kind is None or order is None or record not in ("image", "vector", "dont-care"):
            raise cursor.corrupt(
                f"data-type {header['data-type']!r} of {length} bytes, byte-order {header.get('byte-order')!r}, "
                f"record-by {record!r} is not known", "header", 0,
            )  # fmt: skip
        names = ("depth", "height", "width") if record == "image" else ("height", "width", "depth")
        axes = [_axis(header, name, sizes[name], cursor, record) for name in names]
    file = _beside(path)
    shape = tuple(sizes[name] for name in names)
    dtype = np.dtype(order + kind)
    if os.path.getsize(file) != start + math.prod(shape) * dtype.itemsize:
        raise CorruptFile(
            f"{' x '.join(map(str, shape))} values of {dtype.itemsize} bytes from byte {start} are not its "
            f"{os.path.getsize(file)} bytes", path=file, field="width, height, depth",
        )  # fmt: skip
    kept = [n for n, size in enumerate(shape) if size > 1] or [len(shape) - 1]
    laid = layout([axes[n] for n in kept], top_first=True)
    full = RawArray.contiguous(file, start, dtype, tuple(shape[n] for n in kept))
    strides = tuple(full.strides[n] for n in laid.order)
    array = RawArray.strided(file, start, dtype, tuple(full.shape[n] for n in laid.order), strides)
    for axis, flip in enumerate(laid.flip):
        array = array.flip(axis) if flip else array
    variable = common.lazy_variable(laid.dims, array, "Counts", "counts")
    ds = common.dataset(
        {"counts": variable}, laid.coords, header, title=header.get("title"), data_type=header.get("signal") or None,
        modality="electron microscopy", acquired=common.iso_time(f"{header.get('date')} {header.get('time')}"),
    )  # fmt: skip
    return {"": ds}


def _axis(header: dict[str, str], name: str, size: int, cursor: Cursor, record: str) -> Axis:
    scale = real(header.get(f"{name}-scale", "1"), f"{name}-scale", cursor, offset=0) or 1.0
    origin = real(header.get(f"{name}-origin", "0"), f"{name}-origin", cursor, offset=0)
    label = {"width": "x", "height": "y", "depth": ""}[name]
    units = header.get(f"{name}-units", "")
    said = header.get(f"{name}-name", "")
    if name == "depth" and "ev-per-chan" in header and not units:
        units, scale = "eV", real(header["ev-per-chan"], "ev-per-chan", cursor, offset=0)
    if name == "depth" and header.get("signal", "").upper() == "EELS":
        said = "Energy loss"
    plain = units.lower() in ("", "m", "nm", "um", "µm", "mm", "pixels", "px", "angstrom", "å")
    return Axis(size, label if plain and name != "depth" else said, units, scale, origin, signal=name == "depth")


def _beside(path: str) -> str:
    for suffix in (".raw", ".RAW", ".bin"):
        file = os.path.splitext(path)[0] + suffix
        if os.path.isfile(file):
            return file
    raise CorruptFile(
        f"the data lie in {os.path.basename(os.path.splitext(path)[0])}.raw, which is not there", path=path
    )


def raw(
    path: str,
    *,
    dtype: str = "",
    shape: Sequence[int] = (),
    dims: Sequence[str] = (),
    offset: int = 0,
) -> dict[str, xr.Dataset]:
    """Read raw binary of a stated dtype and shape.

    Parameters
    ----------
    path : str
    dtype : str
        A numpy dtype with byte order, such as ``"<u2"``.
    shape : sequence of int
        Slowest axis first; one -1 stands for what fits.
    dims : sequence of str, optional
        A name for each axis; default ``x``, ``y, x``, ``frame, y, x``, ``y, x, ky, kx``.
    offset : int, optional
        Bytes before the first number.

    Returns
    -------
    dict of str to Dataset
        ``data`` in the stored order, uncalibrated.

    Raises
    ------
    ValueError
        If dtype and shape are not given or do not fit the file.

    Notes
    -----
    *Laziness*: nothing is read.
    """
    if not dtype or not shape:
        raise ValueError('format="raw" needs dtype= (such as "<u2") and shape= (such as (256, 256, -1))')
    kind = np.dtype(dtype)
    if kind.kind not in "fciub":
        raise ValueError(f"dtype={dtype!r}: expected numbers")
    size = os.path.getsize(path) - offset
    sizes = [int(n) for n in shape]
    known = math.prod(n for n in sizes if n != -1)
    if sizes.count(-1) == 1 and known > 0:
        sizes[sizes.index(-1)] = size // (known * kind.itemsize)
    if offset < 0 or any(n < 1 for n in sizes) or math.prod(sizes) * kind.itemsize != size:
        raise ValueError(
            f"shape={tuple(shape)} of {kind.str} from byte {offset} needs {math.prod(sizes) * kind.itemsize} bytes and "
            f"{os.path.basename(path)} has {size}"
        )
    usual: dict[int, tuple[str, ...]] = {1: ("x",), 2: ("y", "x"), 3: ("frame", "y", "x"), 4: ("y", "x", "ky", "kx")}
    names = tuple(dims) or usual.get(len(sizes), tuple(f"dim_{n}" for n in range(len(sizes))))
    if len(names) != len(sizes) or len(set(names)) != len(names):
        raise ValueError(f"dims={tuple(dims)}: expected {len(sizes)} different names")
    coords: dict[str, Any] = {}
    for name, n in zip(names, sizes, strict=True):
        pixel = name in DIMENSIONS and DIMENSIONS[name].units != "1"
        coords[name] = coordinate(name, np.arange(n), units="pixel" if pixel else "1")
    variable = common.lazy_variable(names, RawArray.contiguous(path, offset, kind, sizes), "Data", "1")
    return {"": common.dataset({"data": variable}, coords, {"dtype": kind.str, "shape": sizes, "offset": offset})}

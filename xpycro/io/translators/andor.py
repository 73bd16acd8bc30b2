"""Andor ``.sif``: spectra and images of Andor's cameras, the header read by the package sif_parser (BSD).

May import numpy, xarray, schema and io below; sif_parser inside a function.
"""

from __future__ import annotations

import datetime
import math
import re
import warnings
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import xarray as xr

from xpycro.errors import CorruptFile, MissingExtra
from xpycro.io.cursor import Cursor
from xpycro.io.rawarray import RawArray
from xpycro.io.translators import _common as common
from xpycro.io.translators._stacks import pixels
from xpycro.schema import coordinate

__all__ = ["MAGIC", "frames"]

MAGIC = b"Andor Technology Multi-Channel File"


def frames(path: str) -> dict[str, xr.Dataset]:
    """Read an Andor file.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to Dataset
        ``counts(frame, y, x)``, without the dims of size one; of a calibrated spectrograph ``wavelength`` (m) or
        ``wavenumber`` (Raman shift, 1/cm) instead of ``x``. The first row of an image lies at the top.

    Raises
    ------
    NotThisFormat, CorruptFile
    MissingExtra
        Without sif_parser (``pip install "xpycro[formats]"``).

    Notes
    -----
    *Laziness*: only the header is read.
    """
    with Cursor(path) as cursor:
        cursor.expect(MAGIC, "first line")
        header = _header(path)
        shape, offset = _shape(header, cursor)
        cursor.seek(offset + cursor.block(shape, 4, "size of the images", offset=offset), "end of the images")
        if cursor.remaining and cursor.peek(2) not in (b"0\n", b"1\n"):  # whether background and reference follow
            raise cursor.corrupt("what follows the images is not the line that should", "end of the images")
    raw = RawArray.contiguous(path, offset, "<f4", shape, flip=(1,) if shape[1] > 1 else ())
    spectral = _spectral(header, shape[2])
    dims = ("frame", "y", spectral[0] if spectral else "x" if shape[1] > 1 else "point")
    coords: dict[str, xr.Variable] = {"frame": coordinate("frame", np.arange(shape[0])), "y": pixels("y", shape[1])}
    if spectral:
        dim, values, label = spectral
        raw = raw.flip(2) if values.size > 1 and values[0] > values[-1] else raw
        coords[dim] = coordinate(dim, np.sort(values), long_name=label)
    else:
        coords[dims[2]] = coordinate("point", np.arange(shape[2])) if shape[1] == 1 else pixels("x", shape[2])
    label = _text(header.get("DataType")) or "Counts"
    variable = common.lazy_variable(dims, raw, label, "counts/s" if "per second" in label else "counts")
    variable = variable.isel({dim: 0 for dim, size in zip(dims, shape, strict=True) if size == 1})
    coords = {dim: coord for dim, coord in coords.items() if dim in variable.dims}
    ds = common.dataset(
        {"counts": variable}, coords, _plain(header), instrument=f"Andor {header.get('DetectorType', '')}".strip(),
        modality="optical spectroscopy" if spectral else None, data_type="spectrum" if shape[1] == 1 else "image",
        acquired=_date(header.get("ExperimentTime")),
    )  # fmt: skip
    return {"": ds}


def _header(path: str) -> dict[str, Any]:
    try:
        import sif_parser
    except ImportError as error:
        raise MissingExtra("sif_parser", "formats", "reading Andor files") from error
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, header = sif_parser.np_open(_Ending(file), lazy="memmap")
    except Exception as error:  # whatever a foreign parser raises on a damaged file
        raise CorruptFile(
            f"sif_parser cannot read it ({type(error).__name__}: {str(error)[:200]})", path=path
        ) from error
    return dict(header)


class _Ending:
    """A file whose end is an error: sif_parser reads on for ever where the file was cut."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, n: int = -1) -> bytes:
        piece = self._file.read(n)
        if n != 0 and not piece:
            raise EOFError("the file ends within its header")
        return piece

    def readline(self) -> bytes:
        line = self._file.readline(1 << 20)
        if not line.endswith(b"\n"):
            raise EOFError("the file ends within its header, or a line has no end")
        return line


def _shape(header: Mapping[str, Any], cursor: Cursor) -> tuple[tuple[int, int, int], int]:
    """(frames, rows, columns), and the byte where the first frame begins."""
    try:
        columns, rows = (int(n) for n in header["size"])
        count, offset = int(header["NumberOfFrames"]), int(header["tile"][0][2])
        total, image = int(header["TotalLength"]), int(header["ImageLength"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise cursor.corrupt(f"the header lacks the size of its images ({error})", "size", 0) from None
    if min(columns, rows, count) < 1 or image != rows * columns or total != image * count:
        raise cursor.corrupt(f"{count} images of {rows} x {columns} and {total} points", "size", 0)
    return (count, rows, columns), offset


def _spectral(header: Mapping[str, Any], n: int) -> tuple[str, np.ndarray, str] | None:
    """Dim, values and label of a calibrated axis: the polynomial of the spectrograph, pixels counted from 1."""
    terms = np.asarray(header.get("Calibration_data", ()), dtype=float).ravel()
    if terms.size < 2 or not np.isfinite(terms).all() or (np.array_equal(terms[:2], (0, 1)) and not terms[2:].any()):
        return None
    values = np.polynomial.polynomial.polyval(np.arange(1, n + 1), terms)
    steps = np.diff(values)
    label = _text(header.get("FrameAxis"))
    if not ((steps > 0).all() or (steps < 0).all()):
        return None
    if re.search(r"raman|cm-1|wavenumber", label, re.I):
        return "wavenumber", values, "Raman shift"
    return ("wavelength", values * 1e-9, "Wavelength") if values.min() > 0 else None


def _text(value: Any) -> str:
    return value.decode("latin-1").strip("\0 \r\n") if isinstance(value, bytes) else str(value or "")


def _date(seconds: Any) -> str | None:
    if not isinstance(seconds, int | float) or not 0 < seconds < 1e11:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def _plain(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header without what only says where the numbers lie."""
    said = {}
    for key, value in header.items():
        if key in ("tile", "offset"):
            continue
        if isinstance(value, bytes):
            value = _text(value)
        elif isinstance(value, np.ndarray):
            value = value.tolist() if value.size <= 4096 else f"<{value.size} numbers>"
        elif isinstance(value, tuple):
            value = list(value)
        said[key] = None if isinstance(value, float) and not math.isfinite(value) else value
    return said

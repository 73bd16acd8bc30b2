"""A folder of single frames (TIFF, DM3, MRC, MIB...), one file a point, as a scan or a series.

May import numpy, xarray, errors, schema, the table of formats and io below.
"""

from __future__ import annotations

import fnmatch
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io import formats
from xpycro.io.hdf5_array import _ranges
from xpycro.io.rawarray import _Backend, stamp
from xpycro.io.translators import _common as common
from xpycro.io.translators._stacks import pixels, scan_grid
from xpycro.schema import coordinate

__all__ = ["FileFrames", "folder"]


@dataclass(frozen=True, eq=False)
class FileFrames:
    """Pictures of one shape, each read from its own file when it is used; the first line of a scan lies at the top.

    Attributes
    ----------
    files : tuple of str
    format : str
        The name of the format of all.
    picture : tuple of int
        Shape of each.
    dtype : numpy dtype
    place : ndarray of int
        Which file is where; -1 where a scan ended before, which is NaN.
    stamps : tuple
        Size and time of each file.
    """

    files: tuple[str, ...]
    format: str
    picture: tuple[int, ...]
    dtype: np.dtype
    place: np.ndarray
    stamps: tuple[tuple[int, int], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The scan, then the picture."""
        return (*self.place.shape, *self.picture)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        return np.result_type(self.dtype, np.float32) if (self.place < 0).any() else self.dtype

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xpycro.FileFrames", self.files, self.stamps, self.place.tobytes(), self.place.shape)

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names; only the files it touches are opened.

        Raises
        ------
        CorruptFile
            If one of them is not like the first.
        """
        spans, dropped = _ranges(key, self.shape)
        outer = self.place.ndim
        out = np.empty([len(span) for span in spans], self.result_dtype)
        inner = tuple(slice(s.start, s.stop if s.stop >= 0 else None, s.step) for s in spans[outer:])
        wanted = self.place[np.ix_(*spans[:outer])]
        for at in np.ndindex(wanted.shape):
            number = int(wanted[at])
            out[at] = np.nan if number < 0 else self.variable(number)[inner].values
        return out.reshape([n for axis, n in enumerate(out.shape) if axis not in dropped])

    def variable(self, number: int) -> xr.Variable:
        """The picture of one file, lazy."""
        file = self.files[number]
        return _alike(_picture(_opened(file, self.format), file), self.picture, self.dtype, file)


def _opened(file: str, name: str) -> xr.Dataset:
    return next(iter(formats.read_groups(file, formats.known()[name], {}).values()))


def _alike(variable: xr.Variable, shape: tuple[int, ...], dtype: np.dtype, file: str) -> xr.Variable:
    if (variable.shape, variable.dtype) != (shape, dtype):
        raise CorruptFile(f"is {variable.shape} of {variable.dtype} and the first is {shape} of {dtype}", path=file)
    return variable


def folder(path: str, *, scan_shape: tuple[int, int] | None = None, pattern: str = "*") -> dict[str, xr.Dataset]:
    """Read the pictures of a folder as a scan (or a series).

    Parameters
    ----------
    path : str
        The folder; files in natural order (``a2`` before ``a10``), the first line of the scan first.
    scan_shape : (int, int), optional
        Lines and points, the last line may be incomplete; without it the pictures are a series.
    pattern : str, optional
        Which names count, such as ``"*.dm3"``.

    Returns
    -------
    dict of str to Dataset
        ``NAME(y, x, ky, kx)`` where a scan is stated, else ``NAME(frame, y, x)``, of diffraction patterns ``(frame, ky,
        kx)``; with ``two_theta`` and ``q`` where the first file has them.

    Raises
    ------
    NotThisFormat
        If no file of the folder is recognised.
    CorruptFile
        If the pictures differ in shape or type, or one of them cannot be read.
    DimensionError
        If `scan_shape` does not fit their number.

    Notes
    -----
    *Laziness*: the headers of the first and the last file are read, of formats that are not compressed also those of
    files of another length; a picture, and whether it is like the first, only when it is used.
    """
    if not os.path.isdir(path):
        raise NotThisFormat("is not a folder", path=path)
    names = [name for name in sorted(os.listdir(path), key=_natural) if fnmatch.fnmatch(name, pattern)]
    paths = [file for name in names if os.path.isfile(file := os.path.join(path, name)) and not name.startswith(".")]
    found, files = _of_one_format(paths)
    if found is None:
        raise NotThisFormat(f"none of the {len(paths)} files that match {pattern!r} is recognised", path=path)
    first = _opened(files[0], found.name)
    picture = _picture(first, files[0])
    stamps = tuple(stamp(file) for file in files)
    unlike = [n for n, one in enumerate(stamps) if found.lazy == "block" and one[0] != stamps[0][0]]
    for number in dict.fromkeys([*unlike[:64], len(files) - 1]):
        _alike(_picture(_opened(files[number], found.name), files[number]), picture.shape, picture.dtype, files[number])
    grid = scan_grid(len(files), scan_shape, path, short=True)
    place = np.arange(math.prod(grid))
    place = np.where(place < len(files), place, -1).reshape(grid)
    place = place[::-1] if len(grid) == 2 else place
    name = next(iter(map(str, first.data_vars)))
    old = [str(dim) for dim in picture.dims]
    inner = ["ky", "kx"] if len(grid) == 2 else old
    outer = ["y", "x"] if len(grid) == 2 else ["frame"]
    coords: dict[str, xr.Variable] = {}
    for dim, size in zip(outer, grid, strict=True):
        coords[dim] = coordinate("frame", np.arange(size)) if dim == "frame" else pixels(dim, size)
    for dim, was, size in zip(inner, old, picture.shape, strict=True):
        known = first.coords.get(was)
        reciprocal = known is not None and (dim == was or known.attrs.get("units") == "1/m")
        coords[dim] = (
            coordinate(dim, known.values, units=str(known.attrs.get("units", "pixel")))
            if known is not None and reciprocal
            else pixels(dim, size)
        )
    coords.update({str(n): c.variable for n, c in first.coords.items() if c.ndim == 2 and list(c.dims) == inner})
    raw = FileFrames(tuple(files), found.name, picture.shape, picture.dtype, place, stamps)
    lazy = indexing.LazilyIndexedArray(_Backend(raw))  # type: ignore[arg-type]
    variables = {name: xr.Variable([*outer, *inner], lazy, dict(picture.attrs))}
    if (place < 0).any():
        variables["measured"] = xr.Variable(outer, place >= 0, {"units": "1", "long_name": "Measured pixels"})
    said = {k: v for k, v in first.attrs.items() if k not in ("original_metadata", "title")}
    header = {"files": [os.path.basename(f) for f in files], "first": first.attrs.get("original_metadata", "")}
    return {"": common.dataset(variables, coords, header, title=os.path.basename(os.path.abspath(path)), **said)}


def _of_one_format(paths: Sequence[str]) -> tuple[formats.Format | None, list[str]]:
    """The format of the first file that is recognised, and the files of it: by suffix, others by content."""
    table = formats.known().values()
    first: formats.Format | None = None
    suffix, files = "", []
    for file in paths:
        if first is None:
            known = formats.by_content(file, formats.head_of(file), table)
            if known:  # else notes, settings
                first, suffix = known[0], formats.suffix_of(file)
                files.append(file)
        elif formats.suffix_of(file) == suffix or first.sniff(formats.head_of(file), file):
            files.append(file)
    return first, files


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", name)]


def _picture(ds: xr.Dataset, file: str) -> xr.Variable:
    """The one picture of a file; dims of length one are left out."""
    for data in ds.data_vars.values():
        variable = data.variable
        if math.prod(variable.shape) and variable.dtype.kind in "fciub":
            squeezed = variable.isel(
                {dim: 0 for dim, size in variable.sizes.items() if size == 1 and variable.ndim > 2}
            )
            if squeezed.ndim == 2:
                return squeezed
    raise CorruptFile(f"holds no single picture ({dict(ds.sizes)})", path=file)

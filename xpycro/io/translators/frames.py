"""A folder of single frames (TIFF, DM3, MRC, MIB...), one file a point, as a scan or a series.

May import numpy, xarray, errors, schema, the table of formats and io below.
"""

from __future__ import annotations

import fnmatch
import math
import os
import re
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
    """Pictures of one shape, each lazily read from its own file; the first line of a scan lies at the top.

    Attributes
    ----------
    parts : tuple of xarray.Variable
    grid : tuple of int
        (lines, points), or (frames,).
    stamps : tuple
        Path, size and time of each file.
    """

    parts: tuple[xr.Variable, ...]
    grid: tuple[int, ...]
    stamps: tuple[tuple[Any, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The scan, then the picture."""
        return (*self.grid, *self.parts[0].shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        return self.parts[0].dtype

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xpycro.FileFrames", self.grid, self.stamps)

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names; only the files it touches are opened."""
        spans, dropped = _ranges(key, self.shape)
        outer = len(self.grid)
        out = np.empty([len(span) for span in spans], self.result_dtype)
        inner = tuple(slice(s.start, s.stop if s.stop >= 0 else None, s.step) for s in spans[outer:])
        for place in np.ndindex(*[len(span) for span in spans[:outer]]):
            at = [span[n] for span, n in zip(spans[:outer], place, strict=True)]
            if outer == 2:
                at[0] = self.grid[0] - 1 - at[0]
            out[place] = self.parts[int(np.ravel_multi_index(at, self.grid))][inner].values
        return out.reshape([n for axis, n in enumerate(out.shape) if axis not in dropped])


def folder(path: str, *, scan_shape: tuple[int, int] | None = None, pattern: str = "*") -> dict[str, xr.Dataset]:
    """Read the pictures of a folder as a scan (or a series).

    Parameters
    ----------
    path : str
        The folder; files in natural order (``a2`` before ``a10``), the first line of the scan first.
    scan_shape : (int, int), optional
        Lines and points; without it the pictures are a series.
    pattern : str, optional
        Which names count, such as ``"*.dm3"``.

    Returns
    -------
    dict of str to Dataset
        ``NAME(y, x, ky, kx)`` where a scan is stated, else ``NAME(frame, y, x)``.

    Raises
    ------
    NotThisFormat
        If no file of the folder is recognised.
    CorruptFile
        If the pictures differ in shape or type, or one of them cannot be read.
    ValueError
        If `scan_shape` does not fit their number.

    Notes
    -----
    *Laziness*: the header of each file is read, a picture only when it is used.
    """
    if not os.path.isdir(path):
        raise NotThisFormat("is not a folder", path=path)
    names = [name for name in sorted(os.listdir(path), key=_natural) if fnmatch.fnmatch(name, pattern)]
    files = [file for name in names if os.path.isfile(file := os.path.join(path, name)) and not name.startswith(".")]
    parts, first, stamps = [], None, []
    for file in files:
        found = formats.by_content(file, formats.head_of(file), formats.known().values())
        if not found:  # notes, settings
            continue
        ds = next(iter(formats.read_groups(file, found[0], {}).values()))
        variable = _picture(ds, file)
        if first is None:
            first = ds
        elif (variable.shape, variable.dtype) != (parts[0].shape, parts[0].dtype):
            raise CorruptFile(
                f"is {variable.shape} of {variable.dtype} and the first is {parts[0].shape} of {parts[0].dtype}",
                path=file,
            )
        parts.append(variable)
        stamps.append((file, *stamp(file)))
    if first is None:
        raise NotThisFormat(f"none of the {len(files)} files that match {pattern!r} is recognised", path=path)
    grid = scan_grid(len(parts), scan_shape, path)
    name = next(iter(map(str, first.data_vars)))
    old = [str(dim) for dim in parts[0].dims]
    inner = ["ky", "kx"] if len(grid) == 2 else old
    dims = [*(("y", "x") if len(grid) == 2 else ("frame",)), *inner]
    coords: dict[str, xr.Variable] = {}
    for dim, size in zip(dims[: len(grid)], grid, strict=True):
        coords[dim] = coordinate("frame", np.arange(size)) if dim == "frame" else pixels(dim, size)
    for dim, was, size in zip(inner, old, parts[0].shape, strict=True):
        known = first.coords.get(was)
        reciprocal = known is not None and (dim == was or known.attrs.get("units") == "1/m")
        coords[dim] = (
            coordinate(dim, known.values, units=str(known.attrs.get("units", "pixel")))
            if known is not None and reciprocal
            else pixels(dim, size)
        )
    lazy = indexing.LazilyIndexedArray(_Backend(FileFrames(tuple(parts), grid, tuple(stamps))))  # type: ignore[arg-type]
    variable = xr.Variable(dims, lazy, dict(parts[0].attrs))
    said = {k: v for k, v in first.attrs.items() if k not in ("original_metadata", "title")}
    header = {"files": [os.path.basename(s[0]) for s in stamps], "first": first.attrs.get("original_metadata", "")}
    return {"": common.dataset({name: variable}, coords, header, title=os.path.basename(os.path.abspath(path)), **said)}


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

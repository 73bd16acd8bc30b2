"""Dectris master files (Arina, Eiger): NeXus with the frames in ``entry/data/data_000001...``, linked from other files.

May import numpy, xarray, schema and io below, h5py inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from xpycro.errors import CorruptFile, NotThisFormat
from xpycro.io import hdf5_array
from xpycro.io.hdf5_guard import opened
from xpycro.io.rawarray import _Backend
from xpycro.io.translators import _common as common
from xpycro.io.translators import _h5tools as h5
from xpycro.schema import coordinate

__all__ = ["master"]


@dataclass(frozen=True)
class Frames:
    """Frames of several datasets one after another, seen as a scan; detector rows turned upwards.

    Attributes
    ----------
    parts : tuple of H5Array
        Each (frame, ky, kx).
    grid : tuple of int
        The scan: (y, x), or (frame,).
    """

    parts: tuple[hdf5_array.H5Array, ...]
    grid: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The scan, then the detector."""
        return (*self.grid, *self.parts[0].shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        return self.parts[0].result_dtype

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xpycro.Frames", self.grid, *[part.__dask_tokenize__() for part in self.parts])

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names; only the frames it touches are read."""
        spans, dropped = hdf5_array._ranges(key, self.shape)
        n = len(self.grid)
        grid = list(spans[:n])
        if n == 2:  # the first line of the scan is the top one
            top = self.grid[0] - 1
            grid[0] = range(top - grid[0].start, top - grid[0].stop, -grid[0].step)
        wanted = np.asarray(
            [sum(i * math.prod(self.grid[a + 1 :]) for a, i in enumerate(at)) for at in _product(grid)], np.int64
        )
        inner = tuple(slice(s.start, s.stop if s.stop >= 0 else None, s.step) for s in spans[n:])
        out = np.zeros((wanted.size, *[len(s) for s in spans[n:]]), self.result_dtype)
        first = 0
        for part in self.parts:
            last = first + part.shape[0]
            here = np.flatnonzero((wanted >= first) & (wanted < last))
            for start, stop, at in hdf5_array._runs(wanted[here], 1) if here.size else []:
                block = part.read((slice(start - first, stop - first), *inner))
                out[here[at]] = block[wanted[here[at]] - start]
            first = last
        out = out.reshape([len(span) for span in spans])
        return out.reshape([size for axis, size in enumerate(out.shape) if axis not in dropped])


def _product(spans: Sequence[range]) -> list[tuple[int, ...]]:
    import itertools

    return list(itertools.product(*spans))


def master(
    path: str, *, scan_shape: tuple[int, int] | None = None, trust: bool = False, isolate: bool = False
) -> dict[str, xr.Dataset]:
    """Read the frames that a Dectris master file links to.

    Parameters
    ----------
    path : str
    scan_shape : (int, int), optional
        Lines and points of the scan. Without it an externally triggered series of a square number of frames is taken
        for a square scan, anything else for frames.
    trust : bool, optional
        Follow links and external storage outside the folder too.
    isolate : bool, optional
        Walk the file in a child process with limits first.

    Returns
    -------
    dict of str to Dataset
        ``counts(y, x, ky, kx)`` or ``counts(frame, ky, kx)``; the detector's pixels are not calibrated.

    Raises
    ------
    NotThisFormat, CorruptFile, UnsupportedVariant
    MissingExtra
        When data are read and hdf5plugin is not installed.

    Notes
    -----
    *Laziness*: only the master's header is read.
    """
    with opened(path, trust=trust, isolate=isolate) as (file, contents):
        if "/entry/data" not in contents.groups:
            raise NotThisFormat("the group entry/data is missing", path=path)
        group = file["/entry/data"]
        parts: list[hdf5_array.H5Array] = []
        for name in sorted(name for name in group if name.startswith("data_")):
            if f"/entry/data/{name}" in contents.missing:
                missing = contents.missing[f"/entry/data/{name}"]
                raise CorruptFile(f"the frames lie in {missing!r}, which is not there", path=path, field=name)
            data = group[name]
            if data.ndim != 3 or data.dtype.kind not in "iuf" or (parts and data.shape[1:] != parts[0].shape[1:]):
                raise CorruptFile(f"frames of shape {data.shape} and type {data.dtype}", path=path, field=name)
            parts.append(hdf5_array.array(data, flip=(False, True, False)))
        if not parts:
            raise CorruptFile("entry/data holds no frames", path=path, field="entry/data")
        header = h5.metadata(file, skip=frozenset(["data", "flatfield", "pixel_mask"]))
    frames = sum(part.shape[0] for part in parts)
    detector = header.get("entry", {}).get("instrument", {}).get("detector", {})
    special = detector.get("detectorSpecific", {})
    grid = scan_grid(frames, scan_shape, path, square=str(special.get("trigger_mode", "")).startswith("ext"))
    lazy = indexing.LazilyIndexedArray(_Backend(Frames(tuple(parts), grid)))  # type: ignore[arg-type]
    dims = ("y", "x", "ky", "kx") if len(grid) == 2 else ("frame", "ky", "kx")
    shape = (*grid, *parts[0].shape[1:])
    variable = xr.Variable(dims, lazy, {"units": "counts", "long_name": "Counts"})
    coords = {d: coordinate(d, np.arange(n, dtype=float), units="pixel") for d, n in zip(dims, shape, strict=True)}
    if "frame" in coords:
        coords["frame"] = coordinate("frame", np.arange(shape[0]))
    instrument = detector.get("description")
    ds = common.dataset(
        {"counts": variable}, coords, header, modality="scanning transmission electron microscopy",
        instrument=str(instrument) if instrument else "Dectris", data_type="diffraction patterns",
        acquired=common.iso_time(str(special.get("data_collection_date", ""))[:19]),
    )  # fmt: skip
    return {"": ds}


def scan_grid(frames: int, scan_shape: Sequence[int] | None, path: str, *, square: bool = False) -> tuple[int, ...]:
    """(y, x) of a scan of so many frames, or (frame,).

    Raises
    ------
    ValueError
        If `scan_shape` asks for more or fewer frames than there are.
    """
    if scan_shape is None:
        side = math.isqrt(frames)
        return (side, side) if square and side > 1 and side * side == frames else (frames,)
    if len(scan_shape) != 2 or any(int(n) < 1 for n in scan_shape) or math.prod(map(int, scan_shape)) != frames:
        raise ValueError(
            f"scan_shape={tuple(scan_shape)}: expected (lines, points) whose product is the {frames} frames of {path}"
        )
    return int(scan_shape[0]), int(scan_shape[1])

"""Records of lazy arrays, one after the other, each at its place in a scan: in any order, over several files.

May import numpy, xarray, errors and io below; knows no format.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from xpycro.io import hdf5_array
from xpycro.io.hdf5_array import H5Array
from xpycro.io.rawarray import _Backend
from xpycro.io.translators._common import measured_variable
from xpycro.io.translators._stacks import pixels, scan_grid

__all__ = ["Nonzero", "Records", "chunk_length", "order_of", "scanned", "variable"]

_PIECE = 64 << 20  # bytes read in one go at most, one chunk of the file apart


@dataclass(frozen=True, eq=False)
class Records:
    """Records laid out as a scan; only those that an index touches are read.

    Attributes
    ----------
    parts : tuple of H5Array
        Or of any other array that is read by a basic index. Each has the axes that count records first, then those of
        one record.
    lead : int
        How many axes count records; one where there are several parts.
    place : ndarray of int
        The scan: which record lies there, counted through all parts; -1 (or beyond the last) where there is none, which
        is NaN.
    step : int
        Records in a chunk of the file, which are decoded together.
    """

    parts: tuple[H5Array, ...]
    lead: int
    place: np.ndarray
    step: int = 1

    @property
    def inner(self) -> tuple[int, ...]:
        """Shape of one record."""
        return self.parts[0].shape[self.lead :]

    @property
    def count(self) -> int:
        """Number of records."""
        return sum(math.prod(part.shape[: self.lead]) for part in self.parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """The scan, then one record."""
        return (*self.place.shape, *self.inner)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def gaps(self) -> bool:
        """Whether there are places without a record."""
        return bool(((self.place < 0) | (self.place >= self.count)).any())

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out: with gaps a float that holds each count exactly."""
        stored = self.parts[0].result_dtype
        return np.result_type(stored, np.float32) if self.gaps else stored

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        tokens = [part.__dask_tokenize__() for part in self.parts]
        return ("xpycro.Records", self.lead, self.place.shape, self.place.tobytes(), *tokens)

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names."""
        spans, dropped = hdf5_array._ranges(key, self.shape)
        outer = self.place.ndim
        wanted = self.place[np.ix_(*spans[:outer])].ravel()
        inner = tuple(slice(s.start, s.stop if s.stop >= 0 else None, s.step) for s in spans[outer:])
        out = np.zeros((wanted.size, *[len(s) for s in spans[outer:]]), self.result_dtype)
        if self.gaps:
            out[(wanted < 0) | (wanted >= self.count)] = np.nan
        first = 0
        for part in self.parts if out.size else ():
            last = first + math.prod(part.shape[: self.lead])
            here = np.flatnonzero((wanted >= first) & (wanted < last))
            for start, stop, at in self._pieces(wanted[here] - first, out[0].nbytes) if here.size else []:
                block = self._block(part, start, stop, inner)
                out[here[at]] = block[wanted[here[at]] - first - start]
            first = last
        out = out.reshape([len(span) for span in spans])
        return out.reshape([size for axis, size in enumerate(out.shape) if axis not in dropped])

    def _pieces(self, wanted: np.ndarray, nbytes: int) -> list[tuple[int, int, np.ndarray]]:
        """Runs of near records, cut so that one is no larger than `_PIECE`."""
        room = max(1, _PIECE // max(1, nbytes * self.step)) * self.step
        pieces = []
        for start, stop, at in hdf5_array._runs(wanted, self.step):
            for low in range(start - start % self.step, stop, room):
                inside = at[(wanted[at] >= low) & (wanted[at] < low + room)]
                if inside.size:
                    found = wanted[inside]
                    pieces.append((int(found.min()), int(found.max()) + 1, inside))
        return pieces

    def _block(self, part: H5Array, start: int, stop: int, inner: tuple[slice, ...]) -> np.ndarray:
        if self.lead == 1:
            return part.read((slice(start, stop), *inner))
        width = part.shape[self.lead - 1]  # several axes count: line by line
        lines = []
        for line in range(start // width, (stop - 1) // width + 1):
            above = np.unravel_index(line, part.shape[: self.lead - 1])
            span = slice(max(start - line * width, 0), min(stop - line * width, width))
            lines.append(part.read((*map(int, above), span, *inner)))
        return np.concatenate(lines)


@dataclass(frozen=True)
class Nonzero:
    """Where the numbers of an array are not zero."""

    part: H5Array

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array."""
        return self.part.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        return np.dtype(bool)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xpycro.Nonzero", *self.part.__dask_tokenize__())

    def read(self, key: Any = ()) -> np.ndarray:
        """Whether each number that a basic index names is not zero."""
        return self.part.read(key) != 0


def variable(dims: Sequence[str], raw: Records | Nonzero, long_name: str, units: str, **attrs: Any) -> xr.Variable:
    """A variable that reads its records when they are used."""
    lazy = indexing.LazilyIndexedArray(_Backend(raw))  # type: ignore[arg-type]
    made = xr.Variable(tuple(dims), lazy, {"units": units, "long_name": long_name, **attrs})
    first: Any = raw.parts[0] if isinstance(raw, Records) else raw.part
    while not hasattr(first, "path"):
        first = first.parts[0]
    made.encoding["source"] = first.path
    return made


def order_of(shape: Sequence[int]) -> np.ndarray:
    """Records one after the other along a scan whose first line lies at the top."""
    place = np.arange(math.prod(shape)).reshape(tuple(shape))
    return place[::-1] if place.ndim == 2 else place


def scanned(
    raw: Any, scan_shape: Sequence[int], path: str, long_name: str, units: str
) -> tuple[dict[str, xr.Variable], dict[str, xr.Variable]]:
    """Frames along the first axis of an array as a scan whose first line lies at the top.

    Parameters
    ----------
    raw : array
        (frame, rows, columns), rows turned upwards.
    scan_shape : (lines, points)
    path, long_name, units : str

    Returns
    -------
    variables, coordinates
        ``frames(y, x, ky, kx)``, with ``measured(y, x)`` where the last line is short; ``y, x`` in pixels.

    Raises
    ------
    DimensionError
        If `scan_shape` does not fit.
    """
    frames = raw.shape[0]
    grid = scan_grid(frames, scan_shape, path, short=True)
    place = np.arange(math.prod(grid))
    records = Records((raw,), 1, np.where(place < frames, place, -1).reshape(grid)[::-1])
    variables = {"frames": variable(("y", "x", "ky", "kx"), records, long_name, units)}
    if records.gaps:
        variables["measured"] = measured_variable(frames, grid[0], grid[1])[::-1]
    return variables, {dim: pixels(dim, size) for dim, size in zip(("y", "x"), grid, strict=True)}


def chunk_length(datasets: Sequence[Any], lead: int) -> int:
    """Records in a chunk of open datasets, of which the first tells."""
    chunks = datasets[0].chunks
    return max(1, int(chunks[lead - 1])) if chunks else 1

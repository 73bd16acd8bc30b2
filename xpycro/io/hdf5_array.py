"""Lazy arrays over HDF5 datasets: path and name, opened for each read; axes in any order; flat tables seen as grids.

Holds no handle and no lock, so it pickles and is safe in threads. May import numpy, xarray, errors and io below, h5py
inside functions; knows no dialect.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from xarray.core import indexing

from xpycro.errors import CorruptFile
from xpycro.io.hdf5_guard import check_filters, reading
from xpycro.io.rawarray import StackedArray, _Backend, stamp

__all__ = ["H5Array", "H5Table", "array", "lazy", "table", "variable"]

_GAP = 1 << 16  # bytes between two wanted runs of a table below which they are read in one go


@dataclass(frozen=True)
class H5Array:
    """An HDF5 dataset with its axes in another order, some turned round, some fixed; read when indexed.

    Attributes
    ----------
    path, name : str
    dtype : numpy dtype
        Stored.
    shape : tuple of int
        Of what is handed out.
    order : tuple of int
        Which axis of the dataset each axis is.
    flip : tuple of bool
        Which of these are turned round.
    fixed : tuple of (int, int)
        Axes of the dataset that are left out, and the index on each.
    field : str
        The field of a compound dataset.
    factor, constant : float
        The number handed out is ``stored * factor + constant``.
    stamp : tuple of int
        Size and modification time of the file.
    """

    path: str
    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    order: tuple[int, ...]
    flip: tuple[bool, ...]
    fixed: tuple[tuple[int, int], ...] = ()
    field: str = ""
    factor: float = 1.0
    constant: float = 0.0
    stamp: tuple[int, int] = (0, 0)
    part_by_part: ClassVar[bool] = True  # HDF5 goes through its chunks one by one

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        native = self.dtype.newbyteorder("=")
        return np.dtype(np.float64) if _is_scaled(self) and native.kind in "iub" else native

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xpycro.H5Array", self.path, *self.stamp, self.name, self.dtype.str, self.shape, self.order, self.flip,
                self.fixed, self.field, self.factor, self.constant)  # fmt: skip

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.read(key)

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names.

        Raises
        ------
        CorruptFile
            If the file changed its shape or HDF5 cannot read it.
        """
        starts, dropped = _ranges(key, self.shape)
        stored: list[Any] = [slice(None)] * (len(self.order) + len(self.fixed))
        for axis, index in self.fixed:
            stored[axis] = slice(index, index + 1)
        turned = []
        for axis, (span, flip, size) in enumerate(zip(starts, self.flip, self.shape, strict=True)):
            if flip:  # index i of a reversed axis is element size - 1 - i
                span = range(size - 1 - span.start, size - 1 - span.stop, -span.step)
            if len(span) and span.step < 0:
                span = span[::-1]
                turned.append(axis)
            stored[self.order[axis]] = slice(span.start, span.stop, span.step) if len(span) else slice(0, 0)
        values = self._stored(tuple(stored))
        values = values.transpose([*self.order, *[axis for axis, _ in self.fixed]])
        values = values.reshape(values.shape[: len(self.order)])
        values = values[tuple(slice(None, None, -1 if axis in turned else 1) for axis in range(values.ndim))]
        values = values.reshape([n for axis, n in enumerate(values.shape) if axis not in dropped])
        return _scaled(values, self)

    def _stored(self, key: tuple[slice, ...]) -> np.ndarray:
        with _dataset(self.path, self.name) as dataset:
            expected = {axis: size for axis, size in zip(self.order, self.shape, strict=True)}
            if len(dataset.shape) != len(key) or any(dataset.shape[a] != n for a, n in expected.items()):
                raise CorruptFile("has another shape than when it was opened", path=self.path, field=self.name)
            return np.asarray(dataset.fields(self.field)[key] if self.field else dataset[key])


@dataclass(frozen=True, eq=False)
class H5Table:
    """A two-dimensional dataset (rows by columns) seen as a grid, missing rows as NaN.

    Attributes
    ----------
    path, name : str
    dtype : numpy dtype
        Stored.
    row_shape, column_shape : tuple of int
        The grid; what is handed out has the shape ``row_shape + column_shape``.
    rows, columns : ndarray or None
        Which row each element of the row grid is, -1 where it is missing; None where they lie in order.
    field : str
    factor, constant : float
        As for `H5Array`.
    columns_first : bool
        Hand out ``column_shape + row_shape``.
    stamp : tuple of int
    """

    path: str
    name: str
    dtype: np.dtype
    row_shape: tuple[int, ...]
    column_shape: tuple[int, ...]
    rows: np.ndarray | None = None
    columns: np.ndarray | None = None
    field: str = ""
    factor: float = 1.0
    constant: float = 0.0
    columns_first: bool = False
    stamp: tuple[int, int] = (0, 0)
    part_by_part: ClassVar[bool] = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what is handed out."""
        if self.columns_first:
            return (*self.column_shape, *self.row_shape)
        return (*self.row_shape, *self.column_shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def _gaps(self) -> bool:
        return any(lookup is not None and bool((lookup < 0).any()) for lookup in (self.rows, self.columns))

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        native = self.dtype.newbyteorder("=")
        return np.dtype(np.float64) if native.kind in "iub" and (_is_scaled(self) or self._gaps) else native

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        lookups = [None if lookup is None else lookup.tobytes() for lookup in (self.rows, self.columns)]
        return ("xpycro.H5Table", self.path, *self.stamp, self.name, self.dtype.str, self.row_shape, self.column_shape,
                *lookups, self.field, self.factor, self.constant, self.columns_first)  # fmt: skip

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.read(key)

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names."""
        spans, dropped = _ranges(key, self.shape)
        n = len(self.column_shape if self.columns_first else self.row_shape)
        row_spans, column_spans = (spans[n:], spans[:n]) if self.columns_first else (spans[:n], spans[n:])
        rows = _lookup(self.rows, self.row_shape, row_spans)
        columns = _lookup(self.columns, self.column_shape, column_spans)
        values = self._gather(rows.ravel(), columns.ravel())
        values = values.T if self.columns_first else values
        shape = [len(span) for axis, span in enumerate(spans) if axis not in dropped]
        return _scaled(values.reshape(shape), self)

    def _gather(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        dtype = self.result_dtype if self._gaps else self.dtype.newbyteorder("=")
        out = np.zeros((rows.size, columns.size), dtype)
        if self._gaps:
            out[...] = np.nan
        if out.size == 0:
            return out
        with _dataset(self.path, self.name) as dataset:
            width = dataset.shape[1] * self.dtype.itemsize
            chunk = dataset.chunks or (1, 1)
            source = dataset.fields(self.field) if self.field else dataset
            for top, bottom, row_at in _runs(rows, max(chunk[0], _GAP // max(1, width))):
                for left, right, column_at in _runs(columns, max(chunk[1], _GAP // self.dtype.itemsize)):
                    block = np.asarray(source[top:bottom, left:right])
                    out[np.ix_(row_at, column_at)] = block[np.ix_(rows[row_at] - top, columns[column_at] - left)]
        return out


def _ranges(key: Any, shape: Sequence[int]) -> tuple[list[range], set[int]]:
    """What a basic index names along each axis, and the axes that an integer drops."""
    key = key if isinstance(key, tuple) else (key,)
    key = key + (slice(None),) * (len(shape) - len(key))
    spans, dropped = [], set()
    for axis, (index, size) in enumerate(zip(key, shape, strict=True)):
        if isinstance(index, slice):
            spans.append(range(*index.indices(size)))
        else:
            at = int(index)
            if not -size <= at < size:
                raise IndexError(f"index {at} is out of bounds for axis {axis} with size {size}")
            spans.append(range(at % size, at % size + 1))
            dropped.add(axis)
    return spans, dropped


def _lookup(lookup: np.ndarray | None, shape: Sequence[int], spans: Sequence[range]) -> np.ndarray:
    """The rows (or columns) of a grid that the spans name."""
    if lookup is not None:
        return lookup.reshape(shape)[np.ix_(*spans)] if spans else lookup.reshape(())
    result = np.zeros((), np.int64)
    for axis, span in enumerate(spans):
        result = result[..., None] + np.asarray(span, np.int64) * math.prod(shape[axis + 1 :])
    return result


def _runs(wanted: np.ndarray, gap: int) -> list[tuple[int, int, np.ndarray]]:
    """First, last + 1 and the places in `wanted` of each run of near indices; -1 is left out."""
    present = np.flatnonzero(wanted >= 0)
    present = present[np.argsort(wanted[present], kind="stable")]
    if not present.size:
        return []
    cuts = np.flatnonzero(np.diff(wanted[present]) > gap) + 1
    return [(int(wanted[p[0]]), int(wanted[p[-1]]) + 1, p) for p in np.split(present, cuts)]


def _is_scaled(raw: H5Array | H5Table) -> bool:
    return (raw.factor, raw.constant) != (1.0, 0.0)


def _scaled(values: np.ndarray, raw: H5Array | H5Table) -> np.ndarray:
    if _is_scaled(raw):
        values = values * raw.factor + raw.constant if raw.constant else values * raw.factor
    return np.ascontiguousarray(values, raw.result_dtype).reshape(values.shape)


class _dataset:
    """One dataset, opened for one read."""

    def __init__(self, path: str, name: str) -> None:
        self.path, self.name = path, name

    def __enter__(self) -> Any:
        import h5py

        self._guard = reading(self.path)
        self._guard.__enter__()
        try:
            self._file = h5py.File(self.path, "r")
            dataset = self._file[self.name]
            check_filters(dataset, self.path)
            return dataset
        except BaseException as error:
            self._guard.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(self, *problem: Any) -> None:
        self._file.close()
        self._guard.__exit__(*problem)


# ----------------------------------------------------------------------------------------------------------- make


def array(
    dataset: Any,
    *,
    order: Sequence[int] | None = None,
    flip: Sequence[bool] | None = None,
    fixed: Sequence[tuple[int, int]] = (),
    field: str = "",
    factor: float = 1.0,
    constant: float = 0.0,
) -> H5Array:
    """Describe an open dataset."""
    left = [axis for axis in range(len(dataset.shape)) if axis not in dict(fixed)]
    axes = tuple(left if order is None else order)
    dtype = dataset.dtype[field] if field else dataset.dtype
    shape = tuple(int(dataset.shape[axis]) for axis in axes)
    turned = tuple(bool(f) for f in flip) if flip is not None else (False,) * len(axes)
    path = os.path.abspath(dataset.file.filename)  # an external link leads into another file
    return H5Array(
        path, dataset.name, np.dtype(dtype), shape, axes, turned, tuple(fixed), field, float(factor),
        float(constant), stamp(path),
    )  # fmt: skip


def table(
    dataset: Any,
    row_shape: Sequence[int],
    column_shape: Sequence[int],
    *,
    rows: np.ndarray | None = None,
    columns: np.ndarray | None = None,
    field: str = "",
    factor: float = 1.0,
    constant: float = 0.0,
    columns_first: bool = False,
) -> H5Table:
    """Describe an open two-dimensional dataset as a grid."""
    dtype = dataset.dtype[field] if field else dataset.dtype
    path = os.path.abspath(dataset.file.filename)
    return H5Table(
        path, dataset.name, np.dtype(dtype), tuple(map(int, row_shape)), tuple(map(int, column_shape)),
        rows, columns, field, float(factor), float(constant), columns_first, stamp(path),
    )  # fmt: skip


def lazy(raw: H5Array | H5Table | StackedArray) -> indexing.LazilyIndexedArray:
    """What goes into an `xarray.Variable`: lazily indexed, nothing read."""
    return indexing.LazilyIndexedArray(_Backend(raw))  # type: ignore[arg-type]


def variable(
    dims: Sequence[str],
    raw: H5Array | H5Table | StackedArray,
    long_name: str,
    units: str,
    chunks: Sequence[int] | None = None,
    **attrs: Any,
) -> xr.Variable:
    """A variable that reads its numbers from the file when they are used.

    `chunks` are those of the dataset, in its own axis order; they become the preferred chunks.
    """
    made = xr.Variable(tuple(dims), lazy(raw), {"units": units, "long_name": long_name, **attrs})
    made.encoding["source"] = raw.parts[0].path if isinstance(raw, StackedArray) else raw.path
    if chunks is not None and isinstance(raw, H5Array):
        made.encoding["preferred_chunks"] = {dim: int(chunks[a]) for dim, a in zip(dims, raw.order, strict=True)}
    return made

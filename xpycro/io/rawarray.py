"""Lazy arrays over binary blocks of a file: path, offset, dtype, shape and strides, opened for each read.

Holds no handle and no lock, so it pickles, is safe in threads, and a file can be moved on while it is open elsewhere.
May import numpy, xarray and the errors; knows no format.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from xpycro.errors import CorruptFile

__all__ = ["ComplexArray", "PaddedArray", "RawArray", "StackedArray", "lazy", "read_block", "stamp"]

_SPAN = 1 << 24  # a block with gaps is read in pieces of this at most
_GAP = 1 << 14  # what is this close is read in one go, gaps included


def read_block(handle: Any, offset: int, buffer: memoryview) -> int:
    """Fill `buffer` from `offset`; the number of bytes got. Every byte of data passes here (tests count them)."""
    if hasattr(os, "preadv"):  # one system call instead of two, which counts where a map gathers a million pixels
        return os.preadv(handle.fileno(), [buffer], offset)
    handle.seek(offset)
    return handle.readinto(buffer) or 0


def stamp(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Size in bytes and modification time in ns of a file: what tells one state of it from another."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class RawArray:
    """An n-dimensional view of numbers in a file, read when indexed.

    Attributes
    ----------
    path : str
    offset : int
        Byte of the element at index (0, 0, ...).
    dtype : numpy dtype
        As stored, with its byte order.
    shape : tuple of int
    strides : tuple of int
        Bytes from one element to the next along each axis; negative where the axis is stored reversed, so that an
        image stored top row first is turned without being touched.
    factor, constant : float
        The number handed out is ``stored * factor + constant``.
    target : numpy dtype or None
        dtype handed out; None gives the stored one in native byte order, or a float where a factor is set.
    end : int or None
        First byte after what was written; elements beyond it are missing and read as NaN (an aborted scan).
    stamp : tuple of int
        Size and modification time of the file when it was described (see `stamp`).

    Examples
    --------
    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "raw.bin")
    >>> _ = np.arange(6, dtype=">f4").tofile(path)
    >>> raw = RawArray.contiguous(path, 0, ">f4", (2, 3), flip=(0,))
    >>> raw.read()
    array([[3., 4., 5.],
           [0., 1., 2.]], dtype=float32)
    """

    path: str
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    factor: float = 1.0
    constant: float = 0.0
    target: np.dtype | None = None
    end: int | None = None
    stamp: tuple[int, int] = field(default=(0, 0))
    part_by_part: ClassVar[bool] = True  # a read holds what is wanted, or pieces of 16 MB

    @classmethod
    def contiguous(
        cls,
        path: str,
        offset: int,
        dtype: Any,
        shape: Sequence[int],
        *,
        flip: Sequence[int] = (),
        factor: float = 1.0,
        constant: float = 0.0,
        target: Any = None,
        end: int | None = None,
    ) -> RawArray:
        """A block stored with the last axis fastest; `flip` names the axes to turn round."""
        kind = np.dtype(dtype)
        strides = [kind.itemsize] * len(shape)
        for axis in range(len(shape) - 2, -1, -1):
            strides[axis] = strides[axis + 1] * shape[axis + 1]
        raw = cls.strided(path, offset, kind, shape, strides, factor=factor, constant=constant, target=target, end=end)
        for axis in flip:
            raw = raw.flip(axis)
        return raw

    @classmethod
    def strided(
        cls,
        path: str,
        offset: int,
        dtype: Any,
        shape: Sequence[int],
        strides: Sequence[int],
        *,
        factor: float = 1.0,
        constant: float = 0.0,
        target: Any = None,
        end: int | None = None,
    ) -> RawArray:
        """A block with strides in bytes; the file's present size and time are noted."""
        return cls(
            os.path.abspath(path),
            int(offset),
            np.dtype(dtype),
            tuple(map(int, shape)),
            tuple(map(int, strides)),
            float(factor),
            float(constant),
            None if target is None else np.dtype(target),
            end,
            stamp(path),
        )

    # ------------------------------------------------------------------------------------------------------- shape

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        if self.target is not None:
            return self.target
        native = self.dtype.newbyteorder("=")
        scaled = (self.factor, self.constant) != (1.0, 0.0)
        if native.kind in "iub" and (scaled or self.end is not None):
            return np.dtype(np.float64)
        return native

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of what is handed out when read whole."""
        return math.prod(self.shape) * self.result_dtype.itemsize

    def flip(self, axis: int) -> RawArray:
        """The same numbers with one axis turned round; nothing is read."""
        from dataclasses import replace

        strides = list(self.strides)
        offset = self.offset + (max(self.shape[axis], 1) - 1) * strides[axis]
        strides[axis] = -strides[axis]
        return replace(self, offset=offset, strides=tuple(strides))

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return (
            "xpycro.RawArray",
            self.path,
            *self.stamp,
            self.offset,
            self.dtype.str,
            self.shape,
            self.strides,
            self.factor,
            self.constant,
            self.result_dtype.str,
            self.end,
        )

    # -------------------------------------------------------------------------------------------------------- read

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.read(key)

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index (ints and slices) names; only the bytes it needs are read.

        Raises
        ------
        CorruptFile
            If the file has shrunk since it was opened.
        """
        key = key if isinstance(key, tuple) else (key,)
        key = key + (slice(None),) * (self.ndim - len(key))
        offset, shape, strides, dropped = self.offset, [], [], []
        for axis, (index, size, stride) in enumerate(zip(key, self.shape, self.strides, strict=True)):
            if isinstance(index, slice):
                start, stop, step = index.indices(size)
                count = len(range(start, stop, step))
                offset += start * stride if count else 0
                shape.append(count)
                strides.append(stride * step)
            else:
                position = int(index)
                if not -size <= position < size:
                    raise IndexError(f"index {position} is out of bounds for axis {axis} with size {size}")
                offset += (position % size) * stride
                shape.append(1)
                strides.append(stride)
                dropped.append(axis)
        result = self._gather(offset, shape, strides)
        return result.reshape([n for axis, n in enumerate(shape) if axis not in dropped])

    def _gather(self, offset: int, shape: list[int], strides: list[int]) -> np.ndarray:
        itemsize = self.dtype.itemsize
        out = np.empty(shape, self.result_dtype)
        if out.size == 0:
            return out
        axes = sorted((a for a in range(len(shape)) if shape[a] > 1), key=lambda a: -abs(strides[a]))
        low = offset + sum((shape[a] - 1) * strides[a] for a in axes if strides[a] < 0)
        # the fewest outer axes for which the bytes of the inner ones are worth reading in one go
        split = next(k for k in range(len(axes) + 1) if self._dense(axes[k:], shape, strides))
        outer, inner = axes[:split], axes[split:]
        span = sum((shape[a] - 1) * abs(strides[a]) for a in inner) + itemsize
        # a view of the result whose axes run upwards in the file, outermost first
        turned = out[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in strides)]
        singles = [a for a in range(len(shape)) if shape[a] == 1]
        view = turned.transpose([*axes, *singles])[(slice(None),) * len(axes) + (0,) * len(singles) + (...,)]
        starts = np.array([low], dtype=np.int64)
        for axis in outer:
            starts = (starts[:, None] + np.arange(shape[axis], dtype=np.int64) * abs(strides[axis])).ravel()
        inner_shape = tuple(shape[a] for a in inner)
        inner_strides = tuple(abs(strides[a]) for a in inner)
        batch = max(1, _SPAN // span)
        for first in range(0, len(starts), batch):
            some = starts[first : first + batch]
            rows, missing = self._rows(some, span)
            stored = np.ndarray((len(some), *inner_shape), self.dtype, rows, 0, (span, *inner_strides))
            plain = missing is None and (self.factor, self.constant) == (1.0, 0.0)
            values = stored if plain else self._physical(stored)  # assigning converts the byte order in the same pass
            if missing is not None:
                addresses = some
                for n, stride in zip(inner_shape, inner_strides, strict=True):
                    addresses = addresses[..., None] + np.arange(n, dtype=np.int64) * stride
                values[addresses + itemsize > missing] = np.nan
            if outer:
                where = np.unravel_index(np.arange(first, first + len(some)), tuple(shape[a] for a in outer))
                view[where] = values
            else:
                view[...] = values[0]
        return out

    def _dense(self, axes: list[int], shape: list[int], strides: list[int]) -> bool:
        """Whether reading the whole span of these axes at once wastes little."""
        needed = math.prod(shape[a] for a in axes) * self.dtype.itemsize
        span = sum((shape[a] - 1) * abs(strides[a]) for a in axes) + self.dtype.itemsize
        return span == needed or span <= _GAP or (span <= 4 * needed and span <= _SPAN)

    def _rows(self, starts: np.ndarray, span: int) -> tuple[np.ndarray, int | None]:
        """The bytes of each start, and the byte from which on some are missing (None where all are there)."""
        rows = np.empty(len(starts) * span, np.uint8)  # a bytearray would be filled with zeros first
        view = rows.data
        limit, missing = self.end, None
        with open(self.path, "rb", buffering=0) as handle:
            size = os.fstat(handle.fileno()).st_size
            for number, start in enumerate(starts.tolist()):
                length = span
                if limit is not None and start + span > limit:
                    length, missing = max(0, limit - start), limit
                    rows[number * span + length : (number + 1) * span] = 0
                if length and start + length > size:
                    raise CorruptFile(
                        f"the file has {size} bytes and had {self.stamp[0]} when it was opened: it has been truncated",
                        path=self.path,
                        offset=start,
                    )
                piece = view[number * span : number * span + length]
                done = 0
                while done < length:
                    got = read_block(handle, start + done, piece[done:])
                    if got <= 0:
                        raise CorruptFile("the file ended while it was read", path=self.path, offset=start + done)
                    done += got
        return rows, missing

    def _physical(self, stored: np.ndarray) -> np.ndarray:
        dtype = self.result_dtype
        if (self.factor, self.constant) == (1.0, 0.0):
            return stored.astype(dtype)
        working = np.result_type(stored.dtype.newbyteorder("="), np.float64)
        with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN
            values = stored.astype(working) * self.factor
            return (values + self.constant if self.constant else values).astype(dtype)


@dataclass(frozen=True)
class StackedArray:
    """Arrays of one shape stacked along a new axis (forward and backward, several sweeps or files).

    Attributes
    ----------
    parts : tuple of RawArray, StackedArray, or another array with ``read``, ``shape`` and ``result_dtype``
    axis : int
        Where the new axis lies.
    """

    parts: tuple[Any, ...]
    axis: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parts with the number of parts at `axis`."""
        inner = self.parts[0].shape
        return (*inner[: self.axis], len(self.parts), *inner[self.axis :])

    @property
    def strides(self) -> tuple[int, ...] | None:
        """Bytes from one element to the next, from one part to the next as if they lay far apart."""
        inner = getattr(self.parts[0], "strides", None)
        return None if inner is None else (*inner[: self.axis], 1 << 60, *inner[self.axis :])

    @property
    def part_by_part(self) -> bool:
        """Whether reading some of it at once holds little more than that."""
        return all(getattr(part, "part_by_part", False) for part in self.parts)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        return np.result_type(*[part.result_dtype for part in self.parts])

    @property
    def nbytes(self) -> int:
        """Bytes of what is handed out when read whole."""
        return math.prod(self.shape) * self.result_dtype.itemsize

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xpycro.StackedArray", self.axis, *[part.__dask_tokenize__() for part in self.parts])

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.read(key)

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names; only the parts it touches are read."""
        key = key if isinstance(key, tuple) else (key,)
        key = key + (slice(None),) * (self.ndim - len(key))
        chosen, rest = key[self.axis], (*key[: self.axis], *key[self.axis + 1 :])
        if not isinstance(chosen, slice):
            return self.parts[int(chosen)].read(rest)
        axis = sum(isinstance(index, slice) for index in key[: self.axis])
        parts = [part.read(rest) for part in self.parts[chosen]]
        if parts:
            return np.stack(parts, axis)
        shape = self.parts[0].read(rest).shape
        return np.empty((*shape[:axis], 0, *shape[axis:]), self.result_dtype)


@dataclass(frozen=True)
class PaddedArray:
    """An array whose last axis is made longer with NaN (curves of unequal length).

    Attributes
    ----------
    part : RawArray
        Of floats, or with a factor.
    points : int
        Length of the last axis handed out.
    """

    part: RawArray
    points: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the part with `points` last."""
        return (*self.part.shape[:-1], self.points)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.part.ndim

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out: a float, which NaN needs."""
        return np.result_type(self.part.result_dtype, np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes of what is handed out when read whole."""
        return math.prod(self.shape) * self.result_dtype.itemsize

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xpycro.PaddedArray", self.points, *self.part.__dask_tokenize__())

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.read(key)

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names; only those that exist are read."""
        key = key if isinstance(key, tuple) else (key,)
        key = key + (slice(None),) * (self.ndim - len(key))
        stored = self.part.read((*key[:-1], slice(None)))
        whole = np.full((*stored.shape[:-1], self.points), np.nan, self.result_dtype)
        whole[..., : stored.shape[-1]] = stored
        return whole[..., key[-1]]


@dataclass(frozen=True)
class ComplexArray:
    """Real and imaginary parts that lie in different places, as one complex array.

    Attributes
    ----------
    real, imaginary : RawArray or StackedArray
        Of one shape.
    """

    real: RawArray | StackedArray
    imaginary: RawArray | StackedArray

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of each part."""
        return self.real.shape

    @property
    def strides(self) -> tuple[int, ...] | None:
        """Bytes from one element to the next of each part."""
        return self.real.strides

    @property
    def part_by_part(self) -> bool:
        """Whether reading some of it at once holds little more than that."""
        return self.real.part_by_part and self.imaginary.part_by_part

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        return np.result_type(self.real.result_dtype, self.imaginary.result_dtype, np.complex64)

    @property
    def nbytes(self) -> int:
        """Bytes of what is handed out when read whole."""
        return math.prod(self.shape) * self.result_dtype.itemsize

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xpycro.ComplexArray", *self.real.__dask_tokenize__(), *self.imaginary.__dask_tokenize__())

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.read(key)

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names."""
        real = self.real.read(key)
        result = np.empty(real.shape, self.result_dtype)
        result.real, result.imag = real, self.imaginary.read(key)
        return result


class _Backend(BackendArray):
    """The form in which xarray indexes one of the arrays above.

    By ``strides`` and ``part_by_part`` it says what a read costs (engine/chunked).
    """

    def __init__(self, raw: RawArray | StackedArray | PaddedArray | ComplexArray) -> None:
        self.raw = raw
        self.shape = raw.shape
        self.dtype = raw.result_dtype
        self.strides = getattr(raw, "strides", None)
        self.part_by_part = getattr(raw, "part_by_part", False)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self.raw.read)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return self.raw.__dask_tokenize__()


def lazy(raw: RawArray | StackedArray | PaddedArray | ComplexArray) -> indexing.LazilyIndexedArray:
    """What goes into an `xarray.Variable`: lazily indexed, nothing read."""
    return indexing.LazilyIndexedArray(_Backend(raw))

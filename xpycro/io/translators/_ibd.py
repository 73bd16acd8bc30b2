"""Mass spectra in the binary part of an imzML pair, read when used: on one common axis, or binned to one.

May import numpy, xarray and the raw arrays; knows nothing of XML.
"""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from xpycro.errors import CorruptFile
from xpycro.io.rawarray import read_block, stamp

__all__ = ["Numbers", "SpectrumTable", "scattered"]

_PAGE = 512  # m/z values that are read at once where a range is looked for
_POINTS = 1 << 18  # points of short spectra that are binned together
_NONE = np.empty(0)


@dataclass(frozen=True, eq=False)
class Numbers:
    """One array of each pixel: where it lies, how many numbers, of which type.

    Attributes
    ----------
    dtype : numpy dtype
    compressed : bool
        Deflated (zlib).
    offsets, lengths, encoded : ndarray of int
        By pixel; the offset of a pixel that was not measured is -1. Encoded is in bytes.
    """

    dtype: np.dtype
    compressed: bool
    offsets: np.ndarray
    lengths: np.ndarray
    encoded: np.ndarray


@dataclass(frozen=True, eq=False)
class SpectrumTable(BackendArray):
    """Intensities over pixels and a mass axis.

    Attributes
    ----------
    path : str
    mz, intensity : Numbers
        Arrays of the shape of the pixels.
    edges : ndarray or None
        Edges of the channels that the peaks of each pixel are summed into; None where all pixels share their axis.
    channels : int
    dtype : numpy dtype
    stamp : tuple of int
    """

    path: str
    mz: Numbers
    intensity: Numbers
    edges: np.ndarray | None
    channels: int
    dtype: np.dtype
    stamp: tuple[int, int]

    @classmethod
    def of(cls, path: str, mz: Numbers, intensity: Numbers, edges: np.ndarray | None, channels: int) -> SpectrumTable:
        """The table of a file as it is now."""
        missing = bool((intensity.offsets < 0).any())
        plain = edges is None and not missing
        dtype = intensity.dtype.newbyteorder("=") if plain else np.result_type(intensity.dtype, np.float32)
        return cls(os.path.abspath(path), mz, intensity, edges, channels, np.dtype(dtype), stamp(path))

    @property
    def shape(self) -> tuple[int, ...]:
        """The pixels', and the channels."""
        return (*self.intensity.offsets.shape, self.channels)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        edges = None if self.edges is None else self.edges.tobytes()
        return ("xpycro.SpectrumTable", self.path, *self.stamp, self.intensity.offsets.tobytes(), edges)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self.read)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """The numbers that a basic index names; of each pixel only the channels asked for."""
        *outer, channel = key
        numbers = np.arange(math.prod(self.shape[:-1])).reshape(self.shape[:-1])[tuple(outer)]
        span = range(self.channels)[channel] if isinstance(channel, slice) else range(channel, channel + 1)
        first, last = (min(span), max(span) + 1) if len(span) else (0, 0)
        out = np.zeros((np.size(numbers), last - first), self.dtype)
        with open(self.path, "rb", buffering=0) as handle:
            if os.fstat(handle.fileno()).st_size != self.stamp[0]:
                raise CorruptFile("the file has another size than when it was opened", path=self.path)
            for start, stop in self._runs(np.ravel(numbers)):
                self._fill(handle, np.ravel(numbers)[start:stop], first, last, out[start:stop])
        if span.step != 1:
            out = out[:, np.asarray(span, dtype=np.intp) - first]
        values = out.reshape(*np.shape(numbers), len(span))
        return values if isinstance(channel, slice) else values[..., 0]

    # ------------------------------------------------------------------------------------------------------- pixels

    def _runs(self, numbers: np.ndarray) -> list[tuple[int, int]]:
        """Pixels to fill together: short peak lists by the thousand, everything else one by one."""
        longest = int(self.mz.lengths.max(initial=1))
        size = max(1, _POINTS // max(1, longest)) if self.edges is not None and longest <= 2 * _PAGE else 1
        return [(start, min(start + size, numbers.size)) for start in range(0, numbers.size, size)]

    def _fill(self, handle: Any, numbers: np.ndarray, first: int, last: int, rows: np.ndarray) -> None:
        """Channels `first` to `last` of some pixels; the rows are zeros."""
        there = self.intensity.offsets.flat[numbers] >= 0
        if not there.all():
            rows[~there] = np.nan
        if self.edges is None:
            for row, number in zip(np.flatnonzero(there), numbers[there].tolist(), strict=True):
                rows[row] = self._numbers(handle, self.intensity, number, first, last)
            return
        low, high = float(self.edges[first]), float(self.edges[last])
        whole = first == 0 and last == self.channels
        masses, values, counts = [], [], []
        for number in numbers[there].tolist():
            start, stop = self._range(handle, number, low, high)
            mass = self._masses(handle, number, start, stop)
            if not whole:  # the intensities of the masses that are asked for, and of no others
                begin, end = np.searchsorted(mass, (low, high)).tolist()
                mass, start, stop = mass[begin:end], start + begin, start + end
            masses.append(mass)
            values.append(self._numbers(handle, self.intensity, number, start, stop) if stop > start else _NONE)
            counts.append(stop - start)
        if sum(counts):
            pixel = np.repeat(np.flatnonzero(there), counts)
            self._bin(np.concatenate(masses), np.concatenate(values), pixel, self.edges[first : last + 1], rows)

    def _masses(self, handle: Any, number: int, start: int, stop: int) -> np.ndarray:
        """A run of the masses of one pixel, which rise."""
        mass = self._numbers(handle, self.mz, number, start, stop).astype(np.float64)
        if not (mass[1:] >= mass[:-1]).all():
            raise CorruptFile("the masses of a spectrum do not rise", path=self.path)
        return mass

    @staticmethod
    def _bin(mass: np.ndarray, value: np.ndarray, pixel: np.ndarray, edges: np.ndarray, rows: np.ndarray) -> None:
        """Sum peaks, by pixel and rising mass, into the channels of the rows; no other channel is touched."""
        place = np.searchsorted(edges, mass, side="right") - 1
        inside = (place >= 0) & (place < edges.size - 1)
        place, pixel = place[inside], pixel[inside]
        if place.size:
            starts = np.flatnonzero(np.diff(place, prepend=-1) | np.diff(pixel, prepend=-1))
            with np.errstate(over="ignore", invalid="ignore"):  # what is no number stays none, silently
                sums = np.add.reduceat(value[inside].astype(np.float64), starts)
                rows[pixel[starts], place[starts]] = sums

    def _range(self, handle: Any, number: int, low: float, high: float) -> tuple[int, int]:
        """Between which points the masses from `low` to `high` lie, found without reading the others."""
        count = int(self.mz.lengths.flat[number])
        if self.mz.compressed or count <= 2 * _PAGE:
            return 0, count
        start, stop = self._before(handle, number, low, 0, count), self._before(handle, number, high, 0, count)
        return start, min(count, stop + _PAGE)

    def _before(self, handle: Any, number: int, mass: float, low: int, high: int) -> int:
        """A point at or before the first of at least `mass`, at most a page before."""
        while high - low > _PAGE:
            middle = (low + high) // 2
            if float(self._numbers(handle, self.mz, number, middle, middle + 1)[0]) < mass:
                low = middle
            else:
                high = middle
        return low

    def _numbers(self, handle: Any, source: Numbers, number: int, first: int, last: int) -> np.ndarray:
        """A run of the numbers of one pixel."""
        offset, size = int(source.offsets.flat[number]), source.dtype.itemsize
        if source.compressed:
            packed = self._bytes(handle, offset, int(source.encoded.flat[number]))
            length = int(source.lengths.flat[number]) * size
            machine = zlib.decompressobj()
            try:
                plain = machine.decompress(packed, length + 1)
            except zlib.error as error:
                raise CorruptFile(
                    f"a compressed spectrum is damaged ({error})", path=self.path, offset=offset
                ) from None
            if len(plain) != length:
                raise CorruptFile(f"a spectrum of {len(plain)} bytes, not {length}", path=self.path, offset=offset)
            return np.frombuffer(plain, source.dtype)[first:last]
        return np.frombuffer(self._bytes(handle, offset + first * size, (last - first) * size), source.dtype)

    def _bytes(self, handle: Any, offset: int, nbytes: int) -> bytearray:
        buffer, done = bytearray(nbytes), 0
        while done < nbytes:
            got = read_block(handle, offset + done, memoryview(buffer)[done:])
            if got <= 0:
                raise CorruptFile("the file ended while it was read", path=self.path, offset=offset + done)
            done += got
        return buffer


def scattered(path: str, offsets: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """One number at each offset, nothing around them."""
    out = np.empty(offsets.size, dtype)
    if hasattr(os, "pread"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if hasattr(os, "posix_fadvise"):  # or the system reads 100 kB around each
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            size, read = dtype.itemsize, os.pread
            found = b"".join([read(descriptor, size, at) for at in offsets.tolist()])
        finally:
            os.close(descriptor)
        if len(found) != out.nbytes:
            raise CorruptFile("the file ended while it was read", path=path)
        return np.frombuffer(found, dtype)
    with open(path, "rb", buffering=0) as file:
        for n, at in enumerate(offsets.tolist()):
            if read_block(file, at, out[n : n + 1].view(np.uint8).data) != dtype.itemsize:
                raise CorruptFile("the file ended while it was read", path=path, offset=at)
    return out

"""Frames whose numbers are packed: nibbles, pairs of integers, the words of Medipix chips; unpacked when used.

May import numpy and io below; knows no file layout.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpycro.io.rawarray import RawArray

__all__ = ["MEDIPIX_BITS", "PackedFrames", "complex_pairs", "medipix", "nibbles"]

MEDIPIX_BITS = {1: 1, 6: 8, 12: 16}  # bits that a pixel takes in the file, by the depth of the counters


@dataclass(frozen=True)
class PackedFrames:
    """An array of frames that are read whole and unpacked by a function.

    Attributes
    ----------
    part : RawArray
        (..., row, stored number).
    unpack : callable
        Of the stored numbers of some frames, the frames; of a module's own or a partial of one, so that it pickles.
    frame : tuple of int
        Rows and columns of a frame.
    dtype : numpy dtype
        Of what is handed out.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "frame.bin")
    >>> _ = np.array([[0x21, 0x03]], "u1").tofile(path)
    >>> raw = RawArray.contiguous(path, 0, "u1", (1, 2))
    >>> PackedFrames(raw, functools.partial(nibbles, columns=3), (1, 3), np.dtype("u1")).read()
    array([[1, 2, 3]], dtype=uint8)
    """

    part: RawArray
    unpack: Callable[[np.ndarray], np.ndarray]
    frame: tuple[int, int]
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The frames, then rows and columns."""
        return (*self.part.shape[:-2], *self.frame)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.part.ndim

    @property
    def result_dtype(self) -> np.dtype:
        """dtype of what is handed out."""
        return self.dtype

    @property
    def path(self) -> str:
        """Of the file."""
        return self.part.path

    def flip(self, axis: int) -> PackedFrames:
        """The frames in the other order along an axis before the rows."""
        if axis >= self.ndim - 2:
            raise ValueError("rows and columns of packed frames are not turned round")
        return replace(self, part=self.part.flip(axis))

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        function = self.unpack
        options = sorted(function.keywords.items()) if isinstance(function, functools.partial) else []
        name = (function.func if isinstance(function, functools.partial) else function).__name__
        return ("xpycro.PackedFrames", name, *options, self.frame, self.dtype.str, *self.part.__dask_tokenize__())

    def read(self, key: Any = ()) -> np.ndarray:
        """The numbers that a basic index names; the frames it touches are read whole."""
        key = key if isinstance(key, tuple) else (key,)
        key = key + (slice(None),) * (self.ndim - len(key))
        frames = self.unpack(self.part.read(key[: self.ndim - 2]))
        inner = (slice(None),) * (frames.ndim - 2) + key[self.ndim - 2 :]
        return np.ascontiguousarray(frames[inner], dtype=self.dtype)


def nibbles(stored: np.ndarray, *, columns: int) -> np.ndarray:
    """Numbers of four bits, the first of two in the lower half of a byte; a row begins with a new byte."""
    pairs = np.stack([stored & 15, stored >> 4], axis=-1)
    return pairs.reshape(*stored.shape[:-1], -1)[..., :columns]


def complex_pairs(stored: np.ndarray) -> np.ndarray:
    """Complex numbers from real and imaginary parts that follow each other."""
    return (stored[..., ::2] + 1j * stored[..., 1::2]).astype(np.complex64)


def medipix(words: np.ndarray, *, bits: int, quad: bool) -> np.ndarray:
    """Images of the 64-bit words that Medipix3 chips send, the first row at the bottom.

    A word holds its first pixel in its lowest bits. Of a quad the chips lie side by side: the last two make up the
    lower half, the first two, turned by 180 degrees, the upper one, each from right to left.
    """
    little = np.ascontiguousarray(words, dtype="<u8")  # in memory the lowest byte, and so the first pixel, comes first
    plain = little.view(np.uint8) if bits <= 8 else little.view("<u2")
    if bits == 1:
        plain = np.unpackbits(plain, axis=-1, bitorder="little")
    if not quad:
        return plain
    width = plain.shape[-1] // 4
    chips = [plain[..., n * width : (n + 1) * width] for n in range(4)]
    lower = np.concatenate([chips[3], chips[2]], axis=-1)
    upper = np.concatenate([chips[1][..., ::-1, ::-1], chips[0][..., ::-1, ::-1]], axis=-1)
    return np.concatenate([lower, upper], axis=-2)

"""Numeric arrays of a MATLAB 5 file, through the bounded cursor: no object, function or text is ever made of it.

May import numpy, errors and io.cursor. SciPy's reader takes sizes from the file before it looks whether they are there.
"""

from __future__ import annotations

import math

import numpy as np

from xpycro.errors import NotThisFormat
from xpycro.io.cursor import Cursor, inflate

__all__ = ["read_arrays"]

_LIMIT = 1 << 28  # bytes that one compressed variable may become
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_NUMERIC = range(6, 16)  # array classes double ... uint64
_COMPLEX = 0x0800


def read_arrays(path: str) -> dict[str, np.ndarray]:
    """Real and complex arrays by name, in MATLAB's shape; other variables are passed over.

    Raises
    ------
    NotThisFormat
        If it is no MATLAB 5 file (version 7.3 is HDF5).
    CorruptFile
        If it is truncated or contradicts itself.
    """
    with Cursor(path) as cursor:
        head = cursor.read(128, "header")
        if head[126:128] not in (b"IM", b"MI"):
            raise NotThisFormat("no MATLAB 5 file (one of version 7.3 must be saved again with -v7)", path=path)
        order = "<" if head[126:128] == b"IM" else ">"
        found = {}
        while cursor.remaining >= 8:
            kind, size = _tag(cursor, order)
            if kind == _COMPRESSED:
                data = inflate(cursor.read(size, "compressed variable"), _LIMIT, "compressed variable", cursor)
                inner = Cursor(data, path=path, base=cursor.position - size)
                kind, size = _tag(inner, order)
                body = inner.window(size, "variable")
            else:
                body = cursor.window(size, "variable")
            if kind == _MATRIX:
                named = _matrix(body, order)
                if named is not None:
                    found[named[0]] = named[1]
    return found


def _tag(cursor: Cursor, order: str) -> tuple[int, int]:
    """Type and bytes of an element; the position is at its data."""
    kind = cursor.integer(f"{order}u4", "element type")
    if kind >> 16:  # a small element keeps its size in the upper half
        return kind & 0xFFFF, kind >> 16
    return kind, cursor.integer(f"{order}u4", "element size")


def _element(cursor: Cursor, order: str, field: str) -> np.ndarray:
    start = cursor.position
    kind, size = _tag(cursor, order)
    small = cursor.position - start == 4
    if kind not in _TYPES:
        raise cursor.corrupt(f"has the unknown type {kind}", field, start)
    dtype = np.dtype(order + _TYPES[kind])
    if size % dtype.itemsize or (small and size > 4):
        raise cursor.corrupt(f"{size} bytes are no whole number of {dtype}", field, start)
    values = cursor.numbers(dtype.str, size // dtype.itemsize, field)
    padding = 4 - size if small else -size % 8
    cursor.skip(min(padding, cursor.remaining), field)
    return values


def _matrix(cursor: Cursor, order: str) -> tuple[str, np.ndarray] | None:
    flags = _element(cursor, order, "array flags")
    if flags.size < 1:
        raise cursor.corrupt("has no array flags", "array flags")
    word = int(flags[0])
    if word & 0xFF not in _NUMERIC:
        return None
    shape = [int(n) for n in _element(cursor, order, "dimensions")]
    name = bytes(_element(cursor, order, "name").astype(np.uint8)).decode("latin-1")
    count = math.prod(shape)
    if not 1 <= len(shape) <= 8 or any(n < 0 for n in shape):
        raise cursor.corrupt(f"declares the shape {shape}", name)
    values = _element(cursor, order, name).astype(np.float64)
    if values.size != count:
        raise cursor.corrupt(f"declares {count} values and holds {values.size}", name)
    if word & _COMPLEX:
        imaginary = _element(cursor, order, name)
        if imaginary.size != count:
            raise cursor.corrupt(f"declares {count} values and holds {imaginary.size} imaginary ones", name)
        values = values + 1j * imaginary.astype(np.float64)
    return name, values.reshape(shape, order="F")
